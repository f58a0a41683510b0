//! What a run costs the database that nobody stops or watches.

use quell::RunSpec;
use quell_benches::figures::section;
use quell_benches::submitters::round;

use crate::place::Place;

pub(crate) fn measure(place: &Place) {
    section("statements of durable runs", "accepted and ended, each stored; nobody watches");
    for (submitters, each) in [(1, 200), (32, 100), (256, 40)] {
        let database = place.database();
        let ours = database.join("node-1");
        // It notifies itself once when it has joined, to see whether that works.
        std::thread::sleep(std::time::Duration::from_millis(300));
        database.reset();
        let before = ours.node.committed();
        let engine = ours.engine.clone();
        let took = round(&ours.runtime, (submitters, each), move || {
            let engine = engine.clone();
            async move {
                let run = engine.submit_durably(RunSpec::agent("a"), async |_| Ok(())).await;
                let run = run.expect("it is stored").into_ref();
                run.ended_status().await;
                run.stored().await.expect("it is stored");
            }
        });
        let (counts, notifications) = (database.counts(), database.notifications());
        let after = ours.node.committed();
        #[expect(clippy::cast_precision_loss, reason = "a figure has three digits")]
        let commits = (after.commits - before.commits) as f64;
        let runs = f64::from(submitters * each);
        println!(
            "   {submitters} submitters: {:.0} runs/s; {:.2} statements and {:.3} commits per run, \
             {:.1} statements per commit; {notifications} NOTIFY (bar: 0)",
            runs / took.time.as_secs_f64(),
            counts.calls() / runs,
            commits / runs,
            counts.calls() / commits,
        );
        counts.print(runs, "run");
        ours.close();
    }
}
