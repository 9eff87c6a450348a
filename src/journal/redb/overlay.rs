//! What is written over a medium that stays as it is: kept in memory, and read in place of the
//! medium's own bytes.

use std::collections::HashMap;
use std::{io, mem};

use parking_lot::RwLock;

/// What is written at once as a whole: redb's pages are as large, or multiples of it.
const PAGE: usize = 4_096;
type Page = [u8; PAGE];

/// The bytes of a medium, as they would be if all that was written had been.
#[derive(Debug)]
pub(super) struct Overlay(RwLock<State>);

#[derive(Debug)]
struct State {
    /// How many bytes there are.
    len: u64,
    /// How many of them are the medium's, where no page says otherwise. The others are zeros.
    of_medium: u64,
    /// Pages that were written, by their number.
    pages: HashMap<u64, Box<Page>, ahash::RandomState>,
    /// What was done, in its order; `None` where nobody does it to the medium any more.
    changes: Option<Vec<Change>>,
}

/// What is to be done to a medium.
#[derive(Debug)]
pub(super) enum Change {
    Length(u64),
    Write(u64, Box<[u8]>),
    Sync,
}

/// Reads bytes of the medium, from an offset on.
pub(super) type Read<'m> = &'m dyn Fn(u64, &mut [u8]) -> io::Result<()>;

/// A part of a page: its number, where it begins in it, and how many bytes it has.
type Part = (u64, usize, usize);

impl Overlay {
    /// Over a medium of so many bytes, to which what is done is done later, or never.
    pub(super) fn over(len: u64, later: bool) -> Self {
        let changes = later.then(Vec::new);
        Self(RwLock::new(State { len, of_medium: len, pages: HashMap::default(), changes }))
    }

    /// What was done until now. What is done from now on is never done to the medium.
    pub(super) fn take_changes(&self) -> Vec<Change> {
        mem::take(&mut self.0.write().changes).unwrap_or_default()
    }

    pub(super) fn len(&self) -> u64 {
        self.0.read().len
    }

    pub(super) fn sync(&self) {
        self.0.write().did(|| Change::Sync);
    }

    pub(super) fn set_len(&self, len: u64) {
        let mut state = self.0.write();
        state.did(|| Change::Length(len));
        if len < state.len {
            let last = len.div_euclid(PAGE as u64);
            state.pages.retain(|number, _| *number <= last);
            let kept = usize::try_from(len.rem_euclid(PAGE as u64)).unwrap_or(0);
            if let Some(page) = state.pages.get_mut(&last) {
                page.iter_mut().skip(kept).for_each(|byte| *byte = 0);
            }
            state.of_medium = state.of_medium.min(len);
        }
        state.len = len;
    }

    pub(super) fn read(&self, medium: Read<'_>, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.read();
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > state.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if state.pages.is_empty() {
            return state.read_medium(medium, offset, out);
        }
        let mut rest = out;
        for (number, first, len) in parts(offset, rest.len()) {
            let (part, behind) = rest.split_at_mut_checked(len).unwrap_or_default();
            match state.pages.get(&number).and_then(|page| page.get(first..first.wrapping_add(len)))
            {
                Some(written) => part.copy_from_slice(written),
                None => state.read_medium(medium, start_of(number, first), part)?,
            }
            rest = behind;
        }
        Ok(())
    }

    pub(super) fn write(&self, medium: Read<'_>, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.write();
        let mut rest = data;
        for (number, first, len) in parts(offset, data.len()) {
            let (part, behind) = rest.split_at_checked(len).unwrap_or_default();
            let mut page = match state.pages.remove(&number) {
                Some(page) => page,
                None => state.page_of(medium, number)?,
            };
            if let Some(bytes) = page.get_mut(first..first.wrapping_add(len)) {
                bytes.copy_from_slice(part);
            }
            state.pages.insert(number, page);
            rest = behind;
        }
        let end = offset.saturating_add(data.len() as u64);
        state.len = state.len.max(end);
        state.did(|| Change::Write(offset, data.into()));
        Ok(())
    }
}

impl State {
    fn did(&mut self, change: impl FnOnce() -> Change) {
        if let Some(changes) = &mut self.changes {
            changes.push(change());
        }
    }

    /// Reads what is in no page that was written.
    fn read_medium(&self, medium: Read<'_>, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = self.of_medium.saturating_sub(offset);
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(out.len());
        let (own, zeros) = out.split_at_mut_checked(there).unwrap_or_default();
        zeros.fill(0);
        if own.is_empty() { Ok(()) } else { medium(offset, own) }
    }

    /// A whole page that was not written yet.
    fn page_of(&self, medium: Read<'_>, number: u64) -> io::Result<Box<Page>> {
        let mut page = Box::new([0; PAGE]);
        self.read_medium(medium, start_of(number, 0), page.as_mut_slice())?;
        Ok(page)
    }
}

fn start_of(page: u64, first: usize) -> u64 {
    page.saturating_mul(PAGE as u64).saturating_add(first as u64)
}

/// The parts of pages that so many bytes from an offset on are in.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = Part> {
    let (mut at, mut left) = (offset, len);
    std::iter::from_fn(move || {
        let first = usize::try_from(at.rem_euclid(PAGE as u64)).unwrap_or(0);
        let count = PAGE.saturating_sub(first).min(left);
        let part = (at.div_euclid(PAGE as u64), first, count);
        at = at.saturating_add(count as u64);
        left = left.saturating_sub(count);
        (count > 0).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    //! Reads, writes and new lengths at seeded places, against a plain vector.

    use rand::{Rng, RngCore, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn it_is_what_the_medium_would_be_and_becomes_by_the_changes() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for round in 0..20 {
            let mut bytes = vec![0; rng.random_range(1..5 * PAGE)];
            rng.fill_bytes(&mut bytes);
            let medium = |offset: u64, out: &mut [u8]| {
                let from = usize::try_from(offset).expect("in memory");
                let found = bytes.get(from..from + out.len());
                found
                    .map(|found| out.copy_from_slice(found))
                    .ok_or_else(|| io::Error::other("nobody asks for what the medium has not got"))
            };
            let overlay = Overlay::over(bytes.len() as u64, true);
            let mut model = bytes.clone();
            for _ in 0..100 {
                let (from, len) = (rng.random_range(0..6 * PAGE), rng.random_range(0..2 * PAGE));
                match rng.random_range(0..10) {
                    0 => {
                        model.resize(from, 0);
                        overlay.set_len(from as u64);
                    }
                    1..5 if from + len <= model.len() => {
                        rng.fill_bytes(&mut model[from..from + len]);
                        let data = &model[from..from + len];
                        overlay.write(&medium, from as u64, data).expect("written");
                    }
                    _ => {
                        let mut found = vec![1; len];
                        let read = overlay.read(&medium, from as u64, &mut found);
                        assert_eq!(read.is_ok(), from + len <= model.len(), "round {round}");
                        if read.is_ok() {
                            assert!(found == model[from..from + len], "round {round}, {from}");
                        }
                    }
                }
                assert_eq!(overlay.len(), model.len() as u64);
            }
            for change in overlay.take_changes() {
                match change {
                    Change::Length(len) => bytes.resize(usize::try_from(len).expect("few"), 0),
                    Change::Write(from, data) => {
                        let from = usize::try_from(from).expect("few");
                        bytes[from..from + data.len()].copy_from_slice(&data);
                    }
                    Change::Sync => {}
                }
            }
            assert!(bytes == model);
            assert!(overlay.take_changes().is_empty());
        }
    }
}
