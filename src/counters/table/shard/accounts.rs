//! The accounts of a shard, beside its rows.

use hashbrown::HashTable;

use super::Shard;
use crate::balances::Account;
use crate::counters::row::RowKey;
use crate::counters::table::accounts::ACCOUNTS;

/// By what an account is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccountKey<'k> {
    /// The hash of the name and the owner.
    pub(crate) hash: u64,
    pub(crate) name: &'k str,
    pub(crate) owner: &'k str,
}

impl<'k> AccountKey<'k> {
    /// The account that has the address of a row, where it is one of an account.
    pub(in crate::counters::table) fn of(hash: u64, key: RowKey<'k>) -> Option<Self> {
        match key {
            RowKey::Partition { group: ACCOUNTS, values: [name, owner] } => {
                Some(Self { hash, name, owner })
            }
            _ => None,
        }
    }
}

impl AccountKey<'_> {
    /// What tells its account from others in the ids of entries, in any engine: FNV-1a of both.
    pub(in crate::counters::table) fn number(&self) -> u64 {
        let bytes = self.name.bytes().chain(std::iter::once(0)).chain(self.owner.bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }
}

/// An account and what it is found by.
#[derive(Debug)]
pub(in crate::counters::table) struct OwnedAccount {
    hash: u64,
    name: Box<str>,
    owner: Box<str>,
    pub(in crate::counters::table) account: Account,
}

impl OwnedAccount {
    fn is(&self, key: AccountKey<'_>) -> bool {
        self.hash == key.hash && *self.owner == *key.owner && *self.name == *key.name
    }

    pub(in crate::counters::table) fn key(&self) -> AccountKey<'_> {
        AccountKey { hash: self.hash, name: &self.name, owner: &self.owner }
    }
}

/// The accounts of a shard.
pub(super) type Accounts = HashTable<Box<OwnedAccount>>;

impl Shard {
    pub(in crate::counters::table) fn account(&self, key: AccountKey<'_>) -> Option<&Account> {
        let found = self.accounts.as_ref()?.find(key.hash, |known| known.is(key))?;
        Some(&found.account)
    }

    pub(in crate::counters::table) fn account_mut(
        &mut self,
        key: AccountKey<'_>,
    ) -> Option<&mut Account> {
        let found = self.accounts.as_mut()?.find_mut(key.hash, |known| known.is(key))?;
        Some(&mut found.account)
    }

    /// Puts an account in, which is not there.
    pub(in crate::counters::table) fn put_account(
        &mut self,
        key: AccountKey<'_>,
        account: Account,
    ) {
        debug_assert!(self.account(key).is_none(), "an account is made once");
        let AccountKey { hash, name, owner } = key;
        let owned = OwnedAccount { hash, name: name.into(), owner: owner.into(), account };
        let accounts = self.accounts.get_or_insert_default();
        accounts.insert_unique(hash, Box::new(owned), |known| known.hash);
    }

    /// Takes an account out.
    pub(in crate::counters::table) fn take_account(
        &mut self,
        key: AccountKey<'_>,
    ) -> Option<Account> {
        let accounts = self.accounts.as_mut()?;
        let found = accounts.find_entry(key.hash, |known| known.is(key)).ok()?;
        Some(found.remove().0.account)
    }

    /// All accounts.
    pub(in crate::counters::table) fn accounts(&self) -> impl Iterator<Item = &OwnedAccount> {
        self.accounts.iter().flat_map(|accounts| accounts.iter()).map(|owned| &**owned)
    }

    pub(in crate::counters::table) fn accounts_mut(
        &mut self,
    ) -> impl Iterator<Item = &mut OwnedAccount> {
        self.accounts.iter_mut().flat_map(|accounts| accounts.iter_mut()).map(|owned| &mut **owned)
    }

    /// Whether it has any.
    #[inline]
    pub(in crate::counters::table) fn has_accounts(&self) -> bool {
        self.accounts.is_some()
    }
}
