//! [`App::send_left`]: sends the webhooks that a process has left.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quell::store::{Page, RunRecord};
use quell::{RunFilter, RunId};
use quell_http::{RECORD, RunView, SESSION};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::app::App;
use crate::app::gone::forget;
use crate::app::leaving::PAUSES;
use crate::app::stored::StoredRun;
use crate::app::webhook::{KIND, OWED, Telling, label_of, record_of, run_of, spec_of};
use crate::threads::Tracked;
use crate::wire::asked::Asked;

impl App {
    /// Sends, in the background and for as long as the adapter is there, the webhooks that are owed
    /// and that nobody sends any more.
    pub(super) fn send_left(&self) {
        if !self.has_records() || Handle::try_current().is_err() {
            return;
        }
        let (app, left) = (self.weak(), Arc::clone(&self.webhooks().left));
        drop(tokio::spawn(async move {
            while let Some(app) = app.upgrade() {
                let next = app.send_left_now().await;
                drop(app);
                // With nothing that is due no timer is there.
                match next {
                    Some(next) => drop(timeout(next, left.notified()).await),
                    None => left.notified().await,
                }
            }
        }));
    }

    /// Yields when to look again, if one of them is left to this node later.
    async fn send_left_now(&self) -> Option<Duration> {
        if self.is_node() {
            // What a node that is gone had may be here by now, and nobody may ask for it.
            self.take_in();
        }
        let filter = RunFilter::new().label(KIND, OWED);
        let (mut page, mut soonest) = (Page::first(PAGE), None::<Duration>);
        while let Ok(read) = self.engine().stored_runs(filter.clone(), page).await {
            for record in read.items.into_iter().flatten() {
                let next = self.look_at_owed(&record).await;
                soonest = soonest.into_iter().chain(next).min();
            }
            let Some(next) = read.next else { break };
            page = page.after(next);
        }
        soonest
    }

    /// Sends the webhook of a record, if its run has ended and nobody sends it. Yields when to look
    /// again.
    async fn look_at_owed(&self, record: &RunRecord) -> Option<Duration> {
        let run = record.accepted.labels.get(RECORD).and_then(|label| run_of(label));
        let id = run.filter(|run| !self.webhooks().is_sending(*run))?;
        let at = record.accepted.at;
        // Its run may be about to be made.
        let is_young = if self.is_node() { is_within(at, YOUNG) } else { at >= self.since() };
        match self.all().find_by_id(id).await {
            Ok(None) if is_young => self.is_node().then_some(YOUNG),
            Ok(None) => {
                self.forget_owed(id).await;
                None
            }
            Ok(Some(run)) if run.status().is_terminal() => self.send_of(id, run).await,
            Ok(Some(_)) | Err(_) => None,
        }
    }

    async fn send_of(&self, id: RunId, run: RunView) -> Option<Duration> {
        if self.is_node() {
            // Mostly the node that had the run is there, and sends it.
            let others = self.others_time();
            let since = run.row().ended_at.and_then(|at| SystemTime::now().duration_since(at).ok());
            let is_others = since.is_none_or(|since| since < others);
            if is_others || !self.claim(id).await {
                return Some(others.saturating_sub(since.unwrap_or_default()).max(YOUNG));
            }
        }
        let telling = Arc::new(self.telling_of(&run).await?);
        let Ok(owed) = self.webhooks().owe(telling.owner.as_ref()) else { return Some(YOUNG) };
        if !self.webhooks().begin(id) {
            return None;
        }
        let app = self.clone();
        drop(tokio::spawn(async move {
            app.tell(&telling).await;
            if telling.is_temporary {
                forget(app.engine(), id).await;
            }
            app.forget_owed(id).await;
            app.webhooks().end(id);
            drop(owed);
        }));
        None
    }

    async fn telling_of(&self, run: &RunView) -> Option<Telling> {
        let all = self.all();
        let session = Uuid::try_parse(run.label(SESSION)?).ok()?;
        let within = self.within(session, all.component_of(run));
        let tracked = Arc::new(Tracked::of(run, within).adopted());
        let fold = if let Some(live) = run.live() {
            tracked.catch_up(live, None);
            let mut fold = tracked.fold.lock().clone();
            let output = live.report().output.clone();
            tracked.finish(Some(self.service()), &mut fold, live, output.as_ref());
            fold
        } else {
            let (run, tracked) = (run.clone(), Arc::clone(&tracked));
            Box::pin(self.folded(&all, &StoredRun { run, tracked })).await.ok()?
        };
        let row = run.row();
        Some(Telling {
            owner: run.owner().map(Arc::from),
            state: all.state_in_list(run, &row),
            values: fold.current().map(Arc::clone),
            is_rolled_back: run.is_rolled_back(),
            is_temporary: Asked::of(run).is_some_and(|asked| asked.is_temporary),
            tracked,
            row,
        })
    }

