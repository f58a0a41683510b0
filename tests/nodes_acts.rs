//! Several engines on one store: pauses, answers and new limits of runs that another one has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quell::store::RunRecord;
use quell::testing::cluster::{Nodes, Trouble};
use quell::{
    AskError, CauseKind, Engine, Failure, LimitsOutcome, NewLimits, Pause, PauseError, Recovery,
    ResumeError, RunContext, RunId, RunRef, RunSpec, RunStatus, Shutdown,
};

use crate::support::{
    Fault, Shaky, clerk, listener, ms, secs, slow, soon, started, started_as, stop, within,
};

/// Asks once, and says what it was answered.
async fn asks(ctx: RunContext) -> Result<(), Failure> {
    let answer = ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"))?;
    ctx.set_output(answer);
    Ok(())
}

struct Two {
    nodes: Nodes,
    node_a: Arc<Shaky>,
    a: Engine,
    b: Engine,
}

fn two() -> Two {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    Two { nodes, node_a, a, b }
}

/// A run of the engine that asks, and is stored so.
async fn asking(engine: &Engine) -> RunRef {
    let run = engine.submit_resumable_durably(clerk(), asks).await.unwrap().into_ref();
    within("it asks", run.paused()).await;
    run.stored().await.unwrap();
    run
}

/// Nothing has changed of a run that asks, and nothing does.
async fn stays_paused(run: &RunRef) {
    tokio::time::sleep(secs(30)).await;
    assert_eq!((run.status(), run.attempt()), (RunStatus::Paused, 1));
}

fn again(_: &RunRecord) -> Recovery {
    Recovery::resumable(clerk(), asks)
}

fn not_decided<T, E>(answer: &Result<T, AskError<E>>) -> bool {
    matches!(answer, Err(AskError::NotDecided { owner }) if owner.starts_with('a'))
}

#[tokio::test(start_paused = true)]
async fn t6_an_answer_through_another_node_is_taken_by_the_one_that_has_the_run() {
    let Two { nodes, node_a, a, b } = two();
    let run = asking(&a).await;
    let other = b.resume_anywhere(run.id(), Some(7), "no").await;
    let wrong = ResumeError::OtherAttempt { answered: 7, asks: 1 };
    assert_eq!(other, Err(AskError::Refused(wrong)));
    node_a.set(Fault::AppendLate(ms(300)));
    b.resume_anywhere(run.id(), Some(1), "yes").await.unwrap();
    let stored = nodes.read(run.id()).await.unwrap();
    assert_eq!(stored.attempt, 2, "it is stored by then");
    let report = within("it goes on", run.ended()).await;
    assert_eq!(report.output, Some("yes".into()));
    run.stored().await.unwrap();
    let over = b.resume_anywhere(run.id(), None, "yes").await;
    let over_now = ResumeError::NotPaused(RunStatus::Completed);
    assert_eq!(over, Err(AskError::Refused(over_now)));
    let nobodys = b.resume_anywhere(RunId::from_text("nobody's"), None, "yes").await;
    assert_eq!(nobodys, Err(AskError::Unknown));
    let busy = started(&a, RunSpec::agent("busy")).await;
    let busy = b.resume_anywhere(busy.id(), None, "yes").await;
    assert_eq!(busy, Err(AskError::Refused(ResumeError::NotPaused(RunStatus::Running))));
    let near = asking(&b).await;
    b.resume_anywhere(near.id(), None, "near").await.unwrap();
    assert_eq!(within("it goes on", near.ended()).await.output, Some("near".into()));
}

#[tokio::test(start_paused = true)]
async fn t5_a_pause_through_another_node_takes_hold_at_the_next_checkpoint() {
    let Two { a, b, .. } = two();
    let body = async |ctx: RunContext| {
        if ctx.resumed_with().is_some() {
            return Ok(());
        }
        loop {
            ctx.checkpoint()?;
            tokio::time::sleep(ms(5)).await;
        }
    };
    let run = a.submit_resumable_durably(RunSpec::agent("loops"), body).await.unwrap();
    let run = run.into_ref();
    soon("it runs", || run.status() == RunStatus::Running).await;
    run.stored().await.unwrap();
    let pause = Pause::new("wait").expires_in(secs(60));
    b.pause_anywhere(run.id(), pause).await.unwrap();
    assert_eq!(within("it pauses", run.paused()).await, Some("wait".into()));
    let state = run.pause_state().unwrap();
    assert_eq!(state.expires_at, Some(state.paused_at + secs(60)));
    b.resume_anywhere(run.id(), None, 1_i64).await.unwrap();
    assert_eq!(within("it ends", run.ended()).await.status, RunStatus::Completed);
    let plain = started(&a, RunSpec::agent("plain")).await;
    let refused = b.pause_anywhere(plain.id(), "wait").await;
    assert_eq!(refused, Err(AskError::Refused(PauseError::NotResumable)));
    plain.cancel(stop());
    plain.ended().await;
    plain.stored().await.unwrap();
    let refused = b.pause_anywhere(plain.id(), "wait").await;
    assert_eq!(refused, Err(AskError::Refused(PauseError::Over(RunStatus::Cancelled))));
}

