//! How figures are printed.

use std::time::Duration;

use crate::race::{Race, median};

/// Prints the question and the shape that it is asked of.
pub fn section(question: &str, shape: &str) {
    println!("\n## {question}\n   {shape}");
}

/// Prints the medians of a race, each divided by the runs in a round, and the ratio of the times.
pub fn compare(name: &str, runs: usize, race: &Race) {
    let times = race.medians();
    let processor = race.medians_of(|took| took.processor);
    let line = |side: &str, time: Duration, processor: Duration| {
        let (time_per, processor_per) = (per(time, runs), per(processor, runs));
        let ms = time.as_secs_f64() * 1e3;
        println!(
            "   {side:<8} {time_per:>6.0} ns per run, {ms:.2} ms per round; \
             {processor_per:.0} ns of processor time per run"
        );
    };
    line("ours", times.0, processor.0);
    line("theirs", times.1, processor.1);
    println!("   {:<8} {:.2} by processor time", "", quotient(processor));
    ratio(name, quotient(times));
}

/// Prints how much dearer the dearest run is than the cheapest, for costs per run of both sides.
pub fn spread(costs: &[(f64, f64)]) {
    let of = |cost: fn(&(f64, f64)) -> f64| {
        let costs = costs.iter().map(cost);
        costs.clone().fold(0.0, f64::max) / costs.fold(f64::INFINITY, f64::min)
    };
    println!("   dearest by cheapest: ours {:.2}, theirs {:.2}", of(|c| c.0), of(|c| c.1));
}

/// Prints ours divided by theirs where less is better; four decimals where two would say nothing.
pub fn ratio(name: &str, value: f64) {
    println!("   smaller is better");
    let decimals = if value < 0.1 { 4 } else { 2 };
    println!("ratio {name} {value:.decimals$}");
}

/// Prints the middle, the tail and the worst of a set of latencies.
pub fn latency(side: &str, what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| micros(times[(times.len() - 1) * part / 1_000]);
    println!(
        "   {side:<8} {what}: p50 {:.1} µs, p99 {:.1} µs, p99.9 {:.1} µs, worst {:.1} µs",
        at(500),
        at(990),
        at(999),
        at(1_000)
    );
}

/// Prints the latencies of both sides, and the ratio of their medians.
pub fn latencies(name: &str, what: &str, (ours, theirs): (Vec<Duration>, Vec<Duration>)) {
    latency("ours", what, ours.clone());
    latency("theirs", what, theirs.clone());
    ratio(name, quotient((median(ours), median(theirs))));
}

/// Nanoseconds per run.
#[expect(clippy::cast_precision_loss, reason = "a figure has three digits")]
pub fn per(time: Duration, runs: usize) -> f64 {
    time.as_secs_f64() * 1e9 / runs as f64
}

/// Divides ours by theirs.
pub fn quotient((ours, theirs): (Duration, Duration)) -> f64 {
    ours.as_secs_f64() / theirs.as_secs_f64()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
