//! The third generation: checks, reservations, limits on subjects, credits, usage.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::{PartialSchema, ToSchema};

use self::webhooks::Third;
use super::failure::{Detail, Failure, Reason};
use super::first;
use super::openapi::{About, JSON, Param, any_whole, date, flag, text, word};
use super::routes::{Routes, Shape, delete, get, patch, post};
use super::webhooks::{
    EventType, NewEndpoint, Outcome, delete as deletes, enable, get as gets, redeliver, test,
};

mod checks;
mod credits;
mod fields;
mod limit;
mod limits;
mod reservations;
mod standing;
mod subject;
mod subjects;
mod sync;
mod usage;
mod webhooks;
mod window;
mod workspace;

/// What is said of it as a whole.
pub(super) fn about() -> About {
    About {
        title: "limitry: checks, reservations, limits on subjects",
        says: "One check decides about an act and uses what it costs. Paths are below where the \
               API is mounted.",
        problem: Shape::of::<Problem<'_>>(),
        problem_is: JSON,
        without_key: Some(first::Problem::schema()),
        examples: include_str!("../openapi/examples/third.json"),
        keys: "An API key that begins with `lim_`",
    }
}

/// Its paths.
pub(super) fn routes() -> Routes {
    let routes = limit_routes(check_routes(Routes::below("/v1")));
    workspace_routes(webhook_routes(usage_routes(routes)))
}

fn check_routes(routes: Routes) -> Routes {
    routes
        .about("Checks")
        .with(
            post("/checks", "check", checks::create)
                .says("Decides whether a subject may act, and uses or reserves what it costs")
                .takes::<checks::AskedShape>()
                .answers::<checks::Decided>(StatusCode::OK, "It is allowed or refused"),
        )
        .about("Reservations")
        .with(
            post("/reservations/{id}/commit", "commitReservation", reservations::commit)
                .says("Charges what was used, in full")
                .takes::<reservations::Commit>()
                .answers::<reservations::Shown>(StatusCode::OK, "It is committed"),
        )
        .with(
            post("/reservations/{id}/extend", "extendReservation", reservations::extend)
                .says("Lets a reservation last longer")
                .may_take::<reservations::Extension>()
                .answers::<reservations::Shown>(StatusCode::OK, "It is extended"),
        )
        .with(
            post("/reservations/{id}/release", "releaseReservation", reservations::release)
                .says("Gives back what a reservation holds")
                .answers::<reservations::Shown>(StatusCode::OK, "It is released, or has expired"),
        )
}

fn limit_routes(routes: Routes) -> Routes {
    routes
        .about("Limits")
        .with(
            post("/limits", "createLimit", limits::create)
                .says("Limits what a subject, or each of a kind, may use")
                .takes::<limit::NewLimit>()
                .answers::<limit::Shown<'_>>(StatusCode::OK, "It is in force"),
        )
        .with(
            get("/limits", "listLimits", limits::list)
                .says("Lists the limits, the newest first")
                .asks(page())
                .asks([
                    text("subjectKind", "Only those of a kind of subjects"),
                    text("action", "Only those of an action"),
                    flag("archived", "Those that are archived, in place of the others"),
                ])
                .answers::<limits::Page<limit::Shown<'_>>>(StatusCode::OK, "A page of limits"),
        )
        .with(
            post("/limits/sync", "syncLimits", sync::sync)
                .says("Makes the limits match a list, all of them or none")
                .takes::<sync::AskedShape>()
                .answers::<sync::Report>(StatusCode::OK, "What was done"),
        )
        .with(
            get("/limits/{id}", "getLimit", limits::get)
                .says("Returns a limit")
                .answers::<limit::Shown<'_>>(StatusCode::OK, "The limit"),
        )
        .with(
            patch("/limits/{id}", "updateLimit", limits::update)
                .says("Changes a limit: what is not given stays")
                .takes::<limits::ChangeShape>()
                .answers::<limit::Shown<'_>>(StatusCode::OK, "It is changed"),
        )
        .with(
            post("/limits/{id}/archive", "archiveLimit", limits::archive)
                .says("Stops a limit, and keeps what is known of it")
                .answers_nothing("It is archived"),
        )
        .with(
            post("/limits/{id}/restore", "restoreLimit", limits::restore)
                .says("Brings an archived limit back")
                .answers::<limit::Shown<'_>>(StatusCode::OK, "It is in force"),
        )
        .with(
            post("/limits/{id}/credits", "createCredit", credits::create)
                .says("Adds to a subject's balance of a limit in total, or takes it back")
                .takes::<credits::NewCredit>()
                .answers::<credits::Shown>(StatusCode::OK, "The credit"),
        )
        .with(
            get("/limits/{id}/credits", "listCredits", credits::list)
                .says("Lists the credits of a limit, the newest first")
                .asks(page())
                .answers::<limits::Page<credits::Shown>>(StatusCode::OK, "A page of credits"),
        )
}

