//! A store in memory.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use limitry::store::Storage;

#[derive(Debug)]
pub struct Bytes {
    pub bytes: Arc<Mutex<Vec<u8>>>,
}

impl Bytes {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(Mutex::new(bytes)) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof.into())
}

impl Storage for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (bytes, start) = (self.lock(), place(offset)?);
        let end = start.checked_add(out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut bytes, start) = (self.lock(), place(offset)?);
        let end = start.checked_add(data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.get_mut(start..end).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // What a damaged length asks for must not take the machine's memory.
        if len > 64 << 20 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.lock().resize(place(len)?, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
