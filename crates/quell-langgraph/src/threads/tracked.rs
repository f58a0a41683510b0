//! [`Tracked`]: what the adapter knows of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use futures::FutureExt;
use parking_lot::Mutex;
use quell::{Payload, RunId, RunRef, RunStatus, limits};
use quell_flow::{COMPONENT, Reducers};
use quell_http::{Charge, Service};
use serde_json::json;
use uuid::Uuid;

use crate::messages::Messages;
use crate::threads::final_body::FinalBody;
use crate::values::{Fold, Values};
use crate::wire::exact::{Keys, null};
use crate::wire::modes::Modes;
use crate::wire::rows::{About, run_metadata, system_assistant};

/// A run of a thread, as the adapter knows it.
#[derive(Debug)]
pub(crate) struct Tracked {
    pub(crate) id: RunId,
    /// When it was asked for.
    pub(crate) since: SystemTime,
    pub(crate) about: About,
    /// Knows what the run said; none for a run of another contract, which belongs to no thread.
    pub(crate) service: Option<Service>,
    /// What its request takes in memory, about.
    pub(crate) weight: usize,
    pub(crate) modes: Modes,
    pub(crate) has_subgraphs: bool,
    pub(crate) is_resumable: bool,
    pub(crate) limit_ms: Option<u64>,
    pub(crate) is_unmasked: bool,
    /// The engine has it.
    pub(crate) has_begun: AtomicBool,
    /// Set by a rollback: the run is deleted at its end.
    pub(crate) delete_at_end: AtomicBool,
    /// What its request takes, of its owner's share.
    pub(crate) charge: Option<Charge>,
    pub(crate) fold: Mutex<Fold>,
    /// What clients are taking of it.
    pub(crate) body: FinalBody,
    /// What its values take since it has ended, in bytes of JSON.
    pub(crate) left_bytes: AtomicUsize,
}

impl Tracked {
    /// Makes what is known of a run that another contract started.
    pub(crate) fn foreign(run: &RunRef, thread: Uuid, reducers: Reducers) -> Self {
        let graph = run.label(COMPONENT).unwrap_or_default();
        let assistant = system_assistant(graph);
        let weight = run.input().map_or(0, Payload::bytes_max);
        let input = run.input().cloned().unwrap_or_else(null);
        let about = About {
            thread,
            assistant,
            graph: graph.to_owned(),
            metadata: run_metadata(Keys::new(), graph, assistant),
            input,
            kwargs: Payload::from(json!({ "temporary": false })),
            strategy: "enqueue",
            reducers,
            due: None,
        };
        Self {
            id: run.id(),
            since: run.row().queued_at,
            about,
            service: None,
            weight,
            modes: Modes::ALL,
            has_subgraphs: false,
            is_resumable: false,
            limit_ms: None,
            is_unmasked: false,
            has_begun: true.into(),
            delete_at_end: false.into(),
            charge: None,
            fold: Mutex::default(),
            body: FinalBody::default(),
            left_bytes: AtomicUsize::new(0),
        }
    }

    /// Tells whether it is deleted if it ends with this status: after a rollback, one that was
    /// stopped is.
    pub(crate) fn is_deleted_after(&self, status: RunStatus) -> bool {
        matches!(status, RunStatus::Cancelled | RunStatus::TimedOut)
            && self.delete_at_end.load(Ordering::SeqCst)
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::SeqCst)
    }

    /// Takes in what is in the log by now; as many events as a log may hold.
    pub(super) fn catch_up(&self, run: &RunRef, values: Option<&Arc<Values>>) {
        let mut fold = self.fold.lock();
        let mut events = run.events_since(fold.seq);
        for _ in 0..=limits::EVENTS_PER_ROOT_MAX {
            let Some(Some(event)) = events.next().now_or_never() else { break };
            fold.take(run, &event, &self.about, || values.cloned());
        }
    }

    /// Takes in what the run returned and said, if it has ended.
    pub(crate) fn finish(
        &self,
        service: Option<&Service>,
        fold: &mut Fold,
        run: &RunRef,
        output: Option<&Payload>,
    ) {
        fold.finish(run.id(), output, &self.about, |is_answer| {
            let of = |service| Messages::of(service, run, output, &self.about, is_answer);
            service.map(of).unwrap_or_default()
        });
    }

    pub(super) fn graph_keys(&self) -> GraphKeys {
        let (graph, assistant) = (self.about.graph.as_str(), self.about.assistant.to_string());
        [("graph_id", graph.into()), ("assistant_id", assistant.into())]
    }
}

/// `graph_id` and `assistant_id` of a run.
pub(super) type GraphKeys = [(&'static str, Payload); 2];
