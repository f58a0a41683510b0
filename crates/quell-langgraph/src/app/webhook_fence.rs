//! [`Fence`]: which of several nodes sends a webhook, and the records of one that is owed.

use std::iter;
use std::sync::Arc;

use quell::store::{Page, RunRecord};
use quell::{
    Engine, RunContext, RunFilter, RunId, RunRef, RunSpec, RunStatus, StopDelivery, SubmitError,
};
use quell_http::RECORD;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::sleep;
use uuid::Uuid;

use crate::app::App;
use crate::app::gone::forget;
use crate::app::leaving::PAUSES;
use crate::app::webhook_sent::given_up;

/// Says that this process sends a webhook: of several nodes by a step that is live for as long. If
/// the node is lost, another one ends the step, and has the next one. Alone there is none.
#[derive(Debug, Default)]
pub(super) struct Fence {
    step: Option<Step>,
}

/// What of a run a webhook tells.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    End,
    /// That it waits for an answer in this attempt.
    Pause(u32),
}

/// Why this process has not got a fence.
#[derive(Debug)]
pub(super) enum NoFence {
    /// Another node has it.
    Elsewhere,
    /// Nodes were lost with it again and again: it is given up.
    GivenUp,
    /// The store is in trouble, or another node takes it just now.
    Unknown,
    /// This process ends: others send what is left.
    Ending,
}

/// The step of a fence.
#[derive(Debug)]
struct Step {
    run: RunRef,
    /// How many others had it before.
    nth: u32,
    /// It ends when this is dropped.
    _end: oneshot::Sender<()>,
    /// Whoever posts has the only permit. Closed by the step that ends: nobody posts then.
    posts: Arc<Semaphore>,
}

/// A post under way. A server that ends has the time of its drain for it.
#[derive(Debug)]
pub(super) struct Posting(Option<OwnedSemaphorePermit>);

impl Posting {
    /// The receiver has it, or it is given up: the step waits until that is stored.
    pub(super) fn over(self) {
        if let Some(permit) = self.0 {
            permit.forget();
        }
    }
}

impl Fence {
    /// Begins a post; none if this process may send it no longer.
    pub(super) async fn post(&self, engine: &Engine) -> Option<Posting> {
        let Some(step) = &self.step else { return Some(Posting(None)) };
        let permit = Arc::clone(&step.posts).acquire_owned().await.ok()?;
        step.is_live(engine).await.then_some(Posting(Some(permit)))
    }

    /// Ends it: others may send the webhook, if it is owed still.
    pub(super) fn end(self) {
        drop(self);
    }
}

impl Step {
    /// A node that has lost its lease closes nothing, and if it stood still it does not know yet.
    async fn is_live(&self, engine: &Engine) -> bool {
        let is_own = self.run.status() == RunStatus::Running;
        let is_live = |stored: Option<RunRecord>| stored.is_some_and(|it| !it.status.is_terminal());
        is_own && engine.stored_run(self.run.id()).await.map_or(true, is_live)
    }
}

impl App {
    /// Takes what is to be told of a run for this process.
    ///
    /// # Errors
    ///
    /// Fails if another node has it, or may have, and if this one ends.
    pub(super) async fn fence(&self, run: RunId, what: What) -> Result<Fence, NoFence> {
        if !self.is_node() || !self.has_records() {
            return Ok(Fence::default());
        }
        for nth in 0..FENCES_MAX {
            let id = fence_of(run, what, nth);
            let step = self.engine().stored_run(id).await;
            match step.map_err(|_| NoFence::Unknown)? {
                // Whoever sent it was lost, or has ended before that was done.
                Some(step) if step.status.is_terminal() => {}
                Some(_) => return Err(NoFence::Elsewhere),
                None => return self.fence_as(run, (id, nth)).await,
            }
        }
        given_up(run, "one node after the other was lost with it, or has ended");
        Err(NoFence::GivenUp)
    }

    async fn fence_as(&self, run: RunId, (id, nth): (RunId, u32)) -> Result<Fence, NoFence> {
        let ((starts, has_started), (end, ended)) = (oneshot::channel(), oneshot::channel::<()>());
        let posts = Arc::new(Semaphore::new(1));
        let spec = spec_of(run, FENCE, None).id(id).stop_delivery(StopDelivery::Signal);
        let own = Arc::clone(&posts);
        let body = async move |ctx: RunContext| {
            let _ = starts.send(());
            // Until the other side is dropped; or the server ends, and nothing is posted.
            let is_idle = async {
                ctx.stopped().await;
                let permit = own.acquire().await;
                own.close();
                drop(permit);
            };
            tokio::select! {
                biased;
                _ = ended => {}
                () = is_idle => {}
            }
            Ok(())
        };
        let step = match self.engine().submit_durably(spec, body).await {
            Ok(step) => step.into_ref(),
            Err(SubmitError::ShuttingDown) => return Err(NoFence::Ending),
            Err(_) => return Err(NoFence::Unknown),
        };
        // An engine that ends leaves to others what has not begun.
        has_started.await.map_err(|_| NoFence::Ending)?;
        Ok(Fence { step: Some(Step { run: step, nth, _end: end, posts }) })
    }

