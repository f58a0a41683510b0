//! Lanes that hold for all nodes: which roots they have, and whose turn it is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use quell_core::cluster::{Placed, TurnAsk};
use quell_core::store::{Accepted, LaneRule, Record, StoreError};
use quell_core::{RunId, StopMode, Work};

use crate::sync::{self, Mutex, Notify};
use crate::testing::cluster::Node;
use crate::testing::cluster::nodes::Table;

/// The roots of all lanes, in the order in which they were accepted.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    rows: BTreeMap<u64, Row>,
    next: u64,
    /// Where each member hears that it may be its turn.
    pub(super) words: HashMap<u32, Arc<TurnWords>>,
}

#[derive(Clone, Debug)]
struct Row {
    run: RunId,
    lane: Arc<str>,
    of: Option<Arc<str>>,
    due: Option<SystemTime>,
    turn: Turn,
    is_stopping: bool,
    has_ended: bool,
}

/// How a root stands in its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Waits,
    /// It waits, and has taken the place of what other members had.
    Replaces,
    Has,
}

/// What a member hears of its turns.
#[derive(Debug, Default)]
pub(super) struct TurnWords {
    lanes: Mutex<Vec<Arc<str>>>,
    news: Notify,
}

impl TurnWords {
    pub(super) async fn heard(&self) -> Vec<Arc<str>> {
        loop {
            let lanes = std::mem::take(&mut *self.lanes.lock());
            if !lanes.is_empty() {
                return lanes;
            }
            self.news.notified().await;
        }
    }

    fn say(&self, lane: &Arc<str>) {
        self.lanes.lock().push(Arc::clone(lane));
        self.news.notify_one();
    }
}

impl Row {
    fn has_turn(&self) -> bool {
        self.turn == Turn::Has
    }

    fn is_due(&self) -> bool {
        self.due.is_none_or(|due| due <= sync::wall())
    }
}

impl Lanes {
    fn of<'a>(&'a self, lane: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.values().filter(move |row| &*row.lane == lane)
    }

    /// Notes that a member is gone, and that others have its roots: of one that has ended nobody
    /// may learn any more that it is quiescent. Who has them asks whose turn it is now.
    pub(super) fn give(&mut self, roots: &HashSet<RunId>, to: u32) {
        let words = self.words.get(&to).cloned();
        self.rows.retain(|_, row| {
            let is_over = row.has_ended && roots.contains(&row.run);
            words.iter().filter(|_| is_over).for_each(|words| words.say(&row.lane));
            !is_over
        });
    }

    fn change(&mut self, record: &Record) {
        let run = record.run();
        let Some((place, row)) = self.rows.iter_mut().find(|(_, row)| row.run == run) else {
            return;
        };
        let place = *place;
        match record {
            Record::StopAccepted(stop) => row.is_stopping |= stop.mode > StopMode::AfterStep,
            Record::Ended { report, .. } => {
                row.has_ended = true;
                let is_lost = report.abandoned.iter().any(|work| work.what == Work::Node);
                if report.quiescent || is_lost {
                    self.rows.remove(&place);
                }
            }
            Record::Quiesced { .. } | Record::Forgotten { .. } => drop(self.rows.remove(&place)),
            _ => {}
        }
    }
}

impl Table {
    /// Decides about the lanes of the roots that a batch accepts, and follows the others. None if
    /// no lane changes.
    pub(super) fn place(
        &self,
        boot: u32,
        batch: &[Record],
    ) -> Result<Option<(Lanes, Vec<Placed>)>, StoreError> {
        let is_laned =
            |record: &Record| matches!(record, Record::Accepted(it) if it.lane_rule.is_some());
        if self.lanes.rows.is_empty() && !batch.iter().any(is_laned) {
            return Ok(None);
        }
        let (mut lanes, mut all) = (self.lanes.clone(), Vec::new());
        for record in batch {
            match record {
                Record::Accepted(accepted) => {
                    all.extend(self.place_one(&mut lanes, boot, accepted)?);
                }
                record => lanes.change(record),
            }
        }
        Ok(Some((lanes, all)))
    }

