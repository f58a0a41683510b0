//! [`Nodes`]: who is a member, what each has, and what is asked of whom.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use quell_core::cluster::AskedStop;
use quell_core::store::{Record, RunRecord, Store as _};
use quell_core::{Disposition, EventKind, RunId, Work, limits};

use crate::store::MemoryStore;
use crate::sync::{self, Mutex, Notify};
use crate::testing::cluster::Node;
use crate::testing::cluster::acts::AskedAct;
use crate::testing::cluster::forgotten::Forgotten;
use crate::testing::cluster::lanes::Lanes;
use crate::testing::cluster::reserved::Reserved;
use crate::testing::cluster::slots::Quotas;

/// Nodes of a cluster in one process, for tests of what several engines do: each
/// [`Node`] is the store and the cluster of one engine. They live as long as this, and leases are
/// by the clock of tokio, so that a test may pause it.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
/// # .block_on(async {
/// use std::time::Duration;
/// use quell::testing::cluster::Nodes;
/// use quell::{CancelRequest, Disposition, Engine, EngineConfig, RunSpec, RunStatus};
///
/// let nodes = Nodes::new(Duration::from_secs(15));
/// let engine = |name: &str| {
///     let node = nodes.join(name);
///     Engine::with_config(EngineConfig::new().node(node))
/// };
/// let (a, b) = (engine("a"), engine("b"));
/// let body = async |ctx: quell::RunContext| Ok(_ = ctx.stopped().await);
/// let run = a.submit_durably(RunSpec::agent("far"), body).await.unwrap().into_ref();
/// let answer = b.cancel_anywhere(run.id(), CancelRequest::because("enough")).await.unwrap();
/// assert!(matches!(answer, Disposition::Accepted { .. }));
/// assert_eq!(run.ended().await.status, RunStatus::Cancelled);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Nodes(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: MemoryStore,
    pub(super) lease: Duration,
    pub(super) table: Mutex<Table>,
    /// Something was asked, answered, or decided.
    pub(super) news: Notify,
}

/// What members decide together. The lock is held for one call, and the store is asked within it.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The newest boot that was given.
    pub(super) boot: u32,
    /// The members, by the boot with which they joined.
    pub(super) members: BTreeMap<u32, Seat>,
    /// Who has the roots, by that.
    pub(super) owners: HashMap<RunId, u32>,
    /// Roots that a member had which is lost: nobody knows whether that has started them.
    pub(super) doubted: HashSet<RunId>,
    pub(super) stops: BTreeMap<u64, AskedHere>,
    pub(super) acts: BTreeMap<u64, AskedAct>,
    /// The stops for runs to come, by their numbers.
    pub(super) reserved: BTreeMap<u64, Reserved>,
    /// Who is gone for good, and what those that are gone may execute.
    pub(super) forgotten: Forgotten,
    /// The roots of lanes, and whose turn it is.
    pub(super) lanes: Lanes,
    /// The slots of limits of all members.
    pub(super) quotas: Quotas,
    /// Who reads the log of which root, wherever that is.
    pub(super) watches: Vec<(RunId, Weak<Notify>)>,
    /// The number of the newest stop or act.
    pub(super) next_stop: u64,
}

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) name: Arc<str>,
    pub(super) until: Instant,
    /// Another has taken over, or it has left.
    pub(super) is_gone: bool,
    /// Nothing live that it has executes: it is nobody, who has what a member has given up, or has
    /// left and ended all that it had begun.
    pub(super) is_drained: bool,
}

#[derive(Debug)]
pub(super) struct AskedHere {
    pub(super) stop: AskedStop,
    pub(super) owner: u32,
    /// The owner of the tree of the run, if that has one.
    pub(super) of: Option<Arc<str>>,
    pub(super) answer: Option<Disposition>,
    /// As what it was remembered before its run had come, with others that were used up with it.
    pub(super) reserved: Vec<(u64, Reserved)>,
}

impl Nodes {
    /// Makes a cluster whose leases last so long.
    pub fn new(lease: Duration) -> Self {
        let (store, table, news) = (MemoryStore::new(), Mutex::default(), Notify::new());
        Self(Arc::new(Shared { store, lease, table, news }))
    }

    /// Joins under a name. Whoever had the name before is gone, and what it had belongs to this
    /// one: [`Engine::recover`](crate::Engine::recover) decides it.
    pub fn join(&self, name: &str) -> Arc<Node> {
        let (shared, joined_at) = (Arc::clone(&self.0), sync::now());
        let mut table = shared.table.lock();
        let former: Vec<_> = table.members.iter().filter(|(_, seat)| &*seat.name == name).collect();
        let former: Vec<_> = former.into_iter().map(|(boot, _)| *boot).collect();
        table.boot += 1;
        let given = table.boot;
        table.boot += 1;
        let boot = table.boot;
        let seat = Seat {
            name: name.into(),
            until: joined_at + shared.lease,
            is_gone: false,
            is_drained: false,
        };
        table.members.insert(boot, seat);
        for before in former {
            table.give(&shared.store, (before, boot), given, None);
        }
        // What others name this one for has ended with the process before, whatever becomes of it.
        table.forgotten.say((name, boot), Work::Node, true);
        drop(table);
        shared.news.notify_waiters();
        Arc::new(Node::new(shared, name, boot, joined_at))
    }

