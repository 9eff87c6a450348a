//! The time between two readings of a clock, by a counter that is cheaper to read.
//!
//! The counter is never asked what time it is: it says how far time has come since the *anchor*, a
//! reading of the clock that is at most [`INTERVAL`] old. So whatever the counter does, what is
//! shown is never far from the clock, and how exact the counter's rate is hardly matters.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use parking_lot::Mutex;

/// How far time goes on from an anchor, in nanoseconds, before the clock is read again. A reading
/// of the clock costs the callers nothing a hundred times a second, and everything that can be
/// wrong with a counter is wrong by no more than this.
pub(super) const INTERVAL: u64 = 10_000_000;

/// A rate is in nanoseconds for so many ticks, as a power of two.
const RATE_SHIFT: u32 = 32;

/// A rate is taken from a span that is this many times longer than the reading of the clock took
/// at its end, as a thread may be held up in the midst of it.
const EXACTNESS: u64 = 1_024;

/// A counter that is cheap to read.
pub(super) trait Counter {
    fn ticks(&self) -> u64;
}

/// A clock that takes longer to read than the counter. Its readings never run back.
pub(super) trait Reference {
    fn read(&self) -> Reading;
}

/// A reading of the clock, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// On a line without steps: what a rate is measured by.
    pub(super) steady: u64,
    /// What the clock shows.
    pub(super) shown: u64,
}

/// A clock that is read by way of a counter.
#[derive(Debug)]
pub(super) struct Interpolated<C> {
    counter: C,
    /// The rate that the counter was said to have.
    nominal: u64,
    /// Odd while the anchor moves. Who reads the same even number before and after the anchor has
    /// read all of one anchor, and no part of another.
    version: AtomicU64,
    /// The anchor: what the counter was at, what was shown then, and the nanoseconds in 2^32 ticks
    /// from there on.
    ticks: AtomicU64,
    shown: AtomicU64,
    pace: AtomicU64,
    /// Held by who moves the anchor.
    measured: Mutex<Measured>,
}

/// What is known of the counter's rate.
#[derive(Debug)]
struct Measured {
    /// Nanoseconds in 2^32 ticks.
    rate: u64,
    /// Ticks and nanoseconds at the last anchor, where they were read at one instant.
    since: Option<(u64, u64)>,
}

impl<C: Counter> Interpolated<C> {
    /// Starts from a reading of the clock; 2^32 ticks of the counter take about `nominal`
    /// nanoseconds.
    pub(super) fn new(counter: C, nominal: u64, clock: &impl Reference) -> Self {
        let ticks = counter.ticks();
        let shown = clock.read().shown;
        Self {
            counter,
            nominal,
            version: AtomicU64::new(0),
            ticks: AtomicU64::new(ticks),
            shown: AtomicU64::new(shown),
            pace: AtomicU64::new(nominal),
            measured: Mutex::new(Measured { rate: nominal, since: None }),
        }
    }

    /// What the clock shows now, as far as the counter says.
    #[inline]
    pub(super) fn read(&self, clock: &impl Reference) -> u64 {
        self.since_anchor().unwrap_or_else(|| self.move_anchor(clock))
    }

    /// The time by the anchor and the counter; none where the anchor is too old or is moving.
    #[inline]
    fn since_anchor(&self) -> Option<u64> {
        // Before the anchor, so that nothing is to be kept over a call. Where the anchor moves
        // between the two, the counter is behind it.
        let now = self.counter.ticks();
        // Pairs with the release of `version` in `move_anchor`: the anchor of this version, or
        // parts of a later one, which the second look finds out.
        let version = self.version.load(Ordering::Acquire);
        let ticks = self.ticks.load(Ordering::Relaxed);
        let shown = self.shown.load(Ordering::Relaxed);
        let pace = self.pace.load(Ordering::Relaxed);
        // Pairs with the fence in `move_anchor`: whoever read a part of a later anchor finds
        // another version here.
        fence(Ordering::Acquire);
        let held = version & 1 == 0 && self.version.load(Ordering::Relaxed) == version;
        // Two numbers of 64 bits have a product of 128 bits at most. A counter that is behind the
        // anchor has passed nearly all of 64 bits.
        let passed = u128::from(now.wrapping_sub(ticks)).wrapping_mul(u128::from(pace));
        (held && passed < u128::from(INTERVAL) << RATE_SHIFT)
            .then(|| shown.saturating_add(u64::try_from(passed >> RATE_SHIFT).unwrap_or(INTERVAL)))
    }

