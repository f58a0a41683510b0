//! Steps whose names are no words: `steps["a b"]` names one, and the check knows which there are.

use quell_flow::{Plan, PlanFormat};

use crate::support::*;

/// The faults of a plan of two steps, of which the second reads the first.
fn faults(name: &str, reads: &str) -> Vec<String> {
    let text = serde_json::json!({
        "name": "p",
        "steps": [{ "name": name, "run": ["x"] }, { "name": "last", "run": ["x", reads] }],
    });
    assert_own_words_stay(PlanFormat::Json, &text.to_string());
    let read = PlanFormat::Json.read(&text.to_string());
    let faults = read.err().unwrap_or_default();
    faults.iter().map(|fault| fault.message().to_owned()).collect()
}

#[test]
fn a_step_that_is_named_in_brackets_has_to_come_before() {
    for reads in [
        r#"{{ steps["a b"].output }}"#,
        "{{ steps['a b'].output.stdout }}",
        r#"{{ steps [ "a b" ] ["output"] ["exit code"] }}"#,
        r#"{{ input["a b"] }}{{ {"a": 1}["a"] }}{{ "x" in ["a", "steps"] }}"#,
        r#"{{ steps["a b"].output.stdout[1:] ~ steps["a b"].output.stdout[:2] }}"#,
        // What the name is becomes known when it runs.
        "{{ steps[input.name].output }}",
        r#"{{ steps["a" ~ " b"].output }}"#,
    ] {
        assert_eq!(faults("a b", reads), [""; 0], "{reads}");
    }
    for (reads, words) in [
        (
            r#"steps["c d"].output"#,
            "unknown step `c d` in `…`; expected one of those that come before: `a b`",
        ),
        (r#"steps["ab"].output"#, r#"unknown step `ab` in `…`; did you mean `steps["a b"]`?"#),
        (
            r#"steps["a b"].stdout"#,
            r#"step `a b` has no `stdout` in `…`; did you mean `steps["a b"].output.stdout`?"#,
        ),
        (
            r#"steps["a b"]["outptu"]"#,
            r#"step `a b` has no `outptu` in `…`; did you mean `steps["a b"].output`?"#,
        ),
        (r#"stpes["a b"]"#, "unknown name `stpes` in `…`; did you mean `steps`?"),
    ] {
        let template = format!("{{{{ {reads} }}}}");
        let right = format!("`run`: {}", words.replace('…', &template));
        assert_eq!(faults("a b", &template), [right], "{reads}");
    }
    // A name may have dots, quotes and signs of its own.
    for name in ["a.b", "it's", "\"", "\\", "größe", "1st", "]", "i_0"] {
        let quoted = serde_json::Value::from(name);
        let reads = format!("{{{{ steps[{quoted}].output }}}}");
        assert_eq!(faults(name, &reads), [""; 0], "{reads}");
        assert_eq!(faults("other", &reads).len(), 1, "{reads}");
    }
}

#[test]
fn a_name_with_a_dash_or_a_space_is_shown_in_brackets() {
    let shown = |text: &str, right: &str, wrong: &str| {
        let no_word = format!("expected `{right}`, because the name of the step is no word");
        format!("`run`: `{wrong}` in `{text}`; {no_word}")
    };
    for (name, reads) in [
        ("my-step", "{{ steps.my-step.output }}"),
        ("my-step", "{{ steps.my-step.output.stdout | trim }}"),
        ("a b", "{{ steps.a b.output }}"),
        ("1st", "{{ steps.1st.output }}"),
        ("größe", "{{ steps.größe.output }}"),
    ] {
        let (right, wrong) = (format!("steps[\"{name}\"]"), format!("steps.{name}"));
        assert_eq!(faults(name, reads), [shown(reads, &right, &wrong)], "{reads}");
    }
    let reads = "{{ steps.my-stpe.output }}";
    let meant = r#"did you mean `steps["my-step"]`?"#;
    let words = format!("`run`: unknown step `my-stpe` in `{reads}`; {meant}");
    assert_eq!(faults("my-step", reads), [words]);
    assert_eq!(faults("my_step", "{{ steps.my_step.output-1 }}"), [""; 0]);
}

#[test]
fn a_subtraction_of_known_steps_is_no_name() {
    let text = "name: p\nsteps:\n- { name: my, run: [x] }\n- { name: step, run: [x] }\n\
                - { name: my-step, run: [x] }\n\
                - { name: last, run: [x, '{{ steps.my.output.code-steps.step.output.code }}'] }\n";
    Plan::from_yaml(text).unwrap();
}

#[test]
fn a_step_inside_whose_name_has_a_dash_is_shown_in_brackets() {
    let inner = "[{ name: linux-x64, run: [x] }]";
    let nested = format!("[{{ name: b-c, sequence: {inner} }}]");
    let no_word = "because the name of the step is no word";
    for (step, path, right) in [
        (
            format!("parallel: {{}}, branches: {inner}"),
            "steps.a.output.linux-x64.stdout",
            format!("expected `steps.a.output[\"linux-x64\"]`, {no_word}"),
        ),
        (
            format!("parallel: {{}}, branches: {inner}"),
            "steps.linux-x64.stdout",
            "unknown step `linux-x64` in `steps.linux-x64.stdout`; `linux-x64` is a branch of \
             `a`; did you mean `steps.a.output[\"linux-x64\"]`?"
                .into(),
        ),
        (
            format!("loop: {{ count: 2 }}, steps: {inner}"),
            "steps.a.output.linux-x64.exit_code == 0",
            format!("expected `steps.a.output[\"linux-x64\"]`, {no_word}"),
        ),
        (
            format!("parallel: {{}}, branches: {nested}"),
            "steps.a.output[\"b-c\"].linux-x64",
            format!("expected `steps.a.output[\"b-c\"][\"linux-x64\"]`, {no_word}"),
        ),
        (
            format!("parallel: {{}}, branches: {nested}"),
            "steps.a.output.b-c.linux-x64.stdout",
            format!("expected `steps.a.output[\"b-c\"][\"linux-x64\"]`, {no_word}"),
        ),
    ] {
        let text = format!(
            "name: p\nsteps:\n- {{ name: a, {step} }}\n- {{ name: z, if: '{path}', \
                            then: [{{ name: y, run: [x] }}] }}\n"
        );
        let faults = PlanFormat::Yaml.read(&text).expect_err(path);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].to_string().contains(&right), "{path}: {}", faults[0]);
    }
}
