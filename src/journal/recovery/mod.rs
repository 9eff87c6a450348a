//! Opening: from what is in the store to an engine that goes on.

use std::sync::Arc;

use chrono_tz::Tz;

use super::checkpoint::{
    ADJUSTMENTS, ALERTS, BALANCES, COUNTERS, FIRED, HELD, KEYS, KNOWN, LOG, RESERVATIONS, ROWS,
    blocks,
};
use super::writer::State;
use crate::adjustments::Adjustments;
use crate::alerts::RestoredAlerts;
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Reader};
use crate::base::format::Version;
use crate::base::progress::Progress;
use crate::compiled::row_hash;
use crate::compiled::snapshot::stored::{RestoredRules, Revisions, RuleRows, UnreadableRow};
use crate::compiled::{Compiler, Snapshot};
use crate::counters::{
    ACCOUNTS, ChangeTime, Lateness, LogEnd, MAX_AHEAD_SECONDS, Moment, StoredCharges, Table,
    Timeline,
};
use crate::customers::{Calendars, Directory};
use crate::idempotency::stored::StoredKeys;
use crate::journal::store::{
    Batch, Contents, FoundKey, StateChange, StateTable, Store, StoreError, StoredPiece,
};
use crate::log::{Bounds, Dropped, MemoryLog};
use crate::recording::Ledger;
use crate::reservations::RestoredReservations;
use crate::usage::{Figure, RollupOptions, Rollups, RollupsError};

mod calendars;
mod redo;
mod rows;
mod settings;

use self::calendars::read_customers;
pub(crate) use self::calendars::{CalendarRow, CutBefore};
pub(crate) use self::rows::DECLARED;
pub(super) use self::rows::{ACKNOWLEDGED, ERASED};
use self::rows::{ENGINE, EngineRows, Identity, LATE, SETTINGS, SHIFT};
pub(crate) use self::settings::StoredSettings;

/// How many records are read between two calls that tell of progress.
pub(super) const RECORDS_A_REPORT: u64 = 65_536;
/// The steps that progress is told of.
const CHECKPOINT: &str = "reading the checkpoint";
const LOG_AGAIN: &str = "redoing the log";
/// How many shards the counters of a durable engine have: so many that copying one into a
/// checkpoint holds nobody up for long.
const SHARDS: usize = 1_024;

/// What is opened, and what the application's code says of the engine.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) store: Arc<dyn Store>,
    /// Which events are kept in memory; `None` where none is recorded.
    pub(crate) keep: Option<Bounds>,
    pub(crate) rollups: RollupOptions,
    pub(crate) max_keys: u64,
    pub(crate) late_seconds: u64,
    /// The zone of what has none of its own.
    pub(crate) time_zone: Tz,
    pub(crate) idempotency_retention: u64,
    pub(crate) idempotency_max_keys: usize,
    /// Whether idempotency keys and events are loaded beside counters and sums.
    pub(crate) loads_all: bool,
    pub(crate) hasher: ahash::RandomState,
    /// What the application's code says of the engine beside its rules, to be kept; `None` where
    /// nothing is kept of it.
    pub(crate) kept: Option<Vec<u8>>,
    /// What the clock shows.
    pub(crate) now: Timestamp,
}

/// An engine's parts as they were.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) table: Table,
    pub(crate) ledger: Option<Ledger>,
    pub(crate) compiler: Compiler,
    pub(crate) snapshot: Snapshot,
    pub(crate) keys: StoredKeys,
    pub(crate) reservations: RestoredReservations,
    pub(crate) alerts: RestoredAlerts,
    /// The name of the engine's log, and of the engine.
    pub(crate) name: u64,
    pub(crate) adjustments: Adjustments,
    pub(crate) revisions: Revisions,
    /// The rules that the application's code defined the last time, as they were written down.
    pub(crate) declared: Option<Vec<u8>>,
    /// Whether the clock is behind the store's last instant.
    pub(crate) was_set_back: bool,
    pub(crate) state: State,
    pub(crate) directory: Directory,
    pub(crate) cut: CutBefore,
    /// The number up to which records do not say what they did to counters.
    pub(crate) erased: u64,
}

