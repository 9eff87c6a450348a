//! Alerts as the journal keeps them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alert::{Alert, AlertId, AlertKind};
use super::outbox::Outbox;
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::codec::{
    Codec, Malformed, Reader, put_list, put_signed, put_text, put_varint, put_wide,
};
use crate::counters::{CrossedRow, Mark};
use crate::rules::Threshold;

/// An alert that a decision has noted, as the record of its event says it.
#[derive(Clone, Debug)]
pub(crate) struct NotedAlert {
    pub(crate) number: u64,
    pub(crate) alert: Arc<Alert>,
    /// Of which row it is marked that the threshold has fired.
    pub(crate) row: CrossedRow,
    pub(crate) mark: Mark,
}

/// What is known of alerts when a store is opened.
#[derive(Debug, Default)]
pub(crate) struct RestoredAlerts {
    alerts: BTreeMap<u64, Arc<Alert>>,
    /// All before this number were acknowledged.
    acknowledged: u64,
}

const KEY: u8 = 0;
const SHARED: u8 = 1;

impl Codec<'_> for NotedAlert {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.number);
        match &self.row {
            CrossedRow::Key(group, values) => {
                out.push(KEY);
                put_varint(out, (*group).into());
                put_list(out, values.iter(), |value, out| put_text(out, value));
            }
            CrossedRow::Shared(lineage) => {
                out.push(SHARED);
                put_varint(out, (*lineage).into());
            }
        }
        self.mark.encode(out);
        self.alert.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let number = from.varint()?;
        let row = match u8::decode(from)? {
            KEY => {
                let group = from.varint_u32()?;
                let values: Vec<Box<str>> =
                    from.list("the values of a key", |from| from.text().map(Into::into))?;
                CrossedRow::Key(group, values.into())
            }
            SHARED => CrossedRow::Shared(from.varint_u32()?),
            _ => return Err(from.malformed("the row of an alert")),
        };
        let mark = Mark::decode(from)?;
        Ok(Self { number, row, mark, alert: Arc::new(Alert::decode(from)?) })
    }
}

impl RestoredAlerts {
    /// Adds one that a record or a checkpoint has; the same may come from both.
    pub(crate) fn add(&mut self, number: u64, alert: Arc<Alert>) {
        self.alerts.insert(number, alert);
    }

    /// The same, of which all were acknowledged before this number.
    pub(crate) fn acknowledged_to(self, acknowledged: u64) -> Self {
        Self { acknowledged, ..self }
    }

    /// Adds those that a piece of a checkpoint has.
    pub(crate) fn load(&mut self, mut from: Reader<'_>) -> Result<(), Malformed> {
        while !from.is_at_end() {
            let number = from.varint()?;
            self.add(number, Arc::new(Alert::decode(&mut from)?));
        }
        Ok(())
    }

    /// Appends alerts for such a piece.
    pub(crate) fn save(alerts: &[(u64, Arc<Alert>)], out: &mut Vec<u8>) {
        for (number, alert) in alerts {
            put_varint(out, *number);
            alert.encode(out);
        }
    }

    /// An outbox of the newest, so many at the most, that goes on where it was.
    pub(crate) fn into_outbox(self, most: usize) -> Outbox {
        let Self { alerts, acknowledged } = self;
        let end = alerts.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        let end = end.max(acknowledged);
        Outbox::new(most, alerts.into_iter(), (end, acknowledged))
    }
}

/// What stands before the threshold of a balance: no kind of threshold.
const LOW_BALANCE: u8 = 0xff;

fn put_amount(out: &mut Vec<u8>, amount: Amount) {
    put_wide(out, amount.millionths());
}

fn amount(from: &mut Reader<'_>) -> Result<Amount, Malformed> {
    from.wide().map(Amount::from_millionths)
}

/// Appends what there may be behind whether there is.
fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(value.is_some().into());
    if let Some(value) = value {
        put(out, value);
    }
}

fn option<'b, T>(
    from: &mut Reader<'b>,
    read: impl FnOnce(&mut Reader<'b>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    if bool::decode(from)? { read(from).map(Some) } else { Ok(None) }
}

fn put_timestamp(out: &mut Vec<u8>, at: Timestamp) {
    put_signed(out, at.unix_seconds());
    put_varint(out, at.subsec_nanos().into());
}

fn timestamp(from: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    Ok(Timestamp::new(from.signed()?, from.varint_u32()?))
}

/// Reads what is kept as the text that its `FromStr` reads.
fn parsed<T: std::str::FromStr>(from: &mut Reader<'_>, what: &'static str) -> Result<T, Malformed> {
    let text = from.text()?;
    text.parse().map_err(|_| from.malformed(what))
}

