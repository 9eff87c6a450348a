//! A store in memory whose syncs wait until the test lets them go on.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use limitry::store::Storage;

use super::medium::Medium;

/// Holds syncs back, while it is held.
#[derive(Clone, Debug, Default)]
pub struct Held {
    pub medium: Medium,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Held {
    pub fn hold(&self, held: bool) {
        *self.gate.0.lock().unwrap_or_else(PoisonError::into_inner) = held;
        self.gate.1.notify_all();
    }
}

impl Storage for Held {
    fn len(&self) -> io::Result<u64> {
        Storage::len(&self.medium)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.medium.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.medium.write(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.medium.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        let guard = self.gate.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.gate.1.wait_while(guard, |held| *held));
        self.medium.sync()
    }
}