/// Reads what is in a store, and whether it is new. Nothing in it is changed, but that a new one
/// gets an identity, that it is noted for how long late events are taken, and that one of an older
/// format is converted, when all of it could be read: whoever is interrupted can begin again.
pub(crate) fn recover(
    settings: &Settings,
    tell: &mut dyn FnMut(Progress),
) -> Result<(Recovered, bool), StoreError> {
    let store = &*settings.store;
    let known = EngineRows::read(store)?;
    let is_new = known.identity.is_none();
    let identity = known.identity.unwrap_or_else(|| Identity::new(settings.now));
    let mut rows = Vec::new();
    let mut put = |key, bytes| rows.push(StateChange::Put { table: StateTable::Meta, key, bytes });
    let converts = store.version() < Version::NEWEST;
    if is_new || converts {
        put(ENGINE, identity.to_bytes());
    }
    let timeline = Timeline::with_origin(identity.origin);
    let shift = known.shift(timeline, settings, store.now());
    if shift != known.shift || (converts && shift > 0) {
        put(SHIFT, shift.to_le_bytes().to_vec());
    }
    let late = known.late_events(settings, timeline, store.now());
    if known.late != Some(late) || converts {
        put(LATE, late.to_bytes());
    }
    if let Some((key, row)) = known.cut.other_zone(settings.time_zone, store.end()) {
        put(key, row);
    }
    if let Some(row) = settings.kept.as_ref().or(known.settings.as_ref())
        && (converts || known.settings.as_ref() != Some(row))
    {
        put(SETTINGS, row.clone());
    }
    if !converts || is_new {
        if !rows.is_empty() {
            store.commit(&Batch { state: &rows, converts, ..Batch::empty(store.end()) })?;
        }
        let mut recovered = recover_from(settings, store, Some(shift), tell)?;
        recovered.was_set_back = shift > known.shift;
        return Ok((recovered, is_new));
    }
    if let Some(declared) = known.declared {
        put(DECLARED, declared);
    }
    let mut recovered = recover_from(settings, store, Some(shift), tell)?;
    let Recovered { compiler, snapshot, revisions, state, .. } = &mut recovered;
    for row in revisions.to_rows(compiler, &snapshot.meters) {
        rows.push(row.into());
    }
    store.commit(&Batch { state: &rows, converts, ..Batch::empty(store.end()) })?;
    state.is_old = true;
    recovered.was_set_back = shift > known.shift;
    Ok((recovered, is_new))
}

/// Makes an engine's parts of the contents of a store, which nobody changes meanwhile, for a time
/// line that is so far ahead of the calendar, or as far as it was.
pub(super) fn recover_from(
    settings: &Settings,
    store: &dyn Contents,
    shift: Option<u64>,
    tell: &mut dyn FnMut(Progress),
) -> Result<Recovered, StoreError> {
    let rows = EngineRows::read(store)?;
    let identity = rows.identity.ok_or_else(|| damaged(store, "the engine's identity"))?;
    let timeline = Timeline::with_origin(identity.origin).shifted(shift.unwrap_or(rows.shift));
    let now = timeline.moment(settings.now).max(Moment(store.now()));

    let table = Table::new(settings.max_keys, timeline, SHARDS);
    let since = Arc::new(ChangeTime::from(timeline.at(now, None)));
    let (directory, calendars) = read_customers(settings)?;
    let RestoredRules { compiler, current, meters, revisions } =
        read_rules(store, timeline, rows.late_events(settings, timeline, store.now()), &calendars)?;
    let snapshot =
        Snapshot::new(since, current, meters, settings.hasher.clone()).by_calendars(&calendars);

    let mut keys = StoredKeys::new(
        identity.secret,
        settings.idempotency_retention,
        settings.idempotency_max_keys,
    );
    let log_end = LogEnd { counters: &snapshot.counters, at: timeline.at(now, None) };
    let mut reader =
        Recovery::new(settings, store, timeline, &table, log_end, (&revisions, &snapshot));
    reader.read_beside_keys(&mut keys, now, tell)?;
    let Recovery { log, rollups, last_shift, from, checkpoint_bytes, tail_bytes, .. } = reader;
    let (reservations, adjustments) = (reader.reservations, reader.adjustments);
    adjustments.forget(|age| snapshot.rules.iter().any(|rule| rule.age == age));
    let alerts = reader.alerts.acknowledged_to(rows.acknowledged);
    let ledger = log.zip(rollups).map(|(log, mut rollups)| {
        rollups.loaded();
        if timeline.shift() > last_shift {
            rollups.set_back(timeline.timestamp(now));
        }
        Ledger::restored(identity.name, settings.hasher.clone(), log, rollups)
    });
    if timeline.shift() > 0 {
        let latest = store.latest().max(Some(store.dropped().last()));
        snapshot.counters.was_set_back(latest.map_or(i64::MIN, Timestamp::unix_seconds));
    }
    let was = timeline.shifted(rows.shift).second(now);
    snapshot.counters.may_have_missed(was.saturating_add(MAX_AHEAD_SECONDS));
    let cut = rows.cut.before(settings.time_zone, from);
    cut.tell(&snapshot.counters, timeline.second(now));
    table.start_at(now);
    table.open(snapshot.version);
    Ok(Recovered {
        table,
        ledger,
        compiler,
        snapshot,
        keys,
        reservations,
        alerts,
        name: identity.name,
        adjustments,
        revisions,
        declared: rows.declared,
        was_set_back: false,
        state: State::starting(from, (checkpoint_bytes, tail_bytes), now),
        directory,
        cut,
        erased: rows.erased,
    })
}

