//! Who calls which service when.

use std::error::Error;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use example_support::cast::WeightError;
use limitry::Event;

use example_support::cast::{Cast, Request};
use example_support::intake;
use example_support::text::grouped;
use example_support::{day, trace};

/// The dimension of an event that says which trace its call is from.
pub const SERVICE: &str = "service";

/// Calls in the order of their time.
#[derive(Debug)]
pub struct Traffic {
    /// Where they come from, for people.
    pub source: String,
    /// The names of the traces.
    services: Vec<String>,
    cast: Cast,
    calls: Vec<Call>,
}

/// A request, and the place of its service; a made-up day has none.
#[derive(Debug)]
struct Call {
    request: Request,
    service: Option<usize>,
}

impl Traffic {
    /// A day of about so many calls.
    pub fn made_up(seed: u64, calls: u32) -> Result<Self, WeightError> {
        let mut cast = Cast::new(seed)?;
        let requests = day::requests(&mut cast, seed, calls)?;
        let calls = requests.into_iter().map(|request| Call { request, service: None }).collect();
        let source = format!("a made-up day of traffic, seed {seed}");
        Ok(Self { source, services: Vec::new(), cast, calls })
    }

    /// The calls of some traces, each of which is a service by the name of its file. The traces
    /// name no customers and no models: those are drawn.
    pub fn of_traces(seed: u64, paths: &[PathBuf]) -> Result<Self, Box<dyn Error>> {
        let mut merged: Vec<(trace::Call, usize)> = Vec::new();
        let mut bad_lines = 0;
        for (service, path) in paths.iter().enumerate() {
            let intake = intake::read_files(std::slice::from_ref(path))?;
            bad_lines += intake.bad_lines;
            merged.extend(intake.calls.into_iter().map(|call| (call, service)));
        }
        merged.sort_by_key(|(call, _)| call.at);
        let mut cast = Cast::new(seed)?;
        let assign = |(call, service)| Call { request: cast.assign(call), service: Some(service) };
        let calls = merged.into_iter().map(assign).collect();
        let services: Vec<_> = paths.iter().map(|path| service_name(path)).collect();
        let left_out = match bad_lines {
            0 => String::new(),
            lines => format!(", lines left out: {}", grouped(lines)),
        };
        let source = format!("{}{left_out}, seed {seed}", services.join(" and "));
        Ok(Self { source, services, cast, calls })
    }

    /// The first and the last instant; `None` where there are no calls.
    pub fn span(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        Some((self.calls.first()?.request.at, self.calls.last()?.request.at))
    }

    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Every call as the engine wants it, with its instant.
    pub fn events(&self) -> impl Iterator<Item = (DateTime<Utc>, Event<'_>)> {
        self.calls.iter().map(|call| {
            let event = self.cast.event(&call.request);
            let event = match call.service {
                Some(place) => event.property(SERVICE, self.services[place].as_str()),
                None => event,
            };
            (call.request.at, event)
        })
    }
}

/// The name of the file without its folder and its ending, as far as a dimension may be long.
fn service_name(path: &Path) -> String {
    const LETTERS_MAX: usize = 60;
    let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
    let shown = |letter: char| if letter.is_control() { '?' } else { letter };
    stem.chars().take(LETTERS_MAX).map(shown).collect()
}
