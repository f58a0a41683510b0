//! How far a reader on another node is behind the commit of the owner.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, pin_mut};
use quell::{EventKind, Failure, Payload, RunContext, RunRef, RunSpec};
use quell_benches::figures::section;
use quell_benches::race::is_long;
use quell_flow::Catalog;
use quell_http::{NATIVE, Principal, Service};
use tokio::sync::{mpsc, oneshot};

use crate::place::{Database, Ours, Place, percentiles};

pub(crate) fn measure(place: &Place) {
    let count = if is_long() { 400 } else { 100 };
    for (name, shape, pauses) in [
        ("events/quiet", "one event in 100 to 900 ms, 8 runs at once", (100, 800)),
        ("events/busy", "one event in 5 to 20 ms, 8 runs at once", (5, 15)),
    ] {
        section("an event at a reader on another node, behind its commit", shape);
        let database = place.database();
        race(name, &database, pauses, count / 4);
    }
}

fn race(name: &str, database: &Database<'_>, pauses: (u64, u64), count: u64) {
    let (a, b) = (database.join("a"), database.join("b"));
    let service = Service::new(b.engine.clone(), Catalog::new());
    let mut all = Vec::new();
    database.reset();
    let began = Instant::now();
    for nth in 0..8 {
        let (says, run) = talker(&a);
        let view = service.view(NATIVE, Principal::anonymous());
        let reader = b.runtime.spawn(async move {
            let found = view.find(&run.to_string()).await.expect("it reads").expect("it is there");
            let events = view.events(&found, 0).await.expect("it reads");
            pin_mut!(events);
            let mut seen = Vec::new();
            while let Some(event) = events.next().await {
                if let EventKind::Emitted(_) = event.kind {
                    seen.push(Instant::now());
                }
            }
            seen
        });
        let writer = a.runtime.spawn(async move {
            let (says, run) = says;
            let mut stored = Vec::new();
            tokio::time::sleep(Duration::from_millis(300)).await;
            for turn in 0..count {
                let pause = pauses.0 + (nth * 7_919 + turn * 104_729) % pauses.1;
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let (done, said) = oneshot::channel();
                says.send(done).expect("the body runs");
                said.await.expect("it emits");
                run.stored().await.expect("it is stored");
                stored.push(Instant::now());
            }
            stored
        });
        all.push((writer, reader));
    }
    let mut behind = Vec::new();
    for (writer, reader) in all {
        let stored = a.runtime.block_on(writer).expect("no writer panics");
        let seen = b.runtime.block_on(reader).expect("no reader panics");
        assert_eq!(seen.len(), stored.len(), "no event is lost");
        behind.extend(seen.iter().zip(stored).map(|(at, by)| at.saturating_duration_since(by)));
    }
    let took = began.elapsed().as_secs_f64();
    percentiles(name, behind, [30, 80].map(Duration::from_millis));
    let counts = database.counts();
    println!(
        "   {:.1} reads per second and reader, {:.1} NOTIFY per second",
        counts.of("select q.* from") / took / 8.0,
        database.notifications() / took
    );
    counts.print(took, "second");
    a.close();
    b.close();
}

/// A run that says something when it is told to, and ends when nobody tells it any more.
fn talker(on: &Ours) -> ((mpsc::UnboundedSender<oneshot::Sender<()>>, RunRef), quell::RunId) {
    let (says, mut told) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let body = async move |ctx: RunContext| {
        while let Some(done) = told.recv().await {
            ctx.emit(Payload::from("a word"));
            let _ = done.send(());
        }
        Ok::<_, Failure>(())
    };
    let run = on.runtime.block_on(on.engine.submit_durably(RunSpec::agent("talker"), body));
    let run = run.expect("it is stored").into_ref();
    let id = run.id();
    ((says, run), id)
}
