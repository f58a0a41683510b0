//! [`MetricsVisitor`]: what an engine has in numbers, for whatever an embedder watches it with.

use quell_core::{CauseKind, RunStatus, Work};

use crate::metrics::Counters;
use crate::metrics::histogram::{Durations, Histogram};

/// Takes what an engine has in numbers, one metric after the other, for whatever an embedder
/// watches it with: [`Engine::visit_metrics`](crate::Engine::visit_metrics) calls it, on the thread
/// of its caller, and with no lock held.
///
/// Of each metric it is given everything at once: a sample for each set of labels. All samples of
/// one metric have the same labels, in the same order. Of counters and gauges there may be no
/// sample, of a limit that is not set for example.
///
/// # Examples
///
/// ```
/// use quell::{Engine, Histogram, Metric, MetricsVisitor, RunSpec, Sample};
///
/// /// Finds one counter.
/// struct Sum(&'static str, u64);
///
/// impl MetricsVisitor for Sum {
///     fn counter(&mut self, metric: Metric, samples: &[Sample<'_, u64>]) {
///         if metric.name == self.0 {
///             self.1 = samples.iter().map(|sample| sample.value).sum();
///         }
///     }
///
///     fn gauge(&mut self, _: Metric, _: &[Sample<'_, f64>]) {}
///
///     fn histogram(&mut self, _: Metric, _: &Histogram) {}
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
/// # .block_on(async {
/// let engine = Engine::new();
/// engine.submit(RunSpec::agent("brief"), async |_| Ok(())).unwrap().await.unwrap();
/// let mut ended = Sum("ended_runs", 0);
/// engine.visit_metrics(&mut ended);
/// assert_eq!(ended.1, 1);
/// # });
/// ```
pub trait MetricsVisitor {
    /// Takes what only grows for as long as the engine is there.
    fn counter(&mut self, metric: Metric, samples: &[Sample<'_, u64>]);

    /// Takes what is so at this moment.
    fn gauge(&mut self, metric: Metric, samples: &[Sample<'_, f64>]);

    /// Takes how long something took, as often as it happened. Its buckets only grow.
    fn histogram(&mut self, metric: Metric, durations: &Histogram);
}

/// What is counted or measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Metric {
    /// Its name, of letters and `_`. It ends in its unit if it has one: `_seconds`, `_bytes`, and
    /// `_bytes_max` of a bound. It has no prefix, and no suffix for its type.
    pub name: &'static str,
    /// One sentence about it, without full stop.
    pub help: &'static str,
}

/// One value of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample<'a, V> {
    /// What it is of: names and values. Empty for a metric with one value.
    pub labels: &'a [(&'static str, &'a str)],
    /// How much there is, in the unit of the metric.
    pub value: V,
}

impl Metric {
    pub(crate) const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help }
    }
}

impl<'a, V> Sample<'a, V> {
    pub(crate) const fn new(labels: &'a [(&'static str, &'a str)], value: V) -> Self {
        Self { labels, value }
    }
}

impl Counters {
    /// Shows what was counted so far.
    pub(crate) fn visit(&self, visitor: &mut dyn MetricsVisitor) {
        self.visit_ends(visitor);
        let abandoned = Work::ALL.iter().map(|what| ([("what", what.as_str())], *what));
        let abandoned: Vec<_> = abandoned.collect();
        let samples: Vec<_> = abandoned
            .iter()
            .map(|(labels, what)| Sample::new(labels, self.abandoned(*what)))
            .collect();
        visitor.counter(ABANDONED, &samples);
        for (metric, count) in [
            (ABORTED, self.aborted()),
            (REFUSED, self.refused()),
            (LATE, self.late()),
            (LAGGED, self.lagged()),
        ] {
            visitor.counter(metric, &[Sample::new(&[], count)]);
        }
        for (metric, durations) in self.measured() {
            visitor.histogram(metric, &durations.so_far());
        }
    }

    fn visit_ends(&self, visitor: &mut dyn MetricsVisitor) {
        let causes = || [None].into_iter().chain(CauseKind::ALL.iter().copied().map(Some));
        let ends =
            RunStatus::ALL.into_iter().flat_map(|status| causes().map(move |it| (status, it)));
        let counted = ends.map(|(status, cause)| (status, cause, self.ended(status, cause)));
        // How a run may end stands there with 0 before the first has: so its rate is right.
        let shown =
            counted.filter(|(status, cause, count)| is_usual(*status, *cause) || *count > 0);
        let shown: Vec<_> = shown
            .map(|(status, cause, count)| {
                let cause = cause.map_or("none", CauseKind::as_str);
                ([("status", status.as_str()), ("cause", cause)], count)
            })
            .collect();
        let samples: Vec<_> =
            shown.iter().map(|(labels, count)| Sample::new(labels, *count)).collect();
        visitor.counter(ENDED, &samples);
    }

    const fn measured(&self) -> [(Metric, &Durations); 5] {
        [
            (CANCEL_TO_TERMINAL, &self.cancel_to_terminal),
            (CANCEL_TO_QUIESCENT, &self.cancel_to_quiescent),
            (HONESTY_GAP, &self.honesty_gap),
            (SETTLE_LAG, &self.settle_lag),
            (QUEUE_WAIT, &self.queue_wait),
        ]
    }
}

/// Tells whether runs end so.
fn is_usual(status: RunStatus, cause: Option<CauseKind>) -> bool {
    match (status, cause) {
        (RunStatus::Completed | RunStatus::Failed, None) => true,
        (RunStatus::TimedOut, Some(kind)) => {
            matches!(kind, CauseKind::Deadline | CauseKind::IdleTimeout)
        }
        (RunStatus::Cancelled, Some(kind)) => kind != CauseKind::PauseRequested,
        _ => false,
    }
}

const ENDED: Metric = Metric::new(
    "ended_runs",
    "Runs that have ended here, by their status, and by the kind of cause if they were stopped",
);
const ABANDONED: Metric =
    Metric::new("abandoned", "Work that still executed when its run ended, by its sort");
const ABORTED: Metric = Metric::new("aborted", "Bodies that were dropped at their hard deadline");
const REFUSED: Metric =
    Metric::new("refused", "Runs, tool calls and other work that a stop kept from starting");
const LATE: Metric =
    Metric::new("late_outputs", "What bodies said after their runs had ended, which was refused");
const LAGGED: Metric =
    Metric::new("lagged", "How often a reader of events was told that it has missed some");
const CANCEL_TO_TERMINAL: Metric = Metric::new(
    "cancel_to_terminal_seconds",
    "From the acceptance of a stop to the end of its run; runs that an ancestor stops are in that",
);
const CANCEL_TO_QUIESCENT: Metric = Metric::new(
    "cancel_to_quiescent_seconds",
    "From the acceptance of a stop until nothing of its run executed any more",
);
const HONESTY_GAP: Metric = Metric::new(
    "honesty_gap_seconds",
    "From the end of a run of which something still executed until nothing did",
);
const SETTLE_LAG: Metric = Metric::new(
    "settle_lag_seconds",
    "From the decision of a parallel step until all its branches had ended",
);
const QUEUE_WAIT: Metric = Metric::new(
    "queue_wait_seconds",
    "From the acceptance of a root, or its due time, to its first start",
);
