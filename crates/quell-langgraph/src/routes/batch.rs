//! [`create`]: makes several stateless runs (contract, section 5).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use futures::future::try_join_all;
use futures::{StreamExt as _, stream};
use quell::{CancelRequest, IdempotencyKey, Payload, RunRef};
use quell_http::{Batch, RunView, StartError, View, Wait, idempotency_key, offload_if_large};

use crate::app::{
    App, CreateRequest, Created, Found, check_asked, check_goto, in_list, made_in_list, once,
    to_the_end,
};
use crate::routes::body::{Read, read_list};
use crate::routes::caller::Writer;
use crate::routes::response::{json, rendered};
use crate::wire::create::Create;
use crate::wire::exact::Keys;
use crate::wire::refusal::Refusal;
use crate::wire::rows::LARGE_KEYS;

pub(super) async fn create(
    State(app): State<App>,
    Writer(view): Writer,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Read { keys: items, _upload: upload, .. } = read_list(&view, &headers, body).await?;
    if !(1..=RUNS_MAX).contains(&items.len()) {
        return Err(Refusal::invalid(format!("body: must be a list of 1 to {RUNS_MAX} runs")));
    }
    // All are looked at before the first one is made.
    let mut asked = Vec::new();
    for (nth, item) in items.iter().enumerate() {
        asked.push(read(&app, &view, nth, item).await?);
    }
    let key = idempotency_key(&headers).map_err(|error| Refusal::invalid(error.to_string()))?;
    let turn = match key {
        Some(key) => {
            let owner = view.principal().owner().map(Arc::clone);
            let here = app.batches().turn((owner, key.to_owned())).await;
            Some((here, app.turn_of_nodes(view.principal().owner(), key).await?))
        }
        None => None,
    };
    // One that only waits for its turn has made nothing: a server that ends does not wait for it.
    let unavailable = || Refusal::from(StartError::Unavailable);
    let batch = view.service().begin_batch().ok_or_else(unavailable)?;
    // The key is that of all of them: each is known by what the whole batch says.
    let body = match key {
        Some(key) => Some(digest(key.to_owned(), items).await?),
        None => None,
    };
    let (maker, seen) = (app.clone(), view.clone());
    let made = to_the_end(async move {
        let _held = (turn, upload);
        let mut made = Vec::new();
        let of = (uri.path(), &headers, body);
        let all = make((&maker, &batch), &seen, asked, of, &mut made).await;
        match all {
            Ok(()) => Ok(made),
            Err(why) => Err(refused((&maker, &batch), &seen, (&made, body.is_some()), why).await),
        }
    })
    .await?;
    let weight = made.iter().map(|created| created.tracked().weight).sum();
    let (seen, all) = (view.clone(), made.clone());
    let all =
        rendered(&view, weight, move || all.iter().map(|it| whole(&seen, it)).collect::<Vec<_>>());
    let small = |created| shown(&view, created, |key| !LARGE_KEYS.contains(&key));
    // They are made, so the answer is never a refusal: that would mean that nothing started.
    let answer = all.await.unwrap_or_else(|_| json(&made.iter().map(small).collect::<Vec<_>>()));
    let heard = made.iter().map(async |created| {
        let Some(run) = created.run().live().cloned() else { return Ok(()) };
        let heard = app.heard(&run).await;
        if matches!(created, Created::Here(_)) { Ok(()) } else { heard }
    });
    try_join_all(heard).await?;
    Ok(answer)
}

/// Yields what a batch says, in short.
async fn digest(key: String, items: Vec<Payload>) -> Result<[u8; 32], Refusal> {
    let bytes = items.iter().map(Payload::len).sum();
    let work = async move {
        IdempotencyKey::new(&*key, items.iter().map(|item| item.as_json().as_bytes())).payload()
    };
    Ok(offload_if_large(bytes, work).await?)
}

/// Makes all of them, as far as that goes.
async fn make(
    (app, batch): (&App, &Batch),
    view: &View,
    asked: Vec<Create>,
    (path, headers, body): (&str, &HeaderMap, Option<[u8; 32]>),
    made: &mut Vec<Created>,
) -> Result<(), Refusal> {
    let body = body.as_ref().map_or(&[][..], |body| &body[..]);
    for (nth, create) in asked.into_iter().enumerate() {
        if batch.is_to_end() {
            return Err(StartError::Unavailable.into());
        }
        let (thread, nth) = (None, Some(nth));
        let request = CreateRequest { thread, create, path, body, headers, nth };
        match app.create(view, request).await? {
            // What is taken back never runs; its key is free when nothing of it executes.
            Created::Again(found) if found.run.is_rolled_back() => return Err(gone()),
            created => made.push(created),
        }
    }
    // Somebody may have taken those back that an earlier request has made.
    let key_of = |nth| once(headers, (path, body), Some(nth));
    if any_taken_back(app, view, made, key_of).await? { Err(gone()) } else { Ok(()) }
}

