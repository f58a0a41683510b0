//! [`note`] and [`reap`]: strays that have become children of this process, and have ended.
//!
//! The first process of a container, or a subreaper, adopts what left a group and has lost its
//! parent, and is the only one who can reap it. A child that this process has started itself is its
//! owner's, who would lose its exit status. Such a child never had another parent, and is in the
//! session of this process unless it has made one, which it leads then. So three kinds are reaped:
//!
//! 1. What has the number of this process, or is in the group of a program: see
//!    [`programs`](super::programs).
//! 2. A stray that a look met alive, with another parent or in another session. A child of ours
//!    that has made a session of its own and was given the mark cannot be told from it.
//! 3. What is in the session of such a stray, which it does not lead: also what a look met dead, or
//!    ending, when it has no mark any more.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{WaitId, WaitIdOptions, getpid, waitid};

use super::entry::{Entry, Unknown, open};
use super::processes::{Processes, is_subreaper, own};
use super::programs::is_descendant;
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
        known().note(stray.id, stray.began, stray.marks.clone());
    }
}

/// Reaps what has ended of the strays that are known, and of their sessions. It does not block.
/// What is ending in these sessions is given the marks of such a stray: it is met by them.
pub(super) fn reap(processes: &mut Processes) {
    let Some(adopter) = processes.adopter else { return };
    let strays = known().0.clone();
    // While one of a session is there, dead or alive, its number is not another's.
    let sessions = strays.iter().filter_map(|(&id, stray)| {
        Some((read(id).filter(|it| it.began == stray.began)?.session, (id, stray)))
    });
    let sessions: HashMap<_, _> =
        sessions.filter(|(session, _)| *session != adopter.session).collect();
    // Tells which stray is in the session of a process that was read before: it had that one then.
    let stray_of = |id, session| {
        let &(stray, known) = sessions.get(&session).filter(|_| session != id)?;
        let is_there =
            read(stray).is_some_and(|it| (it.began, it.session) == (known.began, session));
        is_there.then_some(known)
    };
    // The stray may be reaped now, and these be dead at the next look.
    for it in &mut processes.alive {
        if let Some(stray) = stray_of(it.id, it.session) {
            let marks = it.marks.clone().or_else(|| stray.marks.clone());
            if it.unknown == Unknown::Over {
                it.marks.clone_from(&marks);
            }
            // Some are threads, of which nothing is left to be reaped.
            if !known().has(it.id, it.began) && matches!(open(it.id, it.began), Ok(Some(_))) {
                known().note(it.id, it.began, marks);
            }
        }
    }
    // What is known comes last: dead, it is still the proof for the others.
    for &id in processes.dead.iter().filter(|id| !strays.contains_key(id)) {
        if let Some(dead) = read(id).filter(|it| is_dead_child(it, adopter))
            && (is_descendant(&dead, id) || stray_of(id, dead.session).is_some())
        {
            reap_child(id, dead.began);
        }
    }
    for (id, Met { began, .. }) in strays {
        if read(id).is_some_and(|it| it.began == began && is_dead_child(&it, adopter)) {
            reap_child(id, began);
        }
        // It is kept if it could not be read.
        if Stat::read(id).is_ok_and(|stat| stat.is_none_or(|it| it.began != began)) {
            known().forget(id, began);
        }
    }
}

/// Tells whether this process may adopt, and has no `/proc` in which a look finds what to reap.
pub(crate) fn is_blind() -> bool {
    (getpid().is_init() || is_subreaper()) && own().is_none()
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

/// What is known of a stray, or of what is in its session.
#[derive(Clone)]
struct Met {
    began: u64,
    marks: Option<Box<str>>,
}

/// What this process did not start, and may have to reap, by number.
struct Known(BTreeMap<i32, Met>);

impl Known {
    fn note(&mut self, id: i32, began: u64, marks: Option<Box<str>>) {
        let has_room = self.0.len() < KNOWN_MAX || self.0.contains_key(&id);
        if !self.has(id, began) && has_room {
            self.0.insert(id, Met { began, marks });
        }
    }

    fn forget(&mut self, id: i32, began: u64) {
        if self.has(id, began) {
            self.0.remove(&id);
        }
    }

    fn has(&self, id: i32, began: u64) -> bool {
        self.0.get(&id).is_some_and(|it| it.began == began)
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
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn as_many_strays_are_known_as_there_is_room_for() {
        let mut known = Known(BTreeMap::new());
        let bound = KNOWN_MAX.try_into().unwrap();
        (0..=bound).for_each(|id| known.note(id, 50, None));
        assert_eq!(known.0.len(), KNOWN_MAX);
        // A number that means another one by now takes no room.
        known.note(0, 51, None);
        assert_eq!(known.0[&0].began, 51);
        known.forget(0, 50);
        known.forget(1, 50);
        known.note(bound, 50, None);
        assert_eq!((known.0.len(), known.0.contains_key(&bound)), (KNOWN_MAX, true));
    }

    #[test]
    fn what_is_ending_in_the_session_of_a_stray_is_met_by_its_marks() {
        // A session of its own with another process in it.
        let mut stray = Command::new("setsid");
        stray.args(["sh", "-c", "sleep 600 & echo $!; exec sleep 600"]).stdout(Stdio::piped());
        let mut stray = stray.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(stray.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (id, member): (i32, i32) =
            (stray.id().try_into().unwrap(), line.trim().parse().unwrap());
        let read = |id| Entry::read(id).unwrap().unwrap();
        known().note(id, read(id).began, Some("mark".into()));
        let ending = Entry { unknown: Unknown::Over, marks: None, ..read(member) };
        let leads = Entry { unknown: Unknown::Over, marks: None, ..read(id) };
        let mut processes = Processes::of([ending, leads], Vec::new());
        processes.adopter = Some(Adopter { id: 0, session: 0 });
        reap(&mut processes);
        let are_met = [member, id].map(|id| processes.get(id).unwrap().has("mark"));
        let is_known = known().0.contains_key(&member);
        Command::new("kill").arg(line.trim()).status().unwrap();
        stray.kill().unwrap();
        stray.wait().unwrap();
        assert_eq!((are_met, is_known), ([true, false], true));
    }
}
