//! What meters and rules have in common: a kind, a name and an id, by which one list is matched
//! with another.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::Meter;
use super::rule::{Rule, each};

/// The most characters of a name that go into its id.
const NAME_CHARS: usize = 40;

/// What has a kind, a name and an id.
pub(crate) trait Named: Clone {
    fn kind(&self) -> &'static str;
    /// What ids of this kind begin with.
    fn prefix(&self) -> &'static str;
    fn name(&self) -> &str;
    fn id(&self) -> Option<&str>;
    fn set_id(&mut self, id: String);
    /// The two differ only in what the engine sets.
    fn says_the_same(&self, other: &Self) -> bool;
    /// The same with the age of another, with its id where it has none itself, and archived where
    /// one of the two is.
    fn with_identity_of(&self, old: &Self) -> Self;
    /// Whether it is kept and does nothing.
    fn is_archived(&self) -> bool {
        false
    }
    /// The same, archived; `None` of what cannot be.
    fn archived(&self) -> Option<Self> {
        None
    }
    /// The fields by their names on the wire.
    fn fields(&self) -> serde_json::Result<Value>;
}

/// One of a list that shall be, and the place of what it was before in the list that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paired<T> {
    pub(crate) new: T,
    pub(crate) before: Option<usize>,
}

/// For each of `new` the place in `old` of what it was before: of the one with its id, where it
/// gives an id that is there; else, of those that no id has found, the nth of a name is the nth of
/// that name.
pub(super) fn pairs<T: Named>(old: &[T], new: &[T]) -> Vec<Option<usize>> {
    let by_id: HashMap<_, _> =
        old.iter().zip(0..).filter_map(|(one, place)| Some((id_of(one)?, place))).collect();
    let mut pairs: Vec<Option<usize>> =
        new.iter().map(|one| by_id.get(&id_of(one)?).copied()).collect();
    let found: HashSet<usize> = pairs.iter().copied().flatten().collect();
    let mut by_name: HashMap<_, VecDeque<usize>> = HashMap::new();
    for (place, one) in old.iter().enumerate().filter(|(place, _)| !found.contains(place)) {
        by_name.entry((one.kind(), one.name())).or_default().push_back(place);
    }
    for (one, pair) in new.iter().zip(&mut pairs).filter(|(_, pair)| pair.is_none()) {
        let places = by_name.get_mut(&(one.kind(), one.name()));
        *pair = places.and_then(VecDeque::pop_front);
    }
    pairs
}

fn id_of<T: Named>(one: &T) -> Option<(&'static str, &str)> {
    Some((one.kind(), one.id()?))
}

/// Gives an id to each that has none: its name's, or, where that is taken, the name's with the
/// first number from 2 on that is free. Ids of those before it, of all that have one, and of
/// `others` are taken. The same list gets the same ids in every process.
pub(crate) fn fill_ids<T: Named>(all: &mut [T], others: &[T]) {
    let ids = others.iter().chain(all.iter()).filter_map(Named::id);
    let mut taken: HashSet<String> = ids.map(str::to_owned).collect();
    for one in all.iter_mut().filter(|one| one.id().is_none()) {
        let wanted = id_of_name(one.prefix(), one.name());
        let numbered = (2_u64..).map(|number| format!("{wanted}_{number}"));
        let free = std::iter::once(wanted.clone()).chain(numbered).find(|id| !taken.contains(id));
        let id = free.unwrap_or(wanted);
        taken.insert(id.clone());
        one.set_id(id);
    }
}

/// The id that a name makes: a prefix, and the name's ASCII letters and digits in lower case with
/// `_` for what is between them. Where that leaves nothing, or leaves out letters of other scripts
/// or what is beyond the first 40 characters, a hash of the name follows. At most 53 characters
/// with the prefixes that there are, which leaves room for a number.
pub(super) fn id_of_name(prefix: &str, name: &str) -> String {
    let mut id = prefix.to_owned();
    for letter in name.chars().take(NAME_CHARS) {
        if letter.is_ascii_alphanumeric() {
            id.push(letter.to_ascii_lowercase());
        } else if !id.ends_with('_') {
            id.push('_');
        }
    }
    let id = id.trim_end_matches('_');
    if id.len() >= prefix.len() && name.is_ascii() && name.len() <= NAME_CHARS {
        return id.to_owned();
    }
    format!("{id}_{:08x}", hash(name))
}

