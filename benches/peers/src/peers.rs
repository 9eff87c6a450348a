//! Whom limitry is compared with, and what each of them does not do, as its documentation says.

/// The other side of a row.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub name: &'static str,
    /// What limitry does in the same call, and the peer does not.
    pub lacks: &'static str,
}

impl Peer {
    /// limitry itself, in another state: nothing is missing.
    pub const fn limitry(name: &'static str) -> Self {
        Self { name, lacks: "-" }
    }
}

/// A figure that stands for itself.
pub const NOBODY: Peer = Peer { name: "-", lacks: "-" };
/// Its wait is exact, for the one limit; keys go when `retain_recent` is called.
pub const GOVERNOR: Peer = Peer { name: "governor, keyed by `String`", lacks: GOVERNOR_LACKS };
pub const GOVERNOR_AHASH: Peer =
    Peer { name: "governor, same, with `ahash`", lacks: GOVERNOR_LACKS };
const GOVERNOR_LACKS: &str = "several limits a call, dropping keys by itself";
/// A refusal tells the tokens that are there; `remove` drops a key; the rate is a float.
pub const QUOTA: Peer = Peer {
    name: "quota 0.3, keyed by `String`",
    lacks: "any wait, several limits a call, dropping keys by itself, whole-number rates",
};
pub const QUOTA_BARE: Peer =
    Peer { name: "quota, same, a bare yes or no", lacks: "the same, and what is left" };
/// One bucket without keys: the map is the caller's.
pub const RATELIMIT: Peer = Peer {
    name: "ratelimit 2 in a `DashMap`",
    lacks: "keys, several limits a call, dropping keys",
};
const BY_HAND_LACKS: &str = "all or nothing, any wait, which limit refused, dropping keys";
pub const BY_HAND: Peer = Peer { name: "by hand", lacks: BY_HAND_LACKS };
pub const BY_HAND_AHASH: Peer = Peer { name: "by hand, with `ahash`", lacks: BY_HAND_LACKS };
pub const BY_HAND_UNRECORDED: Peer =
    Peer { name: "by hand", lacks: "recording, all or nothing, any wait, dropping keys" };
pub const LIMITADOR: Peer = Peer {
    name: "limitador",
    lacks: "an amount of its own for each limit, calendar periods, all or nothing",
};
pub const SQLITE: Peer = Peer { name: "SQLite", lacks: "limits" };
pub const SQLITE_IN_FILE: Peer =
    Peer { name: "SQLite, WAL, FULL", lacks: "limits, roll-ups, the first answer for a retry" };
pub const APPEND: Peer =
    Peer { name: "append, `fdatasync`", lacks: "keys, counts, finding anything again" };
