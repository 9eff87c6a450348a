//! Random programs of checks, reservations, credits and resets, beside a naive account of what is
//! used. `LIMITRY_SEED` and `LIMITRY_CASES` vary them.

use std::collections::BTreeMap;
use std::time::Duration;

use limitry::Engine;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::limit;
use crate::app::App;

/// A limit, and what it was made of.
struct Limit {
    id: String,
    kind: &'static str,
    own: Option<&'static str>,
    action: Option<&'static str>,
    window: &'static str,
    amount: i64,
}

/// What a check was told to draw from: the user, and the team where there is one.
type Who = (&'static str, Option<&'static str>);

/// A reservation that is open.
struct Hold {
    id: String,
    who: Who,
    action: &'static str,
    reserved: i64,
    at: u64,
    expires_at: u64,
}

/// The account: sums by limit, subject and window, and open reservations.
#[derive(Default)]
struct Account {
    limits: Vec<Limit>,
    used: BTreeMap<(usize, &'static str, u64), i64>,
    holds: Vec<Hold>,
    now: u64,
}

/// The windows' lengths; those without one never end.
fn window_of(limit: &Limit, at: u64) -> u64 {
    let length = match limit.window {
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        _ => return 0,
    };
    at / length
}

impl Limit {
    /// The subject of a check that it is for.
    fn subject(&self, (user, team): Who, action: &str) -> Option<&'static str> {
        let subject = if self.kind == "user" { Some(user) } else { team }?;
        let fits = self.own.is_none_or(|own| own == subject)
            && self.action.is_none_or(|wanted| wanted == action);
        fits.then_some(subject)
    }
}

impl Account {
    /// The limits that count a check, each with its subject.
    fn counting(&self, who: Who, action: &str) -> Vec<(usize, &'static str)> {
        let all = self.limits.iter().enumerate();
        all.filter_map(|(place, limit)| Some((place, limit.subject(who, action)?))).collect()
    }

    /// Those of them that judge it: not those that an own one replaces.
    fn judging(&self, who: Who, action: &str) -> Vec<(usize, &'static str)> {
        let counting = self.counting(who, action);
        let what = |place: usize| {
            let limit = &self.limits[place];
            (limit.kind, limit.action, limit.window)
        };
        let own = |of: usize| {
            counting.iter().any(|(place, _)| {
                *place != of && self.limits[*place].own.is_some() && what(*place) == what(of)
            })
        };
        counting.iter().copied().filter(|(place, _)| !own(*place)).collect()
    }

