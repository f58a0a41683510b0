//! What `quell` writes: lines, events, the report; and what it keeps of what programs wrote.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Ended, PATIENCE, Running, Scratch, wait_until};

/// Parses events and checks what every log of a tree must fulfil.
#[track_caller]
pub(crate) fn checked_events(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout.lines();
    let events: Vec<Value> =
        lines.map(|line| serde_json::from_str(line).expect("every line is JSON")).collect();
    let mut ends: HashMap<&str, u32> = HashMap::new();
    for (nth, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], nth + 1, "seq starts at 1 and has no gaps: {event}");
        let run = event["run"].as_str().expect("an event names its run");
        match event["event"].as_str().expect("an event has a name") {
            "queued" => assert_eq!(ends.insert(run, 0), None, "{run} is queued once"),
            "ended" => *ends.get_mut(run).expect("what ends was queued") += 1,
            _ => assert_eq!(ends.get(run), Some(&0), "nothing happens to an ended run: {event}"),
        }
    }
    assert!(ends.values().all(|count| *count == 1), "one end per run: {ends:?}");
    let last = events.last().expect("there are events");
    assert_eq!(
        (&last["event"], &last["run"]),
        (&"ended".into(), &last["root"]),
        "the root is last"
    );
    events
}

#[test]
fn with_json_stdout_carries_events_and_stderr_the_rest() {
    let scratch = Scratch::new();
    let ended = scratch.run(&["run", "--json", "--", "sh", "-c", "echo one; echo two >&2"]);
    ended.assert_code(0);
    let events = checked_events(&ended);
    let emitted: Vec<_> =
        events.iter().filter(|event| event["event"] == "emitted").map(|e| &e["data"]).collect();
    assert_eq!(emitted.len(), 2, "{events:#?}");
    let one = serde_json::json!({ "stream": "stdout", "line": "one" });
    let two = serde_json::json!({ "stream": "stderr", "line": "two" });
    assert!(emitted.contains(&&one) && emitted.contains(&&two), "{emitted:?}");
    assert!(ended.stderr.contains("sh  running"), "{ended:?}");
    assert!(ended.stderr.contains("completed after"), "{ended:?}");
}

#[test]
fn a_burst_of_lines_is_shown_without_loss() {
    let scratch = Scratch::new();
    let ended = scratch.run(&["run", "--json", "--", "seq", "1", "20000"]);
    ended.assert_code(0);
    let events = checked_events(&ended);
    let lines = events.iter().filter_map(|event| event["data"]["line"].as_str());
    let lines: Vec<_> = lines.flat_map(|line| line.split('\n')).collect();
    assert_eq!(lines.len(), 20_000);
    assert_eq!((lines[0], lines[19_999]), ("1", "20000"));
    let verbose = scratch.run(&["run", "-v", "--", "seq", "1", "20000"]);
    assert_eq!(verbose.stdout.lines().filter(|line| line.contains("seq  │ ")).count(), 20_000);
}

#[test]
fn what_programs_write_is_shown_on_request() {
    let scratch = Scratch::new();
    let command = ["--", "sh", "-c", "echo hello; printf '\\033[2J'"];
    let plain = scratch.run(&[&["run"], &command[..]].concat());
    assert!(!plain.stdout.contains("│ hello"), "{plain:?}");
    let verbose = scratch.run(&[&["run", "-v"], &command[..]].concat());
    assert!(verbose.stdout.contains("sh  │ hello\n"), "{verbose:?}");
    assert!(!verbose.stdout.contains('\u{1b}'), "a program cannot steer the terminal");
}

/// Yields the lines of progress, with the milliseconds at which they came.
fn progress(ended: &Ended) -> Vec<(u64, &str)> {
    let stamped = |line| -> Option<(u64, &str)> {
        let (stamp, what) = str::trim_start(line).split_once("  ")?;
        let (seconds, millis) = stamp.split_once('.')?;
        Some((seconds.parse::<u64>().ok()? * 1_000 + millis.parse::<u64>().ok()?, what))
    };
    ended.stdout.lines().filter_map(stamped).collect()
}

