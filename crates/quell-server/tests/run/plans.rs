//! Plans, from the file to the report.

use std::fs;

use serde_json::Value;

use crate::output::checked_events;
use crate::support::{
    PATIENCE, Running, Scratch, is_alive, repository, row, run_beyond_the_start, wait_until,
};

#[test]
fn the_tour_completes_and_keeps_what_the_slow_and_the_deaf_had_written() {
    let plan = repository().join("crates/quell-server/plans/tour.toml");
    let plan = fs::read_to_string(plan).expect("it is there");
    let has_timeout = "timeout = \"2s\"";
    assert_eq!(plan.matches(has_timeout).count(), 2, "of the slow and of the deaf");
    let mut report = Value::Null;
    // On a busy machine they need longer to begin, and may not be reaped before their bodies are
    // dropped.
    for timeout in ["2s", "8s", "18s"] {
        let scratch = Scratch::new();
        let plan = plan.replace(has_timeout, &format!("timeout = \"{timeout}\""));
        let plan = scratch.write("tour.toml", &plan).display().to_string();
        let file = scratch.path("report.json").display().to_string();
        let mut command = scratch.quell(&["run", &plan, "--report", &file]);
        command.current_dir(repository());
        Running::start(command).ended().assert_code(0);
        scratch.assert_nothing_is_left(0);
        report = scratch.json("report.json");
        let (slow, deaf) = (row(&report, "slow"), row(&report, "deaf"));
        if [slow, deaf].iter().all(|it| it["aborted"] == false && it["partial"]["stdout"] != "") {
            break;
        }
    }
    for name in ["tour", "prepare", "gather", "hash", "compress", "search", "count", "farewell"] {
        assert_eq!(row(&report, name)["status"], "completed", "{name}");
    }
    let slow = row(&report, "slow");
    assert_eq!(
        (&slow["status"], &slow["cause"]["kind"]),
        (&"timed-out".into(), &"deadline".into())
    );
    let kept = slow["partial"]["stdout"].as_str().expect("text is kept as text");
    assert!(kept.lines().last().is_some_and(|line| line.starts_with("stopped after ")), "{kept}");
    let deaf = row(&report, "deaf");
    assert_eq!((&deaf["status"], &deaf["partial"]["signal"]), (&"timed-out".into(), &9.into()));
    assert!(deaf["partial"]["stdout"].as_str().is_some_and(|kept| kept.starts_with("tick 1\n")));
    // What the branches kept is the value of the step.
    assert_eq!(report["output"]["gather"]["slow"], slow["partial"]);
    assert_eq!(report["output"]["gather"]["deaf"], deaf["partial"]);
}

#[test]
fn nothing_of_the_stubborn_plan_outlives_two_signals() {
    let scratch = Scratch::new();
    let plan = repository().join("crates/quell-server/plans/stubborn.toml").display().to_string();
    let running = Running::start(scratch.quell(&["run", &plan, "--report", "report.json"]));
    // Five branches; three children and grandchildren, each with a program to wait for; one that
    // left with another.
    wait_until("the crowd is there", || scratch.survivors().len() >= 15);
    let crowd = scratch.survivors();
    running.signal("INT");
    wait_until("the meek has ended", || crowd.iter().any(|pid| !is_alive(*pid)));
    running.signal("INT");
    let ended = running.ended();
    ended.assert_code(130);
    assert!(ended.stderr.contains("SIGINT: stopping"), "{ended:?}");
    scratch.assert_nothing_is_left(0);
    let report = scratch.json("report.json");
    assert_eq!((&report["status"], &report["quiescent"]), (&"cancelled".into(), &true.into()));
    assert_eq!(report["cause"]["message"], "interrupted by SIGINT");
    assert_eq!(row(&report, "deaf")["cause"]["kind"], "parent-stopped");
    assert_eq!(row(&report, "deaf")["aborted"], true);
    assert_eq!(row(&report, "meek")["partial"]["stdout"], "up for two minutes\n");
}

