//! Accounts and what happens to them, as the journal keeps them.

use std::cmp::Reverse;

use smallvec::SmallVec;

use super::account::{Account, AccountHold, Funds, Instant, Terms};
use super::change::Change;
use super::entry::{CallSource, Entry, EntryKind, Source};
use super::grants::{Drawn, Lot, SpendKey};
use crate::base::clock::Timestamp;
use crate::base::codec::{
    Codec, Malformed, Reader, put_list, put_signed, put_text, put_varint, put_wide,
};

/// What happened, by the number that it is stored under.
const CREATE: u8 = 0;
const CREDIT: u8 = 1;
const DEBIT: u8 = 2;
const TAKE: u8 = 3;
const HOLD: u8 = 4;
const SETTLE: u8 = 5;
const EXTEND: u8 = 6;
const REMOVE: u8 = 7;
const RETURN: u8 = 8;
const RETURN_AND_REFUND: u8 = 9;

/// Where an entry comes from, likewise; an event without a number is 2.
const CALL: u8 = 0;
const EVENT: u8 = 1;
const UNNUMBERED: u8 = 2;
const TIME: u8 = 3;

fn put_date(out: &mut Vec<u8>, date: Timestamp) {
    put_wide(out, date.unix_nanos());
}

fn date(from: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    Ok(Timestamp::from_unix_nanos(from.wide()?))
}

fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    text.encode(out);
}

fn optional(from: &mut Reader<'_>) -> Result<Option<Box<str>>, Malformed> {
    Ok(Option::<&str>::decode(from)?.map(Into::into))
}

fn priority(from: &mut Reader<'_>) -> Result<i32, Malformed> {
    let number = from.signed()?;
    i32::try_from(number).map_err(|_| from.malformed("a priority"))
}

impl Codec<'_> for Instant {
    fn encode(&self, out: &mut Vec<u8>) {
        self.line.encode(out);
        put_date(out, self.date);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { line: u64::decode(from)?, date: date(from)? })
    }
}

impl Codec<'_> for CallSource {
    fn encode(&self, out: &mut Vec<u8>) {
        put_optional(out, self.description.as_deref());
        put_optional(out, self.reference.as_deref());
        self.expires.is_some().encode(out);
        if let Some(expires) = self.expires {
            put_date(out, expires);
        }
        put_signed(out, self.priority.into());
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (description, reference) = (optional(from)?, optional(from)?);
        let expires = if bool::decode(from)? { Some(date(from)?) } else { None };
        Ok(Self { description, reference, expires, priority: priority(from)? })
    }
}

impl Codec<'_> for Change {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create { terms: Terms { unit, minimum }, initial } => {
                out.push(CREATE);
                put_text(out, unit);
                put_wide(out, *minimum);
                put_wide(out, *initial);
            }
            Self::Credit { units, call, key } | Self::Debit { units, call, key } => {
                out.push(if matches!(self, Self::Credit { .. }) { CREDIT } else { DEBIT });
                put_wide(out, *units);
                call.encode(out);
                put_optional(out, key.as_deref());
            }
            Self::Take { units } => {
                out.push(TAKE);
                put_wide(out, *units);
            }
            Self::Return { units, refund, event, since } => {
                out.push(if *refund == 0 { RETURN } else { RETURN_AND_REFUND });
                put_wide(out, *units);
                if *refund != 0 {
                    put_wide(out, *refund);
                }
                put_varint(out, *event);
                put_date(out, *since);
            }
            Self::Hold { id, until, units } => {
                out.push(HOLD);
                put_varint(out, *id);
                until.encode(out);
                put_wide(out, *units);
            }
            Self::Settle { id, until, used } => {
                out.push(SETTLE);
                put_varint(out, *id);
                until.encode(out);
                put_wide(out, *used);
            }
            Self::Extend { id, until, to } => {
                out.push(EXTEND);
                put_varint(out, *id);
                until.encode(out);
                to.encode(out);
            }
            Self::Remove => out.push(REMOVE),
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let call =
            |from: &mut Reader<'_>| Ok((from.wide()?, CallSource::decode(from)?, optional(from)?));
        Ok(match u8::decode(from)? {
            CREATE => {
                let (unit, minimum) = (from.text()?.into(), from.wide()?);
                Self::Create { terms: Terms { unit, minimum }, initial: from.wide()? }
            }
            CREDIT => {
                let (units, call, key) = call(from)?;
                Self::Credit { units, call, key }
            }
            DEBIT => {
                let (units, call, key) = call(from)?;
                Self::Debit { units, call, key }
            }
            TAKE => Self::Take { units: from.wide()? },
            kind @ (RETURN | RETURN_AND_REFUND) => {
                let units = from.wide()?;
                let refund = if kind == RETURN { 0 } else { from.wide()? };
                Self::Return { units, refund, event: from.varint()?, since: date(from)? }
            }
            HOLD => {
                let (id, until) = (from.varint()?, u64::decode(from)?);
                Self::Hold { id, until, units: from.wide()? }
            }
            SETTLE => {
                let (id, until) = (from.varint()?, u64::decode(from)?);
                Self::Settle { id, until, used: from.wide()? }
            }
            EXTEND => {
                let (id, until) = (from.varint()?, u64::decode(from)?);
                Self::Extend { id, until, to: u64::decode(from)? }
            }
            REMOVE => Self::Remove,
            _ => return Err(from.malformed("what happened to a balance")),
        })
    }
}

