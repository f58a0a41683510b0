//! What a plan may say, but hardly means: signs of a shell without a shell, braces of another tool,
//! a number that is compared with a text.

use quell_flow::PlanFormat;

use crate::support::*;

/// The warnings of a plan with a step `a`, which is `run: [x]`, and a second one: the place of each
/// and its message.
fn warned(step: &str) -> Vec<(usize, usize, String)> {
    let text = format!("name: p\nsteps:\n- {{ name: a, run: [x] }}\n- name: b\n  {step}\n");
    assert_own_words_stay(PlanFormat::Yaml, &text);
    let plan = PlanFormat::Yaml.read(&text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    let place = |at: Option<usize>| at.expect("a warning has a place");
    let shown = plan.warnings().iter();
    shown.map(|it| (place(it.line()), place(it.column()), it.message().to_owned())).collect()
}

/// The only fault of a text in YAML.
#[track_caller]
fn fault(text: &str) -> String {
    assert_own_words_stay(PlanFormat::Yaml, text);
    let faults = PlanFormat::Yaml.read(text).expect_err(text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults[0].message().to_owned()
}

#[test]
fn a_sign_of_a_shell_without_a_shell_is_warned_of() {
    let says = "`run`: no shell reads `|`, it is an argument of `make` like others; expected a \
                shell: `[\"sh\", \"-c\", \"… | …\"]`";
    assert_eq!(warned("run: [make, all, '|', tee, log]"), [(5, 20, says.to_owned())]);
    for sign in ["||", "&&", ";", ">", ">>", "<", "2>&1", "&"] {
        let found = warned(&format!("run: [env, A=1, make, '{sign}', '|', x]"));
        assert_eq!(found.len(), 1, "once for a command: {found:?}");
        assert!(found[0].2.contains(&format!("no shell reads `{sign}`, ")), "{found:?}");
        assert!(found[0].2.ends_with(&format!("\"… {sign} …\"]`")), "{found:?}");
    }
    for run in [
        "[cut, -d, '|', file]",
        "[awk, -F, '|', '{ print $1 }']",
        "['|']",
        "[sh, -c, 'make | cat', '|']",
        "[env, A=1, /bin/bash, -c, 'cat', '>']",
        "[fish, -c, 'cat', '>']",
        "[ssh, host, ls, '|', wc]",
        "[find, ., -exec, rm, '{}', ';']",
        "[grep, '|', file]",
        "[tr, ',', ';']",
        "[expr, '1', '<', '2']",
        "[make, 'a|b', '--x=>', '<a>']",
        "[echo, '|']",
        "[say, a, '&&']",
    ] {
        assert_eq!(warned(&format!("run: {run}")), [], "{run}");
    }
    assert_eq!(warned("run: [tr, a, b, '<', file]").len(), 1);
    assert_eq!(warned("run: [make, all, '&']").len(), 1);
}

#[test]
fn what_only_a_shell_expands_is_warned_of_without_a_shell() {
    for (word, right) in [
        ("~/data", "[\"sh\", \"-c\", \"… ~/data …\"]"),
        ("$HOME", "[\"sh\", \"-c\", \"… $HOME …\"]"),
        ("$MY_DIR2/x", "[\"sh\", \"-c\", \"… $MY_DIR2/x …\"]"),
        ("${HOME}/x", "[\"sh\", \"-c\", \"… ${HOME}/x …\"]"),
    ] {
        let says = format!(
            "`run`: nothing expands `{word}` without a shell; expected the value itself, such as \
             `{{{{ input.dir }}}}`, or a shell: `{right}`"
        );
        assert_eq!(warned(&format!("run: [ls, -l, '{word}']")), [(5, 17, says)]);
    }
    for word in ["~", "~/x", "$HOME/x", "${HOME}"] {
        let says = format!(
            "`cwd`: nothing expands `{word}`; expected the path itself, such as `/srv/data` or \
             `{{{{ input.dir }}}}`"
        );
        assert_eq!(warned(&format!("run: [sh, -c, ls]\n  cwd: '{word}'")), [(6, 8, says)]);
    }
    for word in ["~/bin/x", "$HOME/bin/x"] {
        let says = format!(
            "`run`: nothing expands `{word}` without a shell; expected the path itself, such as \
             `/opt/bin/tool`, or a shell: `[\"sh\", \"-c\", \"… {word} …\"]`"
        );
        assert_eq!(warned(&format!("run: ['{word}', a]")), [(5, 9, says)]);
    }
    for run in [
        "[sh, -c, 'ls ~/x $HOME', '$HOME']",
        "[fish, -c, 'ls', '~/x']",
        "[awk, '$1', file]",
        "[awk, '$NF > 1', file]",
        "[grep, 'foo$', '$', '$x', '~', a~/b]",
        "[sed, '$G', '$!N']",
        "[envsubst, '$HOME']",
        "[echo, 'in $HOME', '\"$HOME\"']",
    ] {
        assert_eq!(warned(&format!("run: {run}")), [], "{run}");
    }
    assert_eq!(warned("run: [ls]\n  cwd: 'a~/$HOME'"), []);
}

#[test]
fn a_command_has_so_many_warnings_at_most() {
    let warned = |words: String| {
        let text = format!("{{\"name\":\"p\",\"steps\":[{{\"name\":\"a\",\"run\":[{words}]}}]}}");
        let plan = PlanFormat::Json.read(&text).unwrap_or_else(|faults| panic!("{faults:?}"));
        plan.warnings().len()
    };
    let max = quell_flow::limits::PLAN_FAULTS_MAX;
    assert_eq!(warned(format!("\"x\"{}", ",\"~/\"".repeat(max - 1))), max - 1);
    assert_eq!(warned(format!("\"x\"{}", ",\"~/\"".repeat(2 * max))), max);
    assert_eq!(warned(format!("\"envsubst\"{}", ",\"~/\"".repeat(2 * max))), 0);
    let script = r#"{{ input[\"a\"] }}"#.repeat(2 * max);
    assert_eq!(warned(format!("\"sh\",\"-c\",\"{script}\"")), max);
}

#[test]
fn a_sign_of_dollar_before_a_template_is_warned_of() {
    let says = |key: &str| {
        format!(
            "{key}`${{{{ input.x }}}}` leaves `$` before the value; expected `{{{{ input.x }}}}`"
        )
    };
    assert_eq!(warned("run: [x, 'a ${{ input.x }}']"), [(5, 12, says(""))]);
    assert_eq!(warned("run: [x, '${{ input.x }}']"), [(5, 12, says(""))]);
    assert_eq!(warned("run: [x]\n  input: '${{ input.x }}'"), [(6, 10, says(""))]);
    // What may be a secret is not quoted.
    for secret in [
        "run: [x]\n  env: { A: 'pw ${{ input.x }}' }",
        "component: agent/x\n  input: { a: 'pw ${{ input.x }}' }",
    ] {
        let secret = warned(secret);
        assert_eq!(secret.len(), 1, "{secret:?}");
        assert!(secret[0].2.starts_with("`${{ … }}` leaves `$`"), "{secret:?}");
    }
    assert_eq!(warned("run: [x, '$ {{ input.x }} {{ \"${{\" }}']"), []);
    let text = "name: p\nsteps: [{ name: b, if: '${{ input.x }}', then: [{ name: c, run: [x] }] }]";
    let says = "`if`: `${{ input.x }}` has the braces of a template; expected `input.x`";
    assert_eq!(fault(text), says);
}

#[test]
fn a_number_that_is_compared_with_a_text_is_warned_of() {
    for (key, compared, right) in [
        ("exit_code", "PATH == '0'", "PATH == 0"),
        ("exit_code", "'0' != PATH", "0 != PATH"),
        ("stderr_bytes", "PATH == \"12\"", "PATH == 12"),
        ("stdout_bytes", "PATH == '!='", "a number"),
    ] {
        let path = format!("steps.a.output.{key}");
        let (compared, right) = (compared.replace("PATH", &path), right.replace("PATH", &path));
        let right = if right == "a number" { right } else { format!("`{right}`") };
        let answer = compared.starts_with("'0' !=");
        let expression = serde_json::Value::from(format!("{compared} or input.x"));
        let found = warned(&format!("if: {expression}\n  then: [{{ name: c, run: [x] }}]"));
        let says = format!(
            "`{compared}` is always {answer}: `{path}` is a number, and no text; expected {right}"
        );
        assert_eq!(found, [(5, 7, says)]);
    }
    for none in ["exit_code == 0", "exit_code | string == '0'", "signal == '9'", "content == '0'"] {
        let step = format!("if: \"steps.a.output.{none}\"\n  then: [{{ name: c, run: [x] }}]");
        assert_eq!(warned(&step), [], "{none}");
    }
}

#[test]
fn an_error_of_the_indentation_says_what_to_do() {
    for (text, says) in [
        (
            "name: p: q\n",
            "mapping values are not allowed in this context; check the indentation; a text with \
             `: ` needs quotes",
        ),
        (
            "name: p\nsteps:\n- name: a\n  run: x\n\t  y\n",
            "; YAML is indented with spaces, not tabs",
        ),
        ("name: p\nsteps:\n\t- name: a\n", "; YAML is indented with spaces, not tabs"),
        ("name: p\nsteps:\n- name: a\n\trun: [x]\n", "; YAML is indented with spaces, not tabs"),
    ] {
        let found = fault(text);
        assert!(found.ends_with(says), "{text:?}: {found}");
    }
}

#[test]
fn a_key_of_another_tool_has_the_key_that_is_meant() {
    let step = "[{ name: a, run: [x] }]";
    for (text, found, meant) in [
        (format!("stages: {step}"), "stages", "steps"),
        (format!("jobs: {step}"), "jobs", "steps"),
        (format!("tasks: {step}"), "tasks", "steps"),
        (format!("steps: [{{ name: l, loop: {{ count: 2 }}, do: {step} }}]"), "do", "steps"),
        (format!("steps: [{{ name: l, loop: {{ times: 2 }}, steps: {step} }}]"), "times", "count"),
    ] {
        let says = format!("unknown key `{found}`; did you mean `{meant}`?");
        assert_eq!(fault(&format!("name: p\n{text}\n")), says);
    }
    let says = "unknown key `finally`; nothing runs at every end: `on_failure` is for a failure, \
                `on_stop` for a stop, and a last step for a success";
    assert_eq!(fault(&format!("name: p\nsteps: {step}\nfinally: {step}\n")), says);
    let inner = format!("name: p\nsteps: [{{ name: a, run: [x], finally: {step} }}]\n");
    assert_eq!(fault(&inner), says);
}
