//! Waiting for several children at once.
//!
//! Handles are futures, so `tokio::join!`, `select!` and `futures::stream` work too. What is here
//! adds what those cannot: telling the others to stop, and waiting until they have.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use quell_core::{CancelRequest, CauseKind};

use crate::failure::RunError;
use crate::handle::{Outcome, RunHandle};
use crate::run::RunRef;

/// Waits for every run, and yields every outcome, in order.
///
/// # Cancel safety
///
/// Not cancel safe: dropped, it drops the handles.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, Failure, Outcome, RunSpec, join};
///
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::team("pair"), async |ctx| {
///     let good = ctx.spawn(RunSpec::agent("good"), async |_| Ok(1));
///     let bad = ctx.spawn(RunSpec::agent("bad"), async |_| Err(Failure::new("no idea")));
///     Ok(join::all([good, bad]).await.into_iter().filter_map(Outcome::into_value).sum::<i32>())
/// }).unwrap();
/// assert_eq!(run.await.unwrap(), 1);
/// # });
/// ```
pub async fn all<T: Send + 'static>(
    handles: impl IntoIterator<Item = RunHandle<T>>,
) -> Vec<Outcome<T>> {
    futures::future::join_all(handles.into_iter().map(RunHandle::outcome)).await
}

/// Waits for every value; the first failure or stop asks the others to stop, with cause
/// `SiblingFailed`, and is returned when they have ended.
///
/// # Errors
///
/// Fails with the first error.
///
/// # Cancel safety
///
/// Not cancel safe: dropped, it drops the handles.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, RunSpec, join};
///
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::team("trio"), async |ctx| {
///     let members = (1..=3).map(|n| ctx.spawn(RunSpec::agent("adder"), async move |_| Ok(n)));
///     Ok(join::try_all(members.collect::<Vec<_>>()).await?.into_iter().sum::<i32>())
/// }).unwrap();
/// assert_eq!(run.await.unwrap(), 6);
/// # });
/// ```
pub async fn try_all<T: Send + 'static>(
    handles: impl IntoIterator<Item = RunHandle<T>>,
) -> Result<Vec<T>, RunError> {
    let (runs, mut ends) = indexed(handles);
    let mut values: Vec<Option<T>> = runs.iter().map(|_| None).collect();
    let mut first = None;
    while let Some((index, end)) = ends.next().await {
        match end {
            Ok(value) => values[index] = Some(value),
            Err(error) if first.is_none() => {
                let words = format!("`{}` did not complete", runs[index].name());
                stop_others(&runs, index, CauseKind::SiblingFailed, &words);
                first = Some(error);
            }
            Err(_) => {}
        }
    }
    first.map_or_else(|| Ok(values.into_iter().flatten().collect()), Err)
}

/// Waits for the first value; the others are asked to stop, with cause `RaceLost`, and it is
/// returned when they have ended.
///
/// # Errors
///
/// Fails with every error, in order of the handles, when none succeeded.
///
/// # Cancel safety
///
/// Not cancel safe: dropped, it drops the handles.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, Failure, RunSpec, join};
///
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::team("race"), async |ctx| {
///     let never = ctx.spawn(RunSpec::agent("never"), async |_| std::future::pending().await);
///     let now = ctx.spawn(RunSpec::agent("now"), async |_| Ok(7));
///     join::first_ok([never, now]).await.map_err(|_| Failure::new("nobody made it"))
/// }).unwrap();
/// assert_eq!(run.await.unwrap(), 7);
/// # });
/// ```
pub async fn first_ok<T: Send + 'static>(
    handles: impl IntoIterator<Item = RunHandle<T>>,
) -> Result<T, Vec<RunError>> {
    let (runs, mut ends) = indexed(handles);
    let mut errors: Vec<Option<RunError>> = runs.iter().map(|_| None).collect();
    let mut winner = None;
    while let Some((index, end)) = ends.next().await {
        match end {
            Ok(value) if winner.is_none() => {
                let words = format!("`{}` was first", runs[index].name());
                stop_others(&runs, index, CauseKind::RaceLost, &words);
                winner = Some(value);
            }
            Ok(_) => {}
            Err(error) => errors[index] = Some(error),
        }
    }
    winner.ok_or_else(|| errors.into_iter().flatten().collect())
}

/// The runs in order, and their ends as they come, with their places.
type Race<T> = (Vec<RunRef>, FuturesUnordered<BoxFuture<'static, (usize, Result<T, RunError>)>>);

fn indexed<T: Send + 'static>(handles: impl IntoIterator<Item = RunHandle<T>>) -> Race<T> {
    let handles: Vec<_> = handles.into_iter().collect();
    let runs = handles.iter().map(|handle| handle.run().clone()).collect();
    let ends = handles.into_iter().enumerate();
    let ends = ends.map(|(index, handle)| handle.map(move |end| (index, end)).boxed());
    (runs, ends.collect())
}

fn stop_others(runs: &[RunRef], decider: usize, kind: CauseKind, words: &str) {
    for (index, run) in runs.iter().enumerate() {
        if index != decider {
            let request = CancelRequest::because(words);
            run.cancel(request.kind(kind));
        }
    }
}
