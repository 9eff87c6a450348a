//! Where the log is kept on disk.