    /// Takes the webhook of a run for this node, for the time that it takes to send it. False if
    /// another one has it, or it was sent.
    async fn claim(&self, run: RunId) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let term = now.as_secs() / self.others_time().as_secs().max(1);
        let before = claim_of(run, term.saturating_sub(1));
        if !matches!(self.is_stored(before).await, Ok(false)) {
            return false;
        }
        let spec = spec_of(run, CLAIM, None).id(claim_of(run, term));
        if self.engine().submit_durably(spec, async |_ctx| Ok(())).await.is_err() {
            return false;
        }
        let is_owed = self.is_stored(record_of(run)).await;
        if matches!(is_owed, Ok(false)) {
            self.forget_owed(run).await;
        }
        matches!(is_owed, Ok(true))
    }

    /// How long one that has to send a webhook is given.
    fn others_time(&self) -> Duration {
        self.webhooks().patience() + YOUNG
    }

    /// Forgets that the webhook of a run is owed, and who has claimed it.
    async fn forget_owed(&self, run: RunId) {
        let mut pause = PAUSES.0;
        // What another node has just stored stays for a moment.
        while pause < PAUSES.1 && !self.is_owed_no_more(run).await {
            sleep(pause).await;
            pause *= 2;
        }
    }

    async fn is_owed_no_more(&self, run: RunId) -> bool {
        let mut is_all = forget(self.engine(), record_of(run)).await;
        if !self.is_node() {
            return is_all;
        }
        let filter = RunFilter::new().label(RECORD, label_of(run));
        let read = self.engine().stored_runs(filter, Page::first(PAGE)).await;
        let Ok(read) = read else { return false };
        for record in read.items.into_iter().flatten() {
            is_all &= forget(self.engine(), record.accepted.run).await;
        }
        is_all
    }
}

/// Tells whether an instant is less than a time ago, or to come.
fn is_within(at: SystemTime, time: Duration) -> bool {
    SystemTime::now().duration_since(at).is_ok_and(|since| since < time) || at > SystemTime::now()
}

/// Yields the id of the claim of a webhook in a term.
fn claim_of(run: RunId, term: u64) -> RunId {
    RunId::from_uuid(Uuid::new_v5(&record_of(run).as_uuid(), &term.to_be_bytes()))
}

/// The name of the step that says that a node sends a webhook.
const CLAIM: &str = "webhook-claim";

/// How long a run may take from the record of its webhook to its own, and a node to send what it
/// has, besides its tries.
const YOUNG: Duration = Duration::from_mins(1);

/// Records that are read at once.
const PAGE: usize = 100;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quell::testing::cluster::Nodes;
    use quell::{Engine, EngineConfig};
    use quell_flow::Catalog;
    use quell_http::Service;

    use super::*;
    use crate::options::Options;

    #[tokio::test]
    async fn of_two_nodes_one_takes_a_webhook_that_is_left_and_none_one_that_was_sent() {
        let nodes = Nodes::new(Duration::from_secs(30));
        let [a, b] = ["a", "b"].map(|name| {
            let node = nodes.join(name);
            let config = EngineConfig::new().store(Arc::clone(&node) as _).cluster(node as _);
            App::new(Service::new(Engine::with_config(config), Catalog::new()), Options::default())
        });
        let owe = async |run| {
            let spec = spec_of(run, OWED, None).id(record_of(run)).label(KIND, OWED);
            a.engine().submit_durably(spec, async |_ctx| Ok(())).await.unwrap().outcome().await
        };
        let run = RunId::from_uuid(Uuid::now_v7());
        drop(owe(run).await);
        let (one, other) = tokio::join!(a.claim(run), b.claim(run));
        assert!(one != other, "{one} {other}");
        assert!(!a.claim(run).await && !b.claim(run).await);
        let winner = if one { &a } else { &b };
        winner.forget_owed(run).await;
        let left = RunFilter::new().label(RECORD, label_of(run));
        // A store takes it in its own time.
        let read = async || b.engine().stored_runs(left.clone(), Page::first(9)).await.unwrap();
        while !read().await.items.is_empty() {
            sleep(PAUSES.0).await;
        }
        assert!(!b.claim(run).await, "it was sent");
    }
}
