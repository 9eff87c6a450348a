//! How an API is served.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::Authenticate;
use crate::Engine;
use crate::webhooks::Webhooks;

/// How many bytes a body has at most, where nothing else is said: more than 1 000 events of usual
/// size need.
const MAX_BODY_BYTES: usize = 4 * 1_024 * 1_024;

/// How an API is served.
#[derive(Clone)]
#[must_use]
pub struct Options {
    pub(super) project: String,
    pub(super) others: Vec<(String, Engine)>,
    pub(super) authenticate: Arc<dyn Authenticate>,
    pub(super) max_body_bytes: usize,
    pub(super) backups: Option<Arc<Path>>,
    pub(super) figures: Vec<(String, Page)>,
    pub(super) has_page: bool,
    pub(super) webhooks: Vec<(String, Webhooks)>,
}

/// What makes a page of figures.
pub(super) type Page = Arc<dyn Fn() -> String + Send + Sync>;

impl Options {
    /// Serves the engine as a project, to whom `authenticate` lets in.
    pub fn new(project: impl Into<String>, authenticate: impl Authenticate) -> Self {
        Self {
            project: project.into(),
            others: Vec::new(),
            authenticate: Arc::new(authenticate),
            max_body_bytes: MAX_BODY_BYTES,
            backups: None,
            figures: Vec::new(),
            has_page: false,
            webhooks: Vec::new(),
        }
    }

    /// Serves another engine, as a project of its own.
    pub fn project(mut self, project: impl Into<String>, engine: Engine) -> Self {
        self.others.push((project.into(), engine));
        self
    }

    /// Sets how many bytes a body has at most: 4 MiB where it is not set. A longer one is a 413.
    pub fn max_body_bytes(mut self, most: usize) -> Self {
        self.max_body_bytes = most;
        self
    }

    /// Sets the folder in which `POST /engine/v1/backup` puts copies of the stores, under names
    /// that it makes. Without one there are no backups by HTTP.
    pub fn backups(mut self, folder: impl AsRef<Path>) -> Self {
        self.backups = Some(folder.as_ref().into());
        self
    }

    /// Serves a page for operators at `/`: one file that needs no other, and asks this API with the
    /// key that is typed there, which stays in its tab.
    pub fn page(mut self) -> Self {
        self.has_page = true;
        self
    }

    /// Serves the webhook endpoints of a project, which are those of its engine. Sending is not the
    /// router's: see [`webhooks`](crate::webhooks). Without them paths of webhooks are a 409.
    pub fn webhooks(mut self, project: impl Into<String>, webhooks: Webhooks) -> Self {
        self.webhooks.push((project.into(), webhooks));
        self
    }

    /// Adds more figures to the `GET /metrics` of a project, in Prometheus' text format: those of
    /// the engine's own work, which a recorder has (`limitry::http::Figures`, with the feature
    /// `metrics`), or the application's.
    pub fn figures(
        mut self,
        project: impl Into<String>,
        page: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        self.figures.push((project.into(), Arc::new(page)));
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("project", &self.project)
            .field("others", &self.others.len())
            .field("authenticate", &self.authenticate)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("backups", &self.backups)
            .field("figures", &self.figures.len())
            .field("has_page", &self.has_page)
            .field("webhooks", &self.webhooks.len())
            .finish()
    }
}
