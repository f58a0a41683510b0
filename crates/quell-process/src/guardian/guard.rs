//! [`guard`]: what a guardian does.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::guarded::LOOK_PAUSE;
use super::news::{BEGINS, ENDED};
use crate::survivors::{self, Sought, Strays, Survivors};

/// Reads which programs begin and end, and ends those that are left when there is no more to read.
/// Blocks until nothing is left, or for 10 s after that.
///
/// Signals that ask to end are the caller's to ignore: the embedder is told by them as well.
///
/// # Examples
///
/// ```
/// quell_process::guard(&b""[..]);
/// ```
pub fn guard(input: impl BufRead) {
    let mut programs = BTreeMap::new();
    for line in input.lines() {
        // A pipe that cannot be read says no more than one that was closed.
        let Ok(line) = line else { break };
        let mut words = line.split(' ');
        match (words.next(), words.next()) {
            (Some(BEGINS), Some(mark)) => {
                let group = words.next().and_then(|word| word.parse().ok()).and_then(Pid::from_raw);
                let began = words.next().and_then(|word| word.parse().ok());
                programs.insert(mark.to_owned(), Program { group, began });
            }
            (Some(ENDED), Some(mark)) => drop(programs.remove(mark)),
            _ => {}
        }
    }
    end(&programs);
}

/// A program that was started.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// Its group, once that is known.
    pub(super) group: Option<Pid>,
    /// When its leader began.
    pub(super) began: Option<u64>,
}

impl Program {
    /// Yields the group, unless its number means another one by now.
    pub(super) fn group(&self) -> Option<Pid> {
        let group = self.group?;
        let leader = survivors::began(group);
        (leader.is_none() || leader == self.began).then_some(group)
    }
}

fn end(programs: &BTreeMap<String, Program>) {
    let kill_at = Instant::now() + TERM_WAIT;
    let mut is_asked = false;
    let mut condemned = Vec::new();
    let mut strays: Vec<_> = programs.iter().map(|_| Strays::default()).collect();
    while !programs.is_empty() && Instant::now() < kill_at + KILL_WAIT {
        let is_late = Instant::now() >= kill_at;
        if is_late && condemned.is_empty() {
            condemned.extend(programs.keys().map(|mark| survivors::condemn(mark)));
        }
        let groups: Vec<_> =
            programs.iter().map(|(mark, program)| (program.group(), &**mark)).collect();
        let sought = |&(group, mark): &(_, _)| Sought { group, since: None, mark };
        // What ends during the look may have been met by it.
        let was_over = strays.iter().all(Strays::have_ended);
        let found = survivors::find_each(&groups.iter().map(sought).collect::<Vec<_>>());
        let is_over = found.as_ref().is_some_and(|all| all.iter().all(Survivors::is_empty));
        if was_over && is_over {
            return;
        }
        let signals: &[_] = match (is_late, is_asked) {
            (true, _) => &[Signal::KILL],
            (false, false) => &[Signal::TERM, Signal::CONT],
            (false, true) => &[],
        };
        for signal in signals {
            for (group, _) in &groups {
                // One that is gone cannot be signalled.
                let _ = group.map(|group| kill_process_group(group, *signal));
            }
        }
        is_asked = true;
        for (strays, found) in strays.iter_mut().zip(found.into_iter().flatten()) {
            if is_late {
                found.signal(Signal::KILL);
            } else {
                strays.terminate(&found);
            }
            // Its parents are about to end, and nothing else tells whose it is.
            strays.keep_hidden(found);
        }
        if is_late {
            strays.iter().for_each(Strays::kill_hidden);
        }
        thread::sleep(LOOK_PAUSE);
    }
}

/// How long what is left may take to end after SIGTERM.
const TERM_WAIT: Duration = Duration::from_millis(500);

/// How long to go on killing.
const KILL_WAIT: Duration = Duration::from_secs(10);
