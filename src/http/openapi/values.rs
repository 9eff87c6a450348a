//! The shapes of values that bodies are made of: what they are as JSON.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{KnownFormat, Ref, RefOr, Schema, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::events::EventId;
use crate::reservations::{ReservationId, ReservationState};
use crate::rules::{
    Aggregation, Algorithm, Enforcement, EventFilter, MeterField, OnMissing, Overflow, Threshold,
};
use crate::time::TimeZone;
use crate::usage::{Coverage, Interval};
use crate::{Amount, Condition, Metric, Period, Timestamp, Window};

/// The most that an event costs.
const MAX_CENTS: u64 = 1_000_000_000_000_000;

/// A cost in cents, as events have it.
#[derive(Debug)]
pub(in crate::http) enum Cost {}

/// A text.
pub(super) fn text(bytes: Option<RangeInclusive<usize>>) -> Schema {
    let mut text = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    if let Some(bytes) = bytes {
        text = text.min_length(Some(*bytes.start())).max_length(Some(*bytes.end()));
    }
    text.into()
}

fn described(kind: Type, says: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Type(kind)).description(Some(says))
}

/// One of several words.
fn words<const N: usize>(says: &str, words: [&'static str; N]) -> ObjectBuilder {
    described(Type::String, says).enum_values(Some(words))
}

/// A number that a float would round is a text.
fn exact(says: &str) -> ObjectBuilder {
    let kind = SchemaType::Array(vec![Type::Number, Type::String]);
    let pattern = r"^-?[0-9]+(\.[0-9]{1,6})?$";
    ObjectBuilder::new().schema_type(kind).description(Some(says)).pattern(Some(pattern))
}

/// An object with one field.
fn holding(name: &str, is: impl Into<RefOr<Schema>>) -> ObjectBuilder {
    ObjectBuilder::new().property(name, is).required(name)
}

fn list_of_texts(says: &str) -> ArrayBuilder {
    ArrayBuilder::new().items(described(Type::String, "A value")).description(Some(says))
}

fn or_null(schema: RefOr<Schema>) -> OneOfBuilder {
    let null = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Null));
    OneOfBuilder::new().item(null).item(schema)
}

/// A page of a list: its items, and where the next one begins.
pub(in crate::http) fn page_of(items: &str, of: Cow<'static, str>) -> ObjectBuilder {
    let cursor = or_null(described(Type::String, "Null on the last page").into());
    described(Type::Object, "A page of a list")
        .property(items, ArrayBuilder::new().items(Ref::from_schema_name(of)))
        .required(items)
        .property("nextCursor", cursor)
        .required("nextCursor")
}

/// Says of types of the engine what they are as JSON.
macro_rules! shapes {
    ($($type:ty as $name:literal = $schema:expr;)+) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                RefOr::T($schema.into())
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )+};
}

shapes! {
    Timestamp as "Timestamp" = described(Type::String, "A date and time")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    Amount as "Amount" =
        exact("A number, exact to six digits; as text where it has more than a float carries");
    Cost as "Cost" =
        exact("Cents, exact to six digits").minimum(Some(0)).maximum(Some(MAX_CENTS));
    EventId as "EventId" = described(Type::String, "The id of a recorded event");
    ReservationId as "ReservationId" = described(Type::String, "The id of a reservation");
    Metric as "Metric" = described(
        Type::String,
        "`total_events`, `total_tokens`, `total_cost_cents`, a value such as `input_tokens` or \
         `values.images`, or `meter.` and the id of a meter",
    );
    Period as "Period" = described(
        Type::String,
        "`hour`, `day`, `week`, `month`, `year`, `all_time`, or the engine's own: `concurrent`, \
         `rolling:5m`",
    );
    Window as "Window" = described(
        Type::String,
        "`second`, `minute`, `hour`, or the engine's own: `day`, `5m`",
    );
    TimeZone as "TimeZone" = described(Type::String, "The IANA name of a time zone");
    MeterField as "MeterField" = described(Type::String, "`values.` and a name, or `*`");
    Aggregation as "Aggregation" = described(
        Type::String,
        "`sum`, `count`, `max`, `latest`, or the engine's own: `unique`",
    );
    EventFilter as "EventFilter" = described(Type::Object, "Which events a meter counts")
        .property("eventType", Condition::schema())
        .property(
            "dimensions",
            described(Type::Object, "Those whose dimensions are these")
                .additional_properties(Some(Condition::schema())),
        );
    Coverage as "Coverage" = described(
        Type::Object,
        "The range that an answer covers, where it is not all that was asked for",
    )
        .property("startDate", or_null(Timestamp::schema()))
        .property("endDate", or_null(Timestamp::schema()))
        .required("startDate")
        .required("endDate");
    Algorithm as "Algorithm" =
        words("How a rate limit counts", ["token_bucket", "fixed_window", "sliding_window"]);
    Enforcement as "Enforcement" = words(
        "Whether it refuses, may go over (`soft`), or is on trial (`shadow`)",
        ["hard", "soft", "shadow"],
    );
    Overflow as "Overflow" = words(
        "What new keys get where there is no room for counters of their own",
        ["share", "deny", "allow"],
    );
    Interval as "Interval" =
        words("How long buckets are", ["minute", "hour", "day", "week", "month"]);
    ReservationState as "ReservationState" = words(
        "What has become of a reservation",
        ["held", "committed", "released", "expired"],
    );
    OnMissing as "OnMissing" = OneOfBuilder::new()
        .description(Some("What becomes of an event that lacks a dimension"))
        .item(words("It does not match, or is refused", ["skip", "refuse"]))
        .item(holding("value", described(Type::String, "What stands for it")));
    Threshold as "Threshold" = OneOfBuilder::new()
        .description(Some("A percentage of the limit, or an amount"))
        .item(described(Type::Integer, "A percentage of the limit"))
        .item(holding("amount", Amount::schema()));
    Condition as "Condition" = OneOfBuilder::new()
        .description(Some("What a dimension must be"))
        .item(described(Type::String, "This value"))
        .item(list_of_texts("One of these values"))
        .item(holding("prefix", described(Type::String, "What the value begins with")))
        .item(holding(
            "not",
            OneOfBuilder::new()
                .item(described(Type::String, "Not this value"))
                .item(list_of_texts("None of these values")),
        ))
        .item(holding("present", described(Type::Boolean, "Whether there is a value")));
}

/// Defines a shape that is one of several, or more than one.
macro_rules! any_of {
    ($(#[doc = $doc:literal])+ $visible:vis $name:ident as $as:literal: $($shape:ty),+ $(,)?) => {
        $(#[doc = $doc])+
        #[derive(Debug)]
        $visible enum $name {}

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let any = utoipa::openapi::schema::AnyOfBuilder::new();
                let any = any.description(Some(concat!($($doc),+).trim_start()));
                $(let any = any.item(utoipa::openapi::Ref::from_schema_name(
                    <$shape as utoipa::ToSchema>::name(),
                ));)+
                any.into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed($as)
            }

            fn schemas(
                schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>,
            ) {
                $(
                    let name = <$shape as utoipa::ToSchema>::name().into_owned();
                    schemas.push((name, <$shape as utoipa::PartialSchema>::schema()));
                    <$shape as utoipa::ToSchema>::schemas(schemas);
                )+
            }
        }
    };
}
pub(in crate::http) use any_of;
