//! The first generation: `track`, events, quotas and their alerts, rate limits, usage.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::call;
use super::failure::{Failure, Reason};
use super::openapi::{About, JSON, Param, date, text, whole, word};
use super::pages::Page;
use super::routes::{Routes, Shape, delete, get, post, put};

pub(super) mod alerts;
mod checks;
mod events;
mod rules;
pub(super) mod schema;
mod usage;

/// What is said of it as a whole.
pub(super) fn about() -> About {
    About {
        title: "limitry: track, quotas, rate limits, usage",
        says: "One call decides about an event and records it. Paths are below where the API is \
               mounted. What dimensions and rules are is said at the engine.",
        problem: Shape::of::<Problem<'_>>(),
        problem_is: JSON,
        without_key: None,
        examples: include_str!("../openapi/examples/first.json"),
        keys: "An API key that begins with `lm_` or `lmtry_sk_`",
    }
}

/// Its paths.
pub(super) fn routes() -> Routes {
    let routes = Routes::below("/v1")
        .about("Events")
        .with(
            post("/track", "trackUsage", events::track)
                .says("Decides about an event by all rules, and records it where it is let in")
                .takes::<schema::EventBody>()
                .answers::<schema::LetIn>(StatusCode::CREATED, "It was let in")
                .headers(&LIMIT_HEADERS)
                .answers::<schema::Refused>(StatusCode::TOO_MANY_REQUESTS, "It was refused")
                .headers(&REFUSAL_HEADERS),
        )
        .with(
            post("/events", "ingestEvent", events::record)
                .says("Records an event, whatever the rules say")
                .takes::<schema::EventBody>()
                .answers::<events::Ingested>(StatusCode::CREATED, "It is recorded"),
        )
        .with(
            get("/events", "listEvents", events::list)
                .says("Lists recorded events, the newest first")
                .asks(filters().into_iter().chain(range()).chain(page()))
                .answers::<schema::EventPage>(StatusCode::OK, "A page of events")
                .fails([Reason::Conflict]),
        )
        .with(
            post("/events/batch", "ingestEventBatch", events::record_batch)
                .says("Records up to 1 000 events, or none of them")
                .takes::<schema::EventBatch>()
                .answers::<schema::BatchReport>(StatusCode::CREATED, "They are recorded"),
        );
    usage_routes(rate_limit_routes(alert_routes(quota_routes(routes))))
}

fn quota_routes(routes: Routes) -> Routes {
    routes
        .about("Quotas")
        .with(
            post("/quotas", "createQuota", rules::add_quota)
                .says("Makes a quota")
                .takes::<schema::NewQuota>()
                .answers::<schema::Quota>(StatusCode::CREATED, "It is in force"),
        )
        .with(
            get("/quotas", "listQuotas", rules::quotas)
                .says("Lists the quotas, the newest first")
                .asks(page())
                .answers::<schema::QuotaPage>(StatusCode::OK, "A page of quotas"),
        )
        .with(
            post("/quotas/check", "checkQuotas", checks::quotas)
                .says("Says where dimensions stand on the quotas; nothing is taken")
                .takes::<schema::Dimensions>()
                .answers::<schema::QuotaCheck>(StatusCode::OK, "Where they stand"),
        )
        .with(
            get("/quotas/{id}", "getQuota", rules::quota)
                .says("Returns a quota")
                .answers::<schema::Quota>(StatusCode::OK, "The quota"),
        )
        .with(
            put("/quotas/{id}", "updateQuota", rules::update_quota)
                .says("Changes a quota: what is not given stays")
                .takes::<schema::QuotaChange>()
                .answers::<schema::Quota>(StatusCode::OK, "It is changed"),
        )
        .with(
            delete("/quotas/{id}", "deleteQuota", rules::remove_quota)
                .says("Removes a quota")
                .answers_nothing("It is removed"),
        )
}

