//! [`Kept`]: what callers have this contract keep besides threads: each thing has an id, and is
//! changed one step after the other.
//!
//! With a store each change is a record, a step that ends at once, whose id follows from the thing
//! and the number of the change: of two that come at once the store takes one. The numbers of a
//! thing only rise, also when it is deleted, which is a record without a body, and made again: so
//! no record is ever taken for another one. Without a store things are in memory.

use std::sync::Arc;

use axum::http::StatusCode;
use quell::store::{Page, RunRecord};
use quell::{Payload, RunFilter, RunId, RunSpec};
use quell_http::{LookupError, RECORD, View};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::App;
use crate::app::crons_known::Of;
use crate::app::gone::forget;
use crate::app::shelf::SHELF_MAX;
use crate::wire::exact::written;
use crate::wire::refusal::Refusal;

/// A kind of things that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Assistant,
    Item,
    Cron,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Assistant => "assistant",
            Self::Item => "item",
            Self::Cron => "cron",
        }
    }

    const fn with_article(self) -> &'static str {
        match self {
            Self::Assistant => "an assistant",
            Self::Item => "an item",
            Self::Cron => "a cron",
        }
    }

    /// Refuses one more than an owner may have.
    pub(super) fn too_many(self, most: usize) -> Refusal {
        let text = format!("Too many {}s: one owner has {most} at most", self.name());
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, text)
    }
}

/// A thing that is kept, as of its last change.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) kind: Kind,
    pub(crate) id: Uuid,
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) body: Payload,
    /// What it has of its own without a store: a later thing of this id has another one. In a store
    /// numbers tell that.
    pub(super) since: Uuid,
    pub(super) nr: u32,
}

/// What a record says besides the body, which is its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Noted {
    version: u32,
    pub(super) nr: u32,
    pub(super) is_deleted: bool,
}

impl Kept {
    /// Makes a thing that is not kept yet.
    pub(crate) fn new(kind: Kind, id: Uuid, view: &View, body: Payload) -> Self {
        let owner = view.principal().owner().cloned();
        Self { kind, id, owner, body, since: Uuid::now_v7(), nr: 0 }
    }

    /// Makes what it is after a change.
    pub(crate) fn changed(&self, body: Payload) -> Self {
        Self { body, nr: self.nr.saturating_add(1), ..self.clone() }
    }

    fn record(&self) -> RunId {
        record_of(self.kind, self.id, self.nr)
    }

    fn spec(&self, is_deleted: bool) -> RunSpec {
        let noted = Noted { version: VERSION, nr: self.nr, is_deleted };
        let owner = self.owner.as_deref();
        let spec = RunSpec::step(self.kind.name()).unlimited().input(self.body.clone());
        let spec = spec.label(RECORD, label_of(self.kind, self.id));
        let spec = spec.label(KIND, self.kind.name()).label(OF_OWNER, owned(self.kind, owner));
        let mut spec = spec.annotation(NOTED, written(&noted));
        if self.kind == Kind::Cron {
            spec = Of::all(&self.body).fold(spec, |spec, of| {
                let (name, id) = of.label();
                spec.label(name, id)
            });
        }
        owner.into_iter().fold(spec, RunSpec::owner)
    }
}