/// FNV-1a of 32 bits: the same in every process and version, as ids of names have to be.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl Named for Rule {
    fn kind(&self) -> &'static str {
        self.kind().as_str()
    }

    fn prefix(&self) -> &'static str {
        self.kind().prefix()
    }

    fn name(&self) -> &str {
        self.name()
    }

    fn id(&self) -> Option<&str> {
        self.id()
    }

    fn set_id(&mut self, id: String) {
        each!(self, rule => rule.id = Some(id));
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.says_the_same(other)
    }

    fn with_identity_of(&self, old: &Self) -> Self {
        debug_assert_eq!(self.kind(), old.kind(), "rules are matched by their kind");
        let (id, created_at) = each!(old, rule => (&rule.id, rule.created_at));
        let archived_at = each!(old, rule => rule.archived_at);
        let mut new = self.clone();
        each!(&mut new, rule => {
            rule.id = rule.id.take().or_else(|| id.clone());
            (rule.created_at, rule.archived_at) = (created_at, archived_at.or(rule.archived_at));
        });
        new
    }

    fn is_archived(&self) -> bool {
        self.is_archived()
    }

    fn archived(&self) -> Option<Self> {
        Some(self.with_archived(true))
    }

    fn fields(&self) -> serde_json::Result<Value> {
        each!(self, rule => serde_json::to_value(rule))
    }
}

impl Named for Arc<Meter> {
    fn kind(&self) -> &'static str {
        "meter"
    }

    fn prefix(&self) -> &'static str {
        "mtr_"
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn set_id(&mut self, id: String) {
        Self::make_mut(self).id = Some(id);
    }

    fn says_the_same(&self, other: &Self) -> bool {
        Meter::says_the_same(self, other)
    }

    fn with_identity_of(&self, old: &Self) -> Self {
        let id = self.id.clone().or_else(|| old.id.clone());
        Self::new(Meter { id, created_at: old.created_at, ..(**self).clone() })
    }

    fn fields(&self) -> serde_json::Result<Value> {
        serde_json::to_value(&**self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::key_rule;
    use crate::rules::{RateLimit, Window};
    use proptest::prelude::*;

    fn rules(named: &[(&str, Option<&str>)]) -> Vec<Rule> {
        let rule = |(name, id): &(&str, Option<&str>)| {
            let rule = RateLimit::new(*name, 1, Window::Second);
            Rule::from(RateLimit { id: id.map(str::to_owned), ..rule })
        };
        named.iter().map(rule).collect()
    }

    #[test]
    fn names_make_the_same_ids_in_every_process() {
        for (name, id) in [
            ("API rate limit", "rl_api_rate_limit"),
            ("gpt-4 burst", "rl_gpt_4_burst"),
            ("  Tokens -- a minute! ", "rl_tokens_a_minute"),
            ("Pr\u{e4}mie", "rl_pr_mie_56699b15"),
            ("!?", "rl_92c34329"),
        ] {
            assert_eq!(id_of_name("rl_", name), id, "{name}");
        }
    }

    #[test]
    fn equal_names_are_numbered_and_given_ids_are_left_alone() {
        let mut all = rules(&[("a", None), ("a", None), ("b", Some("rl_a_2")), ("a", None)]);
        fill_ids(&mut all, &rules(&[("c", Some("rl_a"))]));
        let ids: Vec<_> = all.iter().filter_map(Rule::id).collect();
        assert_eq!(ids, ["rl_a_3", "rl_a_4", "rl_a_2", "rl_a_5"]);
    }

    #[test]
    fn an_id_is_stronger_than_a_name_and_of_one_name_each_is_one() {
        let old = rules(&[("a", Some("1")), ("b", Some("2")), ("b", Some("3"))]);
        let new =
            rules(&[("b", None), ("b", Some("1")), ("a", Some("9")), ("b", None), ("b", None)]);
        assert_eq!(pairs(&old, &new), [Some(1), Some(0), None, Some(2), None]);
    }

    proptest! {
        #[test]
        fn every_name_makes_a_key(name in ".{0,300}") {
            for prefix in ["rl_", "qta_", "mtr_"] {
                let id = id_of_name(prefix, &name);
                prop_assert_eq!(key_rule(&id), None);
                prop_assert!(id.len() <= 53, "{}", id);
            }
        }
    }
}
