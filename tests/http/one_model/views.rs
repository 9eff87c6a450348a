//! What is said of it, by every API.

use limitry::usage::UsageQuery;
use limitry::{Customer, Timestamp};
use serde_json::{Value, json};

use super::account::{Act, Balance, Filter, Rule, Span, Status, plus};
use super::steps::CUSTOMERS;
use super::{Program, text, whole};
use crate::{engine, second};

/// The items of a list by their ids.
fn by_id<'v>(list: &'v Value, id: &str) -> Vec<(String, &'v Value)> {
    let items = list.as_array().expect("a list").iter();
    let mut found: Vec<_> = items.map(|item| (text(&item[id]), item)).collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

fn rows(breakdown: &Value) -> &[Value] {
    breakdown["data"].as_array().expect("a list")
}

/// The events, the tokens and the cents that the first generation says.
fn first_sums(said: &Value) -> [i64; 3] {
    ["totalEvents", "totalTokens", "totalCostCents"].map(|name| whole(&said[name]))
}

/// The same that the second says, and the units.
fn second_sums(said: &Value) -> [i64; 4] {
    let value = |name: &str| said["values"].get(name).map_or(0, whole);
    [whole(&said["totalEvents"]), value("total_tokens"), value("cost_cents"), value("units")]
}

/// Compares a list with where the model says that a subject stands.
fn compare(said: &Value, id: &str, mut due: Vec<Status>, mut each: impl FnMut(&Value, &Status)) {
    due.sort_by(|one, other| one.id.cmp(&other.id));
    let said = by_id(said, id);
    let ids: Vec<_> = said.iter().map(|(id, _)| &**id).collect();
    assert_eq!(ids, due.iter().map(|status| &*status.id).collect::<Vec<_>>(), "{said:?}");
    for ((_, item), status) in said.into_iter().zip(&due) {
        each(item, status);
    }
}

/// Compares the figures of the first generation, which are those of Rust.
fn compare_first(
    said: &Value,
    due: Vec<Status>,
    is_rate: bool,
    exceeded: impl Fn(&Status) -> bool,
) {
    let due = due.into_iter().filter(|status| (status.span == Span::Minute) == is_rate).collect();
    compare(said, "id", due, |item, status| {
        assert_eq!(whole(&item["remaining"]), status.remaining(), "{item} {status:?}");
        assert_eq!(item["exceeded"], exceeded(status), "{item} {status:?}");
        if !is_rate && status.span != Span::Slots {
            assert_eq!(whole(&item["used"]), status.used, "{item} {status:?}");
            assert_eq!(item["held"].as_i64().unwrap_or(0), status.held, "{item} {status:?}");
        }
    });
}

impl Program {
    /// Compares a decision's statuses: as they are after it, or without it where it was refused.
    pub(super) fn compare_decision(&self, act: &Act, said: &Value, over: &[String]) {
        let standing = self.account.standing(act);
        let exceeded = |status: &Status| over.contains(&status.id);
        compare_first(&said["quotas"], standing.clone(), false, exceeded);
        compare_first(&said["rateLimits"], standing, true, exceeded);
    }

    /// Compares the limits of a check.
    pub(super) fn compare_limits(&self, act: &Act, said: &Value) {
        compare(said, "limitId", self.account.standing(act), |item, status| {
            let left = status.left();
            let left = if status.span == Span::Always { left } else { status.remaining() };
            assert_eq!(whole(&item["remaining"]), left, "{item} {status:?}");
        });
    }

    /// One look at something.
    pub(super) fn look(&mut self) {
        match self.number(8) {
            0 => self.look_at_standing(),
            1 => self.look_at_limits(),
            2 => self.look_at_subjects(),
            3 => self.look_at_sums(),
            4 => self.look_at_meters(),
            5 => self.look_at_keys(),
            6 => self.look_at_customers(),
            7 => self.look_at_alerts(),
            _ => self.look_at_balances(),
        }
    }

    pub(super) fn look_at_all(&mut self) {
        for _ in 0..3 {
            self.look_at_standing();
            self.look_at_limits();
            self.look_at_subjects();
            self.look_at_sums();
        }
        self.look_at_meters();
        self.look_at_keys();
        self.look_at_customers();
        self.look_at_alerts();
        self.look_at_balances();
        self.look_at_events();
    }

    /// The first generation, the engine's own API and Rust: where dimensions stand.
    fn look_at_standing(&mut self) {
        let now = self.account.now;
        let act = Act { at: now, ..self.draw_act() };
        let of_rust = self.app.engine.standing(&act.event()).expect("a good event");
        let of_rust = serde_json::to_value(&of_rust).expect("data");
        let due = self.account.standing(&act);
        let exceeded = |status: &Status| status.exceeded;
        compare_first(&of_rust["quotas"], due.clone(), false, exceeded);
        compare_first(&of_rust["rateLimits"], due, true, exceeded);
        self.app.post("/engine/v1/standing", act.first().to_string()).is(200, of_rust.clone());
        let mut asked = json!({"customer_id": act.customer, "event_type": act.kind});
        for (key, value) in [("model", act.model), ("team", act.team)] {
            if let Some(value) = value {
                asked[key] = json!(value);
            }
        }
        let asked = asked.to_string();
        let quotas = self.app.post("/v1/quotas/check", &*asked).ok(200);
        assert_eq!(quotas["quotas"], of_rust["quotas"]);
        let rates = self.app.post("/v1/rate-limits/check", asked).ok(200);
        assert_eq!(rates["rateLimits"], of_rust["rateLimits"]);
    }

    /// The second generation and its clients: where a customer stands on limits.
    fn look_at_limits(&mut self) {
        let mut act = self.draw_act();
        act.at = self.account.now;
        let asks_type = self.chance(50);
        let mut dimensions = json!({});
        for (key, value) in [("model", act.model), ("team", act.team)] {
            if let Some(value) = value {
                dimensions[key] = json!(value);
            }
        }
        if asks_type {
            dimensions["event_type"] = json!(act.kind);
        } else {
            act.kind = "-";
        }
        let mut asked = json!({"customerId": act.customer, "dimensions": dimensions});
        let due = self.due_limits(&act, true);
        let checked = second::post(&self.app, "/limits/check", asked.clone()).ok(200);
        self.compare_second(&checked, due);
        let token = self.token(&act.customer);
        asked.as_object_mut().expect("fields").remove("customerId");
        let of_client = self.app.send(&token, "POST", "/client/limits/check", asked.to_string());
        assert_eq!(of_client.ok(200), checked);
        // All customers together.
        let due = self.due_limits(&act, false);
        let checked = second::post(&self.app, "/limits/check", asked).ok(200);
        self.compare_second(&checked, due);
    }

    fn compare_second(&self, said: &Value, due: Vec<Status>) {
        let is_hard =
            |id: &str| self.account.rules.iter().any(|rule| rule.id == id && rule.is_hard);
        let refused = due.iter().any(|status| status.exceeded && is_hard(&status.id));
        assert_eq!(said["allowed"], !refused, "{said} {due:?}");
        compare(&said["limits"], "id", due, |item, status| {
            assert_eq!(whole(&item["used"]), status.used, "{item} {status:?}");
            assert_eq!(whole(&item["remaining"]), status.remaining(), "{item} {status:?}");
            assert_eq!(item["exceeded"], status.exceeded, "{item} {status:?}");
        });
    }

    /// The limits that are about a question; what meters ask of events is not asked of it.
    fn due_limits(&self, act: &Act, has_customer: bool) -> Vec<Status> {
        let asked = |key: &str| match key {
            "customer_id" => has_customer.then_some(&*act.customer),
            key => act.dimension(key),
        };
        let is_about = |rule: &&Rule| {
            let mut filter = rule.filter.iter();
            rule.is_second()
                && filter.all(|(key, value)| asked(key) == Some(value))
                && rule.per.is_none_or(|per| per == "customer_id" || asked(per).is_some())
        };
        let mut due = Vec::new();
        for rule in self.account.rules.iter().filter(is_about) {
            if rule.per == Some("customer_id") && !has_customer {
                let (id, used) = (rule.id.clone(), self.account.used_by_all(rule));
                let (span, limit) = (rule.span, rule.limit);
                due.push(Status { id, span, limit, used, held: 0, exceeded: used >= limit });
                continue;
            }
            let is_replaced = self.account.rules.iter().any(|other| {
                let mut filter = other.filter.iter();
                let counts = filter.all(|(key, value)| asked(key) == Some(value));
                let is_rival =
                    other.is_own && other.policy.is_some() && other.policy == rule.policy;
                is_rival && counts && !rule.is_own
            });
            if !is_replaced {
                let key = rule.per.map_or("", |per| asked(per).expect("it is asked"));
                due.push(self.account.status(rule, key, act.at));
            }
        }
        due
    }

    /// The third generation: where subjects stand on the limits of every action.
    fn look_at_subjects(&mut self) {
        let (kind, id) = match self.number(3) {
            0 => ("team", "t1"),
            _ => ("customer", self.pick(&CUSTOMERS)),
        };
        let mut act = self.subject(kind, id);
        let mut path = format!("/v1/usage/standing?subject={kind}:{id}");
        if kind == "customer" && self.chance(50) {
            act.team = Some("t1");
            path.push_str("&shared=team:t1");
        }
        let mut due: Vec<Status> = Vec::new();
        for kind in ["chat", "embed"] {
            let asked = Act { kind, ..act.clone() };
            for rule in self.account.judging(&asked).into_iter().filter(|rule| rule.is_limit()) {
                let is_of = rule.per == Some("team") || !act.is_acting;
                if is_of && due.iter().all(|status| status.id != rule.id) {
                    let key = self.account.key(rule, &asked).expect("it judges");
                    due.push(self.account.status(rule, &key, act.at));
                }
            }
        }
        let said = self.app.third("GET", &path, Value::Null).ok(200);
        compare(&said["limits"], "limitId", due, |item, status| {
            // Of a rate limit it is what is not left.
            let is_rate = status.span == Span::Minute;
            let whole_use = status.used + status.held;
            let used = if is_rate { status.limit - status.remaining() } else { whole_use };
            assert_eq!(whole(&item["used"]), used, "{item} {status:?}");
        });
    }

    /// Every API and Rust: what was used in a range.
    fn look_at_sums(&mut self) {
        let now = self.account.now;
        let ends = [now - 90_000, now - 3_600, now - 70, now - 1, now + 1, now + 1];
        let (one, other) = (self.pick(&ends), self.pick(&ends));
        let (start, end) =
            if one == other { (0, now + 1) } else { (one.min(other), one.max(other)) };
        let (from, to) = (Timestamp::new(start, 0), Timestamp::new(end, 0));
        let range = format!("startDate={from}&endDate={to}");
        let customer = self.pick(&CUSTOMERS);
        let is_one = self.chance(50);
        let filter: Filter = if is_one { vec![("customer_id", customer)] } else { Vec::new() };
        let of = if is_one { format!("&customerId={customer}") } else { String::new() };
        let due = self.account.sums(start..end, &filter);
        let first = self.app.get(&format!("/v1/usage/summary?{range}{of}")).ok(200);
        assert_eq!(first_sums(&first), due[..3], "{range}{of}");
        let generic = second::get(&self.app, &format!("/events/summary?{range}{of}")).ok(200);
        assert_eq!(second_sums(&generic), due, "{range}{of} {generic}");
        if is_one {
            let token = self.token(customer);
            let path = format!("/client/events/summary?{range}");
            assert_eq!(self.app.send(&token, "GET", &path, "").ok(200), generic);
            let path = format!("/v1/customers/{customer}/usage?{range}");
            assert_eq!(first_sums(&self.app.get(&path).ok(200)), due[..3]);
        }
        let mut query = UsageQuery::new(from, to);
        if is_one {
            query = query.customer(customer);
        }
        let of_rust = self.app.engine.usage().summary(&query).expect("a range");
        assert_eq!(serde_json::to_value(&of_rust).expect("data"), first);
        let key = self.pick(&["customer_id", "event_type", "model", "team"]);
        let path = format!("breakdown?{range}{of}&groupBy={key}");
        let first = self.app.get(&format!("/v1/usage/{path}")).ok(200);
        let second = second::get(&self.app, &format!("/events/{path}")).ok(200);
        let mut all = [0; 4];
        for (first, second) in rows(&first).iter().zip(rows(&second)) {
            let value = &first["dimension"];
            assert_eq!(*value, second["dimension"]);
            let is_of = |act: &Act| act.dimension(key) == value.as_str();
            let due = self.account.sums_where(start..end, &filter, is_of);
            assert_eq!((second_sums(second), &first_sums(first)[..]), (due, &due[..3]), "{path}");
            all = plus(all, due);
        }
        assert_eq!(all, due, "{path}");
    }

    /// Meters, of the project and global.
    fn look_at_meters(&mut self) {
        let customer = self.pick(&CUSTOMERS);
        let is_one = self.chance(50);
        let filter: Filter = if is_one { vec![("customer_id", customer)] } else { Vec::new() };
        let asked = if is_one { json!({"customerId": customer}) } else { json!({}) };
        let ask = |id: &str| {
            let answer = second::post(&self.app, &format!("/meters/{id}/query"), asked.clone());
            whole(&answer.ok(200)["value"])
        };
        for meter in &self.account.meters {
            let all = [&filter[..], &meter.filter].concat();
            let [events, .., units] = self.account.sums(i64::MIN..i64::MAX, &all);
            assert_eq!(ask(&meter.id), if meter.counts { events } else { units }, "{meter:?}");
        }
        let due = self.account.sums(i64::MIN..i64::MAX, &filter);
        let global = ["mtr_total_events", "mtr_total_tokens", "mtr_total_cost_cents"];
        let global = global.into_iter().chain(["values.units"]).map(ask);
        assert_eq!(global.collect::<Vec<_>>(), due);
    }

    /// The keys of rules: who has used what of each.
    fn look_at_keys(&mut self) {
        for rule in &self.account.rules {
            let page = engine::get(&self.app, &format!("/rules/{}/keys", rule.id));
            let keys = page["items"].as_array().expect("a list");
            for customer in CUSTOMERS.into_iter().chain(["team:t1", "t1", "t2", ""]) {
                let key = |item: &&Value| {
                    let key = item["key"].as_object().expect("a key");
                    let value = key.values().next().and_then(Value::as_str);
                    rule.per.is_some() && value == Some(customer)
                        || rule.per.is_none() && customer.is_empty()
                };
                let status = self.account.status(rule, customer, self.account.now);
                let Some(item) = keys.iter().find(key) else {
                    // A key is known from its first event on that came after the rule.
                    let is_new = !self.account.has_seen(rule, customer);
                    let nothing = (status.used, status.held) == (0, 0);
                    assert!(is_new || nothing, "{rule:?} {customer} {status:?} {keys:?}");
                    continue;
                };
                let said = (whole(&item["used"]), whole(&item["held"]));
                match rule.span {
                    Span::Slots => {}
                    // How far over its limit a window is, it does not always know.
                    Span::Minute => {
                        assert_eq!(whole(&item["remaining"]), status.remaining(), "{item}");
                    }
                    _ => assert_eq!(said, (status.used, status.held), "{rule:?} {item}"),
                }
            }
        }
    }

    fn look_at_customers(&mut self) {
        let shown = second::pages(&self.app, "/customers", 2);
        let shown: Vec<_> = shown.iter().map(|known| text(&known["externalId"])).collect();
        assert_eq!(shown, self.account.customers.keys().cloned().collect::<Vec<_>>());
        for (id, day) in &self.account.customers {
            let known: Customer = self.app.engine.customers().get(id).expect("it is known");
            let of_rust = known.billing_anchor.map(|date| chrono::Datelike::day(&date));
            assert_eq!(of_rust, *day, "{id}");
            if !CUSTOMERS.contains(&&**id) {
                continue;
            }
            let path = format!("/v1/subjects/customer/{id}");
            let subject = self.app.third("GET", &path, Value::Null).ok(200);
            let second = second::get(&self.app, &format!("/customers/{id}")).ok(200);
            assert_eq!(subject["billingDate"], second["billingCycleStart"], "{id}");
            assert_eq!(subject["billingDate"].is_null(), day.is_none());
        }
    }

    fn look_at_balances(&mut self) {
        for ((customer, name), balance) in &self.account.balances {
            let of_rust = self.app.engine.balances().get(customer, name).expect("it is there");
            assert_eq!(of_rust.current_balance.to_string(), balance.current.to_string());
            let shown =
                second::get(&self.app, &format!("/balances?customerId={customer}&name={name}"));
            let shown = shown.ok(200)["data"][0].clone();
            let figures = ["currentBalance", "minimumBalance", "availableBalance"];
            let figures = figures.map(|figure| whole(&shown[figure]));
            let Balance { current, minimum, .. } = balance;
            assert_eq!(figures, [*current, *minimum, current - minimum]);
            let path = format!("/balances/{}/transactions", text(&shown["id"]));
            let ledger = second::pages(&self.app, &path, 5);
            let ledger = ledger.iter().rev().map(|entry| {
                let amount = whole(&entry["amount"]);
                if entry["type"] == "debit" { -amount } else { amount }
            });
            assert_eq!(ledger.collect::<Vec<_>>(), balance.ledger);
        }
    }

    /// The lists of events of two generations and Rust.
    fn look_at_events(&mut self) {
        let second = second::pages(&self.app, "/events", 100);
        let first = {
            let mut all = Vec::new();
            let mut cursor = String::new();
            loop {
                let page = self.app.get(&format!("/v1/events?limit=100{cursor}")).ok(200);
                all.extend(page["data"].as_array().expect("a list").iter().cloned());
                let Some(next) = page["nextCursor"].as_str() else { break all };
                cursor = format!("&cursor={next}");
            }
        };
        let ids = |events: &[Value]| events.iter().map(|it| text(&it["id"])).collect::<Vec<_>>();
        assert_eq!(ids(&first), ids(&second));
        let of_rust = self.app.engine.events().newest(first.len() + 1);
        assert_eq!(of_rust.len(), self.account.acts.len());
        for customer in CUSTOMERS {
            let of = second.iter().filter(|event| event["customerId"] == customer);
            let units = of.map(|event| event["values"]["units"].as_i64().unwrap_or(0));
            let acts = self.account.acts.iter().filter(|act| act.customer == customer);
            let units: Vec<_> = units.collect();
            let mut due: Vec<_> = acts.map(|act| act.units).collect();
            let mut units = units;
            units.sort_unstable();
            due.sort_unstable();
            assert_eq!(units, due, "{customer}");
        }
    }
}
