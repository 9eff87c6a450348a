//! Rules, each made, changed and removed by any API that has words for it.

use limitry::rules::{Algorithm, Enforcement};
use limitry::{Metric, Period, Quota, RateLimit, Window};
use serde_json::{Value, json};

use super::account::{Filter, Measure, Meter, Rule, Span};
use super::{Program, text};
use crate::app::{KEY, SECOND, THIRD};

const CUSTOMER: &str = "customer_id";

/// Who makes a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Maker {
    First,
    Second,
    Third,
    Rust,
}

/// A filter as bodies have it.
fn object(filter: &Filter) -> Value {
    filter.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect()
}

fn without(filter: &Filter, key: &str) -> Filter {
    filter.iter().copied().filter(|(other, _)| *other != key).collect()
}

impl Rule {
    /// The condition on the dimension that it is split by.
    fn own(&self) -> Option<&'static str> {
        let found = self.filter.iter().find(|(key, _)| self.per == Some(*key));
        found.map(|(_, id)| *id)
    }

    fn is_for(&self, maker: Maker) -> bool {
        let is_metered = matches!(self.measure, Measure::Meter(_));
        match maker {
            Maker::Rust => true,
            Maker::First => self.span != Span::Slots,
            Maker::Second => {
                self.per == Some(CUSTOMER)
                    && !matches!(self.span, Span::Minute | Span::Slots)
                    && self.is_hard
            }
            Maker::Third => !is_metered && self.is_limit(),
        }
    }

    /// Whether it is a limit as the third generation has them.
    pub(super) fn is_limit(&self) -> bool {
        let counts = self.measure == Measure::Units || self.span == Span::Slots;
        let plain = |key: &str| key == "event_type" || self.per == Some(key);
        let is_plain = self.filter.iter().all(|(key, _)| plain(key));
        counts && self.is_hard && self.per.is_some() && is_plain
    }

    /// Whether it is one as the second has them.
    pub(super) fn is_second(&self) -> bool {
        let has_words = !self.of_customers || self.own().is_some();
        has_words && !matches!(self.span, Span::Minute | Span::Slots)
    }

    /// Whose it is there; everybody's where it is not one customer's.
    pub(super) fn customer(&self) -> Option<&'static str> {
        self.filter.iter().find(|(key, _)| *key == CUSTOMER).map(|(_, id)| *id)
    }
}

impl Program {
    fn draw_rule(&mut self) -> Rule {
        let per = self.pick(&[None, Some(CUSTOMER), Some(CUSTOMER), Some("team")]);
        let mut filter = Filter::new();
        if let Some(per) = per
            && self.chance(25)
        {
            filter.push((per, if per == "team" { "t1" } else { "c1" }));
        }
        if self.chance(30) {
            filter.push(("event_type", "chat"));
        }
        if self.chance(15) {
            filter.push(("model", "gpt"));
        }
        let meter = self.account.meters.len();
        let measure = match self.number(6) {
            0 => Measure::Events,
            1 => Measure::Tokens,
            2 => Measure::Cost,
            3 if meter > 0 => Measure::Meter(self.random_below(meter)),
            _ => Measure::Units,
        };
        let mut spans = vec![Span::Hour, Span::Day, Span::Always];
        match measure {
            Measure::Units => spans.extend([Span::Minute, Span::Minute, Span::Slots]),
            Measure::Meter(_) => spans.push(Span::Month),
            _ => spans.extend([Span::Minute, Span::Month]),
        }
        let span = self.pick(&spans);
        let most = match (measure, span) {
            (_, Span::Slots) => 3,
            (Measure::Events, _) => 12,
            (Measure::Meter(place), _) if self.account.meters[place].counts => 12,
            (Measure::Tokens | Measure::Cost, _) => 200,
            _ => 60,
        };
        let limit = self.number(most);
        let is_hard = matches!(span, Span::Minute | Span::Slots) || !self.chance(20);
        let (since, made_at) = (self.account.acts.len(), self.account.now);
        let (id, policy, is_own, of_customers) = (String::new(), None, false, false);
        #[rustfmt::skip]
        let rule = Rule {
            id, filter, per, measure, span, limit, is_hard, of_customers, policy, is_own, since,
            made_at,
        };
        rule
    }

    pub(super) fn random_below(&mut self, count: usize) -> usize {
        usize::try_from(self.number(i64::try_from(count).expect("few") - 1)).expect("not negative")
    }