#[test]
fn nothing_of_a_plan_outlives_its_timeout_and_grace() {
    let deaf = |n: u32| {
        format!(
            r#"
            [[steps.branches]]
            name = "deaf {n}"
            run = ["sh", "-c", """
                trap '' TERM; echo $$ > pid.{n}.0
                sh -c 'echo $$ > pid.{n}.1; while :; do sleep 0.1; done' &
                setsid sh -c 'echo $$ > pid.{n}.2; while :; do sleep 0.1; done' &
                wait
            """]
            "#
        )
    };
    let head = r#"
        grace = "1s"
        [[steps]]
        name = "all"
        parallel = {}
    "#;
    let (scratch, ended) = run_beyond_the_start(9, |scratch, timeout| {
        let name = format!("name = 'deaf'\ntimeout = '{timeout}'\n");
        let plan = [name, head.to_owned(), deaf(1), deaf(2), deaf(3)].concat();
        scratch.write("deaf.toml", &plan);
        scratch.run(&["run", "deaf.toml", "--json"])
    });
    ended.assert_code(124);
    scratch.assert_nothing_is_left(9);
    checked_events(&ended);
}

#[test]
fn a_branch_that_times_out_keeps_what_it_wrote_byte_for_byte() {
    let plan = r#"
        name = "partial"
        [[steps]]
        name = "both"
        parallel = { on_branch_timeout = "partial" }
        [[steps.branches]]
        name = "slow"
        timeout = "TIMEOUT"
        grace = "1s"
        run = ["sh", "-c", """
            trap '' TERM
            seq -f 'línea %g\t"q" \\\\' 1 20000 | tee witness
            echo $$ > pid
            while :; do sleep 0.1; done
        """]
        [[steps.branches]]
        name = "quick"
        run = ["echo", "not disturbed"]
    "#;
    let (scratch, ended) = run_beyond_the_start(1, |scratch, timeout| {
        scratch.write("partial.toml", &plan.replace("TIMEOUT", timeout));
        scratch.run(&["run", "partial.toml", "--report", "report.json"])
    });
    ended.assert_code(0);
    let report = scratch.json("report.json");
    let kept = row(&report, "slow")["partial"]["stdout"].as_str().expect("text is kept as text");
    let witness = scratch.read("witness");
    assert!(witness.len() > 200_000, "{} bytes were written", witness.len());
    assert!(kept.as_bytes() == witness, "{} bytes of {}", kept.len(), witness.len());
    assert_eq!(report["output"]["both"]["slow"]["stdout"], kept);
    assert_eq!(report["output"]["both"]["quick"]["stdout"], "not disturbed\n");
}

#[test]
fn a_branch_that_fails_fails_the_plan_and_what_follows_is_not_started() {
    let scratch = Scratch::new();
    let plan = r#"
        name = "fails"
        [[steps]]
        name = "both"
        parallel = {}
        [[steps.branches]]
        name = "bad"
        run = ["sh", "-c", "until [ -s pid ]; do sleep 0.05; done; echo broken >&2; exit 7"]
        [[steps.branches]]
        name = "sibling"
        run = ["sh", "-c", "echo $$ > pid; exec sleep 300"]
        [[steps]]
        name = "never"
        run = ["touch", "marker"]
    "#;
    scratch.write("fails.toml", plan);
    let ended = scratch.run(&["run", "fails.toml", "--report", "report.json"]);
    ended.assert_code(1);
    assert_eq!(ended.stdout.matches("broken").count(), 1, "{ended:?}");
    scratch.assert_nothing_is_left(1);
    let report = scratch.json("report.json");
    assert_eq!(row(&report, "sibling")["cause"]["kind"], "sibling-failed");
    let skipped = serde_json::json!([{ "name": "never", "reason": "step-failed" }]);
    assert_eq!(row(&report, "fails")["summary"]["skipped"], skipped);
    assert!(ended.stdout.contains("│ skipped  never  an earlier step failed\n"), "{ended:?}");
    assert!(!scratch.path("marker").exists());
}

#[test]
fn the_command_line_overrides_the_limits_of_the_plan() {
    let plan = r#"{ "name": "slow", "timeout": "1h", "grace": "1h", "steps": [
        { "name": "deaf", "run": ["sh", "-c", "trap '' TERM; echo $$ > pid; sleep 300; :"] }
    ] }"#;
    let (scratch, ended) = run_beyond_the_start(1, |scratch, timeout| {
        scratch.write("slow.json", plan);
        scratch.run(&["run", "slow.json", "--timeout", timeout, "--grace", "500ms"])
    });
    ended.assert_code(124);
    assert!(ended.took < PATIENCE / 2, "{ended:?}");
    scratch.assert_nothing_is_left(1);
}

