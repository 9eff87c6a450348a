//! Events out of a store and into it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use limitry::events::EventQuery;
use limitry::store::{BadLines, ImportReport};
use serde_json::json;

use super::{Exported, Imported, engine_without_events, look_at, say, write_to};
use crate::Failure;
use crate::ended::{Ended, Told};

const BUFFER_BYTES: usize = 1_024 * 1_024;
/// An import reads ahead what its reader has at hand: this is some 16 000 lines.
const LINES_BYTES: usize = 4 * 1_024 * 1_024;

/// A file that has its name when it is whole.
struct Part {
    named: PathBuf,
    file: BufWriter<File>,
}

impl Part {
    fn new(to: &Path) -> Result<Self, Failure> {
        if to.exists() {
            return Err(format!("{}: there is something of this name already", to.display()).into());
        }
        let mut named = OsString::from(to);
        named.push(".part");
        let named = PathBuf::from(named);
        let file = File::create_new(&named);
        let file = file.map_err(|why| format!("{}: {why}", named.display()))?;
        Ok(Self { named, file: BufWriter::with_capacity(BUFFER_BYTES, file) })
    }

    fn finish(mut self, to: &Path) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.named, to)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Once it is whole it has another name.
        let _none = fs::remove_file(&self.named);
    }
}

pub(super) fn export(asked: &Exported, is_json: bool) -> Result<(), Failure> {
    let (store, mut bar) = look_at(&asked.file)?;
    let mut query = EventQuery::new();
    if let Some(customer) = &asked.customer {
        query = query.customer(customer);
    }
    if let Some(start) = asked.start {
        query = query.since(start);
    }
    if let Some(end) = asked.end {
        query = query.until(end);
    }
    let engine = engine_without_events(store)?;
    let mut part = asked.to.as_deref().map(Part::new).transpose()?;
    let mut tell = |progress| bar.tell(progress);
    let report = match &mut part {
        Some(part) => engine.store().export(&mut part.file, &query, &mut tell)?,
        None => engine.store().export(&mut io::stdout().lock(), &query, &mut tell)?,
    };
    drop(bar);
    let Some((part, to)) = part.zip(asked.to.as_deref()) else {
        // Stdout has the lines.
        let text = format!("{}: {} events written", asked.file.display(), report.count);
        eprintln!("{}", if is_json { serde_json::to_string(&report)? } else { text });
        return Ok(());
    };
    part.finish(to).map_err(|why| format!("{}: {why}", to.display()))?;
    let body = json!({"file": asked.file, "to": to, "count": report.count});
    let text =
        format!("{}: {} events written to {}", asked.file.display(), report.count, to.display());
    say(is_json, &body, &text)
}

pub(super) fn import(asked: &Imported, is_json: bool) -> Result<(), Failure> {
    let lines = lines_of(&asked.lines)?;
    let bad_lines = if asked.skip_bad { BadLines::Skip } else { BadLines::Stop };
    let (engine, mut bar) = write_to(&asked.file, asked.create)?;
    let imported = engine.store().import(lines, bad_lines, |progress| bar.tell(progress));
    drop(bar);
    // What was imported before a bad line is there as well.
    let closed = engine.store().close();
    let report = imported?;
    closed?;
    let ImportReport { count, duplicates, conflicts, invalid, skipped, .. } = &report;
    let body = json!({
        "file": asked.file, "count": count, "duplicates": duplicates, "conflicts": conflicts,
        "invalid": invalid, "skipped": skipped,
    });
    let mut text =
        format!("{}: {count} events imported, {duplicates} were there", asked.file.display());
    if conflicts.saturating_add(*invalid) > 0 {
        text += &format!(", {conflicts} of another event's key and {invalid} bad ones left out");
    }
    for skipped in skipped {
        eprintln!("line {}: {}", skipped.line, skipped.reason);
    }
    say(is_json, &body, &text)
}

/// What reads the lines of a file; `-` is stdin.
pub(crate) fn lines_of(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).map_err(|why| {
        let is_missing = why.kind() == io::ErrorKind::NotFound;
        let ended = if is_missing { Ended::Missing } else { Ended::Failed };
        Told::new(ended, format!("{}: {why}", path.display()))
    })?;
    Ok(Box::new(BufReader::with_capacity(LINES_BYTES, file)))
}
