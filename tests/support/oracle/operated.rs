//! What operators do: what they give back and take, let begin anew, archive and restore.

use super::*;

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainAdjust {
    pub rule: String,
    /// The value of each dimension that splits the rule.
    pub key: Vec<(String, String)>,
    /// How much is added to what is used; nothing to begin anew.
    pub amount: Option<Milli>,
    pub once: Option<String>,
}

/// What the engine answered: how manieth it is, and how much was added, rounded down and up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainAdjusted {
    pub number: u64,
    pub lo: Milli,
    pub hi: Milli,
}

/// An adjustment that was made.
#[derive(Clone, Debug)]
pub(super) struct Adjusted {
    pub(super) at: Nanos,
    pub(super) is_reset: bool,
    pub(super) lo: Milli,
    pub(super) hi: Milli,
}

pub type AdjustAnswer = Result<PlainAdjusted, Fault>;

impl CountedRule {
    /// How much of what is used was adjusted, as it is shown at `now` for an event of `stamp`.
    pub(super) fn adjusted(&self, key: &[String], now: Nanos, stamp: Nanos) -> Range<Milli> {
        let mut sum = Range::new(0, 0);
        for one in self.adjusted.get(key).into_iter().flatten() {
            let counts = match self.rule.kind {
                Kind::Calendar(span) => {
                    self.period(key, span, one.at).0 == self.period(key, span, stamp).0
                }
                Kind::Rolling { window } => one.at + window > now,
                Kind::FirstUse { .. } => one.at >= self.first_start(key, now, stamp),
                _ => false,
            };
            match self.rule.kind {
                // It begins anew, and its history with it.
                Kind::Rolling { .. } if one.is_reset => sum = Range::new(0, 0),
                _ if counts => sum = Range::new(sum.lo + one.lo, sum.hi + one.hi),
                _ => {}
            }
        }
        sum
    }

    /// How much a reset may say that it gives back: what is used and not held.
    fn committed(&self, key: &[String], now: Nanos) -> Range<Milli> {
        let (used, held) = (self.used(key, now, now), self.held_in_use(key, now));
        Range::new(used.lo - held.hi, used.hi - held.lo)
    }

    /// How much of what is used is held: of a rate limit what was taken in the window of now.
    fn held_in_use(&self, key: &[String], now: Nanos) -> Range<Milli> {
        match self.rule.kind {
            // Of a window what it took there, whatever a refund has taken back meanwhile.
            Kind::Fixed { .. } | Kind::Sliding { .. } => {
                let open: Vec<usize> = self.open(key).into_iter().map(|(_, hold)| hold).collect();
                let late = self.lateness(key, now);
                let takes =
                    self.log(key).iter().filter(|it| open.iter().any(|hold| it.is_of(*hold)));
                takes.cloned().fold(Range::new(0, 0), |sum, mut take| {
                    let at = self.counted_at(&take);
                    let Some((lo, hi)) = take.amount() else { return sum };
                    let counts = |late| self.may_count(late, at, now);
                    let (lo, hi) =
                        (if counts(0) { *lo } else { 0 }, if counts(late) { *hi } else { 0 });
                    Range::new(sum.lo + lo, sum.hi + hi)
                })
            }
            _ => self.held(key, now, now),
        }
    }

    /// How much of a bucket committed use alone would have taken.
    fn committed_of_bucket(&self, key: &[String], now: Nanos) -> Range<Milli> {
        let bucket = self.bucket(key, now);
        let (lo, hi) = bucket.alone.unwrap_or((bucket.lo, bucket.hi));
        let up = |milli: Milli| ceil_div(milli, 1_000) * 1_000;
        Range::new(lo.div_euclid(bucket.window), up(ceil_div(hi, bucket.window)))
    }

    /// Forgets all but what is held.
    fn keep_what_is_held(&mut self, key: &[String]) {
        let open: Vec<usize> = self.open(key).into_iter().map(|(_, hold)| hold).collect();
        if let Some(log) = self.logs.get_mut(key) {
            log.retain(|entry| {
                matches!(entry, Entry::Terms { .. }) || open.iter().any(|hold| entry.is_of(*hold))
            });
        }
    }
}