    /// Makes a rule, or a meter for others to be on.
    pub(super) fn add_rule(&mut self) {
        if self.account.meters.len() < 2 && self.chance(50) {
            return self.add_meter();
        }
        let mut rule = self.draw_rule();
        let makers = [Maker::First, Maker::Second, Maker::Third, Maker::Third, Maker::Rust];
        let able: Vec<_> = makers.into_iter().filter(|maker| rule.is_for(*maker)).collect();
        let maker = self.pick(&able);
        self.made += 1;
        let name = format!("r{}", self.made);
        rule.is_own = rule.own().is_some() && matches!(maker, Maker::Second | Maker::Third);
        let counts = |measure: Measure, span: Span| format!("{measure:?} by {span:?}");
        let bare = without(&rule.filter, rule.per.unwrap_or_default());
        rule.policy = match maker {
            Maker::Second => {
                Some(format!("second {} of {bare:?}", counts(rule.measure, rule.span)))
            }
            Maker::Third => {
                // What is open at once is the same whatever is counted.
                Some(format!("third {:?} {:?} of {bare:?}", rule.per, rule.span))
            }
            _ => None,
        };
        let is_same = |other: &Rule| {
            let is_third = maker == Maker::Third && other.is_limit() && rule.per == other.per;
            let is_third = is_third && bare == without(&other.filter, rule.per.expect("a kind"));
            rule.own() == other.own()
                && (other.policy.is_some() && other.policy == rule.policy
                    || is_third && rule.span == other.span)
        };
        if self.account.rules.iter().any(is_same) {
            return;
        }
        rule.of_customers = maker == Maker::Third && rule.per == Some(CUSTOMER);
        rule.id = match maker {
            Maker::First => self.make_first(&rule, &name),
            Maker::Second => self.make_second(&rule, &name),
            Maker::Third => self.make_third(&rule, &name),
            Maker::Rust => self.make_in_rust(&rule, &name),
        };
        println!("{} {maker:?} {rule:?}", self.account.now);
        self.account.rules.push(rule);
    }

    fn metric(&self, measure: Measure) -> String {
        match measure {
            Measure::Events => "total_events".to_owned(),
            Measure::Tokens => "total_tokens".to_owned(),
            Measure::Cost => "total_cost_cents".to_owned(),
            Measure::Units => "values.units".to_owned(),
            Measure::Meter(place) => format!("meter.{}", self.account.meters[place].id),
        }
    }

    fn make_first(&mut self, rule: &Rule, name: &str) -> String {
        let mut body = json!({
            "name": name, "metric": self.metric(rule.measure), "limitValue": rule.limit,
            "dimensionFilters": object(&rule.filter),
        });
        if let Some(per) = rule.per {
            body["per"] = json!([per]);
        }
        if !rule.is_hard {
            body["enforcement"] = json!("soft");
        }
        let path = if rule.span == Span::Minute {
            body["window"] = json!("minute");
            "/v1/rate-limits"
        } else {
            let spans = [Span::Hour, Span::Day, Span::Month, Span::Always];
            let words = ["hour", "day", "month", "all_time"];
            let place = spans.iter().position(|span| *span == rule.span).expect("a period");
            body["period"] = json!(words[place]);
            "/v1/quotas"
        };
        text(&self.app.send(KEY, "POST", path, body.to_string()).ok(201)["id"])
    }

    fn make_second(&mut self, rule: &Rule, name: &str) -> String {
        let period = match rule.span {
            Span::Hour => "hour",
            Span::Day => "day",
            Span::Month => "month",
            _ => "all_time",
        };
        let meter = match rule.measure {
            Measure::Meter(place) => self.account.meters[place].id.clone(),
            Measure::Units => "values.units".to_owned(),
            other => format!("mtr_{}", self.metric(other)),
        };
        let body = json!({
            "name": name, "meterId": meter, "limitValue": rule.limit, "period": period,
            "customerId": rule.own(), "dimensionFilters": object(&without(&rule.filter, CUSTOMER)),
        });
        text(&self.app.send(SECOND, "POST", "/v1/limits", body.to_string()).ok(201)["id"])
    }

    fn make_third(&mut self, rule: &Rule, name: &str) -> String {
        let kind = if rule.per == Some(CUSTOMER) { "customer" } else { "team" };
        let window = match rule.span {
            Span::Minute => "minute",
            Span::Hour => "hour",
            Span::Day => "day",
            Span::Slots => "concurrent",
            Span::Always | Span::Month => "total",
        };
        let mut body = json!({
            "name": name, "subject": {"kind": kind}, "amount": rule.limit, "window": window,
        });
        if let Some(own) = rule.own() {
            body["subject"]["id"] = json!(own);
        }
        if rule.filter.iter().any(|(key, _)| *key == "event_type") {
            body["action"] = json!("chat");
        }
        text(&self.app.third("POST", "/v1/limits", body).ok(200)["id"])
    }

