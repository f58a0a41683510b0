//! [`Retention`] keeps ended trees for a while, bounded by age, by number and by bytes, each owner
//! within a share.
//!
//! Invariants, under the one lock:
//!
//! 1. Trees are in the order in which they came; a tree that was forgotten leaves an empty place,
//!    and the first place is not empty.
//! 2. `bytes`, `count` and the shares are those of the trees that are there.
//! 3. A root that is marked `FORGOTTEN` is not in here and does not come in again.
//!
//! The lock is a leaf. Trees leave it as a list, and are dropped after it is released: they hold
//! foreign values and errors.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quell_core::lifecycle::later;

use crate::engine::config::Limits;
use crate::few::Few;
use crate::node::Node;
use crate::node::flags;
use crate::sync::Mutex;

#[derive(Debug)]
pub(crate) struct Retention {
    trees_max: usize,
    trees_share: usize,
    bytes_max: usize,
    bytes_share: usize,
    age_max: Duration,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The trees, the oldest first; none where one was taken out of turn.
    trees: VecDeque<Option<Tree>>,
    /// The number of the first place.
    first: u64,
    /// How many trees there are.
    count: usize,
    /// What they hold.
    bytes: usize,
    /// What each owner has of them.
    shares: HashMap<Arc<str>, Share>,
    /// The last handle of the engine is gone: no caller can ask for an ended tree.
    nothing: bool,
}

#[derive(Debug)]
struct Tree {
    root: Arc<Node>,
    owner: Option<Arc<str>>,
    since: Instant,
    bytes: usize,
}

/// What one owner has of the trees.
#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    /// The numbers of its places, the oldest first.
    places: VecDeque<u64>,
}

/// Trees that leave, for the caller to forget when it holds no lock. Most often it is one.
pub(crate) type Leaving = Few<Arc<Node>>;

impl Retention {
    pub(crate) fn new(limits: &Limits) -> Self {
        let age_max = limits.ended_trees_ttl;
        let keeps = limits.ended_trees_max > 0 && !age_max.is_zero();
        Self {
            trees_max: if keeps { limits.ended_trees_max } else { 0 },
            trees_share: limits.share_of(limits.ended_trees_max),
            bytes_max: limits.ended_bytes_max,
            bytes_share: limits.share_of(limits.ended_bytes_max),
            age_max,
            kept: Mutex::default(),
        }
    }

    /// Keeps a tree that has ended and is quiescent. Yields the trees that have to leave and, if
    /// this is the only one, when its time is over.
    pub(crate) fn keep(
        &self,
        root: &Arc<Node>,
        owner: Option<Arc<str>>,
        bytes: usize,
        now: Instant,
    ) -> (Leaving, Option<Instant>) {
        let mut leaving = Leaving::new();
        if self.trees_max == 0 {
            leaving.push(Arc::clone(root));
            return (leaving, None);
        }
        let mut kept = self.kept.lock();
        // A caller may forget the tree between its end and now. `forget` sets the flag under this
        // lock, so the tree is refused here or taken out there.
        if root.flags() & flags::FORGOTTEN != 0 {
            return (leaving, None);
        }
        kept.push(Tree { root: Arc::clone(root), owner: owner.clone(), since: now, bytes });
        if let Some(owner) = owner {
            self.keep_to_share(&mut kept, &owner, &mut leaving);
        }
        self.expire_locked(&mut kept, now, &mut leaving);
        // With others there, the loop is to wake for an earlier one already, and then asks again.
        let wake = (kept.count == 1).then(|| later(now, self.age_max));
        (leaving, wake)
    }

    /// Takes out the trees whose time is over, and those beyond the bounds. Yields when the time
    /// of the next one is.
    pub(crate) fn expire(&self, now: Instant) -> (Leaving, Option<Instant>) {
        let (mut leaving, mut kept) = (Leaving::new(), self.kept.lock());
        self.expire_locked(&mut kept, now, &mut leaving);
        let oldest = kept.trees.front().and_then(Option::as_ref);
        (leaving, oldest.map(|tree| later(tree.since, self.age_max)))
    }

    fn expire_locked(&self, kept: &mut Kept, now: Instant, leaving: &mut Leaving) {
        while let Some(Some(oldest)) = kept.trees.front() {
            let fits = kept.count <= self.trees_max && kept.bytes <= self.bytes_max;
            if fits && !kept.nothing && later(oldest.since, self.age_max) > now {
                return;
            }
            let first = kept.first;
            leaving.extend(kept.take(first));
        }
    }

    fn keep_to_share(&self, kept: &mut Kept, owner: &Arc<str>, leaving: &mut Leaving) {
        while let Some(share) = kept.shares.get(owner)
            && (share.places.len() > self.trees_share || share.bytes > self.bytes_share)
            && let Some(oldest) = share.places.front()
        {
            let oldest = *oldest;
            leaving.extend(kept.take(oldest));
        }
    }

    /// Takes a tree out, now and for ever.
    pub(crate) fn forget(&self, root: &Arc<Node>) {
        let mut kept = self.kept.lock();
        root.set(flags::FORGOTTEN);
        let is_it =
            |place: &Option<Tree>| place.as_ref().is_some_and(|tree| Arc::ptr_eq(&tree.root, root));
        // Search from the back: most often the tree is among the last.
        if let Some(place) = kept.trees.iter().rposition(is_it) {
            let number = kept.first + place as u64;
            let taken = kept.take(number);
            // In this order: the tree's values are foreign.
            drop(kept);
            drop(taken);
        }
    }

    /// Keeps nothing from here on.
    pub(crate) fn keep_nothing(&self) {
        self.kept.lock().nothing = true;
    }
}

impl Kept {
    fn push(&mut self, tree: Tree) {
        let number = self.first + self.trees.len() as u64;
        self.count += 1;
        self.bytes += tree.bytes;
        if let Some(owner) = &tree.owner {
            let share = self.shares.entry(Arc::clone(owner)).or_default();
            share.bytes += tree.bytes;
            share.places.push_back(number);
        }
        self.trees.push_back(Some(tree));
    }

    /// Takes a tree out of its place.
    fn take(&mut self, number: u64) -> Option<Arc<Node>> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let tree = self.trees.get_mut(place)?.take()?;
        self.count -= 1;
        self.bytes -= tree.bytes;
        if let Some(owner) = &tree.owner
            && let Some(share) = self.shares.get_mut(owner)
        {
            share.bytes -= tree.bytes;
            if let Ok(place) = share.places.binary_search(&number) {
                share.places.remove(place);
            }
            if share.places.is_empty() {
                self.shares.remove(owner);
            }
        }
        while let Some(None) = self.trees.front() {
            self.trees.pop_front();
            self.first += 1;
        }
        Some(tree.root)
    }
}
