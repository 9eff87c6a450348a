//! The cases of the tables: which there are, in which order, and how much of everything.

use crate::report::{Row, Section};
use crate::{Options, decision_cases, durable_cases, replay_cases, usage_cases};

/// How much of everything: full for figures, quick to see that it all runs.
pub struct Size {
    /// All of a round fits into the processor's caches.
    pub hot: Round,
    pub usual: Round,
    /// Every customer's counters come from memory.
    pub cold: Round,
    pub others_at_limitador: usize,
    pub calls_at_limitador: usize,
    pub others: usize,
    pub holds: usize,
    pub customers_for_bytes: usize,
    pub customers_compared: usize,
    pub customers_compared_at_limitador: usize,
    pub replay: replay_cases::Size,
    pub usage: usage_cases::Size,
    pub durable: durable_cases::Size,
}

/// How a case is timed: each side's round calls every customer once a pass.
pub struct Round {
    pub customers: usize,
    pub passes: usize,
    pub rounds: usize,
    /// One rule's limit an hour: more than all rounds call, and so few that a bucket is still in
    /// use at the next call.
    pub an_hour: u32,
}

const FULL: Size = Size {
    hot: Round { customers: 1_000, passes: 100, rounds: 41, an_hour: 10_000 },
    usual: Round { customers: 100_000, passes: 1, rounds: 41, an_hour: 1_000 },
    cold: Round { customers: 1_000_000, passes: 1, rounds: 11, an_hour: 1_000 },
    others_at_limitador: 996,
    calls_at_limitador: 100,
    others: 99_996,
    holds: 1_000_000,
    customers_for_bytes: 1_000_000,
    customers_compared: 20_000,
    customers_compared_at_limitador: 300,
    replay: replay_cases::FULL,
    usage: usage_cases::FULL,
    durable: durable_cases::FULL,
};

const QUICK: Size = Size {
    hot: Round { customers: 100, passes: 10, rounds: 3, an_hour: 10_000 },
    usual: Round { customers: 5_000, passes: 1, rounds: 3, an_hour: 1_000 },
    cold: Round { customers: 10_000, passes: 1, rounds: 3, an_hour: 1_000 },
    others_at_limitador: 96,
    calls_at_limitador: 5,
    others: 996,
    holds: 10_000,
    customers_for_bytes: 20_000,
    customers_compared: 500,
    customers_compared_at_limitador: 20,
    replay: replay_cases::QUICK,
    usage: usage_cases::QUICK,
    durable: durable_cases::QUICK,
};

struct Case {
    section: Section,
    /// The words of its rows in the table: `--only` looks for its text in them.
    words: &'static str,
    run: fn(&Size) -> Vec<Row>,
}

const fn decisions(words: &'static str, run: fn(&Size) -> Vec<Row>) -> Case {
    Case { section: Section::Decisions, words, run }
}

const CASES: &[Case] = &[
    decisions("one rule, 1 000 customers | governor, quota, ratelimit", |size| {
        decision_cases::one_rule(size, &size.hot, [1.25, 1.7])
    }),
    decisions("one rule, 100 000 customers | governor, quota, ratelimit", |size| {
        decision_cases::one_rule(size, &size.usual, [1.2, 1.2])
    }),
    decisions("one rule, 1 000 000 customers | governor, quota, ratelimit", |size| {
        decision_cases::one_rule(size, &size.cold, [0.6, 0.6])
    }),
    decisions("four rules, 1 000 customers | by hand", |size| {
        decision_cases::four_rules(size, &size.hot, 0.4)
    }),
    decisions("four rules, 100 000 customers | by hand", |size| {
        decision_cases::four_rules(size, &size.usual, 0.3)
    }),
    decisions("four rules, 1 000 000 customers | by hand", |size| {
        decision_cases::four_rules(size, &size.cold, 0.22)
    }),
    decisions("four rules in two rows; the same, recorded | by hand", decision_cases::two_rows),
    decisions("four rules among 1 000 definitions | limitador", decision_cases::among_a_thousand),
    decisions("four rules among 100 000 definitions", decision_cases::among_many),
    decisions("refused by a rate limit; refused by a quota", decision_cases::refused),
    decisions("two threads, different customers: throughput", decision_cases::two_threads),
    decisions("recording on", decision_cases::recording),
    decisions("reserve and commit; beside open holds of others", decision_cases::reserving),
    decisions("heap allocations a call, warm | by hand", decision_cases::allocations),
    decisions("bytes a customer | by hand", decision_cases::bytes),
    decisions("replay: decisions a second; calls on the straight path", |size| {
        replay_cases::cases(&size.replay)
    }),
    Case {
        section: Section::Usage,
        words: "an event of a `record_batch`",
        run: |size| usage_cases::batches(&size.usage),
    },
    Case {
        section: Section::Usage,
        words: "the month's summary; the month by model; a day by hours; two days and odd minutes; \
                a customer's month | SQLite",
        run: |size| usage_cases::questions(&size.usage),
    },
    Case {
        section: Section::Usage,
        words: "an event in the log",
        run: |size| usage_cases::bytes(&size.usage),
    },
    Case {
        section: Section::Durable,
        words: "a durable event with a random key; the speed of the last fifth; memory for each of \
                its keys | SQLite, append, fdatasync",
        run: |size| durable_cases::ingest(&size.durable),
    },
    Case {
        section: Section::Durable,
        words: "p99 of waiting for a commit; a `Buffered` call with a key",
        run: |size| durable_cases::calls(&size.durable),
    },
    Case {
        section: Section::Durable,
        words: "opening with keys and counters; the same after a kill",
        run: |size| durable_cases::opening(&size.durable),
    },
];

/// Whether any case has the text among its words.
pub fn has(text: &str) -> bool {
    CASES.iter().any(|case| case.words.contains(text))
}

pub fn run(options: &Options) -> Vec<(Section, Vec<Row>)> {
    let size = if options.quick { QUICK } else { FULL };
    let wanted = |case: &&Case| options.only.as_ref().is_none_or(|text| case.words.contains(text));
    let mut sections: Vec<(Section, Vec<Row>)> = Vec::new();
    for case in CASES.iter().filter(wanted) {
        let rows = (case.run)(&size);
        match sections.last_mut() {
            Some((section, known)) if *section == case.section => known.extend(rows),
            _ => sections.push((case.section, rows)),
        }
    }
    sections
}
