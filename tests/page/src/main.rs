//! The page for operators in a real browser: `.ci/page`.
//!
//! The arguments are the program, the text of axe-core, and the folder for pictures. What a case
//! needs of the server is asked over its API, as any client does.

#![allow(clippy::disallowed_methods, reason = "a browser goes by its own clock")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod browser;
mod server;

use browser::Browser;
use server::Server;

type Failed = Box<dyn std::error::Error>;

/// A name that is HTML, and would do something if it were taken for that.
const HTML: &str = "<img src=x onerror=\"document.title='taken'\">";
/// From a refusal to its sight.
const SEEN: Duration = Duration::from_secs(2);

/// Where what a case needs is.
struct Around {
    program: PathBuf,
    axe: String,
    pictures: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, axe, pictures] = &*arguments else {
        return Err("the program, axe-core and a folder must be given".into());
    };
    let (program, pictures) = (program.into(), PathBuf::from(pictures));
    std::fs::create_dir_all(&pictures)?;
    let around = Around { program, axe: std::fs::read_to_string(axe)?, pictures };
    let browser = Browser::start().await?;
    let cases = all(&around, &browser).await;
    browser.stop().await?;
    cases
}

async fn all(around: &Around, browser: &Browser) -> Result<(), Failed> {
    let server = Server::start(&around.program, &[])?;
    refusals(&server, browser).await?;
    println!("a refusal is seen and explained: ok");
    changes(&server, browser).await?;
    println!("a limit is changed and the next call obeys: ok");
    rules(&server, browser).await?;
    println!("rules of all kinds are said as they are: ok");
    names(&server, browser).await?;
    println!("names that are HTML stay text: ok");
    rights(&server, browser).await?;
    println!("a key without the right sees no button: ok");
    drop(server);
    let server = Server::start(&around.program, &["--demo"])?;
    looks(around, &server, browser).await?;
    println!("no violation, in light and dark and on a telephone: ok");
    quiet(browser).await
}

/// Nothing went wrong in the browser, and nothing was asked for elsewhere.
async fn quiet(browser: &Browser) -> Result<(), Failed> {
    let (log, requests) = browser.log().await?;
    if !log.is_empty() {
        return Err(format!("in the browser's console: {log:#?}").into());
    }
    let elsewhere: Vec<_> = requests.iter().filter(|url| !url.starts_with(browser::HERE)).collect();
    if requests.is_empty() || !elsewhere.is_empty() {
        return Err(format!("asked for elsewhere: {elsewhere:?}").into());
    }
    println!("{} requests, none elsewhere, and an empty console: ok", requests.len());
    Ok(())
}

fn call(customer: &str, tokens: u64) -> Value {
    json!({"customerId": customer, "eventType": "model_call", "inputTokens": tokens})
}

async fn refusals(server: &Server, browser: &Browser) -> Result<(), Failed> {
    browser.open(server).await?;
    browser.wait("#state.live", "Live").await?;
    browser.wait("#calls[aria-label*=' 0 refused']", "").await?;
    let before = Instant::now();
    let (status, _) = server.send("POST", "/v1/track", call("ann", 200_000))?;
    assert_eq!(status, 429, "it is beyond the day's tokens");
    browser.wait("#calls[aria-label*=' 1 refused']", "").await?;
    let took = before.elapsed();
    assert!(took < SEEN, "a refusal was seen after {took:?}");
    println!("a refusal was seen after {took:?}");
    browser.wait("#refused tbody", "ann").await?;
    browser.fill("#explain-customer", "ann").await?;
    browser.fill("#explain-input", "200000").await?;
    browser.click("#explain-form button").await?;
    browser.wait("#verdict", "Refused by Tokens a day").await?;
    browser.wait("#explained", "100K of 100K left").await?;
    browser.fill("#explain-input", "20").await?;
    browser.click("#explain-form button").await?;
    browser.wait("#verdict", "Let in").await
}

async fn changes(server: &Server, browser: &Browser) -> Result<(), Failed> {
    let button = "button[aria-label='Change Tokens a day']";
    browser.wait(button, "Change").await?;
    browser.click(button).await?;
    browser.fill("#change-limit", "300000").await?;
    browser.fill("#change-note", HTML).await?;
    browser.click("#change-look").await?;
    browser.wait("#change-preview", "limitValue 100000 \u{2192} 300000").await?;
    browser.wait("#change-preview", "calls: ").await?;
    let (status, _) = server.send("POST", "/v1/track", call("ann", 200_000))?;
    assert_eq!(status, 429, "a preview changes nothing");
    browser.click("#change-apply").await?;
    browser.wait("#changes", "limitValue 100000 \u{2192} 300000").await?;
    browser.wait("#changes", HTML).await?;
    let (status, _) = server.send("POST", "/v1/track", call("ann", 200_000))?;
    assert_eq!(status, 201, "the next call obeys");
    browser.wait("#rules", "300K tokens").await?;
    let (_, log) = server.send("GET", "/engine/v1/changes", Value::Null)?;
    assert_eq!(
        (&log["data"][0]["note"], &log["data"][0]["what"]),
        (&json!(HTML), &json!("updated"))
    );
    Ok(())
}