    /// Tells whether the webhook of a run is owed, as far as the store tells.
    pub(super) async fn is_owed(&self, run: RunId) -> bool {
        !self.has_records() || !matches!(self.is_stored(record_of(run)).await, Ok(false))
    }

    /// Forgets that the webhook of a run is owed, which is sent or given up, and ends its fence.
    /// Whoever has the next fence sees that nothing is owed.
    pub(super) async fn owe_none(&self, run: RunId, fence: Fence) {
        if fence.step.is_some() {
            forget(self.engine(), record_of(run)).await;
        }
        fence.end();
        self.forget_owed(run).await;
    }

    /// Ends the fence of a pause that is told, and forgets it and those before. Whoever has the
    /// next one sees that the pause is told.
    pub(super) async fn end_fence(&self, run: RunId, attempt: u32, fence: Fence) {
        let count = fence.step.as_ref().map_or(0, |step| step.nth + 1);
        fence.end();
        for nth in 0..count {
            forget(self.engine(), fence_of(run, What::Pause(attempt), nth)).await;
        }
    }

    /// Forgets that the webhook of a run is owed, and what else is stored of it.
    pub(super) async fn forget_owed(&self, run: RunId) {
        let mut pause = PAUSES.0;
        // What another node has just stored stays for a moment.
        while self.has_records() && !self.is_owed_no_more(run).await && pause < PAUSES.1 {
            sleep(pause).await;
            pause *= 2;
        }
    }

    async fn is_owed_no_more(&self, run: RunId) -> bool {
        // First: whoever has a fence behind the last one sees that it is sent.
        let mut is_all = forget(self.engine(), record_of(run)).await;
        let (filter, mut page) = (of_webhook(run), Some(Page::first(PAGE)));
        while let Some(part) = page {
            let read = self.engine().stored_runs(filter.clone(), part).await;
            let Ok(read) = read else { return false };
            for record in read.items.into_iter().flatten() {
                let id = record.accepted.run;
                let status = self.engine().get(id).map_or(record.status, |step| step.status());
                // A fence that is live may wait for whoever is here, who comes again behind it.
                is_all &= status.is_terminal() && forget(self.engine(), id).await;
            }
            page = read.next.map(|next| part.after(next));
        }
        is_all
    }
}

/// Finds what is stored of the webhook of a run.
pub(super) fn of_webhook(run: RunId) -> RunFilter {
    RunFilter::new().label(RECORD, label_of(run))
}

/// Makes a record of the webhook of a run.
pub(super) fn spec_of(run: RunId, name: &str, owner: Option<&str>) -> RunSpec {
    let spec = RunSpec::step(name).unlimited().label(RECORD, label_of(run));
    let spec = spec.label(KIND, if name == OWED { OWED } else { PART });
    owner.into_iter().fold(spec, RunSpec::owner)
}

/// Yields the label of all records of the webhook of a run. No thread has it: it is no UUID.
pub(super) fn label_of(run: RunId) -> String {
    format!("{PREFIX}{run}")
}

/// Yields the run of such a label.
pub(super) fn run_of(label: &str) -> Option<RunId> {
    Uuid::try_parse(label.strip_prefix(PREFIX)?).ok().map(RunId::from_uuid)
}

/// Yields the id of the record that the webhook of a run is owed.
pub(super) fn record_of(run: RunId) -> RunId {
    RunId::from_uuid(Uuid::new_v5(&RECORDS, run.as_uuid().as_bytes()))
}

/// Yields the id of the mark that a pause of a run is told, or was.
pub(super) fn pause_of(run: RunId, attempt: u32) -> RunId {
    numbered(run, b'p', &[attempt])
}

/// Yields the id of the note that it is not told yet.
pub(super) fn pending_of(run: RunId, attempt: u32) -> RunId {
    numbered(run, b'n', &[attempt])
}

fn fence_of(run: RunId, what: What, nth: u32) -> RunId {
    match what {
        What::End => numbered(run, b'f', &[nth]),
        What::Pause(attempt) => numbered(run, b'q', &[attempt, nth]),
    }
}

