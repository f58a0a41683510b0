//! What subscribers of `tracing` are told: the transitions of runs.

use std::sync::Arc;

use quell_core::Cause;
use quell_core::lifecycle::Effects;
use tracing::level_filters::LevelFilter;

use crate::foreign;
use crate::node::Node;

impl Node {
    /// Tells subscribers of `tracing`, if any wants to know.
    pub(crate) fn trace(self: &Arc<Self>, fx: &Effects, cause: Option<&Arc<Cause>>) {
        let level = if fx.aborted {
            LevelFilter::WARN
        } else if fx.ended.is_some() {
            if self.ended_non_quiescent() { LevelFilter::WARN } else { LevelFilter::INFO }
        } else if fx.accepted.is_some() {
            LevelFilter::DEBUG
        } else {
            return;
        };
        if level > LevelFilter::current() {
            return;
        }
        if foreign::is_barred() {
            let (node, fx, cause) = (Arc::clone(self), *fx, cause.map(Arc::clone));
            let words = Box::new(move || node.say(&fx, cause.as_deref()));
            self.shared.couriers.send_words(words);
        } else {
            drop(foreign::catch_panic(|| self.say(fx, cause.map(|cause| &**cause))));
        }
    }

    fn say(&self, fx: &Effects, cause: Option<&Cause>) {
        let (id, name) = (&self.id, &self.name);
        if fx.accepted.is_some() {
            let why = cause.map_or("", |cause| cause.kind.as_str());
            tracing::debug!(run.uuid = %id, run.name = %name, cause = why, "run is stopping");
        }
        if fx.aborted {
            tracing::warn!(run.uuid = %id, run.name = %name, "body was aborted");
        }
        if let Some(status) = fx.ended {
            if self.ended_non_quiescent() {
                tracing::warn!(
                    run.uuid = %id, run.name = %name, %status,
                    "run ended non-quiescent"
                );
            } else {
                tracing::info!(run.uuid = %id, run.name = %name, %status, "run ended");
            }
        }
    }
}
