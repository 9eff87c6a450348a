//! Which rule of a policy judges.

use std::collections::HashMap;

use super::Entry;
use crate::event::Dimension;
use crate::rules::Condition;

/// What decides between rules of one policy that match an event: the highest judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) priority: i32,
    /// It is for the very key that the policy's rules split by.
    pub(crate) has_own_key: bool,
    /// How many conditions its filter has.
    pub(crate) conditions: u32,
    /// The higher the newer.
    pub(crate) age: u64,
}

/// The ranks of the rules that have a policy.
pub(super) fn ranks(entries: &[Option<Entry>]) -> HashMap<u32, Rank, ahash::RandomState> {
    let in_policy = || {
        let rules = (0_u32..).zip(entries);
        rules.filter_map(|(rule, entry)| {
            let entry = entry.as_ref()?;
            Some((rule, entry.policy.as_deref()?, entry))
        })
    };
    let mut partitions: HashMap<&str, Vec<&[Dimension]>> = HashMap::new();
    for (_, policy, entry) in in_policy() {
        let known = partitions.entry(policy).or_default();
        if !entry.partition.is_empty() && !known.contains(&&*entry.partition) {
            known.push(&entry.partition);
        }
    }
    let rank = |(rule, policy, entry): (u32, &str, &Entry)| {
        let fixes = |partition: &[Dimension]| {
            partition.iter().all(|dimension| {
                let of_dimension = entry.filter.iter().filter(|(other, _)| other == dimension);
                of_dimension.into_iter().any(|(_, asked)| matches!(asked, Condition::Is(_)))
            })
        };
        // A rule that splits by nothing is for a key of those that it competes with.
        let has_own_key = if entry.partition.is_empty() {
            partitions.get(policy).into_iter().flatten().any(|partition| fixes(partition))
        } else {
            fixes(&entry.partition)
        };
        let conditions = u32::try_from(entry.filter.len()).unwrap_or(u32::MAX);
        let (priority, age) = (entry.priority, entry.age);
        (rule, Rank { priority, has_own_key, conditions, age })
    };
    in_policy().map(rank).collect()
}
