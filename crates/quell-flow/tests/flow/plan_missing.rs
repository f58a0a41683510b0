//! What is missing, or unknown, is named: each path of an expression, and what there is instead.

use quell_flow::{Catalog, Component, Plan, PlanFormat};

use crate::support::*;

/// The error of a plan whose second step reads this.
async fn error_of(read: &str) -> String {
    let output = r#"{"exit_code":0,"stdout":"x","list":[],"inner":{"deep":1}}"#;
    let plan = format!(
        "name = 'p'\n[[steps]]\nname = 'build'\nrun = ['json', '{output}']\n\
         [[steps]]\nname = 'use'\n{read}\n"
    );
    run_plan(&plan).await.0.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_missing_is_named_with_its_step_and_what_there_is() {
    for (path, says) in [
        ("steps.build.output.stdou", "`steps.build.output` has no `stdou`; did you mean `stdout`?"),
        (
            "steps.build.output.x",
            "`steps.build.output` has no `x`; it has `exit_code`, `inner`, `list`, `stdout`",
        ),
        (
            "steps.build.output.inner.dep.er",
            "`steps.build.output.inner` has no `dep`; did you mean `deep`?",
        ),
        ("steps.build.output.stdout.x", "`steps.build.output.stdout` has no `x`: it is a string"),
        (
            "steps.build.output.exit_code ~ steps.build.output.xx ~ steps.build.output.deep",
            "`steps.build.output` has no `deep`; it has `exit_code`, `inner`, `list`, `stdout`; \
             `steps.build.output` has no `xx`; it has `exit_code`",
        ),
    ] {
        let template = error_of(&format!("run = ['say', 'a {{{{ {path} }}}}']")).await;
        assert!(template.contains("step `use` failed: template") && template.contains(says));
        let condition = format!("if = '{path}'\nthen = [{{ name = 'x', run = ['y'] }}]");
        let expression = error_of(&condition).await;
        assert!(expression.contains(&format!("expression `{path}`: {says}")), "{expression}");
    }
}

#[test]
fn every_unknown_name_of_an_expression_is_a_fault_of_its_own() {
    let text =
        "name: p\nsteps:\n- { name: a, run: ['{{ inputs }} {{ foo }} {{ steps.b.output }}'] }";
    let faults = PlanFormat::Yaml.read(text).unwrap_err();
    let says: Vec<_> = faults.iter().map(quell_flow::PlanError::message).collect();
    assert_eq!(faults.len(), 3, "{says:?}");
    for (says, begins) in says.iter().zip([
        "`run`: unknown name `foo`",
        "`run`: unknown name `inputs`",
        "`run`: unknown step `b`",
    ]) {
        assert!(says.starts_with(begins), "{says}");
    }
    assert!(faults.iter().all(|fault| fault.column() == Some(20)), "{faults:?}");
}

#[test]
fn an_unknown_component_is_guessed_by_its_name_or_its_id() {
    let made = |id: &str| Component::agent(id, async |_, input| Ok(input));
    let catalog = Catalog::new().with(made("writer")).with(made("editor"));
    for (name, meant) in [
        ("agent/writr", "did you mean `agent/writer`?"),
        ("writr", "did you mean `agent/writer`?"),
        ("workflow/editor", "did you mean `agent/editor`?"),
        ("nobody", "expected one of `agent/editor`, `agent/writer`"),
    ] {
        let text = format!("name: p\nsteps:\n- {{ name: a, component: {name} }}\n");
        let faults = Plan::from_yaml(&text).unwrap().link(&catalog).unwrap_err();
        assert!(faults[0].message().ends_with(meant), "{}", faults[0]);
    }
}

#[test]
fn a_line_ends_with_either_character_or_with_both() {
    let lines = ["name: p", "steps:", "- name: a", "  run: [x]", "  tiemout: 3s", ""];
    for end in ["\n", "\r", "\r\n"] {
        let faults = PlanFormat::Yaml.read(&lines.join(end)).unwrap_err();
        assert_eq!((faults[0].line(), faults[0].column()), (Some(5), Some(3)), "{end:?}");
        let shown = "  |\n5 |   tiemout: **\n  |   ^";
        assert_eq!(faults[0].snippet().as_deref(), Some(shown), "{end:?}");
    }
    let braces = "name: p\rsteps:\r- name: a\r  run: [{{ x }}]\r";
    let fault = &PlanFormat::Yaml.read(braces).unwrap_err()[0];
    assert_eq!((fault.line(), fault.column()), (Some(4), Some(9)), "{fault}");
}
