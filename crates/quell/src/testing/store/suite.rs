//! [`check`]: runs every case on a store of its own.

use crate::store::{BoxFuture, Store};
use crate::testing::store::fixture::Verdict;
use crate::testing::store::{
    ends, epochs, facts, holds, keys, lanes, leaving, logs, pauses, reading,
};

/// Checks that a store keeps the promises of [`Store`]. `make` yields a store that is empty; it is
/// asked once for every case. Yields how many cases there were.
///
/// What outlives the process is not tried: that a store acknowledges only what is durable, its own
/// tests have to show, with processes that are killed.
///
/// # Errors
///
/// Fails with the first promise that is broken, in words.
///
/// # Cancel safety
///
/// Cancel safe: a case that was begun is given up.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use quell::store::MemoryStore;
/// use quell::testing;
///
/// assert!(testing::store::check(async || MemoryStore::new()).await.unwrap() > 20);
/// # });
/// ```
pub async fn check<S: Store>(make: impl AsyncFn() -> S) -> Result<usize, String> {
    for (promise, case) in CASES {
        let store = make().await;
        case(&store).await.map_err(|what| format!("{promise}: {what}"))?;
    }
    Ok(CASES.len())
}

type Case = for<'a> fn(&'a dyn Store) -> BoxFuture<'a, Verdict>;

/// Lists cases with the promise that each is about.
macro_rules! cases {
    ($($promise:literal => $($name:ident)::+,)*) => {
        &[$(($promise, |store| Box::pin($($name)::+(store)))),*]
    };
}

const CASES: &[(&str, Case)] = cases! {
    "what was accepted is read back" => facts::accepted_is_read_back,
    "a batch is stored completely or not at all" => facts::all_or_nothing,
    "annotations are those that were stored last, with what an epoch may write (I35)"
        => facts::annotated,
    "records of a batch take effect in their order" => facts::in_order,
    "appends that are under way at once are all stored" => facts::many_at_once,
    "a status follows the records" => facts::status_follows,
    "an empty batch stores nothing" => facts::empty_batch,
    "the first cause of a stop stays, modes rise, deadlines shrink" => facts::stops_merge,
    "stops of one run are stored in their order, and behind other epochs" => facts::stops_in_order,
    "a pause is read back with all that counts in it" => pauses::read_back,
    "an answer is read back until the next pause, also behind the end" => pauses::answered,
    "what a run shows in a pause is read back until the next one, or the end" => pauses::showing,
    "a run with a stop neither is paused nor goes on (I34)" => pauses::stopped,
    "a pause and an answer are those of an epoch (I35)" => pauses::taken_over,
    "a report is read back, and nothing changes a run that has ended" => ends::final_end,
    "a run that ended non-quiescent is quiescent later" => ends::quiesced,
    "a run that is forgotten leaves with all that is stored of it" => ends::forgotten,
    "a tree is forgotten with its root" => ends::forgotten_tree,
    "a run in the middle of a tree is forgotten with those below it" => ends::forgotten_branch,
    "a run that was detached stays when the root that it left is forgotten" => ends::detached,
    "what is forgotten may come again at once" => ends::comes_again,
    "recovery reads what is not terminal, with its stop" => ends::recovered,
    "a run that is paused is live" => pauses::live,
    "a write of a superseded epoch is refused (I35)" => epochs::fenced,
    "a higher epoch takes the run over" => epochs::taken_over,
    "work that does not end with the process is read back until it has ended" => holds::read_back,
    "what work is open is read back of a run that has ended, and leaves with it" => holds::of_ended,
    "work is that of an epoch (I35)" => holds::taken_over,
    "each event is read once, in order" => logs::once_in_order,
    "a gap stands in the place of what it replaces" => logs::gap,
    "the number of an event is taken once" => logs::taken_once,
    "of several records that are refused the first one is named" => logs::first_refused,
    "large events come in parts" => logs::in_parts,
    "a key is claimed once per owner (I37)" => keys::once_per_owner,
    "the key of a forgotten run is free after its time" => keys::free_later,
    "the states of a lane are read newest first" => lanes::newest_first,
    "a rollback takes the states of its run at once (I36)" => lanes::rollback,
    "recovery reads what was rolled back until it is forgotten (I36)" => lanes::rolled_back,
    "trees that may leave are read, the first first" => leaving::first_first,
    "a tree that is needed does not leave" => leaving::needed_stays,
    "what has left has no bytes" => leaving::bytes_fall,
    "pages stay as they are while others write" => reading::stable_pages,
    "what is asked of many runs at once is as of each" => reading::many_at_once,
    "a filter means the same as in memory" => reading::filters,
    "a page has its bounds in number and bytes" => reading::bounds,
    "what a list omits is not in it" => reading::omitted,
    "no reader sees half of a batch" => reading::never_half,
    "a store that is closed says so" => reading::closed,
};