async fn rules(server: &Server, browser: &Browser) -> Result<(), Failed> {
    let soft = json!({"id": "qta_soft", "name": "Soft", "metric": "total_tokens",
        "limitValue": 1, "period": "rolling:30d", "per": ["customer_id"], "enforcement": "soft"});
    let free = json!({"id": "qta_free", "name": "Free", "metric": "total_events",
        "limitValue": null, "period": "day", "every": 2});
    for quota in [soft, free] {
        let (status, _) = server.send("POST", "/engine/v1/rules", json!({"quota": quota}))?;
        assert_eq!(status, 201);
    }
    assert_eq!(server.send("POST", "/v1/track", call("bob", 7))?.0, 201);
    let row = |id: &str, cell: u8| format!("#rules tr[data-key={id}] > :nth-child({cell})");
    browser.wait(&row("qta_soft", 2), "in any 30d").await?;
    browser.wait(&row("qta_free", 2), "no limitin 2 days").await?;
    // A rule without a limit is not full of what it counts.
    browser.wait(&row("qta_free", 4), " used").await?;
    let used =
        "return document.querySelector(\"#rules tr[data-key=qta_free]\").cells[3].textContent";
    let used = browser.run(used).await?;
    assert!(!used.as_str().ok_or("a text")?.contains('%'), "{used}");
    // A soft rule is exceeded and refuses nobody.
    browser.fill("#explain-customer", "bob").await?;
    browser.fill("#explain-input", "400000").await?;
    browser.click("#explain-form button").await?;
    browser.wait("#verdict", "Refused by").await?;
    let said = browser.run("return document.getElementById('verdict').textContent").await?;
    assert_eq!(said, json!("Refused by Tokens a day"));
    Ok(())
}

async fn names(server: &Server, browser: &Browser) -> Result<(), Failed> {
    let rule = json!({"rateLimit": {"name": HTML, "limitValue": 1, "window": "hour",
        "per": ["customer_id"]}});
    let (status, _) = server.send("POST", "/engine/v1/rules", rule)?;
    assert_eq!(status, 201);
    for expected in [201, 429] {
        assert_eq!(server.send("POST", "/v1/track", call(HTML, 7))?.0, expected);
    }
    for place in ["#rules", "#customers", "#refused"] {
        browser.wait(place, HTML).await?;
    }
    browser.fill("#explain-customer", HTML).await?;
    browser.click("#explain-form button").await?;
    browser.wait("#verdict", HTML).await?;
    let taken =
        browser.run("return [document.querySelectorAll('img').length, document.title]").await?;
    assert_eq!(taken, json!([0, "limitry"]), "text was taken for HTML");
    Ok(())
}

async fn rights(server: &Server, browser: &Browser) -> Result<(), Failed> {
    let keys = std::env::temp_dir().join(format!("limitry-page-{}.toml", std::process::id()));
    let (key, lines) = server.new_key("read")?;
    std::fs::write(&keys, lines)?;
    let path = keys.to_str().ok_or("a path that is text")?;
    let reading = server.another(&["--keys", path], &key)?;
    browser.open(&reading).await?;
    browser.wait("#rules", "Tokens a day").await?;
    let seen = "return [...document.querySelectorAll('#rules button, #rules .may-change')]\
                .filter((one) => one.checkVisibility()).length";
    assert_eq!(browser.run(seen).await?, json!(0), "buttons of who may not");
    let change = json!({"limitValue": 5});
    let (status, _) = reading.send("PATCH", "/engine/v1/rules/qta_tokens_a_day", change)?;
    assert_eq!(status, 403, "it may not by the API either");
    std::fs::remove_file(keys)?;
    browser.click("#leave").await?;
    browser.wait("#door", "Sign in").await?;
    let kept = browser.run("return sessionStorage.length + localStorage.length").await?;
    assert_eq!(kept, json!(0), "the key is gone with who signed out");
    Ok(())
}

/// Looks at the page as people do: axe-core finds nothing, and pictures are kept.
async fn looks(around: &Around, server: &Server, browser: &Browser) -> Result<(), Failed> {
    browser.goto(server).await?;
    check(around, browser, "door").await?;
    browser.open(server).await?;
    browser.wait("#calls[aria-label^='In the last']", "").await?;
    browser.wait("#history-legend", "gpt-4o").await?;
    browser.wait("#alerts", "Team budget: research at").await?;
    browser.wait("#reservations", "since").await?;
    browser.fill("#explain-customer", "acme").await?;
    browser.fill("#explain-properties", "team_id=research").await?;
    browser.fill("#explain-input", "9000000").await?;
    browser.click("#explain-form button").await?;
    browser.wait("#verdict", "Refused").await?;
    for (theme, width, name) in [
        ("light", 1280, "light"),
        ("dark", 1280, "dark"),
        ("light", 390, "phone"),
        ("dark", 390, "phone-dark"),
    ] {
        browser.look(theme, width).await?;
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        check(around, browser, name).await?;
        let over = "return document.documentElement.scrollWidth - innerWidth";
        let over = browser.run(over).await?.as_i64().unwrap_or(0);
        assert!(over <= 0, "{name}: {over} pixels are beside the screen");
    }
    browser.look("light", 1280).await?;
    browser.click("#rules tbody button").await?;
    browser.click("#change-look").await?;
    browser.wait("#change-preview", "On the last day").await?;
    check(around, browser, "change").await?;
    browser.look("dark", 390).await?;
    check(around, browser, "change-phone").await
}

async fn check(around: &Around, browser: &Browser, name: &str) -> Result<(), Failed> {
    std::fs::write(around.pictures.join(format!("{name}.png")), browser.picture().await?)?;
    let found = browser.violations(&around.axe).await?;
    if found != json!([]) {
        return Err(format!("{name}: {found:#}").into());
    }
    Ok(())
}