fn numbered(run: RunId, kind: u8, nrs: &[u32]) -> RunId {
    let nrs = nrs.iter().flat_map(|nr| nr.to_be_bytes());
    let name: Vec<u8> = iter::once(kind).chain(nrs).collect();
    RunId::from_uuid(Uuid::new_v5(&record_of(run).as_uuid(), &name))
}

/// The label by which the records are found that one is owed, and what it says.
pub(super) const KIND: &str = "langgraph.webhook";
pub(super) const OWED: &str = "webhook";
/// As [`OWED`], of what else is stored of one.
pub(super) const PART: &str = "part";

/// The name of the step that is there while a node sends a webhook.
const FENCE: &str = "webhook-fence";

const PREFIX: &str = "webhook:";

/// The ids of such records.
const RECORDS: Uuid = Uuid::from_u128(0x7175_656c_6c2d_7765_6268_6f6f_6b73_2d72);

/// How many nodes may be lost, one after the other, each with the webhook of one run.
const FENCES_MAX: u32 = 100;

/// Records that are read at once.
pub(super) const PAGE: usize = 100;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quell::Shutdown;

    use super::*;
    use crate::app::gone::tests::two;

    #[tokio::test]
    async fn of_two_nodes_one_takes_a_webhook_and_none_one_that_was_sent() {
        let [a, b] = two();
        let run = RunId::from_uuid(Uuid::now_v7());
        let spec = spec_of(run, OWED, None).id(record_of(run));
        drop(a.engine().submit_durably(spec, async |_| Ok(())).await.unwrap().outcome().await);
        let (one, other) = tokio::join!(a.fence(run, What::End), b.fence(run, What::End));
        let (one, other) = (one.ok(), other.ok());
        assert!(one.is_some() != other.is_some());
        let (winner, loser) = if one.is_some() { (&a, &b) } else { (&b, &a) };
        assert!(loser.fence(run, What::End).await.is_err());
        let fence = one.or(other).unwrap();
        drop(fence.post(winner.engine()).await.expect("it may send it"));
        assert!(loser.is_owed(run).await);
        fence.end();
        winner.forget_owed(run).await;
        let left = of_webhook(run);
        // A store takes it in its own time. Who has forgotten it does not see that.
        let of = loser.engine();
        let read = async || of.stored_runs(left.clone(), Page::first(9)).await.unwrap();
        while !read().await.items.is_empty() {
            sleep(PAUSES.0).await;
        }
        assert!(loser.fence(run, What::End).await.is_ok() && !loser.is_owed(run).await);
    }

    #[tokio::test]
    async fn what_a_node_was_about_to_send_that_has_ended_another_one_takes() {
        for is_told in [false, true] {
            let [a, b] = two();
            let run = RunId::from_uuid(Uuid::now_v7());
            let fence = a.fence(run, What::End).await.unwrap();
            assert!(b.fence(run, What::End).await.is_err());
            // What is under way when it begins to end is waited for, and until that is stored.
            let posting = fence.post(a.engine()).await.unwrap();
            let plan = Shutdown { grace: Duration::from_secs(10), ..Shutdown::default() };
            let end = a.engine().shutdown(plan);
            let under_way = async {
                sleep(PAUSES.0).await;
                assert!(b.fence(run, What::End).await.is_err());
                if is_told {
                    posting.over();
                    sleep(PAUSES.0 * 10).await;
                    assert!(b.fence(run, What::End).await.is_err());
                    fence.end();
                } else {
                    drop(posting);
                    assert!(fence.post(a.engine()).await.is_none());
                }
            };
            tokio::join!(end, under_way);
            let fence = b.fence(run, What::End).await.unwrap();
            assert!(fence.post(b.engine()).await.is_some());
        }
    }

    #[tokio::test]
    async fn the_fences_of_a_pause_that_is_told_are_gone_with_it() {
        let [a, b] = two();
        let run = RunId::from_uuid(Uuid::now_v7());
        // Until it sees that the one before has ended.
        let taken = async |app: &App| loop {
            match app.fence(run, What::Pause(1)).await {
                Ok(fence) => break fence,
                Err(_) => sleep(PAUSES.0).await,
            }
        };
        // Of four that could not tell it.
        for app in [&a, &b, &a, &b] {
            taken(app).await.end();
        }
        let filter = of_webhook(run);
        let count = async || {
            let read = a.engine().stored_runs(filter.clone(), Page::first(9)).await.unwrap();
            read.items.len()
        };
        assert_eq!(count().await, 4);
        let fence = taken(&a).await;
        a.end_fence(run, 1, fence).await;
        while count().await > 0 {
            sleep(PAUSES.0).await;
        }
    }
}
