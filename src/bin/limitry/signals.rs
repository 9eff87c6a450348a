//! What the system tells the program.

/// What it is told.
pub(crate) enum Told {
    Stop,
    ReadAgain,
}

#[cfg(not(unix))]
pub(crate) use self::other::Signals;
#[cfg(unix)]
pub(crate) use self::unix::Signals;

#[cfg(unix)]
mod unix {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::Told;

    /// SIGTERM and SIGINT stop it, SIGHUP lets it read its files again: from when it is made.
    pub(crate) struct Signals {
        terminate: Signal,
        interrupt: Signal,
        hang_up: Signal,
    }

    impl Signals {
        pub(crate) fn new() -> std::io::Result<Self> {
            let terminate = signal(SignalKind::terminate())?;
            let interrupt = signal(SignalKind::interrupt())?;
            Ok(Self { terminate, interrupt, hang_up: signal(SignalKind::hangup())? })
        }

        /// May be dropped and asked again: what came meanwhile is told then.
        pub(crate) async fn next(&mut self) -> Told {
            tokio::select! {
                _ = self.terminate.recv() => Told::Stop,
                _ = self.interrupt.recv() => Told::Stop,
                _ = self.hang_up.recv() => Told::ReadAgain,
            }
        }
    }
}

#[cfg(not(unix))]
mod other {
    use super::Told;

    /// Ctrl-C stops it.
    pub(crate) struct Signals;

    impl Signals {
        #[expect(clippy::unnecessary_wraps, reason = "as elsewhere")]
        pub(crate) fn new() -> std::io::Result<Self> {
            Ok(Self)
        }

        pub(crate) async fn next(&mut self) -> Told {
            // Where nobody can tell it to, it runs until it is killed.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            Told::Stop
        }
    }
}
