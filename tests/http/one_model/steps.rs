//! What a program does.

use std::time::Duration;

use limitry::balances::{Credit, Debit, Debited, NewBalance};
use limitry::time::Clock;
use limitry::{Event, Hold as Holding, Reserved as Answered};
use serde_json::{Value, json};

use super::account::{Act, Balance, Hold, Reserved, Span};
use super::{Program, text};
use crate::app::SECOND;

pub(super) const CUSTOMERS: [&str; 3] = ["c1", "c2", "c3"];

impl Act {
    /// The event, as the first generation's bodies have it.
    pub(super) fn first(&self) -> Value {
        let mut body = json!({"customerId": self.customer, "eventType": self.kind});
        if let Some(model) = self.model {
            body["model"] = json!(model);
        }
        if let Some(team) = self.team {
            body["properties"] = json!({"team": team});
        }
        for (name, amount) in [("inputTokens", self.tokens), ("costCents", self.cost)] {
            if amount > 0 {
                body[name] = json!(amount);
            }
        }
        if self.units > 0 {
            body["values"] = json!({"units": self.units});
        }
        self.stamped(body)
    }

    /// The same as those of the second have it.
    pub(super) fn second(&self) -> Value {
        let mut body = json!({"customerId": self.customer, "eventType": self.kind});
        for (key, value) in [("model", self.model), ("team", self.team)] {
            if let Some(value) = value {
                body["dimensions"][key] = json!(value);
            }
        }
        let values =
            [("input_tokens", self.tokens), ("cost_cents", self.cost), ("units", self.units)];
        for (name, amount) in values {
            if amount > 0 {
                body["values"][name] = json!(amount);
            }
        }
        self.stamped(body)
    }

    fn stamped(&self, mut body: Value) -> Value {
        if self.at != self.taken_at {
            body["timestamp"] = json!(limitry::Timestamp::new(self.at, 0).to_string());
        }
        body
    }

    /// The same in Rust.
    pub(super) fn event(&self) -> Event<'_> {
        let mut event = Event::new(&*self.customer, self.kind);
        if let Some(model) = self.model {
            event = event.model(model);
        }
        if let Some(team) = self.team {
            event = event.property("team", team);
        }
        if self.is_acting {
            event = event.property("subject_kind", "team");
        }
        let number = |amount: i64| u64::try_from(amount).expect("not negative");
        if self.tokens > 0 {
            event = event.input_tokens(number(self.tokens));
        }
        if self.cost > 0 {
            event = event.cost_cents(number(self.cost));
        }
        if self.units > 0 {
            event = event.value("units", number(self.units));
        }
        if self.at != self.taken_at {
            event = event.timestamp(limitry::Timestamp::new(self.at, 0));
        }
        event
    }
}

impl Program {
    pub(super) fn draw_act(&mut self) -> Act {
        let now = self.account.now;
        let late = if self.chance(10) { 600 } else { 0 };
        let maybe = |program: &mut Self, most| {
            if program.chance(50) { program.number(most) } else { 0 }
        };
        Act {
            customer: self.pick(&CUSTOMERS).to_owned(),
            kind: self.pick(&["chat", "embed"]),
            model: self.pick(&[None, Some("gpt"), Some("mini")]),
            team: self.pick(&[None, Some("t1"), Some("t2")]),
            is_acting: false,
            tokens: maybe(self, 30),
            cost: maybe(self, 30),
            units: maybe(self, 12),
            at: now - late,
            taken_at: now,
            reserved: None,
            is_recorded: false,
            is_void: false,
            id: String::new(),
        }
    }

