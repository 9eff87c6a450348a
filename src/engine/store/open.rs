//! Building an engine from what is in a store.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::base::clock::SystemClock;
use crate::customers::Attributes;
use crate::engine::EngineAlerts;
use crate::engine::builder::EngineBuilder;
use crate::engine::figures::EngineFigures;
use crate::engine::refusals::read_refusals;
use crate::engine::time::MonotonicTime;
use crate::engine::waiting::Waiters;
use crate::engine::{BuildError, Core, Engine, RulesError};
use crate::idempotency::IdempotencyKeys;
use crate::journal::{DECLARED, Durable, Pipeline, Recovered, Settings, recover};
use crate::refusals::RefusalLog;
use crate::reservations::ReservationMap;
use crate::rules::RuleSet;

/// The most idempotency keys where that was not said.
const IDEMPOTENCY_KEYS: usize = 20_000_000;

impl EngineBuilder {
    /// Recovers what the store has, and goes on from there with what the builder says.
    pub(in crate::engine) fn build_durable(
        mut self,
        durable: &Durable,
    ) -> Result<Engine, BuildError> {
        let clock = self.clock.take().unwrap_or_else(|| Box::new(SystemClock::new()));
        let hasher = ahash::RandomState::new();
        let keys_retention =
            u64::try_from(self.idempotency_retention.as_nanos()).unwrap_or(u64::MAX);
        let max_keys = self.idempotency_keys(IDEMPOTENCY_KEYS);
        let waiting = Waiters::new(self.max_waiters, self.timer.take(), &*clock);
        let now = clock.now();
        let settings = Settings {
            store: Arc::clone(&durable.store),
            keep: self.kept_events(),
            rollups: self.rollups.clone(),
            max_keys: self.max_keys,
            late_seconds: self.late_events.as_secs(),
            time_zone: self.time_zone.into(),
            idempotency_retention: keys_retention,
            idempotency_max_keys: max_keys,
            loads_all: true,
            hasher: hasher.clone(),
            kept: self.settings_to_keep(durable),
            now,
        };
        let (recovered, is_new) = recover(&settings, &mut |progress| durable.tell(progress))?;
        let Recovered { table, ledger, mut compiler, snapshot, keys, revisions, .. } = recovered;
        let Recovered { declared, was_set_back, state, reservations: restored, .. } = recovered;
        let outbox = Arc::new(recovered.alerts.into_outbox(self.max_alerts));
        let adjustments = Arc::new(recovered.adjustments);
        let Recovered { directory, cut, .. } = recovered;
        let most = self.max_reservations;
        let mut reservations = ReservationMap::new(keys_retention, max_keys, most, &hasher);
        reservations.restore(restored, table.timeline().moment(now));
        let reservations = Arc::new(reservations);
        if !is_new && ledger.is_some() {
            compiler.recount();
        }
        compiler.tell(&self.recorder);
        let calendars = Arc::clone(&compiler.calendars);
        let (table, ledger) = (Arc::new(table), ledger.map(Arc::new));
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let most = self.recorded().kept_refusals();
        let refusals = ledger.as_ref().map(|_| Arc::new(RefusalLog::new(most, true, &hasher)));
        if let Some(log) = &refusals {
            read_refusals(log, &*durable.store)?;
        }
        let shared = (
            Arc::clone(&table),
            (ledger.clone(), refusals.clone()),
            (Arc::clone(&reservations), Arc::clone(&adjustments)),
            Arc::clone(&snapshot),
            Arc::clone(&outbox),
        );
        let retention = u64::try_from(durable.retention.as_nanos()).unwrap_or(u64::MAX);
        let retention = retention.max(keys_retention);
        let usage = ledger.as_ref().map(|ledger| ledger.dimensions()).unwrap_or_default();
        let attributes = Attributes::new(&usage, hasher.clone());
        let core = Core {
            monotonic: (!clock.is_monotonic()).then(MonotonicTime::default),
            clock,
            pipeline: Some(Pipeline::start(
                durable,
                settings,
                (keys, revisions),
                shared,
                (state, retention),
            )?),
            snapshot,
            table,
            compiler: Mutex::new(compiler),
            ledger,
            refusals,
            is_kept: true,
            keys: IdempotencyKeys::new(keys_retention, max_keys, hasher.clone()),
            reservations,
            adjustments,
            hasher,
            prices: self.prices,
            figures: EngineFigures::new(&self.recorder),
            waiting,
            alerts: EngineAlerts::new(outbox, recovered.name),
            replay: None,
            calendars,
            directory: Arc::new(directory),
            attributes,
        };
        core.attributes.look_up(&core.snapshot.load().attributes, &core.directory);
        if was_set_back {
            core.tell_of_dates_ahead();
        }
        let rules = core.snapshot.load_full();
        core.track_folds_of(&rules.meters, &rules.rules);
        let rules = (!self.as_stored).then_some(self.rules);
        core.go_on_with(rules, declared.as_deref(), is_new)?;
        core.go_on_with_calendars(cut).map_err(of_rules)?;
        if core.ledger.is_some() {
            core.compiler.lock().recount();
        }
        core.snapshot.load().listed().iter().for_each(|rule| rule.figures.show());
        Ok(Engine { core: Arc::new(core) })
    }
}

impl Core {
    /// Goes on with the stored rules as they are.
    fn go_on_as_stored(&self) -> Result<(), BuildError> {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method alone is not general enough in its lifetime"
        )]
        let renewed = self.changed(|change| change.renew());
        renewed.map_err(of_rules)
    }

    /// Merges the rules of the code into the stored ones: what changed in the code since the last
    /// time is changed, what was changed at run time stays.
    fn go_on_with(
        &self,
        rules: Option<RuleSet>,
        declared: Option<&[u8]>,
        is_new: bool,
    ) -> Result<(), BuildError> {
        let Some(rules) = rules else { return self.go_on_as_stored() };
        let text = serde_json::to_vec(&rules).unwrap_or_default();
        if declared == Some(&*text) {
            return self.go_on_as_stored();
        }
        // As they are when they are read again: some things can be said in two ways.
        let rules = serde_json::from_slice(&text).unwrap_or(rules);
        let before: Option<RuleSet> = declared.and_then(|text| serde_json::from_slice(text).ok());
        if is_new {
            let (rules, meters) = rules.into_parts();
            self.install(rules, &meters).map_err(of_rules)?;
        } else {
            let before = before.unwrap_or_default();
            self.changed(|change| change.merge(before, rules)).map_err(of_rules)?;
        }
        if let Some(pipeline) = &self.pipeline {
            pipeline.wait_for_state(pipeline.put_row(DECLARED, text))?;
        }
        Ok(())
    }
}

fn of_rules(why: RulesError) -> BuildError {
    match why {
        RulesError::Store(why) => BuildError::Store(why),
        RulesError::Invalid(why) => BuildError::Invalid(why),
        why => BuildError::Rules(why),
    }
}
