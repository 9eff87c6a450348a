//! `limitry plan`: what a running server would change.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::{Failure, Plan, config_file};

/// How long the server may take for its answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What the server says.
#[derive(Debug, Deserialize)]
struct Report {
    created: Vec<String>,
    updated: Vec<Change>,
    removed: Vec<String>,
    #[serde(default)]
    archived: Vec<String>,
    unchanged: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Change {
    name: String,
    fields: serde_json::Map<String, Value>,
}

/// Prints what would change; whether anything would.
pub(crate) fn run(options: &Plan) -> Result<bool, Failure> {
    let rules = config_file::read(&options.rules)?.set;
    let client = Client::new(&options.server, TIMEOUT)?;
    let body = json!({"rules": rules, "preview": true, "missing": options.missing});
    let report = client.post("/engine/v1/sync", &body)?;
    print(&report);
    let counts = [&report.created, &report.removed, &report.archived].map(Vec::len);
    Ok(!report.updated.is_empty() || counts.iter().any(|count| *count > 0))
}

fn print(report: &Report) {
    let Report { created, updated, removed, archived, unchanged } = report;
    for name in created {
        println!("+ {name}");
    }
    for Change { name, fields } in updated {
        println!("~ {name}");
        for (field, change) in fields {
            println!("    {field}: {} -> {}", change["from"], change["to"]);
        }
    }
    for (sign, names) in [("-", removed), ("archive", archived)] {
        for name in names {
            println!("{sign} {name}");
        }
    }
    let [created, updated, removed, archived, unchanged] =
        [created.len(), updated.len(), removed.len(), archived.len(), unchanged.len()];
    let archived = if archived > 0 { format!("{archived} to archive, ") } else { String::new() };
    println!(
        "{created} to create, {updated} to update, {removed} to remove, {archived}{unchanged} \
         unchanged"
    );
}
