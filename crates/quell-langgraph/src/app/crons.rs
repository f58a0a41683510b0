//! [`App::cron`]: runs that are made again and again (contract, section 5).

use std::sync::Arc;
use std::time::SystemTime;

use axum::http::StatusCode;
use quell_http::View;
use uuid::Uuid;

use crate::app::App;
use crate::app::assistants::in_use;
use crate::app::find::owns;
use crate::app::kept::{Kept, Kind, TRIES};
use crate::wire::cron::Cron;
use crate::wire::exact::{Keys, written};
use crate::wire::refusal::Refusal;
use crate::wire::rows::system_assistant;

/// A cron that a caller may see.
#[derive(Clone, Debug)]
pub(crate) struct FoundCron {
    pub(crate) id: Uuid,
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) cron: Cron,
}

impl FoundCron {
    fn of(kept: &Kept) -> Option<Self> {
        let (id, owner) = (kept.id, kept.owner.clone());
        Some(Self { id, owner, cron: Cron::of(&kept.body)? })
    }
}

impl App {
    /// Makes a cron.
    ///
    /// # Errors
    ///
    /// Fails if there is no such thread, or no such assistant that the caller may run, if the body
    /// is none of a run, if there is no room, and if the store does not take it.
    pub(crate) async fn make_cron(
        &self,
        view: &View,
        thread: Option<Uuid>,
        body: &Keys,
        assistant: &str,
    ) -> Result<FoundCron, Refusal> {
        if let Some(thread) = thread {
            self.thread_of(view, thread).await?;
        }
        let unknown = |refusal: Refusal| match refusal.status {
            StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => {
                Refusal::missing(format!("Assistant '{assistant}' not found"))
            }
            _ => refusal,
        };
        let (graph, own) = self.graph_of_run(view, assistant).await.map_err(unknown)?;
        let assistant = match own {
            Some((id, _)) => (id, true),
            None => (system_assistant(graph.id()), false),
        };
        let id = Uuid::now_v7();
        let mut cron = Cron::read(body, id, assistant, thread, SystemTime::now())?;
        let who = view.principal();
        cron.scopes = who.scopes_of().map(|scopes| scopes.iter().cloned().collect());
        cron.is_admin = who.sees_all() && who.subject().is_some();
        self.check_room(view, Kind::Cron).await?;
        let kept = Kept::new(Kind::Cron, id, view, written(&cron));
        if !self.keep(&kept).await? {
            return Err(Refusal::internal());
        }
        self.wake_crons();
        FoundCron::of(&kept).ok_or_else(Refusal::internal)
    }

    /// Finds a cron that the caller may see.
    ///
    /// # Errors
    ///
    /// Fails if there is none, and if the store cannot be read.
    pub(crate) async fn cron(&self, view: &View, id: Uuid) -> Result<FoundCron, Refusal> {
        Ok(self.known_cron(view, id).await?.1)
    }

    async fn known_cron(&self, view: &View, id: Uuid) -> Result<(Kept, FoundCron), Refusal> {
        let kept = self.kept(Kind::Cron, id).await?;
        let kept = kept.filter(|kept| owns(view, kept.owner.as_deref()));
        let found = kept.and_then(|kept| FoundCron::of(&kept).map(|found| (kept, found)));
        found.ok_or_else(Refusal::not_found)
    }

    /// Changes a cron.
    ///
    /// # Errors
    ///
    /// Fails if there is none, if the body is refused, and if the store does not take it: then
    /// nothing has changed.
    pub(crate) async fn change_cron(
        &self,
        view: &View,
        id: Uuid,
        body: &Keys,
    ) -> Result<FoundCron, Refusal> {
        for _ in 0..TRIES {
            let (before, mut found) = self.known_cron(view, id).await?;
            found.cron.change(body, id, SystemTime::now())?;
            if self.keep(&before.changed(written(&found.cron))).await? {
                self.wake_crons();
                return Ok(found);
            }
        }
        Err(in_use("The cron"))
    }

    /// Deletes a cron. Its runs go on.
    ///
    /// # Errors
    ///
    /// Fails if there is none, and if the store does not take it: then nothing has changed.
    pub(crate) async fn delete_cron(&self, view: &View, id: Uuid) -> Result<(), Refusal> {
        for _ in 0..TRIES {
            let (before, _) = self.known_cron(view, id).await?;
            if self.keep_no_more(&before).await? {
                return Ok(());
            }
        }
        Err(in_use("The cron"))
    }

    /// Deletes the crons of a thread, or of an assistant, that is deleted. Those that stay, since
    /// the store cannot be read, leave when they are due.
    pub(crate) async fn delete_crons_of(&self, view: &View, id: Uuid) {
        let Ok(all) = self.crons(view).await else { return };
        let is_of = |it: &FoundCron| [it.cron.thread(), it.cron.assistant()].contains(&Some(id));
        for found in all.into_iter().filter(is_of) {
            let _ = self.delete_cron(view, found.id).await;
        }
    }

    /// Lists the crons that the caller may see.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn crons(&self, view: &View) -> Result<Vec<FoundCron>, Refusal> {
        let kept = self.all_kept(view, Kind::Cron).await?;
        Ok(kept.iter().filter_map(FoundCron::of).collect())
    }
}
