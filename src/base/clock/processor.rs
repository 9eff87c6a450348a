//! The processor's counter of time stamps.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) use self::elsewhere::ProcessorCounter;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) use self::linux::ProcessorCounter;

/// Linux on x86-64, where the operating system says what it thinks of the counter.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod linux {
    use super::super::interpolated::Counter;

    /// The clock that the kernel itself goes by.
    const KERNELS_CHOICE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

    #[derive(Debug)]
    pub(in super::super) struct ProcessorCounter(quanta::Clock);

    impl ProcessorCounter {
        /// The counter, and how many nanoseconds 2^32 of its ticks take; none where it is not
        /// known to be invariant and the same on all processors.
        ///
        /// The processor says the first of itself, which `quanta` asks. Of both, and whether they
        /// stay so, the kernel judges: it goes by the counter only where it has found it so, and
        /// changes to another clock as soon as it has not.
        pub(in super::super) fn find() -> Option<(Self, u64)> {
            let choice = std::fs::read_to_string(KERNELS_CHOICE).ok()?;
            if choice.trim_end() != "tsc" {
                return None;
            }
            // Measures the rate, for less than a millisecond, once in a process.
            let clock = quanta::Clock::new();
            let rate = clock.delta_as_nanos(0, 1 << 32);
            // Where it finds no counter its ticks are the monotonic clock's nanoseconds.
            (rate > 0 && rate != 1 << 32).then_some((Self(clock), rate))
        }
    }

    impl Counter for ProcessorCounter {
        #[inline]
        fn ticks(&self) -> u64 {
            self.0.raw()
        }
    }
}

/// Elsewhere the system's own clock is as cheap, or nobody says that the counter can be trusted.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod elsewhere {
    use super::super::interpolated::Counter;

    #[derive(Debug)]
    pub(in super::super) enum ProcessorCounter {}

    impl ProcessorCounter {
        pub(in super::super) fn find() -> Option<(Self, u64)> {
            None
        }
    }

    impl Counter for ProcessorCounter {
        fn ticks(&self) -> u64 {
            match *self {}
        }
    }
}
