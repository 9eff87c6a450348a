//! A change of what is known of customers.
//!
//! It is one of the rules as far as locks go: one at a time, under the compiler's lock. A calendar
//! that changes is known to whoever begins a period from then on, then rules that filter the value
//! are compiled anew, then the rows of its keys are cut anew ([`Recut`]). Decisions go on
//! meanwhile; those after the call go by the change.
//!
//! With a store a row says before that periods are about to be cut anew, and after it up to which
//! record they were: who opens the store with an older copy of counters cuts all of them anew.

use std::collections::HashSet;
use std::sync::Arc;

use super::CustomersError;
use crate::compiled::{Snapshot, row_hash};
use crate::counters::{History, Moment, Recut, RowAddress};
use crate::customers::{Customer, row_of};
use crate::engine::rules::Change;
use crate::engine::{Core, RulesError};
use crate::event::Dimension;
use crate::journal::store::SpaceChange;
use crate::journal::{CalendarRow, CutBefore, Pipeline};

impl Core {
    pub(super) fn set_customers(
        &self,
        dimension: &Dimension,
        customers: Vec<Customer>,
    ) -> Result<Vec<Customer>, CustomersError> {
        let (set, entry) = self.changed(|mut change| {
            let now = change.now();
            let stamped = customers.into_iter().map(|customer| {
                let before = self.directory.get(dimension, &customer.id);
                let created = before.and_then(|before| before.created_at).or(now);
                Customer { created_at: created, updated_at: now, ..customer }
            });
            let stamped: Vec<Customer> = stamped.collect();
            let changes = stamped.iter().map(|customer| (customer.id.as_str(), Some(customer)));
            let entry =
                self.change_customers(&mut change, dimension, &changes.collect::<Vec<_>>())?;
            Ok((stamped, entry))
        })?;
        self.attributes_changed();
        self.rules_are_stored(entry)?;
        Ok(set)
    }

    pub(super) fn remove_customer(
        &self,
        dimension: &Dimension,
        id: &str,
    ) -> Result<Option<Customer>, CustomersError> {
        let (before, entry) = self.changed(|mut change| {
            let Some(before) = self.directory.get(dimension, id) else { return Ok((None, None)) };
            let entry = self.change_customers(&mut change, dimension, &[(id, None)])?;
            Ok((Some(before), entry))
        })?;
        self.attributes_changed();
        self.rules_are_stored(entry)?;
        Ok(before.map(Arc::unwrap_or_clone))
    }

    /// Wakes who waits where a rule may match another event now. Called with no lock held.
    fn attributes_changed(&self) {
        if self.attributes.are_named() {
            self.rules_changed();
        }
    }

    /// Changes what is known of customers, and returns the entry of the queue with which that is
    /// durable.
    fn change_customers(
        &self,
        change: &mut Change<'_>,
        dimension: &Dimension,
        changes: &[(&str, Option<&Customer>)],
    ) -> Result<Option<u64>, RulesError> {
        self.admit_rules()?;
        let calendar =
            |customer: Option<&Customer>| customer.map(Customer::calendar).unwrap_or_default();
        let others = changes
            .iter()
            .filter(|(id, customer)| self.calendars.own(dimension, id) != calendar(*customer));
        let recut: Vec<&str> = others.map(|(id, _)| *id).collect();
        if !recut.is_empty() {
            self.put_calendar_row(true);
        }
        let (pipeline, mut entry) = (self.pipeline.as_ref(), None);
        for (id, customer) in changes {
            let (key, value) = row_of(dimension, id, *customer);
            let put = |pipeline: &Pipeline| pipeline.put_space(SpaceChange { key, value });
            entry = pipeline.map(put).or(entry);
            match customer {
                Some(customer) => self.directory.set(dimension, (*customer).clone()),
                None => drop(self.directory.remove(dimension, id)),
            }
            self.attributes.set(dimension, id, *customer);
            self.calendars.set(dimension, id, calendar(*customer));
        }
        if recut.is_empty() {
            return Ok(entry);
        }
        // Rules that filter a value are cut by its calendar themselves.
        change.refit()?;
        self.recut_values(change, dimension, &recut);
        Ok(self.put_calendar_row(false).or(entry))
    }

    /// Notes that periods are about to be cut anew, or up to which record they were.
    fn put_calendar_row(&self, is_under_way: bool) -> Option<u64> {
        let pipeline = self.pipeline.as_ref()?;
        let changed = if is_under_way { u64::MAX } else { pipeline.end() };
        Some(pipeline.put_row(CalendarRow::KEY, CalendarRow { changed }.to_bytes()))
    }

    /// Cuts the periods of the keys of some values anew.
    fn recut_values(&self, change: &Change<'_>, dimension: &Dimension, values: &[&str]) {
        let snapshot = self.snapshot.load_full();
        self.recut(&snapshot, change.now_moment(), false, |recut| {
            let mut others = Vec::new();
            for (group, partition) in snapshot.counters.groups_of(dimension) {
                if partition.len() > 1 {
                    let place = partition.iter().position(|of| of == dimension);
                    others.extend(place.map(|place| (group, place)));
                    continue;
                }
                let keys: Vec<[&str; 1]> = values.iter().map(|value| [*value]).collect();
                let row = |values: &'_ [&str; 1]| row_hash(&self.hasher, group, values);
                let rows: Vec<RowAddress<'_>> = keys
                    .iter()
                    .map(|values| RowAddress { hash: row(values), group, values })
                    .collect();
                self.table.recut_rows(recut, &rows);
            }
            if others.is_empty() {
                return;
            }
            // Which keys have one of the values is not known.
            let values: HashSet<&str> = values.iter().copied().collect();
            self.table.recut_where(recut, &|group, of_key| {
                let place = others.iter().find(|(other, _)| *other == group);
                let value = place.and_then(|(_, place)| of_key.get(*place));
                value.is_some_and(|value| values.contains(value))
            });
        });
    }

    /// The same of all keys.
    fn recut_all(&self, distrusts: bool) {
        let now = self.read_clock().moment;
        let compiler = self.compiler.lock();
        let snapshot = self.snapshot.load_full();
        self.recut(&snapshot, now, distrusts, |recut| self.table.recut_where(recut, &|_, _| true));
        drop(compiler);
    }

    fn recut(
        &self,
        snapshot: &Snapshot,
        now: Moment,
        distrusts: bool,
        with: impl FnOnce(&Recut<'_>),
    ) {
        let recorded = self.known_use(snapshot);
        // Before any row: who finds that one has no cell any more asks what is recorded.
        snapshot.counters.are_cut_anew(self.table.timeline().second(now));
        with(&Recut {
            counters: &snapshot.counters,
            history: recorded.as_ref().map(|recorded| recorded as &dyn History),
            now,
            distrusts,
        });
    }

    /// What an engine that opens a store does about calendars, where those have ever changed:
    /// counters that may come from a copy which is cut otherwise are cut anew.
    /// Rules that filter a value with a calendar are compiled anew where a crash came between the
    /// change and that.
    ///
    /// # Errors
    /// The store does not take the rules.
    pub(in crate::engine) fn go_on_with_calendars(&self, cut: CutBefore) -> Result<(), RulesError> {
        if !matches!(cut, CutBefore::Alike) {
            self.changed(|mut change| change.refit())?;
        }
        match cut {
            CutBefore::Alike | CutBefore::Anew => {}
            CutBefore::Otherwise => self.recut_all(false),
            CutBefore::InAnotherZone => self.recut_all(true),
        }
        Ok(())
    }
}
