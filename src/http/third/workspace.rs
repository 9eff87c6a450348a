//! The workspace and its user: the key's project stands for both.

use std::ops::Range;

use axum::http::StatusCode;
use chrono::{DateTime, Datelike, Months, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::failure::{Failure, Reason};
use crate::usage::UsageQuery;
use crate::{Engine, Timestamp};

/// A workspace: a project.
#[derive(Serialize, ToSchema)]
pub(super) struct Workspace<'p> {
    id: &'p str,
    name: &'p str,
}

/// `GET /workspace`
pub(super) async fn workspace(call: Call) -> Answer {
    let id = &*call.project.id;
    json(StatusCode::OK, &Workspace { id, name: id })
}

/// Who a key is: a project.
#[derive(Serialize, ToSchema)]
pub(super) struct User<'p> {
    id: &'p str,
    name: &'p str,
    email: &'p str,
    #[schema(value_type = Vec<Workspace<'p>>)]
    workspaces: [Workspace<'p>; 1],
}

/// `GET /user/me`: a key belongs to no person.
pub(super) async fn user(call: Call) -> Answer {
    let id = &*call.project.id;
    let workspaces = [Workspace { id, name: id }];
    json(StatusCode::OK, &User { id, name: id, email: "", workspaces })
}

/// `DELETE /user/token`
pub(super) async fn revoke(_: Call) -> Answer {
    let message = "keys are those of the server's list, and are taken out of that";
    Err(Failure::new(Reason::NotFound, message))
}

/// What a workspace uses this month.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkspaceUsage)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    period_start: Timestamp,
    period_end: Timestamp,
    #[schema(value_type = Vec<Meter>)]
    meters: [Meter; 1],
}

/// One of the things that it uses.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkspaceMeter)]
struct Meter {
    name: &'static str,
    used: u64,
    /// None: there is no limit.
    #[schema(required)]
    limit: Option<u64>,
}

/// `GET /workspace/usage`: this month's events. There is no plan that bounds them.
pub(super) async fn usage(call: Call) -> Answer {
    let call = call.needs(Need::Read)?;
    let sum = move |engine: &Engine| {
        let beyond = || Failure::new(Reason::Internal, "the clock is beyond all dates");
        let month = month_of(engine.now()).ok_or_else(beyond)?;
        let query = UsageQuery::new(month.start, month.end);
        let used = engine.usage().summary(&query)?.totals.total_events;
        let meters = [Meter { name: "checks", used, limit: None }];
        let (period_start, period_end) = (month.start, month.end);
        json(StatusCode::OK, &Usage { period_start, period_end, meters })
    };
    call.project.ask(sum).await
}

/// The month that an instant is in, in UTC.
fn month_of(now: Timestamp) -> Option<Range<Timestamp>> {
    let first = DateTime::<Utc>::try_from(now).ok()?.date_naive().with_day(1)?;
    let next = first.checked_add_months(Months::new(1))?;
    let at = |date: chrono::NaiveDate| Some(date.and_hms_opt(0, 0, 0)?.and_utc().into());
    Some(at(first)?..at(next)?)
}

/// What is a matter of a service with people in it.
pub(super) async fn left_out(_: Call) -> Answer {
    let message = "members, teams, invitations, approvals and audit events are not served here";
    Err(Failure::new(Reason::NotFound, message))
}