#[test]
fn a_cancelled_plan_has_one_end_per_run_and_no_gap_in_its_events() {
    let scratch = Scratch::new();
    let branches: Vec<_> = (0..20)
        .map(|n| {
            format!(
                r#"{{ name = "b{n}", run = ["sh", "-c", "echo $$ > pid.{n}; exec sleep 300"] }}"#
            )
        })
        .collect();
    let plan = format!(
        "name = 'wide'\n[[steps]]\nname = 'all'\nparallel = {{ limit = 10 }}\nbranches = [{}]\n",
        branches.join(", ")
    );
    scratch.write("wide.toml", &plan);
    let running = Running::start(scratch.quell(&["run", "--json", "wide.toml"]));
    wait_until("ten branches have begun", || scratch.pids().len() == 10);
    running.signal("TERM");
    let ended = running.ended();
    ended.assert_code(130);
    let events = checked_events(&ended);
    let cancelled = events.iter().filter(|event| event["data"] == "cancelled").count();
    assert!(cancelled >= 12, "{cancelled} runs were cancelled");
    scratch.assert_nothing_is_left(10);
    assert_eq!(scratch.pids().len(), 10, "nothing was started after the stop");
}

#[test]
fn the_report_says_who_decided_a_parallel_step_and_what_became_of_every_branch() {
    let scratch = Scratch::new();
    let plan = r#"
        name = "vote"
        [[steps]]
        name = "ask"
        parallel = { policy = "quorum", quorum = 2, branch_grace = "5s" }
        [[steps.branches]]
        name = "yes"
        run = ["sh", "-c", "until [ -s pid ]; do sleep 0.05; done"]
        [[steps.branches]]
        name = "slow"
        run = ["sh", "-c", "echo half; echo $$ > pid; exec sleep 300"]
        [[steps.branches]]
        name = "also"
        run = ["sh", "-c", "until [ -s pid ]; do sleep 0.05; done"]
        [[steps]]
        name = "race"
        parallel = { policy = "hedge", delay = "1h" }
        [[steps.branches]]
        name = "near"
        run = ["true"]
        [[steps.branches]]
        name = "far"
        run = ["touch", "marker"]
    "#;
    scratch.write("vote.toml", plan);
    let ended = scratch.run(&["run", "vote.toml"]);
    ended.assert_code(0);
    let has = |words: &[&str]| {
        let found = ended.stdout.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no line has {words:?}: {ended:?}");
    };
    // Of two that end at one time, either is seen first.
    has(&["policy   quorum(2), decided after", "s by ", ", settled after"]);
    has(&["branches yes", "completed", "ok", " to "]);
    has(&[" slow", "cancelled", "noise", "quorum-reached, grace used", "left a partial output"]);
    assert!(!ended.stdout.contains("late success"), "a signal ended it: {ended:?}");
    has(&["policy   hedge(1h), decided after", "by near, settled after"]);
    has(&[" far", "cancelled", "skipped", "never started", "race-lost"]);
    assert!(!scratch.path("marker").exists());
    scratch.assert_nothing_is_left(1);
}

#[test]
fn a_program_that_a_stop_lets_end_with_0_is_a_late_success() {
    let scratch = Scratch::new();
    let plan = r#"
        name = "race"
        [[steps]]
        name = "both"
        parallel = { policy = "first_success" }
        [[steps.branches]]
        name = "quick"
        run = ["sh", "-c", "until [ -s pid ]; do sleep 0.05; done"]
        [[steps.branches]]
        name = "polite"
        run = ["sh", "-c", "trap 'exit 0' TERM; echo $$ > pid; while :; do sleep 0.05; done"]
    "#;
    scratch.write("race.toml", plan);
    let ended = scratch.run(&["run", "race.toml"]);
    ended.assert_code(0);
    let polite = ended.stdout.lines().find(|line| line.contains(" polite  cancelled"));
    assert!(polite.is_some_and(|line| line.contains("late success")), "{ended:?}");
    scratch.assert_nothing_is_left(1);
}

#[test]
fn what_a_program_wrote_beyond_its_bound_is_not_read_by_mistake() {
    let scratch = Scratch::new();
    let plan = |reads: &str| {
        format!(
            "name: p\nsteps:\n- {{ name: flood, run: [sh, -c, 'yes | head -c 5000000'] }}\n\
             - {{ name: count, run: [wc, -c], input: '{{{{ steps.flood.output.{reads} }}}}' }}\n"
        )
    };
    scratch.write("whole.yaml", &plan("stdout"));
    let ended = scratch.run(&["run", "whole.yaml"]);
    ended.assert_code(1);
    let says = "`steps.flood.output.stdout` is cut: the step wrote 5000000 bytes on stdout, of \
                which the first 4194304 are kept";
    assert!(ended.stdout.contains(says), "{ended:?}");
    scratch.write("head.yaml", &plan("stdout_head"));
    let ended = scratch.run(&["run", "head.yaml", "--report", "report.json"]);
    ended.assert_code(0);
    let count = row(&scratch.json("report.json"), "count")["output"]["stdout"].clone();
    assert_eq!(count.as_str().map(str::trim), Some("4194304"));
}

