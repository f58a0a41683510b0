//! What is said of keys and values that other tools have, and of what only looks right.

use quell_flow::PlanFormat;

use crate::support::*;

/// The message of the one fault of a plan with a step `a`, in YAML.
fn fault(step: &str) -> String {
    let text = format!("name: p\nsteps:\n- name: a\n  {step}\n");
    assert_own_words_stay(PlanFormat::Yaml, &text);
    let faults = PlanFormat::Yaml.read(&text).expect_err(&text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults[0].message().to_owned()
}

#[test]
fn a_key_that_is_no_single_key_here_is_answered_with_what_is_right() {
    for (step, says) in [
        ("run: [x]\n  allow_failure: true", "whose `policy` is `settle`"),
        ("run: [x]\n  continue-on-error: true", "whose `policy` is `settle`"),
        ("run: [x]\n  comment: hi", "unknown key `comment`; a step has a `name`"),
        ("shell: make | cat", "expected `run` with a list such as `[\"sh\", \"-c\", "),
    ] {
        let said = fault(step);
        assert!(said.contains(says) && !said.contains("did you mean"), "{said}");
    }
}

#[test]
fn a_value_of_the_wrong_form_is_answered_with_the_right_one_and_its_key() {
    let one = "[{ name: b, run: [x] }]";
    for (step, says) in [
        (
            "team: broadcast\n  members: ONE",
            "`team`: found a string; expected a table such as `{ mode: \"broadcast\" }`",
        ),
        ("workflow: other.yaml", "`workflow`: found a string; expected a plan, a table with its"),
        (
            "loop: { until: 'true', max: 3, on_max: stop }\n  steps: ONE",
            "`on_max`: unknown word `stop`; expected one of `fail`, `accept`",
        ),
        (
            "parallel: { on_branch_timeout: 7 }\n  branches: ONE",
            "`on_branch_timeout`: found a number; expected a string or a table `{ default: … }`",
        ),
    ] {
        let said = fault(&step.replace("ONE", one));
        assert!(said.starts_with(says), "{said}");
    }
}

#[test]
fn a_time_in_the_place_of_a_question_and_a_statement_are_warned_of() {
    let warnings = |step: &str| {
        let text = format!("name: p\nsteps:\n- {{ name: a, {step} }}\n");
        let plan = PlanFormat::Yaml.read(&text).expect(&text);
        plan.warnings().iter().map(|it| it.message().to_owned()).collect::<Vec<_>>()
    };
    for (step, says) in [
        ("wait: 5s", "`wait` asks a question, and this is a time"),
        ("run: [x, '{% if input %}y{% endif %}']", "there are no statements: `{% … %}` stays"),
    ] {
        let said = warnings(step);
        assert!(said.len() == 1 && said[0].starts_with(says), "{said:?}");
    }
    for step in ["wait: '5s or 10s?'", "run: [x, '%h{%']", "run: [x, '{{ input }}']"] {
        assert_eq!(warnings(step), [] as [&str; 0], "{step}");
    }
}
