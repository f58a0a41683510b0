//! Steps of plans that wait for an answer: the run is paused, and its next attempt goes on behind
//! the steps that have ended.

use quell::{
    CancelRequest, CauseKind, Engine, Payload, RunHandle, RunRef, RunRow, RunStatus, testing,
};
use quell_flow::{Catalog, Plan, PlanFormat, SkippedStep};

use crate::support::*;

/// Submits a plan whose run may be paused.
fn submit(engine: &Engine, yaml: &str) -> (RunHandle<Payload>, Script) {
    let plan = Plan::from_yaml(yaml).unwrap().link(&Catalog::new()).unwrap();
    let script = Script::default();
    let (spec, body) = (plan.plan().spec(), plan.resumable(script.clone()));
    (engine.submit_resumable(spec, body).unwrap(), script)
}

/// Waits until a run is paused, and yields what it asks.
async fn asked(run: &RunRef) -> String {
    run.paused().await.expect("it is paused").as_json().to_owned()
}

/// Answers each question with one of these, and yields the questions, the output and what was run.
async fn answer_all(yaml: &str, answers: &[&str]) -> (Vec<String>, String, Vec<String>) {
    let engine = engine();
    let (run, script) = submit(&engine, yaml);
    let root = run.run().clone();
    let mut questions = Vec::new();
    for answer in answers {
        questions.push(asked(&root).await);
        root.resume(*answer).unwrap();
    }
    let output = run.await.map(|output| output.as_json().to_owned());
    testing::check_trace(&testing::trace(&root).await).unwrap();
    (questions, output.unwrap_or_else(|error| error.to_string()), script.started())
}