impl App {
    /// Finds a thing of a kind, whoever owns it.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn kept(&self, kind: Kind, id: Uuid) -> Result<Option<Kept>, Refusal> {
        if !self.has_records() {
            return Ok(self.shelf().get(kind, id));
        }
        Ok(current(kind, id, &self.kept_records(kind, id).await?).0)
    }

    /// Keeps a thing as it is after a change, or a new one. Tells whether nothing else has changed
    /// it before.
    ///
    /// # Errors
    ///
    /// Fails if there is no room, and if the store cannot be read or does not take it: then nothing
    /// has changed.
    pub(crate) async fn keep(&self, kept: &Kept) -> Result<bool, Refusal> {
        if kept.body.len() > KEPT_BYTES_MAX {
            let name = kept.kind.with_article();
            let text = format!("Too large: {name} has {KEPT_BYTES_MAX} bytes at most");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        if !self.has_records() {
            let charge = self.charge(kept.owner.as_ref(), kept.body.len())?;
            let most = match kept.kind {
                Kind::Item => self.options().items_owner_max,
                Kind::Assistant | Kind::Cron => SHELF_MAX,
            };
            return self.shelf().put(kept, charge, most);
        }
        let _one_at_a_time = self.shelf().turn(kept.id).await;
        let Some(kept) = self.numbered(kept).await? else { return Ok(false) };
        let Some(records) = self.write_kept(&kept, false).await? else { return Ok(false) };
        let is_before = |noted: &Noted| noted.nr + BEHIND < kept.nr;
        self.forget_soon(records.into_iter().filter(|(noted, _)| is_before(noted)));
        Ok(true)
    }

    /// Gives a new thing the number behind the deletion of the one that had its id before. Yields
    /// none if there is one of its id.
    async fn numbered(&self, kept: &Kept) -> Result<Option<Kept>, Refusal> {
        if kept.nr > 0 {
            return Ok(Some(kept.clone()));
        }
        let records = self.kept_records(kept.kind, kept.id).await?;
        let (now, deleted) = current(kept.kind, kept.id, &records);
        let behind = deleted.map_or(0, |deleted| deleted.nr.saturating_add(1));
        Ok(now.is_none().then(|| Kept { nr: behind, ..kept.clone() }))
    }

    /// Stores a record of a thing. Yields all that there are then; none if others were faster.
    async fn write_kept(&self, kept: &Kept, is_deleted: bool) -> Result<Option<Records>, Refusal> {
        if !self.write_record(kept.record(), || kept.spec(is_deleted)).await? {
            return Ok(None);
        }
        // What is long behind the last one has left: then its number was free.
        let records = self.kept_records(kept.kind, kept.id).await?;
        if is_late(kept, &records) {
            forget(self.engine(), kept.record()).await;
            return Ok(None);
        }
        Ok(Some(records))
    }

    /// Deletes a thing. Tells whether nothing else has changed it before.
    ///
    /// # Errors
    ///
    /// Fails if the store does not take it: then nothing has changed.
    pub(crate) async fn keep_no_more(&self, kept: &Kept) -> Result<bool, Refusal> {
        if self.has_records() { self.store_gone(kept).await } else { Ok(self.shelf().take(kept)) }
    }

    async fn store_gone(&self, kept: &Kept) -> Result<bool, Refusal> {
        let _one_at_a_time = self.shelf().turn(kept.id).await;
        let last = kept.changed(written(&()));
        let Some(records) = self.write_kept(&last, true).await? else { return Ok(false) };
        self.forget_soon(records.into_iter().filter(|(noted, _)| noted.nr < last.nr));
        Ok(true)
    }

    fn forget_soon(&self, records: impl Iterator<Item = (Noted, RunRecord)>) {
        let records: Vec<_> = records.map(|(_, record)| record.accepted.run).collect();
        let engine = self.engine().clone();
        drop(tokio::spawn(async move {
            for run in records {
                if !forget(&engine, run).await {
                    // Whoever changes the thing next, or makes another one, goes on.
                    return;
                }
            }
        }));
    }

    async fn kept_records(&self, kind: Kind, id: Uuid) -> Result<Records, Refusal> {
        let filter = RunFilter::new().label(RECORD, label_of(kind, id));
        let read = self.engine().stored_runs(filter, Page::first(RECORDS_MAX)).await;
        let read = read.map_err(|_| LookupError::Unavailable)?.items.into_iter().flatten();
        Ok(read.filter_map(|record| Some((noted_of(&record)?, record))).collect())
    }
}

type Records = Vec<(Noted, RunRecord)>;

/// Yields a thing as its records say: what it is now, or how it was deleted.
fn current(kind: Kind, id: Uuid, records: &Records) -> (Option<Kept>, Option<Kept>) {
    let last = records.iter().max_by_key(|(noted, _)| noted.nr);
    let Some((noted, record)) = last else { return (None, None) };
    let kept = kept_in(kind, id, noted.nr, record);
    if noted.is_deleted { (None, Some(kept)) } else { (Some(kept), None) }
}

pub(super) fn kept_in(kind: Kind, id: Uuid, nr: u32, record: &RunRecord) -> Kept {
    let body = record.accepted.input.clone().unwrap_or_else(|| written(&()));
    Kept { kind, id, owner: record.accepted.owner.clone(), body, since: Uuid::nil(), nr }
}

/// Tells whether there was a later record when one was stored: one with a higher number that stands
/// behind it, since the last one that was stored comes first. What others have changed since has
/// the change. A record that is here no more had many behind it.
fn is_late(kept: &Kept, records: &Records) -> bool {
    let numbers = records.iter().map(|(noted, _)| noted.nr);
    numbers.skip_while(|nr| *nr != kept.nr).any(|nr| nr > kept.nr)
}