    /// Reads what the store has of a run, whoever has it.
    pub async fn read(&self, run: RunId) -> Option<RunRecord> {
        self.0.store.get(run).await.ok().flatten()
    }
}

impl Table {
    /// Yields the stops that a member has not answered.
    pub(super) fn asked_of(&self, owner: u32) -> Vec<AskedStop> {
        let of_owner = self.stops.values().filter(|it| it.owner == owner && it.answer.is_none());
        of_owner.map(|asked| asked.stop.clone()).collect()
    }

    /// Tells whether one more stop of a run, in a tree of this owner, may wait for a member.
    pub(super) fn has_room_for_stop(&self, owner: u32, run: RunId, of: Option<&Arc<str>>) -> bool {
        let (mut all, mut of_run, mut of_owner) = (0, 0, 0);
        let waiting = self.stops.values().filter(|it| it.owner == owner && it.answer.is_none());
        for asked in waiting {
            all += 1;
            of_run += usize::from(asked.stop.run == run);
            of_owner += usize::from(of.is_some() && asked.of.as_ref() == of);
        }
        all < limits::ASKED_STOPS_WAITING_MAX
            && of_run < limits::ASKED_STOPS_MAX
            && of_owner < limits::ASKED_STOPS_OF_OWNER_MAX
    }

    /// Gives roots of a member to nobody, from whom any other one takes them over at once.
    pub(super) fn release(&mut self, (from, name): (u32, &str), roots: &[RunId]) {
        self.boot += 1;
        let nobody = self.boot;
        let (name, until) = (format!("{name}{DRAINED}").into(), sync::now());
        let seat = Seat { name, until, is_gone: false, is_drained: true };
        self.members.insert(nobody, seat);
        for root in roots {
            if let Some(owner) = self.owners.get_mut(root).filter(|owner| **owner == from) {
                *owner = nobody;
                let asked = self.stops.values_mut().filter(|it| it.stop.run == *root);
                asked.filter(|it| it.answer.is_none()).for_each(|it| it.owner = nobody);
            }
        }
    }

    /// Gives all that one member has to another, with epochs of their own. A stop that was asked
    /// for is that of its run. `doubt` names the member if its process may live: it may execute
    /// what it had still.
    pub(super) fn give(
        &mut self,
        store: &MemoryStore,
        (from, to): (u32, u32),
        given: u32,
        doubt: Option<&Arc<str>>,
    ) {
        let (mut is_drained, mut former) = (false, None);
        if let Some(seat) = self.members.get_mut(&from) {
            seat.is_gone = true;
            (is_drained, former) = (seat.is_drained, Some(Arc::clone(&seat.name)));
        }
        let mut roots = HashSet::new();
        for (root, owner) in &mut self.owners {
            if *owner == from {
                *owner = to;
                roots.insert(*root);
            }
        }
        self.lanes.give(&roots, to);
        let is_sure = |root: &RunId| !self.doubted.contains(root);
        let open = store.take_over(&roots, given, doubt, (is_drained, is_sure));
        if !is_drained {
            self.doubted.extend(roots);
        }
        if let Some(name) = former {
            // What a member has given up is that of its name.
            let name = name.strip_suffix(DRAINED).map_or_else(|| Arc::clone(&name), Into::into);
            self.forgotten.note((&name, from), open);
        }
        self.quotas.give(from, to);
        let asked = self.stops.values_mut().filter(|asked| asked.owner == from);
        for asked in asked.filter(|asked| asked.answer.is_none()) {
            asked.owner = to;
            // It has ended meanwhile, perhaps: then its new owner says so.
            _ = store.accept_stop(&asked.stop, given);
        }
    }
}

impl Shared {
    pub(super) fn recorded(&self, nr: u64) -> Disposition {
        let table = self.table.lock();
        let seat = table.stops.get(&nr).and_then(|asked| table.members.get(&asked.owner));
        let Some(seat) = seat else { return Disposition::Unknown };
        let left = seat.until.saturating_duration_since(sync::now());
        Disposition::Recorded { owner: Arc::clone(&seat.name), lease_until: sync::wall() + left }
    }
}

/// What the name of a member is followed by in that of nobody, who has what it has given up.
const DRAINED: &str = " (drained)";

/// Yields the root that a record makes.
pub(super) fn root_of(record: &Record) -> Option<RunId> {
    match record {
        Record::Accepted(accepted) if accepted.root == accepted.run => Some(accepted.run),
        Record::Event { event, .. } => match event.kind {
            EventKind::Detached { .. } => Some(event.run),
            _ => None,
        },
        _ => None,
    }
}
