//! Which values of a dimension have events.

use super::dictionary::Dictionary;
use super::rollups::Rollups;
use crate::event::Dimension;

impl Rollups {
    /// Whether a value of a dimension has events.
    pub(crate) fn knows(&self, dimension: &Dimension, value: &str) -> bool {
        self.dictionary(dimension).is_some_and(|of| of.find(value).is_some())
    }

    /// The first so many values of a dimension that have events, by their texts; those behind one
    /// where it is given. O(values).
    pub(crate) fn values_after(
        &self,
        dimension: &Dimension,
        after: Option<&str>,
        most: usize,
    ) -> Vec<String> {
        self.dictionary(dimension).map_or_else(Vec::new, |of| of.after(after, most))
    }

    fn dictionary(&self, dimension: &Dimension) -> Option<&Dictionary> {
        self.dictionaries.iter().find(|of| of.dimension == *dimension)
    }
}
