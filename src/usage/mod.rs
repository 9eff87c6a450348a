//! Who used what: roll-ups kept as events arrive, and the questions that they answer.

mod answer;
mod cells;
mod columns;
mod correct;
mod countable;
mod dictionary;
mod erase;
mod fold;
mod grid;
mod held;
mod interval;
mod level;
mod meter;
mod meter_rows;
mod notes;
mod options;
mod partial_answer;
mod plan;
mod query;
mod question;
mod rollups;
mod row;
mod select;
mod series;
mod stored;
#[cfg(test)]
mod tests;
mod values;

pub use self::answer::{
    BreakdownRow, BreakdownSeries, Coverage, RestSeries, TimeseriesBreakdown, TimeseriesPoint,
    UsageBreakdown, UsageSummary, UsageTimeseries, UsageTotals,
};
pub use self::interval::{Interval, IntervalParseError};
pub use self::meter::MeterValue;
pub use self::meter_rows::{MeterRow, MeterRows, MeterWindow};
pub use self::options::RollupOptions;
pub use self::query::{MeterQuery, UsageQuery};

pub use crate::base::sketch::Sketch;

pub(crate) use self::columns::ValueFold;
pub(crate) use self::correct::{Counted, Kept};
pub(crate) use self::meter::Figure;
pub(crate) use self::meter_rows::Rows;
pub(crate) use self::partial_answer::PartialAnswer;
pub(crate) use self::query::range;
pub(crate) use self::question::{Answer, Question};
pub(crate) use self::rollups::Rollups;
pub(crate) use self::select::Selector;
pub(crate) use self::stored::{RollupsError, RowCursor};
