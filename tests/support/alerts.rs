//! What fires, on an engine and on its oracle.

use super::bridge::{Pair, instant};
use super::oracle::{Milli, PlainAlert, PlainThreshold};
use limitry::Amount;
use limitry::alerts::{Alert, AlertKind};
use limitry::rules::Threshold;

/// An amount in thousandths, rounded down.
fn milli(amount: Amount) -> Milli {
    amount.millionths().div_euclid(1_000)
}

pub fn threshold(plain: PlainThreshold) -> Threshold {
    match plain {
        PlainThreshold::Percent(percent) => Threshold::percent(percent),
        PlainThreshold::Amount(milli) => Threshold::amount(Amount::from_millionths(milli * 1_000)),
    }
}

fn plain_alert(alert: &Alert) -> Result<PlainAlert, String> {
    let threshold = match alert.threshold {
        Threshold::Percent(percent) => PlainThreshold::Percent(percent),
        Threshold::Amount(amount) => PlainThreshold::Amount(milli(amount)),
        other => return Err(format!("{other:?} is no threshold of these tests")),
    };
    let is_low = alert.kind == AlertKind::BalanceLow;
    let due = match threshold {
        _ if is_low => AlertKind::BalanceLow,
        PlainThreshold::Percent(100) => AlertKind::LimitExceeded,
        _ => AlertKind::ThresholdReached,
    };
    if alert.kind != due {
        return Err(format!("{alert:?} is no {due:?}"));
    }
    Ok(PlainAlert {
        rule: alert.rule_id.clone(),
        name: alert.rule_name.clone(),
        key: alert.key.clone(),
        customer: alert.customer_id.clone(),
        threshold,
        at: instant(alert.at),
        limit: alert.limit.map(milli),
        used: milli(alert.used),
        remaining: alert.remaining.map(milli),
        percentage: alert.percentage,
        window: (alert.window_start.map(instant), alert.window_end.map(instant)),
        is_low,
    })
}

impl Pair {
    /// Takes all that has fired since this was asked for last, and returns how many that are. What
    /// is delivered once more after a restart is what it was.
    pub fn alerts(&mut self) -> Result<usize, String> {
        let alerts = self.engine.alerts();
        let mut found = Vec::new();
        while let Some(delivered) = alerts.poll() {
            alerts.acknowledge(&delivered).map_err(|why| why.to_string())?;
            let alert = (*delivered.alert).clone();
            match self.delivered.iter().find(|known| known.id == alert.id) {
                Some(known) if *known == alert && self.restarted => {}
                Some(known) => return Err(format!("{alert:?} was there before: {known:?}")),
                None => {
                    found.push(plain_alert(&alert)?);
                    self.delivered.push(alert);
                }
            }
        }
        self.restarted = false;
        self.oracle.alerts(&found)?;
        Ok(found.len())
    }
}
