//! Chromium by its driver.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use url::{ParseError, Url};

use crate::Failed;
use crate::server::Server;

/// What addresses of this machine begin with.
pub(crate) const HERE: &str = "http://127.0.0.1:";
/// How long anything may take to be seen.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Browser {
    driver: Child,
    client: Client,
}

/// A command of Chromium's own, beside those of WebDriver.
#[derive(Debug)]
struct Own {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Own {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    pub(crate) async fn start() -> Result<Self, Failed> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--lang=en"];
        let capabilities = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        });
        let capabilities = capabilities.as_object().cloned().ok_or("an object")?;
        let begun = Instant::now();
        loop {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            match builder.capabilities(capabilities.clone()).connect(&format!("{HERE}{port}")).await
            {
                Ok(client) => return Ok(Self { driver, client }),
                Err(why) if begun.elapsed() > PATIENCE => {
                    let _gone = driver.kill();
                    return Err(why.into());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    pub(crate) async fn stop(mut self) -> Result<(), Failed> {
        self.client.clone().close().await?;
        self.driver.kill()?;
        self.driver.wait()?;
        Ok(())
    }

    async fn own(&self, path: &'static str, body: Value) -> Result<Value, Failed> {
        Ok(self.client.issue_cmd(Own { path, body }).await?)
    }

    /// A command of the DevTools protocol.
    async fn tools(&self, command: &str, parameters: Value) -> Result<Value, Failed> {
        self.own("goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    /// Runs a piece of JavaScript.
    pub(crate) async fn run(&self, script: &str) -> Result<Value, Failed> {
        Ok(self.client.execute(script, Vec::new()).await?)
    }

    /// Opens the page, and signs nobody in.
    pub(crate) async fn goto(&self, server: &Server) -> Result<(), Failed> {
        self.client.goto(&format!("http://{}/", server.address)).await?;
        self.wait("#door", "Sign in").await
    }

    /// Opens the page with the server's key.
    pub(crate) async fn open(&self, server: &Server) -> Result<(), Failed> {
        self.goto(server).await?;
        self.fill("#key", &server.key).await?;
        self.click("#door-form button").await?;
        self.wait("#who", "").await
    }

    /// Waits until an element is there and has this in its text.
    pub(crate) async fn wait(&self, place: &str, text: &str) -> Result<(), Failed> {
        let begun = Instant::now();
        let script = "const found = document.querySelector(arguments[0]); \
                      return found && found.checkVisibility() ? found.textContent : null";
        loop {
            let found = self.client.execute(script, vec![json!(place)]).await?;
            if found.as_str().is_some_and(|found| found.contains(text)) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let why = format!("{place} does not say {text:?}, but {found}");
                return Err(why.into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn click(&self, place: &str) -> Result<(), Failed> {
        Ok(self.client.find(Locator::Css(place)).await?.click().await?)
    }

    /// Types a text in the place of what is there.
    pub(crate) async fn fill(&self, place: &str, text: &str) -> Result<(), Failed> {
        let field = self.client.find(Locator::Css(place)).await?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    /// Shows the page in a theme and at a width.
    pub(crate) async fn look(&self, theme: &str, width: u32) -> Result<(), Failed> {
        let features = json!([
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.tools("Emulation.setEmulatedMedia", json!({"features": features})).await?;
        let is_phone = width < 600;
        let screen =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": is_phone});
        self.tools("Emulation.setDeviceMetricsOverride", screen).await?;
        Ok(())
    }

    /// The whole page, as PNG.
    pub(crate) async fn picture(&self) -> Result<Vec<u8>, Failed> {
        let size = self.tools("Page.getLayoutMetrics", json!({})).await?["cssContentSize"].clone();
        let (width, height) = (&size["width"], &size["height"]);
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let asked = json!({"captureBeyondViewport": true, "clip": clip});
        let answer = self.tools("Page.captureScreenshot", asked).await?;
        Ok(BASE64_STANDARD.decode(answer["data"].as_str().ok_or("a picture")?)?)
    }

    /// What axe-core finds, each with what it is found of.
    pub(crate) async fn violations(&self, axe: &str) -> Result<Value, Failed> {
        // The page's own policy lets no script in but its own; the driver's are no part of it.
        self.client.execute(&format!("if (!window.axe) {{ {axe} }}"), Vec::new()).await?;
        let script = "const done = arguments[arguments.length - 1]; axe.run().then(({violations}) \
                      => done(violations.map(({id, help, nodes}) => \
                      ({id, help, nodes: nodes.map((node) => node.html + node.failureSummary)}))))";
        Ok(self.client.execute_async(script, Vec::new()).await?)
    }

    /// What the console says, and the addresses that were asked.
    pub(crate) async fn log(&self) -> Result<(Vec<Value>, BTreeSet<String>), Failed> {
        let said = self.own("se/log", json!({"type": "browser"})).await?;
        let network = self.own("se/log", json!({"type": "performance"})).await?;
        let entries = network.as_array().into_iter().flatten();
        let messages = entries
            .filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
        let urls = messages.filter_map(|message| {
            let message = &message["message"];
            let is_request = message["method"] == "Network.requestWillBeSent";
            let url = message["params"]["request"]["url"].as_str().filter(|_| is_request)?;
            Some(url.to_owned())
        });
        let urls = urls.filter(|url| !url.starts_with("data:")).collect();
        Ok((said.as_array().cloned().unwrap_or_default(), urls))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _gone = self.driver.kill();
    }
}