#[test]
fn a_few_lines_of_progress_a_second_are_shown_and_all_of_them_on_request() {
    let scratch = Scratch::new();
    let steps: Vec<_> =
        (0..60).map(|n| format!(r#"{{ "name": "s{n}", "run": ["sleep", "0.02"] }}"#)).collect();
    scratch.write("p.json", &format!(r#"{{ "name": "p", "steps": [{}] }}"#, steps.join(", ")));
    let plain = scratch.run(&["run", "p.json"]);
    plain.assert_code(0);
    let shown = progress(&plain);
    for pair in shown.windows(5) {
        assert!(pair[4].0 - pair[0].0 >= 1_000, "five lines within a second: {plain:?}");
    }
    assert!(shown.iter().any(|(_, what)| what.ends_with(" before it; -v shows all)")), "{plain:?}");
    let verbose = scratch.run(&["run", "-v", "p.json"]);
    assert_eq!(progress(&verbose).len(), 2 * 61, "each run starts and ends: {verbose:?}");
}

#[test]
fn a_stopped_program_keeps_what_it_wrote_byte_for_byte() {
    let scratch = Scratch::new();
    // The same bytes go to stdout and to the witness, until SIGTERM.
    let script = "trap 'stop=1' TERM; n=0; \
                  while [ -z \"$stop\" ]; do n=$((n+1)); \
                  printf 'línea %s\\t\\\\ \"q\"\\r\\n' $n; \
                  printf 'línea %s\\t\\\\ \"q\"\\r\\n' $n >> witness; done; \
                  printf 'no newline'; printf 'no newline' >> witness";
    let args = ["run", "--grace", "50s", "--report", "report.json", "--", "sh", "-c", script];
    let running = Running::start(scratch.quell(&args));
    wait_until("it has written much", || scratch.read("witness").len() > 10_000);
    running.signal("TERM");
    let ended = running.ended();
    ended.assert_code(130);
    assert!(ended.took < PATIENCE / 2, "{ended:?}");
    let report = scratch.json("report.json");
    let partial = &report["partial"];
    assert_eq!(partial["exit_code"], 0, "{report:#}");
    let kept = partial["stdout"].as_str().expect("text is kept as text");
    let witness = scratch.read("witness");
    assert!(kept.as_bytes() == witness, "{} bytes of {}", kept.len(), witness.len());
}

#[test]
fn a_killed_program_keeps_what_it_wrote_byte_for_byte() {
    let scratch = Scratch::new();
    let script = "trap '' TERM; seq 1 10000 | tee witness; echo > written; \
                  while :; do sleep 0.1; done";
    let args = ["run", "--grace", "0s", "--report", "report.json", "--", "sh", "-c", script];
    let running = Running::start(scratch.quell(&args));
    wait_until("the program has written", || scratch.path("written").exists());
    running.signal("INT");
    running.ended().assert_code(130);
    let report = scratch.json("report.json");
    let kept = report["partial"]["stdout"].as_str().expect("text is kept as text");
    let witness = scratch.read("witness");
    assert_eq!(witness.len(), 48_894);
    assert!(kept.as_bytes() == witness, "{} bytes of {}", kept.len(), witness.len());
}

#[test]
fn the_report_replaces_an_older_one_through_a_link_and_leaves_no_draft() {
    let scratch = Scratch::new();
    scratch.write("old.json", "old");
    symlink("old.json", scratch.path("link.json")).expect("a link can be made");
    scratch.run(&["run", "--report", "link.json", "--", "true"]).assert_code(0);
    assert_eq!(scratch.json("old.json")["status"], "completed");
    assert_eq!(scratch.names(), ["link.json", "old.json"]);
    let link = fs::symlink_metadata(scratch.path("link.json")).expect("the link is there");
    assert!(link.is_symlink());
}

#[test]
fn the_report_can_go_to_what_is_no_file() {
    let scratch = Scratch::new();
    scratch.run(&["run", "--report", "/dev/null", "--", "true"]).assert_code(0);
    let null = fs::metadata("/dev/null").expect("/dev/null is there");
    assert!(!null.is_file(), "/dev/null was replaced by a file");
}

#[test]
fn a_pipe_gets_the_report_if_it_is_read_and_is_refused_before_the_start_otherwise() {
    let scratch = Scratch::new();
    let made = Command::new("mkfifo").arg(scratch.path("pipe")).status().expect("mkfifo runs");
    assert!(made.success());
    let args = ["run", "--report", "pipe", "--", "touch", "started"];
    let refused = scratch.run(&args);
    refused.assert_code(2);
    assert!(refused.stderr.contains("no process reads this pipe"), "{}", refused.stderr);
    assert_eq!(scratch.names(), ["pipe"]);
    // Open for both, it waits for no writer.
    let open = fs::OpenOptions::new().read(true).write(true).open(scratch.path("pipe"));
    let mut reader = open.expect("it is ours");
    scratch.run(&args).assert_code(0);
    let mut report = vec![0; 1 << 16];
    let len = reader.read(&mut report).expect("the report is in the pipe");
    let report: Value = serde_json::from_slice(&report[..len]).expect("a report");
    assert_eq!(report["status"], "completed");
}

#[test]
fn drafts_of_killed_runs_are_removed_and_those_of_running_ones_remain() {
    let scratch = Scratch::new();
    let gate = "echo > begun; until [ -e gate ]; do sleep 0.01; done";
    let first = Running::start(scratch.quell(&["run", "--report", "a", "--", "sh", "-c", gate]));
    let is_draft = |name: &String| name.starts_with(".quell-report-");
    // A draft that is not locked yet may be taken for a leftover, and another one is made.
    wait_until("it has begun", || scratch.path("begun").exists());
    let draft = scratch.names().into_iter().find(is_draft).expect("it is there");
    // What a killed run leaves: a draft that nobody has open.
    let leftover = ".quell-report-0198c0de-0000-7000-8000-000000000000.draft";
    scratch.write(leftover, "half");
    // Files and links that are not ours.
    let others = [".quell-report-mine.draft", ".a.1.draft"];
    for name in others {
        scratch.write(name, "");
    }
    let link = ".quell-report-0198c0de-0000-7000-8000-000000000001.draft";
    symlink("mine", scratch.path(link)).expect("a link can be made");
    scratch.run(&["run", "--report", "b", "--", "true"]).assert_code(0);
    let names = scratch.names();
    assert!(!names.contains(&leftover.to_owned()), "{names:?}");
    for name in [&*draft, others[0], others[1], link] {
        assert!(names.contains(&name.to_owned()), "{name}: {names:?}");
    }
    scratch.write("gate", "");
    first.ended().assert_code(0);
    assert_eq!(scratch.json("a")["status"], "completed");
}

#[test]
fn a_reader_that_goes_away_cancels_the_run() {
    let scratch = Scratch::new();
    let script = "echo $$ > pid; while :; do echo more; sleep 0.05; done";
    let mut command = scratch.quell(&["run", "-v", "--", "sh", "-c", script]);
    let (mut reader, stdout) = std::io::pipe().expect("a pipe can be made");
    command.stdout(stdout);
    let running = Running::start(command);
    let mut first = [0; 20];
    reader.read_exact(&mut first).expect("something is written");
    wait_until("the program has begun", || scratch.pids().len() == 1);
    drop(reader);
    let ended = running.ended();
    ended.assert_code(130);
    assert!(ended.stderr.contains("the run is cancelled"), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    scratch.assert_nothing_is_left(1);
}

#[test]
fn a_reader_that_goes_away_is_noticed_although_nothing_is_written() {
    let scratch = Scratch::new();
    let script = "echo $$ > pid; exec sleep 300";
    let quell = scratch.quell(&["run", "--report", "report.json", "--", "sh", "-c", script]);
    let mut command = scratch.program("sh");
    // The reader leaves when the program has begun, after which nothing is written.
    let pipeline = "\"$@\" | { head -1; until [ -s pid ]; do sleep 0.05; done; }; \
                    until [ -s report.json ]; do sleep 0.05; done";
    command.args(["-c", pipeline, "sh"]).arg(quell.get_program()).args(quell.get_args());
    let ended = Running::start(command).ended();
    assert!(ended.took < PATIENCE / 2, "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    assert_eq!(scratch.json("report.json")["cause"]["kind"], "disconnected");
    wait_until("quell has exited", || scratch.survivors().is_empty());
    scratch.assert_nothing_is_left(1);
}

#[test]
fn a_full_disk_under_stdout_cancels_the_run() {
    let scratch = Scratch::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has /dev/full");
    let mut command = scratch.quell(&["run", "--", "sleep", "300"]);
    command.stdout(full);
    let ended = Running::start(command).ended();
    ended.assert_code(130);
    assert!(ended.stderr.contains("stdout cannot be written"), "{ended:?}");
    assert!(ended.took > Duration::ZERO);
    scratch.assert_nothing_is_left(0);
}

#[test]
fn help_that_cannot_be_written_is_a_failure_and_one_that_nobody_reads_is_none() {
    let scratch = Scratch::new();
    for args in [
        &["help"][..],
        &["help", "plan"],
        &["help", "process"],
        &["help", "run"],
        &["list", "--help"],
        &["--version"],
        &["man"],
        &["process"],
        &["plan", "schema"],
        &["completions", "bash"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let mut command = scratch.quell(args);
        command.stdout(full.expect("Linux has /dev/full"));
        let ended = Running::start(command).ended();
        ended.assert_code(1);
        let words = "error: stdout cannot be written: No space left on device";
        assert!(ended.stderr.starts_with(words), "{args:?}: {}", ended.stderr);

        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        drop(reader);
        let mut command = scratch.quell(args);
        command.stdout(writer);
        let ended = Running::start(command).ended();
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{args:?}");
    }
}
