//! [`Metadata`] is what only some specs say of a run besides its work.

use std::sync::Arc;

use quell_core::{Annotations, Budget, Labels, Payload, limits};

use crate::failure::SubmitError;
use crate::idempotency::IdempotencyKey;
use crate::stop_scope::StopScope;
use crate::sync::OnceLock;

/// What only some specs say: by what a run is found, how it is shown, and what it may use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) labels: Labels,
    /// What front ends keep with the run from its beginning. Never read by the engine.
    pub(crate) annotations: Annotations,
    /// What bodies have added since.
    pub(crate) annotated: Annotated,
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) budget: Option<Budget>,
    /// What a root claims together with its id.
    pub(crate) key: Option<IdempotencyKey>,
    /// In which scopes a stop may have been remembered for the run.
    pub(crate) stop_scopes: Vec<StopScope>,
}

/// All annotations of a run, once a body has added some, and once more: references to those before
/// stay as they are. There are no more links than annotations. Set under the lock of the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Annotated(OnceLock<Box<(Annotations, Self)>>);

impl Annotated {
    fn last(&self) -> Option<&Annotations> {
        let mut last = self.0.get()?;
        while let Some(next) = last.1.0.get() {
            last = next;
        }
        Some(&last.0)
    }

    /// Adds a link: all annotations that the run has from here on.
    pub(crate) fn push(&self, all: Annotations) {
        let mut last = &self.0;
        while let Some(next) = last.get() {
            last = &next.1.0;
        }
        // It is empty: it is set under the lock of the node alone.
        let _ = last.set(Box::new((all, Self::default())));
    }
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
        labels
            + bytes_of(self.annotations())
            + self.owner.as_deref().map_or(0, str::len)
            + key
            + scopes
    }

    /// Yields all annotations that the run has by now.
    pub(crate) fn annotations(&self) -> &Annotations {
        self.annotated.last().unwrap_or(&self.annotations)
    }

    pub(crate) fn check(&self) -> Result<(), SubmitError> {
        at_most("labels", self.labels.len(), limits::LABELS_MAX)?;
        for (key, value) in &self.labels {
            within("label key", key.len(), limits::LABEL_BYTES_MAX)?;
            within("label value", value.len(), limits::LABEL_BYTES_MAX)?;
        }
        check_annotations(&self.annotations)?;
        at_most("stop scopes", self.stop_scopes.len(), limits::STOP_SCOPES_MAX)?;
        let key = self.key.as_ref().map_or(0, |key| key.as_str().len());
        within("idempotency key", key, limits::KEY_BYTES_MAX)?;
        let owner = self.owner.as_deref().map_or(0, str::len);
        within("owner", owner, limits::OWNER_BYTES_MAX)
    }
}

/// Checks all annotations of a run. Writes their texts.
pub(crate) fn check_annotations(all: &Annotations) -> Result<(), SubmitError> {
    at_most("annotations", all.len(), limits::ANNOTATIONS_MAX)?;
    for key in all.keys() {
        within("annotation key", key.len(), limits::KEY_BYTES_MAX)?;
    }
    within("annotations", all.values().map(Payload::len).sum(), limits::ANNOTATIONS_BYTES_MAX)
}

/// Yields the bytes of annotations, with their keys.
pub(crate) fn bytes_of(annotations: &Annotations) -> usize {
    annotations.iter().map(|(key, value)| key.len() + value.len()).sum()
}

fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), SubmitError> {
    if count > max { Err(SubmitError::LimitReached { what, max }) } else { Ok(()) }
}

pub(crate) fn within(what: &'static str, bytes: usize, max: usize) -> Result<(), SubmitError> {
    if bytes > max { Err(SubmitError::TooLarge { what, bytes, max }) } else { Ok(()) }
}
