//! [`note`] and [`reap`]: strays that have become children of this process, and have ended.
//!
//! The first process of a container, or a subreaper, adopts what left a group and has lost its
//! parent, and is the only one who can reap it. A child that this process has started itself is its
//! owner's, who would lose its exit status. Such a child never had another parent, and is in the
//! session of this process unless it has made one, which it leads then. So two kinds are reaped:
//!
//! 1. A stray that a look met alive, with another parent or in another session. A child of ours
//!    that has made a session of its own and was given the mark cannot be told from it.
//! 2. What died before a look met it, in the session of such a stray, which it does not lead.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::entry::{Entry, open};
use super::processes::Processes;
use super::stat::Stat;

/// This process, which adopts.
#[derive(Clone, Copy)]
pub(super) struct Adopter {
    pub(super) id: i32,
    pub(super) session: i32,
}

/// Remembers a stray that is alive, if it is certain that this process did not start it.
pub(super) fn note(stray: &Entry, own: Adopter) {
    if stray.parent != own.id || stray.session != own.session {
        known().note(stray.id, stray.began);
    }
}

/// Reaps what has ended of the strays that are known, and of their sessions. It does not block.
pub(super) fn reap(processes: &Processes) {
    let Some(own) = processes.adopter else { return };
    let strays = known().0.clone();
    // While one of a session is there, dead or alive, its number is not another's.
    let sessions = strays.iter().filter_map(|(&id, &began)| {
        Some((read(id).filter(|it| it.began == began)?.session, (id, began)))
    });
    let sessions: HashMap<_, _> = sessions.filter(|(session, _)| *session != own.session).collect();
    // What is known comes last: dead, it is still the proof for the others.
    for &id in processes.dead.iter().filter(|id| !strays.contains_key(id)) {
        if let Some(dead) = read(id).filter(|it| is_dead_child(it, own))
            && dead.session != id
            && let Some(&(stray, began)) = sessions.get(&dead.session)
            // Read again: both were there at one instant.
            && read(stray).is_some_and(|it| (it.began, it.session) == (began, dead.session))
        {
            reap_child(id, dead.began);
        }
    }
    for (id, began) in strays {
        if read(id).is_some_and(|it| it.began == began && is_dead_child(&it, own)) {
            reap_child(id, began);
        }
        // It is kept if it could not be read.
        if Stat::read(id).is_ok_and(|stat| stat.is_none_or(|it| it.began != began)) {
            known().forget(id, began);
        }
    }
}

fn reap_child(id: i32, began: u64) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    if let Ok(Some(handle)) = open(id, began) {
        // One that somebody else has reaped meanwhile is not a child any more.
        let _ = waitid(WaitId::PidFd(handle.as_fd()), options);
    }
}

fn read(id: i32) -> Option<Stat> {
    Stat::read(id).ok()?
}

const fn is_dead_child(stat: &Stat, own: Adopter) -> bool {
    stat.is_all_dead() && stat.parent == own.id
}

/// Strays that this process did not start: when each began, by number.
struct Known(BTreeMap<i32, u64>);

impl Known {
    fn note(&mut self, id: i32, began: u64) {
        if self.0.len() < KNOWN_MAX || self.0.contains_key(&id) {
            self.0.insert(id, began);
        }
    }

    fn forget(&mut self, id: i32, began: u64) {
        if self.0.get(&id) == Some(&began) {
            self.0.remove(&id);
        }
    }
}

fn known() -> MutexGuard<'static, Known> {
    static KNOWN: Mutex<Known> = Mutex::new(Known(BTreeMap::new()));
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many strays are known at once: those that are alive or dead and not reaped. One more is not
/// reaped.
const KNOWN_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_strays_are_known_as_there_is_room_for() {
        let mut known = Known(BTreeMap::new());
        let bound = KNOWN_MAX.try_into().unwrap();
        (0..=bound).for_each(|id| known.note(id, 50));
        assert_eq!(known.0.len(), KNOWN_MAX);
        // A number that means another one by now takes no room.
        known.note(0, 51);
        assert_eq!(known.0.get(&0), Some(&51));
        known.forget(0, 50);
        known.forget(1, 50);
        known.note(bound, 50);
        assert_eq!((known.0.len(), known.0.contains_key(&bound)), (KNOWN_MAX, true));
    }
}
