//! `quell runs`, `show`, `events RUN` and `store`: what is read of a file, whoever has it.

use serde_json::Value;

use crate::support::{Running, Scratch, wait_until};

/// Runs a command of the shell in the store, and yields its report.
fn run_in(scratch: &Scratch, script: &str) -> Value {
    let args = ["run", "--store", "runs.db", "--report", "report.json", "--", "sh", "-c", script];
    scratch.run(&args);
    scratch.json("report.json")
}

/// Runs `quell` on the store, and yields what it prints.
#[track_caller]
fn read(scratch: &Scratch, args: &[&str]) -> String {
    let ended = scratch.run(&[args, &["--store", "runs.db"]].concat());
    ended.assert_code(0);
    assert_eq!(ended.stderr, "");
    ended.stdout
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn kinds(text: &str) -> Vec<String> {
    let kind = |event: &Value| event["event"].as_str().expect("a kind").to_owned();
    lines(text).iter().map(kind).collect()
}

#[test]
fn runs_are_listed_the_newest_first_and_by_status_and_number() {
    let scratch = Scratch::new();
    let ids: Vec<String> = ["exit 0", "exit 1", "exit 0"]
        .map(|script| run_in(&scratch, script)["run"].as_str().expect("an id").to_owned())
        .into();
    let listed = |more: &[&str]| {
        let listed = lines(&read(&scratch, &[&["runs", "--json"], more].concat()));
        listed.iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]), [&*ids[2], &ids[1], &ids[0]]);
    assert_eq!(listed(&["--limit", "1"]), [&*ids[2]]);
    assert_eq!(listed(&["--limit", "0"]).len(), 3);
    assert_eq!(listed(&["--status", "failed"]), [&*ids[1]]);
    assert_eq!(listed(&["--status", "failed", "--status", "completed"]).len(), 3);
    assert_eq!(listed(&["--status", "queued"]), [""; 0]);
    let text = read(&scratch, &["runs", "--status", "failed"]);
    assert!(text.starts_with(&format!("{}  failed ", ids[1])) && text.ends_with("sh\n"), "{text}");
    let ended = scratch.run(&["runs", "--store", "runs.db", "--status", "lost"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("timed-out"), "{ended:?}");
}

/// Leaves out the numbers of a text, and how it is aligned.
fn without_spans(text: &str) -> String {
    let words = text.split(|c: char| c == ' ' || c.is_ascii_digit());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_report_of_an_ended_run_is_shown_as_quell_run_does_it() {
    let scratch = Scratch::new();
    let args = ["run", "--store", "runs.db", "--report", "report.json", "--", "sh", "-c"];
    let ended = scratch.run(&[&args[..], &["echo one; exit 3"]].concat());
    ended.assert_code(1);
    let report = scratch.json("report.json");
    let id = report["run"].as_str().expect("an id");
    let text = read(&scratch, &["show", id]);
    // Stored instants are whole milliseconds: what lies between two of them may be one less.
    let (end, whole) = (without_spans(&text), without_spans(&ended.stdout));
    assert!(whole.ends_with(&end), "{end}\nis not the end of\n{whole}");
    let shown: Value = serde_json::from_str(&read(&scratch, &["show", id, "--json"])).unwrap();
    assert_eq!(shown, report);
}

#[test]
fn the_events_of_a_run_are_those_that_it_had() {
    let scratch = Scratch::new();
    let args = ["run", "--json", "--store", "runs.db", "--", "sh", "-c", "echo one; echo two"];
    let ended = scratch.run(&args);
    ended.assert_code(0);
    let id = lines(&ended.stdout)[0]["run"].as_str().expect("an id").to_owned();
    assert_eq!(read(&scratch, &["events", &id, "--json"]), ended.stdout);
    let text = read(&scratch, &["events", &id]);
    assert!(text.contains("sh  running\n") && text.contains("sh  │ two\n"), "{text}");
    assert!(text.trim_end().rsplit("  ").next().unwrap().starts_with("completed after"), "{text}");
}

#[test]
fn a_run_below_another_one_has_its_own_events() {
    let scratch = Scratch::new();
    let plan = r#"{ "name": "p", "steps": [
        { "name": "a", "run": ["echo", "one"] }, { "name": "b", "run": ["echo", "two"] }
    ] }"#;
    scratch.write("p.json", plan);
    let args = ["run", "p.json", "--store", "runs.db", "--report", "report.json"];
    scratch.run(&args).assert_code(0);
    let report = scratch.json("report.json");
    let row = crate::support::row(&report, "b");
    let id = row["run"].as_str().expect("an id");
    let text = read(&scratch, &["events", id, "--json"]);
    assert!(text.contains("two") && !text.contains("one"), "{text}");
    assert_eq!(kinds(&text), ["queued", "started", "emitted", "ended"]);
    let shown: Value = serde_json::from_str(&read(&scratch, &["show", id, "--json"])).unwrap();
    assert_eq!((&shown["status"], &shown["output"]), (&row["status"], &row["output"]));
}

