//! Work that does not end with the process.

use quell_core::store::{Epoch, Record, RunRecord, Store, StoreError, StoredHold};
use quell_core::{RunFilter, RunStatus, Work};

use super::fixture::{
    Verdict, accept, child, end, ended, first_epoch, forget, id, recovered, refused, same, start,
    stored, there,
};

fn began(nth: usize, epoch: Epoch, nr: u32, (what, name): (Work, &str)) -> Record {
    Record::HoldBegan { run: id(nth), epoch, hold: StoredHold::new(nr, what, name.into()) }
}

fn over(nth: usize, epoch: Epoch, nr: u32) -> Record {
    Record::HoldEnded { run: id(nth), epoch, nr }
}

fn names(run: &RunRecord) -> Vec<(u32, Work, String)> {
    run.holds.iter().map(|hold| (hold.nr, hold.what, hold.name.to_string())).collect()
}

const PROGRAM: (Work, &str) = (Work::Process, "make \0 \u{1f600}'\"");
const SERVICE: (Work, &str) = (Work::Remote, "https://service");

pub(super) async fn read_back(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 1), start(1, epoch), accept(store, 2)]).await?;
    same(
        "what is open of a run that has begun nothing",
        &there(store, id(1)).await?.holds,
        &vec![],
    )?;
    stored(store, vec![began(1, epoch, 0, PROGRAM)]).await?;
    stored(store, vec![began(1, epoch, 7, SERVICE), began(2, epoch, 0, SERVICE)]).await?;
    let (program, service) = ((0, PROGRAM.0, PROGRAM.1.into()), (7, SERVICE.0, SERVICE.1.into()));
    let both = vec![program, service.clone()];
    same("what is open", &names(&there(store, id(1)).await?), &both)?;
    same("its status", &there(store, id(1)).await?.status, &RunStatus::Running)?;
    let left = recovered(store).await?;
    let left = left.iter().find(|run| run.run() == id(1)).map(names);
    same("what is open of what is recovered", &left, &Some(both.clone()))?;
    let listed = store.list(RunFilter::new(), quell_core::store::Page::first(9)).await;
    let listed = super::fixture::readable(listed.map_err(|error| error.to_string())?.items)?;
    let listed = listed.iter().find(|run| run.run() == id(1)).map(names);
    same("what is open of what is listed", &listed, &Some(both.clone()))?;
    // An append that has failed may be stored nevertheless, and comes again.
    stored(store, vec![began(1, epoch, 7, SERVICE), over(1, epoch, 9)]).await?;
    same("what is open after what says nothing new", &names(&there(store, id(1)).await?), &both)?;
    stored(store, vec![over(1, epoch, 0)]).await?;
    same("what is open then", &names(&there(store, id(1)).await?), &vec![service])?;
    stored(store, vec![over(1, epoch, 7), began(1, epoch, 7, PROGRAM)]).await?;
    let anew = vec![(7, PROGRAM.0, PROGRAM.1.into())];
    same("what took a number anew", &names(&there(store, id(1)).await?), &anew)?;
    let unknown = StoreError::Unknown { run: id(3) };
    refused(store, vec![began(3, epoch, 0, PROGRAM)], &unknown).await?;
    refused(store, vec![over(3, epoch, 0)], &unknown).await
}

pub(super) async fn of_ended(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 1), start(1, epoch), child(store, 2, 1)]).await?;
    let both = vec![began(1, epoch, 0, PROGRAM), began(2, epoch, 0, SERVICE)];
    stored(store, both).await?;
    stored(store, vec![ended(2, epoch, RunStatus::Failed), end(1, epoch)]).await?;
    let read = there(store, id(1)).await?;
    same(
        "how many are open at the end",
        &(read.holds.len(), read.status.is_terminal()),
        &(1, true),
    )?;
    let late = vec![began(1, epoch, 1, SERVICE)];
    refused(store, late, &StoreError::Ended { run: id(1) }).await?;
    stored(store, vec![over(1, epoch, 0)]).await?;
    same("how many are open later", &there(store, id(1)).await?.holds.len(), &0)?;
    // The second one still is.
    stored(store, vec![forget(1, epoch)]).await?;
    same("what was below", &store.get(id(2)).await, &Ok(None))?;
    stored(store, vec![accept(store, 2)]).await?;
    same("what is open of a run that comes again", &there(store, id(2)).await?.holds, &vec![])
}

pub(super) async fn taken_over(store: &dyn Store) -> Verdict {
    let (first, next) = (first_epoch(store), Epoch::new(store.boot() + 1, 1));
    stored(store, vec![accept(store, 1), start(1, first), began(1, first, 0, PROGRAM)]).await?;
    stored(store, vec![start(1, next)]).await?;
    let fenced = StoreError::Fenced { run: id(1), epoch: first, current: next };
    refused(store, vec![began(1, first, 1, SERVICE)], &fenced).await?;
    refused(store, vec![over(1, first, 0)], &fenced).await?;
    same("what an earlier attempt has left", &there(store, id(1)).await?.holds.len(), &1)?;
    stored(store, vec![over(1, next, 0)]).await?;
    same("what is open", &there(store, id(1)).await?.holds, &vec![])
}