impl Codec<'_> for Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.number);
        put_date(out, self.at);
        out.push(self.kind as u8);
        put_wide(out, self.units);
        put_wide(out, self.after);
        match &self.source {
            Source::Call(call) => {
                out.push(CALL);
                call.encode(out);
            }
            Source::Event(Some(event)) => {
                out.push(EVENT);
                put_varint(out, *event);
            }
            Source::Event(None) => out.push(UNNUMBERED),
            Source::Time => out.push(TIME),
        }
        put_list(out, self.paid.iter(), |(number, units), out| {
            put_varint(out, *number);
            put_wide(out, *units);
        });
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (number, at) = (from.varint()?, date(from)?);
        let kind = match u8::decode(from)? {
            0 => EntryKind::Credit,
            1 => EntryKind::Debit,
            2 => EntryKind::Expiry,
            _ => return Err(from.malformed("the kind of an entry")),
        };
        let (units, after) = (from.wide()?, from.wide()?);
        let source = match u8::decode(from)? {
            CALL => Source::Call(Box::new(CallSource::decode(from)?)),
            EVENT => Source::Event(Some(from.varint()?)),
            UNNUMBERED => Source::Event(None),
            TIME => Source::Time,
            _ => return Err(from.malformed("the source of an entry")),
        };
        let paid = from.list("what paid", |from| Ok((from.varint()?, from.wide()?)))?;
        Ok(Self { number, at, kind, units, after, source, paid })
    }
}

fn put_lot(out: &mut Vec<u8>, key: &SpendKey, lot: &Lot) {
    put_date(out, key.expires);
    put_signed(out, key.priority.0.into());
    put_varint(out, key.number);
    put_wide(out, lot.units);
    put_wide(out, lot.granted);
    put_date(out, lot.at);
}

fn lot(from: &mut Reader<'_>) -> Result<(SpendKey, Lot), Malformed> {
    let (expires, priority) = (date(from)?, Reverse(priority(from)?));
    let key = SpendKey { expires, priority, number: from.varint()? };
    Ok((key, Lot { units: from.wide()?, granted: from.wide()?, at: date(from)? }))
}

impl Codec<'_> for Account {
    fn encode(&self, out: &mut Vec<u8>) {
        let Self { number, unit, funds, spent, created, updated, next, ledger, .. } = self;
        number.encode(out);
        put_text(out, unit);
        for units in [funds.minimum, funds.current, funds.debt, *spent] {
            put_wide(out, units);
        }
        put_date(out, *created);
        put_date(out, *updated);
        put_varint(out, *next);
        let free: Vec<_> = funds.grants.free().collect();
        put_list(out, free.into_iter(), |(key, lot), out| put_lot(out, key, lot));
        put_list(out, funds.holds.iter(), |((until, id), hold), out| {
            until.encode(out);
            put_varint(out, *id);
            put_wide(out, hold.uncovered);
            put_list(out, hold.drawn.iter(), |(key, lot), out| put_lot(out, key, lot));
        });
        put_list(out, ledger.iter(), Codec::encode);
        put_list(out, self.key_order.iter(), |(at, key), out| {
            put_date(out, *at);
            put_text(out, key);
            if let Some(entry) = self.keys.get(key) {
                entry.encode(out);
            }
        });
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (number, unit) = (u64::decode(from)?, from.text()?.into());
        let [minimum, current, debt, spent] =
            [from.wide()?, from.wide()?, from.wide()?, from.wide()?];
        let (created, updated, next) = (date(from)?, date(from)?, from.varint()?);
        let mut funds = Funds { minimum, current, debt, ..Funds::default() };
        let free: Vec<_> = from.list("grants", lot)?;
        for (key, lot) in free {
            funds.grants.add(key, lot);
        }
        let hold = |from: &mut Reader<'_>| {
            let key = (u64::decode(from)?, from.varint()?);
            let uncovered = from.wide()?;
            let drawn: Drawn = from.list("what is held of grants", lot)?;
            Ok((key, AccountHold { drawn, uncovered }))
        };
        for (key, hold) in from.list::<_, Vec<_>>("holds", hold)? {
            funds.load_hold(key, hold);
        }
        let terms = Terms { unit, minimum };
        let mut account = Self::new(number, &terms, usize::MAX, Instant { line: 0, date: created });
        (account.funds, account.spent, account.next) = (funds, spent, next);
        account.updated = updated;
        account.ledger = from.list("entries", Entry::decode)?;
        let keyed = |from: &mut Reader<'_>| {
            Ok((date(from)?, Box::<str>::from(from.text()?), Entry::decode(from)?))
        };
        for (at, key, entry) in from.list::<_, SmallVec<[_; 4]>>("keys", keyed)? {
            account.keys.insert(key.clone(), entry);
            account.key_order.push_back((at, key));
        }
        Ok(account)
    }
}