#[test]
fn a_text_of_events_that_is_not_kept_is_neither_cut_for_the_next_step_nor_none() {
    let scratch = Scratch::new();
    // More than is kept, and what grows in JSON to more than an output may have.
    for (text, times, bytes) in [("x", 100, 5_000_000), ("\\u0001", 80, 3_200_000)] {
        let script = format!(
            "text=$(printf '%{}s' | sed 's/ /{text}/g')\nfor n in $(seq {times}); do\n\
             printf '{{\"event\":\"content\",\"text\":\"%s\"}}\\n' \"$text\"\ndone\n",
            bytes / times
        );
        scratch.write("say.sh", &script.replace("\\u", "\\\\u"));
        let says = format!(
            "`steps.big.output.content` is not kept: the events `content` of the step have \
             {bytes} bytes"
        );
        for (reads, code) in [("content | default(0)", 1), ("content_bytes", 0)] {
            let plan = format!(
                "name: p\nsteps:\n- {{ name: big, run: [sh, say.sh] }}\n\
                 - {{ name: next, run: [cat], input: '{{{{ steps.big.output.{reads} }}}}' }}\n"
            );
            scratch.write("plan.yaml", &plan);
            let ended = scratch.run(&["run", "plan.yaml", "--report", "report.json"]);
            ended.assert_code(code);
            assert!(code == 0 || ended.stdout.contains(&says), "{ended:?}");
            let big = row(&scratch.json("report.json"), "big")["output"].clone();
            assert_eq!((&big["content_bytes"], big.get("content")), (&bytes.into(), None));
        }
    }
}

#[test]
fn a_template_in_a_script_is_warned_of_and_nothing_fails() {
    let scratch = Scratch::new();
    let plan = "name: p\nsteps:\n- { name: a, run: [sh, -c, 'echo {{ input }}'] }\n";
    scratch.write("plan.yaml", plan);
    scratch.write("quell.toml", "[workflows.w]\nplan = 'plan.yaml'\n");
    let says = "warning: plan.yaml:3:34: `run`: `{{ input }}` in the script of `sh`";
    for args in
        [&["plan", "check", "plan.yaml"][..], &["run", "plan.yaml", "--input", "1"], &["check"]]
    {
        let ended = scratch.run(args);
        ended.assert_code(0);
        assert!(ended.stderr.contains(says), "{args:?}: {ended:?}");
        let caret = ended.stderr.lines().find(|line| line.trim_end().ends_with('^'));
        assert!(caret.is_some(), "{args:?}: {ended:?}");
    }
}

#[test]
fn every_key_of_the_output_of_a_program_is_known_when_a_plan_is_read() {
    let scratch = Scratch::new();
    let script = r#"
        echo '{"event":"content","text":"hi"}'
        echo '{"event":"result","output":1}'
    "#;
    scratch.write("script.sh", script);
    scratch.write("one.yaml", "name: p\nsteps: [{ name: a, run: [sh, script.sh] }]\n");
    scratch.run(&["run", "one.yaml", "--report", "report.json"]).assert_code(0);
    let output = row(&scratch.json("report.json"), "a")["output"].clone();
    let keys: Vec<&String> = output.as_object().expect("a table").keys().collect();
    assert!(keys.len() > 8 && output["content"] == "hi" && output["result"] == 1, "{output}");
    let reads = keys.iter().map(|key| format!("'{{{{ steps.a.output.{key} }}}}'"));
    let reads: Vec<_> = reads.collect();
    let reads = reads.join(", ");
    let plan = format!(
        "name: p\nsteps:\n- {{ name: a, run: [sh, script.sh] }}\n\
         - {{ name: b, run: [echo, {reads}] }}\n",
    );
    scratch.write("all.yaml", &plan);
    let ended = scratch.run(&["plan", "check", "all.yaml"]);
    ended.assert_code(0);
    assert_eq!(ended.stderr, "");
}
