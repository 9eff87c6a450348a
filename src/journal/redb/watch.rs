//! Noticing that the file of a store is not what it was any more: deleted, replaced, or written by
//! somebody else.
//!
//! A file that was deleted can be written and synced as before, and all of it is lost when it is
//! closed. So after each sync, and before anybody is told that it is done, the file's path is
//! looked up, and the note in the first page is read: two calls of the system, a few microseconds.
//! What is noticed is that there is no file of this name, that there is another one, that it has
//! another length than the one that was set last, or another note than the one written last. What
//! somebody writes into other pages shows when they are read.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// The file that a store was opened in.
#[derive(Debug)]
pub(super) struct FileWatch {
    path: PathBuf,
    identity: Identity,
    length: AtomicU64,
    /// The number of batches that was noted last; 0 where none was. Held while it is written.
    noted: Mutex<u64>,
}

/// What no two files have at a time: the device and the number in it. Other systems than Unix do
/// not say.
type Identity = Option<(u64, u64)>;

impl FileWatch {
    pub(super) fn new(path: &Path, file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            // The process may go to another folder.
            path: std::path::absolute(path)?,
            identity: identity(&found),
            length: AtomicU64::new(found.len()),
            noted: Mutex::new(0),
        })
    }

    pub(super) fn has_length(&self, length: u64) {
        self.length.store(length, Ordering::Release);
    }

    /// Writes a note.
    pub(super) fn note(
        &self,
        batches: u64,
        write: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut noted = self.noted.lock();
        write()?;
        *noted = batches;
        Ok(())
    }

    /// Looks whether the file is still what it was; `marked` reads the note.
    pub(super) fn look(&self, marked: impl FnOnce() -> Option<u64>) -> io::Result<()> {
        let found = fs::metadata(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(
                error.kind(),
                "the file was deleted or has another name now: what is written to it may be lost",
            ),
            _ => error,
        })?;
        if identity(&found) != self.identity {
            return Err(io::Error::other(
                "another file has its name: what is written to the old one may be lost",
            ));
        }
        let noted = self.noted.lock();
        let is_as_left = found.len() == self.length.load(Ordering::Acquire)
            && (*noted == 0 || marked() == Some(*noted));
        drop(noted);
        if is_as_left { Ok(()) } else { Err(io::Error::other("somebody else has written to it")) }
    }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have none")]
fn identity(found: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Some((found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    None
}
