//! A [`Node`] as a member: its lease, take-overs, and what is asked between members.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quell_core::cluster::{
    ActAnswer, Answer, Asked, AskedStop, Cluster, ForgottenWork, LogWatch, OpenStops, Placed,
    RunMeant, SlotsAsked, SlotsHeld, StopToCome, TakenOver, TurnAsk,
};
use quell_core::store::{BoxFuture, Store, StoreError};
use quell_core::{CancelRequest, Disposition, Payload, RunId, limits};

use crate::sync::{self, Ordering};
use crate::testing::cluster::acts::acted;
use crate::testing::cluster::node::{Node, Trouble};
use crate::testing::cluster::nodes::{AskedHere, Seat};
use crate::testing::cluster::open_stops::open_stops;

impl Node {
    async fn asked(
        &self,
        meant: RunMeant,
        request: CancelRequest,
    ) -> Result<Disposition, StoreError> {
        let (shared, run) = (self.reach()?, meant.id());
        let stored = shared.store.get(run).await?.filter(|record| meant.is(record.accepted.at));
        let Some(record) = stored else { return Ok(Disposition::Unknown) };
        if record.status.is_terminal() {
            return Ok(Disposition::AlreadyTerminal { status: record.status });
        }
        let root = shared.store.get(record.accepted.root).await?;
        let of = root.and_then(|root| root.accepted.owner);
        let nr = {
            let mut table = shared.table.lock();
            self.seat(&mut table)?;
            let owner = table.owners.get(&record.accepted.root).copied();
            let seat = owner.and_then(|boot| Some((boot, table.members.get(&boot)?)));
            let Some((owner, seat)) = seat else { return Ok(Disposition::Unknown) };
            if !table.has_room_for_stop(owner, run, of.as_ref()) {
                return Err(AskedStop::too_many(&seat.name));
            }
            table.next_stop += 1;
            let nr = table.next_stop;
            let (accepted_ms, at) = (meant.accepted_ms(), sync::wall());
            let stop = AskedStop { nr, run, accepted_ms, request, at };
            let reserved = Vec::new();
            table.stops.insert(nr, AskedHere { stop, owner, of, answer: None, reserved });
            nr
        };
        shared.news.notify_waiters();
        let answered = tokio::time::timeout(limits::ASKED_STOP_WAIT, async {
            loop {
                let news = shared.news.notified();
                let answer = shared.table.lock().stops.get(&nr).and_then(|it| it.answer.clone());
                if let Some(answer) = answer {
                    return answer;
                }
                news.await;
            }
        });
        Ok(answered.await.unwrap_or_else(|_| shared.recorded(nr)))
    }
}

impl Cluster for Node {
    fn name(&self) -> &str {
        &self.name
    }

    fn lease(&self) -> Duration {
        self.shared.lease
    }

    fn joined_at(&self) -> Instant {
        self.joined_at
    }

