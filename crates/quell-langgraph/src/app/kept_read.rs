//! [`App::all_kept`] and [`App::last_kept`]: read the things of a kind that are meant, as they are
//! now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::store::{Page, RunRecord};
use quell::{Payload, RunFilter, RunId, limits};
use quell_http::{LookupError, View};
use uuid::Uuid;

use crate::app::App;
use crate::app::gone::forget;
use crate::app::kept::{
    KIND, Kept, Kind, Noted, OF_OWNER, body_bytes, id_of, kept_in, noted_of, owned,
};
use crate::app::shelf::SHELF_MAX;
use crate::wire::refusal::Refusal;

/// What the records of a thing say that were read by now.
struct Last<T> {
    nr: u32,
    records: usize,
    there: Option<T>,
    /// The last record, if it says that the thing is deleted, and has said so for long.
    deleted: Option<RunId>,
}

impl App {
    /// Lists the things of a kind that are the caller's, or of all callers, if the caller sees all
    /// of them: those that were made or changed last, as many as are read.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn all_kept(&self, view: &View, kind: Kind) -> Result<Vec<Kept>, Refusal> {
        if !view.principal().sees_all() {
            return self.own_kept(view, kind).await;
        }
        if !self.has_records() {
            return Ok(self.shelf().list(kind, |_| true));
        }
        self.kept_of(view, kind, RunFilter::new().label(KIND, kind.name())).await
    }

    /// As [`App::all_kept`], of the things that are the caller's alone.
    ///
    /// # Errors
    ///
    /// As [`App::all_kept`].
    pub(crate) async fn own_kept(&self, view: &View, kind: Kind) -> Result<Vec<Kept>, Refusal> {
        let subject = view.principal().subject();
        if !self.has_records() {
            return Ok(self.shelf().list(kind, |owner| owner == subject));
        }
        let filter = RunFilter::new().label(OF_OWNER, owned(kind, subject));
        let mut own = self.kept_of(view, kind, filter).await?;
        own.retain(|it| it.owner.as_deref() == subject);
        Ok(own)
    }

    async fn kept_of(
        &self,
        view: &View,
        kind: Kind,
        filter: RunFilter,
    ) -> Result<Vec<Kept>, Refusal> {
        let (mut found, mut page) = (HashMap::<Uuid, (Noted, RunRecord)>::new(), Page::first(PAGE));
        let (mut bytes, mut room, mut there) = (0, None, 0);
        loop {
            let read = self.engine().stored_runs(filter.clone(), page).await;
            let read = read.map_err(|_| LookupError::Unavailable)?;
            for record in read.items.into_iter().flatten() {
                let Some((id, noted)) = id_of(kind, &record).zip(noted_of(&record)) else {
                    continue;
                };
                // The last one comes first, but for one that came late and is about to leave.
                if found.get(&id).is_some_and(|(known, _)| known.nr > noted.nr) {
                    continue;
                }
                let is_deleted = noted.is_deleted;
                bytes += body_bytes(&record);
                match found.insert(id, (noted, record)) {
                    Some((_, known)) => bytes -= body_bytes(&known),
                    None => there += usize::from(!is_deleted),
                }
            }
            // No more is read than may be under way.
            drop(room.replace(view.room_now(bytes)?));
            match read.next {
                Some(next) if there < SHELF_MAX && found.len() < LOOKED_AT_MAX => {
                    page = page.after(next);
                }
                _ => break,
            }
        }
        let there = found.into_iter().filter(|(_, (noted, _))| !noted.is_deleted);
        Ok(there.map(|(id, (noted, record))| kept_in(kind, id, noted.nr, &record)).collect())
    }

    /// Reads the things of a kind that are meant, one page after the other, and yields what is made
    /// of the body and the owner of each. Records of those that were deleted long ago leave.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn last_kept<T>(
        &self,
        kind: Kind,
        filter: RunFilter,
        of: impl Fn(Payload, Option<Arc<str>>) -> Option<T> + Send + Sync,
    ) -> Result<HashMap<Uuid, T>, LookupError> {
        self.last_kept_but(kind, filter, of, SystemTime::now() - DELETED_FOR).await
    }

    /// As [`App::last_kept`]; those leave that were deleted before an instant.
    async fn last_kept_but<T>(
        &self,
        kind: Kind,
        filter: RunFilter,
        of: impl Fn(Payload, Option<Arc<str>>) -> Option<T> + Send + Sync,
        by: SystemTime,
    ) -> Result<HashMap<Uuid, T>, LookupError> {
        let (mut found, mut page) = (HashMap::<Uuid, Last<T>>::new(), Page::first(PAGE));
        loop {
            let read = self.engine().stored_runs(filter.clone(), page).await;
            let read = read.map_err(|_| LookupError::Unavailable)?;
            for record in read.items.into_iter().flatten() {
                let ids = id_of(kind, &record).zip(noted_of(&record));
                let Some((id, noted)) = ids else { continue };
                let records = found.get(&id).map_or(0, |last| last.records) + 1;
                if let Some(last) = found.get_mut(&id).filter(|last| last.nr > noted.nr) {
                    last.records = records;
                    continue;
                }
                let accepted = record.accepted;
                let is_old = noted.is_deleted && accepted.at < by;
                let body = accepted.input.filter(|_| !noted.is_deleted);
                let there = body.and_then(|body| of(body, accepted.owner));
                let deleted = is_old.then_some(accepted.run);
                found.insert(id, Last { nr: noted.nr, records, there, deleted });
            }
            let Some(next) = read.next else { break };
            page = page.after(next);
        }
        // One that is not the only one of its thing says that those before it count no more.
        let deleted = found.values().filter(|last| last.records == 1).filter_map(|it| it.deleted);
        self.forget_deleted_things(deleted.collect());
        Ok(found.into_iter().filter_map(|(id, last)| Some((id, last.there?))).collect())
    }

    fn forget_deleted_things(&self, records: Vec<RunId>) {
        if records.is_empty() {
            return;
        }
        let engine = self.engine().clone();
        drop(tokio::spawn(async move {
            for record in records {
                if !forget(&engine, record).await {
                    // Whoever reads them next goes on.
                    return;
                }
            }
        }));
    }
}

