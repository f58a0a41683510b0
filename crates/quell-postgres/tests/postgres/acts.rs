//! Acts through a member that does not have the run: taken by its owner, or withdrawn.

use std::sync::Arc;
use std::time::Duration;

use quell::{
    AskError, Engine, LimitsOutcome, NewLimits, Payload, ResumeError, RunContext, RunRef, RunSpec,
    RunStatus,
};
use quell_core::RunId;
use quell_core::cluster::{ActAnswer, Answer, Asked, Cluster as _};
use quell_core::store::Store as _;
use quell_postgres::PostgresNode;
use quell_test_support::{soon, within};

use crate::crew::{bare, engine, expire, join, live, on_threads, read};
use crate::fixture::Place;

async fn asking(engine: &Engine) -> RunRef {
    let body = async |ctx: RunContext| {
        let answer = ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"))?;
        ctx.set_output(answer);
        Ok(())
    };
    let run = engine.submit_resumable_durably(RunSpec::agent("clerk"), body).await.unwrap();
    let run = run.into_ref();
    within("it asks", run.paused()).await.unwrap();
    run.stored().await.unwrap();
    run
}

/// Asks through a member, and yields the number of the act as its owner has it, and the call.
async fn asked(
    from: &Arc<PostgresNode>,
    owner: &PostgresNode,
    run: RunId,
) -> (u64, tokio::task::JoinHandle<ActAnswer>) {
    let from = Arc::clone(from);
    let words = Payload::from_json_text(r#"{"b":1e400,"a":1}"#).unwrap();
    let call = tokio::spawn(async move { from.act(run.into(), words).await.unwrap() });
    let inbox = within("it is there", owner.inbox(Vec::new())).await.unwrap();
    let [Asked::Act { nr, run: of, words }] = &inbox[..] else { panic!("one: {inbox:?}") };
    assert_eq!((of.id(), words.as_json()), (run, r#"{"b":1e400,"a":1}"#));
    (*nr, call)
}

#[test]
fn t6_an_answer_through_another_member_is_taken_by_the_owner_and_is_stored() {
    let place = Place::shared();
    on_threads(async {
        let (node_a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let (a, b) = (engine(&node_a), engine(&node_b));
        let run = asking(&a).await;
        let other = b.resume_anywhere(run.id(), Some(7), "no").await;
        let wrong = ResumeError::OtherAttempt { answered: 7, asks: 1 };
        assert_eq!(other, Err(AskError::Refused(wrong)));
        b.resume_anywhere(run.id(), Some(1), "yes").await.unwrap();
        assert_eq!(read(&*node_b, run.id()).await.attempt, 2);
        let report = within("it goes on", run.ended()).await;
        assert_eq!(report.output, Some("yes".into()));
        run.stored().await.unwrap();
        let over = ResumeError::NotPaused(RunStatus::Completed);
        let again = b.resume_anywhere(run.id(), None, "yes").await;
        assert_eq!(again, Err(AskError::Refused(over)));
        let unknown = b.resume_anywhere(RunId::from_text("nobody's"), None, "yes").await;
        assert_eq!(unknown, Err(AskError::Unknown));
        let far = live(&a, "far").await;
        let limits = NewLimits::new().timeout(Duration::from_hours(1));
        let outcome = b.set_limits_anywhere(far.id(), limits).await.unwrap();
        assert!(matches!(outcome, LimitsOutcome::Changed { deadline: Some(_) }), "{outcome:?}");
        assert_eq!(place.sql("select count(*) from stop"), "0", "each is taken away");
        node_a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}

#[test]
fn an_act_is_taken_or_withdrawn_and_never_both() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let run = RunId::from_text("r");
        bare(&a, run).await.unwrap();
        // Withdrawn: nobody takes it any more.
        let (nr, call) = asked(&b, &a, run).await;
        let lapsed = within("it lapses", call).await.unwrap();
        assert_eq!(lapsed, ActAnswer::Lapsed { owner: "a".into() });
        assert_eq!(a.take(nr).await, Ok(false));
        // Taken: by the owner alone, once more as well, and answered once.
        let (nr, call) = asked(&b, &a, run).await;
        assert_eq!(b.take(nr).await, Ok(false));
        assert_eq!((a.take(nr).await, a.take(nr).await), (Ok(true), Ok(true)));
        b.answer(nr, Answer::Act("b".into())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        a.answer(nr, Answer::Act("a".into())).await.unwrap();
        a.answer(nr, Answer::Act("late".into())).await.unwrap();
        let said = within("it is answered", call).await.unwrap();
        assert_eq!(said, ActAnswer::Said("a".into()));
        // Taken, and not answered.
        let (nr, call) = asked(&b, &a, run).await;
        assert_eq!(a.take(nr).await, Ok(true));
        let unanswered = within("nobody waits for ever", call).await.unwrap();
        assert_eq!(unanswered, ActAnswer::Unanswered { owner: "a".into() });
        assert_eq!(a.take(nr).await, Ok(false));
        // Who asks is gone: it is taken in time, or never.
        let (nr, call) = asked(&b, &a, run).await;
        call.abort();
        let until = "until = (extract(epoch from clock_timestamp()) * 1000)::int8 - 1";
        place.sql(&format!("update stop set {until}"));
        assert_eq!(a.take(nr).await, Ok(false));
        assert_eq!(place.sql("select count(*) from stop where answer is null"), "0");
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn what_an_owner_has_taken_its_successor_does_not_carry_out() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let run = RunId::from_text("r");
        bare(&a, run).await.unwrap();
        let (nr, call) = asked(&b, &a, run).await;
        assert_eq!(a.take(nr).await, Ok(true));
        a.close().await.unwrap();
        let again = join(&place, "a").await;
        assert_eq!(again.take(nr).await, Ok(false));
        again.answer(nr, Answer::Act("again".into())).await.unwrap();
        let answer = within("it is not known", call).await.unwrap();
        assert_eq!(answer, ActAnswer::Unanswered { owner: "a".into() });
        // Nor does who takes over take what was asked of the former owner.
        let (nr, call) = asked(&b, &again, run).await;
        expire(&place, "a");
        assert_eq!(b.take_over().await.unwrap().unwrap().from, "a".into());
        assert_eq!((again.take(nr).await, b.take(nr).await), (Ok(false), Ok(false)));
        let answer = within("it lapses", call).await.unwrap();
        assert_eq!(answer, ActAnswer::Lapsed { owner: "a".into() });
        let stop = read(&*b, run).await.stop;
        assert_eq!(stop, None, "an act is no stop");
        again.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn acts_that_wait_for_one_member_are_bounded_and_hold_up_no_stop() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let run = RunId::from_text("r");
        bare(&a, run).await.unwrap();
        let fill = |count: u32, act: &str, until: i64| {
            place.sql(&format!(
                "insert into stop (ask, run, owner, channel, request, at, answer, act, until)
                select gen_random_uuid(), gen_random_uuid(), 'a', 'x', '', 1, 'act', {act},
                (extract(epoch from clock_timestamp()) * 1000)::int8 + {until}
                from generate_series(1, {count})"
            ));
        };
        // Those that are too old count no more.
        fill(200, "'{}'", -1);
        let (nr, call) = asked(&b, &a, run).await;
        assert_eq!(a.take(nr).await, Ok(true));
        a.answer(nr, Answer::Act("done".into())).await.unwrap();
        assert_eq!(within("it is", call).await.unwrap(), ActAnswer::Said("done".into()));
        let lapsed = ActAnswer::Lapsed { owner: "a".into() };
        fill(100, "'{}'", 60_000);
        assert_eq!(b.act(run.into(), "x".into()).await.unwrap(), lapsed);
        assert_eq!(a.inbox(Vec::new()).await.unwrap().len(), 100);
        place.sql("delete from stop");
        fill(2, "'\"' || repeat('x', 17000000) || '\"'", 60_000);
        assert_eq!(b.act(run.into(), "x".into()).await.unwrap(), lapsed);
        let asked = b.ask(run.into(), crate::crew::stop("ada")).await.unwrap();
        assert!(matches!(asked, quell::Disposition::Recorded { .. }), "{asked:?}");
        let inbox = a.inbox(Vec::new()).await.unwrap();
        assert!(matches!(inbox[..], [Asked::Stop(_), Asked::Act { .. }, Asked::Act { .. }]));
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn acts_that_nobody_asks_for_any_more_leave_after_a_while() {
    let place = Place::shared();
    on_threads(async {
        let (node_a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let (a, b) = (engine(&node_a), engine(&node_b));
        let run = asking(&a).await;
        place.sql(
            "insert into stop (ask, run, owner, channel, request, at, answer, act, until)
            select gen_random_uuid(), gen_random_uuid(), 'gone', 'x', '', 1, 'act', '{}', 1
            from generate_series(1, 3)",
        );
        b.resume_anywhere(run.id(), None, "yes").await.unwrap();
        soon("they leave", || place.sql("select count(*) from stop") == "0").await;
        node_a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}
