//! Where the rows of a shard lie: side by side in lines of 64 bytes, as those of the cache.
//!
//! A row takes as few lines as hold its words, one behind the other, and says itself in its
//! [head](crate::counters::row) how many words it has. It is named by the number of its first line.
//! Lines come in chunks of 16 kilobytes, so that no row is copied when there are more of them: that
//! would happen under the lock of the shard. Only the newest chunk may be smaller, and is copied
//! when it grows. A row of more lines than a chunk has one of its own. That a row is found by its
//! chunk costs one load more than one run of all lines would, from a table that mostly is in the
//! first or second cache: a hundredth of a decision's time.
//!
//! Lines that a row has left are lent again to rows of as many or fewer. Where an eighth of all
//! lines holds no rows, the emptiest chunk is given back: its rows move to free lines of others. So
//! no lock is held for more moves than a chunk has lines, and each line that is given back has made
//! seven others move at the most.
//!
//! ```text
//! free lines: [next | previous] [how many lines] ...
//! ```
//!
//! The second word is where a row has its head: one that says that the row has no words.

use crate::counters::row::{length_of, with_length};

/// Where a row lies in its shard: until it grows, shrinks or is dropped, or rows are
/// [packed](Arena::pack).
pub(super) type Line = u32;

/// A line has so many words, by their power of two.
const WORDS: u32 = 3;
/// A chunk has so many lines, by their power of two: 16 kilobytes.
const LINES: u32 = 8;
const CHUNK: u32 = 1 << LINES;
/// No line: there are fewer.
const NONE: Line = Line::MAX;
/// An arena grows by so many lines at least, and by a sixteenth of what it has: by fewer than are
/// worth giving back.
const LEAST: u32 = 8;
/// So many lines without rows are not worth moving others.
const SPARE: usize = 32;

#[derive(Debug)]
pub(super) struct Arena {
    chunks: Vec<Chunk>,
    /// The numbers of chunks that were given back.
    vacant: Vec<u32>,
    /// The chunk whose last lines have not been lent yet.
    newest: Option<u32>,
    /// The first of the free lines that lie together in this number; [`NONE`] where there are none.
    free: Vec<Line>,
    /// How many lines the chunks have.
    lines: usize,
    /// How many of them rows take.
    used: usize,
}

#[derive(Debug, Default)]
struct Chunk {
    /// A few words are before the first line, so that it begins where one of the cache does.
    words: Box<[u64]>,
    first: usize,
    lines: u32,
    /// How many lines have been lent at some time, from the first on.
    lent: u32,
    /// How many lines rows take.
    used: u32,
}

impl Chunk {
    fn new(lines: u32) -> Self {
        // As many as there may be before a line of the cache.
        const SLACK: usize = (1 << WORDS) - 1;
        let length = words_in(lines).saturating_add(SLACK);
        let words = vec![0; length].into_boxed_slice();
        let first = words.as_ptr().align_offset(8 << WORDS).min(SLACK);
        Self { words, first, lines, lent: 0, used: 0 }
    }

    /// The words from a line on.
    #[inline]
    fn at(&self, line: u32) -> &[u64] {
        self.words.get(self.first.wrapping_add(words_in(line))..).unwrap_or(&[])
    }

    #[inline]
    fn at_mut(&mut self, line: u32) -> &mut [u64] {
        self.words.get_mut(self.first.wrapping_add(words_in(line))..).unwrap_or(&mut [])
    }

    /// Has so many lines from now on; its rows are copied.
    fn grow(&mut self, lines: u32) {
        let mut grown = Self { lent: self.lent, used: self.used, ..Self::new(lines) };
        let words = words_in(self.lent);
        if let (Some(to), Some(from)) = (grown.at_mut(0).get_mut(..words), self.at(0).get(..words))
        {
            to.copy_from_slice(from);
        }
        *self = grown;
    }
}

#[inline]
fn words_in(lines: u32) -> usize {
    (lines as usize) << WORDS
}

/// How many lines hold so many words.
#[inline]
fn lines_for(words: usize) -> u32 {
    u32::try_from(words.div_ceil(1 << WORDS)).unwrap_or(u32::MAX)
}

#[inline]
fn chunk_of(line: Line) -> usize {
    (line >> LINES) as usize
}

/// The place of a line in its chunk.
#[inline]
fn within(line: Line) -> u32 {
    line & (CHUNK - 1)
}

