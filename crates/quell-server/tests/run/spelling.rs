//! Times and components are written alike on the command line, in plans and in `quell.toml`.

use crate::support::Scratch;

/// Tells which of the three accept a time: a plan, `quell.toml`, the command line.
fn accepted(scratch: &Scratch, time: &str) -> [Option<i32>; 3] {
    let plan =
        format!("name = 'p'\ntimeout = {time:?}\nsteps = [{{ name = 's', run = ['true'] }}]\n");
    scratch.write("plan.toml", &plan);
    scratch.write("quell.toml", &format!("[agents.a]\nrun = ['true']\ntimeout = {time:?}\n"));
    let option = format!("--timeout={time}");
    [&["plan", "check", "plan.toml"][..], &["check"], &["run", &option, "--", "true"]]
        .map(|args| scratch.run(args).code)
}

#[test]
fn a_time_is_written_alike_everywhere() {
    let scratch = Scratch::new();
    for time in ["30s", "90sec", "1h 30m", "1h30m", "2days 3h", "60000ms"] {
        assert_eq!(accepted(&scratch, time), [Some(0); 3], "{time}");
    }
    for time in ["5M", "5", "5_000", "PT5S", "1.5", "-1s", "soon", ""] {
        assert_eq!(accepted(&scratch, time), [Some(2); 3], "{time}");
    }
}

#[test]
fn a_time_that_is_wrong_is_refused_with_right_ones() {
    let scratch = Scratch::new();
    let right = "expected one such as \"500ms\", \"30s\" or \"1h 30m\"";
    scratch.write("quell.toml", "[server]\ngrace = 5\nabort_wait = 'soon'\n");
    let ended = scratch.run(&["check"]);
    ended.assert_code(2);
    let found =
        ended.stderr.lines().map(str::trim).filter(|line| line.contains("such as \"500ms\""));
    let found: Vec<&str> = found.collect();
    assert_eq!(found.len(), 2, "{ended:?}");
    let text = right.replace("one such", "a text such");
    assert!(found[0].ends_with(&format!("quell.toml:2:9: `grace`: found a number; {text}")));
    assert!(found[1].ends_with(&format!("`abort_wait`: invalid time `soon`; {right}")));
    let ended = scratch.run(&["run", "--grace", "5", "--", "true"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains(&format!("invalid time `5`; {right}")), "{ended:?}");
}

#[test]
fn the_help_says_how_times_components_teams_and_keys_are_written() {
    let scratch = Scratch::new();
    for (args, words) in [
        (&["--help"][..], &["500ms, 30s, 1h 30m", "agent/writer", "quell init", "quell check"][..]),
        (&["serve", "--help"], &["[teams.desk]", "\"coordinate\"", "[[keys]]", "[[tokens]]"]),
        (&["run", "--help"], &["agent/writer"]),
    ] {
        let ended = scratch.run(args);
        ended.assert_code(0);
        for word in words {
            assert!(ended.stdout.contains(word), "`{word}` is missing: {}", ended.stdout);
        }
    }
}

#[test]
fn keys_of_a_component_behind_its_variables_are_warned_of() {
    let scratch = Scratch::new();
    let text = "[agents.w]\nrun = ['true']\n[agents.w.env]\nA = 'b'\ntimeout = '1s'\n\
                [agents.v]\nrun = ['true']\nenv = { timeout = '1s' }\n";
    scratch.write("quell.toml", text);
    let ended = scratch.run(&["check"]);
    ended.assert_code(0);
    let warnings = ended.stderr.lines().filter_map(|line| line.strip_prefix("warning: "));
    let right = "quell.toml:5:11: `timeout` is a variable here, as it stands in the table \
                 `[agents.w.env]`; one of the component stands before it";
    assert_eq!(warnings.collect::<Vec<_>>(), [right], "{ended:?}");
    scratch.write("quell.toml", "[agents.w]\n[agents.w.env]\nrun = 'true'\n");
    let ended = scratch.run(&["check"]);
    ended.assert_code(2);
    let says = "`run` stands in its `env`, as a variable; keys of the component come before the";
    assert!(ended.stderr.contains(says), "{ended:?}");
}

#[test]
fn a_configuration_in_another_format_is_refused_with_its_own() {
    let scratch = Scratch::new();
    for text in [
        "# x\nlisten: 127.0.0.1:1\n",
        "{ \"listen\": \"a\" }",
        "agents:\n  a:\n    run: [x]\n",
        "[{ \"agents\": 1 }]",
        "%YAML 1.2\n---\nagents: {}\n",
        "- agents\n",
        "// JSON\n{}\n",
        "\u{feff}{}\n",
    ] {
        scratch.write("quell.toml", text);
        let ended = scratch.run(&["check"]);
        ended.assert_code(2);
        assert!(ended.stderr.contains("; a configuration is TOML: `listen = "), "{ended:?}");
    }
    // Such a name is that of a plan; the text is not.
    for (name, text) in [("c.json", "{ \"agents\": {} }"), ("c.yaml", "agents:\n  a: 1\n")] {
        scratch.write(name, text);
        let said = scratch.run(&["check", name]).stderr;
        assert!(said.contains("is TOML: `listen = ") && !said.contains("quell run"), "{said}");
    }
    for text in ["listen = 127.0.0.1:1\n", "[agents.a]\nrun: [x]\n"] {
        scratch.write("quell.toml", text);
        let ended = scratch.run(&["check"]);
        ended.assert_code(2);
        assert!(!ended.stderr.contains("is TOML"), "{ended:?}");
    }
}

#[test]
fn a_plan_in_another_format_than_its_name_says_is_told_so() {
    let scratch = Scratch::new();
    let yaml = "name: p\nsteps:\n- { name: a, run: ['true'] }\n";
    let json = "{\"name\": \"p\", \"steps\": [{\"name\": \"a\", \"run\": [\"true\"]}]}";
    let toml = "name = 'p'\nsteps = [{ name = 'a', run = ['true'] }]\n";
    for (name, text, format, right) in [
        ("p.toml", yaml, "YAML", "p.yaml"),
        ("p.toml", json, "JSON", "p.json"),
        ("p.json", yaml, "YAML", "p.yaml"),
        ("p.json", toml, "TOML", "p.toml"),
        ("p.yaml", toml, "TOML", "p.toml"),
    ] {
        scratch.write(name, text);
        let right = format!(
            "{name}: is a plan in {format}; expected a name such as `{right}`, which says so\n"
        );
        for args in [&["plan", "check", name][..], &["run", name]] {
            let ended = scratch.run(args);
            ended.assert_code(2);
            assert!(ended.stderr.ends_with(&right), "{ended:?}");
        }
    }
    // A comma too many, or single quotes, are none in YAML; what begins as JSON is meant to be it.
    for text in [json.replace("}]", "},]"), json.replace('"', "'")] {
        scratch.write("p.json", &text);
        let ended = scratch.run(&["plan", "check", "p.json"]);
        ended.assert_code(2);
        assert!(ended.stderr.starts_with("p.json:1:"), "{ended:?}");
        assert!(!ended.stderr.contains("YAML"), "{ended:?}");
    }
}
