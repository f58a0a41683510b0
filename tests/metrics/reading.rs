//! [`Reading`]: what an engine shows of itself in numbers, by name and labels.

use std::collections::{BTreeMap, HashSet};

use quell::{Engine, Histogram, Metric, MetricsVisitor, Sample};

/// What an engine has shown.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// By name, and labels if there are any: `abandoned{what=hook}`.
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) gauges: BTreeMap<String, f64>,
    pub(super) histograms: BTreeMap<&'static str, Histogram>,
    names: HashSet<&'static str>,
}

impl Reading {
    pub(super) fn of(engine: &Engine) -> Self {
        let mut reading = Self::default();
        engine.visit_metrics(&mut reading);
        reading
    }

    /// Yields what is not zero of the counters.
    pub(super) fn counted(&self) -> BTreeMap<String, u64> {
        let counted = self.counters.iter().filter(|(_, count)| **count > 0);
        counted.map(|(name, count)| (name.clone(), *count)).collect()
    }

    fn note(&mut self, metric: Metric) {
        assert!(self.names.insert(metric.name), "{metric:?} comes twice");
        let is_plain = |it: char| it.is_ascii_lowercase() || it == '_';
        assert!(metric.name.chars().all(is_plain), "{metric:?}");
        assert!(!metric.help.is_empty() && !metric.help.ends_with('.'), "{metric:?}");
    }
}

impl MetricsVisitor for Reading {
    fn counter(&mut self, metric: Metric, samples: &[Sample<'_, u64>]) {
        self.note(metric);
        let before = self.counters.len();
        self.counters.extend(samples.iter().map(|it| (key(metric, it), it.value)));
        assert_eq!(self.counters.len(), before + samples.len(), "{metric:?} has labels twice");
    }

    fn gauge(&mut self, metric: Metric, samples: &[Sample<'_, f64>]) {
        self.note(metric);
        let before = self.gauges.len();
        self.gauges.extend(samples.iter().map(|it| (key(metric, it), it.value)));
        assert_eq!(self.gauges.len(), before + samples.len(), "{metric:?} has labels twice");
    }

    fn histogram(&mut self, metric: Metric, durations: &Histogram) {
        self.note(metric);
        self.histograms.insert(metric.name, durations.clone());
    }
}

fn key<V>(metric: Metric, sample: &Sample<'_, V>) -> String {
    if sample.labels.is_empty() {
        return metric.name.to_owned();
    }
    let labels: Vec<_> =
        sample.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}{{{}}}", metric.name, labels.join(","))
}
