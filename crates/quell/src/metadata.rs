//! [`Metadata`] is what only some specs say of a run besides its work.

use std::sync::Arc;

use quell_core::{Annotations, Budget, Labels, Payload, limits};

use crate::failure::SubmitError;
use crate::idempotency::IdempotencyKey;
use crate::stop_scope::StopScope;

/// What only some specs say: by what a run is found, how it is shown, and what it may use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) labels: Labels,
    /// What front ends keep with the run. Never read by the engine.
    pub(crate) annotations: Annotations,
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) budget: Option<Budget>,
    /// What a root claims together with its id.
    pub(crate) key: Option<IdempotencyKey>,
    /// In which scopes a stop may have been remembered for the run.
    pub(crate) stop_scopes: Vec<StopScope>,
}

impl Metadata {
    pub(crate) fn add_stop_scope(&mut self, scope: StopScope) {
        self.stop_scopes.reserve_exact(1); // Most runs have one, for as long as they live.
        self.stop_scopes.push(scope);
    }

    /// Yields the bytes of it all. Not inlined: most runs have none of it (callgrind,
    /// `submit/empty`).
    #[inline(never)]
    pub(crate) fn bytes(&self) -> usize {
        let labels: usize = self.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        let key = self.key.as_ref().map_or(0, |key| key.as_str().len());
        let scopes = size_of_val(self.stop_scopes.as_slice());
        let annotations = self.annotations.keys().map(str::len).sum::<usize>() + self.values();
        labels + annotations + self.owner.as_deref().map_or(0, str::len) + key + scopes
    }

    /// Yields the bytes of all annotations, without their keys.
    fn values(&self) -> usize {
        self.annotations.values().map(Payload::len).sum()
    }

    pub(crate) fn check(&self) -> Result<(), SubmitError> {
        at_most("labels", self.labels.len(), limits::LABELS_MAX)?;
        for (key, value) in &self.labels {
            within("label key", key.len(), limits::LABEL_BYTES_MAX)?;
            within("label value", value.len(), limits::LABEL_BYTES_MAX)?;
        }
        at_most("annotations", self.annotations.len(), limits::ANNOTATIONS_MAX)?;
        for key in self.annotations.keys() {
            within("annotation key", key.len(), limits::KEY_BYTES_MAX)?;
        }
        within("annotations", self.values(), limits::PAYLOAD_BYTES_MAX)?;
        at_most("stop scopes", self.stop_scopes.len(), limits::STOP_SCOPES_MAX)?;
        let key = self.key.as_ref().map_or(0, |key| key.as_str().len());
        within("idempotency key", key, limits::KEY_BYTES_MAX)?;
        let owner = self.owner.as_deref().map_or(0, str::len);
        within("owner", owner, limits::OWNER_BYTES_MAX)
    }
}

fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), SubmitError> {
    if count > max { Err(SubmitError::LimitReached { what, max }) } else { Ok(()) }
}

pub(crate) fn within(what: &'static str, bytes: usize, max: usize) -> Result<(), SubmitError> {
    if bytes > max { Err(SubmitError::TooLarge { what, bytes, max }) } else { Ok(()) }
}