#[tokio::test(start_paused = true)]
async fn i10_new_limits_through_another_node_hold() {
    let Two { a, b, .. } = two();
    let run = started(&a, RunSpec::agent("far").timeout(secs(3_600))).await;
    let shorter = NewLimits::new().timeout(secs(600));
    let outcome = b.set_limits_anywhere(run.id(), shorter).await.unwrap();
    let deadline = tokio::time::Instant::now().into_std() + secs(600);
    let LimitsOutcome::Changed { deadline: Some(told) } = outcome else { panic!("{outcome:?}") };
    assert!(told <= deadline && told + secs(2) > deadline);
    let zero = NewLimits::new().timeout(ms(0));
    let outcome = b.set_limits_anywhere(run.id(), zero).await.unwrap();
    assert!(matches!(outcome, LimitsOutcome::Exceeded { .. }), "{outcome:?}");
    let report = within("it ends", run.ended()).await;
    assert_eq!(report.status, RunStatus::TimedOut);
    assert_eq!(report.cause.as_ref().unwrap().kind, CauseKind::Deadline);
    run.stored().await.unwrap();
    let over = b.set_limits_anywhere(run.id(), zero).await.unwrap();
    assert_eq!(over, LimitsOutcome::AlreadyTerminal { status: RunStatus::TimedOut });
    let nobodys = b.set_limits_anywhere(RunId::from_text("nobody's"), zero).await;
    assert_eq!(nobodys, Err(AskError::Unknown));
}

#[tokio::test(start_paused = true)]
async fn what_a_silent_node_has_not_taken_in_time_is_never_carried_out() {
    let Two { node_a, a, b, .. } = two();
    let run = asking(&a).await;
    node_a.trouble(Trouble::All);
    let (early, late) = (b.resume_anywhere(run.id(), None, "yes"), async {
        // It hears again in the moment in which nobody waits any more.
        tokio::time::sleep(ms(1_001)).await;
        node_a.trouble(Trouble::None);
    });
    let (answer, ()) = tokio::join!(early, late);
    assert!(not_decided(&answer), "{answer:?}");
    stays_paused(&run).await;
    // It has read it, and takes it too late.
    node_a.set(Fault::TakesLate(ms(1_500)));
    let answer = b.resume_anywhere(run.id(), None, "yes").await;
    assert!(not_decided(&answer), "{answer:?}");
    stays_paused(&run).await;
    let outcome = b.set_limits_anywhere(run.id(), NewLimits::new().timeout(ms(0))).await;
    assert!(not_decided(&outcome), "{outcome:?}");
    stays_paused(&run).await;
    // The client does not wait for the answer, and its node does not withdraw it.
    node_a.set(Fault::TakesLate(ms(2_500)));
    let gone = tokio::time::timeout(ms(100), b.resume_anywhere(run.id(), None, "yes")).await;
    assert!(gone.is_err());
    stays_paused(&run).await;
    node_a.set(Fault::None);
    b.resume_anywhere(run.id(), None, "yes").await.unwrap();
    assert_eq!(within("it goes on", run.ended()).await.output, Some("yes".into()));
}

#[tokio::test(start_paused = true)]
async fn what_a_node_has_taken_and_not_answered_is_told_to_be_not_known() {
    let Two { nodes, node_a, a, b } = two();
    let run = asking(&a).await;
    node_a.set(Fault::AnswersHang);
    let answer = b.resume_anywhere(run.id(), None, "yes").await;
    assert!(matches!(answer, Err(AskError::NotKnown { .. })), "{answer:?}");
    assert_eq!(within("it goes on", run.ended()).await.output, Some("yes".into()));
    assert_eq!(nodes.read(run.id()).await.unwrap().attempt, 2, "the run tells");
}

