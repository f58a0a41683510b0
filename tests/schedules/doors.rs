//! Before a run starts: stops that wait for their run, lanes and slots.

use std::sync::Arc;

use quell::{Disposition, Engine, Limits, OnBusy, Outcome, RunContext, RunId, RunSpec, testing};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

use crate::play::{
    NEVER, accept_shutdown, because, checked_log, config, is_stopped, pause, play, shut_down,
    submit_listening,
};
use crate::witness::Witness;

#[test]
fn i6_i21_i22_a_stop_that_is_remembered_meets_its_run_or_finds_it() {
    play("remembered stops against submit", 2, |seen| {
        // It is kept: who comes after its end finds it, and is not remembered for ever.
        let mut limits = Limits::default();
        limits.ended_trees_max = 1;
        let config = config().grace(NEVER).abort_wait(NEVER).limits(limits);
        let (engine, tree) = (Engine::with_config(config), Witness::new());
        let id = RunId::from_text("later");
        let cancellers = ["a", "b"].map(|words| {
            let engine = engine.clone();
            thread::spawn(move || engine.cancel(id, because(words).remember_for(NEVER / 4)))
        });
        pause(30);
        let run = submit_listening(&engine, RunSpec::agent("later").id(id), &tree);
        let root = run.run().clone();
        let answers = cancellers.map(|canceller| canceller.join().unwrap());
        // Each stop has either found the run or waited for it: it is stopped now.
        assert!(is_stopped(root.status()), "{}: {answers:?}", root.status());
        let Outcome::Stopped { cause, .. } = block_on(run.outcome()) else { panic!("{root:?}") };
        let is_first = |answer: &Disposition| matches!(answer, Disposition::Accepted { .. });
        let was_waiting = answers.iter().any(|answer| matches!(answer, Disposition::Reserved));
        if was_waiting {
            assert!(tree.entered().is_empty(), "it was to be stopped before its start");
            assert!(
                !answers.iter().any(is_first),
                "the first was the one that waited: {answers:?}"
            );
        } else {
            let first = answers.iter().position(is_first).expect("one of them was the first");
            assert_eq!(cause.message.as_deref(), Some(["a", "b"][first]));
        }
        seen.note(usize::from(was_waiting));
        let log = checked_log(&root);
        accept_shutdown(&engine, || {});
        assert_eq!(testing::held(&engine).entries, 1, "the run, and no stop that waits");
        tree.agree_with([&*log]);
    });
}

#[test]
fn i27_i36_a_lane_and_a_slot_have_one_run_at_a_time_and_are_passed_on() {
    play("lanes and slots against cancel", 2, |seen| {
        let engine = Engine::with_config(config().grace(NEVER).abort_wait(NEVER).running_max(2));
        let (lane, all) = (Witness::new(), Witness::new());
        let submitters: Vec<_> = (0..5)
            .map(|number| {
                let (engine, all) = (engine.clone(), Arc::clone(&all));
                let lane = (number < 3).then(|| Arc::clone(&lane));
                thread::spawn(move || {
                    let mut spec = RunSpec::agent("root");
                    if lane.is_some() {
                        spec = spec.lane("lane", OnBusy::Enqueue);
                    }
                    engine.submit(spec, async move |ctx: RunContext| {
                        let here = all.enter(&ctx);
                        let _in_lane = lane.map(|lane| lane.enter(&ctx));
                        yield_now().await;
                        here.step();
                        Ok(())
                    })
                })
            })
            .collect();
        pause(60);
        let runs: Vec<_> =
            submitters.into_iter().map(|submitter| submitter.join().unwrap().unwrap()).collect();
        let stopped = runs[0].cancel(because("out of the lane"));
        seen.note(usize::from(matches!(stopped, Disposition::Accepted { .. })));
        let roots: Vec<_> = runs.iter().map(|run| run.run().clone()).collect();
        for (number, run) in runs.into_iter().enumerate() {
            let outcome = block_on(run.outcome());
            assert!(number == 0 || matches!(outcome, Outcome::Completed(())), "{outcome:?}");
        }
        let logs: Vec<_> = roots.iter().map(checked_log).collect();
        assert!(lane.most() <= 1, "{} in the lane at once", lane.most());
        assert!(all.most() <= 2, "{} on two slots", all.most());
        shut_down(&engine);
        all.seal();
        all.agree_with(logs.iter().map(Vec::as_slice));
    });
}
