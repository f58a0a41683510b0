//! [`Noted`]: what the record of a thread says besides its metadata.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quell::store::RunRecord;
use quell::{Payload, RunSpec};
use serde::{Deserialize, Serialize};

use crate::wire::asked::micros;
use crate::wire::exact::{Keys, written};
use crate::wire::ttl::Ttl;

/// What the record of a thread says besides its metadata, which is its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Noted {
    version: u32,
    /// How often the thread was changed.
    pub(crate) nr: u32,
    pub(crate) ttl: Option<Ttl>,
    /// When the thread was made, in microseconds since 1970.
    pub(crate) made_us: u64,
    /// When it was changed.
    changed_us: Option<u64>,
    /// The thread is deleted, and what it had is about to leave.
    pub(crate) is_deleted: bool,
    /// It is a change of a thread that has a record before this one.
    #[serde(default)]
    pub(crate) is_change: bool,
}

impl Noted {
    pub(crate) fn new(
        nr: u32,
        ttl: Option<Ttl>,
        (made_at, changed_at): (SystemTime, Option<SystemTime>),
        is_deleted: bool,
    ) -> Self {
        let made_us = micros(made_at).unwrap_or_default();
        let changed_us = changed_at.and_then(micros);
        Self { version: VERSION, nr, ttl, made_us, changed_us, is_deleted, is_change: false }
    }

    /// Says whether it is a change of a thread that has a record before this one.
    pub(crate) fn change(self, is_change: bool) -> Self {
        Self { is_change, ..self }
    }

    /// Reads that of a record; that of an earlier release says nothing but the metadata.
    pub(crate) fn of(record: &RunRecord) -> Option<Self> {
        let accepted = &record.accepted;
        let Some(noted) = accepted.annotations.get(NOTED) else {
            return Some(Self::new(0, None, (accepted.at, None), false));
        };
        noted.parse().ok().filter(|noted: &Self| noted.version == VERSION)
    }

    /// Writes it, and the values with which the thread was made.
    pub(crate) fn write(&self, spec: RunSpec, base: Option<&Keys>) -> RunSpec {
        let spec = spec.annotation(NOTED, written(self));
        match base {
            Some(base) => spec.annotation(BASE, written(base)),
            None => spec,
        }
    }

    pub(crate) fn changed_at(&self) -> Option<SystemTime> {
        self.changed_us.map(|us| UNIX_EPOCH + Duration::from_micros(us))
    }

    pub(crate) fn made_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.made_us)
    }
}

/// Yields the values with which a thread was made, as text.
pub(crate) fn base_of_record(record: &RunRecord) -> Option<&Payload> {
    record.accepted.annotations.get(BASE)
}

const NOTED: &str = "langgraph.thread";
const BASE: &str = "langgraph.base";

/// Counted up when the annotation changes so that this reader would misread it.
const VERSION: u32 = 1;
