//! Erasing what lies beside the rows of keys.

use super::Shard;
use crate::counters::table::erase::ErasedKeys;

impl Shard {
    /// Forgets what is held of keys, what has fired for them, and accounts; returns how many
    /// accounts.
    pub(in crate::counters::table) fn erase_beside(&mut self, erased: &ErasedKeys<'_>) -> u64 {
        if let Some(held) = self.held.as_deref_mut() {
            held.rows.retain(|row| !erased.has_words(row.identity()));
            held.ones.retain(|one| !erased.has_words(one.identity().1));
            held.spare = None;
        }
        if let Some(fired) = self.fired.as_deref_mut() {
            fired.rows.retain(|row| !erased.has_words((row.group, &row.key)));
        }
        let Some(accounts) = &mut self.accounts else { return 0 };
        let before = accounts.len();
        accounts.retain(|known| {
            let key = known.key();
            !(erased.has_account)(key.name, key.owner)
        });
        u64::try_from(before.saturating_sub(accounts.len())).unwrap_or(u64::MAX)
    }
}