    fn renew(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            self.renewals.fetch_add(1, Ordering::Relaxed);
            let shared = self.reach()?;
            let (sent, trouble) = (sync::now(), *self.trouble.lock());
            match trouble {
                Trouble::None | Trouble::All => {}
                Trouble::Late => tokio::time::sleep(Duration::from_secs(2)).await,
                Trouble::Renewals => std::future::pending().await,
            }
            self.seat(&mut shared.table.lock())?.until = sent + shared.lease;
            Ok(())
        })
    }

    fn take_over(&self) -> BoxFuture<'_, Result<Option<TakenOver>, StoreError>> {
        Box::pin(async {
            let shared = self.reach()?;
            let mut table = shared.table.lock();
            self.seat(&mut table)?;
            let now = sync::now();
            let is_over = |(boot, seat): &(&u32, &Seat)| {
                **boot != self.boot && !seat.is_gone && seat.until <= now
            };
            // First what nobody has any more, as by the clock of a database.
            let over = table.members.iter().filter(is_over);
            let found =
                over.min_by_key(|(boot, seat)| (seat.until, !seat.is_drained, Reverse(**boot)));
            let Some((from, name)) = found.map(|(boot, seat)| (*boot, Arc::clone(&seat.name)))
            else {
                return Ok(None);
            };
            table.boot += 1;
            let given = table.boot;
            table.give(&shared.store, (from, self.boot), given, Some(&name));
            table.boot += 1;
            let taken = TakenOver { from: name, boot: table.boot };
            drop(table);
            shared.news.notify_waiters();
            Ok(Some(taken))
        })
    }

    fn next_lease_end(&self) -> Option<Instant> {
        let (table, now) = (self.shared.table.lock(), sync::now());
        let others =
            table.members.iter().filter(|(boot, seat)| **boot != self.boot && !seat.is_gone);
        others.map(|(_, seat)| seat.until).filter(|until| *until > now).min()
    }

    fn ask(
        &self,
        run: RunMeant,
        request: CancelRequest,
    ) -> BoxFuture<'_, Result<Disposition, StoreError>> {
        Box::pin(self.asked(run, request))
    }

    fn remember(&self, stop: StopToCome) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async { self.reserve(stop) })
    }

    fn take_remembered(&self) -> Vec<AskedStop> {
        std::mem::take(&mut self.remembered.lock())
    }

    fn take_placed(&self) -> Vec<Placed> {
        std::mem::take(&mut self.placed.lock())
    }

    fn turns(&self, asks: Vec<TurnAsk>) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>> {
        Box::pin(async move { self.take_turns(&asks) })
    }

    fn turn_heard(&self) -> BoxFuture<'_, Vec<Arc<str>>> {
        Box::pin(self.turns.heard())
    }

    fn owner(&self, run: RunId) -> BoxFuture<'_, Result<Option<Arc<str>>, StoreError>> {
        Box::pin(async move {
            let shared = self.reach()?;
            let Some(record) = shared.store.get(run).await? else { return Ok(None) };
            let table = shared.table.lock();
            let owner = table.owners.get(&record.accepted.root);
            let seat = owner.and_then(|boot| table.members.get(boot));
            Ok(seat.map(|seat| Arc::clone(&seat.name)))
        })
    }

    fn open_stops(&self, owner: Option<Arc<str>>) -> BoxFuture<'_, Result<OpenStops, StoreError>> {
        Box::pin(open_stops(self, owner))
    }

    fn act(&self, run: RunMeant, words: Payload) -> BoxFuture<'_, Result<ActAnswer, StoreError>> {
        Box::pin(acted(self, run, words))
    }

    fn inbox(&self, known: Vec<u64>) -> BoxFuture<'_, Result<Vec<Asked>, StoreError>> {
        Box::pin(async move {
            loop {
                let news = self.shared.news.notified();
                let asked = {
                    let table = self.reach()?.table.lock();
                    let (mut stops, acts) =
                        (table.asked_of(self.boot), table.acts_of(self.boot, &known));
                    stops.retain(|stop| !known.contains(&stop.nr));
                    stops.truncate(limits::ASKED_STOPS_MAX);
                    let stops = stops.into_iter().map(Asked::Stop);
                    stops.chain(acts.take(limits::ASKED_ACTS_MAX)).collect::<Vec<_>>()
                };
                if !asked.is_empty() {
                    return Ok(asked);
                }
                news.await;
            }
        })
    }

    fn take(&self, act: u64) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut table = self.reach()?.table.lock();
            self.seat(&mut table)?;
            Ok(table.take(act, self.boot))
        })
    }

    fn answer(&self, nr: u64, answer: Answer) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let shared = self.reach()?;
            let mut table = shared.table.lock();
            match answer {
                Answer::Stop(answer) => {
                    let own = table.stops.get_mut(&nr).filter(|asked| asked.owner == self.boot);
                    if let Some(asked) = own {
                        asked.answer.get_or_insert(answer);
                    }
                }
                Answer::Act(said) => table.say(nr, self.boot, said),
            }
            drop(table);
            shared.news.notify_waiters();
            Ok(())
        })
    }

    fn watch(&self, root: RunId) -> Option<Box<dyn LogWatch>> {
        Some(self.shared.table.lock().watch(root))
    }

    fn release(&self, roots: Vec<RunId>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut table = self.reach()?.table.lock();
            self.seat(&mut table)?;
            table.release((self.boot, &self.name), &roots);
            Ok(())
        })
    }

    fn forgotten(&self) -> BoxFuture<'_, Result<Vec<ForgottenWork>, StoreError>> {
        Box::pin(async {
            loop {
                let news = self.shared.news.notified();
                let work = self.forgotten_work(limits::STORE_PAGE_MAX)?;
                if !work.is_empty() {
                    return Ok(work);
                }
                news.await;
            }
        })
    }

    fn programs_before(
        &self,
        have_ended: bool,
    ) -> BoxFuture<'_, Result<Vec<ForgottenWork>, StoreError>> {
        Box::pin(async move { self.say_of_programs(have_ended) })
    }

    fn slots(&self, asked: Vec<SlotsAsked>) -> BoxFuture<'_, Result<Vec<SlotsHeld>, StoreError>> {
        Box::pin(async move {
            let shared = self.reach()?;
            let mut table = shared.table.lock();
            self.seat(&mut table)?;
            let held = self.exchange(&mut table, &asked);
            drop(table);
            shared.news.notify_waiters();
            Ok(held)
        })
    }

    fn slots_moved(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, StoreError>> {
        Box::pin(async move {
            loop {
                let news = self.shared.news.notified();
                let moved = self.reach()?.table.lock().quotas.take_moved(self.boot);
                if let Some(moved) = moved {
                    return Ok(moved);
                }
                news.await;
            }
        })
    }

    fn leave(&self, is_drained: bool) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let shared = self.reach()?;
            let mut table = shared.table.lock();
            let seat = self.seat(&mut table)?;
            (seat.until, seat.is_drained) = (sync::now(), is_drained);
            Ok(())
        })
    }
}
