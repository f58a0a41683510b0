//! What messages about plans show of keys, descriptions and texts of several lines; and what they
//! say of the keys of other tools.

use quell_flow::PlanFormat;

use crate::support::*;

/// The faults of a plan as people see them: the messages, and the lines below them.
#[track_caller]
fn shown(format: PlanFormat, text: &str) -> String {
    assert_own_words_stay(format, text);
    let faults = format.read(text).expect_err(text);
    let shown = faults.iter().map(|it| format!("{it}\n{}\n", it.snippet().unwrap_or_default()));
    shown.collect()
}

fn of_step(step: &str) -> String {
    shown(PlanFormat::Yaml, &format!("name: p\nsteps:\n- name: a\n  {step}\n"))
}

#[test]
fn a_key_that_may_be_a_secret_is_shown_nowhere() {
    for key in ["AKIAIOSFODNN7EXAMPLE", "JBSWY3DPEHPK3PXP", "ghp_16C7e42F292c", "Zq7xK9vB3nMtW4"] {
        for step in [
            format!("run: [x]\n  {key}: 3"),
            format!("run: [x]\n  retry: {{ {key}: 3 }}"),
            format!("run: [x]\n  env: {{ {key}: y }}\n  idel: 3s"),
            format!("run: [x, {{ {key}: y }}]"),
            format!("component: c\n  input: {{ {key}: '{{{{ x' }}"),
            format!("vars: {{ {key}: y }}\n  run: [x]"),
        ] {
            let found = of_step(&step);
            assert!(!found.contains(&key[..6]), "{found}");
        }
    }
    for key in ["dependsOn", "MY_LONG_VARIABLE", "S3_BUCKET", "timeout-minutes", "itemCount2"] {
        let found = of_step(&format!("run: [x]\n  {key}: 3"));
        assert!(found.contains(&format!("unknown key `{key}`")), "{found}");
    }
}

#[test]
fn of_a_description_and_a_question_words_are_shown_that_look_like_words() {
    for (text, right) in [
        ("builds the docs, then tells", "builds the docs, then tells"),
        ("with token Zq7xK9vB3nMtW4", "with token **************"),
        ("u:Zq7xK9 and more", "******** and more"),
    ] {
        let found = of_step(&format!("wait: {{ ask: '{text}', approve: 3 }}"));
        assert!(found.contains(&format!("ask: '{right}', approve")), "{found}");
        let text = format!("{{ name: p, description: '{text}', steps: 3 }}");
        let found = shown(PlanFormat::Yaml, &text);
        assert!(found.contains(&format!("description: '{right}', steps")), "{found}");
    }
}

#[test]
fn of_a_text_of_several_lines_the_first_is_shown_also_if_its_line_ends_are_escapes() {
    for text in
        [r"input.x ==\nMIIEpAIBZq", r"input.x ==\u000aMIIEpAIBZq", r"input.x ==\r\nMIIEpAIBZq"]
    {
        let plan = format!(
            "{{\"name\": \"p\", \"steps\": [{{\"name\": \"a\", \"if\": \"{text}\", \"then\": 3}}]}}"
        );
        for format in [PlanFormat::Json, PlanFormat::Yaml] {
            let found = shown(format, &plan);
            assert!(found.contains(r#""if": "input.x =="#), "{found}");
            assert!(!found.contains("MIIEpAIB"), "{found}");
        }
    }
}

#[test]
fn a_step_that_runs_others_is_told_where_what_stands_beside_it_goes() {
    for (kind, steps) in [
        ("loop: {}", "steps"),
        ("parallel: {}", "branches"),
        ("route: x", "routes"),
        ("if: x", "then"),
    ] {
        let found = of_step(&format!("run: [x]\n  {kind}"));
        let kind = kind.split(':').next().unwrap();
        let says = format!(
            "has both `run` and `{kind}`; a step with `{kind}` runs the steps in its `{steps}`: \
             write `run` in one of these\n"
        );
        assert!(found.contains(&says), "{found}");
    }
    let found = of_step("run: [x]\n  sequence: []");
    assert!(
        found.contains("has both `run` and `sequence`; expected exactly one of `run`"),
        "{found}"
    );
}

#[test]
fn keys_of_other_tools_have_the_key_that_is_meant() {
    for (key, meant) in [
        ("agent", "component"),
        ("use", "component"),
        ("uses", "component"),
        ("dir", "cwd"),
        ("folder", "cwd"),
        ("working-directory", "cwd"),
        ("repeat", "loop"),
    ] {
        let found = of_step(&format!("{key}: x"));
        let says = format!("unknown key `{key}`; did you mean `{meant}`?");
        assert!(found.contains(&says), "{found}");
    }
}

#[test]
fn what_is_no_step_and_no_plan_is_told_what_these_are() {
    let step = "; expected a table: a step, with its `name` and what it does, such as `run`\n";
    for text in ["on_failure: [make clean]\n  run: [x]", "parallel: {}\n  branches: [x]"] {
        let found = of_step(text);
        assert!(found.contains(&format!("found a string{step}")), "{found}");
    }
    let found = shown(PlanFormat::Yaml, "- { name: a, run: [x] }\n");
    let plan = "found a list; expected a table: a plan has a `name`, and the list as its `steps`\n";
    assert!(found.contains(plan), "{found}");
    let found = shown(PlanFormat::Yaml, "name: p\nsteps:\n  - name: a\n   run: [x]\n");
    assert!(
        found.contains("; check the indentation: the keys of an item begin in one column"),
        "{found}"
    );
}
