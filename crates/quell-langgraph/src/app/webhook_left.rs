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
use crate::app::webhook_fence::{KIND, NoFence, OWED, PAGE, PART, What, record_of, run_of};
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
        let mut is_all = true;
        for kind in [OWED, PART] {
            let (filter, mut page) = (RunFilter::new().label(KIND, kind), Some(Page::first(PAGE)));
            while let Some(part) = page {
                let read = self.engine().stored_runs(filter.clone(), part).await;
                let Ok(read) = read else { return false };
                for record in read.items.into_iter().flatten() {
                    let run = record.accepted.labels.get(RECORD).and_then(|label| run_of(label));
                    let unsent = run.filter(|run| !self.webhooks().is_sending(*run));
                    is_all &= match (unsent, kind) {
                        (None, _) => true,
                        (Some(run), OWED) => self.look_at_owed(run, &record).await,
                        (Some(run), _) => self.look_at_part(run, &record).await,
                    };
                }
                page = read.next.map(|next| part.after(next));
            }
        }
        is_all
    }

    /// Forgets what is stored of a webhook that is owed no more, of which a process has ended that
    /// was about to do so; false if that is to be tried again.
    async fn look_at_part(&self, run: RunId, record: &RunRecord) -> bool {
        match self.is_stored(record_of(run)).await {
            Ok(true) => true,
            // Whoever has a fence takes it away behind that, or whoever takes over from them.
            Ok(false) if !record.status.is_terminal() => true,
            Ok(false) => {
                self.forget_owed(run).await;
                true
            }
            Err(_) => false,
        }
    }

    /// Sends the webhook of a record, if its run has ended and nobody sends it; false if that is to
    /// be tried again.
    async fn look_at_owed(&self, id: RunId, record: &RunRecord) -> bool {
        match self.all().find_by_id(id).await {
            // It was deleted, or never made. It may be about to be made.
            Ok(None) if is_young(record) => false,
            Ok(None) => {
                self.forget_owed(id).await;
                true
            }
            Ok(Some(run)) if run.status().is_terminal() => match self.is_of_deleted(&run).await {
                Ok(false) => self.send_of(id, run).await,
                Ok(true) => {
                    self.forget_owed(id).await;
                    true
                }
                Err(_) => false,
            },
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
            Err(NoFence::Elsewhere | NoFence::GivenUp) => None,
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

/// Tells whether what a record is about may be about to be stored.
fn is_young(record: &RunRecord) -> bool {
    let age = SystemTime::now().duration_since(record.accepted.at);
    !age.is_ok_and(|age| age >= YOUNG)
}

/// How long a run may take from the record of its webhook to its own.
const YOUNG: Duration = Duration::from_mins(1);

/// How long a store that could not be read is left alone, and what there was no room for.
const REST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use quell_flow::{Catalog, Component};
    use quell_http::Start;
    use serde_json::json;

    use super::*;
    use crate::app::gone::tests::{two, two_with};
    use crate::app::webhook_fence::{of_webhook, pause_of, pending_of, spec_of};
    use crate::threads::Thread;
    use crate::wire::exact::Keys;

    #[tokio::test]
    async fn the_end_of_a_run_whose_thread_is_deleted_is_told_to_nobody() {
        let graph = || Component::agent("r", async |_ctx, input| Ok(input));
        let ([app, _], graph) = (two_with(&Catalog::new().with(graph())), Arc::new(graph()));
        for is_deleted in [false, true] {
            let thread = Thread::new(Uuid::now_v7(), None, &Keys::new(), false);
            let thread = app.make_thread(thread, true).await.unwrap().unwrap();
            let (input, session) = (json!({}).into(), thread.id.to_string());
            let start = Start::new(&graph, 1.into()).label(SESSION, session);
            let any = app.all().start(Start::new(&graph, 1.into())).await.unwrap().run;
            let asked = Asked { has_webhook: true, ..Asked::elsewhere(&(&any).into(), "r") };
            let run = app.all().start(asked.write(start, &input)).await.unwrap().run;
            run.quiescent().await;
            run.stored().await.unwrap();
            let record = spec_of(run.id(), OWED, None).id(record_of(run.id()));
            let record = app.engine().submit_durably(record, async |_| Ok(())).await.unwrap();
            let (id, _) = (record.run().id(), record.outcome().await);
            if is_deleted {
                // Whoever is about to clear it has come so far.
                let last = thread.card().changed(Keys::new(), None, SystemTime::now());
                assert!(app.write(&thread, &last, true).await.unwrap());
            }
            let record = app.engine().stored_run(id).await.unwrap().unwrap();
            assert!(app.look_at_owed(run.id(), &record).await);
            assert_eq!(app.webhooks().is_sending(run.id()), !is_deleted);
        }
    }

    #[tokio::test]
    async fn what_is_left_of_a_webhook_that_is_owed_no_more_goes() {
        let [app, _] = two();
        let [sent, owed] = [(); 2].map(|()| RunId::from_uuid(Uuid::now_v7()));
        // More than are read at once.
        let marks = (1..=120).map(|nr| (sent, "mark", pause_of(sent, nr)));
        let note = (sent, "note", pending_of(sent, 120));
        let of_other = [(owed, OWED, record_of(owed)), (owed, "mark", pause_of(owed, 1))];
        for (run, name, id) in marks.chain([note]).chain(of_other) {
            let spec = spec_of(run, name, None).id(id);
            let record = app.engine().submit_durably(spec, async |_| Ok(())).await.unwrap();
            drop(record.outcome().await);
        }
        app.forget_owed(sent).await;
        let count = async |run| {
            let read = app.engine().stored_runs(of_webhook(run), Page::first(200)).await.unwrap();
            read.items.len()
        };
        while count(sent).await > 0 {
            sleep(Duration::from_millis(5)).await;
        }
        let mark = spec_of(sent, "mark", None).id(pause_of(sent, 1));
        let mark = app.engine().submit_durably(mark, async |_| Ok(())).await.unwrap();
        let run = mark.run().clone();
        drop(mark.outcome().await);
        // Whatever has not ended somebody is about to take away.
        run.stored().await.unwrap();
        app.send_left_now().await;
        while count(sent).await > 0 {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(count(owed).await, 2);
    }
}
