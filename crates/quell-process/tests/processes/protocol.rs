//! What a program says of its run with lines that are events.

use std::time::Duration;

use quell::{
    Budget, CauseKind, EventKind, EventStream, Outcome, RunSpec, RunStatus, ToolOutcome, Usage,
};
use quell_process::Process;
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, Scratch, Started, events_of, eventually, failure_of, leave_out_of_reach, output_of,
    script, start, started_script,
};

/// A script that prints these lines.
fn saying(lines: &[&str]) -> Process {
    script("cat").input(lines.join("\n") + "\n")
}

/// Waits for the end, and yields what the log says of tool calls, and the lines with a fault.
async fn calls_of(started: Started) -> (Vec<String>, Vec<String>) {
    let mut events = started.run().events();
    let _ = started.end().await;
    let (mut calls, mut faults) = (Vec::new(), Vec::new());
    while let Some(event) = events.next().await {
        match event.kind {
            EventKind::ToolStarted { call, name, input } => {
                calls.push(format!("{call} {name} {input}"));
            }
            EventKind::ToolEnded { call, outcome } => {
                let outcome = match outcome {
                    ToolOutcome::Result(Some(output)) => output.to_string(),
                    other => format!("{other:?}"),
                };
                calls.push(format!("{call} {outcome}"));
            }
            EventKind::Emitted(payload) => {
                let said: Value = payload.parse().unwrap();
                faults.extend(said["fault"].as_str().map(str::to_owned));
            }
            _ => {}
        }
    }
    (calls, faults)
}

/// Waits until the script is heard to have begun its call: what is printed is read later.
async fn begun(events: &mut EventStream) {
    while !matches!(events.next().await.unwrap().kind, EventKind::Emitted(_)) {}
}

/// Yields the outcomes of calls up to the end.
async fn outcomes_of(mut events: EventStream) -> Vec<ToolOutcome> {
    let mut outcomes = Vec::new();
    while let Some(event) = events.next().await {
        if let EventKind::ToolEnded { outcome, .. } = event.kind {
            outcomes.push(outcome);
        }
    }
    outcomes
}

/// A script that begins a call, says so, also in a file, and goes on.
fn calling(scratch: &Scratch, then: &str) -> Process {
    let begin = r#"echo '{"event":"tool.started","id":"1","name":"search"}
{"event":"content","text":"begun"}'; echo $$ > pid; "#;
    started_script(&format!("{begin}{then}")).cwd(scratch.path())
}

#[tokio::test]
async fn i18_every_call_that_begins_has_the_outcome_that_the_program_says() {
    let process = saying(&[
        r#"{"event":"tool.started","id":"1","name":"search","input":{"q":1}}"#,
        r#"{"event":"tool.started","id":"2","name":"read"}"#,
        r#"{"event":"tool.ended","id":"1","output":[1,2.50]}"#,
        r#"{"event":"tool.ended","id":"2","error":"not found"}"#,
        r#"{"event":"tool.started","id":"1","name":"again"}"#,
        r#"{"event":"tool.ended","id":"1"}"#,
    ]);
    let (calls, faults) = calls_of(start(RunSpec::step("calls"), process)).await;
    let expected = [
        r#"1 search {"q":1}"#,
        "2 read null",
        "1 [1,2.50]",
        r#"2 Error("not found")"#,
        "1 again null",
        "1 null",
    ];
    assert_eq!(calls, expected);
    assert_eq!(faults, [""; 0]);
}

#[tokio::test]
async fn a_call_that_cannot_begin_or_end_is_a_line_with_a_fault_and_not_lost() {
    let lines = [
        r#"{"event":"tool.ended","id":"1"}"#,
        r#"{"event":"tool.started","id":"1","name":"a"}"#,
        r#"{"event":"tool.started","id":"1","name":"b"}"#,
        r#"{"event":"tool.ended","id":"1","output":7}"#,
        r#"{"event":"tool.ended","id":"1","output":8}"#,
    ];
    let (calls, faults) = calls_of(start(RunSpec::step("calls"), saying(&lines))).await;
    assert_eq!(calls, ["1 a null", "1 7"]);
    let expected = ["no call `1` is open", "call `1` is open already", "no call `1` is open"];
    assert_eq!(faults, expected);
    let kept = [lines[0], lines[2], lines[4], ""].join("\n");
    assert_eq!(output_of(saying(&lines)).await.stdout, kept);
}

