//! [`guard`]: what a guardian does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufRead;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::guarded::LOOK_PAUSE;
use super::ledger::Ledger;
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
    guard_until_over(input);
}

/// As [`guard`], by a command whose stdout this is: as [`guarded_by`](crate::guarded_by) starts it,
/// that is the file of [`take_over`](crate::take_over), if there is one. If nothing is found any
/// more, it says so there, for the process that comes next.
///
/// # Examples
///
/// ```
/// // A file without lines of a process is left as it is.
/// let file = std::fs::File::open("/dev/null").unwrap();
/// quell_process::guard_and_tell(&b""[..], file);
/// ```
pub fn guard_and_tell(input: impl BufRead, stdout: File) {
    // The process that has started this one is the last one in it.
    let ledger = Ledger::of_guarded(stdout);
    if guard_until_over(input)
        && let Some(ledger) = ledger
    {
        ledger.ended();
    }
}

/// Guards, and tells whether nothing was found at the end.
fn guard_until_over(input: impl BufRead) -> bool {
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
    end(&programs)
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

/// Ends programs. Tells whether nothing of them was found any more.
fn end(programs: &BTreeMap<String, Program>) -> bool {
    let kill_at = Instant::now() + TERM_WAIT;
    // Counted from the first look that kills: this process may have stood still before it.
    let mut gives_up_at = None;
    let mut is_asked = false;
    let mut condemned = Vec::new();
    let mut strays: Vec<_> = programs.iter().map(|_| Strays::default()).collect();
    while !programs.is_empty() && gives_up_at.is_none_or(|at| Instant::now() < at) {
        let is_late = Instant::now() >= kill_at;
        if is_late && gives_up_at.is_none() {
            gives_up_at = Some(Instant::now() + KILL_WAIT);
        }
        if is_late && condemned.is_empty() {
            condemned.extend(programs.keys().map(|mark| survivors::condemn(mark)));
        }
        let sought = programs.iter().map(|(mark, program)| {
            let group = program.group();
            Sought { group, since: program.began, mark }
        });
        let sought: Vec<_> = sought.collect();
        // What ends during the look may have been met by it.
        let was_over = strays.iter().all(Strays::have_ended);
        let found = survivors::find_each(&sought);
        let is_over = found.as_ref().is_some_and(|all| all.iter().all(Survivors::is_empty));
        if was_over && is_over {
            return true;
        }
        // Without a look the groups are signalled nevertheless.
        let found = found.unwrap_or_else(|| sought.iter().map(|_| Survivors::default()).collect());
        for ((sought, strays), found) in sought.iter().zip(&mut strays).zip(found) {
            match sought.group {
                Some(group) if is_late => signal(group, &[Signal::KILL]),
                Some(group) if !is_asked => {
                    strays.ask_members(&found, group);
                    signal(group, &[Signal::TERM, Signal::CONT]);
                }
                _ => {}
            }
            if is_late {
                found.signal(Signal::KILL);
                strays.kill_hidden();
            } else {
                strays.terminate(&found);
            }
            // Its parents are about to end, and nothing else tells whose it is.
            strays.keep_hidden(found);
        }
        is_asked = true;
        thread::sleep(LOOK_PAUSE);
    }
    programs.is_empty()
}

/// Signals a group. One that is gone cannot be signalled.
fn signal(group: Pid, signals: &[Signal]) {
    for signal in signals {
        let _ = kill_process_group(group, *signal);
    }
}

/// How long what is left may take to end after SIGTERM.
const TERM_WAIT: Duration = Duration::from_millis(500);

/// How long to go on killing.
const KILL_WAIT: Duration = Duration::from_secs(10);
