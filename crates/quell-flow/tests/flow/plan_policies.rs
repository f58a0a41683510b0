//! Policies, words and retries in plans: what they mean when they run, and how they can be wrong.

use std::fmt::Write as _;

use quell::{Failure, Payload, RunContext, RunKind, RunReport, RunStatus, testing};
use quell_flow::{CommandStep, Plan, PlanFormat, PlanPolicy, Runner};
use tokio::time::{Instant, sleep};

use crate::support::{
    Witness, assert_own_words_stay, branch, engine, json, millis, row, secs, since,
};

/// Runs `ok MS`, `bad MS` and, of several calls, `second MS`, which is Ok from the second on.
#[derive(Clone, Default)]
struct Sleeper(Witness);

impl Runner for Sleeper {
    async fn run(&self, ctx: RunContext, step: CommandStep) -> Result<Payload, Failure> {
        let _inside = self.0.enter();
        sleep(millis(step.command[1].parse()?)).await;
        match step.command[0].as_str() {
            "ok" => Ok(Payload::from("ok")),
            "second" if ctx.run().name() == "attempt 2" => Ok(Payload::from("second")),
            _ => Err(Failure::new("no")),
        }
    }
}

/// Options, commands, the output of the step or its error, and when it is decided.
type Case = (&'static str, &'static [&'static str], Result<&'static str, &'static str>, u64);

struct Ran {
    output: Result<String, String>,
    report: std::sync::Arc<RunReport>,
    witness: Witness,
    took: std::time::Duration,
}

async fn run(toml: &str) -> Ran {
    let (engine, start, runner) = (engine(), Instant::now(), Sleeper::default());
    let plan = Plan::from_toml(toml).unwrap();
    let witness = runner.0.clone();
    let run = engine.submit(plan.spec(), move |ctx| plan.run(ctx, runner)).unwrap();
    let root = run.run().clone();
    let output = run.await.map(|output| output.as_json().to_owned()).map_err(|e| e.to_string());
    let took = since(start);
    let report = root.quiescent().await;
    testing::check_trace(&testing::trace(&root).await).unwrap();
    Ran { output, report, witness, took }
}

/// A parallel step of commands called `a`, `b`, … and a step after it.
async fn parallel(options: &str, commands: &[&str]) -> Ran {
    let mut plan = format!("name = \"p\"\n[[steps]]\nname = \"s\"\nparallel = {{ {options} }}\n");
    for (command, name) in commands.iter().zip('a'..) {
        let words: Vec<_> = command.split(' ').collect();
        writeln!(plan, "[[steps.branches]]\nname = \"{name}\"\nrun = {words:?}").unwrap();
    }
    plan.push_str("[[steps]]\nname = \"after\"\nrun = [\"ok\", \"1000\"]\n");
    run(&plan).await
}

#[tokio::test(start_paused = true)]
async fn a_plan_can_name_every_policy_that_needs_no_code() {
    let bad = "run `p` failed: step `s` failed: ";
    let cases: [Case; 8] = [
        ("policy = 'first_settled'", &["ok 900", "bad 500"], Err("branch `b` failed: no"), 500),
        ("policy = 'first_settled'", &["ok 300", "bad 500"], Ok(r#"{"a":"ok"}"#), 300),
        (
            "policy = 'quorum', quorum = 2",
            &["ok 900", "bad 100", "ok 500", "ok 9000"],
            Ok(r#"{"a":"ok","c":"ok"}"#),
            900,
        ),
        (
            "policy = 'quorum', quorum = 2",
            &["ok 9000", "bad 100", "bad 500"],
            Err("quorum of 2 is unreachable: of 3 branches 0 succeeded and 1 had not ended: \
                 `b`: no; `c`: no"),
            500,
        ),
        (
            "policy = 'best_effort', deadline = '1s'",
            &["ok 9000", "ok 700"],
            Ok(r#"{"b":"ok"}"#),
            1_000,
        ),
        (
            "policy = 'best_effort', deadline = '1s', min = 2",
            &["ok 9000", "ok 700"],
            Err("1 of 2 branches succeeded in time, fewer than 2"),
            1_000,
        ),
        (
            "policy = 'hedge', delay = '500ms'",
            &["ok 900", "ok 1", "ok 1"],
            Ok(r#"{"b":"ok"}"#),
            501,
        ),
        (
            "policy = 'settle', branch_idle = '1s', on_branch_timeout = 'skip'",
            &["ok 5000"],
            Ok("{}"),
            1_000,
        ),
    ];
    for (options, commands, expected, decided) in cases {
        let Ran { output, took, .. } = parallel(options, commands).await;
        match expected {
            Ok(value) => {
                let expected = format!(r#"{{"s":{value},"after":"ok"}}"#);
                assert_eq!((output, took), (Ok(expected), millis(decided + 1_000)), "{options}");
            }
            Err(words) => {
                let expected = format!("{bad}{words}");
                assert_eq!((output, took), (Err(expected), millis(decided)), "{options}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_step_of_a_plan_may_start_at_the_decision_and_losers_may_finish() {
    let options = "policy = 'first_success', on_loser = 'let_finish'";
    let Ran { output, took, .. } = parallel(options, &["ok 500", "ok 4000"]).await;
    assert_eq!((output.as_deref(), took), (Ok(r#"{"s":{"a":"ok"},"after":"ok"}"#), millis(5_000)));

    let options = format!("{options}, start_next = 'decided'");
    let Ran { output, took, report, .. } = parallel(&options, &["ok 500", "ok 4000"]).await;
    assert_eq!((output.as_deref(), took), (Ok(r#"{"s":{"a":"ok"},"after":"ok"}"#), millis(4_000)));
    assert_eq!(row(&report, "s").output.as_ref().map(Payload::as_json), Some(r#"{"a":"ok"}"#));
    let summary = json(row(&report, "s").summary.as_ref());
    assert_eq!(branch(&summary, "b")["late_success"], true);
    assert!(row(&report, "after").ended_at < row(&report, "b").ended_at);

    let Ran { output, took, .. } =
        parallel("start_next = 'decided'", &["bad 500", "ok 4000"]).await;
    let words = "run `p` failed: step `s` failed: branch `a` failed: no";
    assert_eq!((output.unwrap_err().as_str(), took), (words, millis(500)));
}

#[tokio::test(start_paused = true)]
async fn losers_of_a_plan_may_be_detached() {
    let options = "policy = 'first_success', on_loser = 'detach'";
    let Ran { output, took, report, witness } = parallel(options, &["ok 500", "ok 4000"]).await;
    assert_eq!((output.as_deref(), took), (Ok(r#"{"s":{"a":"ok"},"after":"ok"}"#), millis(1_500)));
    assert_eq!(witness.inside(), 1, "it goes on");
    let summary = json(row(&report, "s").summary.as_ref());
    assert_eq!(branch(&summary, "b")["detached"], true);
}

#[tokio::test(start_paused = true)]
async fn a_step_or_branch_of_a_plan_is_tried_as_often_as_it_says() {
    let Ran { output, report, witness, .. } = run(r#"
        name = "p"
        [[steps]]
        name = "seq"
        retry = { attempts = 2, backoff = "1ms" }
        sequence = [{ name = "x", run = ["ok", "10"] }, { name = "y", run = ["second", "10"],
                      retry = { attempts = 3, backoff = "100ms", cap = "5s" } }]
        [[steps]]
        name = "par"
        parallel = { branch_timeout = "1m" }
        branches = [{ name = "b", run = ["second", "10"], retry = { attempts = 2 } }]
    "#)
    .await;
    let expected = r#"{"seq":{"x":"ok","y":"second"},"par":{"b":"second"}}"#;
    assert_eq!(output.unwrap(), expected);
    assert_eq!((witness.entered(), witness.most()), (5, 1));
    let kinds: Vec<_> = report.rows.iter().map(|row| (&*row.name, row.kind, row.depth)).collect();
    let attempt = RunKind::Attempt;
    assert_eq!(
        kinds[1..4],
        [("seq", RunKind::Step, 1), ("attempt 1", attempt, 2), ("x", RunKind::Step, 3)]
    );
    assert_eq!(
        row(&report, "seq").output,
        Some(Payload::from_json_text(r#"{"x":"ok","y":"second"}"#).unwrap())
    );
    assert_eq!(branch(&json(row(&report, "par").summary.as_ref()), "b")["attempts"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_step_of_a_plan_that_never_succeeds_fails_after_its_attempts() {
    let Ran { output, took, witness, .. } = run(r#"
        name = "p"
        [[steps]]
        name = "s"
        run = ["ok", "60000"]
        retry = { attempts = 3, backoff = "1ns", attempt_timeout = "1s" }
    "#)
    .await;
    let words = "step `s` failed: attempt 3 timed out (deadline: timeout over)";
    assert_eq!(output.unwrap_err(), format!("run `p` failed: {words}"));
    assert_eq!(witness.entered(), 3);
    assert!(took >= secs(3) && took < millis(3_010), "{took:?}");

    let Ran { report, took, witness, .. } = run(r#"
        name = "p"
        timeout = "2s"
        [[steps]]
        name = "s"
        run = ["bad", "1500"]
        retry = { attempts = 3, backoff = "9h", cap = "9h" }
    "#)
    .await;
    assert_eq!((report.status, took, witness.entered()), (RunStatus::TimedOut, secs(2), 1));
}

#[tokio::test(start_paused = true)]
async fn a_step_of_a_plan_pauses_no_shorter_than_it_says() {
    let Ran { took, witness, .. } = run(r#"
        name = "p"
        [[steps]]
        name = "s"
        run = ["bad", "0"]
        retry = { attempts = 6, backoff = "1ns", min = "200ms", cap = "300ms" }
    "#)
    .await;
    assert_eq!(witness.entered(), 6);
    assert!(took >= secs(1) && took < millis(1_510), "{took:?}");
}

#[test]
fn a_policy_of_a_plan_is_refused_with_its_place_and_what_would_be_right() {
    let cases = [
        (
            "policy = 'any'",
            14,
            "unknown policy `any`; expected one of `all`, `settle`, `first_success`, \
             `first_settled`, `quorum`, `until`, `best_effort`, `hedge`",
        ),
        ("policy = 'until'", 14, "policy `until` has no `until`; expected an expression over `ok`"),
        (
            "policy = 'until', until = 'okay > 1'",
            31,
            "unknown name `okay` in `okay > 1`; expected one of `branches`, `ended`, `failed`",
        ),
        ("policy = 'until', until = 'ok >'", 31, "bad expression `ok >`: unexpected end of input"),
        (
            "policy = 'quorum'",
            14,
            "policy `quorum` has no `quorum`; expected how many branches have to succeed",
        ),
        ("policy = 'quorum', quorum = 0", 33, "quorum `0`; expected a whole number above 0"),
        ("policy = 'quorum', quorum = 3", 33, "quorum `3` of 2 branches; expected at most 2"),
        (
            "policy = 'quorum', quorum = '2'",
            33,
            "`quorum`: found a string; expected a whole number above 0 without quotes: `2`",
        ),
        ("quorum = 2", 5, "`quorum` goes with policy `quorum`; this one is `all`"),
        (
            "policy = 'hedge'",
            14,
            "policy `hedge` has no `delay`; expected a time such as \"500ms\"",
        ),
        ("policy = 'hedge', delay = '0s'", 31, "time is zero"),
        (
            "policy = 'hedge', delay = '1s', min = 1",
            37,
            "`min` goes with policy `best_effort`; this one is `hedge`",
        ),
        ("policy = 'best_effort'", 14, "policy `best_effort` has no `deadline`"),
        ("policy = 'best_effort', deadline = 'x'", 40, "invalid time `x`"),
        (
            "policy = 'best_effort', deadline = '1s', min = 3",
            52,
            "min `3` of 2 branches; expected at most 2",
        ),
        (
            "policy = 'best_effort', deadline = '1s', min = -1",
            52,
            "min `-1`; expected a whole number",
        ),
        (
            "on_loser = 'kill'",
            16,
            "unknown word `kill`; expected one of `cancel`, `let_finish`, `detach`",
        ),
        ("start_next = 'now'", 18, "unknown word `now`; expected one of `settled`, `decided`"),
        ("branch_idle = '0s'", 19, "time is zero"),
    ];
    for (options, column, words) in cases {
        let branches = "branches = [{ name = 'a', run = ['x'] }, { name = 'b', run = ['y'] }]";
        let step = format!("[[steps]]\nname = 's'\n{branches}\nparallel = {{\n    {options} }}");
        let plan = format!("name = 'p'\n{step}\n");
        assert_own_words_stay(PlanFormat::Toml, &plan);
        let error = Plan::from_toml(&plan).expect_err(options);
        let place = (error.line(), error.column());
        assert_eq!(place, (Some(6), Some(column)), "{options}: {error}");
        assert!(error.message().contains(words), "{options}: {error}");
    }
}

#[test]
fn a_retry_of_a_plan_is_refused_with_its_place_and_what_would_be_right() {
    let cases = [
        ("retry = 5", 9, "found a number; expected a table such as `{ attempts = 5 }`, where the"),
        ("retry = 'many'", 9, "found a string; expected a table such as `{ attempts = 3 }`"),
        ("retry = { attempts = 2, min = '0s' }", 31, "time is zero"),
        (
            "retry = { attempts = 2, min = '31s' }",
            31,
            "`min`: min `31s` is above the longest pause, `30s`; expected a `cap` that is",
        ),
        ("retry = { attempts = 2, cap = '1s', min = '2s' }", 43, "above the longest pause, `1s`"),
        ("retry = {}", 9, "retry has no `attempts`"),
        ("retry = { attempts = 0 }", 22, "attempts `0`; expected a whole number above 0"),
        ("retry = { attempts = 5000000000 }", 22, "too many attempts; expected at most 4294967295"),
        ("retry = { attempts = 2, backoff = '0s' }", 35, "time is zero"),
        ("retry = { attempts = 2, cap = 5 }", 31, "found a number without a unit; expected a time"),
        (
            "retry = { attempts = 2, times = 5 }",
            25,
            "unknown key `times`; expected one of `attempts`",
        ),
    ];
    for (retry, column, words) in cases {
        let plan = format!("name = 'p'\n[[steps]]\nname = 's'\nrun = ['x']\n{retry}\n");
        assert_own_words_stay(PlanFormat::Toml, &plan);
        let error = Plan::from_toml(&plan).expect_err(retry);
        assert_eq!((error.line(), error.column()), (Some(5), Some(column)), "{retry}: {error}");
        assert!(error.message().contains(words), "{retry}: {error}");
    }
    let plan = "name = 'p'\n[[steps]]\nname = 's'\nparallel = { start_next = 'decided' }\n\
                retry = { attempts = 2 }\nbranches = [{ name = 'a', run = ['x'] }]\n";
    let error = Plan::from_toml(plan).unwrap_err();
    assert_eq!(error.line(), Some(5));
    assert!(error.message().starts_with("`retry` does not go with `start_next"), "{error}");
}

#[test]
fn a_plan_knows_its_policies_with_their_numbers() {
    let plan = Plan::from_json(
        r#"{"name": "p", "steps": [{"name": "s", "parallel": {"policy": "best_effort",
            "deadline": "2s"}, "branches": [{"name": "a", "run": ["x"]}]}]}"#,
    );
    let plan = plan.unwrap();
    let quell_flow::Action::Parallel(step) = &plan.steps()[0].action else { panic!("parallel") };
    let policy = step.options.policy.clone();
    assert_eq!(policy, PlanPolicy::BestEffort { deadline: secs(2), min: 1 });
    assert_eq!(policy.to_policy().name(), "best_effort(2s, 1)");
}
