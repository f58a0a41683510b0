//! How many lines there are of events that are gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quell::store::StoreError;
use quell::{Failure, Payload, RunContext};
use quell_flow::{Component, Emit};
use quell_test_support::{Flow, Valve, eventually};
use serde_json::Value;
use tokio::task::yield_now;

use crate::resume::{create, numbered, of_talker, resume, small_of};
use crate::support::fresh;

/// Says as many words as its message asks for, at most so many by now, and lets others read each.
pub(crate) fn paced(allowed: Arc<AtomicUsize>) -> Component {
    Component::agent("talker", move |ctx: RunContext, input: Payload| {
        talk(ctx, input, Arc::clone(&allowed))
    })
}

async fn talk(
    ctx: RunContext,
    input: Payload,
    allowed: Arc<AtomicUsize>,
) -> Result<Payload, Failure> {
    let words: usize = input.parse::<String>()?.parse()?;
    for word in 0..words {
        while word >= allowed.load(Ordering::SeqCst) {
            yield_now().await;
        }
        Emit::content(format!("{word} ")).send(&ctx);
        // An event without a line, so that numbers of events and of lines are not alike.
        ctx.progress(0.5);
        yield_now().await;
    }
    Ok(Payload::from(Value::Null))
}

#[tokio::test]
async fn the_lines_of_a_run_are_counted_although_its_client_left_before_the_store_had_it() {
    let store = Valve::new(Flow::Shut { stops: false });
    let allowed = Arc::new(AtomicUsize::new(0));
    let site = small_of(paced(Arc::clone(&allowed)), Some(Arc::clone(&store) as _));
    let run = fresh("run");
    let client = tokio::spawn({
        let (site, run) = (site.clone(), run.clone());
        async move { create(&site, "/agents/talker", &run, "500").await }
    });
    let id = quell_http::parse_id(&run).unwrap();
    let made = eventually("it is made", || site.service.engine().get(id)).await;
    client.abort();
    assert!(client.await.is_err(), "it has had no answer");
    store.set(Flow::Open);
    made.accepted().await.unwrap();
    // The log holds 64 events: who counts them reads each before it is dropped.
    for words in (10..=500).step_by(10) {
        allowed.store(words, Ordering::SeqCst);
        let said = || quell_http::events_by_now(&made, 0).map(|event| event.last_seq()).max();
        eventually("it has said them", || said().filter(|seq| *seq >= 2 * words as u64)).await;
        made.stored().await.unwrap();
        for _ in 0..100 {
            yield_now().await;
        }
    }
    made.quiescent().await;
    made.stored().await.unwrap();
    // What the log has dropped cannot be read: the others have their numbers all the same.
    store.fail_reads(StoreError::Io { what: "trouble".into() });
    let (told, all) = (resume(&site, "/agents/talker", &run, Some(99)).await, of_talker(500));
    let kept = numbered(&told);
    assert!(kept.len() > 20 && kept.len() < 100, "{}", kept.len());
    assert_eq!(kept, all[all.len() - kept.len()..]);
    assert_eq!(told[0]["total_buffered"], all.len());
}
