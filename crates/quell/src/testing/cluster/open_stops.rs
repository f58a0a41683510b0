//! [`open_stops`]: what the store of all nodes knows of stops beside the runs that are stopping.

use std::sync::Arc;

use quell_core::cluster::OpenStops;
use quell_core::store::{Page, RunRecord, Store as _, StoreError};
use quell_core::{RunFilter, limits};

use crate::testing::cluster::node::Node;

/// Reads what was asked for and not answered, and the roots that were stopped, have ended, and are
/// not quiescent: of trees of this owner, or of all.
pub(super) async fn open_stops(
    on: &Node,
    owner: Option<Arc<str>>,
) -> Result<OpenStops, StoreError> {
    let shared = on.reach()?;
    let mut open = OpenStops::default();
    {
        let table = shared.table.lock();
        let of_owner = |of: &Option<Arc<str>>| owner.is_none() || *of == owner;
        for asked in table.stops.values().filter(|it| it.answer.is_none() && of_owner(&it.of)) {
            let is_there = shared.store.accepted_at(asked.stop.run)?;
            if is_there.is_some_and(|at| asked.stop.means(at)) {
                open.asked.push(asked.stop.clone());
            }
        }
    }
    let (mut filter, mut page) = (RunFilter::new().roots(), Page::first(limits::STORE_PAGE_MAX));
    if let Some(owner) = &owner {
        filter = filter.owner(&**owner);
    }
    loop {
        let read = shared.store.list(filter.clone(), page).await?;
        let left = read.items.iter().flatten().filter(|record| is_left(record));
        open.left.extend(left.map(RunRecord::run));
        let Some(next) = read.next else { break };
        page = Page::first(limits::STORE_PAGE_MAX).after(next);
    }
    // The last one came first.
    open.left.reverse();
    open.more = open.asked.len().max(open.left.len()) > limits::STORE_PAGE_MAX;
    open.asked.truncate(limits::STORE_PAGE_MAX);
    open.left.truncate(limits::STORE_PAGE_MAX);
    Ok(open)
}

fn is_left(record: &RunRecord) -> bool {
    record.status.is_terminal() && !record.quiescent && record.stop.is_some()
}
