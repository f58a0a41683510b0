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
        database.reset();
        let (began, busy) = (Instant::now(), place.processor_time());
        std::thread::sleep(LASTS);
        let took = began.elapsed().as_secs_f64();
        let busy = place.processor_time().saturating_sub(busy).as_secs_f64() / took;
        let counts = database.counts();
        let sessions = database.sql(
            "select count(*) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()",
        );
        println!(
            "   {sessions} sessions; {:.1} statements per second, {busy:.2} of a processor",
            counts.calls() / took
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