/// The words of a row at the front of these.
#[inline]
fn row_length(words: &[u64]) -> usize {
    match words {
        [_, head, ..] => length_of(*head),
        _ => 0,
    }
}

impl Default for Arena {
    fn default() -> Self {
        let (chunks, vacant, free) = (Vec::new(), Vec::new(), Vec::new());
        Self { chunks, vacant, newest: None, free, lines: 0, used: 0 }
    }
}

impl Arena {
    /// The words from a line on: of a row its own, and behind them what others have.
    #[inline]
    pub(super) fn at(&self, line: Line) -> &[u64] {
        self.chunks.get(chunk_of(line)).map_or(&[], |chunk| chunk.at(within(line)))
    }

    #[inline]
    fn at_mut(&mut self, line: Line) -> &mut [u64] {
        let chunk = self.chunks.get_mut(chunk_of(line));
        chunk.map_or(&mut [], |chunk| chunk.at_mut(within(line)))
    }

    /// The words of a row.
    #[inline]
    pub(super) fn row(&self, line: Line) -> &[u64] {
        let words = self.at(line);
        words.get(..row_length(words)).unwrap_or(&[])
    }

    #[inline]
    pub(super) fn row_mut(&mut self, line: Line) -> &mut [u64] {
        let words = self.at_mut(line);
        words.get_mut(..row_length(words)).unwrap_or(&mut [])
    }

    /// Adds a row of so many words, which `fill` writes, but for how many they are.
    pub(super) fn add(&mut self, words: usize, fill: impl FnOnce(&mut [u64])) -> Option<Line> {
        with_length(0, words)?;
        let line = self.lend(lines_for(words))?;
        self.write(line, words, fill);
        debug_assert_eq!(self.row(line).len(), words, "a row says how long it is");
        Some(line)
    }

    /// Puts other words in place of a row's, and returns where they are.
    pub(super) fn put(&mut self, line: Line, words: &[u64]) -> Line {
        let lines = lines_for(self.row(line).len());
        debug_assert!(lines > 0, "a row that changes is there");
        let copy = |row: &mut [u64]| row.copy_from_slice(words);
        if lines_for(words.len()) != lines {
            let Some(new) = self.add(words.len(), copy) else { return line };
            self.remove(line);
            return new;
        }
        self.write(line, words.len(), copy);
        line
    }

    fn write(&mut self, line: Line, words: usize, fill: impl FnOnce(&mut [u64])) {
        let Some(row) = self.at_mut(line).get_mut(..words) else { return };
        fill(row);
        if let [_, head, ..] = row
            && let Some(with_length) = with_length(*head, words)
        {
            *head = with_length;
        }
    }

    /// Drops a row.
    pub(super) fn remove(&mut self, line: Line) {
        let lines = lines_for(self.row(line).len());
        debug_assert!(lines > 0, "a row that is dropped is there");
        self.used = self.used.saturating_sub(lines as usize);
        let Some(chunk) = self.chunks.get_mut(chunk_of(line)) else { return };
        chunk.used = chunk.used.saturating_sub(lines);
        if lines > CHUNK {
            self.take_chunk(line >> LINES);
            self.vacant.push(line >> LINES);
        } else if lines > 0 {
            self.set_free(line, lines);
        }
    }

    /// Gives back the emptiest chunk where much holds no rows, and tells where each of its rows was
    /// and is now: by its words.
    pub(super) fn pack(&mut self, moved: impl FnMut(&[u64], Line, Line)) {
        let spare = self.lines.saturating_sub(self.used);
        if spare > SPARE && spare > self.lines.div_euclid(8) {
            self.empty_sparsest(moved);
        }
    }

