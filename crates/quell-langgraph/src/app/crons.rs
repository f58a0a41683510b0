//! [`App::cron`]: runs that are made again and again (contract, section 5).

use std::sync::Arc;
use std::time::SystemTime;

use axum::http::StatusCode;
use quell_flow::Component;
use quell_http::View;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use crate::app::App;
use crate::app::app::to_the_end;
use crate::app::assistants::in_use;
use crate::app::checks::{check_asked, check_goto};
use crate::app::cron_runs::is_not_here;
use crate::app::crons_known::{Known, Of};
use crate::app::find::owns;
use crate::app::kept::{Kept, Kind, TRIES};
use crate::wire::cron::Cron;
use crate::wire::exact::{Keys, written};
use crate::wire::refusal::{Refusal, quoted};
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
        let owner = match thread {
            // As its runs will be.
            Some(thread) => self.owner_view(view, &*self.thread_of(view, thread).await?),
            None => view.clone(),
        };
        let view = &owner;
        let unknown = |refusal: Refusal| match refusal.status {
            StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => {
                Refusal::missing(format!("Assistant '{}' not found", quoted(assistant)))
            }
            _ => refusal,
        };
        let (graph, own) = self.graph_of_run(view, assistant).await.map_err(unknown)?;
        let assistant = match own {
            Some((id, _)) => (id, true),
            None => (system_assistant(graph.id()), false),
        };
        let id = Uuid::now_v7();
        let mut cron = Cron::read(body, id, assistant, thread, self.cron_pause())?;
        let who = view.principal();
        let scopes = who.scopes_of().filter(|_| !who.sees_all());
        cron.scopes = scopes.map(|scopes| scopes.iter().cloned().collect());
        self.check_bytes(&cron)?;
        self.check_runs(&graph, id, &cron).await?;
        let kept = Kept::new(Kind::Cron, id, view, written(&cron));
        self.reserve_cron(view, &kept, &cron).await?;
        let (app, view) = (self.clone(), view.clone());
        to_the_end(async move { app.keep_made(&view, kept, cron).await }).await
    }

    /// Keeps a new cron, for which a place is taken.
    async fn keep_made(&self, view: &View, kept: Kept, cron: Cron) -> Result<FoundCron, Refusal> {
        let id = kept.id;
        if !self.keep(&kept).await.inspect_err(|_| self.crons_known().forget(id))? {
            self.crons_known().forget(id);
            return Err(Refusal::internal());
        }
        self.run_crons();
        self.crons_known().note(id, Known::of(&kept, &cron));
        // Another request may have deleted its thread meanwhile.
        if let Some(thread) = cron.thread()
            && let Err(refusal) = self.kept_thread_of(view, thread).await
        {
            let turn = self.crons_known().turns.turn(id).await;
            self.delete_in_turn(view, id, turn).await?;
            return Err(refusal);
        }
        Ok(FoundCron { id, owner: kept.owner, cron })
    }

    /// Refuses one that is too large.
    fn check_bytes(&self, cron: &Cron) -> Result<(), Refusal> {
        let max = self.options().cron_bytes_max;
        if cron.bytes() > max {
            let text = format!("Too large: a cron has {max} bytes at most");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        Ok(())
    }

    /// Refuses one whose runs would be refused.
    async fn check_runs(
        &self,
        graph: &Arc<Component>,
        id: Uuid,
        cron: &Cron,
    ) -> Result<(), Refusal> {
        let create = cron.create(id, SystemTime::now())?;
        self.check_webhook(&create)?;
        check_goto(graph, &create.nodes.goto)?;
        check_asked(graph, &create).await
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
        let (_, found) = self.known_cron(view, id).await.map_err(|refusal| unknown(refusal, id))?;
        // Whoever changes it may run what it runs. One whose graph is gone, or whose owner may not
        // run that any more, can be switched off, and no more.
        let graph = match self.graph_of_run(view, found.cron.names_assistant()).await {
            Ok((graph, _)) => Some(graph),
            Err(refusal) if is_not_here(&refusal) && Cron::is_switched_off(body) => None,
            Err(refusal) => return Err(refusal),
        };
        let turn = self.crons_known().turns.turn(id).await;
        let (app, view, body) = (self.clone(), view.clone(), body.clone());
        let change = async move { app.change_in_turn(&view, (id, graph), &body, turn).await };
        to_the_end(change).await
    }

    async fn change_in_turn(
        &self,
        view: &View,
        (id, graph): (Uuid, Option<Arc<Component>>),
        body: &Keys,
        _turn: Turn,
    ) -> Result<FoundCron, Refusal> {
        for _ in 0..TRIES {
            let (before, mut found) =
                self.known_cron(view, id).await.map_err(|refusal| unknown(refusal, id))?;
            found.cron.change(body, id, self.cron_pause())?;
            // One that is too large by now can be switched off.
            if !Cron::is_switched_off(body) {
                self.check_bytes(&found.cron)?;
            }
            if let Some(graph) = graph.as_ref().filter(|_| Cron::changes_runs(body)) {
                self.check_runs(graph, id, &found.cron).await?;
            }
            let after = before.changed(written(&found.cron));
            if self.keep(&after).await? {
                self.run_crons();
                self.crons_known().note(id, Known::of(&after, &found.cron));
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
        let turn = self.crons_known().turns.turn(id).await;
        let (app, view) = (self.clone(), view.clone());
        to_the_end(async move { app.delete_in_turn(&view, id, turn).await }).await
    }

    async fn delete_in_turn(&self, view: &View, id: Uuid, _turn: Turn) -> Result<(), Refusal> {
        for _ in 0..TRIES {
            let (before, _) = self.known_cron(view, id).await?;
            if self.keep_no_more(&before).await? {
                self.crons_known().forget(id);
                return Ok(());
            }
        }
        Err(in_use("The cron"))
    }

    /// Deletes the crons of a thread, or of an assistant, that is deleted. Those that stay, since
    /// the store cannot be read, leave when they are due.
    pub(crate) async fn delete_crons_of(&self, owner: Option<&str>, of: Of) {
        for cron in self.crons_of(owner, of).await.unwrap_or_default() {
            let _ = self.delete_cron(&self.all(), cron).await;
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

type Turn = OwnedMutexGuard<()>;

/// Says which one there is not, as upstream does where one is changed.
fn unknown(refusal: Refusal, id: Uuid) -> Refusal {
    match refusal.status {
        StatusCode::NOT_FOUND => Refusal::missing(format!("Cron '{id}' not found")),
        _ => refusal,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::{Duration, UNIX_EPOCH};

    use quell_test_support::within;
    use serde_json::json;

    use super::*;
    use crate::app::cron_runs::tests::{overdue_since, two};
    use crate::options::Options;
    use crate::threads::Thread;
    use crate::wire::rows::time;

    #[tokio::test]
    async fn a_time_that_is_the_end_makes_its_run() {
        let ([a, _], count) = two(&Options::default());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let end = UNIX_EPOCH + Duration::from_secs(now - 1);
        let body = json!({"assistant_id": "count", "schedule": "* * * * * *", "input": {},
            "end_time": time(end)});
        let (kept, cron) = overdue_since(&a, body, None, end - Duration::from_millis(500)).await;
        assert_eq!(cron.due(), Some(end));
        assert!(a.make_due_of(kept.id).await);
        within("it is made", async {
            while count.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(a.cron(&a.all(), kept.id).await.unwrap().cron.due(), None);
    }

    /// Another node has its graph no more than this one: it is not what lacks.
    #[tokio::test]
    async fn of_nodes_a_cron_whose_run_is_refused_goes_on() {
        let ([a, _], _count) = two(&Options::default());
        let new = Thread::new(Uuid::now_v7(), None, &Keys::new(), false);
        let thread = a.make_thread(new, true).await.unwrap().unwrap().id;
        let body = json!({"assistant_id": "count", "schedule": "* * * * *", "input": {},
            "checkpoint_id": Uuid::now_v7().to_string()});
        let past = SystemTime::now() - Duration::from_hours(1);
        let (kept, _) = overdue_since(&a, body, Some(thread), past).await;
        assert!(a.make_due_of(kept.id).await);
        let cron = a.cron(&a.all(), kept.id).await.unwrap().cron;
        assert!(cron.due().unwrap() > SystemTime::now());
    }
}
