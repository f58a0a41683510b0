//! Templates in the script of a shell: `quote` makes a value one word, and what is not quoted is
//! warned of.

use quell_flow::{Plan, PlanFormat};

use crate::support::*;

/// The warnings of a plan with one step that runs this, as people see them.
fn warned(run: &str) -> Vec<String> {
    let text = format!("name: p\nsteps:\n- name: a\n  run: {run}\n");
    assert_own_words_stay(PlanFormat::Yaml, &text);
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
        ("[ssh, host, 'rm \"{{ input | quote }}\"']", "within quotes in what `ssh` runs"),
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
fn a_quoted_template_is_warned_of_where_quotes_are_none() {
    for (script, says) in [
        (r"echo \{{ input | quote }}", "behind a backslash in the script of `sh`, which takes"),
        ("echo `ls {{ input | quote }}`", "within backticks in the script of `sh`: one in its"),
        ("echo `ls {{ input }}`", "expected `$(…)` in their place"),
        ("echo $((1 + {{ input | quote }}))", "expected `{{ input | int }}`"),
        ("((1 < {{ input }})) && ls", "`{{ input }}` in arithmetic in the script of `sh`"),
        ("ls # {{ input | quote }}", "in a comment in the script of `sh`, which a line break"),
        (
            "echo ${{ input | quote }}",
            "leaves `$` before the value; expected `{{ input | quote }}`",
        ),
    ] {
        let found = warned(&format!("[sh, -c, '{script}']"));
        assert!(found.len() == 1 && found[0].contains(says), "{script}: {found:?}");
    }
    for script in [
        r"echo \\{{ input | quote }} \\x{{ input | quote }}",
        "echo \"$(ls {{ input | quote }})\" `ls` {{ input | quote }}",
        "echo $((1 + {{ input | int }})) `head -n {{ input | length }}` {{ input | quote }}",
        "ls # all\n\n  ls {{ input | quote }}",
    ] {
        assert_eq!(warned(&format!("[sh, -c, '{script}']")), [""; 0], "{script}");
    }
}

#[test]
fn a_template_in_the_script_of_any_program_that_hands_it_to_a_shell_is_warned_of() {
    let posix = "reads its value as part of the script; expected `{{ input | quote }}`";
    let foreign = "by quotes that are not those of `quote`; expected a variable of `env`";
    for (command, says) in [
        ("rbash, -c", posix),
        ("su, me, -c", posix),
        ("sudo, runuser, -u, me, -c", posix),
        ("script, -qc", posix),
        ("watch, -n, '2'", posix),
        ("flock, lock, -c", posix),
        ("fish, -c", foreign),
        ("tcsh, -c", foreign),
        ("pwsh, -NoProfile, -Command", foreign),
        ("cmd, /c", foreign),
        ("env, -S", "in what `env -S` splits, by quotes that are not those of `quote`"),
        ("env, A=b, sh, -c", posix),
    ] {
        let found = warned(&format!("[{command}, 'ls {{{{ input }}}}']"));
        assert!(found.len() == 1 && found[0].contains(says), "{command}: {found:?}");
        let quoted = warned(&format!("[{command}, 'ls {{{{ input | quote }}}}']"));
        assert_eq!(quoted.len(), usize::from(says != posix), "{command}: {quoted:?}");
    }
    for run in [
        "[npm, run, script, -c, '{{ input }}']",
        "[env, A=b, make, '{{ input }}']",
        "[watch, -x, make, '{{ input }}']",
        "[flock, lock, python3, -c, '{{ input }}']",
        "[fish, -c, 'head -n {{ input | int }}']",
    ] {
        assert_eq!(warned(run), [""; 0], "{run}");
    }
}

#[test]
fn a_template_in_the_input_of_a_shell_without_a_script_is_warned_of() {
    let of = |run: &str, input: &str| warned(&format!("[{run}]\n  input: 'ls {input}'"));
    let says = "line 5, column 14: `input`: `{{ input.x }}` in the `input` of `sh`, its script: \
                the shell reads its value as part of the script; expected `{{ input.x | quote }}`";
    let found = of("sh", "{{ input.x }}");
    assert!(found.len() == 1 && found[0].starts_with(says), "{found:?}");
    for run in [
        "bash, -eu",
        "bash, -s, --, a",
        "env, A=b, sh",
        "docker, exec, -i, box, sh",
        "ssh, host",
        "fish",
    ] {
        let found = of(run, "{{ input.x }}");
        assert!(found.len() == 1 && found[0].contains("its script"), "{run}: {found:?}");
    }
    assert_eq!(of("sh", "{{ input.x | quote }}"), [""; 0]);
    for run in ["sh, -c, cat", "sh, file", "which, sh", "shellcheck, -s, sh, '-'", "ssh, host, cat"]
    {
        assert_eq!(of(run, "{{ input.x }}"), [""; 0], "{run}");
    }
}

#[test]
fn a_template_that_a_shell_may_take_for_an_option_is_warned_of() {
    let found = warned("[sh, -e, '{{ input.file }}', '{{ input.x }}']");
    let says = "line 4, column 17: `run`: `sh` may take the value for an option, such as `-c`";
    assert!(found.len() == 1 && found[0].starts_with(says), "{found:?}");
    for run in [
        "[sh, --, '{{ input.file }}', '{{ input.x }}']",
        "[sh, '{{ input.file }}']",
        "[sh, './{{ input.file }}', '{{ input.x }}']",
        "[sh, file, '{{ input.x }}', '{{ input.x }}']",
    ] {
        assert_eq!(warned(run), [""; 0], "{run}");
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
