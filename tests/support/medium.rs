//! A disk that fails on purpose, in memory.
//!
//! It has two images: what reading gives, and what lasts. Between two syncs each change is only
//! in the first. A crash can be set for any change or sync; what was not synced by then is kept,
//! lost, torn within a write or put in another order, by a seed. Any call can be made to fail, once
//! or from then on, and any bit can be flipped.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "unit tests and integration tests share it, and neither needs all of it"
)]

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Storage;

/// What a disk writes at once.
const SECTOR: usize = 512;

/// What becomes of the changes that were not synced when the crash came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    Kept,
    Lost,
    /// Each is kept, lost or torn, in any order.
    Seed(u64),
}

/// A call that is to fail, counted from 0 over all calls but `len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub call: u64,
    /// All calls after it fail too.
    pub for_ever: bool,
}

/// The disk; clones are the same one.
#[derive(Clone)]
pub struct Medium {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    live: Vec<u8>,
    lasting: Vec<u8>,
    unsynced: Vec<Change>,
    /// How many changes and syncs there were, and which one the crash comes at.
    changes: u64,
    crash_at: Option<u64>,
    crashed: bool,
    /// How many calls there were, and which of them fail.
    calls: u64,
    fault: Option<Fault>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Len(usize),
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[*offset..end].copy_from_slice(data);
            }
            Self::Len(len) => image.resize(*len, 0),
        }
    }

    /// Some sectors of it.
    fn torn(&self, draw: &mut ChaCha8Rng) -> Vec<Self> {
        let Self::Write { offset, data } = self else { return vec![self.clone()] };
        let sectors = data.chunks(SECTOR).enumerate();
        let parts = sectors.map(|(place, part)| Self::Write {
            offset: offset + place * SECTOR,
            data: part.to_vec(),
        });
        if draw.random_bool(0.5) {
            let kept = draw.random_range(0..=data.len().div_ceil(SECTOR));
            return parts.take(kept).collect();
        }
        parts.filter(|_| draw.random_bool(0.5)).collect()
    }
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Medium").finish_non_exhaustive()
    }
}

impl Default for Medium {
    fn default() -> Self {
        Self::new()
    }
}

impl Medium {
    pub fn new() -> Self {
        Self::of(Vec::new())
    }

    /// A disk on which an image lasts.
    pub fn of(image: Vec<u8>) -> Self {
        let disk = Disk { live: image.clone(), lasting: image, ..Disk::default() };
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the crash come at a change or sync, counted from 0.
    pub fn crash_at(self, change: u64) -> Self {
        self.disk().crash_at = Some(change);
        self
    }

    pub fn fail_at(self, fault: Fault) -> Self {
        self.disk().fault = Some(fault);
        self
    }

    /// Lets all calls from here on fail.
    pub fn break_down(&self) {
        let mut disk = self.disk();
        disk.fault = Some(Fault { call: disk.calls, for_ever: true });
    }

    /// How many changes and syncs there were.
    pub fn changes(&self) -> u64 {
        self.disk().changes
    }

    /// How many calls there were, reads too.
    pub fn calls(&self) -> u64 {
        self.disk().calls
    }

    pub fn has_crashed(&self) -> bool {
        self.disk().crashed
    }

    /// The bytes as reading gives them.
    pub fn image(&self) -> Vec<u8> {
        self.disk().live.clone()
    }

    /// The disk after the machine was switched off.
    pub fn after_crash(&self, unsynced: Unsynced) -> Self {
        let disk = self.disk();
        let mut image = disk.lasting.clone();
        match unsynced {
            Unsynced::Kept => disk.unsynced.iter().for_each(|change| change.apply(&mut image)),
            Unsynced::Lost => {}
            Unsynced::Seed(seed) => {
                let mut draw = ChaCha8Rng::seed_from_u64(seed);
                let mut left: Vec<_> = disk
                    .unsynced
                    .iter()
                    .flat_map(|change| match draw.random_range(0..3) {
                        0 => vec![change.clone()],
                        1 => Vec::new(),
                        _ => change.torn(&mut draw),
                    })
                    .collect();
                // Changes of other places are in any order; of one place the newest wins.
                if draw.random_bool(0.5) {
                    left.shuffle(&mut draw);
                }
                left.iter().for_each(|change| change.apply(&mut image));
            }
        }
        Self::of(image)
    }

    /// The disk with one bit flipped.
    pub fn with_flipped(&self, byte: usize, bit: u8) -> Self {
        let mut image = self.image();
        image[byte] ^= 1 << bit;
        Self::of(image)
    }
}

impl Disk {
    fn call(&mut self) -> io::Result<()> {
        let call = self.calls;
        self.calls += 1;
        let fails = self
            .fault
            .is_some_and(|fault| call == fault.call || (fault.for_ever && call > fault.call));
        if self.crashed || fails {
            return Err(io::Error::other("the disk fails on purpose"));
        }
        Ok(())
    }

    /// Counts a change or sync; an error where the crash comes at it.
    fn change(&mut self) -> io::Result<()> {
        let change = self.changes;
        self.changes += 1;
        if self.crash_at == Some(change) {
            self.crashed = true;
            return Err(io::Error::other("the machine was switched off on purpose"));
        }
        Ok(())
    }

    fn put(&mut self, change: Change) -> io::Result<()> {
        self.call()?;
        change.apply(&mut self.live);
        self.unsynced.push(change);
        self.change()
    }
}

impl Storage for Medium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call()?;
        let start = usize::try_from(offset).expect("an offset in memory");
        let found = start.checked_add(out.len()).and_then(|end| disk.live.get(start..end));
        match found {
            Some(found) => out.copy_from_slice(found),
            None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("an offset in memory");
        self.disk().put(Change::Write { offset, data: data.to_vec() })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk().put(Change::Len(usize::try_from(len).expect("a length in memory")))
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call()?;
        disk.change()?;
        let changes = std::mem::take(&mut disk.unsynced);
        let Disk { lasting, .. } = &mut *disk;
        changes.iter().for_each(|change| change.apply(lasting));
        Ok(())
    }
}
