//! Answers by values and by time at once.

use std::collections::BTreeMap;

use super::*;
use crate::support::fold::{BucketLength, Selection, Sums, breakdown, figure, series};
use crate::support::usage::{DIMENSIONS, interval, sums};
use limitry::Amount;
use limitry::usage::{MeterQuery, MeterRow, MeterWindow, TimeseriesPoint};

impl History<'_> {
    pub(super) fn ask_for_series_by(&mut self, selection: &Selection, length: BucketLength) {
        let (zone, by) = (self.dice.pick(&ZONES), self.dice.pick(&DIMENSIONS));
        let most = usize::try_from(self.dice.below(5)).expect("a few");
        let query = usage_query(selection, zone, None);
        let answer = self.engine.usage().timeseries_by(&query, interval(length), by, most);
        let answer = answer.expect("so few points");
        let what = format!("{}: {selection:?} by {length:?} of {zone} by {by}", self.setup.name);
        let buckets = length.buckets(zone, None, &selection.range);
        assert!(answer.series.len() <= most, "{what}");
        // All of them together are the plain series.
        let lists: Vec<&[TimeseriesPoint]> = answer.series.iter().map(|it| &*it.points).collect();
        let lists: Vec<_> =
            lists.into_iter().chain(answer.rest.iter().map(|it| &*it.points)).collect();
        let expected = series(&self.accepted, selection, &buckets);
        for (place, expected) in expected.iter().enumerate() {
            let points = lists.iter().map(|points| &points[place]);
            if points.clone().all(|point| point.is_complete) && !lists.is_empty() {
                let found: Vec<Sums> = points.map(|point| sums(&point.totals)).collect();
                assert_eq!(&Sums::of_all(&found), expected, "{what}: {place}");
            }
        }
        let by_series = answer.series.iter().map(|it| (&it.totals, &it.points));
        let by_rest = answer.rest.iter().map(|it| (&it.totals, &it.points));
        for (totals, points) in by_series.chain(by_rest) {
            let points: Vec<Sums> = points.iter().map(|point| sums(&point.totals)).collect();
            assert_eq!(Sums::of_all(&points), sums(totals), "{what}");
        }
        if !answer.covers.is_complete || self.setup.has_caps {
            return;
        }
        let mut expected: Vec<_> = breakdown(&self.accepted, selection, by).into_iter().collect();
        expected.sort_by(|(a, sums_a), (b, sums_b)| {
            sums_b.events.cmp(&sums_a.events).then_with(|| a.cmp(b))
        });
        let shown = most.min(expected.len());
        let found: Vec<_> =
            answer.series.iter().map(|it| (it.dimension.clone(), sums(&it.totals))).collect();
        assert_eq!(found, expected[..shown], "{what}");
        let rest = (shown < expected.len())
            .then(|| Sums::of_all(expected[shown..].iter().map(|(_, sums)| sums)));
        assert_eq!(answer.rest.map(|rest| sums(&rest.totals)), rest, "{what}");
        for it in &answer.series {
            let Some(value) = &it.dimension else { continue };
            let mut own = selection.clone();
            own.pairs.push((by.to_owned(), value.clone()));
            let expected = series(&self.accepted, &own, &buckets);
            let found: Vec<Sums> = it.points.iter().map(|point| sums(&point.totals)).collect();
            assert_eq!(found, expected, "{what}: {value}");
        }
    }

    pub(super) fn ask_for_rows(&mut self, selection: &Selection, length: BucketLength) {
        let zone = self.dice.pick(&ZONES);
        let group_by: Vec<&str> =
            (0..self.dice.below(3)).map(|_| self.dice.pick(&DIMENSIONS)).collect();
        let keys: Vec<&str> =
            (0..self.dice.below(3)).map(|_| self.dice.pick(&DIMENSIONS)).collect();
        let limit = self.dice.chance(50).then(|| self.dice.below(4));
        let windows = self.dice.chance(60);
        for meter in self.gauges.clone() {
            let mut query = meter_query(selection);
            if windows {
                query = query.interval(interval(length)).time_zone(zone);
            }
            query = group_by.iter().fold(query, |query, by| query.group_by(*by));
            query = keys.iter().fold(query, |query, key| query.sum_over(*key));
            if let Some(limit) = limit {
                query = query.limit(u32::try_from(limit).expect("a few"));
            }
            let buckets = length.buckets(zone, None, &selection.range);
            let buckets = if windows { &buckets[..] } else { &[] };
            self.ask_meter(&meter, selection, (&group_by, &keys), (query, buckets, limit));
        }
    }

    fn ask_meter(
        &self,
        meter: &KnownMeter,
        selection: &Selection,
        (group_by, keys): (&[&str], &[&str]),
        (query, buckets, limit): (MeterQuery, &[std::ops::Range<Nanos>], Option<u64>),
    ) {
        let what = format!("{}: {meter:?} {query:?}", self.setup.name);
        let answer = self.engine.meters().rows(&meter.id, &query).expect("a good question");
        assert!(answer.rows.iter().all(|row| row.windows.len() == buckets.len()), "{what}");
        // What has no room is not told apart but where each value counts once.
        let tells_all = !keys.is_empty() || meter.aggregate == Aggregate::Unique;
        if self.setup.has_caps && !tells_all {
            return;
        }
        let mut meant = selection.clone();
        meant.pairs.extend(meter.pairs.clone());
        let accepted = self.accepted.iter().filter(|usage_event| meant.has(usage_event));
        let mut groups: BTreeMap<Vec<Option<String>>, Vec<UsageEvent>> = BTreeMap::new();
        if group_by.is_empty() {
            groups.insert(Vec::new(), Vec::new());
        }
        for usage_event in accepted {
            let key = group_by.iter().map(|by| usage_event.dimension(by).map(str::to_owned));
            groups.entry(key.collect()).or_default().push(usage_event.clone());
        }
        let figure = |events: &[UsageEvent], range| figure_over(events, meter, keys, range);
        let is_it = |value: Amount, (figure, slack): (i128, i128)| {
            (value.millionths() - figure).abs() <= slack
        };
        let check = |row: &MeterRow, events: &[UsageEvent]| {
            for (window, bucket) in row.windows.iter().zip(buckets) {
                let MeterWindow { start, end, value, is_complete, .. } = *window;
                assert_eq!(instant(start)..instant(end), *bucket, "{what}");
                if is_complete {
                    let range =
                        bucket.start.max(meant.range.start)..bucket.end.min(meant.range.end);
                    assert!(is_it(value, figure(events, range)), "{what}: {bucket:?}");
                }
            }
        };
        let mut ranked: Vec<_> = groups
            .into_iter()
            .map(|(key, events)| (figure(&events, meant.range.clone()), key, events))
            .collect();
        ranked.sort_by(|(a, key_a, _), (b, key_b, _)| b.cmp(a).then_with(|| key_a.cmp(key_b)));
        let is_complete = answer.covers.is_complete;
        for row in &answer.rows {
            let key: Vec<_> = group_by.iter().map(|by| row.group[*by].clone()).collect();
            let found = ranked.iter().find(|(_, known, _)| *known == key);
            let (value, _, events) = found.expect("only groups that have events");
            check(row, events);
            assert!(!is_complete || is_it(row.value, *value), "{what}: {row:?} {value:?}");
        }
        // Which of two is the higher is not told where both may be the same.
        if !is_complete || matches!(meter.aggregate, Aggregate::Percentile(_)) {
            return;
        }
        let shown = limit.map_or(ranked.len(), |limit| usize::try_from(limit).expect("a few"));
        let shown = shown.min(ranked.len());
        let order: Vec<Vec<_>> = answer
            .rows
            .iter()
            .map(|row| group_by.iter().map(|by| row.group[*by].clone()).collect())
            .collect();
        let expected: Vec<_> = ranked[..shown].iter().map(|(_, key, _)| key.clone()).collect();
        assert_eq!(order, expected, "{what}");
        assert_eq!(answer.rest.is_some(), shown < ranked.len(), "{what}");
        if let Some(rest) = &answer.rest {
            let mut events: Vec<_> = self
                .accepted
                .iter()
                .filter(|usage_event| meant.has(usage_event))
                .cloned()
                .collect();
            let is_shown = |usage_event: &UsageEvent| {
                let key: Vec<_> = group_by
                    .iter()
                    .map(|by| usage_event.dimension(by).map(str::to_owned))
                    .collect();
                expected.contains(&key)
            };
            events.retain(|usage_event| !is_shown(usage_event));
            assert!(is_it(rest.value, figure(&events, meant.range.clone())), "{what}");
            check(rest, &events);
        }
    }
}

/// A meter's figure over events in a range, and how far an answer may be from it; the sum of those
/// of the keys where there are any.
fn figure_over(
    events: &[UsageEvent],
    meter: &KnownMeter,
    keys: &[&str],
    range: std::ops::Range<Nanos>,
) -> (i128, i128) {
    let all = Selection { pairs: Vec::new(), range };
    let of = |events: &[UsageEvent]| {
        let figure = figure(events, &all, meter.aggregate, meter.of);
        (figure, meter.aggregate.slack(figure))
    };
    if keys.is_empty() {
        return of(events);
    }
    let mut by_key: BTreeMap<Vec<&str>, Vec<UsageEvent>> = BTreeMap::new();
    for event in events {
        let key: Option<Vec<&str>> = keys.iter().map(|key| event.dimension(key)).collect();
        if let Some(key) = key {
            by_key.entry(key).or_default().push(event.clone());
        }
    }
    let figures = by_key.values().map(|events| of(events));
    figures.fold((0, 0), |(sum, off), (figure, slack)| (sum + figure, off + slack))
}
