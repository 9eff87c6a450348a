//! A list that most events have none of.

use std::ops::{Deref, DerefMut};

use smallvec::SmallVec;

/// A list whose first `N` entries lie in place. An empty one is nothing at all, so that an event
/// without properties and values has nothing to drop.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Few<T, const N: usize>(Option<SmallVec<[T; N]>>);

impl<T, const N: usize> Few<T, N> {
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn push(&mut self, entry: T) {
        self.0.get_or_insert_with(SmallVec::new).push(entry);
    }
}

impl<T, const N: usize> Deref for Few<T, N> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<T, const N: usize> DerefMut for Few<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

impl<T, const N: usize> FromIterator<T> for Few<T, N> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let mut few = Self::NONE;
        entries.into_iter().for_each(|entry| few.push(entry));
        few
    }
}

impl<T, const N: usize> IntoIterator for Few<T, N> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::option::IntoIter<SmallVec<[T; N]>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

impl<'f, T, const N: usize> IntoIterator for &'f Few<T, N> {
    type Item = &'f T;
    type IntoIter = std::slice::Iter<'f, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
