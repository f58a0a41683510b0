//! Durable runs per second of one node, against statements and a group commit by hand.

use std::sync::Arc;

use quell_benches::figures::{quotient, ratio, section};
use quell_benches::race::{Race, is_long};
use quell_benches::submitters::{durable_round, round, throughput};
use quell_postgres::PostgresStore;
use uuid::Uuid;

use crate::bare::Bare;
use crate::place::Place;

pub(crate) fn measure(place: &Place) {
    section("durable runs of one node", "accepted and ended, each stored; fsync = on");
    for (submitters, each) in [(1, 200), (32, 100), (256, 40)] {
        let (mine, bares) = (place.database(), place.database());
        let ours = mine.join("node-1");
        let runtime = &ours.runtime;
        let theirs = runtime.block_on(async {
            // It makes the tables.
            let options = quell_postgres::PostgresOptions::new(bares.address());
            let store = PostgresStore::open(options).await.expect("it opens");
            quell::store::Store::close(&store).await.expect("it closes");
            Arc::new(Bare::open(&bares.address()).await)
        });
        let race = Race::run(
            if is_long() { 15 } else { 7 },
            || durable_round(runtime, &ours.engine, (submitters, each)),
            || {
                let bare = Arc::clone(&theirs);
                round(runtime, (submitters, each), move || {
                    let (bare, id) = (Arc::clone(&bare), Uuid::now_v7());
                    async move { bare.run(id).await }
                })
            },
        );
        throughput((submitters, each), &race, ours.node.committed());
        println!("   bar: 0.60 of theirs, a ratio of 1.67; the aim is 0.85, 1.18");
        ratio(&format!("cluster/runs/{submitters}"), quotient(race.medians()));
        ours.close();
    }
}
