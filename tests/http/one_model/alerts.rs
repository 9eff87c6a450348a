//! Alerts: thresholds that the first generation makes, changes and takes away, and what they fire.

use std::collections::BTreeSet;

use limitry::alerts::AlertQuery;
use limitry::rules::Threshold;
use limitry::{Amount, Quota, Timestamp};
use serde_json::json;

use super::account::{Act, Rule, Span};
use super::{Program, text, whole};
use crate::app::KEY;

/// An alert of a quota.
#[derive(Clone, Debug)]
pub(super) struct Alert {
    id: String,
    rule: String,
    percent: u32,
}

impl Rule {
    fn may_alert(&self) -> bool {
        self.limit > 0 && !matches!(self.span, Span::Minute | Span::Slots)
    }
}

impl Program {
    /// Makes an alert, moves one or takes one away.
    pub(super) fn alert(&mut self) {
        self.forget_alerts();
        let percent = self.pick(&[1, 10, 25, 50, 80, 100]);
        let is_taken = |alerts: &[Alert], rule: &str| {
            alerts.iter().any(|it| it.rule == rule && it.percent == percent)
        };
        if !self.alerts.is_empty() && self.chance(40) {
            let place = self.random_below(self.alerts.len());
            let path = format!("/v1/quota-alerts/{}", self.alerts[place].id);
            if self.chance(50) {
                self.app.send(KEY, "DELETE", &path, "").ok(204);
                self.alerts.remove(place);
            } else if !is_taken(&self.alerts, &self.alerts[place].rule) {
                let body = json!({"threshold": percent}).to_string();
                self.app.send(KEY, "PUT", &path, body).ok(200);
                self.alerts[place].percent = percent;
            }
            return;
        }
        let able = self.account.rules.iter().filter(|rule| rule.may_alert());
        let able: Vec<String> = able.map(|rule| rule.id.clone()).collect();
        if able.is_empty() {
            return;
        }
        let rule = able[self.random_below(able.len())].clone();
        let body = json!({"threshold": percent}).to_string();
        let answer = self.app.send(KEY, "POST", &format!("/v1/quotas/{rule}/alerts"), body);
        if is_taken(&self.alerts, &rule) {
            assert_eq!(answer.status, 409, "{}", answer.body);
            return;
        }
        println!("{} alerts at {percent} of {rule}", self.account.now);
        self.alerts.push(Alert { id: text(&answer.ok(201)["id"]), rule, percent });
    }

    /// Those of rules that are gone are gone, too.
    fn forget_alerts(&mut self) {
        let rules = &self.account.rules;
        self.alerts.retain(|alert| rules.iter().any(|rule| rule.id == alert.rule));
    }

    /// What has come of an event that was counted at its own instant: for each threshold that the
    /// use of its key has reached an alert of this period, fired by it or before.
    pub(super) fn look_for_alerts(&mut self, act: &Act) {
        self.forget_alerts();
        if act.at != self.account.now {
            return;
        }
        let now = Timestamp::new(self.account.now, 0);
        for Alert { rule, percent, .. } in &self.alerts {
            let rule = self.account.rules.iter().find(|it| it.id == *rule).expect("it is there");
            let Some(key) = self.account.key(rule, act) else { continue };
            let used = self.account.status(rule, &key, act.at).used;
            let reached = used * 100 >= i64::from(*percent) * rule.limit;
            if !reached || self.account.amount(rule, act) <= 0 || rule.limit == 0 {
                continue;
            }
            let query = AlertQuery::new().rule(&*rule.id).threshold(Threshold::percent(*percent));
            let fired = self.app.engine.alerts().list(&query.limit(100));
            let is_its = |alert: &limitry::alerts::Alert| {
                let of_key = alert.key.iter().all(|(_, value)| *value == key);
                let begun = alert.window_start.is_none_or(|start| start <= now);
                of_key && begun && alert.window_end.is_none_or(|end| now < end)
            };
            let is_there = fired.alerts.iter().any(|alert| is_its(alert));
            assert!(is_there, "{used} of {rule:?} for {key}: {percent} % has not fired");
        }
    }

    /// Compares what each API says of alerts.
    pub(super) fn look_at_alerts(&mut self) {
        self.forget_alerts();
        for Alert { id, rule, percent } in &self.alerts {
            let path = format!("/v1/quota-alerts/{id}");
            let shown = self.app.get(&path).ok(200);
            assert_eq!((&shown["quotaId"], &shown["threshold"]), (&json!(rule), &json!(percent)));
            let threshold = Threshold::percent(*percent);
            let quota: Quota = self.app.engine.rules().get(rule).expect("it is there");
            assert!(quota.alert_thresholds.contains(&threshold), "{quota:?}");
            let set_at: Timestamp = text(&shown["updatedAt"]).parse().expect("a time");
            let query = AlertQuery::new().rule(rule).threshold(threshold).limit(100);
            let fired = self.app.engine.alerts().list(&query).alerts;
            // Each once, for a key and a period.
            let periods: BTreeSet<_> = fired.iter().map(|it| (&it.key, it.window_start)).collect();
            assert_eq!(periods.len(), fired.len(), "{fired:?}");
            let since = fired.iter().filter(|alert| alert.at >= set_at);
            let since: Vec<_> = since.map(|alert| (alert.used, alert.at)).collect();
            let history = self.app.get(&format!("{path}/history?limit=100")).ok(200);
            let said = history["data"].as_array().expect("a list").iter();
            let said = said.map(|one| {
                let used = whole(&one["currentUsage"]);
                let limit = whole(&one["limitValue"]);
                assert!(used * 100 >= i64::from(*percent) * limit, "{one}");
                (Amount::from(used), text(&one["triggeredAt"]).parse().expect("a time"))
            });
            assert_eq!(said.collect::<Vec<_>>(), since);
            let last = since.first().map(|(_, at)| at.to_string());
            assert_eq!(shown["lastTriggeredAt"], json!(last));
        }
    }
}
