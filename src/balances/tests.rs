//! Accounts come back as they were written, add up whatever happens, and no bytes panic.

use proptest::prelude::*;

use super::*;
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Reader};
use crate::base::format::Version;
use crate::rules::Units;

fn at(nanos: u64) -> Instant {
    Instant { line: 1_000 + nanos, date: Timestamp::from_unix_nanos(5_000 + i128::from(nanos)) }
}

fn account() -> Account {
    let terms = Terms { unit: "credits".into(), minimum: -7 };
    Account::new(99, &terms, 8, at(0))
}

fn change((what, units, id, time): (u8, i64, u64, u64), now: u64) -> Change {
    let units = Units::from(units);
    let until = 1_000 + time;
    let call = CallSource {
        description: (id % 2 == 0).then(|| "a text".into()),
        expires: (id % 3 > 0).then(|| at(now + time + 1).date),
        priority: i32::try_from(id % 3).unwrap_or(0) - 1,
        ..CallSource::default()
    };
    let key = (id % 4 == 0).then(|| format!("key {id}").into());
    match what {
        0 | 1 => Change::Credit { units: units.abs() + 1, call, key },
        2 => Change::Debit { units: units.abs() + 1, call: CallSource::default(), key },
        3 => Change::Take { units },
        4 | 5 => Change::Hold { id, until, units: units.abs() + 1 },
        6 => Change::Settle { id, until, used: units },
        7 => Change::Extend { id, until, to: until + time },
        _ => Change::Create { terms: Terms { unit: "credits".into(), minimum: 0 }, initial: 3 },
    }
}

fn reader(bytes: &[u8]) -> Reader<'_> {
    Reader::new(Version::NEWEST, bytes)
}

proptest! {
    #[test]
    fn accounts_add_up_and_come_back(
        steps in proptest::collection::vec((0_u8..9, -50_i64..50, 0_u64..6, 0_u64..9), 0..60),
    ) {
        let (mut account, mut now) = (account(), 0);
        for step in steps {
            now += step.3 % 3;
            let change = change(step, now);
            let mut bytes = Vec::new();
            change.encode(&mut bytes);
            prop_assert_eq!(&Change::decode_all(reader(&bytes)).expect("a change"), &change);
            account.apply(&change, at(now), Some(step.2));
            prop_assert!(account.is_sound(), "{change:?} {account:?}");
            let mut bytes = Vec::new();
            account.encode(&mut bytes);
            let again = Account::decode_all(reader(&bytes)).expect("it was written").keeping(8);
            prop_assert_eq!(&again, &account);
            let short = bytes.len() * usize::try_from(step.2).unwrap_or(0) / 7;
            prop_assert!(Account::decode_all(reader(&bytes[..short])).is_err());
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = Change::decode_all(reader(&bytes));
        if let Ok(mut account) = Account::decode_all(reader(&bytes)) {
            account.settle(at(u64::MAX >> 1));
        }
    }
}

#[test]
fn ids_of_entries_are_read_as_they_are_written() {
    let id = EntryId::new(u64::MAX - 5, 77);
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!((id.number_in(u64::MAX - 5), id.number_in(3)), (Some(77), None));
    assert!("evt_00000000000000000000000000".parse::<EntryId>().is_err());
}
