//! Webhooks: the ends of runs are told (contract, section 5).
//!
//! With a store a record says that one is owed, from before its run is made until the receiver has
//! got it or is given up. What a process has left, the next one sends, or another node.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quell::RunRef;
use quell_http::View;
use tokio::runtime::Handle;

use crate::app::App;
use crate::app::record::refusal_of;
use crate::app::webhook_fence::{NoFence, OWED, What, record_of, spec_of};
use crate::app::webhook_sent::Telling;
use crate::threads::{Thread, Tracked};
use crate::wire::address::Address;
use crate::wire::create::Create;
use crate::wire::refusal::Refusal;

/// The webhook of a run that is being made. Dropped before the run has begun, it is owed no more.
pub(super) struct Owing<'a> {
    app: &'a App,
    tracked: &'a Arc<Tracked>,
}

impl App {
    /// Refuses a webhook that is known now not to be sent.
    pub(crate) fn check_webhook(&self, create: &Create) -> Result<(), Refusal> {
        let Some(text) = &create.webhook else { return Ok(()) };
        self.webhooks().check(&Address::read(text)?)
    }

    /// Notes that the webhook of a run is owed which is about to be made. The store takes that
    /// before the run, or with it: nothing waits here.
    ///
    /// # Errors
    ///
    /// Fails if there are as many as there may be, and if the store is in trouble.
    pub(super) fn owe<'a>(
        &'a self,
        owner: &View,
        create: &Create,
        tracked: &'a Arc<Tracked>,
    ) -> Result<Option<Owing<'a>>, Refusal> {
        if create.webhook.is_none() {
            return Ok(None);
        }
        let owner = owner.principal().owner();
        *tracked.owed.lock() = Some(self.webhooks().owe(owner)?);
        let owing = Owing { app: self, tracked };
        if self.has_records() {
            let spec = spec_of(tracked.id, OWED, owner.map(|owner| &**owner));
            let stored = self.engine().submit(spec.id(record_of(tracked.id)), async |_| Ok(()));
            drop(stored.map_err(|error| refusal_of(&error))?);
        }
        Ok(Some(owing))
    }

    /// Gives up a webhook whose run was not made after all, or is deleted.
    pub(super) fn owe_no_more(&self, tracked: &Tracked) {
        drop(tracked.owed.lock().take());
        if tracked.has_webhook && self.has_records() && Handle::try_current().is_ok() {
            let (app, run) = (self.clone(), tracked.id);
            drop(tokio::spawn(async move { app.forget_owed(run).await }));
        }
    }

    /// Tells the end of a run in the background, if it has a webhook, and once. With a store a
    /// stateless one is there until that is done.
    pub(super) fn tell_end(&self, thread: &Arc<Thread>, tracked: &Arc<Tracked>, run: &RunRef) {
        // An engine that ends leaves what is paused as it is.
        let has_ended = run.status().is_terminal() && Handle::try_current().is_ok();
        let is_meant = tracked.has_webhook && has_ended;
        if !is_meant || tracked.is_told.swap(true, Ordering::SeqCst) {
            return;
        }
        if run.is_deleted() || tracked.is_deleted.load(Ordering::SeqCst) {
            return self.owe_no_more(tracked);
        }
        if !self.webhooks().begin(run.id()) {
            return;
        }
        let telling = self.telling(thread, tracked, run);
        let (app, tracked, run) = (self.clone(), Arc::clone(tracked), run.clone());
        let under_way = self.under_way(run.id(), !run.is_rolled_back());
        drop(tokio::spawn(async move {
            let is_temporary = telling.is_temporary;
            if !app.is_stored_at_last(&run).await || !app.tell_owed(telling).await {
                // The run stays for whoever sends it.
                return;
            }
            under_way.over();
            drop(tracked.owed.lock().take());
            app.webhooks().end(run.id());
            if is_temporary && !app.is_for_others(run.owner(), run.id()) {
                // If something of it executes still, it leaves later, as others do.
                app.all().forget(&run);
            }
        }));
    }

    /// Tells whether this process has done with it: it is left to a later one if not.
    async fn tell_owed(&self, telling: Telling) -> bool {
        let (run, is_adopted) = (telling.tracked.id, telling.tracked.is_adopted);
        let Some(letter) = self.letter(telling).await else {
            self.forget_owed(run).await;
            return true;
        };
        let fence = match self.fence(run, What::End).await {
            Ok(fence) => fence,
            Err(NoFence::Elsewhere | NoFence::GivenUp) => return true,
            Err(_) => {
                self.webhooks().left.notify_one();
                return true;
            }
        };
        // One that came here may have been told before.
        let is_owed = !is_adopted || self.is_owed(run).await;
        let is_over = !is_owed || self.deliver(&letter, &fence).await;
        if is_over {
            self.owe_none(run, fence).await;
        }
        is_over || !self.leaves(&letter)
    }

    pub(super) fn telling(&self, thread: &Thread, tracked: &Arc<Tracked>, run: &RunRef) -> Telling {
        let mut fold = thread.look(self.engine(), tracked, run);
        let report = run.report();
        if report.status.is_terminal() {
            tracked.finish(Some(self.service()), &mut fold, run, report.output.as_ref());
        }
        Telling {
            tracked: Arc::clone(tracked),
            owner: run.owner().map(Arc::from),
            row: report.own_row().clone(),
            state: self.all().state_of(&report),
            values: fold.current().map(Arc::clone),
            is_whole: true,
            is_rolled_back: run.is_rolled_back(),
            is_temporary: thread.is_temporary,
        }
    }
}

impl Drop for Owing<'_> {
    fn drop(&mut self) {
        let is_made = || self.app.engine().get(self.tracked.id).is_some();
        if !self.tracked.has_begun() && !is_made() {
            self.app.owe_no_more(self.tracked);
        }
    }
}