    /// Reads the clock and goes on from there.
    ///
    /// Others who find the anchor too old wait for the lock, which is held for a reading of the
    /// clock or two; its holder waits for nobody.
    #[cold]
    fn move_anchor(&self, clock: &impl Reference) -> u64 {
        let mut measured = self.measured.lock();
        // Another thread may have moved it.
        if let Some(shown) = self.since_anchor() {
            return shown;
        }
        let before = self.counter.ticks();
        let reading = clock.read();
        // The one after: what the clock showed is not later than this tick, so that time is not
        // ahead where the thread was held up between the two.
        let ticks = self.counter.ticks();
        measured.measure(self.nominal, before, ticks, reading.steady);

        // Whoever reads by the old anchor, until the new one is there, reads nothing later.
        let told = self.most_told(ticks);
        // Further ahead than this is only a counter that jumps again and again.
        let shown = told.min(reading.shown.saturating_add(INTERVAL)).max(reading.shown);
        let pace = measured.pace(shown.saturating_sub(reading.shown));

        let moving = self.version.load(Ordering::Relaxed) | 1;
        self.version.store(moving, Ordering::Relaxed);
        // Pairs with the fence in `since_anchor`: whoever sees what is stored from here on sees
        // `moving` or a later version, too.
        fence(Ordering::Release);
        self.ticks.store(ticks, Ordering::Relaxed);
        self.shown.store(shown, Ordering::Relaxed);
        self.pace.store(pace, Ordering::Relaxed);
        self.version.store(moving.wrapping_add(1), Ordering::Release);
        shown
    }

    /// The latest time that may have been shown by the anchor that is over at `ticks`.
    fn most_told(&self, ticks: u64) -> u64 {
        let shown = self.shown.load(Ordering::Relaxed);
        let passed = ticks.wrapping_sub(self.ticks.load(Ordering::Relaxed));
        // A counter that ran back: nobody knows how far it had come.
        if passed > u64::MAX >> 1 { shown } else { shown.saturating_add(INTERVAL) }
    }
}

impl Measured {
    /// Takes the rate of the counter since the last anchor from a reading of the clock between two
    /// of the counter.
    fn measure(&mut self, nominal: u64, before: u64, ticks: u64, steady: u64) {
        let last = self.since.replace((ticks, steady));
        let Some((last_ticks, last_steady)) = last else { return };
        let passed = ticks.wrapping_sub(last_ticks);
        if ticks.wrapping_sub(before) > passed.div_euclid(EXACTNESS) {
            self.since = None;
            return;
        }
        let nanos = u128::from(steady.saturating_sub(last_steady)).wrapping_shl(RATE_SHIFT);
        let rate = nanos.checked_div(u128::from(passed)).and_then(|rate| u64::try_from(rate).ok());
        // What is outside of this is no rate: the clock or the counter stood still or jumped.
        let credible = nominal.div_euclid(2)..=nominal.saturating_mul(2);
        if let Some(rate) = rate.filter(|rate| credible.contains(rate)) {
            self.rate = rate;
        }
    }

