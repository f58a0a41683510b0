//! Runs of a store that wait for an answer when `quell run` ends, and go on in a later one.

use crate::resumes::Killed;
use crate::support::{Ended, Running, Scratch, send, wait_until};
use crate::waits::{scratch, text, typed_to};

const STORE: [&str; 2] = ["--store", "runs.db"];

/// Runs the plan until it asks, and yields the id of its run and what was written.
fn left(scratch: &Scratch, args: &[&str]) -> (String, Ended) {
    let ended = scratch.run(&[&["run", "plan.yaml"], &STORE[..], args].concat());
    ended.assert_code(3);
    (id_of(&ended), ended)
}

/// Reads the id of the run from the command line that is said to go on with it.
fn id_of(ended: &Ended) -> String {
    let mut words = ended.stderr.split(' ').skip_while(|word| *word != "--resume");
    words.nth(1).expect("it says how it goes on").to_owned()
}

fn go_on(scratch: &Scratch, id: &str, args: &[&str]) -> Ended {
    scratch.run(&[&["run", "--resume", id], &STORE[..], args].concat())
}

#[test]
fn a_question_that_nobody_answers_leaves_the_run_paused_and_says_how_it_goes_on() {
    let scratch = scratch();
    let (id, ended) = left(&scratch, &["--report", "report.json"]);
    let says = format!(
        "quell: ok: send box? [yes/no]: nobody answers; the run is paused, and goes on with\n  \
         quell run plan.yaml --resume {id} --store runs.db --answer ok=yes\n"
    );
    assert!(ended.stderr.contains(&says), "{ended:?}");
    assert!(ended.stdout.contains("paused: it waits for an answer"), "{ended:?}");
    assert_eq!(scratch.json("report.json")["status"], "paused");
    let end = "\npaused: 1 completed, 1 paused\nnothing of it runs until it has its answer\n";
    assert!(ended.stdout.ends_with(end), "{ended:?}");
    let listed = scratch.run(&["runs", "--store", "runs.db"]);
    let line = listed.stdout.trim_end();
    assert!(line.contains("  paused  "), "{line}");
    assert!(line.ends_with("p  (ok: send box? [yes/no])"), "{line}");
    let shown = scratch.run(&["show", &id, "--store", "runs.db"]).stdout;
    assert!(shown.contains("asks     ok: send box? [yes/no]\n"), "{shown}");
    let how = format!("answer   quell run --resume {id} --store runs.db --answer ok=yes\n");
    assert!(shown.contains(&how), "{shown}");

    // The very words go on with it, up to the next question.
    let line = says.lines().nth(1).expect("a command line").trim().strip_prefix("quell ");
    let words: Vec<_> = line.expect("of quell").split(' ').collect();
    let ended = scratch.run(&words);
    ended.assert_code(3);
    assert!(ended.stderr.contains("ok: send box? [yes/no]: answered"), "{ended:?}");
    assert!(ended.stderr.contains("--answer where=VALUE\n"), "{ended:?}");
    let ended = go_on(&scratch, &id, &["--answer", "where=ada"]);
    ended.assert_code(0);
    assert!(!ended.stderr.contains("ok: send"), "{ended:?}");
    // Its progress is shown as before the pause: with the names, and from its acceptance on.
    for line in ["p  resumed: attempt 3\n", "p  running\n", "p/where  running\n"] {
        assert!(ended.stdout.contains(&format!("  {line}")), "{line}: {ended:?}");
    }
    assert!(!ended.stdout.contains(&id) && !ended.stdout.contains(" 0.000  "), "{ended:?}");
    assert_eq!((&*text(&scratch, "built"), &*text(&scratch, "sent")), ("run\n", "ada\n"));
}

