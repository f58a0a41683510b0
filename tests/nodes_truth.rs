//! I40: several engines on one store, of which one has a run: whichever is asked shows the same of
//! it, before and after a stop through another one, and after a take-over.

use std::sync::Arc;

use quell::store::{Page, RunRecord};
use quell::testing::cluster::{Nodes, Trouble};
use quell::{
    CancelRequest, Disposition, Engine, EngineConfig, Failure, Recovery, RunContext, RunFilter,
    RunId, RunRow, RunSpec, RunStatus,
};
use tokio::sync::Notify;

use crate::support::{Fault, Shaky, listener, ms, secs, soon, started, started_as, within};

fn stop() -> CancelRequest {
    CancelRequest::because("enough").by("ada").grace(secs(5))
}

/// Has a member, and hands over what it has when it is let go after a stop.
async fn leads(ctx: RunContext, goes: Arc<Notify>) -> Result<(), Failure> {
    let member = ctx.spawn(RunSpec::agent("member"), listener);
    ctx.stopped().await;
    goes.notified().await;
    ctx.set_output("a half".into());
    let _ = member.await;
    Ok(())
}

/// Reads a run on each of the engines, alone and in a list, and fails if they differ.
async fn read(engines: &[&Engine], run: RunId) -> RunRecord {
    let mut seen: Option<RunRecord> = None;
    for engine in engines {
        let record = engine.stored_run(run).await.unwrap().unwrap();
        let all = engine.stored_runs(RunFilter::new(), Page::first(9)).await.unwrap().items;
        let listed = all.into_iter().map(Result::unwrap).find(|it| it.accepted.run == run);
        assert_eq!(
            listed.map(|it| (it.status, it.report)),
            Some((record.status, record.report.clone()))
        );
        if let Some(before) = &seen {
            assert_eq!(before.status, record.status);
            assert_eq!(before.report, record.report);
        }
        seen = Some(record);
    }
    seen.unwrap()
}

/// Fails unless all engines show of a run what the one knows that has it.
async fn assert_as(engines: &[&Engine], row: &RunRow) {
    let record = read(engines, row.run).await;
    assert_eq!(record.status, row.status);
    if let Some(report) = record.report {
        let told = report.own_row();
        assert_eq!((&told.name, told.status, &told.cause), (&row.name, row.status, &row.cause));
        assert_eq!((told.quiescent, &told.abandoned), (row.quiescent, &row.abandoned));
        assert_eq!((&told.partial, &told.error), (&row.partial, &row.error));
    } else {
        assert!(!row.status.is_terminal(), "{row:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn i40_each_node_shows_of_a_run_what_the_node_knows_that_has_it() {
    let nodes = Nodes::new(secs(15));
    let [a, b, c] = ["a", "b", "c"].map(|name| Shaky::join(&nodes, name).engine());
    let (all, goes) = ([&a, &b, &c], Arc::<Notify>::default());
    let let_go = Arc::clone(&goes);
    let lead = started_as(&a, RunSpec::team("lead"), move |ctx| leads(ctx, goes)).await;
    soon("it has a member", || lead.report().rows.len() == 2).await;
    let member = lead.report().rows[1].run;
    let member = a.get(member).unwrap();
    soon("it runs", || member.status() == RunStatus::Running).await;
    member.stored().await.unwrap();
    for run in [&lead, &member] {
        assert_as(&all, &run.row()).await;
    }
    let answer = b.cancel_anywhere(lead.id(), stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
    // It was acknowledged: whoever is asked now knows of it.
    assert_eq!(read(&all, lead.id()).await.status, RunStatus::Stopping);
    for engine in all {
        let again = engine.cancel_anywhere(lead.id(), stop()).await.unwrap();
        assert!(matches!(again, Disposition::AlreadyStopping { .. }), "{again:?}");
    }
    let_go.notify_one();
    within("it ends", lead.ended()).await;
    lead.stored().await.unwrap();
    for run in [&lead, &member] {
        let row = run.row();
        assert_eq!(row.status, RunStatus::Cancelled);
        assert!(row.cause.is_some() && row.quiescent, "{row:?}");
        assert_as(&all, &row).await;
        for engine in all {
            let over = Disposition::AlreadyTerminal { status: row.status };
            assert_eq!(engine.cancel_anywhere(run.id(), stop()).await, Ok(over));
        }
    }
    let ids = [lead.id(), member.id()];
    a.forget(ids[0]).unwrap();
    tokio::time::sleep(ms(100)).await;
    for engine in all {
        for run in ids {
            assert_eq!(engine.stored_run(run).await.map(|it| it.is_some()), Ok(false));
            assert_eq!(engine.cancel_anywhere(run, stop()).await, Ok(Disposition::Unknown));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn i40_each_node_shows_of_a_run_of_a_lost_one_what_was_decided_of_it() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let [b, c] = ["b", "c"].map(|name| Shaky::join(&nodes, name).engine());
    let a = node_a.engine();
    let run = started_as(&a, RunSpec::agent("far"), listener).await;
    node_a.trouble(Trouble::All);
    let answer = b.cancel_anywhere(run.id(), stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Recorded { .. }), "{answer:?}");
    tokio::time::sleep(secs(20)).await;
    let taken = within("it is taken over", async {
        loop {
            if let Some(taken) = c.take_over(|_| Recovery::Fail).await.unwrap() {
                break taken;
            }
            tokio::time::sleep(ms(100)).await;
        }
    });
    assert_eq!(taken.await.recovered.ended.cancelled, 1);
    let record = read(&[&b, &c], run.id()).await;
    assert_eq!((record.status, record.quiescent), (RunStatus::Cancelled, false));
    let cause = record.report.unwrap().own_row().cause.clone().unwrap();
    assert_eq!(cause.by.as_deref(), Some("ada"));
    for engine in [&b, &c] {
        let over = Disposition::AlreadyTerminal { status: RunStatus::Cancelled };
        assert_eq!(engine.cancel_anywhere(run.id(), stop()).await, Ok(over));
    }
}

#[tokio::test(start_paused = true)]
async fn i34_a_stop_that_comes_to_the_store_after_its_run_has_left_it_is_no_trouble() {
    let nodes = Nodes::new(secs(15));
    let [node_a, node_b] = ["a", "b"].map(|name| Shaky::join(&nodes, name));
    let (a, b) = (node_a.engine(), node_b.engine());
    let run = started(&a, RunSpec::agent("short")).await;
    run.stored().await.unwrap();
    node_a.set(Fault::AppendLate(secs(1)));
    run.cancel(stop());
    // Its end overtakes the stop, and another node forgets it.
    while !nodes.read(run.id()).await.unwrap().quiescent {
        tokio::time::sleep(ms(1)).await;
    }
    b.forget_stored(run.id()).await.unwrap();
    assert_eq!(within("the store has answered", run.stored()).await, Ok(()));
    let report = within("down", a.shutdown(secs(0))).await;
    assert_eq!(report.unstored, 0, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_nothing_to_write_says_too_that_its_store_is_away() {
    let nodes = Nodes::new(secs(60));
    let node = nodes.join("a");
    let a = Engine::with_config(EngineConfig::new().node(Arc::clone(&node)).control_on_runtime());
    assert_eq!(a.standing().trouble, None);
    node.trouble(Trouble::All);
    soon("a renewal has failed", || a.standing().trouble.is_some()).await;
    node.trouble(Trouble::None);
    soon("it is renewed", || a.standing().trouble.is_none()).await;
    assert!(a.standing().lease_left > Some(secs(30)));
}