impl Oracle {
    /// Judges the answer to an adjustment or a reset, and follows it.
    pub fn adjust(&mut self, asked: &PlainAdjust, answer: &AdjustAnswer) -> Result<(), String> {
        let now = self.read_clock();
        if asked.amount == Some(0) {
            return adjust_at_fault(answer, Fault::BadEvent, "it adds nothing");
        }
        if let Some((first, made)) = asked.once.as_ref().and_then(|once| self.once.get(once)) {
            return match answer {
                Ok(seen) if first == asked && seen == made => Ok(()),
                Err(Fault::Conflict) if first != asked => Ok(()),
                other => Err(format!("{made:?} was made once by {first:?}, not {other:?}")),
            };
        }
        let Some(at) = self.rules.iter().position(|it| it.rule.id == asked.rule) else {
            return adjust_at_fault(answer, Fault::Unknown, "no such rule");
        };
        let Some(key) = self.rules[at].rule.adjusted_key(asked) else {
            return adjust_at_fault(answer, Fault::BadEvent, "no key of it, or no part of it");
        };
        let made = match answer {
            Ok(made) if made.number == self.adjustments => *made,
            other => return Err(format!("expected adjustment {}: {other:?}", self.adjustments)),
        };
        let counted = &mut self.rules[at];
        let due = match (asked.amount, counted.rule.kind) {
            (Some(amount), _) => Range::new(amount, amount),
            (None, Kind::Bucket { .. }) => counted.committed_of_bucket(&key, now).negative(),
            // It begins anew after all that came before.
            (None, Kind::Rolling { .. }) => counted.committed(&key, now + 1).negative(),
            (None, _) => counted.committed(&key, now).negative(),
        };
        if !(due.lo <= made.lo && made.hi <= due.hi) {
            return Err(format!("{made:?} was added, not {due:?}"));
        }
        let (lo, hi, is_reset) = (made.lo, made.hi, asked.amount.is_none());
        if is_reset && matches!(counted.rule.kind, Kind::Rolling { .. }) {
            counted.keep_what_is_held(&key);
        } else {
            let first = terms(&counted.rule, now);
            let log = counted.logs.entry(key.clone()).or_insert_with(|| vec![first]);
            log.push(Entry::Use { at: now, stamp: now, lo, hi, verb: Verb::Adjust });
        }
        let one = Adjusted { at: now, is_reset, lo, hi };
        counted.adjusted.entry(key).or_default().push(one);
        self.adjustments += 1;
        if let Some(once) = &asked.once {
            self.once.insert(once.clone(), (asked.clone(), made));
        }
        Ok(())
    }

    /// How many adjustments of a rule and a key were made since the rule came, and their sum.
    pub fn adjusted(&self, id: &str, key: &[(String, String)]) -> (usize, Milli, Milli) {
        let key: Vec<String> = key.iter().map(|(_, value)| value.clone()).collect();
        let rule = self.rules.iter().find(|counted| counted.rule.id == id);
        let all = rule.and_then(|rule| rule.adjusted.get(&key)).into_iter().flatten();
        all.fold((0, 0, 0), |(count, lo, hi), one| (count + 1, lo + one.lo, hi + one.hi))
    }

    /// The value of a dimension of an event that a rule is split by, or what stands for it.
    pub fn value(&self, rule: &Rule, plain: &PlainEvent, key: &str) -> Option<String> {
        rule.value(plain, key).map(str::to_owned)
    }

    /// Archives a rule or brings it back: what is known of it stays.
    pub fn set_archived(&mut self, id: &str, archived: bool) {
        self.read_clock();
        let counted = self.rules.iter_mut().find(|counted| counted.rule.id == id);
        counted.expect("the rule is there").rule.archived = archived;
    }
}

impl Rule {
    /// The values of the key that is asked for; nothing where the rule has no such key, or cannot
    /// be adjusted so.
    fn adjusted_key(&self, asked: &PlainAdjust) -> Option<Vec<String>> {
        let is_part =
            asked.amount.is_some_and(|amount| self.measure.is_whole() && amount % 1_000 != 0);
        let keys: Vec<&String> = asked.key.iter().map(|(key, _)| key).collect();
        let is_let_in = |(key, value): &(String, String)| {
            self.filter.iter().filter(|(of, _)| of == key).all(|(_, wanted)| match wanted {
                // What is not there counts as what is stated.
                Asked::Absent => self.missing == Missing::Stated(value.clone()),
                wanted => wanted.is_met(Some(value)),
            })
        };
        let is_kept = !matches!(self.kind, Kind::Slots | Kind::Balance { .. });
        let is_bad = is_part || !is_kept || keys != self.per.iter().collect::<Vec<_>>();
        let values = asked.key.iter().map(|(_, value)| value.clone()).collect();
        (!is_bad && asked.key.iter().all(is_let_in)).then_some(values)
    }
}

impl Range<Milli> {
    fn negative(self) -> Self {
        Self::new(-self.hi, -self.lo)
    }
}

fn adjust_at_fault(answer: &AdjustAnswer, due: Fault, why: &str) -> Result<(), String> {
    match answer {
        Err(fault) if *fault == due => Ok(()),
        other => Err(format!("expected {due:?} ({why}), not {other:?}")),
    }
}
