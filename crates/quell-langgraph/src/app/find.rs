//! [`Found`] and [`Located`]: finds threads, runs and graphs. All routes use it, so that all of
//! them check owner, thread and deletion in the same way.

use std::sync::Arc;
use std::time::SystemTime;

use quell::{Payload, RunId, RunRef, RunRow};
use quell_flow::{Component, ComponentKind};
use quell_http::{SESSION, View, same_id, whole_millis};
use uuid::Uuid;

use crate::app::App;
use crate::app::delete::is_taken_back;
use crate::app::stored::is_deleted_at_end;
use crate::threads::{Final, Thread, Tracked};
use crate::wire::refusal::{Refusal, quoted};
use crate::wire::rows::{as_made, run_object, system_assistant};

/// A run that the engine has and that a caller may see.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) run: RunRef,
    pub(crate) tracked: Arc<Tracked>,
    /// None for a run that another contract started, and for one that its thread has lost.
    pub(crate) thread: Option<Arc<Thread>>,
}

/// A run that a caller may see.
#[derive(Debug)]
pub(crate) enum Located {
    /// The engine has it.
    Kept(Found),
    /// It was deleted at its end. Its final body is kept for a minute.
    Deleted(Arc<Final>),
}

impl App {
    /// Finds a thread that the caller may see.
    pub(crate) fn thread(&self, view: &View, id: Uuid) -> Option<Arc<Thread>> {
        self.take_in();
        let thread = self.threads().get(id).filter(|thread| owns(view, thread.owner.as_deref()))?;
        for tracked in thread.runs() {
            self.delete_if_quiescent(&thread, &tracked);
        }
        // The thread of a stateless run is deleted together with the run, and another owner may
        // have made one of its id since.
        self.threads().get(id).filter(|thread| owns(view, thread.owner.as_deref()))
    }

    /// Finds a run that the caller may see; of a thread, if one is named.
    ///
    /// A run that is to be deleted at its end and is over is deleted first: no caller sees it as
    /// one that is kept.
    pub(crate) fn find(&self, view: &View, thread: Option<Uuid>, run: Uuid) -> Option<Located> {
        let kept = self.find_kept(view, thread, run).map(Located::Kept);
        kept.or_else(|| self.find_deleted(view, thread, run))
    }

    /// As [`App::find`], for a reader that found the run before and has not held it since.
    ///
    /// A run that its thread has lost meanwhile is not found: it would be shown as a run of another
    /// contract, without the values on which it started.
    pub(crate) fn find_again(
        &self,
        view: &View,
        thread: Uuid,
        run: Uuid,
        is_foreign: bool,
    ) -> Option<Located> {
        let kept = self.find_kept(view, Some(thread), run);
        let kept = kept.filter(|found| found.thread.is_none() == is_foreign).map(Located::Kept);
        kept.or_else(|| self.find_deleted(view, Some(thread), run))
    }

    fn find_kept(&self, view: &View, thread: Option<Uuid>, run: Uuid) -> Option<Found> {
        self.take_in();
        let run = view.run_by_id(RunId::from_uuid(run)).filter(|run| run.parent().is_none())?;
        if self.hidden().has((&run).into()) {
            return None;
        }
        let session = run.label(SESSION)?;
        if thread.is_some_and(|thread| !same_id(session, &thread.to_string())) {
            return None;
        }
        let session = Uuid::try_parse(session).ok()?;
        if self.is_cleared_here(session, run.owner()) {
            return None;
        }
        let thread = self.threads().get(session);
        let tracked = thread.as_ref().and_then(|thread| thread.find(run.id()));
        let Some((thread, tracked)) = thread.zip(tracked) else {
            if is_taken_back(&run) || is_deleted_at_end(&(&run).into()) {
                return None;
            }
            let within = self.within(session, view.component_of(&run));
            let tracked = Arc::new(Tracked::of(&(&run).into(), within));
            return Some(Found { run, tracked, thread: None });
        };
        if self.delete_if_quiescent(&thread, &tracked) {
            return None;
        }
        Some(Found { run, tracked, thread: Some(thread) })
    }

    fn find_deleted(&self, view: &View, thread: Option<Uuid>, run: Uuid) -> Option<Located> {
        let id = RunId::from_uuid(run);
        // The engine forgets by itself what was rolled back, maybe just now.
        if let Some(thread) = thread.and_then(|thread| self.threads().get(thread))
            && let Some(tracked) = thread.find(id)
        {
            self.delete_if_quiescent(&thread, &tracked);
        }
        let deleted = self.finals().get(view.principal(), id)?;
        let of = &deleted.thread;
        let is_of_thread = thread.is_none_or(|thread| thread == of.id);
        // Nothing is left of a thread that was deleted since.
        let is_there = of.is_temporary || !of.has_left();
        (is_of_thread && is_there).then_some(Located::Deleted(deleted))
    }
}

impl Located {
    /// Yields the run if the engine has it.
    pub(crate) fn kept(self) -> Option<Found> {
        match self {
            Self::Kept(found) => Some(found),
            Self::Deleted(_) => None,
        }
    }