#[test]
fn what_cannot_be_found_or_read_is_said_with_what_to_do() {
    let scratch = Scratch::new();
    let id = run_in(&scratch, "exit 0")["run"].as_str().expect("an id").to_owned();
    run_in(&scratch, "exit 0");
    let refused = |args: &[&str], words: &str| {
        let ended = scratch.run(args);
        ended.assert_code(2);
        assert!(ended.stderr.contains(words) && ended.stdout.is_empty(), "{args:?}: {ended:?}");
    };
    for command in ["show", "events"] {
        refused(
            &[command, "nobody", "--store", "runs.db"],
            "no run `nobody` is in runs.db; `quell",
        );
        // Both were made in this century.
        refused(&[command, "0", "--store", "runs.db"], "several runs begin with `0`; write more");
        refused(&[command, &id, "--store", "no.db"], "no.db: there is no such store: name one");
        refused(&[command, &id], "--store <FILE | URL>");
    }
    // All but the last digit is one run's alone, however fast they follow each other.
    assert!(read(&scratch, &["show", &id[..35]]).starts_with("sh  completed"));
    assert!(!scratch.path("no.db").exists());
    refused(&["runs", "--store", "report.json"], "this is no store of quell");
    refused(&["runs"], "--store <FILE | URL>");
}

#[test]
fn what_a_root_and_the_runs_below_it_begin_with_is_the_root() {
    let scratch = Scratch::new();
    let plan = "name: p\nsteps:\n- { name: a, run: [\"true\"] }\n- { name: b, run: [\"true\"] }\n";
    scratch.write("p.yaml", plan);
    scratch.run(&["run", "p.yaml", "--store", "runs.db"]).assert_code(0);
    let listed = read(&scratch, &["runs", "--json"]);
    let root: Value = serde_json::from_str(listed.trim()).expect("one run");
    let id = root["run"].as_str().or(root["id"].as_str()).expect("an id");
    for begin in ["0", &id[..8]] {
        assert!(read(&scratch, &["show", begin]).starts_with("p  "), "{begin}");
        assert!(!read(&scratch, &["events", begin]).is_empty(), "{begin}");
    }
}

#[test]
fn nothing_is_left_beside_a_closed_store_that_was_read() {
    let scratch = Scratch::new();
    let id = run_in(&scratch, "exit 0")["run"].as_str().expect("an id").to_owned();
    let before = scratch.names();
    for command in ["show", "events"] {
        read(&scratch, &[command, &id]);
    }
    read(&scratch, &["runs"]);
    scratch.run(&["store", "check", "runs.db"]).assert_code(0);
    scratch.run(&["runs", "--store", "report.json"]).assert_code(2);
    scratch.run(&["run", "--store", "report.json", "--", "true"]).assert_code(2);
    assert_eq!(scratch.names(), before);
}

#[test]
fn runs_that_begin_alike_are_listed_with_what_tells_them_apart() {
    let scratch = Scratch::new();
    let runs = ["exit 0", "exit 1"].map(|script| run_in(&scratch, script));
    let ended = scratch.run(&["show", "0", "--store", "runs.db"]);
    ended.assert_code(2);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines[0], "error: several runs begin with `0`; write more of one:");
    for (run, line) in runs.iter().zip(&lines[1..]) {
        let begin = format!("       {}  {:<9}  20", run["run"].as_str().unwrap(), run_status(run));
        assert!(line.starts_with(&begin) && line.ends_with("Z  sh"), "{line}");
    }
    assert_eq!(lines.len(), 3);
}