fn usage_routes(routes: Routes) -> Routes {
    routes
        .about("Usage")
        .with(
            get("/usage", "getUsage", usage::series)
                .says("Says what was used of a limit, by hours or days")
                .asks([
                    text("limitId", "The limit").needed(),
                    text("subject", "One subject alone: its kind, a colon and its id"),
                    date("from", "The first instant; 30 days before the end where it is not given"),
                    date("to", "The first instant after the end; now where it is not given"),
                    word(
                        "granularity",
                        "How long a point is; `day` where it is not given",
                        &GRAINS,
                    ),
                ])
                .answers::<usage::Series>(StatusCode::OK, "Points, those with nothing too")
                .fails([Reason::NotFound, Reason::Conflict]),
        )
        .with(
            get("/usage/standing", "getStanding", standing::standing)
                .says("Says where a subject stands on every limit; nothing is taken")
                .asks([
                    text("subject", "Its kind, a colon and its id").needed(),
                    text("shared", "Pools that it draws from, too: the same, with commas between"),
                ])
                .answers::<standing::Standing<'_>>(StatusCode::OK, "Where it stands"),
        )
        .with(
            get("/usage/subjects", "getUsageBySubject", usage::by_subject)
                .says("Lists who uses a limit now, the most used first")
                .asks([text("limitId", "The limit").needed(), size()])
                .answers::<usage::BySubject>(StatusCode::OK, "Who uses it")
                .fails([Reason::NotFound]),
        )
        .about("Subjects")
        .with(
            get("/subjects/{kind}/{id}", "getSubject", subjects::get)
                .says("Returns what is known of a subject")
                .answers::<subjects::Shown<'_>>(StatusCode::OK, "The subject"),
        )
        .with(
            patch("/subjects/{kind}/{id}", "updateSubject", subjects::update)
                .says("Sets from when a subject is billed")
                .takes::<subjects::SubjectChange>()
                .answers::<subjects::Shown<'_>>(StatusCode::OK, "The subject"),
        )
        .with(
            post("/subjects/{kind}/{id}/reset", "resetSubject", subjects::reset)
                .says("Begins one limit of a subject, or all, anew")
                .may_take::<subjects::WhatToReset>()
                .answers::<subjects::Reset<'_>>(StatusCode::OK, "What has begun anew"),
        )
}