fn alert_routes(routes: Routes) -> Routes {
    routes
        .about("Quota alerts")
        .with(
            post("/quotas/{quotaId}/alerts", "createQuotaAlert", alerts::create)
                .says("Makes an alert of a quota: it fires once a period")
                .takes::<alerts::Given>()
                .answers::<alerts::Shown>(StatusCode::CREATED, "It fires from now on"),
        )
        .with(
            get("/quotas/{quotaId}/alerts", "listQuotaAlerts", alerts::list)
                .says("Lists the alerts of a quota, the newest first")
                .asks(page())
                .answers::<Page<alerts::Shown>>(StatusCode::OK, "A page of alerts"),
        )
        .with(
            get("/quota-alerts/{alertId}", "getQuotaAlert", alerts::get)
                .says("Returns an alert")
                .answers::<alerts::Shown>(StatusCode::OK, "The alert"),
        )
        .with(
            put("/quota-alerts/{alertId}", "updateQuotaAlert", alerts::update)
                .says("Changes the threshold of an alert")
                .takes::<alerts::Given>()
                .answers::<alerts::Shown>(StatusCode::OK, "It is changed"),
        )
        .with(
            delete("/quota-alerts/{alertId}", "deleteQuotaAlert", alerts::remove)
                .says("Removes an alert")
                .answers_nothing("It is removed"),
        )
        .with(
            get("/quota-alerts/{alertId}/history", "getQuotaAlertHistory", alerts::history)
                .says("Lists when an alert has fired, the newest first")
                .asks(page())
                .answers::<Page<alerts::Fired>>(StatusCode::OK, "A page of what has fired"),
        )
}

fn rate_limit_routes(routes: Routes) -> Routes {
    routes
        .about("Rate limits")
        .with(
            post("/rate-limits", "createRateLimit", rules::add_rate_limit)
                .says("Makes a rate limit")
                .takes::<schema::NewRateLimit>()
                .answers::<schema::RateLimit>(StatusCode::CREATED, "It is in force"),
        )
        .with(
            get("/rate-limits", "listRateLimits", rules::rate_limits)
                .says("Lists the rate limits, the newest first")
                .asks(page())
                .answers::<schema::RateLimitPage>(StatusCode::OK, "A page of rate limits"),
        )
        .with(
            post("/rate-limits/check", "checkRateLimits", checks::rate_limits)
                .says("Says where dimensions stand on the rate limits; nothing is taken")
                .takes::<schema::Dimensions>()
                .answers::<schema::RateLimitCheck>(StatusCode::OK, "Where they stand"),
        )
        .with(
            get("/rate-limits/{id}", "getRateLimit", rules::rate_limit)
                .says("Returns a rate limit")
                .answers::<schema::RateLimit>(StatusCode::OK, "The rate limit"),
        )
        .with(
            put("/rate-limits/{id}", "updateRateLimit", rules::update_rate_limit)
                .says("Changes a rate limit: what is not given stays")
                .takes::<schema::RateLimitChange>()
                .answers::<schema::RateLimit>(StatusCode::OK, "It is changed"),
        )
        .with(
            delete("/rate-limits/{id}", "deleteRateLimit", rules::remove_rate_limit)
                .says("Removes a rate limit")
                .answers_nothing("It is removed"),
        )
}

