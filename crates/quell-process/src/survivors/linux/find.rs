//! [`find`]: what is alive of a program.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::adopted::note;
use super::descent::Descent;
use super::entry::{Unknown, open};
use super::looker;
use super::processes::Processes;
use super::snapshot::fresh;
use super::stat::is_shortage;
use crate::aside;
use crate::survivors::found::{Extent, HIDDEN_MAX, Sought, Stray, Survivors};

/// Looks for what is alive of a group and for what has the mark or its number; none if it cannot be
/// known. After a second without an answer there may be anything; the next call waits for the same
/// look, which `asked_at` tells. [`prepare`](looker::prepare) comes first.
///
/// # Cancel safety
///
/// It can be dropped and called again.
pub(crate) async fn find(sought: Sought<'_>, asked_at: &mut Option<Instant>) -> Option<Survivors> {
    let snapshot = aside::run(looker::snapshot(*asked_at.get_or_insert_with(Instant::now)));
    match tokio::time::timeout(SNAPSHOT_WAIT, snapshot).await {
        Ok(Some(Some(snapshot))) => {
            *asked_at = None;
            Some(survivors(&*snapshot.processes?, sought))
        }
        Ok(_) | Err(_) => Some(Survivors::default()),
    }
}

/// As [`find`], on a thread that may block, however long it takes. Any look will do that began
/// since `asked_at`.
pub(crate) fn find_blocking(sought: Sought<'_>, asked_at: Instant) -> Option<Survivors> {
    Some(survivors(&*fresh(asked_at).processes?, sought))
}

/// As [`find_blocking`], of several programs at once.
pub(crate) fn find_each(programs: &[Sought<'_>]) -> Option<Vec<Survivors>> {
    let processes = fresh(Instant::now()).processes?;
    Some(programs.iter().map(|sought| survivors(&processes, *sought)).collect())
}

fn survivors(processes: &Processes, sought: Sought<'_>) -> Survivors {
    let group = sought.group.map(Pid::as_raw_pid);
    let mut survivors = Survivors { extent: processes.extent(sought), ..Survivors::default() };
    for process in &processes.alive {
        if Some(process.group) == group {
            survivors.members.push((process.id, process.began));
            continue;
        }
        // A leader that changed its group is of the program, marked or not.
        let is_leader = Some(process.id) == group && Some(process.began) == sought.since;
        let is_certain = is_leader || process.has(sought.mark);
        let descent = if is_certain {
            // It has another user by now, and cannot be ended.
            let is_out_of_reach = process.unknown == Unknown::Foreign;
            if is_out_of_reach { Descent::Unknown } else { Descent::Own }
        } else if process.unknown == Unknown::Hidden {
            processes.descent(process, sought)
        } else {
            Descent::Foreign
        };
        if descent == Descent::Unknown {
            survivors.doubtful.push(process.id);
        }
        if descent != Descent::Own {
            continue;
        }
        match open(process.id, process.began) {
            Ok(Some(handle)) => {
                // A leader is reaped by its own thread, whether it is known when it began or not.
                if let Some(own) = processes.adopter
                    && Some(process.id) != group
                {
                    note(process, own);
                }
                let stray = Stray { id: process.id, began: process.began, handle };
                if is_certain {
                    survivors.strays.push(stray);
                } else if survivors.hidden.len() < HIDDEN_MAX {
                    survivors.hidden.push(stray);
                }
            }
            // It may have started another after the look: the next one finds that.
            Ok(None) => survivors.extent = survivors.extent.min(Extent::Listed),
            Err(error) => {
                survivors.extent = Extent::Unknown;
                warn(&error);
            }
        }
    }
    survivors
}

/// Says once that the system refuses handles, and not for a lack of room: what left a group cannot
/// be signalled. A subscriber is foreign: a panic of it goes no further.
fn warn(error: &io::Error) {
    static IS_SAID: AtomicBool = AtomicBool::new(false);
    if is_shortage(error) || IS_SAID.swap(true, Ordering::Relaxed) {
        return;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let words = "no handles of processes: what leaves the group of a program lives on";
        tracing::warn!(%error, "{words}");
    }));
}

/// How long to wait for a snapshot.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(1);