    fn place_one(
        &self,
        lanes: &mut Lanes,
        boot: u32,
        accepted: &Accepted,
    ) -> Result<Option<Placed>, StoreError> {
        let (Some(lane), Some(rule)) = (&accepted.lane, accepted.lane_rule) else {
            return Ok(None);
        };
        // One of this batch has no owner yet: it is this member's.
        let is_far = |row: &&Row| self.owners.get(&row.run).is_some_and(|owner| *owner != boot);
        let refuses = |row: &&Row| match rule {
            LaneRule::Wait => false,
            LaneRule::Refuse => is_far(row) || row.has_ended,
            LaneRule::NoWait => (is_far(row) || row.has_ended) && (row.has_turn() || row.is_due()),
            LaneRule::Replace => is_far(row) && row.of != accepted.owner,
            LaneRule::Join => is_far(row) && !row.is_stopping,
        };
        let busy = lanes.of(lane).filter(refuses).max_by_key(|row| row.has_turn());
        if let Some(busy) = busy {
            return Err(StoreError::LaneBusy { lane: Arc::clone(lane), run: busy.run });
        }
        let is_before = |row: &Row| row.has_turn() || row.is_due();
        let has_turn = accepted.due.is_none() && !lanes.of(lane).any(is_before);
        let replaced = match rule {
            LaneRule::Replace => lanes.of(lane).filter(is_far).map(|row| row.run).collect(),
            _ => Vec::new(),
        };
        let turn = match rule {
            _ if has_turn => Turn::Has,
            LaneRule::Replace => Turn::Replaces,
            _ => Turn::Waits,
        };
        let row = Row {
            run: accepted.run,
            lane: Arc::clone(lane),
            of: accepted.owner.clone(),
            due: accepted.due,
            turn,
            is_stopping: false,
            has_ended: false,
        };
        lanes.rows.insert(lanes.next, row);
        lanes.next += 1;
        Ok(Some(Placed { run: accepted.run, lane: Arc::clone(lane), has_turn, replaced }))
    }
}

impl Node {
    /// Yields for which roots of this node it is their turn.
    pub(super) fn take_turns(&self, asks: &[TurnAsk]) -> Result<Vec<RunId>, StoreError> {
        let shared = self.reach()?;
        let mut table = shared.table.lock();
        self.seat(&mut table)?;
        let mut given = Vec::new();
        for TurnAsk { lane, next } in asks {
            let Table { lanes, owners, .. } = &mut *table;
            let owner = |row: &Row| owners.get(&row.run).copied();
            if let Some(row) = lanes.of(lane).find(|row| row.has_turn()) {
                if owner(row) == Some(self.boot) && !row.has_ended {
                    given.push(row.run);
                }
                continue;
            }
            // Its member may not have heard yet that it is stopped.
            let is_replaced = |run: RunId| {
                let of = owners.get(&run);
                let behind = lanes.of(lane).skip_while(|row| row.run != run).skip(1);
                let mut live = behind.filter(|row| row.turn == Turn::Replaces && !row.has_ended);
                live.any(|row| owners.get(&row.run) != of)
            };
            let is_next = |row: &&Row| !row.has_ended && row.is_due() && !is_replaced(row.run);
            let first = lanes.of(lane).find(is_next).and_then(owner);
            if let Some(other) = first.filter(|first| *first != self.boot) {
                if let Some(words) = lanes.words.get(&other) {
                    words.say(lane);
                }
                continue;
            }
            let is_own = |next: &RunId| owners.get(next) == Some(&self.boot);
            let next = next.filter(|next| is_own(next) && !is_replaced(*next));
            let Some(next) = next else { continue };
            if let Some(row) = lanes.rows.values_mut().find(|row| row.run == next) {
                row.lane = Arc::clone(lane);
                if !row.has_ended {
                    row.turn = Turn::Has;
                    given.push(next);
                }
            }
        }
        Ok(given)
    }
}