    pub(super) fn step(&mut self) {
        match self.number(16) {
            0..=2 => self.track(),
            3 | 4 => self.record(),
            5..=7 => self.check(),
            8 => self.reserve(),
            9 | 10 => self.settle(),
            11 => self.adjust(),
            12 => self.correct(),
            13 => self.know(),
            14 => self.pay(),
            15 => self.alert(),
            _ if self.chance(60) => {
                let seconds = self.pick(&[1, 20, 70, 3_700, 30_000, 90_000]);
                self.app.clock.advance(Duration::from_secs(seconds));
                let now = self.app.clock.now().unix_seconds();
                self.account.now = now;
                self.account.holds.retain(|hold| now < hold.expires_at);
            }
            _ if self.chance(50) => self.change_rule(),
            _ => self.add_rule(),
        }
    }

    /// Counts what was let in last.
    fn happen(&mut self, mut act: Act) {
        let newest = self.app.engine.events().newest(1).pop().expect("it is recorded");
        act.id = newest.id.to_string();
        self.account.happen(act.clone());
        self.look_for_alerts(&act);
    }

    /// Says that the second generation has recorded an event of a customer.
    fn appear(&mut self, customer: &str) {
        let today = Some(self.today());
        self.account.customers.entry(customer.to_owned()).or_insert(today);
    }

    fn today(&self) -> u32 {
        use chrono::Datelike;
        let now = chrono::DateTime::from_timestamp(self.account.now, 0);
        now.expect("a time").date_naive().day()
    }

    /// Tracks an event, and maybe once more by another API, which counts nothing.
    fn track(&mut self) {
        let act = self.draw_act();
        let key = self.chance(30).then(|| format!("key {}", self.account.acts.len()));
        let keyed = |mut body: Value| {
            if let Some(key) = &key {
                body["idempotencyKey"] = json!(key);
            }
            body.to_string()
        };
        let event = match &key {
            Some(key) => act.event().idempotency_key(&**key),
            None => act.event(),
        };
        let (allowed, over) = self.account.verdict(&act);
        let decision = if self.chance(50) {
            let answer = self.app.post("/v1/track", keyed(act.first()));
            answer.ok(if allowed { 201 } else { 429 })
        } else {
            let decision = self.app.engine.track(&event).expect("a good event");
            serde_json::to_value(&decision).expect("data")
        };
        assert_eq!(decision["allowed"], allowed, "{act:?} {decision}");
        if allowed {
            self.happen(act.clone());
        }
        self.compare_decision(&act, &decision, &over);
        if !allowed || key.is_none() {
            return;
        }
        let is_replay = match self.number(2) {
            0 => self
                .app
                .post("/v1/track", keyed(act.first()))
                .header("idempotent-replayed")
                .is_some(),
            1 => {
                let body = keyed(act.second());
                let answer = self.app.send(SECOND, "POST", "/v1/events/record", body);
                let known = answer.header("idempotent-replayed").is_some();
                answer.ok(201);
                known
            }
            _ => self.app.engine.record(&event).expect("a good event").is_replay(),
        };
        assert!(is_replay, "{act:?}");
    }

    /// Records an event, whatever the rules say.
    fn record(&mut self) {
        let act = Act { is_recorded: true, ..self.draw_act() };
        match self.number(5) {
            0 => drop(self.app.post("/v1/events", act.first().to_string()).ok(201)),
            1 => {
                let body = json!([act.first(), act.second()]);
                self.app.post("/v1/events/batch", body.to_string()).ok(201);
                self.account.happen(act.clone());
            }
            2 => {
                let body = act.second().to_string();
                self.app.send(SECOND, "POST", "/v1/events/record", body).ok(201);
                self.appear(&act.customer);
            }
            3 => {
                let body = json!({"events": [act.second(), act.second()]}).to_string();
                let answer = self.app.send(SECOND, "POST", "/v1/events/batch", body);
                assert_eq!(answer.ok(201)["count"], 2);
                self.appear(&act.customer);
                self.account.happen(act.clone());
            }
            4 => {
                let token = self.token(&act.customer);
                let mut body = act.second();
                body.as_object_mut().expect("fields").remove("customerId");
                let path = "/client/events/record";
                self.app.send(&token, "POST", path, body.to_string()).ok(201);
                self.appear(&act.customer);
            }
            _ => {
                let decision = self.app.engine.record(&act.event()).expect("a good event");
                assert!(decision.is_allowed());
            }
        }
        self.happen(act);
    }