/// Counts attempts, of which each one asks.
async fn asks_again(counted: &Arc<AtomicUsize>, engine: &Engine) -> RunRef {
    let counted = Arc::clone(counted);
    let body = move |ctx: RunContext| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Err::<(), _>(ctx.pause("may I?")) }
    };
    let run = engine.submit_resumable_durably(clerk(), body).await.unwrap().into_ref();
    within("it asks", run.paused()).await;
    run.stored().await.unwrap();
    run
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_given_once_whatever_is_lost_on_the_way() {
    for fault in [Fault::AnswerFails, Fault::TakeUnanswered] {
        let Two { node_a, a, b, .. } = two();
        let attempts = Arc::default();
        let run = asks_again(&attempts, &a).await;
        node_a.set(fault.clone());
        // It would be taken again, since the next attempt asks as well.
        b.resume_anywhere(run.id(), None, "yes").await.unwrap();
        tokio::time::sleep(secs(30)).await;
        assert_eq!((attempts.load(Ordering::SeqCst), run.attempt()), (2, 2), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn i34_an_answer_that_is_acknowledged_outlives_the_node_that_has_taken_it() {
    let Two { node_a, a, b, .. } = two();
    let body = async |ctx: RunContext| {
        ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"))?;
        ctx.stopped().await;
        Ok(())
    };
    let run = a.submit_resumable_durably(clerk(), body).await.unwrap().into_ref();
    within("it asks", run.paused()).await;
    run.stored().await.unwrap();
    node_a.set(Fault::AppendLate(ms(300)));
    b.resume_anywhere(run.id(), Some(1), "yes").await.unwrap();
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    let taken = b.take_over(again).await.unwrap().unwrap();
    let resumed = &taken.recovered.resumed;
    assert_eq!((resumed.len(), taken.recovered.paused.len()), (1, 0), "it has its answer");
    let report = within("it goes on", b.get(run.id()).unwrap().ended()).await;
    assert_eq!(report.output, Some("yes".into()));
}

#[tokio::test(start_paused = true)]
async fn what_a_node_has_not_taken_its_successor_does_not_take_either() {
    let Two { node_a, a, b, nodes } = two();
    let c = Shaky::join(&nodes, "c").engine();
    let run = asking(&a).await;
    node_a.trouble(Trouble::All);
    tokio::time::sleep(ms(14_500)).await;
    let (answer, ()) = tokio::join!(b.resume_anywhere(run.id(), None, "yes"), async {
        tokio::time::sleep(ms(600)).await;
        let taken = c.take_over(again).await.unwrap().unwrap();
        assert_eq!(taken.recovered.paused.len(), 1);
    });
    assert!(not_decided(&answer), "{answer:?}");
    let successor = c.get(run.id()).unwrap();
    stays_paused(&successor).await;
    b.resume_anywhere(run.id(), None, "yes").await.unwrap();
    assert_eq!(within("it goes on", successor.ended()).await.output, Some("yes".into()));
}

#[tokio::test(start_paused = true)]
async fn i38_a_node_that_ends_takes_no_answer() {
    let Two { a, b, .. } = two();
    let run = asking(&a).await;
    let busy = started_as(&a, RunSpec::agent("slow"), slow).await;
    let down = tokio::spawn(async move { a.shutdown(secs(5)).await });
    soon("it stops", || busy.status() == RunStatus::Stopping).await;
    let answer = b.resume_anywhere(run.id(), None, "yes").await;
    assert!(not_decided(&answer), "{answer:?}");
    within("down", down).await.unwrap();
    let taken = b.take_over(again).await.unwrap().unwrap();
    assert_eq!(taken.recovered.paused.len(), 1);
    assert_eq!(taken.recovered.paused[0].attempt(), 1);
    b.shutdown(Shutdown::default()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_of_a_run_that_is_being_left_is_not_decided() {
    let Two { node_a, a, b, .. } = two();
    let run = asking(&a).await;
    let busy = started_as(&a, RunSpec::agent("slow"), slow).await;
    // It has read what it is asked, and takes it when the run is left.
    node_a.set(Fault::TakesLate(ms(300)));
    let engine = a.clone();
    let down = tokio::spawn(async move {
        tokio::time::sleep(ms(100)).await;
        engine.shutdown(secs(5)).await
    });
    let zero = NewLimits::new().timeout(ms(0));
    let (paused, resumed, limited) = tokio::join!(
        b.pause_anywhere(run.id(), "wait"),
        b.resume_anywhere(run.id(), None, "yes"),
        b.set_limits_anywhere(run.id(), zero),
    );
    assert!(not_decided(&paused), "{paused:?}");
    assert!(not_decided(&resumed), "{resumed:?}");
    assert!(not_decided(&limited), "{limited:?}");
    assert_eq!(busy.status(), RunStatus::Stopping, "it drains still");
    // Neither does it say that the run has ended when it was left before.
    let paused = b.pause_anywhere(run.id(), "wait").await;
    assert!(not_decided(&paused), "{paused:?}");
    within("down", down).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn acts_that_wait_are_bounded_and_hold_up_no_stop() {
    let Two { node_a, a, b, .. } = two();
    let (run, busy) = (asking(&a).await, started_as(&a, RunSpec::agent("far"), listener).await);
    node_a.set(Fault::TakesLate(secs(60)));
    let asks =
        (0..2 * quell::limits::ASKED_ACTS_MAX).map(|_| b.resume_anywhere(run.id(), None, "yes"));
    let (answers, stopped) = tokio::join!(futures::future::join_all(asks), async {
        tokio::time::sleep(ms(10)).await;
        b.cancel_anywhere(busy.id(), stop()).await.unwrap()
    });
    assert!(answers.iter().all(not_decided));
    assert!(matches!(stopped, quell::Disposition::Accepted { .. }), "{stopped:?}");
    stays_paused(&run).await;
}