#[test]
fn a_run_that_is_paused_is_told_to_be_quiescent() {
    let scratch = scratch();
    let (id, _) = left(&scratch, &[]);
    let json = |args: &[&str]| -> serde_json::Value {
        let said = scratch.run(&[args, &STORE[..]].concat()).stdout;
        serde_json::from_str(&said).expect("JSON")
    };
    let listed = json(&["runs", "--json"]);
    assert_eq!((&listed["status"], &listed["quiescent"]), (&"paused".into(), &true.into()));
    let shown = json(&["show", &id, "--json"]);
    assert_eq!((&shown["status"], &shown["quiescent"]), (&"paused".into(), &true.into()));
    assert_eq!(shown["rows"][0]["quiescent"], true, "{shown}");
}

#[test]
fn without_an_answer_it_asks_again_and_another_run_leaves_it_as_it_is() {
    let scratch = scratch();
    let (id, asked) = left(&scratch, &[]);
    assert!(asked.stdout.contains("waits    ok  send box?\n"), "{asked:?}");
    assert!(asked.stdout.contains("  not started: ok waits for an answer\n"), "{asked:?}");
    for _ in 0..2 {
        let ended = go_on(&scratch, &id, &[]);
        ended.assert_code(3);
        assert!(ended.stderr.contains("ok: send box? [yes/no]: nobody answers"), "{ended:?}");
        assert!(!ended.stderr.contains("1 run is paused"), "{ended:?}");
    }
    let ended = scratch.run(&["run", "--store", "runs.db", "--", "true"]);
    ended.assert_code(0);
    assert!(ended.stderr.contains("1 run is paused"), "{ended:?}");
    go_on(&scratch, &id, &["--answer", "ok=no"]).assert_code(1);
    assert_eq!(text(&scratch, "built"), "run\n");
    assert!(!scratch.names().contains(&"sent".to_owned()));
}

#[test]
fn events_as_json_end_with_the_pause() {
    let scratch = scratch();
    let ended = left(&scratch, &["--json"]).1;
    let last = ended.stdout.lines().last().expect("events");
    let last: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(last["event"], "paused");
}

#[test]
fn the_terminal_is_asked_and_its_end_leaves_the_run_paused() {
    let scratch = scratch();
    assert_eq!(typed_to(&scratch, "run plan.yaml --store runs.db", "\u{4}"), Some(3));
    let shown = text(&scratch, "typescript");
    assert!(shown.contains("the terminal has no more lines; the run is paused"), "{shown}");
    let begin = shown.split("--resume ").nth(1).expect("it says how it goes on");
    let id = begin.split(' ').next().expect("an id");
    let args = format!("run --resume {id} --store runs.db");
    assert_eq!(typed_to(&scratch, &args, "yes\nada\n"), Some(0));
    assert_eq!((&*text(&scratch, "built"), &*text(&scratch, "sent")), ("run\n", "ada\n"));
}

#[test]
fn a_run_that_is_killed_while_it_waits_asks_the_same_again() {
    let scratch = scratch();
    let line = format!("{} run plan.yaml --store runs.db", env!("CARGO_BIN_EXE_quell"));
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let mut command = scratch.program("script");
    command.args(["-qefc", &line, "typescript"]).stdin(reader);
    let running = Running::start(command);
    wait_until("the question", || text(&scratch, "typescript").contains("send box? [yes/no]"));
    // A terminal that is gone would be a signal to it.
    let is_quell = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"run")
    };
    let quell = scratch.survivors().into_iter().find(is_quell).expect("it waits");
    send("KILL", quell);
    running.ended();
    drop(writer);
    wait_until("nothing is left", || scratch.survivors().is_empty());
    let listed = scratch.run(&["runs", "--store", "runs.db", "--json"]).stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("one run");
    assert_eq!((&listed["status"], &listed["asks"]["step"]), (&"paused".into(), &"ok".into()));
    let id = listed["id"].as_str().expect("an id");
    go_on(&scratch, id, &["--answer", "ok=yes", "--answer", "where=ada"]).assert_code(0);
    assert_eq!((&*text(&scratch, "built"), &*text(&scratch, "sent")), ("run\n", "ada\n"));
}