fn run_status(report: &Value) -> &str {
    report["status"].as_str().expect("a status")
}

#[test]
fn a_check_says_which_run_cannot_be_read() {
    let scratch = Scratch::new();
    // The report of a run that completed alone is no text.
    let id = run_in(&scratch, "exit 1")["run"].as_str().expect("an id").to_owned();
    scratch.run(&["store", "check", "runs.db"]).assert_code(0);
    let (mut bytes, key) = (scratch.read("runs.db"), b"\"rows\":");
    let at = bytes.windows(key.len()).position(|found| found == key).expect("a report");
    bytes[at + 1] = b'R';
    std::fs::write(scratch.path("runs.db"), bytes).expect("it is written");
    let ended = scratch.run(&["store", "check", "runs.db"]);
    ended.assert_code(2);
    let says = format!(
        "error: runs.db: the file is whole, and 1 thing in it cannot be read:\n       the stored \
         report of run {id} cannot be read ("
    );
    assert!(ended.stderr.starts_with(&says), "{ended:?}");
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_live_run_is_read_checked_and_copied_while_its_process_has_the_store() {
    let scratch = Scratch::new();
    let script = "echo $$ > pid; echo begun; exec sleep 1000";
    let args = ["run", "--store", "runs.db", "--grace", "1s", "--", "sh", "-c", script];
    let running = Running::start(scratch.quell(&args));
    wait_until("its program works", || scratch.pids().len() == 1);
    let only = || lines(&read(&scratch, &["runs", "--json"])).remove(0);
    wait_until("its start is stored", || only()["status"] == "running");
    let id = only()["id"].as_str().expect("an id").to_owned();
    wait_until("its line is stored", || {
        read(&scratch, &["events", &id, "--json"]).contains("begun")
    });
    let text = read(&scratch, &["events", &id, "--json"]);
    assert_eq!(kinds(&text), ["queued", "started", "emitted"]);
    let text = read(&scratch, &["show", &id]);
    assert!(text.starts_with("sh  running\n") && text.contains("  started  20"), "{text}");
    let report: Value = serde_json::from_str(&read(&scratch, &["show", &id, "--json"])).unwrap();
    assert_eq!((&report["status"], &report["rows"][0]["name"]), (&"running".into(), &"sh".into()));
    let ended = scratch.run(&["store", "check", "runs.db"]);
    ended.assert_code(0);
    assert_eq!(ended.stdout, "runs.db: fine\n");
    scratch.run(&["store", "backup", "runs.db", "copy.db"]).assert_code(0);
    running.signal("TERM");
    running.ended().assert_code(130);
    let kept = scratch.run(&["show", &id, "--store", "copy.db"]).stdout;
    assert!(kept.starts_with("sh  running\n"), "it is as it was: {kept}");
    let text = read(&scratch, &["events", &id, "--json"]);
    assert_eq!(kinds(&text)[3..], ["stopping", "ended"]);
    assert!(read(&scratch, &["show", &id]).contains("cancelled after"));
}

#[test]
fn a_run_that_was_left_behind_has_the_end_that_was_decided_in_its_events() {
    let scratch = Scratch::new();
    let script = "echo $$ > pid; exec sleep 1000";
    let args = ["run", "--store", "runs.db", "--", "sh", "-c", script];
    let running = Running::start(scratch.quell(&args));
    wait_until("its program works", || scratch.pids().len() == 1);
    let only = || lines(&read(&scratch, &["runs", "--json"])).remove(0);
    wait_until("its start is stored", || only()["status"] == "running");
    let id = only()["id"].as_str().expect("an id").to_owned();
    running.signal("KILL");
    wait_until("nothing is left", || scratch.survivors().is_empty());
    running.ended();
    // Nobody has decided it yet.
    assert_eq!(only()["status"], "running");
    run_in(&scratch, "exit 0");
    let text = read(&scratch, &["events", &id, "--json"]);
    assert_eq!(kinds(&text), ["queued", "started", "ended"]);
    let shown = read(&scratch, &["show", &id]);
    assert!(shown.contains("worker lost") && shown.contains("nothing of it was found"), "{shown}");
}

#[test]
fn a_backup_that_cannot_be_written_says_so_and_leaves_nothing() {
    let scratch = Scratch::new();
    run_in(&scratch, "exit 0");
    let names = scratch.names();
    let limited = ["-c", "ulimit -f 100; exec \"$0\" store backup runs.db copy.db"];
    let mut command = scratch.program("sh");
    command.args(limited).arg(env!("CARGO_BIN_EXE_quell"));
    let ended = Running::start(command).ended();
    ended.assert_code(2);
    assert!(ended.stderr.starts_with("error: copying runs.db to copy.db: "), "{ended:?}");
    assert_eq!(scratch.names(), names);
}

#[test]
fn a_place_that_is_taken_and_a_file_that_is_damaged_are_said() {
    let scratch = Scratch::new();
    run_in(&scratch, "exit 0");
    scratch.write("taken", "mine");
    let ended = scratch.run(&["store", "backup", "runs.db", "taken"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("taken is there already"), "{ended:?}");
    assert_eq!(scratch.read("taken"), b"mine");
    let ended = scratch.run(&["store", "check", "taken"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("no store of quell"), "{ended:?}");
    let mut bytes = scratch.read("runs.db");
    bytes[4_200..].fill(0xff);
    std::fs::write(scratch.path("runs.db"), bytes).expect("it is written");
    let ended = scratch.run(&["store", "check", "runs.db"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("the store is damaged: put a backup"), "{ended:?}");
}

#[test]
fn names_that_steer_a_terminal_are_shown_as_text_and_a_closed_stdout_ends_quietly() {
    let scratch = Scratch::new();
    let plan =
        "{ \"name\": \"a\\u001b[2Jb\", \"steps\": [{ \"name\": \"s\", \"run\": [\"true\"] }] }";
    scratch.write("p.json", plan);
    scratch.run(&["run", "p.json", "--store", "runs.db"]).assert_code(0);
    let text = read(&scratch, &["runs"]);
    assert!(text.ends_with("  a\\u{1b}[2Jb\n"), "{text:?}");
    let quell = env!("CARGO_BIN_EXE_quell");
    let mut command = scratch.program("sh");
    let script = format!("'{quell}' runs --store runs.db 2>said | true; cat said");
    command.args(["-c", &script]);
    let ended = Running::start(command).ended();
    assert_eq!((&*ended.stdout, &*ended.stderr), ("", ""));
}

#[test]
fn an_empty_id_and_a_folder_in_the_place_of_a_store_are_told_as_what_they_are() {
    let scratch = Scratch::new();
    run_in(&scratch, "exit 0");
    for args in [
        &["show", ""][..],
        &["show", " "],
        &["events", ""],
        &["runs", "cancel", ""],
        &["run", "--resume", ""],
    ] {
        let ended = scratch.run(&[args, &["--store", "runs.db"]].concat());
        ended.assert_code(2);
        let says = "is empty, as a variable that is not set is; expected the id of a run";
        assert!(ended.stderr.contains(says), "{args:?}: {ended:?}");
    }
    std::fs::create_dir(scratch.path("folder")).expect("it is made");
    for args in [&["runs"][..], &["show", "r"], &["runs", "prune", "--older-than", "1d"]] {
        let ended = scratch.run(&[args, &["--store", "folder"]].concat());
        ended.assert_code(2);
        assert!(ended.stderr.contains("folder is a folder, and a store is a file: "), "{ended:?}");
    }
}

#[test]
fn a_command_says_so_when_its_output_reaches_a_limit_of_files() {
    let scratch = Scratch::new();
    let mut command = scratch.program("sh");
    let script = "ulimit -f 1; exec \"$0\" \"$@\" > out";
    command.args(["-c", script, env!("CARGO_BIN_EXE_quell"), "help", "answers"]);
    let ended = Running::start(command).ended();
    ended.assert_code(1);
    assert!(ended.stderr.contains("File too large"), "{ended:?}");
}