fn read_rules(
    store: &dyn Contents,
    timeline: Timeline,
    late: Lateness,
    calendars: &Arc<Calendars>,
) -> Result<RestoredRules, StoreError> {
    let (mut rows, mut wrong, version) = (RuleRows::default(), None, store.version());
    store.state(StateTable::Rules, &mut |key, bytes| {
        if let Err(why) = rows.add(version, key, bytes) {
            wrong.get_or_insert(why);
        }
    })?;
    let unreadable = |why: UnreadableRow| store.damaged("the rules", &why.to_string());
    if let Some(why) = wrong {
        return Err(unreadable(why));
    }
    let restored = rows.finish(late, calendars).map_err(unreadable)?;
    Ok(restored.unwrap_or_else(|| {
        let compiler = Compiler::new(timeline, late).by_calendars(Arc::clone(calendars));
        let mut compiler = compiler;
        compiler.keep_what_checkpoints_hold();
        let (current, meters, revisions) = (Vec::new(), Arc::default(), Revisions::default());
        RestoredRules { compiler, current, meters, revisions }
    }))
}

fn load_keys(store: &dyn Contents, keys: &mut StoredKeys, now: Moment) -> Result<(), StoreError> {
    let count = store.generations().iter().map(|generation| generation.keys).sum::<u64>();
    keys.reserve(usize::try_from(count).unwrap_or(usize::MAX));
    store.keys(0, &mut |FoundKey { version, hash, seq, now }| match version {
        Version::One => keys.load_plain(hash, seq, Moment(now)),
        Version::Two | Version::Three => keys.load(hash, seq, Moment(now)),
    })?;
    keys.loaded(now);
    Ok(())
}

pub(super) fn damaged(store: &dyn Contents, what: &str) -> StoreError {
    store.damaged(what, "its sums are right, and yet it is not what an engine writes")
}

/// Roll-ups to fold a log's events anew, but for the `dropped` ones.
pub(super) fn rollups_anew(settings: &Settings, snapshot: &Snapshot, dropped: &Dropped) -> Rollups {
    let mut rollups = Rollups::anew(&settings.rollups, &settings.hasher, dropped.clone());
    let rules = snapshot.rules.iter().map(|rule| &rule.measure);
    rollups.track(&Figure::folds_of(&snapshot.meters, rules), dropped);
    rollups
}

/// Reads the checkpoint, and redoes the log from there on.
struct Recovery<'r> {
    settings: &'r Settings,
    store: &'r dyn Contents,
    timeline: Timeline,
    table: &'r Table,
    log_end: LogEnd<'r>,
    revisions: &'r Revisions,
    snapshot: &'r Snapshot,
    log: Option<MemoryLog>,
    rollups: Option<Rollups>,
    /// The sequence number from which on counters are redone.
    from: u64,
    /// The sequence number from which on roll-ups are redone, or folded anew.
    fold_from: u64,
    /// Whether the roll-ups come from the checkpoint, and do not have to be folded anew.
    redoes: bool,
    /// The ordinal from which on events are kept in memory.
    log_from: u64,
    /// When the events before it happened.
    dropped: Dropped,
    checkpoint_bytes: u64,
    tail_bytes: u64,
    charges: StoredCharges,
    reservations: RestoredReservations,
    alerts: RestoredAlerts,
    adjustments: Adjustments,
    /// How far the time line was ahead of the calendar at the last record.
    last_shift: u64,
}

