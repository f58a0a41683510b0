//! Runs of plans that go on after `kill -9`: what a store says that had ended is not run again.

use serde_json::json;

use crate::support::{Running, Scratch, row, send, wait_until};

/// Each program writes that it runs, and its attempt. `cut` hangs in the second round, unless `go`
/// is there.
const PLAN: &str = "\
name: p
steps:
- { name: a, run: [sh, -c, 'echo $QUELL_ATTEMPT >> ran-a; echo one'] }
- name: rounds
  loop: { count: 2 }
  steps:
  - { name: r, run: [sh, -c, 'echo $0 >> ran-r; echo r$0', '{{ index }}'] }
  - name: cut
    run: [sh, -c, 'echo $0.$QUELL_ATTEMPT >> ran-cut; echo begun $0;
      test $0 = 1 || test -e go || exec sleep 300; cat', '{{ index }}']
    input: '{{ steps.a.output.stdout }}{{ steps.r.output.stdout }}'
- { name: last, run: [sh, -c, 'echo x >> ran-last; cat'],
    input: '{{ steps.rounds.output.cut.stdout }}{{ input.who }}' }
";

pub(crate) struct Killed {
    pub(crate) scratch: Scratch,
    pub(crate) id: String,
}

impl Killed {
    /// Runs the plan until the store has the begin of the program that hangs, and kills quell.
    fn new() -> Self {
        Self::at("begun 2", PLAN, &["--input", r#"{"who":"ada"}"#])
    }

    /// Runs a plan until the store has what a program wrote, and kills quell.
    pub(crate) fn at(written: &str, plan: &str, args: &[&str]) -> Self {
        let scratch = Scratch::new();
        scratch.write("plan.yaml", plan);
        let args = [&["run", "plan.yaml", "--store", "runs.db"], args].concat();
        let running = Running::start(scratch.quell(&args));
        wait_until("the store", || scratch.names().contains(&"runs.db".to_owned()));
        let mut id = String::new();
        wait_until(written, || {
            let listed = scratch.run(&["runs", "--store", "runs.db", "--json"]);
            let Ok(run) = serde_json::from_str::<serde_json::Value>(&listed.stdout) else {
                return false;
            };
            id = run["id"].as_str().expect("an id").to_owned();
            scratch.run(&["events", &id, "--store", "runs.db"]).stdout.contains(written)
        });
        send("KILL", running.pid());
        running.ended();
        wait_until("the guardian", || scratch.survivors().is_empty());
        Self { scratch, id }
    }

    pub(crate) fn ran(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.scratch.read(&format!("ran-{name}"))).into_owned()
    }

    fn assert_untouched(&self) {
        let ran = ["a", "r", "cut", "last"].map(|name| self.ran(name));
        assert_eq!(ran, ["1\n", "1\n2\n", "1.1\n2.1\n", ""]);
    }
}

#[test]
fn a_run_goes_on_behind_the_steps_that_had_ended_and_the_one_that_was_cut_is_attempt_two() {
    let killed = Killed::new();
    killed.assert_untouched();
    killed.scratch.write("go", "");
    let args = ["run", "--resume", &killed.id, "--store", "runs.db", "--report", "report.json"];
    let ended = killed.scratch.run(&args);
    ended.assert_code(0);
    // The steps of the lost attempt are no runs that have failed: their run goes on.
    assert!(!ended.stderr.contains("failed"), "{ended:?}");
    assert!(ended.stdout.ends_with("nothing of it was found running\n"), "{ended:?}");
    let shown = killed.scratch.run(&["events", &killed.id, "--store", "runs.db"]).stdout;
    let time = |line: &str| line.split_whitespace().next().and_then(|word| word.parse().ok());
    let times: Vec<f64> = shown.lines().filter_map(time).collect();
    assert!(times.len() > 10 && times.is_sorted(), "{shown}");
    let ran = ["a", "r", "cut", "last"].map(|name| killed.ran(name));
    assert_eq!(ran, ["1\n", "1\n2\n", "1.1\n2.1\n2.2\n", "x\n"]);
    let report = killed.scratch.json("report.json");
    assert_eq!(row(&report, "last")["output"]["stdout"], "begun 2\none\nr2\nada");
    assert_eq!(report["output"]["a"]["stdout"], "one\n");
    // The guardian has told that the program of the attempt before has ended.
    assert_eq!((&report["quiescent"], &report["abandoned"]), (&json!(true), &json!([])));
    assert_eq!(report["output"]["rounds"]["cut"]["stdout"], "begun 2\none\nr2\n");
    let again = killed.scratch.run(&args[..5]);
    again.assert_code(2);
    assert!(again.stderr.contains("has ended, completed: it cannot go on"), "{again:?}");
}

#[test]
fn a_run_goes_on_after_it_was_killed_twice() {
    let killed = Killed::new();
    let args = ["run", "plan.yaml", "--resume", &killed.id, "--store", "runs.db"];
    let running = Running::start(killed.scratch.quell(&args));
    wait_until("the second attempt", || killed.ran("cut").ends_with("2.2\n"));
    send("KILL", running.pid());
    running.ended();
    wait_until("the guardian", || killed.scratch.survivors().is_empty());
    killed.scratch.write("go", "");
    killed.scratch.run(&args).assert_code(0);
    let ran = ["a", "r", "last"].map(|name| killed.ran(name));
    assert_eq!(ran, ["1\n", "1\n2\n", "x\n"]);
}

#[test]
fn a_plan_that_has_changed_is_refused_and_the_run_can_still_go_on() {
    let killed = Killed::new();
    let args = ["run", "--resume", &killed.id, "--store", "runs.db"];
    killed.scratch.write("plan.yaml", &PLAN.replace("echo one", "echo two"));
    let ended = killed.scratch.run(&args);
    ended.assert_code(2);
    assert!(ended.stderr.contains("its text has changed since"), "{ended:?}");
    killed.assert_untouched();
    // A comment changes nothing.
    killed.scratch.write("plan.yaml", &format!("# the same\n{PLAN}"));
    killed.scratch.write("go", "");
    killed.scratch.run(&args).assert_code(0);
    assert_eq!(killed.ran("a"), "1\n");
}

#[test]
fn a_plan_that_was_moved_or_renamed_is_told_with_what_to_do_and_the_run_can_still_go_on() {
    let killed = Killed::new();
    let (scratch, id) = (&killed.scratch, &*killed.id);
    let refused = |args: &[&str], says: &[&str]| {
        let ended = scratch.run(&[args, &["--resume", id, "--store", "runs.db"]].concat());
        ended.assert_code(2);
        for words in says {
            assert!(ended.stderr.contains(words), "{words}: {ended:?}");
        }
    };
    std::fs::rename(scratch.path("plan.yaml"), scratch.path("moved.yaml")).expect("it is moved");
    let right = format!("`quell run PLAN --resume {id} --store …`");
    refused(&["run"], &["plan.yaml any more; put it back there", &right]);
    scratch.write("renamed.yaml", &PLAN.replace("name: p\n", "name: q\n"));
    refused(&["run", "renamed.yaml"], &["is one of plan `p`, and this is plan `q`", "anew"]);
    killed.assert_untouched();
    scratch.write("go", "");
    let args = ["run", "moved.yaml", "--resume", id, "--store", "runs.db"];
    scratch.run(&args).assert_code(0);
}

#[test]
fn a_plan_that_was_left_behind_is_one_run_that_has_failed_however_many_steps_it_had() {
    let killed = Killed::new();
    let ended = killed.scratch.run(&["run", "--store", "runs.db", "--", "true"]);
    ended.assert_code(0);
    let words = format!(
        "quell: 1 run that an earlier process had left behind has failed: p {}\n",
        killed.id
    );
    assert_eq!(ended.stderr, words);
}

#[test]
fn a_run_of_a_command_is_told_that_it_is_none_of_a_plan() {
    let scratch = Scratch::new();
    let script = "echo $$ > pid; exec sleep 1000";
    let args = ["run", "--store", "runs.db", "--", "sh", "-c", script];
    let running = Running::start(scratch.quell(&args));
    wait_until("its program works", || scratch.pids().len() == 1);
    let listed = scratch.run(&["runs", "--store", "runs.db", "--json"]).stdout;
    let run: serde_json::Value = serde_json::from_str(&listed).expect("one run");
    send("KILL", running.pid());
    running.ended();
    wait_until("the guardian", || scratch.survivors().is_empty());
    scratch.write("plan.yaml", "name: p\nsteps: [{ name: a, run: ['true'] }]\n");
    let id = run["id"].as_str().expect("an id");
    for plan in [&["run"][..], &["run", "plan.yaml"]] {
        let ended = scratch.run(&[plan, &["--resume", id, "--store", "runs.db"]].concat());
        ended.assert_code(2);
        let says = "is one of a command, and `--resume` goes on with plans; start the command anew";
        assert!(ended.stderr.contains(says), "{ended:?}");
    }
}

/// `deploy` hangs until its timeout, and then the cleanup, unless `go` is there.
const TIMED: &str = "\
name: p
grace: 1h
steps:
- { name: deploy, run: [sh, -c, 'echo x >> ran-deploy; test -e go || exec sleep 300'], timeout: 1s }
on_failure:
- { name: tell, run: [sh, -c, 'echo x >> ran-tell; echo telling; test -e go || exec sleep 300'] }
";

#[test]
fn a_step_that_had_timed_out_has_ended_and_the_plan_fails_as_it_would_have() {
    let killed = Killed::at("telling", TIMED, &[]);
    let deployed = killed.ran("deploy");
    killed.scratch.write("go", "");
    let args = ["run", "--resume", &killed.id, "--store", "runs.db", "--report", "report.json"];
    killed.scratch.run(&args).assert_code(1);
    assert_eq!(killed.ran("deploy"), deployed);
    assert_eq!(killed.ran("tell"), "x\nx\n");
    let report = killed.scratch.json("report.json");
    assert_eq!(row(&report, "p")["error"], "step `deploy` was stopped (deadline: timeout over)");
}

/// Hangs for a minute.
const SLOW: &str = "\
name: p
steps: [{ name: a, run: [sh, -c, 'echo begun; exec sleep 60'] }]
on_stop: [{ name: clean, run: [sh, -c, 'echo x >> ran-clean'] }]
";

#[test]
fn the_timeout_and_the_grace_of_the_first_command_line_hold_for_a_run_that_goes_on() {
    let killed = Killed::at("begun", SLOW, &["--timeout", "10s", "--grace", "0s"]);
    killed.scratch.run(&["run", "--resume", &killed.id, "--store", "runs.db"]).assert_code(124);
    assert_eq!(killed.ran("clean"), "");
}

#[test]
fn a_command_line_that_goes_on_with_a_run_may_give_other_times() {
    let killed = Killed::at("begun", SLOW, &["--timeout", "1h", "--grace", "0s"]);
    let args = ["--timeout", "1ms", "--grace", "1m"];
    let args = [&["run", "--resume", &killed.id, "--store", "runs.db"], &args[..]].concat();
    killed.scratch.run(&args).assert_code(124);
    assert_eq!(killed.ran("clean"), "x\n");
}

#[test]
fn a_run_whose_time_is_over_starts_nothing_when_it_goes_on() {
    let killed = Killed::new();
    let args = ["run", "--resume", &killed.id, "--store", "runs.db", "--timeout", "1ms"];
    let ended = killed.scratch.run(&args);
    ended.assert_code(124);
    killed.assert_untouched();
    assert!(!ended.stdout.contains("p/rounds"), "{ended:?}");
}

#[test]
fn a_run_that_was_stopped_does_not_go_on_and_says_why() {
    let plan = "name: p\ngrace: 1h\nsteps:\n\
                - { name: a, run: [sh, -c, 'trap : TERM; while :; do sleep 1; done'] }\n";
    let scratch = Scratch::new();
    scratch.write("plan.yaml", plan);
    let running = Running::start(scratch.quell(&["run", "plan.yaml", "--store", "runs.db"]));
    let listed = || {
        let listed = scratch.run(&["runs", "--store", "runs.db", "--json"]).stdout;
        serde_json::from_str::<serde_json::Value>(&listed).unwrap_or_default()
    };
    wait_until("it runs", || listed()["status"] == "running");
    running.signal("TERM");
    wait_until("it stops", || listed()["status"] == "stopping");
    let id = listed()["id"].as_str().expect("an id").to_owned();
    send("KILL", running.pid());
    running.ended();
    wait_until("the guardian", || scratch.survivors().is_empty());
    let ended = scratch.run(&["run", "--resume", &id, "--store", "runs.db"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("the run was stopped before ("), "{ended:?}");
    assert!(ended.stderr.contains("it has ended, cancelled"), "{ended:?}");
}

#[test]
fn a_run_that_goes_on_is_named_by_four_digits_or_more_and_its_steps_are_none() {
    let killed = Killed::new();
    let go_on = |id: &str| killed.scratch.run(&["run", "--resume", id, "--store", "runs.db"]);
    for id in ["0", "01", &killed.id[..3]] {
        let ended = go_on(id);
        ended.assert_code(2);
        let says = format!("no run `{id}` is in runs.db");
        assert!(ended.stderr.contains(&says), "{ended:?}");
    }
    let shown = killed.scratch.run(&["events", &killed.id, "--store", "runs.db", "--json"]).stdout;
    let is_below = |event: &serde_json::Value| event["run"] != event["root"];
    let events = shown.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let step = events.into_iter().find(is_below).expect("a step has events");
    let ended = go_on(step["run"].as_str().expect("an id"));
    ended.assert_code(2);
    assert!(ended.stderr.contains(&format!("is a part of `{}`", killed.id)), "{ended:?}");
    killed.assert_untouched();
    killed.scratch.write("go", "");
    go_on(&killed.id[..8]).assert_code(0);
}

#[test]
fn what_cannot_go_on_is_refused_with_what_to_do() {
    let scratch = Scratch::new();
    scratch.write("plan.yaml", "name: p\nsteps: [{ name: a, run: ['true'] }]\n");
    scratch.run(&["run", "plan.yaml", "--store", "runs.db"]).assert_code(0);
    for (args, says) in [
        (&["run", "--resume", "ffff", "--store", "runs.db"][..], "no run `ffff` is in runs.db"),
        (&["run", "--resume", "01a", "--store", "runs.db"], "expected an id such as 01a213ca-"),
        (&["run", "--resume", "01a", "--store", "runs.db"], "the first digits of one, at least 4"),
        (&["run", "--resume", "01a", "--store", "runs.db"], "`quell runs --store runs.db` lists"),
        (&["run", "--resume", "ffff", "--store", "none.db"], "none.db"),
        (&["run", "plan.yaml", "--resume", "ffff"], "--store"),
    ] {
        let ended = scratch.run(args);
        ended.assert_code(2);
        assert!(ended.stderr.contains(says), "{ended:?}");
    }
}
