//! Files of a test, which go with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "durable")]
use limitry::store::Durable;

/// A folder that no other test has, of this run or of another one.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{test}-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a folder");
        Self(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The file of a store, in a folder of its own.
#[derive(Debug)]
pub struct StoreFile {
    folder: Folder,
    pub path: PathBuf,
}

impl StoreFile {
    pub fn new(test: &str) -> Self {
        let folder = Folder::new(test);
        let path = folder.file("limitry.redb");
        Self { folder, path }
    }

    /// A file with the bytes of another one, as a crash would leave it: at one instant. A store may
    /// be at work in it, so it is read until it is the same twice.
    pub fn copy_of(other: &Path, test: &str) -> Self {
        let copy = Self::new(test);
        let read = || fs::read(other).expect("a file");
        let (mut bytes, mut again) = (read(), read());
        while again != bytes {
            (bytes, again) = (again, read());
        }
        fs::write(&copy.path, bytes).expect("a copy");
        copy
    }

    #[cfg(feature = "durable")]
    pub fn store(&self) -> Durable {
        Durable::open(&self.path).expect("a store that opens")
    }
}
