//! [`Engine::visit_metrics`]: what an engine has in numbers, for whatever watches it.

use quell_core::RunStatus;

use crate::engine::Engine;
use crate::engine::standing::Standing;
use crate::metrics::visitor::{Metric, MetricsVisitor, Sample};
use crate::queue::{RunLimits, Scope, SlotStanding};

impl Engine {
    /// Shows a visitor what the engine has in numbers: what it has counted and measured since it
    /// was made, and how it stands at this moment. The chapter
    /// [`watching`](crate::manual::watching) says what each number means.
    ///
    /// The visitor is called here, with no lock held. It takes as long as
    /// [`standing`](Self::standing): call it when somebody asks, as often as every second.
    ///
    /// # Examples
    ///
    /// See [`MetricsVisitor`].
    pub fn visit_metrics(&self, visitor: &mut dyn MetricsVisitor) {
        let now = self.standing();
        self.shared().counters.visit(visitor);
        self.visit_roots(&now, visitor);
        self.visit_held(&now, visitor);
        let mut gauge = |name, help, value| one(visitor, name, help, value);
        let in_trouble = count(usize::from(now.trouble.is_some()));
        gauge("store_in_trouble", "Whether the store takes nothing at present", in_trouble);
        if let Some(left) = now.lease_left {
            let help = "How long this node may execute what it has unless its lease is renewed";
            gauge("lease_left_seconds", help, left.as_secs_f64());
            let help = "Requests through other nodes that are not answered";
            gauge("asked_waiting", help, count(now.asked));
        }
        visit_slots(&now.slots, visitor);
    }

    fn visit_roots(&self, now: &Standing, visitor: &mut dyn MetricsVisitor) {
        let labels =
            [RunStatus::Queued, RunStatus::Running, RunStatus::Paused, RunStatus::Stopping]
                .map(|status| [("status", status.as_str())]);
        let counts = [now.queued, now.running, now.paused, now.stopping];
        let roots = labels.iter().zip(counts);
        let roots: Vec<_> = roots.map(|(of, roots)| Sample::new(of, count(roots))).collect();
        visitor.gauge(Metric::new("roots", "Roots that have not ended, by their status"), &roots);
        let RunLimits { running_max, queued_max } = self.limit(&Scope::All);
        let bounds = labels.iter().zip([queued_max, running_max]);
        let bounds: Vec<_> =
            bounds.filter_map(|(of, max)| Some(Sample::new(of, count(max?)))).collect();
        let help = "How many roots may be so at once, where that is bounded";
        visitor.gauge(Metric::new("roots_max", help), &bounds);
        let help = "Roots that have ended and of which work goes on here";
        one(visitor, "abandoned_roots", help, count(now.abandoned));
    }

    /// Shows what is kept, each with its bound.
    fn visit_held(&self, now: &Standing, visitor: &mut dyn MetricsVisitor) {
        let shared = self.shared();
        let (limits, held) = (&shared.config.limits, shared.retention.held());
        let mut gauge = |name, help, value| one(visitor, name, help, count(value));
        gauge("live_runs", "Runs that have not ended, those below others included", now.live);
        gauge("live_runs_max", "How many runs may be live", limits.runs_max);
        gauge("live_bytes", "Bytes that live runs hold", shared.ledger.total());
        gauge("live_bytes_max", "How many bytes live runs may hold", limits.live_bytes_max);
        gauge("ended_trees", "Trees that have ended and are kept", held.trees);
        gauge("ended_trees_max", "How many of them are kept", limits.ended_trees_max);
        gauge("ended_bytes", "Bytes that they hold", held.bytes);
        gauge("ended_bytes_max", "How many bytes they may hold", limits.ended_bytes_max);
        let streams = usize::try_from(shared.counters.streams()).unwrap_or(usize::MAX);
        gauge("event_streams", "Streams of events that are open", streams);
    }
}

/// Shows how limits of all nodes stand.
fn visit_slots(slots: &[SlotStanding], visitor: &mut dyn MetricsVisitor) {
    let scopes: Vec<_> = slots.iter().map(|slot| slot.scope.to_string()).collect();
    let labels: Vec<_> = scopes.iter().map(|scope| [("limit", &**scope)]).collect();
    let mut gauge = |name, help, value: fn(&SlotStanding) -> usize| {
        let samples = labels.iter().zip(slots);
        let samples: Vec<_> =
            samples.map(|(of, slot)| Sample::new(of, count(value(slot)))).collect();
        visitor.gauge(Metric::new(name, help), &samples);
    };
    let help = "Roots that may run at once on all nodes, by limit";
    gauge("limit_max", help, |slot| slot.max);
    gauge("limit_taken", "Slots of the limit that all nodes have", |slot| slot.taken);
    gauge("limit_held", "Slots of the limit that this node has", |slot| slot.held);
}

/// Shows a gauge that has one value.
fn one(visitor: &mut dyn MetricsVisitor, name: &'static str, help: &'static str, value: f64) {
    visitor.gauge(Metric::new(name, help), &[Sample::new(&[], value)]);
}

/// Yields a number as a gauge has it.
#[expect(clippy::cast_precision_loss, reason = "nothing is counted as far as 2^53")]
const fn count(number: usize) -> f64 {
    number as f64
}
