//! The shapes of values that bodies are made of: what they are as JSON.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{KnownFormat, Ref, RefOr, Schema, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::events::EventId;
use crate::reservations::ReservationId;
use crate::rules::{Aggregation, EventFilter, MeterField, Threshold};
use crate::time::TimeZone;
use crate::usage::Coverage;
use crate::{Amount, Condition, Metric, Period, Timestamp, Window};

/// Any JSON value.
#[derive(ToSchema)]
#[schema(value_type = Value)]
#[expect(dead_code, reason = "it is a shape alone")]
pub(in crate::http) struct AnyJson(serde_json::Value);

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
    Amount as "Amount" = described(Type::Number, "A number, exact to six digits");
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
        .property("eventType", described(Type::String, "Those of a type"))
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
    Threshold as "Threshold" = OneOfBuilder::new()
        .description(Some("A percentage of the limit, or an amount"))
        .item(described(Type::Integer, "A percentage of the limit"))
        .item(ObjectBuilder::new().property("amount", Amount::schema()).required("amount"));
    Condition as "Condition" = OneOfBuilder::new()
        .description(Some("What a dimension must be"))
        .item(described(Type::String, "This value"))
        .item(
            ArrayBuilder::new()
                .items(described(Type::String, "A value"))
                .description(Some("One of these values")),
        )
        .item(described(
            Type::Object,
            "`prefix` and what the value begins with, `not` and the values that it is not, or \
             `present` and whether there is one",
        ));
}