    /// The token of a customer's client.
    pub(super) fn token(&mut self, customer: &str) -> String {
        let now = self.account.now;
        self.tokens.retain(|(_, until, _)| now < *until);
        if let Some((_, _, token)) = self.tokens.iter().find(|(of, ..)| *of == customer) {
            return token.clone();
        }
        let body = json!({"publicMetadata": {"customerId": customer}, "ttlSeconds": 600});
        let made = self.app.send(SECOND, "POST", "/v1/client-tokens", body.to_string()).ok(201);
        let token = text(&made["token"]);
        self.tokens.push((customer.to_owned(), now + 600, token.clone()));
        token
    }

    /// A check by the third generation, in any mode.
    fn check(&mut self) {
        let mut act = self.draw_act();
        (act.model, act.tokens, act.cost, act.at) = (None, 0, 0, act.taken_at);
        let mut subject = json!({"kind": "customer", "id": act.customer});
        let mut shared = json!([]);
        if let Some(team) = act.team {
            let team_subject = json!({"kind": "team", "id": team});
            if self.chance(30) {
                act.is_acting = true;
                act.customer = format!("team:{team}");
                subject = team_subject;
            } else {
                shared = json!([team_subject]);
            }
        }
        let mode = self.pick(&["consume", "consume", "preview", "reserve"]);
        let mut body = json!({
            "subject": subject, "shared": shared, "action": act.kind, "cost": act.units,
            "mode": mode,
        });
        let ttl = 1 + self.number(3_599);
        if mode == "reserve" {
            body["ttlSeconds"] = json!(ttl);
        }
        let (allowed, over) = self.account.verdict(&act);
        let decision = self.app.third("POST", "/v1/checks", body).ok(200);
        assert_eq!(decision["allowed"], allowed, "{act:?} {decision}");
        if !allowed {
            let by = text(&decision["reason"]["limitId"]);
            assert!(over.contains(&by), "{decision}");
        }
        let counts = allowed && mode != "preview";
        if counts && mode == "consume" {
            self.happen(act.clone());
        } else if counts {
            self.hold(text(&decision["reservation"]["id"]), act.clone(), ttl);
        }
        if counts || !allowed {
            self.compare_limits(&act, &decision["limits"]);
        }
    }

    fn hold(&mut self, id: String, act: Act, ttl: i64) {
        let rules = self.account.rules.iter().map(|rule| rule.id.clone()).collect();
        let expires_at = self.account.now + ttl;
        println!("{} holds {act:?}", self.account.now);
        self.account.holds.push(Hold { id, act, rules, expires_at });
    }

    /// Reserves in Rust.
    fn reserve(&mut self) {
        let mut act = self.draw_act();
        (act.tokens, act.cost, act.at) = (0, 0, act.taken_at);
        let ttl = 1 + self.number(3_599);
        let length = Duration::from_secs(u64::try_from(ttl).expect("not negative"));
        let (allowed, _) = self.account.verdict(&act);
        let answer = self.app.engine.reserve(&act.event(), Holding::lasting(length));
        match answer.expect("a good event") {
            Answered::Held(made) => {
                assert!(allowed, "{act:?}");
                self.hold(made.into_id().to_string(), act, ttl);
            }
            Answered::Refused(decision) => assert!(!allowed, "{act:?} {decision}"),
            Answered::Replayed(_) => panic!("it has no key"),
        }
    }

