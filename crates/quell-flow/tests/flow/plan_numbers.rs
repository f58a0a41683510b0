//! A number that is none is refused with its key, and with one.

use quell_flow::PlanFormat;

use crate::support::*;

/// Yields the first fault of a step.
#[track_caller]
fn fault(step: &str) -> String {
    let text = format!("name: p\nsteps:\n- {{ name: a, {step} }}\n");
    assert_own_words_stay(PlanFormat::Yaml, &text);
    let faults = PlanFormat::Yaml.read(&text).expect_err(step);
    faults[0].message().to_owned()
}

#[test]
fn a_number_that_is_a_word_is_refused_with_its_key_and_a_number() {
    let branches = "branches: [{ name: b, run: [x] }]";
    let steps = "steps: [{ name: b, run: [x] }]";
    let above_0 = "found a string; expected a whole number above 0";
    for (step, key, right) in [
        (format!("parallel: {{ limit: two }}, {branches}"), "limit", " such as `3`"),
        (format!("parallel: {{ limit: '2' }}, {branches}"), "limit", " without quotes: `2`"),
        (format!("parallel: {{ limit: '0' }}, {branches}"), "limit", " such as `3`"),
        (
            format!("parallel: {{ policy: quorum, quorum: most }}, {branches}"),
            "quorum",
            " such as `3`",
        ),
        ("run: [x], retry: { attempts: many }".into(), "attempts", " such as `3`"),
        (format!("loop: {{ count: many }}, {steps}"), "count", " such as `3`"),
        (format!("loop: {{ until: 'true', max: '9' }}, {steps}"), "max", " without quotes: `9`"),
        (
            "team: { mode: coordinate, leader: b, max: many }, input: 1, \
             members: [{ name: b, run: [x] }]"
                .into(),
            "max",
            " such as `3`",
        ),
    ] {
        assert_eq!(fault(&step), format!("`{key}`: {above_0}{right}"), "{step}");
    }
    let step = format!("parallel: {{ policy: best_effort, deadline: 1s, min: some }}, {branches}");
    assert_eq!(fault(&step), "`min`: found a string; expected a whole number such as `3`");
}

#[test]
fn a_number_in_the_place_of_a_table_is_refused_with_the_table() {
    let steps = "steps: [{ name: b, run: [x] }]";
    for (value, right) in [("5", "5"), ("'7'", "7"), ("many", "3"), ("0", "3"), ("[]", "3")] {
        let said = fault(&format!("loop: {value}, {steps}"));
        assert!(said.starts_with("`loop`: found a "), "{said}");
        assert!(
            said.ends_with(&format!("; expected a table such as `{{ count: {right} }}`")),
            "{said}"
        );
        let said = fault(&format!("run: [x], retry: {value}"));
        assert!(said.contains(&format!(" such as `{{ attempts: {right} }}`, where")), "{said}");
    }
}