    fn make_in_rust(&mut self, rule: &Rule, name: &str) -> String {
        let metric: Metric = self.metric(rule.measure).parse().expect("a metric");
        let limit = u64::try_from(rule.limit).expect("not negative");
        let quota = |period| Quota::new(name, metric.clone(), limit, period);
        let quota = match rule.span {
            Span::Minute => {
                let made = RateLimit::new(name, limit, Window::Minute).metric(metric);
                let mut made = made.algorithm(Algorithm::FixedWindow);
                made.per.extend(rule.per.map(str::to_owned));
                let filter = rule.filter.iter();
                let made = filter.fold(made, |made, (key, value)| made.filter(*key, *value));
                let made = self.app.engine.rules().add(made).expect("a good rule");
                return made.id.expect("it has one");
            }
            Span::Hour => quota(Period::Hour),
            Span::Day => quota(Period::Day),
            Span::Month => quota(Period::Month),
            Span::Always => quota(Period::AllTime),
            Span::Slots => Quota::concurrent(name, limit),
        };
        let quota = if rule.is_hard { quota } else { quota.enforcement(Enforcement::Soft) };
        let quota = rule.per.into_iter().fold(quota, |quota, per| quota.per(per));
        let filter = rule.filter.iter();
        let quota = filter.fold(quota, |quota, (key, value)| quota.filter(*key, *value));
        self.app.engine.rules().add(quota).expect("a good rule").id.expect("it has one")
    }

    fn add_meter(&mut self) {
        let counts = self.chance(50);
        let (aggregation, field) = if counts { ("count", "*") } else { ("sum", "values.units") };
        let mut filter = Filter::new();
        let mut asked = json!({});
        if self.chance(40) {
            filter.push(("event_type", "chat"));
            asked["eventType"] = json!("chat");
        }
        if self.chance(40) {
            filter.push(("model", "gpt"));
            asked["dimensions"] = json!({"model": "gpt"});
        }
        let body = json!({
            "name": "m", "aggregation": aggregation, "field": field, "eventFilter": asked,
        });
        let made = self.app.send(SECOND, "POST", "/v1/meters", body.to_string()).ok(201);
        self.account.meters.push(Meter { id: text(&made["id"]), counts, filter });
    }

    /// Changes how much a rule allows, or takes it out.
    pub(super) fn change_rule(&mut self) {
        if self.account.rules.is_empty() {
            return;
        }
        let place = self.random_below(self.account.rules.len());
        let rule = self.account.rules[place].clone();
        let is_rate = rule.span == Span::Minute;
        let paths = if is_rate { "rate-limits" } else { "quotas" };
        let path = format!("/v1/{paths}/{}", rule.id);
        let limit_path = format!("/v1/limits/{}", rule.id);
        let by = self.number(3);
        if self.chance(30) {
            match by {
                0 if rule.is_second() => {
                    self.app.send(SECOND, "DELETE", &limit_path, "").ok(204);
                }
                1 if rule.is_limit() => {
                    let path = format!("{limit_path}/archive");
                    self.app.send(THIRD, "POST", &path, "").ok(204);
                }
                2 => self.app.engine.rules().remove(&rule.id).expect("it is there"),
                _ => drop(self.app.send(KEY, "DELETE", &path, "").ok(204)),
            }
            self.account.rules.remove(place);
            return;
        }
        let limit = rule.limit + self.number(10);
        println!("{} {by} {limit} of {}", self.account.now, rule.id);
        self.account.rules[place].limit = limit;
        let body = json!({"limitValue": limit}).to_string();
        match by {
            0 if rule.is_second() => drop(self.app.send(SECOND, "PUT", &limit_path, body).ok(200)),
            1 if rule.is_limit() => {
                let body = json!({"amount": limit}).to_string();
                self.app.send(THIRD, "PATCH", &limit_path, body).ok(200);
            }
            2 => {
                let path = format!("/engine/v1/rules/{}", rule.id);
                self.app.send(KEY, "PATCH", &path, body).ok(200);
            }
            _ => drop(self.app.send(KEY, "PUT", &path, body).ok(200)),
        }
    }
}
