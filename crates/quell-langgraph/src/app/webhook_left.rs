//! [`App::send_left`]: sends the webhooks that a process, or a node, has left.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::store::{Page, RunRecord};
use quell::{RunFilter, RunId};
use quell_http::{RECORD, RunView, SESSION};
use tokio::runtime::Handle;
use tokio::time::sleep;
use uuid::Uuid;

use crate::app::App;
use crate::app::gone::forget;
use crate::app::stored::StoredRun;
use crate::app::wakes::{Wake, Wakes};
use crate::app::webhook_fence::{KIND, NoFence, OWED, PAGE, What, run_of};
use crate::app::webhook_sent::Telling;
use crate::threads::Tracked;
use crate::wire::asked::Asked;

impl App {
    /// Sends, in the background, the webhooks that are owed and that nobody sends any more: those
    /// that are there now, and whenever the engine has taken in what others have left.
    pub(super) fn send_left(&self) {
        if !self.has_records() || Handle::try_current().is_err() {
            return;
        }
        let app = self.weak();
        let mut wakes = Wakes::of(self.engine(), &self.webhooks().left);
        drop(tokio::spawn(async move {
            while let Some(this) = app.upgrade() {
                // Their ends are to be told, although nobody may ask for them.
                this.take_in();
                if !this.send_left_now().await {
                    this.webhooks().left.notify_one();
                }
                drop(this);
                match wakes.next(None).await {
                    Wake::TakenOver => {}
                    // Unless one is left that could not be sent no timer is there.
                    Wake::Other if app.upgrade().is_some() => sleep(REST).await,
                    Wake::Other | Wake::Over => return,
                }
            }
        }));
    }

    /// Tells whether nothing is left that this process has to look at again.
    async fn send_left_now(&self) -> bool {
        let filter = RunFilter::new().label(KIND, OWED);
        let (mut page, mut is_all) = (Page::first(PAGE), true);
        loop {
            let read = self.engine().stored_runs(filter.clone(), page).await;
            let Ok(read) = read else { return false };
            for record in read.items.into_iter().flatten() {
                is_all &= self.look_at_owed(&record).await;
            }
            let Some(next) = read.next else { return is_all };
            page = page.after(next);
        }
    }

    /// Sends the webhook of a record, if its run has ended and nobody sends it; false if that is to
    /// be tried again.
    async fn look_at_owed(&self, record: &RunRecord) -> bool {
        let run = record.accepted.labels.get(RECORD).and_then(|label| run_of(label));
        let Some(id) = run.filter(|run| !self.webhooks().is_sending(*run)) else { return true };
        match self.all().find_by_id(id).await {
            Ok(None) => {
                // It was deleted, or never made. It may be about to be made.
                let age = SystemTime::now().duration_since(record.accepted.at);
                if age.is_ok_and(|age| age >= YOUNG) {
                    self.forget_owed(id).await;
                }
                true
            }
            Ok(Some(run)) if run.status().is_terminal() => self.send_of(id, run).await,
            // Whoever has it tells its end.
            Ok(Some(_)) => true,
            Err(_) => false,
        }
    }

    async fn send_of(&self, id: RunId, run: RunView) -> bool {
        let owner = run.owner().map(Arc::from);
        let Ok(owed) = self.webhooks().owe(owner.as_ref()) else { return false };
        if !self.webhooks().begin(id) {
            return true;
        }
        // One after the other: no more is read than what there is room for.
        let fence = match self.fence(id, What::End).await {
            Ok(fence) => Some(fence),
            Err(NoFence::Elsewhere) => None,
            Err(_) => {
                self.webhooks().end(id);
                return false;
            }
        };
        let telling = match &fence {
            Some(_) if self.is_owed(id).await => self.telling_of(&run).await,
            _ => None,
        };
        let letter = match telling {
            Some(telling) => self.letter(telling).await,
            None => None,
        };
        let app = self.clone();
        let under_way = self.under_way(id, true);
        drop(tokio::spawn(async move {
            if let Some(fence) = fence {
                let is_over = match &letter {
                    Some(letter) => app.deliver(letter, &fence).await,
                    None => true,
                };
                if is_over {
                    let is_temporary = Asked::of(&run).is_some_and(|asked| asked.is_temporary);
                    if is_temporary && !app.is_for_others(run.owner(), id) {
                        forget(app.engine(), id).await;
                    }
                    app.owe_none(id, fence).await;
                }
            }
            under_way.over();
            app.webhooks().end(id);
            drop(owed);
        }));
        true
    }

    async fn telling_of(&self, run: &RunView) -> Option<Telling> {
        let all = self.all();
        let session = Uuid::try_parse(run.label(SESSION)?).ok()?;
        let within = self.within(session, all.component_of(run));
        let tracked = Arc::new(Tracked::of(run, within).adopted());
        let fold = if let Some(live) = run.live() {
            Box::pin(tracked.catch_up_alone(&all, live)).await;
            let mut fold = tracked.fold.lock().clone();
            let output = live.report().output.clone();
            tracked.finish(Some(self.service()), &mut fold, live, output.as_ref());
            Some(fold)
        } else {
            let (run, tracked) = (run.clone(), Arc::clone(&tracked));
            Box::pin(self.folded(&all, &StoredRun { run, tracked })).await.ok()
        };
        let row = run.row();
        Some(Telling {
            owner: run.owner().map(Arc::from),
            state: all.state_in_list(run, &row),
            values: fold.as_ref().and_then(|fold| fold.current().map(Arc::clone)),
            is_whole: fold.is_some(),
            is_rolled_back: run.is_rolled_back(),
            is_temporary: Asked::of(run).is_some_and(|asked| asked.is_temporary),
            tracked,
            row,
        })
    }
}

/// How long a run may take from the record of its webhook to its own.
const YOUNG: Duration = Duration::from_mins(1);

/// How long a store that could not be read is left alone, and what there was no room for.
const REST: Duration = Duration::from_secs(30);
