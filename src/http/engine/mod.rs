//! The engine's own API, below `/engine/v1`: what a page, commands and operators need. A key of
//! any generation opens it.

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use parking_lot::MutexGuard;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{Answer, Project, json};
use super::changes::{Change, SyncReport};
use super::failure::{Detail, Failure, Reason};
use super::first;
use super::first::schema::{Correction, EventBody};
use super::openapi::{About, PROBLEM, Param, any_whole, date, flag, text};
use super::pages::Page;
use super::routes::{Routes, Shape, delete, get, patch, post};
use crate::Error;
use crate::errors::{RulesError, SimulateError};

mod ask;
mod changes;
mod corrections;
mod lists;
mod rules;
mod schema;
mod simulate;
mod store;
mod usage;
mod webhooks;

/// What its paths begin with.
pub(super) const BASE: &str = "/engine/v1";

/// Where the figures are.
pub(super) const FIGURES: &str = "/metrics";

/// Where the figures are that come by themselves.
pub(super) const STREAM: &str = "/engine/v1/stream";

/// What is said of it as a whole. What the engine's own types are as JSON is said with them.
pub(super) fn about() -> About {
    About {
        title: "limitry: the engine",
        says: "What a page, commands and operators need. Whoever changes rules may say why, by \
               the parameter `note`. `GET /engine/v1/stream` sends figures once a second as \
               server-sent events: `history`, `rules`, `top`, `recent` and `figures`.",
        problem: Shape::of::<Problem<'_>>(),
        problem_is: PROBLEM,
        without_key: None,
        examples: include_str!("../openapi/examples/engine.json"),
        keys: "An API key of any generation",
    }
}

/// Its paths.
pub(super) fn routes() -> Routes {
    let routes = usage_routes(question_routes(rule_routes(Routes::below(BASE))));
    webhooks::routes(store_routes(correction_routes(list_routes(routes))))
}

fn rule_routes(routes: Routes) -> Routes {
    routes
        .about("Rules")
        .with(
            post("/rules", "addRule", rules::add)
                .says("Makes a rule: `{\"rateLimit\": ...}` or `{\"quota\": ...}`")
                .asks([note()])
                .takes::<schema::NewRule>()
                .answers::<schema::Rule>(StatusCode::CREATED, "It is in force"),
        )
        .with(
            get("/rules", "listRules", rules::list)
                .says("Lists the rules, the newest first")
                .asks([flag("archived", "Those that are archived, in place of the others")])
                .asks(first::page())
                .answers::<Page<schema::Rule>>(StatusCode::OK, "A page of rules"),
        )
        .with(
            get("/rules/{id}", "getRule", rules::get)
                .says("Returns a rule")
                .answers::<schema::Rule>(StatusCode::OK, "The rule"),
        )
        .with(
            patch("/rules/{id}", "updateRule", rules::update)
                .says("Changes a rule: the fields of its kind that are given")
                .asks([note()])
                .takes::<schema::RuleUpdate>()
                .answers::<schema::Rule>(StatusCode::OK, "It is changed"),
        )
        .with(
            delete("/rules/{id}", "removeRule", rules::remove)
                .says("Removes a rule")
                .asks([note()])
                .answers_nothing("It is removed"),
        )
        .with(
            post("/rules/{id}/archive", "archiveRule", rules::archive)
                .says("Stops a rule, and keeps what is known of it")
                .asks([note()])
                .answers::<schema::Rule>(StatusCode::OK, "It is archived"),
        )
        .with(
            post("/rules/{id}/restore", "restoreRule", rules::restore)
                .says("Brings an archived rule back")
                .asks([note()])
                .answers::<schema::Rule>(StatusCode::OK, "It is in force"),
        )
        .with(
            get("/rules/{id}/keys", "listKeys", rules::keys)
                .says("Lists who uses a rule, the most used first")
                .asks(first::page())
                .answers::<rules::KeysPage>(StatusCode::OK, "A page of keys"),
        )
        .with(
            post("/sync", "syncRules", rules::sync)
                .says("Makes the rules match a list, or says what would change")
                .asks([note()])
                .takes::<rules::Wanted>()
                .answers::<SyncReport>(StatusCode::OK, "What was done, or would be"),
        )
}