#[tokio::test(start_paused = true)]
async fn steps_before_the_question_run_once_and_keep_their_values_and_the_answer_is_the_output() {
    let (questions, output, started) = answer_all(
        "
name: p
steps:
- { name: build, run: [say, box] }
- { name: ok, wait: 'send {{ steps.build.output }}?' }
- { name: send, run: [say, '{{ steps.build.output }} to {{ steps.ok.output }}'] }
",
        &["ada"],
    )
    .await;
    assert_eq!(questions, [r#"{"step":"ok","ask":"send box?"}"#]);
    assert_eq!(output, r#"{"build":"box","ok":"ada","send":"box to ada"}"#);
    assert_eq!(started, ["say box", "say box to ada"]);
}

#[tokio::test(start_paused = true)]
async fn a_question_inside_of_other_steps_goes_on_there() {
    let (questions, output, started) = answer_all(
        "
name: p
steps:
- { name: all, parallel: {}, branches: [{ name: x, run: [say, x] }, { name: y, run: [say, y] }] }
- name: outer
  sequence:
  - { name: first, run: [say, '1'] }
  - name: choice
    if: steps.first.output == '1'
    then:
    - name: way
      route: \"'here'\"
      routes:
      - name: here
        workflow:
          name: inner
          steps: [{ name: second, run: [say, '2'] }, { name: ok, wait: go on? },
            { name: third, run: [say, '{{ steps.ok.output }}'] }]
  - { name: fourth, run: [say, '4'] }
- { name: more, wait: more? }
",
        &["yes", "no"],
    )
    .await;
    assert_eq!(questions.len(), 2);
    assert_eq!(started, ["say x", "say y", "say 1", "say 2", "say yes", "say 4"]);
    let output: serde_json::Value = output.parse().unwrap();
    let inner = &output["outer"]["choice"]["way"];
    assert_eq!(inner, &serde_json::json!({ "second": "2", "ok": "yes", "third": "yes" }));
    assert_eq!((&output["all"]["y"], &output["more"]), (&"y".into(), &"no".into()));
}

#[tokio::test(start_paused = true)]
async fn each_round_of_a_loop_asks_for_itself_and_no_round_runs_twice() {
    let (questions, output, started) = answer_all(
        "
name: p
steps:
- name: drafts
  loop: { until: 'steps.ok.output == \"good\"', max: 5 }
  steps:
  - { name: draft, run: [say, 'draft {{ index }} after {{ last.ok if last else \"\" }}'] }
  - { name: ok, wait: '{{ steps.draft.output }}: good?' }
",
        &["longer", "shorter", "good"],
    )
    .await;
    assert_eq!(questions[2], r#"{"step":"ok","ask":"draft 3 after shorter: good?"}"#);
    assert_eq!(
        started,
        ["say draft 1 after ", "say draft 2 after longer", "say draft 3 after shorter"]
    );
    assert_eq!(output, r#"{"drafts":{"draft":"draft 3 after shorter","ok":"good"}}"#);
}

#[tokio::test(start_paused = true)]
async fn attempts_of_a_retry_go_on_counting_and_a_failed_one_is_not_made_again() {
    let (questions, output, started) = answer_all(
        "
name: p
steps:
- name: deploy
  retry: { attempts: 2, backoff: 1s }
  sequence:
  - { name: ask, wait: where? }
  - { name: go, run: [fail, 'no {{ steps.ask.output }}'] }
",
        &["near", "far"],
    )
    .await;
    assert_eq!(questions.len(), 2);
    assert_eq!(started, ["fail no near", "fail no far"]);
    assert!(output.contains("step `go` failed: no far"), "{output}");
}

#[tokio::test(start_paused = true)]
async fn approval_is_yes_or_no_and_what_is_neither_is_asked_again() {
    let plan = "
name: p
steps:
- name: ok
  wait: { ask: deploy?, approve: true }
  on_failure: [{ name: tell, run: [say, '{{ error }}'] }]
- { name: go, run: [say, go] }
";
    let (questions, output, started) = answer_all(plan, &["perhaps", "Yes"]).await;
    assert_eq!(questions[0], r#"{"step":"ok","ask":"deploy?","approve":true}"#);
    let again =
        r#"{"step":"ok","ask":"deploy?","approve":true,"problem":"expected `yes` or `no`"}"#;
    assert_eq!(questions[1], again);
    assert_eq!((&*output, started), (r#"{"ok":true,"go":"go"}"#, vec!["say go".to_owned()]));
    let (_, output, started) = answer_all(plan, &["no"]).await;
    assert!(output.ends_with("step `ok` failed: the answer is no"), "{output}");
    assert_eq!(started, ["say the answer is no"], "cleanup of a refusal");
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_no_failure_for_cleanup_and_skips_nothing() {
    let engine = engine();
    let plan = "
name: p
steps:
- name: work
  sequence: [{ name: a, run: [say, a] }, { name: ok, wait: go on? }, { name: b, run: [say, b] }]
  on_failure: [{ name: undo, run: [say, undo] }]
  on_stop: [{ name: stop, run: [say, stop] }]
- { name: last, run: [say, last] }
on_failure: [{ name: tell, run: [say, tell] }]
on_stop: [{ name: stop, run: [say, stop] }]
";
    let (run, script) = submit(&engine, plan);
    let root = run.run().clone();
    assert_eq!(asked(&root).await, r#"{"step":"ok","ask":"go on?"}"#);
    assert_eq!(script.started(), ["say a"]);
    root.resume("yes").unwrap();
    run.await.unwrap();
    assert_eq!(script.started(), ["say a", "say b", "say last"]);
    let report = root.ended().await;
    let skipped: Vec<_> = report.rows.iter().flat_map(SkippedStep::all_of).collect();
    assert_eq!(skipped, []);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_a_client_asks_for_comes_between_two_steps_and_nothing_runs_twice() {
    let engine = engine();
    let plan = "
name: p
steps: [{ name: a, run: [wait, '50'] }, { name: b, run: [say, b] }]
";
    let (run, script) = submit(&engine, plan);
    let root = run.run().clone();
    tokio::task::yield_now().await;
    root.pause("hold on").unwrap();
    assert_eq!(asked(&root).await, "\"hold on\"");
    assert_eq!(script.started(), ["wait 50"]);
    root.resume("go").unwrap();
    assert_eq!(run.await.unwrap().as_json(), r#"{"a":"50","b":"b"}"#);
    assert_eq!(script.started(), ["wait 50", "say b"]);
    assert_eq!(SkippedStep::all_of(root.ended().await.own_row()), []);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_expires_ends_the_run_and_so_does_a_cancel_without_any_code_of_the_plan() {
    let plan = "
name: p
steps: [{ name: ok, wait: { ask: go?, expires: 1h } }, { name: b, run: [say, b] }]
on_stop: [{ name: undo, run: [say, undo] }]
";
    let engine = engine();
    let (run, script) = submit(&engine, plan);
    let report = run.run().ended().await;
    assert_eq!(report.status, RunStatus::TimedOut);
    assert_eq!(report.cause.as_ref().unwrap().kind, CauseKind::Deadline);
    assert_eq!(script.started(), Vec::<String>::new());

    let (run, script) = submit(&engine, plan);
    asked(run.run()).await;
    run.cancel(CancelRequest::because("no"));
    let report = run.run().ended().await;
    assert_eq!(report.status, RunStatus::Cancelled);
    assert_eq!(script.started(), Vec::<String>::new());
    assert_eq!(skipped_of(report.own_row()), ["ok paused", "b paused"]);
}

fn skipped_of(row: &RunRow) -> Vec<String> {
    let steps = SkippedStep::all_of(row).into_iter();
    steps.map(|step| format!("{} {}", step.name, step.reason.as_str())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_while_it_is_paused_lists_the_steps_that_it_has_not_started() {
    let plan = "
name: p
steps:
- { name: a, run: [say, a] }
- { name: work, sequence: [{ name: ok, wait: go on? }, { name: b, run: [say, b] }] }
- { name: sure, wait: sure? }
- { name: last, run: [say, last] }
";
    let engine = engine();
    let (run, _) = submit(&engine, plan);
    let root = run.run().clone();
    asked(&root).await;
    assert_eq!(skipped_of(root.report().own_row()), ["sure paused", "last paused"]);
    root.resume("yes").unwrap();
    assert_eq!(asked(&root).await, r#"{"step":"sure","ask":"sure?"}"#);
    // What has run by now is not listed any more.
    assert_eq!(skipped_of(root.report().own_row()), ["sure paused", "last paused"]);
    root.cancel(CancelRequest::because("no"));
    assert_eq!(skipped_of(root.ended().await.own_row()), ["sure paused", "last paused"]);

    let (run, script) = submit(&engine, plan);
    let root = run.run().clone();
    for _ in 0..2 {
        asked(&root).await;
        root.resume("yes").unwrap();
    }
    run.await.unwrap();
    assert_eq!(script.started(), ["say a", "say b", "say last"]);
    let report = root.ended().await;
    let skipped: Vec<_> = report.rows.iter().flat_map(SkippedStep::all_of).collect();
    assert_eq!(skipped, []);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_cannot_wait_fails_at_the_question_and_says_so() {
    let plan = "
        name = 'p'
        steps = [{ name = 'a', run = ['say', 'a'] }, { name = 'ok', wait = 'go?' }]
    ";
    let (output, _, script) = run_plan(plan).await;
    let words = output.unwrap_err();
    let right = "step `ok` failed: it waits for an answer, and its run was not started as one that \
                 may wait";
    assert!(words.ends_with(right), "{words}");
    assert_eq!(script.started(), ["say a"]);
}

#[test]
fn faults_of_steps_that_wait_have_their_place_and_say_what_is_right() {
    for (step, says) in [
        ("{ name: a, wiat: go? }", "unknown key `wiat`; did you mean `wait`?"),
        ("{ name: a, approve: go? }", "unknown key `approve`; did you mean `wait`?"),
        ("{ name: a, wait: 5 }", "`wait`: found a number; expected a question such as"),
        ("{ name: a, wait: '' }", "`wait`: empty question"),
        ("{ name: a, wait: {} }", "wait has no `ask`"),
        (
            "{ name: a, wait: { ask: x, expiry: 1h } }",
            "unknown key `expiry`; did you mean `expires`?",
        ),
        ("{ name: a, wait: { ask: x, expires: 5 } }", "found a number without a unit"),
        ("{ name: a, wait: { ask: '{{ steps.b.output }}' } }", "unknown step `b`"),
        ("{ name: a, wait: go?, timeout: 1h }", "expected `expires` in the table of `wait`"),
        ("{ name: a, wait: go?, retry: { attempts: 2 } }", "`retry` does not go with `wait`"),
        ("{ name: a, wait: go?, run: [x] }", "wait"),
        ("{ name: a, parallel: {}, branches: [{ name: b, wait: go? }] }", "a branch cannot"),
        (
            "{ name: a, team: { mode: broadcast }, \
             members: [{ name: b, sequence: [{ name: c, wait: x }] }] }",
            "step `c` waits for an answer, which a member of a team cannot",
        ),
        ("{ name: a, run: [x], on_stop: [{ name: b, wait: go? }] }", "which cleanup cannot"),
    ] {
        let text = format!("name: p\nsteps:\n- {step}\n");
        assert_own_words_stay(PlanFormat::Yaml, &text);
        let fault = Plan::from_yaml(&text).expect_err(step).to_string();
        assert!(fault.starts_with("line 3, column ") && fault.contains(says), "{step}: {fault}");
    }
}
