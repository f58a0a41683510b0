//! [`end_programs`]: programs of an earlier process that are known to have ended.

use std::collections::HashMap;

use quell::cluster::ForgottenWork;
use quell::store::{Page, Record, RunRecord, Store, StoreError, StoredHold};
use quell::{RunId, Work, limits};

/// Has the store keep no program of the runs that an earlier process has left behind: each of them
/// has ended, and so none is named by a report as one that may still execute. Requests to services
/// stay. What the store refuses stays as well: its run cannot be read.
///
/// Of several nodes `own` names what this one had begun: of programs that another node had begun,
/// whose run it has by now, this process knows nothing.
pub(super) async fn end_programs(
    store: &dyn Store,
    own: Option<&[ForgottenWork]>,
) -> Result<(), StoreError> {
    let own = own.map(|own| own.iter().map(|work| (work.run, &*work.holds)));
    let own: Option<HashMap<RunId, &[u32]>> = own.map(Iterator::collect);
    let is_own = |run: &RunRecord, hold: &StoredHold| {
        let names = |holds: &&[u32]| holds.contains(&hold.nr);
        own.as_ref().is_none_or(|own| own.get(&run.run()).is_some_and(names))
    };
    let mut page = Page::first(limits::STORE_PAGE_MAX);
    loop {
        let read = store.recover(page).await?;
        for run in read.items.iter().flatten() {
            let programs = run.holds.iter().filter(|hold| hold.what == Work::Process);
            let programs = programs.filter(|hold| is_own(run, hold));
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