    /// Ends a reservation, whoever made it.
    fn settle(&mut self) {
        if self.account.holds.is_empty() {
            return;
        }
        let place = self.random_below(self.account.holds.len());
        let Hold { id, act, rules, .. } = self.account.holds.swap_remove(place);
        println!("{} ends {act:?}", self.account.now);
        let path = format!("/v1/reservations/{id}");
        let reserved = id.parse().expect("an id");
        if self.chance(30) {
            match self.number(2) {
                0 => drop(self.app.third("POST", &format!("{path}/release"), Value::Null).ok(200)),
                1 => {
                    let path = format!("/engine/v1/reservations/{id}/release");
                    self.app.post(&path, "").ok(200);
                }
                _ => drop(self.app.engine.release(reserved).expect("it is open")),
            }
            return;
        }
        let held = Reserved { units: act.units, at: act.at, rules };
        let units = self.number(20);
        let taken_at = self.account.now;
        let done = Act { units, is_recorded: true, ..act };
        if self.chance(60) {
            let path = format!("{path}/commit");
            self.app.third("POST", &path, json!({"cost": units})).ok(200);
        } else {
            let decision = self.app.engine.commit(reserved, &done.event()).expect("it is open");
            assert!(decision.is_allowed());
        }
        self.happen(Act { taken_at, reserved: Some(held), ..done });
    }

    /// Gives something back, or begins anew.
    fn adjust(&mut self) {
        let (kind, per, id) = match self.number(3) {
            0 => ("team", "team", "t1"),
            _ => ("customer", "customer_id", self.pick(&CUSTOMERS)),
        };
        let subject = json!({"kind": kind, "id": id});
        let of = |rule: &&super::account::Rule| rule.is_limit() && rule.per == Some(per);
        if self.chance(60) {
            let rules = self.account.rules.iter().filter(of);
            let mut totals = rules.filter(|rule| {
                rule.span == Span::Always && rule.customer().is_none_or(|of| of == id)
            });
            let total = totals.next().map(|rule| rule.id.clone());
            let amount = self.number(40) - 20;
            if let Some(rule) = total.filter(|_| amount != 0) {
                let path = format!("/v1/limits/{rule}/credits");
                let body = json!({"subject": subject, "amount": amount, "note": "n"});
                self.app.third("POST", &path, body).ok(200);
                let of = (rule, id.to_owned(), 0);
                *self.account.adjusted.entry(of).or_default() -= amount;
            }
            return;
        }
        self.app.third("POST", &format!("/v1/subjects/{kind}/{id}/reset"), json!({})).ok(200);
        let act = self.subject(kind, id);
        let mut begun: Vec<String> = Vec::new();
        for kind in ["chat", "embed"] {
            let judging = self.account.judging(&Act { kind, ..act.clone() }).into_iter();
            begun.extend(judging.filter(of).map(|rule| rule.id.clone()));
        }
        begun.sort();
        begun.dedup();
        for rule in begun {
            println!("{} {rule} begins anew for {id}", self.account.now);
            self.account.reset(&rule, id);
        }
    }

    /// What a subject does that says nothing else of itself.
    pub(super) fn subject(&mut self, kind: &str, id: &'static str) -> Act {
        let mut act = self.draw_act();
        (act.model, act.team, act.at) = (None, None, act.taken_at);
        act.is_acting = kind == "team";
        act.team = act.is_acting.then_some(id);
        act.customer = if act.is_acting { format!("team:{id}") } else { id.to_owned() };
        act
    }

