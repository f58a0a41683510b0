mod reading;
mod script;

use std::collections::BTreeSet;
use std::time::Duration;

use quell::{CancelRequest, Histogram, RunSpec, Scope, testing};
use reading::Reading;
use script::{Witness, play};

use crate::support::{Gate, Lab, body_runtime, config, listener, ms, secs, seeds, soon, within};

/// How many of these took as long as a bound at most, and longer than the one before.
fn counts(took: &[Duration]) -> Vec<(Duration, u64)> {
    let mut below = Duration::ZERO;
    let mut counts = Vec::new();
    for bound in Histogram::BOUNDS {
        let is_here = |it: &&Duration| **it <= bound && (**it > below || below.is_zero());
        counts.push((bound, took.iter().filter(is_here).count() as u64));
        below = bound;
    }
    counts
}

fn assert_is_what_the_witness_says(reading: &Reading, witness: &Witness) {
    let (counted, mut wrong) = (reading.counted(), Vec::new());
    let names: BTreeSet<_> = counted.keys().chain(witness.counts.keys()).collect();
    for name in names {
        let (shown, seen) = (counted.get(name), witness.counts.get(name));
        if shown != seen {
            wrong.push(format!("{name} is {shown:?}, and was {seen:?}"));
        }
    }
    for name in witness.took.keys().filter(|name| !reading.histograms.contains_key(*name)) {
        wrong.push(format!("{name} is not shown"));
    }
    let none = Vec::new();
    for (name, histogram) in &reading.histograms {
        let took = witness.took.get(name).unwrap_or(&none);
        let seen = (took.len() as u64, took.iter().sum::<Duration>(), counts(took));
        let buckets: Vec<_> = histogram.buckets().collect();
        let shown = (histogram.count(), histogram.sum(), buckets);
        if shown != seen {
            wrong.push(format!("{name} is {shown:?}, and was {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn what_happens_in_an_hour_is_counted_and_measured_exactly() {
    for (_seed, mut rng) in seeds(3) {
        let lab = Lab::paused();
        let witness = play(&lab, &mut rng, 340).await;
        assert!(witness.took.len() == 5, "everything was measured: {witness:?}");
        let reading = Reading::of(&lab);
        assert_is_what_the_witness_says(&reading, &witness);
        for (name, value) in &reading.gauges {
            let is_at_rest = name.ends_with("_max") || name.starts_with("ended_") || *value == 0.0;
            assert!(is_at_rest, "{name} is {value} when nothing goes on");
        }
        lab.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_dropped_is_counted_by_its_sort_and_its_end_as_the_honesty_gap() {
    let bodies = body_runtime(4);
    let lab = Lab::with(config().runtime(bodies.handle().clone()).grace(ms(10)).abort_wait(ms(30)));
    let gate = Gate::new();
    let _open = gate.at_end();
    let (body, closure) = (gate.clone(), gate.clone());
    let ups = [Gate::new(), Gate::new()];
    let [spinning, blocking] = ups.clone();
    let spins = lab.submit(RunSpec::agent("spins"), async move |_| {
        spinning.open();
        body.spin();
        Ok(())
    });
    let blocks = lab.submit(RunSpec::agent("blocks"), async move |ctx| {
        let block = move |_| {
            blocking.open();
            closure.spin();
        };
        Ok(ctx.spawn_blocking(block).await?)
    });
    let runs = [spins.unwrap().into_ref(), blocks.unwrap().into_ref()];
    soon("both block their threads", || ups.iter().all(Gate::is_open)).await;
    for run in &runs {
        run.cancel(CancelRequest::because("enough"));
    }
    let mut named = Vec::new();
    for run in &runs {
        named.extend(within("it ends in time", run.ended()).await.abandoned.clone());
    }
    let before = Reading::of(&lab);
    let named: Vec<_> = named.iter().map(|left| left.what.as_str()).collect();
    assert_eq!(named, ["body", "blocking"]);
    for sort in named {
        assert_eq!(before.counters[&format!("abandoned{{what={sort}}}")], 1);
    }
    let ended = "ended_runs{status=cancelled,cause=user-request}";
    assert_eq!(before.counters[ended], 2);
    assert_eq!(before.histograms["cancel_to_terminal_seconds"].count(), 2);
    assert_eq!(before.histograms["cancel_to_quiescent_seconds"].count(), 0, "it all goes on");
    assert_eq!(before.gauges["abandoned_roots"].to_string(), "2");
    gate.open();
    for run in &runs {
        within("it is quiescent", run.quiescent()).await;
    }
    let after = Reading::of(&lab);
    let [terminal, gap, quiescent] =
        ["cancel_to_terminal_seconds", "honesty_gap_seconds", "cancel_to_quiescent_seconds"]
            .map(|name| &after.histograms[name]);
    assert_eq!((terminal.count(), gap.count(), quiescent.count()), (2, 2, 2));
    assert_eq!(terminal.sum() + gap.sum(), quiescent.sum(), "the two are the third");
    assert_eq!(after.gauges["abandoned_roots"].to_string(), "0");
    lab.finish().await;
    bodies.shutdown_background();
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_shown_with_its_bounds() {
    let lab = Lab::with(config().control_on_runtime().running_max(2).queued_max(7));
    let wait = async |ctx: quell::RunContext| Ok(_ = ctx.stopped().await);
    let submit = |name| lab.submit(RunSpec::agent(name).input("x".repeat(1_000).into()), wait);
    let team = lab.submit(RunSpec::team("team"), async |ctx| {
        let below = ctx.spawn(RunSpec::agent("below"), listener);
        Ok(below.await?)
    });
    let runs = [team.unwrap(), submit("runs").unwrap(), submit("waits").unwrap()];
    let runs = runs.map(quell::RunHandle::into_ref);
    let streams = (lab.events(), runs[0].events(), runs[1].events());
    tokio::time::sleep(secs(1)).await;
    let shown = Reading::of(&lab).gauges;
    for (name, value) in [
        ("live_runs", 4.0),
        ("roots{status=queued}", 1.0),
        ("roots{status=running}", 2.0),
        ("roots{status=paused}", 0.0),
        ("roots{status=stopping}", 0.0),
        ("roots_max{status=queued}", 7.0),
        ("roots_max{status=running}", 2.0),
        ("abandoned_roots", 0.0),
        ("event_streams", 3.0),
        ("ended_trees", 0.0),
        ("ended_bytes", 0.0),
        ("store_in_trouble", 0.0),
    ] {
        assert_eq!(shown.get(name), Some(&value), "{name}: {shown:?}");
    }
    assert_eq!(shown["live_bytes"].to_string(), testing::held(&lab).bytes.to_string());
    assert!(shown["live_bytes"] >= 2_000.0, "{shown:?}");
    drop(streams);
    for run in &runs {
        run.cancel(CancelRequest::because("enough"));
    }
    for run in &runs {
        within("it is over", run.quiescent()).await;
    }
    lab.set_limit(Scope::All, quell::RunLimits::new());
    let shown = Reading::of(&lab).gauges;
    for (name, value) in [("live_runs", 0.0), ("event_streams", 0.0), ("ended_trees", 3.0)] {
        assert_eq!(shown[name].to_string(), value.to_string(), "{name}: {shown:?}");
    }
    assert!(shown["ended_bytes"] >= 2_000.0, "{shown:?}");
    assert!(!shown.contains_key("roots_max{status=queued}"), "{shown:?}");
    lab.finish().await;
}