    #[cold]
    fn empty_sparsest(&mut self, mut moved: impl FnMut(&[u64], Line, Line)) {
        if self.used == 0 {
            *self = Self::default();
            return;
        }
        let chunks = (0..).zip(&self.chunks).filter(|(_, chunk)| chunk.used < chunk.lines);
        let Some((sparsest, _)) = chunks.min_by_key(|(_, chunk)| {
            u64::from(chunk.used).saturating_mul(1 << 16).checked_div(chunk.lines.into())
        }) else {
            return;
        };
        self.newest.take_if(|newest| *newest == sparsest);
        // None of its free lines is lent to a row that moves.
        let runs = self.runs(sparsest);
        for (line, lines) in &runs {
            if self.row(*line).is_empty() {
                self.unlink(*line, *lines);
            }
        }
        let chunk = self.take_chunk(sparsest);
        self.used = self.used.saturating_sub(chunk.used as usize);
        for (line, _) in runs {
            let words = chunk.at(within(line));
            let row = words.get(..row_length(words)).unwrap_or(&[]);
            if !row.is_empty()
                && let Some(new) = self.add(row.len(), |to| to.copy_from_slice(row))
            {
                moved(row, line, new);
            }
        }
        // Only now, so that no row had the number of one that had not moved yet.
        self.vacant.push(sparsest);
    }

    /// What a chunk has lent: where it begins, and how many lines it has.
    fn runs(&self, chunk: u32) -> Vec<(Line, u32)> {
        let mut runs = Vec::new();
        let lent = self.chunks.get(chunk as usize).map_or(0, |chunk| chunk.lent);
        let mut at = 0;
        while at < lent {
            let line = (chunk << LINES).saturating_add(at);
            let lines = match self.row(line) {
                [] => self.free_lines(line),
                row => lines_for(row.len()),
            };
            debug_assert!(lines > 0, "lines are free or hold a row");
            runs.push((line, lines));
            at = at.saturating_add(lines.max(1));
        }
        runs
    }

    /// Takes out a chunk, and leaves an empty one.
    fn take_chunk(&mut self, number: u32) -> Chunk {
        let chunk = self.chunks.get_mut(number as usize).map(std::mem::take).unwrap_or_default();
        self.lines = self.lines.saturating_sub(chunk.lines as usize);
        chunk
    }

    /// Lends so many lines side by side to a row.
    fn lend(&mut self, lines: u32) -> Option<Line> {
        let line = match self.take_free(lines) {
            Some(line) => line,
            None => self.lend_new(lines)?,
        };
        self.used = self.used.saturating_add(lines as usize);
        let chunk = self.chunks.get_mut(chunk_of(line))?;
        chunk.used = chunk.used.saturating_add(lines);
        debug_assert!(chunk.used <= chunk.lent && chunk.lent <= chunk.lines, "lent once");
        Some(line)
    }

    /// Lends lines that have never been.
    fn lend_new(&mut self, lines: u32) -> Option<Line> {
        let part = u32::try_from(self.lines.div_euclid(16)).unwrap_or(CHUNK);
        let more = part.clamp(LEAST, CHUNK).max(lines);
        if lines <= CHUNK
            && let Some(number) = self.newest
            && let Some(chunk) = self.chunks.get_mut(number as usize)
        {
            let (start, end) = (chunk.lent, chunk.lent.saturating_add(lines));
            if end <= CHUNK {
                if end > chunk.lines {
                    let before = chunk.lines;
                    chunk.grow(before.saturating_add(more).min(CHUNK));
                    let grown = chunk.lines.saturating_sub(before);
                    self.lines = self.lines.saturating_add(grown as usize);
                }
                chunk.lent = end;
                return Some((number << LINES).saturating_add(start));
            }
            // What is left of it are free lines from now on.
            let rest = chunk.lines.saturating_sub(start);
            chunk.lent = chunk.lines;
            if rest > 0 {
                self.set_free((number << LINES).saturating_add(start), rest);
            }
        }
        let number = self.add_chunk(more)?;
        let chunk = self.chunks.get_mut(number as usize)?;
        chunk.lent = lines;
        if lines <= CHUNK {
            self.newest = Some(number);
        }
        Some(number << LINES)
    }

    fn add_chunk(&mut self, lines: u32) -> Option<u32> {
        let number = self.vacant.pop().or_else(|| {
            let number = u32::try_from(self.chunks.len()).ok()?;
            let has_room = number < NONE >> LINES;
            debug_assert!(has_room, "lines have numbers");
            has_room.then(|| self.chunks.push(Chunk::default()))?;
            Some(number)
        })?;
        *self.chunks.get_mut(number as usize)? = Chunk::new(lines);
        self.lines = self.lines.saturating_add(lines as usize);
        Some(number)
    }

    /// How many lines are free together from this one on.
    fn free_lines(&self, line: Line) -> u32 {
        match self.at(line) {
            [_, lines, ..] => u32::try_from(*lines).unwrap_or(0),
            _ => 0,
        }
    }

