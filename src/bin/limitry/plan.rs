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
    fields: Fields,
}

type Fields = serde_json::Map<String, Value>;

/// What was changed by the API.
#[derive(Debug, Deserialize)]
struct Changes {
    data: Vec<ByApi>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByApi {
    at: String,
    who: String,
    what: String,
    rule_name: Option<String>,
    fields: Value,
}

/// Prints what would change; whether anything would.
pub(crate) fn run(options: &Plan) -> Result<bool, Failure> {
    let rules = config_file::read(&options.rules)?.set;
    let client = Client::new(&options.server, TIMEOUT)?;
    let body = json!({"rules": rules, "preview": true, "missing": options.missing});
    let report: Report = client.post("/engine/v1/sync", &body)?;
    let counts = [&report.created, &report.removed, &report.archived].map(Vec::len);
    let is_any = !report.updated.is_empty() || counts.iter().any(|count| *count > 0);
    let by_api = if is_any {
        client.get::<Changes>("/engine/v1/changes?limit=100")?.data
    } else {
        Vec::new()
    };
    print(&report, &by_api);
    Ok(is_any)
}

/// Says by whom the API was last made to change a rule. A server that reads the file again leaves
/// such a rule, unless the file has changed it, too.
fn print_by_api(name: &str, changes: &[ByApi]) {
    let mut of_rule = changes.iter().filter(|it| it.rule_name.as_deref() == Some(name));
    let Some(ByApi { at, who, what, fields, .. }) = of_rule.next() else { return };
    let fields = fields.as_object().into_iter().flatten();
    let fields =
        fields.map(|(field, change)| format!(", {field}: {} -> {}", change["from"], change["to"]));
    let fields: String = fields.collect();
    println!("    by the API since {at}: {what} by {who}{fields}");
}

fn print(report: &Report, by_api: &[ByApi]) {
    let Report { created, updated, removed, archived, unchanged } = report;
    for name in created {
        println!("+ {name}");
        print_by_api(name, by_api);
    }
    for Change { name, fields } in updated {
        println!("~ {name}");
        for (field, change) in fields {
            println!("    {field}: {} -> {}", change["from"], change["to"]);
        }
        print_by_api(name, by_api);
    }
    for (sign, names) in [("-", removed), ("archive", archived)] {
        for name in names {
            println!("{sign} {name}");
            print_by_api(name, by_api);
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