    fn left(&self, (place, subject): (usize, &'static str)) -> i64 {
        let limit = &self.limits[place];
        let window = window_of(limit, self.now);
        let held = self.holds.iter().filter(|hold| {
            limit.subject(hold.who, hold.action) == Some(subject)
                && window_of(limit, hold.at) == window
        });
        if limit.window == "concurrent" {
            return limit.amount - held.count() as i64;
        }
        let held: i64 = held.map(|hold| hold.reserved).sum();
        limit.amount - self.used.get(&(place, subject, window)).unwrap_or(&0) - held
    }

    fn is_let_in(&self, of: (usize, &'static str), cost: i64) -> bool {
        match self.limits[of.0].window {
            "concurrent" => self.left(of) > 0,
            _ => cost == 0 || self.left(of) >= cost,
        }
    }

    fn charge(&mut self, who: Who, action: &str, cost: i64, at: u64) {
        for (place, subject) in self.counting(who, action) {
            let limit = &self.limits[place];
            if limit.window != "concurrent" {
                *self.used.entry((place, subject, window_of(limit, at))).or_default() += cost;
            }
        }
    }

    /// A rate limit is charged for what is beyond the reservation when it is committed; a quota is
    /// for all of it when it was made.
    fn commit(&mut self, hold: &Hold, cost: i64) {
        for (place, subject) in self.counting(hold.who, hold.action) {
            let limit = &self.limits[place];
            let beyond = (cost - hold.reserved).max(0);
            let (then, now) =
                if limit.window == "minute" { (cost - beyond, beyond) } else { (cost, 0) };
            if limit.window != "concurrent" {
                let windows = [window_of(limit, hold.at), window_of(limit, self.now)];
                *self.used.entry((place, subject, windows[0])).or_default() += then;
                *self.used.entry((place, subject, windows[1])).or_default() += now;
            }
        }
    }

    /// Compares a decision with what it must be, and counts it.
    fn compare(&self, who: Who, action: &str, cost: i64, decision: &Value) -> bool {
        let judging = self.judging(who, action);
        let refusing: Vec<&str> = judging
            .iter()
            .filter(|of| !self.is_let_in(**of, cost))
            .map(|of| &*self.limits[of.0].id)
            .collect();
        let allowed = refusing.is_empty();
        assert_eq!(decision["allowed"], allowed, "{decision}");
        if !allowed {
            let by = decision["reason"]["limitId"].as_str().expect("a limit");
            assert!(refusing.contains(&by), "{decision}");
        }
        assert_eq!(decision["limits"].as_array().map(Vec::len), Some(judging.len()), "{decision}");
        allowed
    }

    /// Compares what is said to be left of each limit.
    fn compare_left(&self, who: Who, action: &str, decision: &Value) {
        for of in self.judging(who, action) {
            let limit = &self.limits[of.0];
            let said = decision["limits"].as_array().expect("a list").iter();
            let said = said.clone().find(|one| one["limitId"] == limit.id).expect("it judges");
            let left = self.left(of);
            let left = if limit.window == "total" { left } else { left.max(0) };
            assert_eq!(said["remaining"], left, "{} {decision}", limit.window);
        }
    }
}

const USERS: [&str; 3] = ["u1", "u2", "u3"];

/// The limits of a program: some of these.
fn make(app: &App, random: &mut ChaCha8Rng) -> Account {
    let mut account = Account::default();
    for (kind, own, action, window) in [
        ("user", None, None, "day"),
        ("user", Some("u1"), None, "day"),
        ("user", None, Some("chat"), "hour"),
        ("user", None, None, "minute"),
        ("user", Some("u2"), None, "minute"),
        ("user", None, None, "total"),
        ("user", None, None, "concurrent"),
        ("team", None, None, "day"),
    ] {
        if random.random_bool(0.3) {
            continue;
        }
        let most = if window == "concurrent" { 3 } else { 40 };
        let amount = random.random_range(0..=most);
        let mut body = json!({"subject": {"kind": kind}, "amount": amount, "window": window});
        if let Some(own) = own {
            body["subject"]["id"] = json!(own);
        }
        if let Some(action) = action {
            body["action"] = json!(action);
        }
        let id = limit(app, body)["id"].as_str().expect("an id").to_owned();
        account.limits.push(Limit { id, kind, own, action, window, amount });
    }
    account
}

fn step(app: &App, account: &mut Account, random: &mut ChaCha8Rng) {
    let now = account.now;
    account.holds.retain(|hold| now < hold.expires_at);
    let user = USERS[random.random_range(0..3)];
    let who = (user, random.random_bool(0.4).then_some("t1"));
    let action = ["chat", "embed"][random.random_range(0..2)];
    match random.random_range(0..10) {
        0..=4 => check(app, account, random, (who, action)),
        5 | 6 if !account.holds.is_empty() => {
            let hold = account.holds.swap_remove(random.random_range(0..account.holds.len()));
            let path = format!("/v1/reservations/{}", hold.id);
            if random.random_bool(0.3) {
                app.third("POST", &format!("{path}/release"), Value::Null).ok(200);
            } else {
                let cost = random.random_range(0..=20);
                app.third("POST", &format!("{path}/commit"), json!({"cost": cost})).ok(200);
                account.commit(&hold, cost);
            }
        }
        7 => {
            let total = account.limits.iter().position(|limit| limit.window == "total");
            let amount = random.random_range(-20..=20);
            if let Some(total) = total.filter(|_| amount != 0) {
                let path = format!("/v1/limits/{}/credits", account.limits[total].id);
                let subject = json!({"kind": "user", "id": user});
                let body = json!({"subject": subject, "amount": amount, "note": "n"});
                app.third("POST", &path, body).ok(200);
                *account.used.entry((total, user, 0)).or_default() -= amount;
            }
        }
        8 => {
            app.third("POST", &format!("/v1/subjects/user/{user}/reset"), json!({})).ok(200);
            let mut judging = account.judging((user, None), "chat");
            judging.extend(account.judging((user, None), "embed"));
            for (place, subject) in judging {
                let window = window_of(&account.limits[place], now);
                account.used.insert((place, subject, window), 0);
            }
        }
        _ => {
            let seconds = [1, 20, 70, 3_700, 90_000][random.random_range(0..5)];
            app.clock.advance(Duration::from_secs(seconds));
            account.now += seconds;
        }
    }
}

fn check(
    app: &App,
    account: &mut Account,
    random: &mut ChaCha8Rng,
    (who, action): (Who, &'static str),
) {
    let mode = ["consume", "preview", "reserve"][random.random_range(0..3)];
    let cost = random.random_range(0..=12_i64);
    let ttl = random.random_range(1..=3_600_u64);
    let mut body =
        json!({"subject": {"kind": "user", "id": who.0}, "action": action, "cost": cost});
    body["mode"] = json!(mode);
    if let Some(team) = who.1 {
        body["shared"] = json!([{"kind": "team", "id": team}]);
    }
    if mode == "reserve" {
        body["ttlSeconds"] = json!(ttl);
    }
    let decision = app.third("POST", "/v1/checks", body).ok(200);
    let allowed = account.compare(who, action, cost, &decision);
    if allowed && mode == "consume" {
        account.charge(who, action, cost, account.now);
    }
    if allowed && mode == "reserve" {
        let id = decision["reservation"]["id"].as_str().expect("it is held").to_owned();
        let (at, expires_at) = (account.now, account.now + ttl);
        account.holds.push(Hold { id, who, action, reserved: cost, at, expires_at });
    }
    if !allowed || mode != "preview" {
        account.compare_left(who, action, &decision);
    }
}

pub(crate) fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn random_programs_use_what_a_naive_account_says() {
    let first = number("LIMITRY_SEED", 1);
    for seed in first..first + number("LIMITRY_CASES", 40) {
        println!("LIMITRY_SEED={seed} LIMITRY_CASES=1");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let app = App::at("2024-01-15T00:00:00Z", Engine::builder());
        let mut account = make(&app, &mut random);
        account.now = 1_705_276_800;
        for _ in 0..80 {
            step(&app, &mut account, &mut random);
        }
    }
}
