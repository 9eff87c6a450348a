//! A response whose body is read for what it cost.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http::response::Parts;

use super::commit::{Ended, How, StreamReader};
use super::layer::Options;
use crate::{Event, Reservation};

/// What is held for a request that is under way, until its response has ended.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) reservation: Reservation,
    pub(super) event: Event<'static>,
}

/// Reads a body as it goes by, and ends the reservation with it. Dropping it cuts the body off.
pub(super) struct Reading {
    /// There until it has ended.
    under_way: Option<(Open, Box<dyn StreamReader>)>,
    /// How many bytes are still to come, where the head says it: nobody may ask for the end then.
    left: Option<u64>,
    options: Options,
}

/// Takes what a response's head says; the rest of it is to be read where that is not all.
pub(super) fn start(
    open: Open,
    options: &Options,
    response: &Parts,
    exact_size: Option<u64>,
) -> Option<Reading> {
    match options.reserve.as_ref().map(|(_, commit)| &commit.how) {
        Some(How::ByHead(read)) => {
            let Open { reservation, event } = open;
            let happened = read(event, response);
            end(options, reservation, happened, Ended::Whole);
            None
        }
        Some(How::ByStream(start)) => {
            let length = response.headers.get(CONTENT_LENGTH);
            let length = length.and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
            let under_way = Some((open, start(response)));
            Some(Reading { under_way, left: exact_size.or(length), options: options.clone() })
        }
        None => None,
    }
}

/// Commits what happened, or gives back what was held.
fn end(
    options: &Options,
    reservation: Reservation,
    happened: Option<Event<'static>>,
    ended: Ended,
) {
    let answer = match (happened, ended) {
        (Some(event), _) => reservation.commit(&event).map(drop),
        (None, Ended::Whole) => reservation.release().map(drop),
        // As where it is never read: it may be charged.
        (None, Ended::CutOff) => return drop(reservation),
    };
    if let Err(why) = answer {
        options.report(&why.into());
    }
}

impl Reading {
    pub(super) fn read(&mut self, data: &Bytes) {
        let Some((open, reader)) = &mut self.under_way else { return };
        reader.read(data);
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.left = self.left.map(|left| left.saturating_sub(length));
        keep(&mut open.reservation, &self.options);
    }

    pub(super) fn read_trailers(&mut self, trailers: &HeaderMap) {
        if let Some((_, reader)) = &mut self.under_way {
            reader.read_trailers(trailers);
        }
    }

    /// Whether all has come that the head said.
    pub(super) fn has_all(&self) -> bool {
        self.left == Some(0)
    }

    pub(super) fn end(&mut self, ended: Ended) {
        let Some((Open { reservation, event }, reader)) = self.under_way.take() else { return };
        // While a thread unwinds a second panic would end the process: nobody's code is called.
        if !std::thread::panicking() {
            end(&self.options, reservation, reader.end(event, ended), ended);
        }
    }
}

/// Puts the expiry off, where half of the time is over.
fn keep(reservation: &mut Reservation, options: &Options) {
    let Some((hold, _)) = &options.reserve else { return };
    let half = hold.length().checked_div(2).unwrap_or(Duration::ZERO);
    if reservation.expires_at() < options.engine.now().saturating_add(half) {
        // One that has ended is committed all the same.
        let _ = reservation.extend(hold.length());
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.end(Ended::CutOff);
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.under_way.as_ref().map(|(open, _)| open);
        f.debug_struct("Reading").field("open", &open).finish_non_exhaustive()
    }
}