impl Codec<'_> for Alert {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.number().to_le_bytes());
        put_timestamp(out, self.at);
        put_text(out, &self.rule_id);
        put_text(out, &self.rule_name);
        put_text(out, &self.metric.to_string());
        put_list(out, self.key.iter(), |(dimension, value), out| {
            put_text(out, dimension);
            put_text(out, value);
        });
        put_option(out, self.customer_id.as_deref(), put_text);
        if self.kind == AlertKind::BalanceLow
            && let Threshold::Amount(amount) = self.threshold
        {
            out.push(LOW_BALANCE);
            put_amount(out, amount);
        } else {
            self.threshold.encode(out);
        }
        put_option(out, self.limit, put_amount);
        put_amount(out, self.used);
        put_option(out, self.remaining, put_amount);
        put_option(out, self.percentage, put_varint);
        put_text(out, &self.period.to_string());
        put_option(out, self.window_start, put_timestamp);
        put_option(out, self.window_end, put_timestamp);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let id = AlertId::of_number(u128::from_le_bytes(from.array("the id of an alert")?));
        let at = timestamp(from)?;
        let (rule_id, rule_name) = (from.text()?.to_owned(), from.text()?.to_owned());
        let metric = parsed(from, "a metric")?;
        let pair = |from: &mut Reader<'_>| Ok((from.text()?.to_owned(), from.text()?.to_owned()));
        let key = from.list("the key of an alert", pair)?;
        let customer_id = option(from, |from| from.text().map(Into::into))?;
        let (kind, threshold) = if from.rest().first() == Some(&LOW_BALANCE) {
            let _ = u8::decode(from)?;
            (AlertKind::BalanceLow, Threshold::Amount(amount(from)?))
        } else {
            let threshold = Threshold::decode(from)?;
            (AlertKind::of(threshold), threshold)
        };
        Ok(Self {
            id,
            kind,
            at,
            rule_id,
            rule_name,
            metric,
            key,
            customer_id,
            threshold,
            limit: option(from, amount)?,
            used: amount(from)?,
            remaining: option(from, amount)?,
            percentage: option(from, Reader::varint)?,
            period: parsed(from, "a period")?,
            window_start: option(from, timestamp)?,
            window_end: option(from, timestamp)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::format::Version;
    use crate::rules::{Metric, Period};

    fn noted(row: CrossedRow, threshold: Threshold, limited: bool) -> NotedAlert {
        let mark = Mark { lineage: 7, threshold, start: i64::MIN, end: i64::MAX };
        let at = Timestamp::new(1_700_000_000, 999_999_999);
        let alert = Alert {
            id: AlertId::new(3, "qta_calls", &row, &mark),
            kind: AlertKind::of(threshold),
            at,
            rule_id: "qta_calls".to_owned(),
            rule_name: "Calls".to_owned(),
            metric: Metric::value("units"),
            key: vec![("customer_id".to_owned(), "ann".to_owned())],
            customer_id: limited.then(|| "ann".to_owned()),
            threshold,
            limit: limited.then_some(Amount::MAX),
            used: Amount::from_millionths(-7),
            remaining: limited.then_some(Amount::ZERO),
            percentage: limited.then_some(u64::MAX),
            period: Period::Month,
            window_start: limited.then_some(Timestamp::MIN),
            window_end: limited.then_some(at),
        };
        NotedAlert { number: u64::MAX, alert: Arc::new(alert), row, mark }
    }

    #[test]
    fn an_alert_comes_back_as_it_was_noted() {
        let key = CrossedRow::Key(9, ["ann".into(), "call".into()].into());
        for row in [key, CrossedRow::Shared(u32::MAX)] {
            for threshold in [Threshold::percent(100), Threshold::Amount(Amount::MIN)] {
                let noted = noted(row.clone(), threshold, row == CrossedRow::Shared(u32::MAX));
                let mut bytes = Vec::new();
                noted.encode(&mut bytes);
                let mut from = Reader::new(Version::NEWEST, &bytes);
                let again = NotedAlert::decode(&mut from).expect("what was written");
                assert!(from.is_at_end());
                assert_eq!(
                    (&again.alert, &again.row, again.mark),
                    (&noted.alert, &row, noted.mark)
                );
                for short in 0..bytes.len() {
                    let mut from = Reader::new(Version::NEWEST, &bytes[..short]);
                    assert!(NotedAlert::decode(&mut from).is_err(), "{short}");
                }
            }
        }
    }

    #[test]
    fn an_id_is_of_all_that_an_alert_is_about() {
        let key =
            |values: &[&str]| CrossedRow::Key(1, values.iter().map(|it| (*it).into()).collect());
        let mark = |threshold, start| Mark { lineage: 1, threshold, start, end: start + 60 };
        let (half, all) = (Threshold::percent(50), Threshold::percent(100));
        let ids = [
            AlertId::new(1, "a", &key(&["x"]), &mark(half, 0)),
            AlertId::new(2, "a", &key(&["x"]), &mark(half, 0)),
            AlertId::new(1, "b", &key(&["x"]), &mark(half, 0)),
            AlertId::new(1, "ax", &key(&[]), &mark(half, 0)),
            AlertId::new(1, "a", &key(&["x", "y"]), &mark(half, 0)),
            AlertId::new(1, "a", &key(&["xy"]), &mark(half, 0)),
            AlertId::new(1, "a", &CrossedRow::Shared(1), &mark(half, 0)),
            AlertId::new(1, "a", &key(&["x"]), &mark(all, 0)),
            AlertId::new(1, "a", &key(&["x"]), &mark(Threshold::amount(50), 0)),
            AlertId::new(1, "a", &key(&["x"]), &mark(half, 60)),
        ];
        let different: std::collections::BTreeSet<AlertId> = ids.into_iter().collect();
        assert_eq!(different.len(), ids.len());
        // The row is found by another group when the rule was made anew: the alert is the same.
        let other = CrossedRow::Key(2, ["x".into()].into());
        assert_eq!(AlertId::new(1, "a", &other, &mark(half, 0)), ids[0]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = NotedAlert::decode(&mut Reader::new(Version::NEWEST, &bytes));
            let _ = RestoredAlerts::default().load(Reader::new(Version::NEWEST, &bytes));
        }
    }
}