    /// The free lines before and after these in the list of those of their number.
    fn neighbours(&mut self, line: Line) -> Option<&mut u64> {
        self.at_mut(line).first_mut()
    }

    fn first_free(&mut self, lines: u32) -> Option<&mut Line> {
        let lines = lines as usize;
        if self.free.len() <= lines {
            self.free.resize(lines.saturating_add(1), NONE);
        }
        self.free.get_mut(lines)
    }

    /// Adds lines to the free ones.
    fn set_free(&mut self, line: Line, lines: u32) {
        let Some(first) = self.first_free(lines) else { return };
        let next = std::mem::replace(first, line);
        if let [links, head, ..] = self.at_mut(line) {
            (*links, *head) = (linked(next, NONE), lines.into());
        }
        if next != NONE
            && let Some(links) = self.neighbours(next)
        {
            let (after, _) = links_of(*links);
            *links = linked(after, line);
        }
    }

    /// Takes free lines out of the list of those of their number.
    fn unlink(&mut self, line: Line, lines: u32) {
        let Some(own) = self.neighbours(line) else { return };
        let (next, previous) = links_of(*own);
        if next != NONE
            && let Some(links) = self.neighbours(next)
        {
            let (after, _) = links_of(*links);
            *links = linked(after, previous);
        }
        if previous == NONE {
            if let Some(first) = self.first_free(lines) {
                *first = next;
            }
        } else if let Some(links) = self.neighbours(previous) {
            let (_, before) = links_of(*links);
            *links = linked(next, before);
        }
    }

    /// Takes so many of the free lines, of those that lie together in the smallest number that has
    /// as many.
    fn take_free(&mut self, lines: u32) -> Option<Line> {
        let sizes = (0..).zip(&self.free).skip(lines as usize);
        let (size, line) = sizes.map(|(size, line)| (size, *line)).find(|found| found.1 != NONE)?;
        self.unlink(line, size);
        let rest = size.saturating_sub(lines);
        if rest > 0 {
            self.set_free(line.saturating_add(lines), rest);
        }
        Some(line)
    }
}

fn linked(next: Line, previous: Line) -> u64 {
    u64::from(next) | (u64::from(previous) << 32)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
fn links_of(links: u64) -> (Line, Line) {
    (links as Line, (links >> 32) as Line)
}

#[cfg(test)]
impl Arena {
    /// Compares what the arena knows of its lines with what they hold.
    pub(super) fn check(&self) {
        let mut free: Vec<Vec<Line>> = vec![Vec::new(); self.free.len()];
        let (mut lines, mut used) = (0, 0);
        for (number, chunk) in (0..).zip(&self.chunks) {
            let runs = self.runs(number);
            let rows = runs.iter().filter(|(line, _)| !self.row(*line).is_empty());
            let in_rows: u32 = rows.map(|(_, lines)| lines).sum();
            assert_eq!(chunk.used, in_rows, "the rows of a chunk take these lines");
            assert_eq!(chunk.lent, runs.iter().map(|(_, lines)| lines).sum::<u32>());
            assert!(chunk.lent <= chunk.lines, "no line is lent that is not there");
            assert!(chunk.lent == chunk.lines || self.newest == Some(number), "all are lent");
            assert_eq!(self.vacant.contains(&number), chunk.words.is_empty());
            assert_eq!(chunk.at(0).as_ptr().align_offset(64) * chunk.words.len().min(1), 0);
            for (line, size) in runs.iter().filter(|(line, _)| self.row(*line).is_empty()) {
                free[*size as usize].push(*line);
            }
            lines += chunk.lines as usize;
            used += chunk.used as usize;
        }
        assert_eq!((self.lines, self.used), (lines, used));
        for (first, mut found) in self.free.iter().zip(free) {
            let (mut at, mut previous) = (*first, NONE);
            while at != NONE {
                let place = found.iter().position(|line| *line == at).expect("a free run");
                found.swap_remove(place);
                let (next, before) = links_of(self.at(at)[0]);
                assert_eq!(before, previous, "the list is linked both ways");
                (at, previous) = (next, at);
            }
            assert!(found.is_empty(), "every free run is in the list of its size");
        }
    }

    /// How many lines there are, and how many rows take.
    pub(super) fn lines(&self) -> (usize, usize) {
        (self.lines, self.used)
    }
}
