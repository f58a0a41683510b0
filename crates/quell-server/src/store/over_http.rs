//! [`answering`]: how a paused run of a server is answered, which its server alone does.

use std::fs;
use std::path::Path;

use quell::store::RunRecord;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::open::beside;
use super::place::Place;
use super::runs::id;
use crate::answers::Question;
use crate::named::in_path;
use crate::shell_word::shell_word;

/// Says through what a paused run of a server gets its answer.
pub(super) fn answering(run: &RunRecord, place: &Place) -> String {
    let through = match place {
        Place::File(file) => {
            let pid =
                holder(file).map(|pid| format!("the server that has this file (process {pid})"));
            let file = shell_word(&file.to_string_lossy());
            pid.unwrap_or_else(|| {
                format!("a server that has this file (`quell serve --store {file}`)")
            })
        }
        Place::Database(_) => "any server of this database".to_owned(),
    };
    let is_approval = run.paused.as_ref().is_some_and(|pause| Question::of(&pause.request).approve);
    let answer = if is_approval { "yes" } else { "VALUE" };
    let url = shell_word(&format!("http://ADDRESS/v1/runs/{}/resume", in_path(&id(run))));
    format!("through {through}: curl {url} --json '{{\"answer\": \"{answer}\"}}'")
}

/// Yields the process that has a file: the one that its companion names, if it lives. That may be
/// another process by now, which has got the same number.
fn holder(file: &Path) -> Option<u32> {
    let own = file.canonicalize().ok()?;
    let pid: u32 = fs::read_to_string(beside(&own, ".lock")).ok()?.trim().parse().ok()?;
    let process = Pid::from_raw(i32::try_from(pid).ok()?)?;
    // It may be of another user.
    let lives = !matches!(test_kill_process(process), Err(Errno::SRCH));
    lives.then_some(pid)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use quell::store::{Accepted, Epoch};
    use quell::{RunId, RunKind};
    use quell_http::EXTERNAL_ID;

    use super::*;

    #[test]
    fn a_run_of_a_server_is_answered_through_the_process_that_has_its_file() {
        let folder = std::env::temp_dir().join(format!("quell-answering-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("runs.db");
        fs::write(&file, "").expect("a file");
        let at = SystemTime::UNIX_EPOCH;
        let run = RunId::from_text("a b/c");
        let accepted = Accepted::new(run, RunKind::Workflow, "p".into(), Epoch::new(1, 1), at);
        let mut record = RunRecord::new(accepted);
        record.accepted.labels.insert(EXTERNAL_ID.to_owned(), "a b/c".to_owned());
        let place = Place::File(file.clone());
        let words = answering(&record, &place);
        assert!(words.starts_with("through a server that has this file (`"), "{words}");
        fs::write(beside(&file, ".lock"), std::process::id().to_string()).expect("a file");
        let words = answering(&record, &place);
        let expected = format!(
            "through the server that has this file (process {}): curl \
             http://ADDRESS/v1/runs/a%20b%2Fc/resume --json '{{\"answer\": \"VALUE\"}}'",
            std::process::id()
        );
        assert_eq!(words, expected);
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
