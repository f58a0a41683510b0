//! [`Names`]: the names that sessions were given.
//!
//! With a store each is a record there, of which the last one of a session counts: so it is the
//! same on every node. Without a store they are in memory.

use std::collections::HashMap;

use axum::http::StatusCode;
use parking_lot::Mutex;
use quell::store::{Page, RunRecord};
use quell::{RunFilter, RunId, RunSpec};
use quell_http::{Charge, LookupError, RECORD, View};
use uuid::Uuid;

use crate::sessions::record::{NAME, forget};
use crate::sessions::session::SessionKey;
use crate::wire::refusal::Refusal;

/// The names that are in memory, where there is no store.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashMap<Uuid, Named>>);

#[derive(Debug)]
struct Named {
    of: Uuid,
    name: String,
    _charge: Charge,
}

/// The names of sessions by [`place_of`] them.
pub(super) type Given = HashMap<Uuid, String>;

impl Names {
    /// Yields the name that a session was given, if it was.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn of(
        &self,
        view: &View,
        key: &SessionKey,
    ) -> Result<Option<String>, LookupError> {
        let place = place_of(key);
        if !view.service().engine().has_store() {
            return Ok(self.0.lock().get(&place).map(|named| named.name.clone()));
        }
        Ok(records(view, place).await?.first().map(name_in))
    }

    /// Yields the names of the sessions of a caller, or, for one who sees all, of all.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn all(&self, view: &View) -> Result<Given, LookupError> {
        let who = view.principal();
        self.given(view, who.subject().filter(|_| !who.sees_all()).map(|own| owned(Some(own))))
            .await
    }

    /// Yields the names of the sessions of an owner; without one, of all.
    async fn given(&self, view: &View, owner: Option<Uuid>) -> Result<Given, LookupError> {
        if !view.service().engine().has_store() {
            let all = self.0.lock();
            let own = all.iter().filter(|(_, it)| owner.is_none_or(|owner| owner == it.of));
            return Ok(own.map(|(place, it)| (*place, it.name.clone())).collect());
        }
        let filter = match owner {
            Some(owner) => RunFilter::new().label(OF_OWNER, owner.to_string()),
            None => RunFilter::new().label(KIND, NAME),
        };
        let (mut found, mut page, mut pages) = (Given::new(), Page::first(PAGE), 0);
        loop {
            let read = view.service().engine().stored_runs(filter.clone(), page).await?;
            for record in read.items.into_iter().flatten() {
                // The last one of a session comes first.
                if let Some(place) = place_in(&record) {
                    found.entry(place).or_insert_with(|| name_in(&record));
                }
            }
            pages += 1;
            match read.next {
                Some(next) if pages < PAGES_MAX => page = page.after(next),
                _ => return Ok(found),
            }
        }
    }

    /// Gives a session a name. If its owner has as many as there may be, `are_there` says which
    /// sessions there are: the names of others are forgotten first.
    ///
    /// # Errors
    ///
    /// Fails if there are too many, and if the store cannot be read or does not take it.
    pub(super) async fn give<F>(
        &self,
        view: &View,
        key: &SessionKey,
        name: &str,
        are_there: impl FnOnce() -> F,
    ) -> Result<(), Refusal>
    where
        F: Future<Output = Result<Vec<SessionKey>, Refusal>>,
    {
        let (place, of) = (place_of(key), owned(key.0.as_deref()));
        let mut given = self.given(view, Some(of)).await?;
        if given.len() >= NAMES_MAX && !given.contains_key(&place) {
            let there: Vec<_> = are_there().await?.iter().map(place_of).collect();
            let gone: Vec<_> = given.keys().filter(|it| !there.contains(it)).copied().collect();
            for gone in gone {
                self.forget_place(view, gone).await;
                given.remove(&gone);
            }
            if given.len() >= NAMES_MAX {
                let text = format!("Too many: one owner gives {NAMES_MAX} sessions a name at most");
                return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, text));
            }
        }
        let engine = view.service().engine();
        if !engine.has_store() {
            let charge = view.service().kept().charge(key.0.as_ref(), BYTES + name.len());
            let charge = charge.map_err(Refusal::overdrawn)?;
            let named = Named { of, name: name.to_owned(), _charge: charge };
            let before = self.0.lock().insert(place, named);
            drop(before);
            return Ok(());
        }
        let spec = RunSpec::step(NAME).unlimited().input(name.into()).label(RECORD, label(place));
        let spec = spec.label(KIND, NAME).label(OF_OWNER, of.to_string());
        let spec = key.0.as_deref().into_iter().fold(spec, RunSpec::owner);
        let stored = engine.submit_durably(spec, async |_ctx| Ok(())).await;
        drop(stored.map_err(|_| not_stored())?);
        let before = records(view, place).await?;
        for record in before.iter().skip(1) {
            forget(engine, record.run()).await;
        }
        Ok(())
    }

    /// Forgets the name of a session.
    pub(super) async fn forget(&self, view: &View, key: &SessionKey) {
        self.forget_place(view, place_of(key)).await;
    }

    async fn forget_place(&self, view: &View, place: Uuid) {
        let before = self.0.lock().remove(&place);
        drop(before);
        let engine = view.service().engine();
        // What stays in a store in trouble is the name of no session.
        let left = if engine.has_store() { records(view, place).await } else { Ok(Vec::new()) };
        for record in left.iter().flatten() {
            forget(engine, record.run()).await;
        }
    }
}

/// Reads the records of a session, the last one first.
async fn records(view: &View, place: Uuid) -> Result<Vec<RunRecord>, LookupError> {
    let filter = RunFilter::new().label(RECORD, label(place));
    let read = view.service().engine().stored_runs(filter, Page::first(RECORDS_MAX)).await?;
    Ok(read.items.into_iter().flatten().collect())
}

fn name_in(record: &RunRecord) -> String {
    record.accepted.input.as_ref().and_then(|name| name.parse().ok()).unwrap_or_default()
}

fn place_in(record: &RunRecord) -> Option<Uuid> {
    let label = record.accepted.labels.get(RECORD)?;
    Uuid::try_parse(label.strip_prefix(LABEL)?).ok()
}

fn label(place: Uuid) -> String {
    format!("{LABEL}{place}")
}

fn not_stored() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "The name could not be stored; ask again")
}

/// Yields the id by which the name of a session is known.
pub(super) fn place_of((owner, id): &SessionKey) -> Uuid {
    let id: &RunId = id;
    Uuid::new_v5(&owned(owner.as_deref()), id.as_uuid().as_bytes())
}

/// Yields the id by which the names of an owner are known.
fn owned(owner: Option<&str>) -> Uuid {
    let name = owner.map(|owner| format!("+{owner}"));
    Uuid::new_v5(&NAMES, name.unwrap_or_default().as_bytes())
}

/// What the label [`RECORD`] of a name begins with.
const LABEL: &str = "agentos session ";

/// The labels by which all names are found, and those of an owner.
const KIND: &str = "agentos.name";
const OF_OWNER: &str = "agentos.name.owner";

const NAMES: Uuid = Uuid::from_u128(0x7175_656c_6c2d_6167_6e6f_2d6e_616d_6573);

/// Sessions of one owner that may have a name.
const NAMES_MAX: usize = 1_000;

/// What a name takes besides its text.
const BYTES: usize = 128;

/// Records that are read at once, and how often: of one owner there are hardly more than a page.
const PAGE: usize = 1_000;
const PAGES_MAX: usize = 10;

/// Records of one session that are read: the last one, and some that are about to leave.
const RECORDS_MAX: usize = 32;