fn webhook_routes(routes: Routes) -> Routes {
    const REDELIVER: &str = "/workspace/webhook-endpoints/{id}/deliveries/{deliveryId}/redeliver";
    routes
        .about("Webhooks")
        .with(
            get("/workspace/event-types", "listEventTypes", webhooks::event_types)
                .says("Lists the types of events that a webhook endpoint may be sent")
                .answers::<limits::Page<EventType>>(StatusCode::OK, "All of them"),
        )
        .with(
            post("/workspace/webhook-endpoints", "createWebhookEndpoint", webhooks::create)
                .says("Adds an endpoint; its secret is shown this once")
                .takes::<NewEndpoint>()
                .answers::<webhooks::Made>(StatusCode::OK, "It is sent events from now on"),
        )
        .with(
            get("/workspace/webhook-endpoints", "listWebhookEndpoints", webhooks::list)
                .says("Lists the endpoints, the newest first")
                .answers::<limits::Page<webhooks::Shown>>(StatusCode::OK, "All of them")
                .fails([Reason::Conflict]),
        )
        .with(
            get("/workspace/webhook-endpoints/{id}", "getWebhookEndpoint", gets::<Third>)
                .says("Returns an endpoint")
                .answers::<webhooks::Shown>(StatusCode::OK, "The endpoint")
                .fails([Reason::Conflict]),
        )
        .with(
            delete("/workspace/webhook-endpoints/{id}", "deleteWebhookEndpoint", deletes::<Third>)
                .says("Deletes an endpoint, its secret and its deliveries")
                .answers_nothing("It is deleted"),
        )
        .with(
            post(
                "/workspace/webhook-endpoints/{id}/enable",
                "enableWebhookEndpoint",
                enable::<Third>,
            )
            .says("Enables an endpoint that was disabled after failures")
            .answers::<webhooks::Shown>(StatusCode::OK, "It is enabled"),
        )
        .with(
            post("/workspace/webhook-endpoints/{id}/test", "testWebhookEndpoint", test::<Third>)
                .says("Sends an endpoint the event `ping`")
                .answers::<Outcome>(StatusCode::OK, "It is on its way"),
        )
        .with(
            get(
                "/workspace/webhook-endpoints/{id}/deliveries",
                "listWebhookDeliveries",
                webhooks::deliveries,
            )
            .says("Lists an endpoint's deliveries of the last 30 days, the newest first")
            .asks(page())
            .answers::<limits::Page<webhooks::ShownDelivery>>(StatusCode::OK, "A page of them")
            .fails([Reason::Conflict]),
        )
        .with(
            post(REDELIVER, "redeliverWebhook", redeliver::<Third>)
                .says("Sends the event of a delivery again, under the same event id")
                .answers::<Outcome>(StatusCode::OK, "It is on its way"),
        )
}

fn workspace_routes(routes: Routes) -> Routes {
    const LEFT_OUT: &str = "/workspace/{*left_out}";
    routes
        .about("Workspace")
        .with(
            get("/user/me", "getUser", workspace::user)
                .says("Returns the project of the key, which stands for its user")
                .answers::<workspace::User<'_>>(StatusCode::OK, "The project"),
        )
        .with(
            get("/workspace", "getWorkspace", workspace::workspace)
                .says("Returns the project of the key")
                .answers::<workspace::Workspace<'_>>(StatusCode::OK, "The project"),
        )
        .with(
            get("/workspace/usage", "getWorkspaceUsage", workspace::usage)
                .says("Counts the checks of this month")
                .answers::<workspace::Usage>(StatusCode::OK, "How many there are")
                .fails([Reason::Conflict]),
        )
        .with(delete("/user/token", "", workspace::revoke).left_out())
        .with(get(LEFT_OUT, "", workspace::left_out).left_out())
        .with(post(LEFT_OUT, "", workspace::left_out).left_out())
        .with(delete(LEFT_OUT, "", workspace::left_out).left_out())
}

const GRAINS: [&str; 2] = ["hour", "day"];

fn size() -> Param {
    any_whole("limit", "How many there are on a page: 1 to 100, or the nearest of these; 25 else")
}

/// Which page of a list.
fn page() -> [Param; 2] {
    [size(), text("cursor", "The `nextCursor` of the page before")]
}

/// Why there is no answer, as this generation says it.
#[derive(Serialize, ToSchema)]
pub(super) struct Problem<'p> {
    error: Said<'p>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ProblemSaid)]
#[serde(rename_all = "camelCase")]
struct Said<'p> {
    code: &'p str,
    message: &'p str,
    request_id: &'p str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    details: &'p [Detail],
}

impl<'p> Problem<'p> {
    pub(super) fn of(why: &'p Failure, request_id: &'p str) -> Self {
        let code = match why.reason {
            Reason::BadInput | Reason::EmptyRange => "invalid_request",
            Reason::Unauthorized => "unauthorized",
            Reason::Forbidden => "forbidden",
            Reason::NotFound => "not_found",
            Reason::NotAllowed => "method_not_allowed",
            Reason::Conflict => "conflict",
            Reason::TooLarge => "request_too_large",
            Reason::Unavailable => "unavailable",
            Reason::Internal => "internal_error",
        };
        let (code, details) = (why.code.unwrap_or(code), &*why.details);
        Self { error: Said { code, message: why.said(), request_id, details } }
    }
}