    /// The pace from an anchor on that is so far ahead of the clock: at the next one it is not.
    fn pace(&self, ahead: u64) -> u64 {
        let ahead = u128::from(ahead.min(INTERVAL.div_euclid(2)));
        let share = u128::from(self.rate).saturating_mul(ahead);
        let share = share.div_euclid(u128::from(INTERVAL));
        self.rate.saturating_sub(u64::try_from(share).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// Ticks in a nanosecond.
    const TICKS: u64 = 3;
    const NOMINAL: u64 = (1 << RATE_SHIFT) / TICKS;
    const MILLISECOND: u64 = 1_000_000;
    /// How long the fakes take to be read: the counter, the clock.
    const READS: (u64, u64) = (20, 65);

    /// What there is to know of time, and a counter beside it that does what it likes.
    struct World {
        /// Nanoseconds that have passed, in truth.
        time: Cell<u64>,
        /// By how much the wall clock got ahead.
        ahead: Cell<u64>,
        /// Millionths of ticks, and where the counter began.
        ticks: Cell<u128>,
        offset: Cell<u64>,
        /// The counter's rate, in millionths of what it was said to be.
        rate: Cell<u128>,
        /// The thread is held up for so long before it reads the clock next, and after.
        held_up: Cell<(u64, u64)>,
    }

    impl World {
        fn new() -> Self {
            Self {
                time: Cell::new(5_000),
                ahead: Cell::new(0),
                ticks: Cell::new(0),
                // So that it wraps around soon.
                offset: Cell::new(u64::MAX - 20 * MILLISECOND),
                rate: Cell::new(1_000_000),
                held_up: Cell::new((0, 0)),
            }
        }

        fn pass(&self, nanos: u64) {
            self.time.set(self.time.get() + nanos);
            let ticks = u128::from(nanos) * u128::from(TICKS) * self.rate.get();
            self.ticks.set(self.ticks.get() + ticks);
        }

        fn jump(&self, nanos: i64) {
            let ticks = nanos.wrapping_mul(TICKS.cast_signed());
            self.offset.set(self.offset.get().wrapping_add(ticks.cast_unsigned()));
        }

        /// What the clock would show.
        fn truth(&self) -> u64 {
            self.time.get() + self.ahead.get()
        }
    }

    impl Counter for &World {
        fn ticks(&self) -> u64 {
            self.pass(READS.0);
            let ticks = u64::try_from(self.ticks.get() / 1_000_000).expect("not for so long");
            self.offset.get().wrapping_add(ticks)
        }
    }

    impl Reference for World {
        fn read(&self) -> Reading {
            let (before, after) = self.held_up.take();
            self.pass(READS.1 + before);
            let reading = Reading { steady: self.time.get(), shown: self.truth() };
            self.pass(after);
            reading
        }
    }

    /// What may happen between two readings; times are in nanoseconds.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Pass(u64),
        /// The counter stands still, and time does not.
        Stand(u64),
        Jump(i64),
        Rate(u128),
        /// The wall clock goes forward.
        Wall(u64),
        HoldUp(u64, u64),
    }

    impl Step {
        fn take(self, world: &World) {
            match self {
                Self::Pass(nanos) => world.pass(nanos),
                Self::Stand(nanos) => world.time.set(world.time.get() + nanos),
                Self::Jump(nanos) => world.jump(nanos),
                Self::Rate(rate) => world.rate.set(rate),
                Self::Wall(nanos) => world.ahead.set(world.ahead.get() + nanos),
                Self::HoldUp(before, after) => world.held_up.set((before, after)),
            }
        }
    }

    fn passes() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..2_000_u64).prop_map(Step::Pass),
            (0..3 * MILLISECOND).prop_map(Step::Pass),
            (0..60_000 * MILLISECOND).prop_map(Step::Pass),
        ]
    }

    /// Anything; the counter jumps back by no more than `back`.
    fn steps(back: i64) -> impl Strategy<Value = Step> {
        let far = 100_000_000_000_i64;
        prop_oneof![
            6 => passes(),
            1 => (0..50 * MILLISECOND).prop_map(Step::Stand),
            1 => (-back..far).prop_map(Step::Jump),
            1 => (-back.min(20_000_000)..20_000_000).prop_map(Step::Jump),
            1 => (510_000..1_950_000_u128).prop_map(Step::Rate),
            1 => (0..far.cast_unsigned()).prop_map(Step::Wall),
            1 => (0..20 * MILLISECOND).prop_map(|nanos| Step::HoldUp(nanos, 0)),
            1 => (0..20 * MILLISECOND).prop_map(|nanos| Step::HoldUp(0, nanos)),
        ]
    }

    fn cases() -> ProptestConfig {
        let cases = std::env::var("LIMITRY_CASES").ok().and_then(|cases| cases.parse().ok());
        ProptestConfig {
            cases: cases.unwrap_or(200),
            rng_seed: RngSeed::Fixed(11),
            failure_persistence: None,
            ..ProptestConfig::default()
        }
    }

    /// Reads until the clock must have been read several times, while the counter is even.
    fn settle(world: &World, clock: &Interpolated<&World>) {
        for _ in 0..2_000 {
            world.pass(MILLISECOND / 4);
            clock.read(world);
        }
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn a_counter_that_is_a_hundredth_fast_or_slow_is_followed(
            rate in 990_000..1_010_000_u128,
            steps in prop::collection::vec(passes(), 1..200),
        ) {
            let world = World::new();
            let clock = Interpolated::new(&world, NOMINAL, &world);
            world.rate.set(rate);
            let mut last = 0;
            for (round, step) in steps.into_iter().enumerate() {
                step.take(&world);
                let before = world.truth();
                let shown = clock.read(&world);
                prop_assert!(shown >= last, "{shown} after {last}");
                // A hundredth at first, and what reading takes and the margin costs from then on.
                let off = shown.abs_diff(before);
                prop_assert!(off <= INTERVAL / 99 + 2_000, "round {round}: {off}");
                last = shown;
            }
            settle(&world, &clock);
            for _ in 0..100 {
                world.pass(MILLISECOND / 7);
                let before = world.truth();
                let shown = clock.read(&world);
                prop_assert!(shown.abs_diff(before) <= 2_000, "{shown}: {before}");
            }
        }

        #[test]
        fn whatever_the_counter_does_time_stays_near_the_clock(
            steps in prop::collection::vec(steps(100_000_000_000), 1..200),
        ) {
            let world = World::new();
            let clock = Interpolated::new(&world, NOMINAL, &world);
            for step in steps {
                step.take(&world);
                let shown = clock.read(&world);
                prop_assert!(shown <= world.truth() + 2 * INTERVAL, "{shown}: {step:?}");
            }
            // A rate that it keeps, however wrong, and no more jumps.
            settle(&world, &clock);
            let (shown, truth) = (clock.read(&world), world.truth());
            prop_assert!(shown.abs_diff(truth) <= 2_000, "{shown}: {truth}");
        }

        #[test]
        fn time_never_runs_back_unless_the_counter_does(
            steps in prop::collection::vec(steps(0), 1..200),
        ) {
            let world = World::new();
            let clock = Interpolated::new(&world, NOMINAL, &world);
            let mut last = 0;
            for step in steps {
                step.take(&world);
                let shown = clock.read(&world);
                prop_assert!(shown >= last, "{shown} after {last}: {step:?}");
                last = shown;
                // One jump at a time.
                if matches!(step, Step::Jump(_)) {
                    settle(&world, &clock);
                    last = clock.read(&world);
                }
            }
        }
    }

    #[test]
    fn a_counter_that_stood_still_is_caught_up_with_an_interval_later() {
        let world = World::new();
        let clock = Interpolated::new(&world, NOMINAL, &world);
        settle(&world, &clock);
        let before = clock.read(&world);
        Step::Stand(3_600_000 * MILLISECOND).take(&world);
        assert!(clock.read(&world) < before + 1_000);
        world.pass(INTERVAL + INTERVAL / 1_000);
        assert!(clock.read(&world).abs_diff(world.truth()) < 1_000);
        settle(&world, &clock);
        assert!(clock.read(&world).abs_diff(world.truth()) < 2_000);
    }

    #[test]
    fn a_counter_that_began_anew_or_is_far_ahead_is_not_believed() {
        for jump in [-3_600_000_000_000, -20_000_000, 11_000_000, 3_600_000_000_000, i64::MIN / 4] {
            let world = World::new();
            let clock = Interpolated::new(&world, NOMINAL, &world);
            settle(&world, &clock);
            let before = clock.read(&world);
            world.jump(jump);
            let shown = clock.read(&world);
            assert!(shown >= before && shown <= before + INTERVAL, "{jump}: {shown}, {before}");
            assert!(jump > 0 || shown.abs_diff(world.truth()) < 1_000, "{jump}: {shown}");
            settle(&world, &clock);
            assert!(clock.read(&world).abs_diff(world.truth()) < 2_000, "{jump}");
        }
    }

    #[test]
    fn a_step_of_the_clock_is_followed_an_interval_later() {
        let world = World::new();
        let clock = Interpolated::new(&world, NOMINAL, &world);
        settle(&world, &clock);
        Step::Wall(3_600_000 * MILLISECOND).take(&world);
        world.pass(INTERVAL + INTERVAL / 1_000);
        assert!(clock.read(&world).abs_diff(world.truth()) < 1_000);
    }

    /// A counter of all threads, and a clock that is at the same tick, or somewhat behind.
    #[derive(Default)]
    struct Shared(AtomicU64);

    impl Counter for &Shared {
        fn ticks(&self) -> u64 {
            self.0.fetch_add(INTERVAL / 7, Ordering::SeqCst)
        }
    }

    impl Reference for Shared {
        fn read(&self) -> Reading {
            let ticks = self.0.fetch_add(1, Ordering::SeqCst);
            // Its rate comes and goes, so that anchors are behind and ahead of what was shown.
            let steady = ticks - ticks % (3 * INTERVAL);
            Reading { steady, shown: steady }
        }
    }

    #[test]
    fn a_thread_never_reads_less_than_another_one_did_before() {
        let shared = Shared::default();
        let clock = Interpolated::new(&shared, 1 << RATE_SHIFT, &shared);
        let highest = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50_000 {
                        let known = highest.load(Ordering::SeqCst);
                        let shown = clock.read(&shared);
                        assert!(shown >= known, "{shown} after {known}");
                        highest.fetch_max(shown, Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