fn question_routes(routes: Routes) -> Routes {
    routes
        .about("Questions")
        .with(
            post("/explain", "explain", ask::explain)
                .says("Says what an event would be answered, and what each rule has to do with it")
                .takes::<EventBody>()
                .answers::<ask::Explained>(StatusCode::OK, "The decision and the rules"),
        )
        .with(
            post("/standing", "getStanding", ask::standing)
                .says("Says where an event stands on every rule; nothing is taken")
                .takes::<EventBody>()
                .answers::<ask::Decided>(StatusCode::OK, "Where it stands"),
        )
        .with(
            get("/unseen-dimensions", "listUnseenDimensions", ask::unseen_dimensions)
                .says("Lists the dimensions that rules ask for and no event has had")
                .asks(first::page())
                .answers::<Page<ask::Unseen>>(StatusCode::OK, "A page of them"),
        )
        .with(
            post("/simulate", "simulate", simulate::simulate)
                .says("Says what other rules would have done with the events that are recorded")
                .takes::<simulate::WhatIf>()
                .answers::<schema::SimulationReport>(StatusCode::OK, "The report"),
        )
}

/// Why something is changed.
fn note() -> Param {
    text("note", "Why: kept with who and when; at most 500 bytes")
}

fn usage_routes(routes: Routes) -> Routes {
    routes
        .about("Usage")
        .with(
            post("/usage", "askUsage", usage::usage)
                .says("Sums up events, by the values of a dimension, by time, or by both")
                .takes::<usage::Question>()
                .answers::<schema::UsageAnswer>(StatusCode::OK, "The sums"),
        )
        .with(
            get("/refusals", "listRefusals", usage::refusals)
                .says("Lists the keys that rules refused, the most refused first")
                .asks([
                    text("ruleId", "Only those of a rule"),
                    date("startDate", "From the hour of this instant on"),
                    date("endDate", "Before this instant"),
                    any_whole("limit", "How many: 1 to 1000, 50 where it is left out"),
                    text("cursor", "The `nextCursor` of the page before"),
                ])
                .answers::<schema::RefusalPage>(StatusCode::OK, "A page of keys"),
        )
        .with(
            get("/refusals/hours", "listRefusalHours", usage::refusal_hours)
                .says("Says how much was refused in each hour of UTC that has a refusal")
                .asks([
                    text("ruleId", "Only by a rule"),
                    date("startDate", "From the hour of this instant on"),
                    date("endDate", "Before this instant"),
                ])
                .answers::<schema::RefusalHours>(StatusCode::OK, "The hours"),
        )
}

fn list_routes(routes: Routes) -> Routes {
    routes
        .about("Reservations and alerts")
        .with(
            get("/reservations", "listReservations", lists::reservations)
                .says("Lists the reservations, the oldest first")
                .asks([
                    text("customerId", "Only those of a customer"),
                    text("state", "Only those in a state: `held`, `committed` and so on"),
                ])
                .asks(first::page())
                .answers::<Page<schema::Reservation>>(StatusCode::OK, "A page of reservations"),
        )
        .with(
            get("/reservations/{id}", "getReservation", lists::reservation)
                .says("Returns a reservation")
                .answers::<schema::Reservation>(StatusCode::OK, "The reservation"),
        )
        .with(
            post("/reservations/{id}/release", "releaseReservation", lists::release)
                .says("Gives back what a reservation holds")
                .answers::<schema::Reservation>(StatusCode::OK, "It is released"),
        )
        .with(
            get("/alerts", "listAlerts", lists::alerts)
                .says("Lists what fired, the newest first")
                .asks([
                    text("ruleId", "Only alerts of a rule"),
                    text("customerId", "Only alerts about a customer"),
                ])
                .asks(first::page())
                .answers::<Page<schema::Alert>>(StatusCode::OK, "A page of alerts"),
        )
}

