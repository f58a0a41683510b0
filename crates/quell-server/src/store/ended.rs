//! [`end_programs`]: programs of an earlier process that are known to have ended.

use quell::store::{Page, Record, Store, StoreError};
use quell::{Work, limits};

/// Has the store keep no program of the runs that an earlier process has left behind: each of them
/// has ended, and so none is named by a report as one that may still execute. Requests to services
/// stay, and so do the programs of a run that a node on another host had before: this process knows
/// nothing of them. What the store refuses stays as well: its run cannot be read.
pub(super) async fn end_programs(store: &dyn Store) -> Result<(), StoreError> {
    let mut page = Page::first(limits::STORE_PAGE_MAX);
    loop {
        let read = store.recover(page).await?;
        for run in read.items.iter().flatten() {
            if run.holds.iter().any(|hold| hold.what == Work::Node) {
                continue;
            }
            let programs = run.holds.iter().filter(|hold| hold.what == Work::Process);
            let ended = |nr| Record::HoldEnded { run: run.run(), epoch: run.epoch, nr };
            let ended: Vec<_> = programs.map(|hold| ended(hold.nr)).collect();
            if ended.is_empty() {
                continue;
            }
            match store.append(ended).await {
                Err(error) if !error.is_refusal() => return Err(error),
                _ => {}
            }
        }
        let Some(next) = read.next else { return Ok(()) };
        page = Page::first(limits::STORE_PAGE_MAX).after(next);
    }
}

/// Lets the next process know that nothing of those before this one is in doubt, if the store has
/// nothing left of which it could be: no run that is live, and none that was rolled back.
pub(super) async fn forget_doubt_if_none_is_left(store: &dyn Store) -> Result<(), StoreError> {
    if store.recover(Page::first(1)).await?.items.is_empty() {
        quell_process::forget_doubt();
    }
    Ok(())
}
