//! [`App::assistant`]: the assistants of a caller (contract, section 3).

use std::sync::Arc;
use std::time::SystemTime;

use axum::http::StatusCode;
use quell_flow::Component;
use quell_http::View;
use uuid::Uuid;

use crate::app::App;
use crate::app::app::to_the_end;
use crate::app::crons_known::Of;
use crate::app::find::{found_of, graph_of, owns};
use crate::app::kept::{Kept, Kind, TRIES};
use crate::wire::assistant::{Assistant, Said, is_of_system};
use crate::wire::exact::{Keys, written};
use crate::wire::refusal::{Refusal, quoted};
use crate::wire::rows::system_assistant;

impl App {
    /// Makes an assistant. Yields none if there is one of this id, of whatever owner.
    ///
    /// # Errors
    ///
    /// Fails if the caller may use no such graph, if there is no room, and if the store does not
    /// take it.
    pub(crate) async fn make_assistant(
        &self,
        view: &View,
        id: Uuid,
        said: &Said,
    ) -> Result<Option<Assistant>, Refusal> {
        let graph = said.graph.as_deref();
        let graph = graph.ok_or_else(|| Refusal::invalid("graph_id: field required"))?;
        known_graph(view, graph)?;
        if Self::is_system(view, id) {
            return Ok(None);
        }
        self.check_room(view, Kind::Assistant).await?;
        let made = Assistant::new(graph, said, SystemTime::now());
        let kept = Kept::new(Kind::Assistant, id, view, written(&made));
        for _ in 0..2 {
            if self.keep(&kept).await? {
                return Ok(Some(made));
            }
            // Another try if who was faster has deleted it since.
            if self.kept(Kind::Assistant, id).await?.is_some() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Finds an assistant that the caller may see.
    ///
    /// # Errors
    ///
    /// Fails if there is none, and if the store cannot be read.
    pub(crate) async fn assistant(&self, view: &View, id: Uuid) -> Result<Assistant, Refusal> {
        let system = Self::system_assistants(view).into_iter().find(|(system, _)| *system == id);
        match system {
            Some((_, system)) => Ok(system),
            None => Ok(self.own_assistant(view, id).await?.1),
        }
    }

    async fn own_assistant(&self, view: &View, id: Uuid) -> Result<(Kept, Assistant), Refusal> {
        let kept = self.kept(Kind::Assistant, id).await?;
        let kept = kept.filter(|kept| owns(view, kept.owner.as_deref()));
        let found = kept.and_then(|kept| Assistant::of(&kept.body).map(|it| (kept, it)));
        found.ok_or_else(|| Refusal::missing(format!("Assistant with ID {id} not found")))
    }

    /// Changes an assistant of the caller's.
    ///
    /// # Errors
    ///
    /// Fails if there is none, if it is the system's, if the change is refused, and if the store
    /// does not take it: then nothing has changed.
    pub(crate) async fn change_assistant(
        &self,
        view: &View,
        id: Uuid,
        change: impl Fn(&mut Assistant) -> Result<(), Refusal>,
    ) -> Result<Assistant, Refusal> {
        Self::check_own(view, id)?;
        for _ in 0..TRIES {
            let (before, mut assistant) = self.own_assistant(view, id).await?;
            change(&mut assistant)?;
            if self.keep(&before.changed(written(&assistant))).await? {
                return Ok(assistant);
            }
        }
        Err(in_use("The assistant"))
    }

    /// Deletes an assistant of the caller's, with its crons, and with the threads whose last run
    /// was one of it, if that is asked for. Its runs go on.
    ///
    /// # Errors
    ///
    /// As [`App::change_assistant`], and if one of the threads cannot be deleted: then the
    /// assistant is.
    pub(crate) async fn delete_assistant(
        &self,
        view: &View,
        id: Uuid,
        with_threads: bool,
    ) -> Result<(), Refusal> {
        Self::check_own(view, id)?;
        let (app, view) = (self.clone(), view.clone());
        to_the_end(async move {
            app.delete_assistant_now(&view, id).await?;
            if !with_threads {
                return Ok(());
            }
            let of = Keys::from([("assistant_id".to_owned(), id.to_string().into())]);
            app.delete_threads(&view, &of).await
        })
        .await
    }

    async fn delete_assistant_now(&self, view: &View, id: Uuid) -> Result<(), Refusal> {
        for _ in 0..TRIES {
            let (before, _) = self.own_assistant(view, id).await?;
            if self.keep_no_more(&before).await? {
                // Whoever deletes it: they are its owner's.
                self.delete_crons_of(before.owner.as_deref(), Of::Assistant(id)).await;
                return Ok(());
            }
        }
        Err(in_use("The assistant"))
    }

    /// Lists the assistants that the caller may see.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn assistants(&self, view: &View) -> Result<Vec<(Uuid, Assistant)>, Refusal> {
        let mut all = Self::system_assistants(view);
        let own = self.all_kept(view, Kind::Assistant).await?.into_iter();
        all.extend(own.filter_map(|kept| Some((kept.id, Assistant::of(&kept.body)?))));
        Ok(all)
    }

    fn system_assistants(view: &View) -> Vec<(Uuid, Assistant)> {
        let graphs = view.components().filter(|graph| view.principal().may_read(graph));
        let mut graphs: Vec<_> = graphs.collect();
        // A graph is found by its id alone: the first of two of one id is it.
        graphs.sort_by(|one, other| one.id().cmp(other.id()));
        graphs.dedup_by(|one, other| one.id() == other.id());
        let assistant =
            |graph: &&Arc<Component>| (system_assistant(graph.id()), Assistant::of_system(graph));
        graphs.iter().map(assistant).collect()
    }

    fn is_system(view: &View, id: Uuid) -> bool {
        is_of_system(id, view.components().map(|graph| graph.id()))
    }

    fn check_own(view: &View, id: Uuid) -> Result<(), Refusal> {
        // Whether somebody else may see its graph nobody is told.
        if Self::system_assistants(view).iter().any(|(system, _)| *system == id) {
            let text = format!("Assistant {id} is the system's, and cannot be changed");
            return Err(Refusal::new(StatusCode::CONFLICT, text));
        }
        Ok(())
    }

    /// Finds the graph of a run, and the assistant of which it is to be one, unless that is the
    /// system's.
    ///
    /// # Errors
    ///
    /// Fails if there is none that the caller may run, and if the store cannot be read.
    pub(crate) async fn graph_of_run(
        &self,
        view: &View,
        text: &str,
    ) -> Result<(Arc<Component>, Option<(Uuid, Assistant)>), Refusal> {
        let id = Uuid::try_parse(text).ok().filter(|_| found_of(view, text).is_none());
        if let Some(id) = id
            && let Some((_, assistant)) = there(self.own_assistant(view, id).await)?
        {
            let graph = graph_of(view, &assistant.now().graph);
            let gone = |refusal: Refusal| match refusal.status {
                StatusCode::FORBIDDEN => refusal,
                _ => Refusal::missing("Thread or assistant not found."),
            };
            return Ok((graph.map_err(gone)?, Some((id, assistant))));
        }
        Ok((graph_of(view, text)?, None))
    }

    /// Refuses another thing of a kind if the caller has as many as there may be.
    pub(super) async fn check_room(&self, view: &View, kind: Kind) -> Result<(), Refusal> {
        if self.own_kept(view, kind).await?.len() < OWN_MAX {
            return Ok(());
        }
        Err(kind.too_many(OWN_MAX))
    }
}

/// Tells what is missing from what cannot be read.
pub(super) fn there<T>(found: Result<T, Refusal>) -> Result<Option<T>, Refusal> {
    match found {
        Err(refusal) if refusal.status == StatusCode::NOT_FOUND => Ok(None),
        found => found.map(Some),
    }
}

/// Refuses a graph that the caller may neither read nor run, in upstream's words.
pub(crate) fn known_graph<'a>(view: &'a View, graph: &str) -> Result<&'a Arc<Component>, Refusal> {
    let may_use =
        |graph: &Component| view.principal().may_read(graph) || view.principal().may_run(graph);
    let found = found_of(view, graph).filter(|graph| may_use(graph));
    found.ok_or_else(|| {
        let mut names: Vec<_> =
            view.components().filter(|it| may_use(it)).map(|it| format!("'{}'", it.id())).collect();
        names.sort();
        let (graph, names) = (quoted(graph), names.join(", "));
        Refusal::missing(format!("Graph '{graph}' not found. Expected one of: [{names}]"))
    })
}

/// Refuses a change that others were faster with, again and again.
pub(super) fn in_use(what: &str) -> Refusal {
    let text = format!("{what} is being changed; ask again");
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

/// Assistants that one owner may have.
const OWN_MAX: usize = 1_000;
