//! Templates in the script of a shell: `quote` makes a value one word, and what is not quoted is
//! warned of.

use quell_flow::{Plan, PlanFormat};

use crate::support::*;

/// The warnings of a plan with one step that runs this, as people see them.
fn warned(run: &str) -> Vec<String> {
    let text = format!("name: p\nsteps:\n- name: a\n  run: {run}\n");
    let plan = PlanFormat::Yaml.read(&text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    let shown = plan.warnings().iter();
    shown.map(|warning| format!("{warning}\n{}", warning.snippet().unwrap())).collect()
}

#[test]
fn a_template_in_a_script_is_warned_of_with_its_place_and_what_would_be_right() {
    let right = [
        "line 4, column 24: `run`: `{{ input }}` in the script of `sh`: the shell reads its value",
        " as part of the script; expected `{{ input | quote }}`, outside of quotes, or a variable",
        " of `env` with `{{ input }}`, which the script reads as `\"$NAME\"`\n  |\n",
        "4 |   run: [sh, -c, 'echo \"{{ input }}\"']\n  |                        ^",
    ];
    assert_eq!(warned(r#"[sh, -c, 'echo "{{ input }}"']"#), [right.concat()]);
}

#[test]
fn each_template_that_is_not_quoted_is_warned_of_once() {
    for (run, count) in [
        ("[bash, -euo, pipefail, -c, 'a {{ input.x }} {{ input.y }}']", 2),
        ("[env, A=1, /bin/sh, -c, 'a {{ input.x | quote }} {{ input.y }}']", 1),
        ("[sh, -c, 'a {{ input.x ~ input.y | quote }}']", 1),
        ("[sh, -c, 'a {{ (input.x ~ input.y) | quote }}']", 0),
        ("[sh, -c, 'a {{ \"b\" }}']", 0),
        ("[sh, -c, 'echo \"$1\"', sh, '{{ input }}']", 0),
        ("[echo, '{{ input }}']", 0),
        ("[sh, script, '{{ input }}']", 0),
    ] {
        assert_eq!(warned(run).len(), count, "{run}");
    }
    let two = warned("[bash, -c, 'a {{ input.x }} {{ input.x }}']");
    assert!(two[0].starts_with("line 4, column 22") && two[1].starts_with("line 4, column 36"));
}

#[test]
fn a_quoted_template_is_warned_of_within_quotes_and_in_a_here_document() {
    for (run, says) in [
        ("[sh, -c, 'echo \"{{ input | quote }}\"']", "`{{ input | quote }}` within quotes"),
        ("[sh, -c, \"ssh host 'rm {{ input | quote }}'\"]", "within quotes in the script of `sh`"),
        ("[sh, -c, \"cat <<E\\n{{ input | quote }}\\nE\"]", "in a here-document in the script"),
        ("[sh, -c, \"cat <<E\\n{{ input }}\\nE\"]", "expected `input` of the step, or a variable"),
        ("[ssh, -p, '22', host, rm, '{{ input }}']", "in what `ssh` runs: the shell there reads"),
        ("[ssh, host, 'rm \"{{ input | quote }}\"']", "within quotes in the script of `ssh`"),
    ] {
        let found = warned(run);
        assert!(found.len() == 1 && found[0].contains(says), "{run}: {found:?}");
    }
    for run in [
        "[sh, -c, \"echo \\\"$(cat {{ input | quote }})\\\" 'x' {{ input | quote }}\"]",
        "[sh, -c, \"cat <<E\\nx\\nE\\necho {{ input | quote }}\"]",
        "[ssh, '{{ input }}', ls]",
        "[ssh, host, 'rm {{ input | quote }}']",
    ] {
        assert_eq!(warned(run), Vec::<String>::new(), "{run}");
    }
}

#[test]
fn warnings_are_no_part_of_a_plan_and_those_of_nested_steps_are_listed_in_order() {
    let text = r#"{"name": "p", "steps": [
        {"name": "w", "workflow": {"name": "q", "steps": [
            {"name": "a", "run": ["sh", "-c", "{{ input[\"x\"] }}"]}]}},
        {"name": "b", "run": ["sh", "-c", "{{ input }}"]}]}"#;
    let plan = Plan::from_json(text).unwrap();
    let lines: Vec<_> = plan.warnings().iter().map(quell_flow::PlanError::line).collect();
    assert_eq!(lines, [Some(3), Some(4)]);
    let json = serde_json::to_string(&plan).unwrap();
    assert!(!json.contains("warnings"), "{json}");
    assert_eq!(Plan::from_json(&json).unwrap(), plan);
}

#[tokio::test(start_paused = true)]
async fn a_quoted_value_is_the_text_that_a_shell_reads_back() {
    let value = async |value: &str| {
        let step = format!("[[steps]]\nname = \"a\"\nrun = ['say', '{{{{ {value} | quote }}}}']");
        let list = "[[steps]]\nname = \"l\"\nrun = ['json', '[1]']";
        run_plan(&format!("name = \"p\"\n{list}\n{step}")).await.0
    };
    assert_eq!(value("\"it is\"").await.unwrap(), r#"{"l":[1],"a":"'it is'"}"#);
    assert_eq!(value("7").await.unwrap(), r#"{"l":[1],"a":"'7'"}"#);
    assert_eq!(value("true").await.unwrap(), r#"{"l":[1],"a":"'true'"}"#);
    assert_eq!(value("1e20").await.unwrap(), r#"{"l":[1],"a":"'1e+20'"}"#);
    let error =
        value("steps.l.output").await.map_err(|error| error.contains("`quote` takes a text"));
    assert_eq!(error, Err(true));
}
