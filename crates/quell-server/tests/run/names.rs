//! `quell plan`, `quell list`, and components that are run by name.

use serde_json::Value;

use crate::support::{Running, Scratch, repository, row, wait_until};

const CONFIG: &str = r#"
[agents.shout]
run = ["tr", "a-z", "A-Z"]
description = "Says it louder."

[teams.pair]
mode = "sequence"
members = ["shout", "agent/shout"]

[workflows.greet]
plan = "greet.yaml"
description = "Greets."

[workflows.polite]
plan = "polite.toml"
"#;

const GREET: &str = "
name: greet
description: from the plan
steps:
- { name: say, component: shout, input: { text: 'hello {{ input.who }}' } }
- { name: both, component: pair, input: '{{ steps.say.output.TEXT }}' }
";

const POLITE: &str = r#"
name = "polite"
steps = [
    { name = "greet", component = "workflow/greet" },
    { name = "bow", run = ["echo", "-n", "{{ steps.greet.output.both }}"] },
]
"#;

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("quell.toml", CONFIG);
    scratch.write("greet.yaml", GREET);
    scratch.write("polite.toml", POLITE);
    scratch
}

#[test]
fn a_component_runs_by_its_name_on_an_input() {
    let scratch = scratch();
    let args = ["run", "polite", "--input", r#"{"who": "ada"}"#, "--report", "report.json"];
    scratch.run(&args).assert_code(0);
    let report = scratch.json("report.json");
    assert_eq!(report["output"]["bow"]["stdout"], "HELLO ADA");
    assert_eq!(report["rows"][0]["kind"], "workflow");
    let args = ["run", "greet.yaml", "--input", r#"{"who": "bob"}"#, "--report", "plan.json"];
    scratch.run(&args).assert_code(0);
    assert_eq!(scratch.json("plan.json")["output"]["both"], "HELLO BOB");
}

// Below the report. What is not text is JSON, and what would steer a terminal is spelt out.
#[test]
fn a_component_that_is_run_says_its_answer() {
    let scratch = Scratch::new();
    let steers = r"agents.steers.run = ['printf', 'a \033[2J\nb']";
    let tells = r#"agents.tells.run = ["echo", '{"n": 1}']"#;
    scratch.write("quell.toml", &format!("{steers}\n{tells}\n"));
    let answer = |args: &[&str]| {
        let ended = scratch.run(args);
        ended.assert_code(0);
        let (_, answer) = ended.stdout.rsplit_once("was found running\n")?;
        Some(answer.to_owned())
    };
    assert_eq!(answer(&["run", "steers"]).unwrap(), "\na \\u{1b}[2J\nb\n");
    assert_eq!(answer(&["run", "tells"]).unwrap(), "\n{\"n\":1}\n");
    assert_eq!(answer(&["run", "--", "echo", "one"]).unwrap(), "", "a command has written it");
    let json = scratch.run(&["run", "tells", "--json"]);
    assert!(json.stdout.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[test]
fn a_component_that_is_stopped_says_what_it_had_by_then() {
    let scratch = Scratch::new();
    for (script, text) in
        [("echo half an answer", "half an answer"), (r#"echo "$CONTENT""#, "so far")]
    {
        let script = format!("{script}; touch begun; exec sleep 600");
        let content = r#"{"event":"content","text":"so far"}"#;
        let agent = format!("[agents.slow]\nrun = ['sh', '-c', '{script}']\n");
        let config = format!("{agent}env = {{ CONTENT = '{content}' }}\n");
        scratch.write("quell.toml", &config);
        let running = Running::start(scratch.quell(&["run", "slow"]));
        wait_until("it has said it", || scratch.path("begun").exists());
        running.signal("INT");
        let ended = running.ended();
        ended.assert_code(130);
        assert!(ended.stdout.ends_with(&format!("was found running\n\n{text}\n")), "{ended:?}");
        std::fs::remove_file(scratch.path("begun")).expect("it is there");
    }
}

#[test]
fn what_has_no_such_name_is_refused_with_those_that_there_are() {
    let scratch = scratch();
    let ended = scratch.run(&["run", "shoot"]);
    ended.assert_code(2);
    let words = "unknown component `shoot`; did you mean `agent/shout`?";
    assert!(ended.stderr.contains(words), "{ended:?}");
    assert!(ended.stderr.contains("; a program would be `quell run -- shoot`\n"), "{ended:?}");
    scratch.run(&["run", "polite", "--input", "{"]).assert_code(2);
    scratch.run(&["run", "polite", "--config", "gone.toml"]).assert_code(2);
    let ended = scratch.run(&["run", "greet.yaml"]);
    ended.assert_code(1);
    let words = "`input` has no `who`: the input is null; `quell run` takes one, such as `--input \
                 '{\"who\":\"…\"}'`";
    assert!(ended.stdout.contains(words), "{ended:?}");
}

#[test]
fn a_folder_without_a_configuration_is_told_with_what_to_do() {
    let scratch = Scratch::new();
    scratch.write("plan.yaml", "name: p\nsteps:\n- { name: a, component: agent/x }\n");
    let none = "there is no quell.toml in this folder, where components are named; `quell init` \
                writes one, and `--config FILE` reads another file\n";
    let unknown = "plan.yaml:3:25: unknown component `agent/x`; there are no components\n";
    for (args, words) in [
        (&["list"][..], &[none][..]),
        (&["list", "--json"], &[none]),
        (&["run", "writer"], &["component `writer`: a plan would be a file", none]),
        (&["run", "plan.yaml"], &[unknown, none]),
        (&["plan", "check", "plan.yaml"], &[unknown, none]),
        (&["serve"], &["no quell.toml is in this folder", "quell init && quell serve\n"]),
    ] {
        let ended = scratch.run(args);
        ended.assert_code(2);
        assert_eq!(ended.stdout, "");
        for word in words {
            assert!(ended.stderr.contains(word), "{args:?}: {word}: {}", ended.stderr);
        }
        assert!(!ended.stderr.contains("catalog"), "{}", ended.stderr);
    }
}

#[test]
fn components_are_listed_with_their_parts() {
    let scratch = scratch();
    let ended = scratch.run(&["list"]);
    ended.assert_code(0);
    let lines: Vec<&str> = ended.stdout.lines().map(str::trim_end).collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>().join(" "),
        "agent/shout Says it louder."
    );
    assert_eq!(lines[1..4], ["team/pair", "  shout by shout", "  shout by shout"]);
    assert!(lines[4].starts_with("workflow/greet") && lines[4].ends_with(" Greets."), "{lines:?}");
    assert_eq!(lines[5], "  say by shout");
    let ended = scratch.run(&["list", "--json"]);
    let all: Vec<Value> =
        ended.stdout.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!((all.len(), &all[3]["id"]), (4, &"polite".into()));
    assert_eq!(all[3]["name"], "workflow/polite");
    assert_eq!(all[2]["parts"][0]["agent"], "shout");
}

#[test]
fn a_listed_name_cannot_steer_a_terminal() {
    let scratch = Scratch::new();
    let text = "[agents.\"a\\u001b[2J\\nagent/b\"]\nrun = ['cat']\ndescription = \"\\u202Eup\"\n";
    scratch.write("quell.toml", text);
    let ended = scratch.run(&["list"]);
    ended.assert_code(0);
    let words: Vec<_> = ended.stdout.split_whitespace().collect();
    assert_eq!(words, ["agent/a\\u{1b}[2J\\nagent/b", "\\u{202e}up"]);
}

#[test]
fn components_that_would_run_themselves_or_are_not_there_are_refused_with_their_places() {
    let scratch = scratch();
    scratch.write("greet.yaml", "name: g\nsteps:\n- { name: a, component: polite }\n");
    let ended = scratch.run(&["run", "greet"]);
    ended.assert_code(2);
    let words = "polite.toml:4:35: component `greet` would run itself: `greet → polite → greet`";
    assert!(ended.stderr.contains(words), "{ended:?}");
    scratch.write("greet.yaml", "name: g\nsteps:\n- { name: a, component: gone }\n");
    let ended = scratch.run(&["list"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("greet.yaml:3:25: unknown component `gone`"), "{ended:?}");
}

#[test]
fn every_fault_of_a_plan_is_told_with_its_line_and_good_plans_are_ok() {
    let scratch = scratch();
    let ended = scratch.run(&["plan", "check", "greet.yaml", "polite.toml"]);
    ended.assert_code(0);
    assert_eq!(ended.stdout, "greet.yaml: ok\npolite.toml: ok\n");
    scratch.write(
        "bad.yaml",
        "name: bad\nsteps:\n- { name: a, run: [] }\n- { name: b, if: steps.c.output, then: [] }\n\
         - { name: d, component: nobody }\n",
    );
    let ended = scratch.run(&["plan", "check", "bad.yaml", "polite.toml"]);
    ended.assert_code(2);
    assert_eq!(ended.stdout, "polite.toml: ok\n");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!(lines[0].starts_with("bad.yaml:3:19: `run`: empty command; expected"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("bad.yaml:4:18: `if`: unknown step `c`")));
    scratch.write("lone.yaml", "name: l\nsteps:\n- { name: d, component: nobody }\n");
    let ended = scratch.run(&["plan", "check", "lone.yaml"]);
    ended.assert_code(2);
    assert!(ended.stderr.starts_with("lone.yaml:3:25: unknown component `nobody`"), "{ended:?}");
}

#[test]
fn a_fault_of_a_plan_is_shown_with_its_line_and_what_is_right() {
    let scratch = scratch();
    scratch.write("bad.yaml", "name: bad\nsteps:\n- name: a\n  run: make all\n  retires: {}\n");
    let shown = r#"bad.yaml:4:8: `run`: found a string; expected a list such as `["make", "all"]`
  |
4 |   run: make all
  |        ^
bad.yaml:5:3: unknown key `retires`; did you mean `retry`?
  |
5 |   retires: {}
  |   ^
bad.yaml:5:12: retry has no `attempts`
  |
5 |   retires: {}
  |            ^
"#;
    assert_eq!(scratch.run(&["plan", "check", "bad.yaml"]).stderr, shown);
    let under_error = shown.trim_end().replace('\n', "\n       ");
    let ended = scratch.run(&["run", "bad.yaml"]);
    assert_eq!(ended.stderr, format!("error: {under_error}\n"));
    let ended = scratch.run(&["plan", "check", "gone.yaml"]);
    assert_eq!(ended.stderr, "gone.yaml: no such file\n");
    for (steps, more) in
        [(21, "and 1 more fault"), (90, "and 70 more faults"), (150, "and at least 80 more faults")]
    {
        let all: Vec<_> = (0..steps).map(|step| format!("- {{ name: s{step} }}")).collect();
        scratch.write("many.yaml", &format!("name: many\nsteps:\n{}\n", all.join("\n")));
        for (args, command) in [
            (&["run", "many.yaml"][..], "quell plan check many.yaml"),
            (&["plan", "show", "many.yaml"], "quell plan check many.yaml"),
            (
                &["run", "many.yaml", "--config", "q.toml"],
                "quell plan check --config q.toml many.yaml",
            ),
        ] {
            let ended = scratch.run(args);
            ended.assert_code(2);
            assert_eq!(ended.stderr.matches("does nothing").count(), 20, "{ended:?}");
            let last = format!("       {more}; `{command}` lists all");
            assert_eq!(ended.stderr.lines().last(), Some(&*last), "{ended:?}");
        }
        let ended = scratch.run(&["plan", "check", "many.yaml"]);
        ended.assert_code(2);
        assert_eq!(ended.stderr.matches("does nothing").count(), steps.min(100), "{ended:?}");
        let bound = "there may be more: the search ends at 100";
        assert_eq!(ended.stderr.lines().last() == Some(bound), steps > 100, "{ended:?}");
    }
}

#[test]
fn a_plan_is_shown_as_a_tree_and_the_schema_is_printed() {
    let scratch = scratch();
    let ended = scratch.run(&["plan", "show", "greet.yaml"]);
    ended.assert_code(0);
    assert_eq!(ended.stdout, "greet\n├─ say: component shout\n└─ both: component pair\n");
    let ended = scratch.run(&["plan", "schema"]);
    ended.assert_code(0);
    let schema: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(schema["$defs"]["plan"]["required"], serde_json::json!(["name", "steps"]));
}

#[test]
fn the_release_that_is_stopped_is_taken_back() {
    let scratch = Scratch::new();
    let plan = repository().join("crates/quell-server/plans/release.yaml");
    let plan = plan.display().to_string();
    let args = ["run", &plan, "--report", "report.json"];
    scratch.run(&args).assert_code(0);
    let report = scratch.json("report.json");
    assert_eq!(report["output"]["announce"]["tell"]["stdout"], "shipped box-0.1\n");
    // The same, but that it never gets ready.
    let text = std::fs::read_to_string(&plan).expect("it is there");
    let text = text.replace("sleep 0.05;", "touch shipping; sleep 60;");
    scratch.write("endless.yaml", &text);
    let running =
        Running::start(scratch.quell(&["run", "endless.yaml", "--report", "stopped.json"]));
    wait_until("it is shipping", || scratch.path("shipping").exists());
    running.signal("INT");
    running.ended().assert_code(130);
    let report = scratch.json("stopped.json");
    assert_eq!(row(&report, "take back")["output"]["stdout"], "withdraw box-0.1\n");
    scratch.assert_nothing_is_left(0);
}
