//! The upkeep of a store that a running server has open.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Remote, say};
use crate::Failure;
use crate::client::Client;
use crate::ended::{Ended, Told};

/// How long a server may go over its store.
const TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

fn client(remote: &Remote) -> Result<Client, Failure> {
    let server = remote.server().ok_or("--url: must be given where no file is")?;
    Client::new(&server, TIMEOUT)
}

/// What was found of a store, in words.
pub(super) fn verified(body: &Value) -> String {
    let number = |name: &str| body["report"][name].as_u64().unwrap_or(0);
    let (records, keys, states) = (number("records"), number("keys"), number("states"));
    let whole = if body["report"]["isComplete"] == true {
        "the log has every event, and the sums are theirs"
    } else {
        "older events are gone, so sums were not compared"
    };
    format!("good: {records} records, {keys} keys, {states} states of counters; {whole}")
}

/// Has a server check its store.
pub(super) fn verify(remote: &Remote, is_json: bool) -> Result<(), Failure> {
    let answer: Value = client(remote)?.post("/engine/v1/verify", &json!({}))?;
    if let Some(problem) = answer["problem"].as_str() {
        return Err(Told::new(Ended::Damaged, problem).into());
    }
    let url = remote.url.as_ref().map(ToString::to_string);
    let body = json!({"url": url, "good": true, "report": answer["report"]});
    say(is_json, &body, &format!("{}: {}", url.as_deref().unwrap_or_default(), verified(&body)))
}

/// Has a server copy its store into its folder of backups.
pub(super) fn backup(remote: &Remote, is_json: bool) -> Result<(), Failure> {
    let answer: Value = client(remote)?.post("/engine/v1/backup", &json!({}))?;
    let url = remote.url.as_ref().map(ToString::to_string);
    let (file, bytes) = (&answer["file"], &answer["bytes"]);
    let body = json!({"url": url, "to": file, "bytes": bytes});
    let name = file.as_str().unwrap_or_default();
    let text = format!("{}: {bytes} bytes copied to {name}", url.unwrap_or_default());
    say(is_json, &body, &text)
}
