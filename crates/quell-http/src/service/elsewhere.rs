//! Runs that another node of the cluster has: looks for them again and again, waits for them, and
//! has them stopped by their owner.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::stream::{self, StreamExt};
use quell::cluster::{AskedStop, RunMeant};
use quell::{CancelRequest, Counts, Disposition, RunRef, RunReport, RunRow, RunStatus};
use tokio::time::{Instant, timeout_at};

use crate::lookup_error::LookupError;
use crate::pace::Pace;
use crate::run_view::{RunView, StoredRun};
use crate::service::cancel_outcome::CancelOutcome;
use crate::service::find::is_accepted;
use crate::service::for_stop::SlowStop;
use crate::service::view::View;
use crate::wait::Wait;

/// Where a run is that was only in the store when it was found.
pub(super) enum Seen {
    /// This engine has it by now.
    Here(RunRef),
    /// It is still only in the store.
    There(StoredRun),
    /// It was forgotten. Perhaps another run has its id by now.
    Gone,
}

impl StoredRun {
    /// Shows a root as it is since somebody has deleted it: cancelled, with nothing of it left. It
    /// is for who waited for it, or followed it, meanwhile; others are told that there is none.
    /// None of a run below a root.
    #[must_use]
    pub fn deleted(&self) -> Option<Self> {
        let mut record = self.record().clone();
        if record.accepted.parent.is_some() {
            return None;
        }
        let mut row = record.row();
        (row.status, row.quiescent) = (RunStatus::Cancelled, true);
        (row.ended_at, row.abandoned) = (row.ended_at.or(Some(SystemTime::now())), Vec::new());
        (record.status, record.quiescent, record.paused) = (row.status, true, None);
        record.report = Some(RunReport::new(vec![row], Counts::default()).into());
        Some(Self::new(record, Vec::new()))
    }
}

impl View {
    /// Waits until a run that is only in the store has ended, or waits for an answer, on whatever
    /// node that is; yields it as it stands then, and none if it was forgotten meanwhile. One of
    /// which nobody tells any more, and that an earlier process has left behind, is yielded as it
    /// is.
    ///
    /// The store is read after 10 ms, and then in pauses that grow to 250 ms, since nodes do not
    /// tell each other of what their runs do. So this is late by a pause, and takes 4 reads a
    /// second. It goes on while the store is in trouble, and has no cap: like a wait for a run of
    /// this process it needs the charge of a wait ([`View::charge_stream`]).
    ///
    /// # Errors
    ///
    /// Fails if what is stored of it cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads. Dropped, it reads no more.
    pub async fn ended_or_paused(&self, run: &StoredRun) -> Result<Option<RunView>, LookupError> {
        let is_over = |row: &RunRow| row.status.is_terminal() || row.status == RunStatus::Paused;
        let mut latest = run.clone();
        match self.followed(&mut latest, is_over).await? {
            Seen::Here(run) => {
                run.paused().await;
                Ok(Some(RunView::Live(run)))
            }
            Seen::There(run) => Ok(Some(RunView::Stored(run))),
            Seen::Gone => Ok(None),
        }
    }

