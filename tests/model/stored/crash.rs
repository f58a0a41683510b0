//! The end of a process without a shutdown, and the next one.

use std::sync::Arc;
use std::time::SystemTime;

use quell::{Disposition, Recovery};

use super::actors::Actors;
use super::compare::{id, number};
use super::rules::Rules;
use super::script::{Bounds, Gate, Lost, Rollback};
use super::stage::{Stage, body, engine, request, spec, wait};

impl Stage {
    /// Has the process end, after all that was decided is stored, and the next one recover. A run
    /// is known to that if its bit is set.
    pub(super) async fn crash(
        &mut self,
        known: u16,
        lost: Option<Lost>,
        rules: &mut Rules,
    ) -> Result<(), String> {
        self.eventually_stored(rules).await?;
        wait("it is closed", self.store.cut()).await??;
        if let Some(what) = self.lose(lost, rules) {
            rules.met.note(what);
        }
        self.store = self.kept.open()?;
        let bounds = Bounds { queued: None, ..rules.first_bounds() };
        self.gone.push(std::mem::replace(&mut self.engine, engine(&self.store, bounds)));
        self.actors = Arc::new(Actors::default());
        self.actors.grow(rules.runs.len());
        let mut expiries = Vec::new();
        for run in 0..rules.runs.len() {
            let record = wait("a read", self.store().get(id(run))).await?;
            let record = record.map_err(|error| error.to_string())?;
            expiries.push(record.and_then(|record| record.paused?.expires_at));
        }
        let actors = Arc::clone(&self.actors);
        let before = SystemTime::now();
        let decide = |record: &quell::store::RunRecord| {
            let found = number(rules, record.run()).filter(|run| (known >> (run % 16)) & 1 == 1);
            let Some(run) = found else { return Recovery::Fail };
            let this = &rules.runs[run];
            let lane = this.gate.lane.map(|(lane, _)| (lane, quell::OnBusy::Enqueue));
            let spec = spec(run, Gate { lane, ..this.gate });
            Recovery::resumable(spec, body(&actors, run, this.stubborn))
        };
        let recovered = wait("it recovers", self.engine.recover(decide)).await?;
        let recovered = recovered.map_err(|error| error.to_string())?;
        if !recovered.refused.is_empty() || !recovered.unreadable.is_empty() {
            return Err(format!("T13: {recovered:?}"));
        }
        let (now, after) = (rules.now, SystemTime::now());
        // What is left of a pause by the clock of the wall: the next process looked at it between
        // these two instants.
        let left = |end: SystemTime, at: SystemTime| {
            let left = end.duration_since(at).unwrap_or_default();
            u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
        };
        rules.crash(known, |run| {
            let end = expiries[run]?;
            Some((now + left(end, after).saturating_sub(SLACK), now + left(end, before) + SLACK))
        });
        for run in 0..rules.runs.len() {
            self.runs[run] = self.engine.get(id(run)).filter(|_| rules.runs[run].here);
            self.whole[run] = false;
        }
        self.rest(rules).await?;
        self.eventually_stored(rules).await
    }

    /// Asks something whose answer nobody has had: it is as if it had never been asked. Yields what
    /// is lost so.
    fn lose(&self, lost: Option<Lost>, rules: &Rules) -> Option<&'static str> {
        match lost? {
            Lost::Cancel(run) => {
                let request = request(quell::StopMode::Cooperative, Rollback::Yes);
                let said = self.run(run)?.cancel(request);
                matches!(said, Disposition::Accepted { .. }).then_some("a lost cancel")
            }
            Lost::Resume(run) => {
                let said = self.run(run)?.resume(rules.next_answer());
                said.is_ok().then_some("a lost answer")
            }
        }
    }
}

/// What clocks may differ by, in milliseconds.
const SLACK: u64 = 100;