/// Things that a list looks at, those that were deleted included.
const LOOKED_AT_MAX: usize = 10 * SHELF_MAX;

/// Records that are read at once.
const PAGE: usize = limits::STORE_PAGE_MAX;

/// How long the record stays that says that a thing is deleted: whoever knows the thing as it was
/// before finds by then that it is.
const DELETED_FOR: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use quell_test_support::within;

    use super::*;
    use crate::app::gone::tests::two;
    use crate::wire::exact::written;

    async fn until(is_so: impl AsyncFn() -> bool) {
        within("they leave", async {
            while !is_so().await {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn nothing_stays_of_what_was_deleted_long_ago() {
        let [a, b] = two();
        let (kind, all) = (Kind::Item, RunFilter::new().label(KIND, Kind::Item.name()));
        let of = |body: Payload, _| Some(body.len());
        let [gone, there] = [1, 2].map(|nr| {
            let id = Uuid::from_u128(nr);
            Kept::new(kind, id, &a.all(), written(&nr.to_string()))
        });
        assert!(a.keep(&gone).await.unwrap() && a.keep(&there).await.unwrap());
        assert!(a.keep_no_more(&gone).await.unwrap());
        let records = async || {
            let read = b.engine().stored_runs(all.clone(), Page::first(9)).await.unwrap();
            read.items.len()
        };
        until(async || records().await == 2).await;
        let read = b.last_kept(kind, all.clone(), of).await.unwrap();
        assert_eq!((read.len(), records().await), (1, 2), "it is not long ago");
        let by = SystemTime::now() + DELETED_FOR;
        let read = b.last_kept_but(kind, all.clone(), of, by).await.unwrap();
        assert!(read.contains_key(&there.id) && read.len() == 1);
        // What is in the way of one reader's try the next one takes up again.
        until(async || {
            b.last_kept_but(kind, all.clone(), of, by).await.unwrap();
            records().await == 1
        })
        .await;
    }
}
