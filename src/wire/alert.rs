//! An alert as the body of a webhook.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::alerts::{Alert, AlertId, AlertKind};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::rules::{Metric, Period, Threshold};

#[derive(Serialize, Deserialize)]
struct Body {
    id: AlertId,
    event: AlertKind,
    timestamp: Timestamp,
    data: Data,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    customer_id: Option<String>,
    limit_id: String,
    limit_name: String,
    metric: Metric,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    key: BTreeMap<String, String>,
    threshold: Threshold,
    limit: Option<Amount>,
    current_usage: Amount,
    percentage: Option<u64>,
    remaining: Option<Amount>,
    period: Period,
    window_start: Option<Timestamp>,
    window_end: Option<Timestamp>,
}

impl Serialize for Alert {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, kind, at, .. } = *self;
        let data = Data {
            customer_id: self.customer_id.clone(),
            limit_id: self.rule_id.clone(),
            limit_name: self.rule_name.clone(),
            metric: self.metric.clone(),
            key: self.key.iter().cloned().collect(),
            threshold: self.threshold,
            limit: self.limit,
            current_usage: self.used,
            percentage: self.percentage,
            remaining: self.remaining,
            period: self.period,
            window_start: self.window_start,
            window_end: self.window_end,
        };
        Body { id, event: kind, timestamp: at, data }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Alert {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Body { id, event, timestamp, data } = Body::deserialize(deserializer)?;
        Ok(Self {
            id,
            kind: event,
            at: timestamp,
            rule_id: data.limit_id,
            rule_name: data.limit_name,
            metric: data.metric,
            key: data.key.into_iter().collect(),
            customer_id: data.customer_id,
            threshold: data.threshold,
            limit: data.limit,
            used: data.current_usage,
            remaining: data.remaining,
            percentage: data.percentage,
            period: data.period,
            window_start: data.window_start,
            window_end: data.window_end,
        })
    }
}