/// `hang` does, unless `go` is there.
const HANGS: &str = "\
name: p
steps:
- { name: ok, wait: go on? }
- { name: hang, run: [sh, -c, 'echo $0 >> ran-hang; echo begun; test -e go || exec sleep 300',
    '{{ steps.ok.output }}'] }
- { name: where, wait: to whom? }
- { name: last, run: [sh, -c, 'echo $0 >> ran-last', '{{ steps.where.output }}'] }
";

#[test]
fn a_run_that_is_killed_after_its_answer_does_not_ask_for_it_again_nor_take_it_for_another() {
    let killed = Killed::at("begun", HANGS, &["--answer", "ok=yes"]);
    killed.scratch.write("go", "");
    let ended = go_on(&killed.scratch, &killed.id, &["--answer", "ok=no"]);
    ended.assert_code(3);
    assert!(!ended.stderr.contains("ok: go on?"), "{ended:?}");
    assert!(ended.stderr.contains("where: to whom?: nobody answers"), "{ended:?}");
    let unused = "the answer to `ok` was not used: the run did not wait there";
    assert!(ended.stderr.contains(unused), "{ended:?}");
    go_on(&killed.scratch, &killed.id, &["--answer", "where=ada"]).assert_code(0);
    assert_eq!((&*killed.ran("hang"), &*killed.ran("last")), ("yes\nyes\n", "ada\n"));
}

#[test]
fn an_answer_after_the_time_of_the_run_starts_nothing() {
    let scratch = scratch();
    let (id, _) = left(&scratch, &[]);
    let answers = ["--answer", "ok=yes", "--answer", "where=ada", "--timeout", "1ms"];
    go_on(&scratch, &id, &answers).assert_code(124);
    assert!(!scratch.names().contains(&"sent".to_owned()));
}

#[test]
fn an_answer_that_no_step_has_asked_for_is_told() {
    let scratch = scratch();
    let args = ["--answer", "ok=yes", "--answer", "where=ada", "--answer", "ok=again"];
    let ended = scratch.run(&[&["run", "plan.yaml"], &args[..]].concat());
    ended.assert_code(0);
    let unused = "the answer to `ok` was not used: the run did not wait there";
    assert_eq!(ended.stderr.matches(unused).count(), 1, "{ended:?}");
    assert!(!ended.stderr.contains("again"), "{ended:?}");
}

#[test]
fn how_long_runs_are_kept_has_a_unit_and_no_sign() {
    let scratch = Scratch::new();
    for (time, says) in [("0", "`0` has no unit; expected \"0s\""), ("-1s", "`-1s` is negative")] {
        let ended = scratch.run(&["serve", "--demo", "--store", "runs.db", "--keep", time]);
        ended.assert_code(2);
        assert!(ended.stderr.contains(says), "{ended:?}");
    }
}

#[test]
fn a_question_whose_time_is_over_is_shown_as_one_that_takes_no_answer() {
    let scratch = scratch();
    let (id, _) = left(&scratch, &[]);
    let show = || scratch.run(&["show", &id, "--store", "runs.db"]).stdout;
    let shown = show();
    assert!(shown.contains("--answer ok=yes"), "{shown}");
    let file = rusqlite::Connection::open(scratch.path("runs.db")).expect("the file");
    let rows = file.execute("update run set pause_expires = 1 where paused is not null", []);
    assert_eq!(rows, Ok(1));
    drop(file);
    let shown = show();
    assert!(shown.contains("; that is over: no answer is taken any more"), "{shown}");
    assert!(!shown.contains("--answer"), "{shown}");
    let ended = go_on(&scratch, &id, &["--answer", "ok=yes", "--answer", "where=ada"]);
    ended.assert_code(124);
    let late = "quell: the answer to `ok` came too late: the run is timed-out\n";
    assert!(ended.stderr.contains(late), "{ended:?}");
    assert!(ended.stderr.contains("`where` was not used: the run did not wait there"), "{ended:?}");
}