#[tokio::test]
async fn a_program_has_256_open_calls_at_most() {
    let begin = |n| format!(r#"{{"event":"tool.started","id":"{n}","name":"t"}}"#);
    let lines: Vec<_> = (0..257).map(begin).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let (calls, faults) = calls_of(start(RunSpec::step("calls"), saying(&lines))).await;
    assert_eq!(faults, ["256 calls are open already"]);
    assert_eq!(calls.len(), 2 * 256);
    assert_eq!(calls[511], "255 Cancelled", "the program is dead, and said nothing of it");
}

// A task of tokio does so much at once only; what is said in one piece may be more.
#[tokio::test]
async fn i18_calls_that_end_in_one_piece_have_all_their_outcomes() {
    let begin = |n| format!(r#"{{"event":"tool.started","id":"{n}","name":"t"}}"#);
    let end = |n| format!(r#"{{"event":"tool.ended","id":"{n}","output":{n}}}"#);
    let lines: Vec<_> = (0..250).map(begin).chain((0..250).map(end)).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let (calls, faults) = calls_of(start(RunSpec::step("calls"), saying(&lines))).await;
    assert_eq!(faults, [""; 0]);
    let expected: Vec<_> = (0..250).map(|n| format!("{n} {n}")).collect();
    assert_eq!(calls[250..], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn i18_an_open_call_of_a_program_that_is_dead_is_cancelled() {
    let scratch = Scratch::new("calls-dead");
    for then in ["exit 0", "exit 3", "kill -KILL $$"] {
        let (calls, _) = calls_of(start(RunSpec::step("ends"), calling(&scratch, then))).await;
        assert_eq!(calls, ["1 search null", "1 Cancelled"], "{then}");
    }
    std::fs::remove_file(scratch.path().join("pid")).unwrap();
    let started = start(RunSpec::step("stopped"), calling(&scratch, "exec sleep 300"));
    let mut events = started.run().events();
    begun(&mut events).await;
    let pid = scratch.pid("pid").await;
    let _ = started.stop().await;
    assert!(pid.is_gone());
    assert_eq!(outcomes_of(events).await, [ToolOutcome::Cancelled]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i18_an_open_call_is_unknown_if_something_of_the_program_may_execute() {
    // Nothing knows what is left when the script ends, and it holds stdout.
    let scratch = Scratch::new("calls-unknown");
    let leave = format!("rm pid; {}; until [ -s pid ]; do :; done", leave_out_of_reach());
    let (calls, _) = calls_of(start(RunSpec::step("left"), calling(&scratch, &leave))).await;
    let left = scratch.pid("pid").await;
    let is_alive = left.is_alive();
    left.kill();
    assert_eq!(calls, ["1 search null", "1 Unknown"]);
    assert!(is_alive, "nothing was out of reach");
    // The body is dropped: the program is killed, but may execute when the call is recorded.
    std::fs::remove_file(scratch.path().join("pid")).unwrap();
    let spec = RunSpec::step("aborted").grace(Duration::ZERO);
    let started = start(spec, calling(&scratch, "exec sleep 300"));
    let mut events = started.run().events();
    begun(&mut events).await;
    let _ = started.stop().await;
    assert_eq!(outcomes_of(events).await, [ToolOutcome::Unknown]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_no_call_begins_and_an_open_one_still_ends() {
    let scratch = Scratch::new("calls-stop");
    let late = r#"echo '{"event":"tool.started","id":"2","name":"late"}'"#;
    let end = r#"echo '{"event":"tool.ended","id":"1","output":"in time"}'"#;
    let text = format!("trap \"sh end; exit 0\" TERM; echo ready > ready; {WAIT}");
    std::fs::write(scratch.path().join("end"), format!("{late}\n{end}\n")).unwrap();
    let started = start(RunSpec::step("stopped").grace(PATIENCE), calling(&scratch, &text));
    let run = started.run().clone();
    let path = scratch.path().join("ready");
    eventually("it waits", || path.exists().then_some(())).await;
    begun(&mut run.events()).await;
    run.cancel(quell::CancelRequest::because("the test says so"));
    let (calls, faults) = calls_of(started).await;
    assert_eq!(calls, ["1 search null", "1 \"in time\""]);
    assert_eq!(faults, ["no call begins: the run is to stop"]);
}

#[tokio::test]
async fn what_is_used_counts_and_what_is_over_the_budget_stops_the_run() {
    let lines = [
        r#"{"event":"usage","input_tokens":3,"cost_micros":5}"#,
        r#"{"event":"usage","output_tokens":4}"#,
    ];
    let started = start(RunSpec::step("uses"), saying(&lines));
    let run = started.run().clone();
    let _ = started.end().await;
    let used = Usage { input_tokens: 3, output_tokens: 4, cost_micros: 5 };
    assert_eq!(run.row().usage, used);
    let spec = RunSpec::step("spends").budget(Budget::new().tokens(6));
    let more = format!("cat <<E\n{}\nE\nexec sleep 300", lines.join("\n"));
    let (outcome, report) = start(spec, script(&more)).end().await;
    assert!(matches!(outcome, Outcome::Stopped { .. }), "{report:?}");
    let cause = report.cause.as_ref().unwrap();
    assert_eq!((cause.kind, report.status), (CauseKind::BudgetExceeded, RunStatus::Cancelled));
}

#[tokio::test]
async fn progress_is_what_the_engine_knows_and_other_events_stand_as_they_are() {
    let lines = [
        r#"{"event":"progress","fraction":0.5}"#,
        r#"{"event":"content","text":"a"}"#,
        r#"{"event":"reasoning","text":"hm"}"#,
        r#"{"event":"mine","n":1}"#,
        r#"{"event":"progress","fraction":2}"#,
    ];
    let started = start(RunSpec::step("speaks"), saying(&lines));
    let mut events = started.run().events();
    let (outcome, _) = started.end().await;
    let (mut progress, mut said) = (Vec::new(), Vec::new());
    while let Some(event) = events.next().await {
        match event.kind {
            EventKind::Progress(fraction) => progress.push(fraction),
            EventKind::Emitted(payload) => said.push(payload.parse::<Value>().unwrap()),
            _ => {}
        }
    }
    assert_eq!(progress, [0.5]);
    let fault = "`fraction` of `progress` is not from 0 to 1";
    let bad = json!({ "stream": "stdout", "line": lines[4], "fault": fault });
    let known: Vec<Value> = lines[1..4].iter().map(|line| line.parse().unwrap()).collect();
    assert_eq!(said, [&known[..], &[bad]].concat());
    let Outcome::Completed(output) = outcome else { panic!("{outcome:?}") };
    assert_eq!(output.stdout, format!("{}\n", lines[4]), "events are not printed, faults are");
    assert_eq!((output.stdout_bytes, output.stdout_truncated), (lines[4].len() as u64 + 1, false));
}

#[tokio::test]
async fn the_last_result_counts_and_what_was_printed_is_kept_without_events() {
    let output = output_of(saying(&[
        "one",
        r#"{"event":"result","output":1}"#,
        "two",
        r#" {"event":"result","output":{"exact":1e400}} "#,
        r#"{"event":"result"}"#,
    ]))
    .await;
    assert_eq!(output.result.as_ref().unwrap().as_json(), r#"{"exact":1e400}"#);
    assert_eq!(output.stdout, "one\ntwo\n{\"event\":\"result\"}\n");
    let plain = output_of(script(r#"printf 'a\n{"event":"x"}\nb'"#)).await;
    assert_eq!((plain.stdout.as_str(), plain.result), ("a\nb", None));
}

#[tokio::test]
async fn a_result_that_is_cut_fails_the_run_unless_another_one_follows() {
    let long = format!(r#"{{"event":"result","output":"{}"}}"#, "x".repeat(256 << 10));
    let (message, partial) = failure_of(saying(&["one", &long])).await;
    assert!(message.contains("its `result` is cut"), "{message}");
    assert!(partial.unwrap().get("result").is_none());
    let short = r#"{"event":"result","output":1}"#;
    let output = output_of(saying(&[&long, short])).await;
    assert_eq!(output.result.unwrap().as_json(), "1");
    assert_eq!(output.stdout, format!("{long}\n"), "it is not lost");
}

// Reports and lists of runs have it, and are read by parsers that go 127 levels deep.
#[tokio::test]
async fn a_result_that_could_not_be_read_again_fails_the_run_and_another_event_is_a_fault() {
    // The line is one level more.
    let of = |event: &str, levels: usize| {
        let deep = "[".repeat(levels) + &"]".repeat(levels);
        format!(r#"{{"event":"{event}","output":{deep}}}"#)
    };
    let output = output_of(saying(&[&of("result", 99)])).await;
    assert_eq!(output.result.unwrap().as_json().len(), 198);
    for (line, says) in [
        (of("result", 100), "its `result` is refused: nested deeper than 100 levels"),
        (of("result", 10_000), "its `result` is refused: nested deeper than 100 levels"),
        (
            r#"{"event":"result","output":"\ud800"}"#.to_owned(),
            "its `result` is refused: a text has half of a character",
        ),
    ] {
        let (message, partial) = failure_of(saying(&["one", &line])).await;
        assert!(message.contains(says), "{message}");
        assert!(partial.unwrap().get("result").is_none());
    }
    let [said] = &events_of(saying(&[&of("custom", 100)])).await[..] else { panic!("one") };
    assert_eq!(said["fault"], "nested deeper than 100 levels");
}

#[tokio::test]
async fn an_event_is_as_long_as_the_engine_takes_it_and_a_longer_line_is_text() {
    let of = |bytes: usize| {
        let empty = r#"{"event":"content","text":""}"#;
        empty.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - empty.len())))
    };
    let whole = events_of(saying(&[&of(256 << 10)])).await;
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0]["event"], "content");
    let split = events_of(saying(&[&of((256 << 10) + 1)])).await;
    assert_eq!(split.len(), 5);
    assert!(split.iter().all(|piece| piece["line"].is_string()));
}

#[tokio::test]
async fn events_on_stderr_count_as_well_and_stay_in_its_tail() {
    let line = r#"{"event":"usage","input_tokens":1}"#;
    let started = start(RunSpec::step("uses"), script(&format!("echo '{line}' >&2")));
    let run = started.run().clone();
    let (outcome, _) = started.end().await;
    let Outcome::Completed(output) = outcome else { panic!("{outcome:?}") };
    assert_eq!(run.row().usage.input_tokens, 1);
    assert_eq!(output.stderr_tail, line);
}

/// What a shell does that waits for a signal.
const WAIT: &str = "while :; do sleep 0.05; done";