    /// Yields the run, also one that was deleted: as it was at its end.
    pub(crate) fn into_found(self) -> Found {
        match self {
            Self::Kept(found) => found,
            Self::Deleted(deleted) => Found {
                run: deleted.run.clone(),
                tracked: Arc::clone(&deleted.tracked),
                thread: Some(Arc::clone(&deleted.thread)),
            },
        }
    }

    pub(crate) fn thread(&self) -> Option<&Arc<Thread>> {
        match self {
            Self::Kept(found) => found.thread.as_ref(),
            Self::Deleted(_) => None,
        }
    }

    pub(crate) fn tracked(&self) -> &Arc<Tracked> {
        match self {
            Self::Kept(found) => &found.tracked,
            Self::Deleted(deleted) => &deleted.tracked,
        }
    }
}

impl Found {
    /// When the run was made, in whole milliseconds as every node has that; of one that was to
    /// start later, when that was.
    pub(crate) fn created_at(&self) -> SystemTime {
        whole_millis(self.tracked.about.due.unwrap_or_else(|| self.run.row().queued_at))
    }
}

/// Writes the keys of the run object that a list shows.
pub(crate) fn in_list(view: &View, found: &Found, is_shown: impl Fn(&str) -> bool) -> Payload {
    written(view, found, &found.run.row(), is_shown)
}

/// As [`in_list`], of a run that the caller has just made.
pub(crate) fn made_in_list(view: &View, found: &Found, is_shown: impl Fn(&str) -> bool) -> Payload {
    written(view, found, &as_made(found.run.row()), is_shown)
}

fn written(view: &View, found: &Found, row: &RunRow, is_shown: impl Fn(&str) -> bool) -> Payload {
    let state = view.state_in_list(&(&found.run).into(), &found.run.row());
    run_object(&found.tracked.about, row, &state, is_shown)
}

/// Finds the graph of an assistant that the caller may run.
pub(crate) fn graph_of(view: &View, text: &str) -> Result<Arc<Component>, Refusal> {
    let who = view.principal();
    let found = found_of(view, text);
    if let Some(graph) = found.filter(|graph| who.may_run(graph) || who.may_read(graph)) {
        if who.may_run(graph) {
            return Ok(Arc::clone(graph));
        }
        return Err(Refusal::forbidden(who.lack_to_run(Some(graph))));
    }
    // From here on the answer is the same whether the graph is there or not.
    let is_uuid = Uuid::try_parse(text).is_ok();
    let wanted = Some(text).filter(|_| !is_uuid);
    let with_kind =
        ComponentKind::split(text).is_some_and(|(kind, id)| who.may_use(kind, Some(id)));
    if !with_kind && !ComponentKind::ALL.into_iter().any(|kind| who.may_use(kind, wanted)) {
        // Who has a scope has misspelt the name, perhaps.
        let has_one = view.components().any(|graph| who.may_run(graph));
        let unknown = || "no assistant of this name that you may use".to_owned();
        let words = if has_one { unknown() } else { who.lack_to_run(None) };
        return Err(Refusal::forbidden(words));
    }
    if is_uuid {
        return Err(Refusal::missing("Thread or assistant not found."));
    }
    let known = view.components().filter(|graph| who.may_read(graph) || who.may_run(graph));
    let names: Vec<_> = known.map(|graph| graph.id()).collect();
    Err(Refusal::invalid(format!(
        "Invalid assistant: '{}'. Must be either:\n- A valid assistant UUID, or\n- One of \
         the registered graphs: {}",
        quoted(text),
        names.join(", ")
    )))
}

/// Finds the graph of an assistant by its UUID, by the graph's own id, or by its name with its
/// kind, `agent/writer`.
pub(super) fn found_of<'a>(view: &'a View, text: &str) -> Option<&'a Arc<Component>> {
    let with_kind = || ComponentKind::split(text).and_then(|(kind, id)| view.component(kind, id));
    view.find_component(text).or_else(with_kind).or_else(|| {
        let id = Uuid::try_parse(text).ok()?;
        view.components().find(|graph| system_assistant(graph.id()) == id)
    })
}

pub(super) fn owns(view: &View, owner: Option<&str>) -> bool {
    view.principal().sees_all() || view.principal().subject() == owner
}

#[cfg(test)]
mod tests {
    use quell::{Engine, RunSpec};
    use quell_flow::Catalog;
    use quell_http::{Principal, Service};

    use super::*;
    use crate::threads::within;

    #[tokio::test]
    async fn to_find_a_run_of_another_contract_nobody_looks_through_what_it_was_given() {
        let service = Service::new(Engine::new(), Catalog::new());
        let given = Payload::from_json_text("[7,1e400]").unwrap();
        let spec = RunSpec::agent("a").input(given.clone());
        let run = service.engine().submit(spec, async |_ctx| Ok(())).unwrap().run().clone();
        let tracked = Arc::new(Tracked::of(&(&run).into(), within(Uuid::nil())));
        assert_eq!(tracked.about.input.as_json().as_ptr(), given.as_json().as_ptr());
        let view = service.view(crate::options::CONTRACT, Principal::anonymous());
        let found = Found { run, tracked, thread: None };
        let shown = in_list(&view, &found, |_| true);
        // Lists are in the order of what every node has.
        assert_eq!(found.created_at(), whole_millis(found.run.queued_at()));
        assert!(shown.as_json().contains(r#""input":[7,null]"#), "{shown}");
    }
}
