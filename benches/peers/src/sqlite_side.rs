//! `SQLite` as users would ask it: one table of events, in memory, with an index for each question
//! that holds all that the question sums.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::month::Call;
use crate::traffic::Random;

/// Events, total tokens, input tokens, output tokens, cents.
pub type Sums = [u64; 5];

pub struct Sqlite(Connection);

const SUMS: &str = "count(*), sum(input + output), sum(input), sum(output), sum(cents)";

impl Sqlite {
    pub fn new(calls: impl Iterator<Item = Call>) -> rusqlite::Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -4000000;
             CREATE TABLE event (at INTEGER, customer INTEGER, model TEXT, kind TEXT,
                 input INTEGER, output INTEGER, cents INTEGER);
             BEGIN",
        )?;
        {
            let mut insert =
                connection.prepare("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
            for call in calls {
                insert.execute(params![
                    call.second,
                    call.customer,
                    call.model(),
                    call.kind(),
                    call.input_tokens,
                    call.output_tokens,
                    call.cents
                ])?;
            }
        }
        connection.execute_batch(
            "COMMIT;
             CREATE INDEX by_time ON event (at, input, output, cents);
             CREATE INDEX by_model ON event (model, at, input, output, cents);
             CREATE INDEX by_customer ON event (customer, at, input, output, cents);
             ANALYZE",
        )?;
        Ok(Self(connection))
    }

    pub fn summary(&self, from: i64, to: i64) -> rusqlite::Result<Sums> {
        let text = format!("SELECT {SUMS} FROM event WHERE at >= ?1 AND at < ?2");
        self.0.prepare_cached(&text)?.query_row([from, to], |row| sums(row, 0))
    }

    pub fn of_customer(&self, customer: usize, from: i64, to: i64) -> rusqlite::Result<Sums> {
        let text = format!("SELECT {SUMS} FROM event WHERE customer = ?3 AND at >= ?1 AND at < ?2");
        let mut statement = self.0.prepare_cached(&text)?;
        statement.query_row(params![from, to, customer], |row| sums(row, 0))
    }

    /// By model, the most events first.
    pub fn by_model(&self, from: i64, to: i64) -> rusqlite::Result<Vec<(String, Sums)>> {
        let text = format!(
            "SELECT model, {SUMS} FROM event WHERE at >= ?1 AND at < ?2
             GROUP BY model ORDER BY count(*) DESC, model"
        );
        let mut statement = self.0.prepare_cached(&text)?;
        let rows = statement.query_map([from, to], |row| Ok((row.get(0)?, sums(row, 1)?)))?;
        rows.collect()
    }

    /// The hours that have events.
    pub fn by_hour(&self, from: i64, to: i64) -> rusqlite::Result<Vec<(i64, Sums)>> {
        let text = format!(
            "SELECT at / 3600 * 3600, {SUMS} FROM event WHERE at >= ?1 AND at < ?2
             GROUP BY at / 3600 ORDER BY 1"
        );
        let mut statement = self.0.prepare_cached(&text)?;
        let rows = statement.query_map([from, to], |row| Ok((row.get(0)?, sums(row, 1)?)))?;
        rows.collect()
    }
}

fn sums(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Sums> {
    let mut sums = [0; 5];
    for (place, sum) in sums.iter_mut().enumerate() {
        *sum = row.get::<_, Option<u64>>(first + place)?.unwrap_or(0);
    }
    Ok(sums)
}

/// `SQLite` as users would let it keep what limitry keeps: events with unique keys and the counts
/// of two rules, in one transaction a batch, which is synced.
pub struct DurableSqlite(Connection);

impl DurableSqlite {
    pub fn new(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -262144;
             CREATE TABLE event (key TEXT PRIMARY KEY, at INTEGER, customer INTEGER, model TEXT,
                 kind TEXT, input INTEGER, output INTEGER, cents INTEGER) WITHOUT ROWID;
             CREATE TABLE counter (customer INTEGER PRIMARY KEY, calls INTEGER, tokens INTEGER)",
        )?;
        Ok(Self(connection))
    }

    /// Records events with random keys; one whose key is known counts nothing.
    pub fn record(
        &mut self,
        calls: impl Iterator<Item = Call>,
        batch: usize,
    ) -> rusqlite::Result<()> {
        let mut random = Random::new(0x1D);
        let mut calls = calls.peekable();
        while calls.peek().is_some() {
            let transaction = self.0.transaction()?;
            {
                let mut insert = transaction.prepare_cached(
                    "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                     ON CONFLICT DO NOTHING",
                )?;
                let mut count = transaction.prepare_cached(
                    "INSERT INTO counter VALUES (?1, 1, ?2) ON CONFLICT DO UPDATE
                     SET calls = calls + 1, tokens = tokens + excluded.tokens",
                )?;
                for call in calls.by_ref().take(batch) {
                    let key = format!("{:016x}{:016x}", random.word(), random.word());
                    let Call { second, customer, input_tokens, output_tokens, cents, .. } = call;
                    let new = insert.execute(params![
                        key,
                        second,
                        customer,
                        call.model(),
                        call.kind(),
                        input_tokens,
                        output_tokens,
                        cents
                    ])?;
                    if new == 1 {
                        count.execute(params![customer, input_tokens + output_tokens])?;
                    }
                }
            }
            transaction.commit()?;
        }
        Ok(())
    }
}
