//! [`Retention`] keeps ended trees for a while, bounded by age, by number and by bytes, each owner
//! within a share.
//!
//! Invariants, under the one lock:
//!
//! 1. Trees are in the order in which they came; a tree that was forgotten leaves an empty place,
//!    and the first place is not empty.
//! 2. `bytes`, `count` and the shares are those of the trees that are there.
//! 3. A root that is marked as forgotten is not in here and does not come in again.
//!
//! The lock is a leaf. Trees leave it as a list, and are dropped after it is released: they hold
//! foreign values and errors.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quell_core::lifecycle::later;

use crate::config::Limits;
use crate::few::Few;
use crate::sync::Mutex;

/// The ended trees that are kept; `R` is what a run is.
#[derive(Debug)]
pub(crate) struct Retention<R> {
    trees_max: usize,
    trees_share: usize,
    bytes_max: usize,
    bytes_share: usize,
    age_max: Duration,
    kept: Mutex<Kept<R>>,
}

#[derive(Debug)]
struct Kept<R> {
    /// The trees, the oldest first; none where one was taken out of turn.
    trees: VecDeque<Option<Tree<R>>>,
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
struct Tree<R> {
    root: Arc<R>,
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

/// What a tree that has ended holds.
#[derive(Debug)]
pub(crate) struct TreeSize {
    /// Whom it was charged to.
    pub(crate) account: Option<Arc<str>>,
    /// How many bytes it has, about.
    pub(crate) bytes: usize,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// How many trees.
    pub(crate) trees: usize,
    /// How many bytes they hold, about.
    pub(crate) bytes: usize,
}

/// Trees that leave, for the caller to forget when it holds no lock. Most often it is one.
pub(crate) type Leaving<R> = Few<Arc<R>>;

impl<R> Retention<R> {
    pub(crate) fn new(limits: &Limits) -> Self {
        let age_max = limits.ended_trees_ttl;
        let keeps = limits.ended_trees_max > 0 && !age_max.is_zero();
        Self {
            trees_max: if keeps { limits.ended_trees_max } else { 0 },
            trees_share: limits.share_of(limits.ended_trees_max),
            bytes_max: limits.ended_bytes_max,
            bytes_share: limits.share_of(limits.ended_bytes_max),
            age_max,
            kept: Mutex::new(Kept {
                trees: VecDeque::new(),
                first: 0,
                count: 0,
                bytes: 0,
                shares: HashMap::new(),
                nothing: false,
            }),
        }
    }

    /// Keeps a tree that has ended and is quiescent. Yields the trees that have to leave and, if
    /// this is the only one, when its time is over. `measure` is called with no lock held, and not
    /// for a tree that is not kept. `is_forgotten` reads the mark of the root.
    pub(crate) fn keep(
        &self,
        root: &Arc<R>,
        measure: impl FnOnce() -> TreeSize,
        is_forgotten: impl FnOnce() -> bool,
        now: Instant,
    ) -> (Leaving<R>, Option<Instant>) {
        let mut leaving = Leaving::new();
        if self.trees_max == 0 {
            leaving.push(Arc::clone(root));
            return (leaving, None);
        }
        let TreeSize { account: owner, bytes } = measure();
        let mut kept = self.kept.lock();
        // A caller may forget the tree between its end and now. `forget` marks the root under
        // this lock, so the tree is refused here or taken out there.
        if is_forgotten() {
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
    pub(crate) fn expire(&self, now: Instant) -> (Leaving<R>, Option<Instant>) {
        let (mut leaving, mut kept) = (Leaving::new(), self.kept.lock());
        self.expire_locked(&mut kept, now, &mut leaving);
        let oldest = kept.trees.front().and_then(Option::as_ref);
        (leaving, oldest.map(|tree| later(tree.since, self.age_max)))
    }

    fn expire_locked(&self, kept: &mut Kept<R>, now: Instant, leaving: &mut Leaving<R>) {
        while let Some(Some(oldest)) = kept.trees.front() {
            let fits = kept.count <= self.trees_max && kept.bytes <= self.bytes_max;
            if fits && !kept.nothing && later(oldest.since, self.age_max) > now {
                return;
            }
            let first = kept.first;
            leaving.extend(kept.take(first));
        }
    }

    fn keep_to_share(&self, kept: &mut Kept<R>, owner: &Arc<str>, leaving: &mut Leaving<R>) {
        while let Some(share) = kept.shares.get(owner)
            && (share.places.len() > self.trees_share || share.bytes > self.bytes_share)
            && let Some(oldest) = share.places.front()
        {
            let oldest = *oldest;
            leaving.extend(kept.take(oldest));
        }
    }

    /// Takes a tree out, now and for ever: `mark` marks its root as forgotten.
    pub(crate) fn forget(&self, root: &Arc<R>, mark: impl FnOnce()) {
        let mut kept = self.kept.lock();
        mark();
        let is_it = |place: &Option<Tree<R>>| {
            place.as_ref().is_some_and(|tree| Arc::ptr_eq(&tree.root, root))
        };
        // Search from the back: most often the tree is among the last.
        if let Some(place) = kept.trees.iter().rposition(is_it) {
            let number = kept.first + place as u64;
            let taken = kept.take(number);
            // In this order: the tree's values are foreign.
            drop(kept);
            drop(taken);
        }
    }

    /// Yields how much is kept.
    pub(crate) fn held(&self) -> Held {
        let kept = self.kept.lock();
        Held { trees: kept.count, bytes: kept.bytes }
    }

    /// Keeps nothing from here on.
    pub(crate) fn keep_nothing(&self) {
        self.kept.lock().nothing = true;
    }
}

impl<R> Kept<R> {
    fn push(&mut self, tree: Tree<R>) {
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
    fn take(&mut self, number: u64) -> Option<Arc<R>> {
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
