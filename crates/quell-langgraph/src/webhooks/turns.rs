//! [`Turns`]: whose webhook is posted next.
//!
//! Invariant: `total`, the sum of each owner and that of each host equal the turns that are not
//! dropped. Nobody waits who may post.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Posts that are under way, few at once: in all, for each owner, and to each host. Owners that
/// wait have their turns one after the other, so that none waits for all that another one has.
/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    total: usize,
    hosts: HashMap<Arc<str>, usize>,
    owners: HashMap<Owner, usize>,
    /// Who waits, each owner once, the one whose turn it is first.
    waiting: VecDeque<(Owner, VecDeque<Waiting>)>,
}

#[derive(Debug)]
struct Waiting {
    host: Arc<str>,
    tell: oneshot::Sender<Turn>,
}

/// A post that is under way. Dropped, it lets the next one begin.
#[derive(Debug)]
#[must_use = "dropped at once, the turn is over"]
pub(crate) struct Turn {
    turns: Turns,
    /// Whose it is, and to which host, until it is given back.
    of: Option<(Owner, Arc<str>)>,
}

type Owner = Option<Arc<str>>;

impl Turns {
    /// Waits for a turn.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropped, it gives up the turn, or its place among those that wait.
    pub(super) async fn take(&self, owner: Option<&Arc<str>>, host: &str) -> Turn {
        let (owner, host) = (owner.cloned(), Arc::<str>::from(host));
        loop {
            let (tell, told) = oneshot::channel();
            self.0.lock().wait(&owner, Waiting { host: Arc::clone(&host), tell });
            self.go_on();
            if let Ok(turn) = told.await {
                return turn;
            }
        }
    }

    /// Begins what may begin.
    fn go_on(&self) {
        loop {
            let Some((owner, waiting)) = self.0.lock().next() else { return };
            let turn = Turn { turns: self.clone(), of: Some((owner, waiting.host)) };
            if let Err(mut unwanted) = waiting.tell.send(turn) {
                // Whoever waited has gone. Given back here, it does not call this again.
                unwanted.give_back();
            }
        }
    }
}

impl State {
    fn wait(&mut self, owner: &Owner, waiting: Waiting) {
        match self.waiting.iter_mut().find(|(known, _)| known == owner) {
            Some((_, all)) => all.push_back(waiting),
            None => self.waiting.push_back((owner.clone(), [waiting].into())),
        }
    }

    /// Takes out the one that begins next, if one may.
    fn next(&mut self) -> Option<(Owner, Waiting)> {
        if self.total >= ALL_MAX {
            return None;
        }
        let (hosts, owners) = (&self.hosts, &self.owners);
        let has_room = |waiting: &Waiting| sum(hosts, &waiting.host) < HOST_MAX;
        let found = self.waiting.iter().enumerate().find_map(|(at, (owner, all))| {
            let may = sum(owners, owner) < OWNER_MAX;
            all.iter().position(has_room).filter(|_| may).map(|nth| (at, nth))
        });
        let (at, nth) = found?;
        let (owner, mut all) = self.waiting.remove(at)?;
        let next = all.remove(nth)?;
        if !all.is_empty() {
            self.waiting.push_back((owner.clone(), all));
        }
        self.total += 1;
        *self.hosts.entry(Arc::clone(&next.host)).or_default() += 1;
        *self.owners.entry(owner.clone()).or_default() += 1;
        Some((owner, next))
    }
}

impl Turn {
    /// Tells whether it was not given back before.
    fn give_back(&mut self) -> bool {
        let Some((owner, host)) = self.of.take() else { return false };
        let mut state = self.turns.0.lock();
        state.total -= 1;
        less(&mut state.hosts, &host);
        less(&mut state.owners, &owner);
        true
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.give_back() {
            self.turns.go_on();
        }
    }
}

fn sum<K: std::hash::Hash + Eq>(sums: &HashMap<K, usize>, key: &K) -> usize {
    sums.get(key).copied().unwrap_or_default()
}

fn less<K: std::hash::Hash + Eq>(sums: &mut HashMap<K, usize>, key: &K) {
    if let Some(sum) = sums.get_mut(key) {
        *sum -= 1;
        if *sum == 0 {
            sums.remove(key);
        }
    }
}

/// Posts at once, each with a descriptor: in all, of one owner, and to one host.
const ALL_MAX: usize = 64;
const OWNER_MAX: usize = 16;
const HOST_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn an_owner_with_many_dead_hosts_leaves_room_for_others_and_turns_go_round() {
        let (turns, ada, ben) = (Turns::default(), Arc::from("ada"), Arc::from("ben"));
        let take = |owner, host: String| turns.take(Some(owner), &host).now_or_never();
        let mut held: Vec<_> = (0..OWNER_MAX).filter_map(|n| take(&ada, n.to_string())).collect();
        assert!(held.len() == OWNER_MAX && take(&ada, "more".into()).is_none());
        let of_ben: Vec<_> = (0..HOST_MAX).filter_map(|_| take(&ben, "x".into())).collect();
        assert!(of_ben.len() == HOST_MAX && take(&ben, "x".into()).is_none());
        assert!(take(&ben, "y".into()).is_some());
        // What nobody waits for any more takes no place.
        held.clear();
        drop(of_ben);
        let state = turns.0.lock();
        assert_eq!((state.total, state.hosts.len(), state.owners.len()), (0, 0, 0));
        assert!(state.waiting.is_empty());
        drop(state);
        assert_eq!(Arc::strong_count(&turns.0), 1);
    }

    #[test]
    fn who_waits_behind_another_owner_comes_before_the_rest_of_that_one() {
        let (turns, ada, ben) = (Turns::default(), Arc::from("ada"), Arc::from("ben"));
        let mut held: Vec<_> =
            (0..HOST_MAX).filter_map(|_| turns.take(None, "x").now_or_never()).collect();
        let mut first = Box::pin(turns.take(Some(&ada), "x"));
        let mut second = Box::pin(turns.take(Some(&ada), "x"));
        let mut of_ben = Box::pin(turns.take(Some(&ben), "x"));
        for waiting in [&mut first, &mut second, &mut of_ben] {
            assert!(waiting.now_or_never().is_none());
        }
        held.pop();
        let _first = first.now_or_never().expect("its turn");
        held.pop();
        assert!((&mut second).now_or_never().is_none());
        let _of_ben = of_ben.now_or_never().expect("its turn");
        held.pop();
        assert!(second.now_or_never().is_some());
    }
}
