//! What nodes ask of the database that have nothing to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quell::cluster::Cluster as _;
use quell_benches::figures::section;
use quell_benches::race::is_long;

use crate::place::{Ours, Place};

pub(crate) fn measure(place: &Place) {
    let crowd = if is_long() { 200 } else { 100 };
    for members in [1, 10, crowd] {
        section("nodes with nothing to do", &format!("{members}, each renews and looks for 10 s"));
        let database = place.database();
        let all: Vec<_> = (0..members).map(|nth| database.join(&format!("node-{nth}"))).collect();
        // Each takes over once a second what is left, as the manual says.
        let looks: Vec<_> = all.iter().map(look).collect();
        std::thread::sleep(Duration::from_secs(2));
        let commits = || -> f64 {
            let read = "select xact_commit from pg_stat_database
                where datname = current_database()";
            database.sql(read).parse().expect("a number")
        };
        database.reset();
        let (began, before, busy) = (Instant::now(), commits(), place.processor_time());
        std::thread::sleep(LASTS);
        let (took, after) = (began.elapsed().as_secs_f64(), commits());
        let busy = place.processor_time().saturating_sub(busy).as_secs_f64() / took;
        let counts = database.counts();
        let sessions = database.sql(
            "select count(*) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()",
        );
        println!(
            "   {sessions} sessions; {:.1} statements and {:.1} transactions per second, {:.2} of \
             a processor",
            counts.calls() / took,
            (after - before) / took,
            busy
        );
        counts.print(took, "second");
        for look in looks {
            look.abort();
        }
        all.into_iter().for_each(Ours::close);
    }
}

fn look(ours: &Ours) -> tokio::task::JoinHandle<()> {
    let node = Arc::clone(&ours.node);
    ours.runtime.spawn(async move {
        loop {
            // Nobody's lease is over: nothing is to be decided.
            assert_eq!(node.take_over().await.expect("it looks"), None);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
}

/// How long is counted.
const LASTS: Duration = Duration::from_secs(10);