/// The parts of a checkpoint that can be read only together.
#[derive(Default)]
struct Parts {
    rows: Vec<(Version, Vec<u8>)>,
    keys: Option<(Version, Vec<u8>)>,
    log: Option<(u64, Dropped)>,
    bytes: u64,
}

impl<'r> Recovery<'r> {
    fn new(
        settings: &'r Settings,
        store: &'r dyn Contents,
        timeline: Timeline,
        table: &'r Table,
        log_end: LogEnd<'r>,
        (revisions, snapshot): (&'r Revisions, &'r Snapshot),
    ) -> Self {
        Self {
            settings,
            store,
            timeline,
            table,
            log_end,
            revisions,
            snapshot,
            log: None,
            rollups: None,
            from: 0,
            fold_from: 0,
            redoes: false,
            log_from: 0,
            dropped: Dropped::new(),
            checkpoint_bytes: 0,
            tail_bytes: 0,
            charges: StoredCharges::new(),
            reservations: RestoredReservations::default(),
            alerts: RestoredAlerts::default(),
            adjustments: Adjustments::default(),
            last_shift: 0,
        }
    }

    /// Reads all, and the idempotency keys on a thread of their own.
    fn read_beside_keys(
        &mut self,
        keys: &mut StoredKeys,
        now: Moment,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<(), StoreError> {
        let (settings, store) = (self.settings, self.store);
        std::thread::scope(|scope| {
            let load = || if settings.loads_all { load_keys(store, keys, now) } else { Ok(()) };
            let loading = scope.spawn(load);
            let read = self.read(tell);
            let loaded = loading.join();
            let panicked = |_| StoreError::Failed {
                file: store.file().into(),
                cause: "the thread that reads its idempotency keys panicked".into(),
            };
            read.and(loaded.map_err(panicked).flatten())
        })
    }

    fn read(&mut self, tell: &mut dyn FnMut(Progress)) -> Result<(), StoreError> {
        let mut parts = Parts::default();
        let first = self.store.first();
        tell(Progress::new(CHECKPOINT, 0, 1));
        self.from = self.read_checkpoint(&mut parts)?.unwrap_or(first);
        self.checkpoint_bytes = parts.bytes;
        let mut start = self.from;
        if let Some(keep) = self.settings.keep {
            self.read_rollups(&parts, first)?;
            start = start.min(self.fold_from).min(self.place_log(keep, parts.log));
        }
        tell(Progress::new(CHECKPOINT, 1, 1));
        self.redo(start, tell)?;
        self.table.redone_holds(&self.log_end);
        Ok(())
    }

    fn read_checkpoint(&mut self, parts: &mut Parts) -> Result<Option<u64>, StoreError> {
        let (mut problem, store) = (None, self.store);
        let from = store.pieces(&mut |piece| {
            if problem.is_none() && self.read_piece(&piece, parts).is_none() {
                problem = Some(match piece.kind {
                    COUNTERS => "a piece of the counters",
                    _ => "a piece of a checkpoint",
                });
            }
        })?;
        problem.map_or(Ok(from), |what| Err(damaged(self.store, what)))
    }

    fn read_piece(&mut self, piece: &StoredPiece<'_>, parts: &mut Parts) -> Option<()> {
        let bytes = u64::try_from(piece.bytes.len()).ok()?;
        parts.bytes = parts.bytes.saturating_add(bytes);
        match piece.kind {
            COUNTERS => {
                for block in blocks(Reader::new(piece.version, piece.bytes)) {
                    let (position, block) = block.ok()?;
                    let hash =
                        |group, values: &[&str]| row_hash(&self.settings.hasher, group, values);
                    let block = Reader::new(piece.version, block);
                    self.table.load(&self.log_end, position, block, hash).ok()?;
                }
            }
            HELD => {
                let hasher = &self.settings.hasher;
                let hash = |group, values: &[&str]| row_hash(hasher, group, values);
                let rows = Reader::new(piece.version, piece.bytes);
                let (table, end) = (self.table, &self.log_end);
                table.redo_held(end, (piece.position, None), rows, hash, |_, _| {}).ok()?;
            }
            RESERVATIONS => {
                let hasher = &self.settings.hasher;
                let hash = |group, values: &[&str]| row_hash(hasher, group, values);
                let entries = Reader::new(piece.version, piece.bytes);
                self.reservations.load(entries, &hash).ok()?;
            }
            BALANCES => {
                let hasher = &self.settings.hasher;
                let hash = |name: &str, owner: &str| row_hash(hasher, ACCOUNTS, &[name, owner]);
                for block in blocks(Reader::new(piece.version, piece.bytes)) {
                    let (position, block) = block.ok()?;
                    let block = Reader::new(piece.version, block);
                    self.table.load_accounts(position, block, hash).ok()?;
                }
            }
            ROWS if self.settings.keep.is_some() => {
                parts.rows.push((piece.version, piece.bytes.to_vec()));
            }
            KEYS if self.settings.keep.is_some() => {
                parts.keys = Some((piece.version, piece.bytes.to_vec()));
            }
            ADJUSTMENTS => {
                let entries = Reader::new(piece.version, piece.bytes);
                self.adjustments.load(entries).ok()?;
            }
            LOG => {
                parts.log = Some(Ledger::read_log(Reader::new(piece.version, piece.bytes)).ok()?);
            }
            ALERTS => {
                let mut from = Reader::new(piece.version, piece.bytes);
                let hasher = &self.settings.hasher;
                let hash = |group, values: &[&str]| row_hash(hasher, group, values);
                match u8::decode(&mut from).ok()? {
                    FIRED => self.table.load_fired(from, hash).ok()?,
                    KNOWN => self.alerts.load(from).ok()?,
                    _ => return None,
                }
            }
            ROWS | KEYS => {}
            _ => return None,
        }
        Some(())
    }

    /// Reads the roll-ups of the checkpoint; where there is none, or one by other dimensions, they
    /// are to be folded anew from all events that are there.
    fn read_rollups(&mut self, parts: &Parts, first: u64) -> Result<(), StoreError> {
        let Settings { rollups: options, hasher, .. } = self.settings;
        let wrong = |why: RollupsError| {
            self.store.damaged("the checkpoint of the roll-ups", &why.to_string())
        };
        let loaded = parts.keys.as_ref();
        let loaded = loaded.map(|(version, keys)| {
            Rollups::load_keys(Reader::new(*version, keys), options, hasher)
        });
        match loaded {
            Some(Ok(mut rollups)) => {
                for (version, rows) in &parts.rows {
                    rollups.load_rows(Reader::new(*version, rows)).map_err(wrong)?;
                }
                (self.rollups, self.fold_from, self.redoes) = (Some(rollups), self.from, true);
                Ok(())
            }
            None | Some(Err(RollupsError::Mismatch { .. })) => {
                let mut dropped = Dropped::new();
                dropped.merge(&self.store.dropped());
                let rollups = rollups_anew(self.settings, self.snapshot, &dropped);
                (self.rollups, self.fold_from) = (Some(rollups), first);
                Ok(())
            }
            Some(Err(why)) => Err(wrong(why)),
        }
    }

    /// Decides which events come into memory; returns the sequence number to read from, so that
    /// what is left out is known.
    fn place_log(&mut self, keep: Bounds, log: Option<(u64, Dropped)>) -> u64 {
        if !self.settings.loads_all {
            (self.log_from, self.dropped) = (self.store.events(), Dropped::all());
            return self.store.end();
        }
        let keep = u64::try_from(keep.events).unwrap_or(u64::MAX);
        let first = self.store.first_event();
        self.log_from = self.store.events().saturating_sub(keep).max(first);
        let (known, dropped) = log.unwrap_or((first, Dropped::new()));
        self.dropped = dropped;
        // Memory may have had events then that the store does not have any more.
        self.dropped.merge(&self.store.dropped());
        self.store.lower_bound(known.clamp(first, self.log_from))
    }
}