fn correction_routes(routes: Routes) -> Routes {
    routes
        .about("Corrections")
        .with(
            post("/events/{id}/void", "voidEvent", corrections::void)
                .says("Voids a recorded event: from then on it has never been")
                .takes::<corrections::Voided>()
                .answers::<Correction>(StatusCode::OK, "The correction"),
        )
        .with(
            post("/events/{id}/amend", "amendEvent", corrections::amend)
                .says("Amends a recorded event: from then on it has been like this")
                .takes::<corrections::Amended>()
                .answers::<Correction>(StatusCode::OK, "The correction"),
        )
        .with(
            get("/corrections", "listCorrections", corrections::list)
                .says("Lists the corrections, the newest first")
                .asks([text("eventId", "Only those of an event")])
                .asks(first::page())
                .answers::<Page<Correction>>(StatusCode::OK, "A page of corrections"),
        )
}

fn store_routes(routes: Routes) -> Routes {
    routes
        .about("Changes")
        .with(
            get("/me", "getCaller", changes::me)
                .says("Says what the key may do")
                .answers::<changes::Me>(StatusCode::OK, "It is this"),
        )
        .with(
            get("/changes", "listChanges", changes::changes)
                .says("Lists who changed which rule, when and why, the newest first: 1000 are kept")
                .asks(first::page())
                .answers::<Page<Change>>(StatusCode::OK, "A page of changes"),
        )
        .about("Store")
        .with(
            get("/health", "getHealth", store::health)
                .says("Says how the engine and its store are")
                .answers::<store::EngineHealth>(StatusCode::OK, "How they are"),
        )
        .with(
            post("/verify", "verifyStore", store::verify)
                .says("Goes over the whole store while the engine goes on")
                .answers::<store::Verified>(StatusCode::OK, "What was found"),
        )
        .with(
            post("/backup", "backUp", store::back_up)
                .says("Makes a copy of the store in the folder of backups")
                .answers::<store::Made>(StatusCode::CREATED, "It is made"),
        )
}

/// Whether a path is one of this API, known or not.
pub(super) fn is_below(path: &str) -> bool {
    let rest = path.strip_prefix("/engine");
    path == FIGURES || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Why there is no answer, as a problem (RFC 9457).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Problem<'p> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    request_id: &'p str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'p [Detail],
}

/// Says why there is no answer.
pub(super) fn said(why: &Failure, request_id: &str) -> Answer {
    let status = why.reason.status();
    let problem = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: why.said(),
        code: why.code,
        request_id,
        problems: &why.details,
    };
    let mut response: Response = json(status, &problem)?;
    let problem = HeaderValue::from_static(PROBLEM);
    response.headers_mut().insert(CONTENT_TYPE, problem);
    Ok(response)
}

/// Why rules were not taken: all that is wrong with them, each with its rule and its field.
fn refused(why: impl Into<Error>) -> Failure {
    let why = why.into();
    let details = match &why {
        Error::Rules(RulesError::Invalid(set)) | Error::Simulate(SimulateError::Invalid(set)) => {
            let problems = set.problems().iter().map(|problem| Detail {
                path: format!("{}: {}", problem.rule, problem.field),
                message: problem.reason.clone(),
            });
            problems.collect()
        }
        _ => Vec::new(),
    };
    Failure { details, ..why.into() }
}

/// Lets nobody else ask a project what takes long, until what this returns is dropped; a conflict
/// where somebody has.
fn alone(project: &Project) -> Result<MutexGuard<'_, ()>, Failure> {
    project.long().try_lock().ok_or_else(|| {
        let message =
            "a simulation or an audit of this project is under way; ask again when it is done";
        Failure::new(Reason::Conflict, message).code("under_way")
    })
}
