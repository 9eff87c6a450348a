//! Lines as they are taken from a reader, some thousand at a time.

use std::io::{self, BufRead, Read};

use super::BadLines;
use super::line::LineEvent;
use crate::wire::MAX_BATCH;

/// A longer line is no event: nothing reads on without end.
const MAX_LINE_BYTES: usize = 16 * 1_024 * 1_024;
/// Lines are read when they have so many bytes, however few they are.
const BLOCK_BYTES: usize = 8 * 1_024 * 1_024;
/// The most pieces of a block.
const MAX_PIECES: usize = 16;

/// What a line is, by its number: an event, or why it is none.
pub(super) type ReadLine<'l> = (u64, Result<LineEvent<'l>, String>);

/// Lines whose events are recorded together.
#[derive(Debug, Default)]
pub(super) struct Piece {
    text: Vec<u8>,
    /// The lines that are not empty: their numbers, and where they end.
    lines: Vec<(u64, usize)>,
}

impl Piece {
    fn clear(&mut self) {
        self.text.clear();
        self.lines.clear();
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= MAX_BATCH || self.text.len() >= BLOCK_BYTES
    }

    /// Reads the lines, up to the first bad one where that stops an import. Linear in their length;
    /// events borrow their texts.
    pub(super) fn read(&self, bad_lines: BadLines) -> Vec<ReadLine<'_>> {
        let (mut read, mut start) = (Vec::with_capacity(self.lines.len()), 0);
        for (number, end) in &self.lines {
            let line = self.text.get(start..*end).unwrap_or_default();
            start = *end;
            let event = if line.len() > MAX_LINE_BYTES {
                Err(format!("the line must be at most {MAX_LINE_BYTES} bytes long"))
            } else {
                LineEvent::of(line)
            };
            let stops = event.is_err() && bad_lines == BadLines::Stop;
            read.push((*number, event));
            if stops {
                break;
            }
        }
        read
    }
}

/// How lines end.
#[derive(Debug)]
pub(super) enum End {
    Over,
    /// The reader failed at a line.
    Failed(u64, io::Error),
}

/// Takes lines from a reader.
pub(super) struct Source<R> {
    lines: R,
    bad_lines: BadLines,
    /// The number of the line that was taken last.
    number: u64,
    /// How many bytes the reader has at hand.
    left: usize,
}

impl<R: BufRead> Source<R> {
    pub(super) fn new(lines: R, bad_lines: BadLines) -> Self {
        Self { lines, bad_lines, number: 0, left: 0 }
    }

    /// Takes the next lines, in pieces, in place of those before them. Of more pieces than one it
    /// takes what the reader has at hand: nothing that was taken waits for a slow one. Returns how
    /// lines end, where they do.
    pub(super) fn take(&mut self, pieces: &mut Vec<Piece>) -> Option<End> {
        let (mut spare, mut bytes) = (std::mem::take(pieces), 0_usize);
        loop {
            let mut piece = spare.pop().unwrap_or_default();
            piece.clear();
            let end = self.fill(&mut piece);
            let size = piece.text.len();
            bytes = bytes.saturating_add(size);
            if !piece.lines.is_empty() {
                pieces.push(piece);
            }
            let is_enough = pieces.len() >= MAX_PIECES || bytes >= BLOCK_BYTES || self.left <= size;
            if end.is_some() || is_enough {
                return end;
            }
        }
    }

    fn fill(&mut self, piece: &mut Piece) -> Option<End> {
        while !piece.is_full() {
            self.number = self.number.saturating_add(1);
            let start = piece.text.len();
            match self.line(&mut piece.text) {
                Ok(0) => return Some(End::Over),
                Ok(_) => {}
                Err(why) => return Some(End::Failed(self.number, why)),
            }
            let line = piece.text.get(start..).unwrap_or_default();
            if line.iter().all(u8::is_ascii_whitespace) && line.len() <= MAX_LINE_BYTES {
                piece.text.truncate(start);
            } else {
                piece.lines.push((self.number, piece.text.len()));
            }
        }
        None
    }

    /// Takes a line, and of one that is too long little more than is needed to know it. Returns how
    /// many bytes it has.
    fn line(&mut self, text: &mut Vec<u8>) -> io::Result<usize> {
        let most = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        let at_hand = match self.lines.fill_buf() {
            Ok(bytes) => bytes.len(),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => 0,
            Err(why) => return Err(why),
        };
        let taken = self.lines.by_ref().take(most).read_until(b'\n', text)?;
        self.left = at_hand.saturating_sub(taken);
        let is_cut = taken > MAX_LINE_BYTES && !text.ends_with(b"\n");
        if is_cut && self.bad_lines == BadLines::Skip {
            self.lines.skip_until(b'\n')?;
        }
        Ok(taken)
    }
}