    /// As [`View::ended_or_paused`], until a run that is only in the store is paused no more, or
    /// this engine has it: its node, which has its answer, may be about to store that.
    ///
    /// # Errors
    ///
    /// As [`View::ended_or_paused`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn no_longer_paused(&self, run: &StoredRun) -> Result<Option<RunView>, LookupError> {
        let goes_on = |row: &RunRow| row.status != RunStatus::Paused;
        let mut latest = run.clone();
        Ok(match self.followed(&mut latest, goes_on).await? {
            Seen::Here(run) => Some(RunView::Live(run)),
            Seen::There(run) => Some(RunView::Stored(run)),
            Seen::Gone => None,
        })
    }

    /// Yields the name of the node that has the tree of a run, or had it last, for words to people.
    /// None if this engine is no node, or that is not known: the store may be in trouble.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn node_of(&self, run: &RunView) -> Option<Arc<str>> {
        let engine = self.service().engine();
        match run {
            RunView::Live(_) => engine.node().map(Arc::from),
            RunView::Stored(stored) => engine.owner_of(stored.root().run).await.ok().flatten(),
        }
    }

    /// Yields the stop that was asked for of a run of another node, if that has not decided it: the
    /// first one.
    pub(super) async fn recorded_stop(
        &self,
        run: &StoredRun,
    ) -> Result<Option<Box<AskedStop>>, LookupError> {
        let (engine, record) = (self.service().engine(), run.record());
        if record.status.is_terminal() || engine.node().is_none() {
            return Ok(None);
        }
        let open = engine.open_stops(run.root().owner.as_deref()).await?;
        let is_of = |stop: &AskedStop| stop.run == record.run() && stop.means(record.accepted.at);
        let stop = open.asked.into_iter().find(is_of);
        Ok(stop.map(Box::new))
    }

    /// Cancels a run that was only in the store when it was found, and waits for it.
    pub(super) async fn cancel_stored(
        &self,
        run: &StoredRun,
        request: CancelRequest,
        wait: Wait,
    ) -> CancelOutcome {
        if !self.may_ask(run) {
            return CancelOutcome::of_stored(run, wait);
        }
        let (request, slow) = (self.attributed(request), SlowStop::new(self.service()));
        match self.ask_owner(&slow, run, request.clone()).await {
            Ok(disposition) => {
                let (wait, _permit) = self.with_permit(wait);
                let until = (wait, wait.over_at());
                self.after_asking(&slow, disposition, (run, &request), until).await
            }
            Err(outcome) => outcome,
        }
    }

    /// Cancels such runs, each through its owner, so many at once, and waits for them: until this
    /// instant for all together. Those that are queued have their answers before others are asked:
    /// the end of one could start the next. The answers are in the order of the runs.
    pub(super) async fn cancel_all_stored(
        &self,
        runs: Vec<(usize, StoredRun)>,
        request: &CancelRequest,
        (wait, until): (Wait, Option<Instant>),
    ) -> Vec<(usize, CancelOutcome)> {
        let is_queued = |(_, run): &(usize, StoredRun)| run.record().status == RunStatus::Queued;
        let (mut queued, others): (Vec<_>, Vec<_>) = runs.into_iter().partition(is_queued);
        queued.sort_by_key(|(_, run)| Reverse(run.accepted().at));
        let (mut asked, slow) = (Vec::new(), &SlowStop::new(self.service()));
        for round in [queued, others] {
            let answers = stream::iter(round).map(|(at, run)| async move {
                let answer = if self.may_ask(&run) {
                    self.ask_owner(slow, &run, request.clone()).await
                } else {
                    Err(CancelOutcome::of_stored(&run, wait))
                };
                (at, run, answer)
            });
            asked.extend(answers.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
        }
        let outcomes = stream::iter(asked).map(|(at, run, answer)| async move {
            match answer {
                Ok(given) => {
                    let until = (wait, until);
                    (at, self.after_asking(slow, given, (&run, request), until).await)
                }
                Err(outcome) => (at, outcome),
            }
        });
        outcomes.buffer_unordered(AT_ONCE).collect().await
    }

    /// Tells whether the nodes of the cluster are to be asked about a stored run: another one may
    /// have it, also while this one ends, which waits for nothing of others any more.
    pub(super) fn may_ask(&self, run: &StoredRun) -> bool {
        let (engine, record) = (self.service().engine(), run.record());
        let is_live = !record.status.is_terminal();
        engine.is_elsewhere(record) || is_live && engine.node().is_some()
    }

    /// Asks the owner of a run to stop it, and yields its answer. It may have ended since it was
    /// found, or be here by now, also between two steps of this.
    async fn ask_owner(
        &self,
        slow: &SlowStop<'_>,
        run: &StoredRun,
        request: CancelRequest,
    ) -> Result<Disposition, CancelOutcome> {
        let status = run.record().status;
        if status.is_terminal() {
            return Ok(Disposition::AlreadyTerminal { status });
        }
        let engine = self.service().engine();
        let asked = async {
            Ok::<_, LookupError>(engine.cancel_anywhere(run.accepted(), request.clone()).await)
        };
        let Ok(asked) = slow.wait(asked).await else { return Err(CancelOutcome::not_stored()) };
        match asked {
            Ok(Disposition::Unknown) => {}
            Ok(disposition) => return Ok(disposition),
            Err(error) => {
                tracing::warn!(%error, "a stop could not be asked for");
                return Err(CancelOutcome::not_stored());
            }
        }
        // Nobody had it when they were asked.
        match slow.wait(self.look(run)).await {
            Ok(Seen::Here(run)) => Ok(run.cancel(request)),
            Ok(Seen::There(run)) if run.record().status.is_terminal() => {
                Ok(Disposition::AlreadyTerminal { status: run.record().status })
            }
            Ok(Seen::Gone) => Err(CancelOutcome::without_run(Disposition::Unknown)),
            Ok(Seen::There(_)) | Err(_) => Err(CancelOutcome::not_stored()),
        }
    }

    /// Makes the outcome of a cancel from what the owner has answered, after the wait. A store that
    /// cannot be read takes nothing back of that: then the row is an older one.
    async fn after_asking(
        &self,
        slow: &SlowStop<'_>,
        disposition: Disposition,
        (run, request): (&StoredRun, &CancelRequest),
        (wait, until): (Wait, Option<Instant>),
    ) -> CancelOutcome {
        // What the owner says that this stop has begun has its cause, also when nobody can read it.
        let own = |disposition: &Disposition| {
            let is_first =
                matches!(disposition, Disposition::Accepted { .. } | Disposition::Scheduled { .. });
            let at = self.service().engine().time();
            let cause = || request.to_cause(at, run.accepted().run);
            is_first.then(|| Arc::new(cause()))
        };
        let mut latest = run.clone();
        let seen = slow.wait(self.look(&latest)).await;
        let mut seen = seen.unwrap_or_else(|_| Seen::There(run.clone()));
        if let Seen::There(run) = &seen {
            latest = run.clone();
            let followed = self.followed(&mut latest, |row| wait.is_met_by(row));
            let followed = match until {
                Some(until) => timeout_at(until, followed).await.ok(),
                None => Some(followed.await),
            };
            if let Some(Ok(found)) = followed {
                seen = found;
            }
        }
        match seen {
            Seen::Here(run) => {
                let left = until.map(|until| until.saturating_duration_since(Instant::now()));
                let wait = left.map_or(wait, |left| wait.at_most(left));
                CancelOutcome::after(slow, disposition, &run, wait).await
            }
            Seen::There(_) => {
                let row = latest.report().own_row().clone();
                CancelOutcome {
                    cause: row.cause.clone(),
                    is_reached: wait.is_met_by(&row),
                    quiescent: (!wait.is_none()).then_some(row.quiescent),
                    row: Some(row),
                    ..CancelOutcome::without_run(disposition)
                }
            }
            // Only what is quiescent is forgotten.
            Seen::Gone => CancelOutcome {
                cause: latest.report().own_row().cause.clone().or_else(|| own(&disposition)),
                quiescent: (!wait.is_none()).then_some(true),
                ..CancelOutcome::without_run(disposition)
            },
        }
    }

    /// Reads a run again and again until its row is as it should be, or nobody changes it any more,
    /// or it is no more there. `latest` is what was read last.
    async fn followed(
        &self,
        latest: &mut StoredRun,
        is_reached: impl Fn(&RunRow) -> bool,
    ) -> Result<Seen, LookupError> {
        let mut pace = Pace::new(FIRST_PAUSE);
        loop {
            let is_elsewhere = self.service().engine().is_elsewhere(latest.record());
            if is_reached(latest.report().own_row()) || !is_elsewhere {
                return Ok(Seen::There(latest.clone()));
            }
            pace.rest().await;
            match self.look(latest).await {
                Ok(Seen::There(run)) => *latest = run,
                Ok(seen) => return Ok(seen),
                Err(LookupError::Unavailable) => pace.rest_in_trouble().await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks where a run is by now.
    pub(super) async fn look(&self, run: &StoredRun) -> Result<Seen, LookupError> {
        let (engine, before) = (self.service().engine(), run.accepted());
        // What else has its id here is not it: a repeat that the store has not refused yet, or an
        // earlier run that is kept, and that another node has forgotten. The store says what is.
        let here = async || {
            let here = engine.get(before.run)?;
            let is_it = RunMeant::from(before).is(here.queued_at()) && is_accepted(&here).await;
            is_it.then_some(Seen::Here(here))
        };
        if let Some(seen) = here().await {
            return Ok(seen);
        }
        let stored = self.find_stored(before.run, None).await?;
        // It may have come while the store was read.
        if let Some(seen) = here().await {
            return Ok(seen);
        }
        match stored {
            Some(RunView::Stored(run)) if run.accepted().at == before.at => Ok(Seen::There(run)),
            _ => Ok(Seen::Gone),
        }
    }
}

/// The pause before the store is read for the first time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Owners that are asked for stops at once by one request, and runs that it waits for.
const AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use quell::testing::cluster::Nodes;
    use quell::{Engine, EngineConfig, RunContext, RunId, RunSpec};
    use quell_flow::Catalog;

    use super::*;
    use crate::Principal;
    use crate::service::{NATIVE, Service};

    fn engine(nodes: &Nodes, name: &str) -> Engine {
        Engine::with_config(EngineConfig::new().node(nodes.join(name)).control_on_runtime())
    }

    fn view(engine: &Engine) -> View {
        Service::new(engine.clone(), Catalog::new()).view(NATIVE, Principal::anonymous())
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_is_not_gone_where_an_earlier_one_with_its_id_is_kept() {
        let nodes = Nodes::new(Duration::from_secs(15));
        let (a, b) = (engine(&nodes, "a"), engine(&nodes, "b"));
        let spec = || RunSpec::agent("far").id(RunId::from_text("r"));
        let old = a.submit_durably(spec(), async |_| Ok(())).await.unwrap().into_ref();
        old.quiescent().await;
        old.stored().await.unwrap();
        b.forget_stored(old.id()).await.unwrap();
        let works = async |ctx: RunContext| Ok(_ = ctx.stopped().await);
        // Of a later instant.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let new = b.submit_durably(spec(), works).await.unwrap().into_ref();
        let view = view(&a);
        let Ok(Some(RunView::Stored(run))) = view.find_stored(new.id(), None).await else {
            unreachable!("it is stored")
        };
        assert!(a.get(old.id()).is_some(), "it is kept");
        assert!(matches!(view.look(&run).await, Ok(Seen::There(_))), "it works");
        let stop = CancelRequest::because("enough");
        let outcome = view.cancel_stored(&run, stop, Wait::quiescent()).await;
        assert!(outcome.is_reached && new.report().quiescent, "{outcome:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeat_that_the_store_has_not_refused_yet_is_not_the_run_that_another_node_has() {
        let nodes = Nodes::new(Duration::from_secs(15));
        let (a, b) = (engine(&nodes, "a"), engine(&nodes, "b"));
        let spec = || RunSpec::agent("far").id(RunId::from_text("r"));
        let works = async |ctx: RunContext| Ok(_ = ctx.stopped().await);
        drop(a.submit_durably(spec(), works).await.unwrap());
        let view = view(&b);
        let found = view.find("r").await.unwrap();
        let Some(RunView::Stored(run)) = found else { unreachable!("{found:?}") };
        let repeat = b.submit(spec(), async |_| Ok(())).unwrap().into_ref();
        let seen = view.look(&run).await;
        assert!(matches!(seen, Ok(Seen::There(_))), "it works on there");
        assert!(repeat.accepted().await.is_err());
    }
}
