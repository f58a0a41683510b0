//! `needs` in plans: what a branch reads of those that it needs, and what is refused.

use quell_flow::{Plan, PlanFormat, StepSummary};

use crate::support::*;

/// The faults of a plan in YAML whose first step is line 3.
fn faults(step: &str) -> Vec<String> {
    let text = format!("name: p\nsteps:\n{step}\n");
    assert_own_words_stay(PlanFormat::Yaml, &text);
    let faults = PlanFormat::Yaml.read(&text).expect_err(&text);
    faults.iter().map(ToString::to_string).collect()
}

/// A parallel step in line 3, whose branches begin in line 4.
fn branches(branches: &[&str]) -> String {
    format!("- name: s\n  parallel: {{}}\n  branches:\n  - {}", branches.join("\n  - "))
}

#[tokio::test(start_paused = true)]
async fn a_branch_reads_what_it_needs_directly_or_through_others() {
    let (output, _, script) = run_plan(
        r#"
        name = "p"
        [[steps]]
        name = "build"
        run = ["say", "outer"]
        [[steps]]
        name = "s"
        parallel = {}
        branches = [
            { name = "ship", needs = ["test"], sequence = [
                { name = "pack",
                  run = ["say", "{{ steps.build.output }} {{ steps.test.output.look }}"] },
                { name = "send", run = ["say", "{{ steps.pack.output }}!"] },
            ] },
            { name = "test", needs = ["build"], if = "steps.build.output == 'inner'",
              then = [{ name = "look", run = ["say", "good"] }] },
            { name = "build", run = ["say", "inner"] },
            { name = "free", run = ["say", "{{ steps.build.output }}"] },
        ]
        [[steps]]
        name = "last"
        run = ["say", "{{ steps.build.output }} {{ steps.s.output.ship.send }}"]
        "#,
    )
    .await;
    let expected = concat!(
        r#"{"build":"outer","s":{"ship":{"pack":"inner good","send":"inner good!"},"#,
        r#""test":{"look":"good"},"build":"inner","free":"outer"},"last":"outer inner good!"}"#,
    );
    assert_eq!(output.unwrap(), expected);
    // What does not need the branch reads the step before, which has the same name.
    assert!(script.started().contains(&"say outer".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_branch_with_unmet_needs_never_starts_and_the_policy_decides() {
    for (policy, expected) in [
        ("all", Err("step `s` failed: branch `build` failed: no box")),
        ("settle", Ok(r#"{"s":{"lint":"clean"}}"#)),
    ] {
        let (output, report, script) = run_plan(&format!(
            r#"
            name = "p"
            [[steps]]
            name = "s"
            parallel = {{ policy = "{policy}" }}
            branches = [
                {{ name = "ship", needs = ["build"], run = ["say", "gone"] }},
                {{ name = "build", needs = ["lint"], run = ["fail", "no box"] }},
                {{ name = "lint", run = ["say", "clean"] }},
            ]
            "#
        ))
        .await;
        match expected {
            Ok(expected) => assert_eq!(output.as_deref(), Ok(expected)),
            Err(words) => assert!(output.unwrap_err().ends_with(words)),
        }
        assert_eq!(script.started(), ["say clean", "fail no box"]);
        let summary = StepSummary::of(row(&report, "s")).unwrap();
        assert_eq!(summary.row("ship").unwrap().unmet.as_deref(), Some("build"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_tried_again_and_one_in_a_loop_read_the_outputs_of_their_round() {
    let (output, ..) = run_plan(
        r#"
        name = "p"
        [[steps]]
        name = "l"
        loop = { count = 2 }
        steps = [{ name = "s", parallel = {}, branches = [
            { name = "b", needs = ["a"], run = ["say", "{{ steps.a.output }}"] },
            { name = "a", run = ["say", "{{ index }}"] },
        ], retry = { attempts = 2 } }]
        "#,
    )
    .await;
    assert_eq!(output.unwrap(), r#"{"l":{"s":{"b":"2","a":"2"}}}"#);
}

#[tokio::test(start_paused = true)]
async fn a_need_that_is_a_parallel_step_is_met_when_that_is_settled_and_has_its_values() {
    for start_next in ["settled", "decided"] {
        let (output, ..) = run_plan(&format!(
            r#"
            name = "p"
            [[steps]]
            name = "s"
            parallel = {{}}
            branches = [
                {{ name = "b", needs = ["a"], run = ["say", "{{{{ steps.a.output.x }}}}"] }},
                {{ name = "a", parallel = {{ start_next = "{start_next}" }},
                  branches = [{{ name = "x", run = ["say", "box"] }}] }},
            ]
            "#
        ))
        .await;
        assert_eq!(output.as_deref(), Ok(r#"{"s":{"b":"box","a":{"x":"box"}}}"#), "{start_next}");
    }
}

#[tokio::test(start_paused = true)]
async fn cleanup_of_a_branch_reads_what_the_branch_needs() {
    let (_, _, script) = run_plan(
        r#"
        name = "p"
        [[steps]]
        name = "s"
        parallel = {}
        branches = [
            { name = "b", needs = ["a"], run = ["fail", "no"],
              on_failure = [{ name = "undo", run = ["say", "undo {{ steps.a.output }}"] }] },
            { name = "a", run = ["say", "box"] },
        ]
        "#,
    )
    .await;
    assert_eq!(script.started(), ["say box", "fail no", "say undo box"]);
}

#[test]
fn every_fault_of_what_branches_need_is_shown_at_its_name() {
    let all = faults(&branches(&[
        "{ name: build, run: [x], needs: [build] }",
        "{ name: test, run: [x], needs: [biuld, build, build, 1] }",
        "{ name: ship, run: [x], needs: build }",
        "{ name: tell, run: [x], needs: [elsewhere] }",
        "{ name: last, run: [x], neds: [tset] }",
    ]));
    let expected = [
        "line 6, column 38: `needs`: branch `build` needs itself; expected other branches",
        "line 7, column 37: `needs`: unknown branch `biuld`; did you mean `build`?",
        "line 7, column 51: `needs`: duplicate name `build`; expected it once",
        "line 7, column 58: `needs`: found a number; expected a string",
        "line 8, column 36: `needs`: found a string; expected a list such as `[\"build\"]`",
        "line 9, column 37: `needs`: unknown branch `elsewhere`; expected one of `build`, `last`, \
         `ship`, `test`",
        "line 10, column 29: unknown key `neds`; did you mean `needs`?",
        "line 10, column 36: `needs`: unknown branch `…`",
    ];
    assert_eq!(all, expected);
    let alone = faults(&branches(&["{ name: a, run: [x], needs: [b] }"]));
    let words = "unknown branch `b`; there is no other branch beside this one";
    assert_eq!(alone, [format!("line 6, column 34: `needs`: {words}")]);
}

#[test]
fn branches_that_would_wait_for_each_other_are_shown_as_a_circle() {
    let all = faults(&branches(&[
        "{ name: a, run: [x], needs: [b] }",
        "{ name: b, run: [x], needs: [d, c] }",
        "{ name: c, run: [x], needs: [a] }",
        "{ name: d, run: [x] }",
        "{ name: e, run: [x], needs: [f] }",
        "{ name: f, run: [x], needs: [e] }",
    ]));
    let circle = |place: &str, names: &str| {
        format!(
            "{place}: `needs`: branches would wait for each other: `{names}`; expected no circle"
        )
    };
    let first = circle("line 8, column 34", "a → b → c → a");
    assert_eq!(all, [first, circle("line 11, column 34", "e → f → e")]);
    // A name that is misspelt is the only fault.
    let all = faults(&branches(&[
        "{ name: first, run: [x], needs: [secnd] }",
        "{ name: second, run: [x], needs: [first] }",
    ]));
    assert_eq!(all, ["line 6, column 38: `needs`: unknown branch `secnd`; did you mean `second`?"]);
}

#[test]
fn the_output_of_a_branch_that_is_not_needed_is_refused_with_what_would_be_right() {
    let all = faults(&branches(&[
        "{ name: a, run: [x, '{{ steps.b.output }}'] }",
        "{ name: b, run: [x, '{{ steps.a.output }}{{ steps.c.output }}'], needs: [a] }",
        "{ name: c, run: [x, '{{ steps.c.output }}'], needs: [a] }",
        "{ name: d, needs: [b], sequence: [{ name: e, run: [x, '{{ steps.a.output }}'] }] }",
    ]));
    let expected = [
        "line 6, column 25: `run`: unknown step `b` in `{{ steps.b.output }}`; it starts after \
         this branch",
        "line 7, column 25: `run`: unknown step `c` in \
         `{{ steps.a.output }}{{ steps.c.output }}`; it runs beside this branch; expected \
         `needs: [\"c\"]`, so that it runs before",
        "line 8, column 25: `run`: unknown step `c` in `{{ steps.c.output }}`; it is the branch \
         itself",
    ];
    assert_eq!(all, expected);
    for (format, text, right) in [
        (
            PlanFormat::Toml,
            "name = 'p'\nsteps = [{ name = 's', parallel = {}, branches = \
             [{ name = 'a', run = ['x'] }, { name = 'b', run = ['{{ steps.a.output }}'] }] }]",
            "`needs = [\"a\"]`",
        ),
        (
            PlanFormat::Json,
            r#"{"name": "p", "steps": [{"name": "s", "parallel": {}, "branches": [
            {"name": "a", "run": ["x"]}, {"name": "b", "run": ["{{ steps.a.output }}"]}]}]}"#,
            "`\"needs\": [\"a\"]`",
        ),
    ] {
        let fault = &format.read(text).unwrap_err()[0];
        assert!(fault.message().contains(right), "{fault}");
    }
}

#[test]
fn needs_of_a_step_that_is_no_branch_is_refused_with_where_it_belongs() {
    let right =
        "`needs` goes with the `branches` of `parallel`; other steps have an order of their own";
    let steps = "- { name: a, run: [x] }\n- { name: b, run: [x], needs: [a] }";
    assert_eq!(faults(steps), [format!("line 4, column 24: {right}")]);
    let step = "- { name: a, run: [x], depends_on: [b] }";
    assert_eq!(faults(step), [format!("line 3, column 24: unknown key `depends_on`; {right}")]);
    for list in ["sequence: ", "team: { mode: broadcast }, members: ", "route: \"'b'\", routes: "] {
        let step = format!("- {{ name: a, {list}[{{ name: b, run: [x], needs: [c] }}] }}");
        assert!(faults(&step)[0].ends_with(right), "{list}");
    }
    let all =
        faults(&branches(&["{ name: a, run: [x], depends_on: [b] }", "{ name: b, run: [x] }"]));
    assert_eq!(all, ["line 6, column 26: unknown key `depends_on`; did you mean `needs`?"]);
}

#[test]
fn a_plan_with_needs_is_what_its_json_says() {
    let text = "name: p\nsteps:\n".to_owned()
        + &branches(&[
            "{ name: a, run: [x], needs: [b, c] }",
            "{ name: b, run: [x], needs: [] }",
            "{ name: c, parallel: {}, branches: \
             [{ name: d, run: [x], needs: [e] }, { name: e, run: [x] }] }",
        ]);
    let plan = Plan::from_yaml(&text).unwrap();
    let json = serde_json::to_string(&plan).unwrap();
    assert!(json.contains(r#""name":"a","needs":["b","c"]"#) && !json.contains("[]"), "{json}");
    assert_eq!(Plan::from_json(&json).unwrap(), plan);
}

#[test]
fn the_longest_chain_of_branches_is_read() {
    let link = |n: usize| {
        let needs = if n == 0 { String::new() } else { format!(", needs: [b{}]", n - 1) };
        format!("  - {{ name: b{n}, run: [x]{needs} }}\n")
    };
    let all: String = (0..quell_flow::limits::PLAN_STEPS_MAX - 1).rev().map(link).collect();
    let text = format!("name: p\nsteps:\n- name: s\n  parallel: {{}}\n  branches:\n{all}");
    Plan::from_yaml(&text).unwrap();
    // More branches than a plan may have steps are refused, however they are written.
    let many = "  - {}\n".repeat(100_000);
    let text = format!("name: p\nsteps:\n- name: s\n  parallel: {{}}\n  branches:\n{many}");
    assert!(!PlanFormat::Yaml.read(&text).unwrap_err().is_empty());
}

#[test]
fn guesses_about_needs_of_very_many_branches_are_made_for_the_first_faults_only() {
    let branch = |n: u32| format!("  - {{ name: branch{n}, run: [x], needs: [brnach{n}] }}\n");
    let all: String = (1_000..5_000).map(branch).collect();
    let found = faults(&format!("- name: s\n  parallel: {{}}\n  branches:\n{all}"));
    let is_guess = |fault: &&String| fault.contains("did you mean");
    assert_eq!(found.len(), quell_flow::limits::PLAN_FAULTS_MAX);
    // 100,000 comparisons, each fault with the 3,999 others.
    assert_eq!(found.iter().filter(is_guess).count(), 26);
    assert!(found.iter().take(26).all(|fault| is_guess(&fault)));
}