pub(super) fn body_bytes(record: &RunRecord) -> usize {
    record.accepted.input.as_ref().map_or(0, Payload::len)
}

pub(super) fn noted_of(record: &RunRecord) -> Option<Noted> {
    let noted: Noted = record.accepted.annotations.get(NOTED)?.parse().ok()?;
    (noted.version == VERSION).then_some(noted)
}

pub(super) fn id_of(kind: Kind, record: &RunRecord) -> Option<Uuid> {
    let label = record.accepted.labels.get(RECORD)?;
    Uuid::try_parse(label.strip_prefix(kind.name())?.strip_prefix(':')?).ok()
}

fn label_of(kind: Kind, id: Uuid) -> String {
    format!("{}:{id}", kind.name())
}

/// Yields the text by which the things of an owner are found, of a length that any label may have.
pub(super) fn owned(kind: Kind, owner: Option<&str>) -> String {
    let id = Uuid::new_v5(&RECORDS, owner.unwrap_or_default().as_bytes());
    format!("{}:{}{id}", kind.name(), if owner.is_some() { "" } else { "-" })
}

/// Yields the id of a record.
fn record_of(kind: Kind, id: Uuid, nr: u32) -> RunId {
    let mut name = label_of(kind, id).into_bytes();
    name.extend(nr.to_be_bytes());
    RunId::from_uuid(Uuid::new_v5(&RECORDS, &name))
}

/// The labels by which all records of a kind are found, and those of an owner.
pub(super) const KIND: &str = "langgraph.kept";
pub(super) const OF_OWNER: &str = "langgraph.kept.owner";

const NOTED: &str = "langgraph.kept";

/// The ids of such records.
const RECORDS: Uuid = Uuid::from_u128(0x7175_656c_6c2d_6b65_7074_2d74_6869_6e67);

/// Counted up when the annotation changes so that this reader would misread it.
const VERSION: u32 = 1;

/// How often a change is made anew of what others have changed meanwhile. Of those who change a
/// thing at once one has its change each time.
pub(super) const TRIES: usize = 64;

/// How many records stay behind the last one: whoever changes what they have read
/// before others changed it finds the number of their change taken.
const BEHIND: u32 = 8;

/// Records of one thing that are read: the last ones, and a few that are about to leave.
const RECORDS_MAX: usize = 32;

/// What one thing may take as text. Larger ones are refused.
const KEPT_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use quell::store::MemoryStore;
    use quell::{Engine, EngineConfig};
    use quell_flow::Catalog;
    use quell_http::{Principal, Service};

    use super::*;
    use crate::options::{CONTRACT, Options};

    #[tokio::test]
    async fn a_change_of_what_others_have_changed_long_since_is_refused_and_leaves_nothing() {
        let config = EngineConfig::new().store(Arc::new(MemoryStore::new()));
        let service = Service::new(Engine::with_config(config), Catalog::new());
        let app = App::new(service.clone(), Options::default());
        let view = service.view(CONTRACT, Principal::anonymous());
        let (kind, id) = (Kind::Item, Uuid::nil());
        let first = Kept::new(kind, id, &view, written(&0));
        assert!(app.keep(&first).await.unwrap() && !app.keep(&first).await.unwrap());
        let mut last = first.clone();
        for nr in 1..=2 * BEHIND {
            last = last.changed(written(&nr));
            assert!(app.keep(&last).await.unwrap(), "{nr}");
        }
        let late = first.changed(written(&"late"));
        // Its number is free by now: what was so long behind has left.
        while app.engine().stored_run(late.record()).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        assert!(!app.keep(&late).await.unwrap() && !app.keep_no_more(&first).await.unwrap());
        let now = app.kept(kind, id).await.unwrap().unwrap();
        assert_eq!((now.nr, now.body.as_json()), (2 * BEHIND, last.body.as_json()));
        // What comes behind a deletion is another thing, and not changed by who knows the old one.
        assert!(app.keep_no_more(&now).await.unwrap());
        assert!(app.keep(&Kept::new(kind, id, &view, written(&"anew"))).await.unwrap());
        assert!(!app.keep(&last.changed(written(&"late"))).await.unwrap());
        let now = app.kept(kind, id).await.unwrap().unwrap();
        assert_eq!((now.nr, now.body.as_json()), (2 * BEHIND + 2, r#""anew""#));
    }
}