    /// Voids an event, whoever recorded it.
    fn correct(&mut self) {
        let rules = &self.account.rules;
        // Of a rate limit and an event of the same instant it is not known which came first.
        let is_torn = |place: usize, act: &Act| {
            let mut rates = rules.iter().filter(|rule| rule.span == Span::Minute);
            rates.any(|rule| place < rule.since && rule.made_at <= act.taken_at)
        };
        let good = |(place, act): &(usize, &Act)| {
            !act.is_void && !act.id.is_empty() && !is_torn(*place, act)
        };
        let acts = self.account.acts.iter().enumerate();
        let places: Vec<usize> = acts.filter(good).map(|(place, _)| place).collect();
        if places.is_empty() {
            return;
        }
        let place = self.pick(&places);
        let id = self.account.acts[place].id.clone();
        if self.chance(50) {
            let path = format!("/engine/v1/events/{id}/void");
            self.app.post(&path, r#"{"reason": "a test"}"#).ok(200);
        } else {
            self.app.engine.void(id.parse().expect("an id"), "a test").expect("it is there");
        }
        println!("{} voids {id}", self.account.now);
        self.account.void(place);
    }

    /// Says something of a customer.
    fn know(&mut self) {
        let id = self.pick(&CUSTOMERS);
        let known = self.account.customers.get(id).copied();
        if self.chance(30) {
            let status = if known.is_some() { 204 } else { 404 };
            println!("{} forgets {id}", self.account.now);
            self.app.send(SECOND, "DELETE", &format!("/v1/customers/{id}"), "").ok(status);
            self.account.customers.remove(id);
            // Its events stay, and by them it is known.
            if self.account.acts.iter().any(|act| act.customer == id) {
                self.account.customers.insert(id.to_owned(), None);
            }
            return;
        }
        let mut body = json!({"externalId": id});
        let day = self.chance(50).then(|| 1 + self.number(27));
        if let Some(day) = day {
            body["billingCycleStart"] = json!(format!("2024-01-{day:02}"));
        }
        let is_made = matches!(known, Some(Some(_)));
        let status = if is_made { 200 } else { 201 };
        println!("{} knows {body}", self.account.now);
        self.app.send(SECOND, "POST", "/v1/customers", body.to_string()).ok(status);
        let day = day.map(|day| u32::try_from(day).expect("a day"));
        let day = day.or(known.flatten()).unwrap_or_else(|| self.today());
        self.account.customers.insert(id.to_owned(), Some(day));
    }

    /// Changes what a customer has.
    fn pay(&mut self) {
        let (customer, name) = (self.pick(&CUSTOMERS), self.pick(&["credits", "images"]));
        let (amount, in_rust) = (1 + self.number(60), self.chance(40));
        let is_credit = self.chance(40);
        let exact = u64::try_from(amount).expect("not negative");
        let balances = self.app.engine.balances();
        let Some(balance) = self.account.balances.get_mut(&(customer, name)) else {
            let minimum = 20 - i64::try_from(exact).expect("small");
            if in_rust {
                let new = NewBalance::new(customer, name).initial(exact).minimum(minimum);
                balances.create(&new).expect("it is new");
            } else {
                let body = json!({"customerId": customer, "name": name, "initialBalance": amount,
                    "minimumBalance": minimum});
                self.app.send(SECOND, "POST", "/v1/balances", body.to_string()).ok(201);
            }
            let made = Balance { current: amount, minimum, ledger: vec![amount] };
            self.account.balances.insert((customer, name), made);
            return;
        };
        let body = json!({"customerId": customer, "name": name, "amount": amount,
            "description": "d"});
        let body = body.to_string();
        if is_credit {
            if in_rust {
                balances.credit(customer, name, &Credit::new(exact)).expect("it is there");
            } else {
                self.app.send(SECOND, "POST", "/v1/balances/credit", body).ok(200);
            }
            balance.current += amount;
            balance.ledger.push(amount);
            return;
        }
        let is_enough = balance.current - balance.minimum >= amount;
        let done = if in_rust {
            let debit = balances.debit(customer, name, &Debit::new(exact)).expect("it is there");
            matches!(debit, Debited::Posted(_))
        } else {
            let path = "/v1/balances/debit";
            self.app.send(SECOND, "POST", path, body).ok(200)["success"] == true
        };
        assert_eq!(done, is_enough, "{balance:?} {amount}");
        if done {
            balance.current -= amount;
            balance.ledger.push(-amount);
        }
    }
}