/// Reads one of them.
async fn read(app: &App, view: &View, nth: usize, item: &Payload) -> Result<Create, Refusal> {
    let named =
        |refusal: Refusal| Refusal::new(refusal.status, format!("{nth}.{}", refusal.detail));
    let keys: Keys =
        item.parse().map_err(|_| Refusal::invalid(format!("{nth}: must be an object")))?;
    let create = Create::read(&keys).map_err(named)?;
    app.check_webhook(&create).map_err(named)?;
    let (graph, _) = app.graph_of_run(view, &create.assistant).await.map_err(named)?;
    check_goto(&graph, &create.nodes.goto).map_err(named)?;
    check_asked(&graph, &create).await.map_err(named)?;
    // Its thread is made for it, and has none.
    if let Some(checkpoint) = create.nodes.checkpoint {
        return Err(named(Refusal::missing(format!("Checkpoint {checkpoint} not found"))));
    }
    if create.resume.is_some() {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, NO_THREAD));
    }
    Ok(create)
}

/// Tells whether one of those that the same request had made before is taken back by now. One that
/// has ended may be gone: its key stays, and that of one that is taken back does not.
async fn any_taken_back(
    app: &App,
    view: &View,
    made: &[Created],
    once: impl Fn(usize) -> Result<Option<IdempotencyKey>, Refusal>,
) -> Result<bool, Refusal> {
    for (nth, created) in made.iter().enumerate() {
        let is_back = match created {
            Created::Here(_) => false,
            Created::Again(found) => found.run.is_rolled_back(),
            Created::There(_) => match view.find_by_id(created.run().id()).await? {
                Some(run) => run.is_rolled_back(),
                None => !app.is_key_kept(view, once(nth)?.as_ref()).await?,
            },
        };
        if is_back {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes those back that were made before one that was refused, and says why that was. What the
/// same request made before was answered to it then. With a key what has ended by itself stays, as
/// nothing takes back what it has done: a repeat is answered with it.
async fn refused(
    (app, batch): (&App, &Batch),
    view: &View,
    (made, is_keyed): (&[Created], bool),
    why: Refusal,
) -> Refusal {
    let stays = |created: &Created| is_keyed && created.run().status().is_terminal();
    let is_new = |created: &&Created| matches!(created, Created::Here(_)) && !stays(created);
    let new: Vec<_> = made.iter().filter(is_new).cloned().collect();
    // Nobody was told of them, nor is: a repeat makes all of them.
    for created in &new {
        created.tracked().is_deleted.store(true, Ordering::SeqCst);
    }
    let runs: Vec<RunView> = new.iter().map(Created::run).collect();
    runs.iter().filter_map(RunView::live).for_each(RunRef::free_key_at_rollback);
    let request = CancelRequest::because("a run of its batch was refused").rollback();
    // The other runs of a process that ends wait for them.
    let request = if batch.is_to_end() { request.abort() } else { request };
    view.cancel_all(&runs, request, Wait::terminal()).await;
    let has_ended = |created: &Created| is_keyed && !created.run().is_rolled_back();
    let (ended, back): (Vec<_>, Vec<_>) = new.into_iter().partition(has_ended);
    // Just before: they stay as well.
    for created in ended {
        created.tracked().is_deleted.store(false, Ordering::SeqCst);
    }
    let back = back.into_iter();
    let all: Vec<_> = back.map(|created| leave(app.clone(), view.clone(), created)).collect();
    stream::iter(all).buffer_unordered(AT_ONCE).collect::<()>().await;
    why
}

/// Has nothing be left of one that is taken back: its thread is deleted that was made for it, or
/// the run, if it had ended before: by itself, or because somebody has stopped it, as a shutdown
/// does.
async fn leave(app: App, view: View, created: Created) {
    let Created::Here(Found { run, thread: Some(thread), .. }) = created else { return };
    let left = if !thread.is_temporary {
        app.delete_thread(&view, thread.id).await
    } else if !run.is_rolled_back() {
        app.delete_run(&view, thread.id, run.id().as_uuid()).await
    } else {
        return;
    };
    // One that is gone by now is not left either.
    if let Err(refusal) = left
        && refusal.status != StatusCode::NOT_FOUND
    {
        tracing::warn!(run.uuid = %run.id(), why = %refusal.detail, "a refused run is left");
    }
}

fn whole(view: &View, created: &Created) -> Payload {
    shown(view, created, |_| true)
}

fn shown(view: &View, created: &Created, is_shown: impl Fn(&str) -> bool) -> Payload {
    match created {
        Created::Here(found) => made_in_list(view, found, is_shown),
        Created::Again(found) => in_list(view, found, is_shown),
        Created::There(stored) => stored.in_list(view, is_shown),
    }
}

/// Runs that leave at once.
const AT_ONCE: usize = 16;

/// The most runs of a batch.
const RUNS_MAX: usize = 1_000;

fn gone() -> Refusal {
    Refusal::new(StatusCode::CONFLICT, GONE)
}

const GONE: &str = "A run of this Idempotency-Key is being taken back. Try again later.";

const NO_THREAD: &str = "You must provide a thread_id when resuming.";