fn usage_routes(routes: Routes) -> Routes {
    let asked = || {
        let range = range().map(Param::needed);
        range.into_iter().chain(filters())
    };
    routes
        .about("Usage")
        .with(
            get("/usage/summary", "getUsageSummary", usage::summary)
                .says("Sums up what was used in a range of time")
                .asks(asked())
                .answers::<schema::UsageSummary>(StatusCode::OK, "The totals")
                .fails([Reason::Conflict]),
        )
        .with(
            get("/usage/breakdown", "getUsageBreakdown", usage::breakdown)
                .says("The same of each value of a dimension")
                .asks(asked())
                .asks([text("groupBy", "A dimension, such as `model`").needed()])
                .answers::<schema::UsageBreakdown>(StatusCode::OK, "The totals of each")
                .fails([Reason::Conflict]),
        )
        .with(
            get("/usage/timeseries", "getUsageTimeseries", usage::timeseries)
                .says("The same of each minute, hour, day, week or month")
                .asks(asked())
                .asks([word("interval", "How long a bucket is", &INTERVALS).needed()])
                .answers::<schema::UsageTimeseries>(StatusCode::OK, "The totals of each")
                .fails([Reason::Conflict]),
        )
        .with(
            get("/customers/{customerId}/usage", "getCustomerUsage", usage::of_customer)
                .says("Sums up what a customer used in a range of time")
                .asks(range().map(Param::needed))
                .asks(filters().into_iter().skip(1))
                .answers::<schema::CustomerUsage>(StatusCode::OK, "The totals")
                .fails([Reason::Conflict]),
        )
        .about("Project")
        .with(
            get("/project", "getProject", call::project)
                .says("Returns the project of the key")
                .answers::<call::ShownProject<'_>>(StatusCode::OK, "The project"),
        )
}

/// The lengths of buckets.
const INTERVALS: [&str; 5] = ["minute", "hour", "day", "week", "month"];

const LIMIT_HEADERS: [(&str, &str); 3] = [
    ("X-RateLimit-Limit", "What the rate limit with the least left admits a window"),
    ("X-RateLimit-Remaining", "What is left of it"),
    ("X-RateLimit-Reset", "The Unix second at which nothing is used of it any more"),
];

const REFUSAL_HEADERS: [(&str, &str); 7] = [
    ("Retry-After", "How many seconds to wait; left out where no wait will do"),
    ("X-RateLimit-Limit", "What the rate limit admits a window that has to be waited for longest"),
    ("X-RateLimit-Remaining", "What is left of it"),
    ("X-RateLimit-Reset", "The Unix second at which nothing is used of it any more"),
    ("X-Quota-Reset", "The Unix second at which the quota that has to be waited for begins anew"),
    ("X-Quota-Period", "Its period"),
    ("X-Quota-Metric", "What it counts"),
];

/// Which events are asked about.
fn filters() -> [Param; 3] {
    [
        text("customerId", "Only those of a customer"),
        text("eventType", "Only those of a type"),
        text("model", "Only those of a model"),
    ]
}

/// Of which time.
pub(super) fn range() -> [Param; 2] {
    [
        date("startDate", "The first instant that is asked about"),
        date("endDate", "The first instant that is not any more"),
    ]
}

/// Which page of a list.
pub(super) fn page() -> [Param; 2] {
    [
        whole("limit", "How many there are on a page at most; 50 where it is not given", 1..=100),
        text("cursor", "The `nextCursor` of the page before"),
    ]
}

/// Why there is no answer, as this generation says it.
#[derive(Serialize, ToSchema)]
pub(super) struct Problem<'p> {
    error: &'p str,
    /// The field, the value and the rule; what the product does not say.
    #[serde(skip_serializing_if = "str::is_empty")]
    details: &'p str,
}

impl<'p> Problem<'p> {
    pub(super) fn of(why: &'p Failure) -> Self {
        let (error, details) = match why.reason {
            Reason::BadInput => ("Invalid request", &*why.message),
            Reason::EmptyRange => ("Invalid date range: startDate must be before endDate", ""),
            Reason::Unauthorized => ("Invalid or missing API key", ""),
            Reason::NotFound => ("Resource not found", &*why.message),
            Reason::NotAllowed => ("Method not allowed", ""),
            Reason::Forbidden => ("Forbidden", &*why.message),
            Reason::Conflict => ("Conflict", &*why.message),
            Reason::TooLarge => ("Request too large", &*why.message),
            Reason::Unavailable => ("Service unavailable", &*why.message),
            // What it is stays with the server.
            Reason::Internal => ("Internal server error", ""),
        };
        Self { error, details }
    }
}
