//! [`words`]: what is said of the runs that an earlier process, or another node, has left behind.

use quell::store::RunRecord;
use quell::{Recovered, Recovery};
use quell_report::text::{cut, printable};

use super::runs::id;

/// The first roots that were left behind and have failed, as they are shown.
#[derive(Debug, Default)]
pub(super) struct Failed(Vec<String>);

impl Failed {
    /// Has the runs fail that are not to go on, and notes the first.
    pub(super) fn or_fail(
        &mut self,
        mut going_on: impl FnMut(&RunRecord) -> Option<Recovery> + Send,
    ) -> impl FnMut(&RunRecord) -> Recovery + Send {
        move |run| {
            going_on(run).unwrap_or_else(|| {
                self.add(run);
                Recovery::Fail
            })
        }
    }

    fn add(&mut self, run: &RunRecord) {
        // One that is paused stays so.
        if run.paused.is_none() && self.0.len() < SHOWN_MAX {
            let name = cut(&printable(&run.accepted.name), NAME_CHARS_MAX);
            let id = id(run);
            self.0.push(format!("{name} {}", cut(&printable(&id), ID_CHARS_MAX)));
        }
    }
}

/// Whose the runs were that a process finds at its start.
pub(super) const BEFORE: &str = "an earlier process";

/// Yields a line that says how many runs have ended now, if any have, steps not counted; one each
/// that says how many go on and how many are paused; and one for each of the first that cannot be
/// read. `whose` says who had left them.
pub(super) fn words(recovered: &Recovered, failed: &Failed, whose: &str) -> Vec<String> {
    let mut lines: Vec<_> = ended(recovered, failed, whose).into_iter().collect();
    lines.extend(match recovered.resumed.len() {
        0 => None,
        1 => Some(format!("1 run that {whose} had left behind goes on")),
        count => Some(format!("{count} runs that {whose} had left behind go on")),
    });
    let paused = match recovered.paused.len() {
        0 => None,
        1 => Some(format!("1 run is paused, as {whose} had left it")),
        count => Some(format!("{count} runs are paused, as {whose} had left them")),
    };
    lines.extend(paused);
    let unreadable = &recovered.unreadable;
    let shown = unreadable.iter().take(SHOWN_MAX);
    lines.extend(shown.map(|one| printable(&format!("left as it is: {one}")).into_owned()));
    match unreadable.len().saturating_sub(SHOWN_MAX) {
        0 => {}
        more => lines.push(format!("left as they are: {more} more that cannot be read")),
    }
    lines
}

fn ended(recovered: &Recovered, failed: &Failed, whose: &str) -> Option<String> {
    let (ended, all) = (recovered.ended_roots, recovered.ended_roots.total());
    let runs = match all {
        0 => return None,
        1 => format!("1 run that {whose} had left behind has"),
        all => format!("{all} runs that {whose} had left behind have"),
    };
    let mut names = failed.0.join(", ");
    match ended.failed.saturating_sub(failed.0.len() as u64) {
        more if more > 0 && !names.is_empty() => {
            names.extend([" and ", &more.to_string(), " more"]);
        }
        _ => {}
    }
    let of_failed = if names.is_empty() { String::new() } else { format!(": {names}") };
    if ended.failed == all {
        return Some(format!("{runs} failed{of_failed}"));
    }
    // Those that failed last: their names follow.
    let counts =
        [(ended.cancelled, "cancelled"), (ended.timed_out, "timed-out"), (ended.failed, "failed")];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> = counts.map(|(count, how)| format!("{count} {how}")).collect();
    Some(format!("{runs} ended: {}{of_failed}", counts.join(", ")))
}

/// How many of each sort are shown. The others are counted.
const SHOWN_MAX: usize = 5;

/// The longest name that is shown, and the longest id.
const NAME_CHARS_MAX: usize = 32;
const ID_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use quell::store::{Accepted, Epoch};
    use quell::{RunId, RunKind};
    use quell_http::EXTERNAL_ID;

    use super::*;

    #[test]
    fn a_run_is_named_by_the_id_that_its_caller_knows() {
        let run = RunId::from_text("order-7");
        let at = SystemTime::UNIX_EPOCH;
        let accepted = Accepted::new(run, RunKind::Agent, "a".into(), Epoch::new(1, 1), at);
        let mut record = RunRecord::new(accepted);
        let mut failed = Failed::default();
        failed.add(&record);
        record.accepted.labels.insert(EXTERNAL_ID.to_owned(), "order-7".to_owned());
        failed.add(&record);
        assert_eq!(failed.0, [format!("a {run}"), "a order-7".to_owned()]);
    }
}
