//! Mistakes of those who come from other tools, and what is right instead, for each format.

use quell_flow::PlanFormat;

use crate::support::*;

/// The only fault of a text: its place and its message.
#[track_caller]
fn fault(format: PlanFormat, text: &str) -> ((usize, usize), String) {
    assert_own_words_stay(format, text);
    let faults = format.read(text).expect_err(text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    let place = (faults[0].line().unwrap(), faults[0].column().unwrap());
    (place, faults[0].message().to_owned())
}

#[test]
fn branches_in_the_place_of_the_options_are_shown_beside_them() {
    let (yaml, json, toml) = (
        "name: p\nsteps:\n- name: a\n  parallel:\n  - { name: b, run: [x] }\n",
        r#"{"name": "p", "steps": [{"name": "a", "parallel": [{"name": "b", "run": ["x"]}]}]}"#,
        "name = 'p'\n[[steps]]\nname = 'a'\n[[steps.parallel]]\nname = 'b'\nrun = ['x']\n",
    );
    for (format, text, right) in [
        (PlanFormat::Yaml, yaml, "`parallel: {}`"),
        (PlanFormat::Json, json, "`\"parallel\": {}`"),
        (PlanFormat::Toml, toml, "`parallel = {}`"),
    ] {
        let says = format!(
            "`parallel`: found a list; expected {right}, and the list as `branches` beside it"
        );
        assert_eq!(fault(format, text).1, says);
    }
    let inner = yaml.replace("[x]", "x");
    let found = PlanFormat::Yaml.read(&inner).unwrap_err();
    assert_eq!(found.len(), 2, "those of the branches are shown as well: {found:?}");
    let nothing = "name: p\nsteps:\n- name: a\n  parallel:\n  branches: [{ name: b, run: [x] }]\n";
    let says = "`parallel`: found null; expected a table, `{}` for the defaults";
    assert_eq!(fault(PlanFormat::Yaml, nothing).1, says);
}

#[test]
fn a_list_in_the_options_of_a_step_is_shown_beside_them() {
    let one = "[{ name: b, run: [x] }]";
    for (step, key, owner) in [
        (format!("parallel: {{ branches: {one} }}"), "branches", "parallel"),
        (format!("loop: {{ count: 2, steps: {one} }}"), "steps", "loop"),
        (format!("team: {{ mode: broadcast, members: {one} }}"), "members", "team"),
        (format!("team: {{ mode: sequence, input: x }}, members: {one}"), "input", "team"),
    ] {
        let text = format!("name: p\nsteps:\n- {{ name: a, {step} }}\n");
        let says = format!("unknown key `{key}`; it stands beside `{owner}`, not in it");
        assert_eq!(fault(PlanFormat::Yaml, &text).1, says);
    }
}

#[test]
fn an_operator_of_another_language_has_the_one_of_this_one() {
    for (expression, right) in [
        ("input.x && input.y", "; expected `and`"),
        ("input.x || input.y", "; expected `or`"),
        ("input.x == 'a' || input.y", "; expected `or`"),
        ("!input.x", "; expected `not`"),
        ("input.x ? 1 : 2", "; expected `A if B else C`, or `A | default(C)`"),
        ("input.x ?? 2", "; expected `A if B else C`, or `A | default(C)`"),
        ("input.x === 2", "; expected `==`, which compares"),
    ] {
        for (key, text) in [
            ("if", format!("if: \"{expression}\", then: [{{ name: b, run: [x] }}]")),
            ("run", format!("run: [x, \"it's a=b & {{{{ {expression} }}}}\"]")),
        ] {
            let text = format!("name: p\nsteps:\n- {{ name: a, {text} }}\n");
            let (_, message) = fault(PlanFormat::Yaml, &text);
            assert!(message.starts_with(&format!("`{key}`: bad ")), "{message}");
            assert!(message.ends_with(right), "{expression}: {message}");
        }
    }
    let (_, message) =
        fault(PlanFormat::Yaml, "name: p\nsteps: [{ name: a, run: ['a=b {{ input. }}'] }]");
    assert!(!message.contains("=="), "what is around a template is not looked at: {message}");
}

#[test]
fn a_quote_within_quotes_is_named() {
    let right = "; a quote ends the text: expected `\\` before one within it, or the other quotes \
                 around it";
    for expression in ["input.x == 'it's fine'", "input.x == 'it''s'"] {
        let quoted = serde_json::Value::from(expression);
        let text = format!(
            "name: p\nsteps: [{{ name: a, if: {quoted}, then: [{{ name: b, run: [x] }}] }}]"
        );
        let (_, message) = fault(PlanFormat::Yaml, &text);
        assert!(message.ends_with(right), "{message}");
    }
    let (single, double) = ("'it's fine'", "\"say \"hello\"\"");
    let flow = |text: &str| format!("name: p\nsteps: [{{ name: a, run: [x, {text}] }}]");
    let block = |text: &str| format!("name: p\nsteps:\n- name: a\n  run:\n  - x\n  - {text}\n");
    let toml = |text: &str| format!("name = 'p'\nsteps = [{{ name = 'a', run = ['x', {text}] }}]");
    let table = |text: &str| format!("name = {text}\n");
    let json = format!("{{\"name\": \"p\", \"steps\": [{{\"name\": {double}}}]}}");
    let (both, other) = ("`''` for a quote within it, or double", "`\\\"` for a quote within it");
    let none = "double quotes around a text with a single quote within it";
    for (format, text, right) in [
        (PlanFormat::Yaml, flow(single), both),
        (PlanFormat::Yaml, flow(double), other),
        (PlanFormat::Yaml, block(single), both),
        (PlanFormat::Yaml, block(double), other),
        (PlanFormat::Toml, toml(single), none),
        (PlanFormat::Toml, toml(double), other),
        (PlanFormat::Toml, table(single), none),
        (PlanFormat::Toml, table(double), other),
        (PlanFormat::Json, json, other),
    ] {
        let (_, message) = fault(format, &text);
        assert!(message.contains(" before this ends the text; expected "), "{text}: {message}");
        assert!(message.contains(right), "{text}: {message}");
    }
}

#[test]
fn a_step_of_then_and_one_of_else_may_have_one_name() {
    let text = "name: p\nsteps:\n- name: c\n  if: input.x\n  then:\n\
                \x20 - { name: a, sequence: [{ name: y, run: [x] }] }\n  else:\n\
                \x20 - { name: a, sequence: [{ name: z, run: [x] }] }\n\
                - { name: d, run: [x, '{{ steps.c.output.a.z.stdout }}'] }\n";
    for right in ["z.stdout", "y.stdout"] {
        let plan = PlanFormat::Yaml.read(&text.replace("z.stdout", right)).expect(right);
        assert!(plan.warnings().is_empty());
    }
    let both = text.replace("sequence: [{ name: y, run: [x] }]", "run: [x]");
    let both = both.replace("sequence: [{ name: z, run: [x] }]", "run: [x]");
    assert_eq!(PlanFormat::Yaml.read(&both).expect("it runs").warnings().len(), 1);
}

#[test]
fn a_fault_of_a_step_is_none_of_what_reads_its_output() {
    for inner in [
        "branchs: [{ name: b, run: [x] }]",
        "branches: [{ nam: b, run: [x] }]",
        "branches: b",
        "branches: [{ name: b, run: [x] }], limit: 1",
    ] {
        let text = format!(
            "name: p\nsteps:\n- {{ name: a, parallel: {{}}, {inner} }}\n\
             - {{ name: c, run: [x, '{{{{ steps.a.output.b.stdout }}}}'] }}\n"
        );
        fault(PlanFormat::Yaml, &text);
    }
}

#[test]
fn a_pause_with_a_fault_is_not_compared_with_the_other() {
    for (retry, says) in [
        ("min: 40s, cap: 1x", "`cap`: invalid time `1x`"),
        ("min: 40x, cap: 1s", "`min`: invalid time `40x`"),
        ("min: 40s, cap: 1s", "`min`: min `40s` is above the longest pause, `1s`"),
        ("min: 40s", "`min`: min `40s` is above the longest pause, `30s`"),
    ] {
        let step = format!("{{ name: a, run: [x], retry: {{ attempts: 2, {retry} }} }}");
        let found = fault(PlanFormat::Yaml, &format!("name: p\nsteps:\n- {step}\n")).1;
        assert!(found.starts_with(says), "{found}");
    }
}

#[test]
fn keys_of_a_step_that_became_variables_are_shown_where_they_belong() {
    let toml = "name = 'p'\n[[steps]]\nname = 'a'\n[steps.env]\nA = 'b'\nrun = ['x']\n";
    let says = "step `a` does nothing; `run` stands in the table `[steps.env]`, as a variable; \
                keys of the step come before that header";
    assert_eq!(fault(PlanFormat::Toml, toml), ((6, 1), says.to_owned()));
    let more = format!("{toml}timeout = '3s'\n[[steps]]\nname = 'b'\nrun = ['x']\n");
    let says = "step `a` does nothing; `run`, `timeout` stand in the table `[steps.env]`, as a \
                variable; keys of the step come before that header";
    assert_eq!(fault(PlanFormat::Toml, &more).1, says);
    let yaml = "name: p\nsteps:\n- name: a\n  env:\n    A: b\n    run: [x]\n";
    let says = "step `a` does nothing; `run` stands in its `env`, as a variable; keys of the step \
                stand beside `env`";
    assert_eq!(fault(PlanFormat::Yaml, yaml), ((6, 5), says.to_owned()));
    let other = "name = 'p'\n[[steps]]\nname = 'a'\n[steps.env]\nA = 'b'\nname = 'x'\n";
    assert!(fault(PlanFormat::Toml, other).1.contains("step `a` does nothing; expected exactly"));
}

#[test]
fn a_variable_with_the_name_of_a_key_of_steps_behind_the_header_of_env_is_warned_of() {
    let step = "name = 'p'\n[[steps]]\nname = 'a'\nrun = ['x']\n";
    let plan = PlanFormat::Toml.read(&format!("{step}[steps.env]\nA = 'b'\ntimeout = '3s'\n"));
    let plan = plan.unwrap();
    let [warning] = plan.warnings() else { panic!("{:?}", plan.warnings()) };
    let says = "line 7, column 1: `timeout` is a variable here, as it stands in the table \
                `[steps.env]`; one of the step stands before it";
    assert_eq!(warning.to_string(), says);
    assert!(!warning.snippet().unwrap().contains("3s"), "{warning:?}");
    for meant in ["env = { timeout = '3s' }", "env.timeout = '3s'", "[steps.env]\nTIMEOUT = '3s'"] {
        let plan = PlanFormat::Toml.read(&format!("{step}{meant}\n")).unwrap();
        assert!(plan.warnings().is_empty(), "{meant}: {:?}", plan.warnings());
    }
}

#[test]
fn what_json_does_not_have_is_refused_with_what_is_right() {
    let step = r#"{"name": "a", "run": ["x"]}"#;
    let plan = |rest: &str| format!("{{\"name\": \"p\", \"steps\": [{rest}]}}");
    for (text, says) in [
        (plan(&format!("{step},")), "; the last entry has no comma behind it"),
        (plan(r#"{"name": "a", "run": ["x"],}"#), "; the last entry has no comma behind it"),
        (plan(&format!("// one\n{step}")), "expected value; JSON has no comments"),
        (plan(&format!("# one\n{step}")), "expected value; JSON has no comments"),
        (plan(&format!("{step} /* one */")), "; JSON has no comments"),
        (plan("{'name': 'a'}"), "key must be a string; texts of JSON stand in double quotes"),
        (plan("{\"name\": 'a'}"), "expected value; texts of JSON stand in double quotes"),
    ] {
        let faults = PlanFormat::Json.read(&text).unwrap_err();
        assert!(faults[0].message().ends_with(says), "{text}\n{faults:?}");
    }
}

#[test]
fn a_key_in_a_wrong_place_is_refused_with_its_right_one() {
    let step = "steps:\n- { name: a, run: [x] }\n";
    for (text, says) in [
        (format!("name: p\nenv: {{ A: b }}\n{step}"), "unknown key `env`; it is one of a step"),
        (format!("name: p\nretry: 3\n{step}"), "unknown key `retry`; it is one of a step in"),
        (
            "name: p\nsteps:\n- name: a\n  run: [x]\n  env:\n  FOO: b\n".to_owned(),
            "unknown key `FOO`; a variable is indented below its `env`",
        ),
        (
            "name: p\nsteps: [{ name: a, run: [x], retry: { attempts: 2, delay: 1s } }]".to_owned(),
            "unknown key `delay`; did you mean `backoff`?",
        ),
        (
            "name: p\nsteps: [{ name: a, run: [x], cwd: ~ }]".to_owned(),
            "`cwd`: found null; expected the path itself, such as `/srv/data`",
        ),
    ] {
        let faults = PlanFormat::Yaml.read(&text).unwrap_err();
        assert!(faults.iter().any(|fault| fault.message().starts_with(says)), "{text}\n{faults:?}");
    }
}

#[test]
fn a_value_that_is_no_list_and_no_time_is_answered_with_one() {
    let list = "expected a list such as `[\"make\", \"all\"]`";
    let time = "expected a time such as \"30s\" or \"500ms\"";
    let needs = "expected a list such as `[\"build\"]`";
    for (step, says) in [
        ("run: 5", format!("`run`: found a number; {list}")),
        ("run: { make: all }", format!("`run`: found a table; {list}")),
        ("run:", format!("`run`: found null; {list}")),
        ("run: [x], timeout: []", format!("`timeout`: found a list; {time}")),
        ("run: [x], retry: { attempts: 2, cap: true }", format!("`cap`: found a boolean; {time}")),
        (
            "parallel: {}, branches: [{ name: b, run: [x], needs: 5 }]",
            format!("`needs`: found a number; {needs}"),
        ),
    ] {
        let text = format!("name: p\nsteps:\n- {{ name: a, {step} }}\n");
        assert_eq!(fault(PlanFormat::Yaml, &text).1, says);
    }
}
