//! What `quell check` says of plans that wait, or go on after a crash, where that cannot be.

use crate::support::{Scratch, repository};

/// Checks a configuration with some plans beside it, and yields the exit code and what is said.
fn told(file: &str, plans: &[(&str, &str)]) -> (Option<i32>, Vec<String>) {
    let scratch = Scratch::new();
    for (name, plan) in plans {
        scratch.write(name, plan);
    }
    scratch.write("quell.toml", file);
    let ended = scratch.run(&["check"]);
    let lines =
        ended.stderr.lines().filter(|line| line.contains(".toml:") || line.contains(".yaml:"));
    (ended.code, lines.map(|line| line.trim_start().to_owned()).collect())
}

const ASKS: (&str, &str) = ("asks.yaml", "name: p\nsteps: [{ name: ok, wait: 'go?' }]\n");

#[test]
fn a_component_whose_plan_waits_is_fine() {
    for kind in ["agents", "workflows"] {
        let file = format!("[{kind}.w]\nplan = 'asks.yaml'\n");
        assert_eq!(told(&file, &[ASKS]), (Some(0), Vec::new()));
    }
}

#[test]
fn a_step_and_a_member_that_run_a_component_which_waits_are_warned_of_by_the_name_of_its_step() {
    let file = "[workflows.asks]\nplan = 'asks.yaml'\n[workflows.outer]\nplan = 'outer.yaml'\n\
        [teams.t]\nmode = 'sequence'\nmembers = ['workflow/asks']\n";
    let outer = "name: o\nsteps:\n- { name: a, component: workflow/asks }\n";
    let right = [
        "warning: outer.yaml:3:25: step `ok` of `workflow/asks` waits for an answer, which a \
         component that a step runs cannot: it fails there; expected the steps of that plan here, \
         as a `workflow`",
        "warning: quell.toml:7:12: `members`: step `ok` of `workflow/asks` waits for an answer, \
         which a member of a team cannot: it fails there; expected a member without `wait`",
    ];
    let (code, mut said) = told(file, &[ASKS, ("outer.yaml", outer)]);
    said.sort();
    assert_eq!((code, said), (Some(0), right.map(str::to_owned).to_vec()));
}

#[test]
fn a_step_that_waits_in_a_branch_or_in_a_member_is_refused_by_its_name() {
    for (around, says) in [
        ("parallel: {}, branches:", "step `ok` waits for an answer, which a branch cannot"),
        (
            "team: { mode: broadcast }, members:",
            "`ok` waits for an answer, which a member of a team",
        ),
    ] {
        let plan =
            format!("name: p\nsteps:\n- {{ name: a, {around} [{{ name: ok, wait: go? }}] }}\n");
        let (code, said) = told("[workflows.w]\nplan = 'p.yaml'\n", &[("p.yaml", &plan)]);
        assert_eq!(code, Some(2));
        assert!(said.iter().any(|line| line.contains(says)), "{said:?}");
    }
}

#[test]
fn what_is_to_go_on_after_a_crash_needs_a_store_and_a_plan() {
    let plan = ("p.yaml", "name: p\nsteps: [{ name: a, run: ['true'] }]\n");
    let file = "[workflows.w]\nplan = 'p.yaml'\non_worker_lost = 'continue'\n";
    let (code, said) = told(file, &[plan]);
    let right = "warning: quell.toml:3:18: `on_worker_lost`: there is no store, without which no \
                 run goes on; expected `path` or `url` in `[store]`, or `quell serve --store FILE`";
    assert_eq!((code, said), (Some(0), vec![right.to_owned()]));
    let store = "[store]\npath = 'runs.db'\n";
    assert_eq!(told(&format!("{file}{store}"), &[plan]), (Some(0), Vec::new()));
    assert_eq!(told(&file.replace("continue", "fail"), &[plan]), (Some(0), Vec::new()));
    for (file, says) in [
        (file.replace("continue", "contniue"), "unknown word `contniue`; did you mean `continue`?"),
        (file.replace("plan = 'p.yaml'", "run = ['cat']"), "`on_worker_lost`: goes with `plan`"),
    ] {
        let (code, said) = told(&file, &[plan]);
        assert_eq!(code, Some(2));
        assert!(said.iter().any(|line| line.ends_with(says)), "{said:?}");
    }
}

#[test]
fn a_fault_of_a_plan_hides_neither_its_other_faults_nor_its_warnings() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[agents.writer]\nrun = ['cat']\n");
    let plan = "name: p\ncolour: red\nsteps:\n- { name: a, run: make }\n\
        - { name: b, run: [no-such-program] }\n- { name: c, run: [ls, '~/x'] }\n\
        - { name: d, component: agent/nobody }\n";
    scratch.write("p.yaml", plan);
    let ended = scratch.run(&["plan", "check", "p.yaml"]);
    let lines = ended.stderr.lines().filter_map(|line| line.split_once("p.yaml:"));
    let places: Vec<_> = lines.map(|(kind, rest)| (kind, rest.split(':').next())).collect();
    let right = [
        ("warning: ", Some("5")),
        ("warning: ", Some("6")),
        ("", Some("2")),
        ("", Some("4")),
        ("", Some("7")),
    ];
    assert_eq!((ended.code, &places[..]), (Some(2), &right[..]), "{}", ended.stderr);
}

#[test]
fn a_configuration_with_a_faulty_plan_is_told_of_its_unknown_components_and_its_warnings_too() {
    let plan = "name: p\nsteps:\n- { name: a, run: make }\n- { name: b, run: [no-such-program] }\n\
        - { name: c, run: [ls, '~/x'] }\n- { name: d, component: agent/nobody }\n\
        - { name: e, component: workflow/v }\n";
    let file = "[workflows.v]\nplan = 'v.yaml'\n[workflows.w]\nplan = 'p.yaml'\n";
    let whole = "name: v\nsteps: [{ name: a, run: ['true'] }]\n";
    let broken = "name: v\nsteps: [{ name: a, run: echo }]\n";
    let warned = ["p.yaml:4:19", "p.yaml:5:24"];
    let of_p = ["p.yaml:3:19", "p.yaml:6:25"];
    for (v, of_v) in [(whole, None), (broken, Some("v.yaml:2:25"))] {
        let (code, said) = told(file, &[("p.yaml", plan), ("v.yaml", v)]);
        let place = |line: &String| {
            let line = line.trim_start_matches("warning: ").trim_start_matches("error: ");
            line.splitn(4, ':').take(3).collect::<Vec<_>>().join(":")
        };
        let places: Vec<String> = said.iter().map(place).collect();
        let right: Vec<&str> = warned.into_iter().chain(of_v).chain(of_p).collect();
        assert_eq!(
            (code, places),
            (Some(2), right.into_iter().map(String::from).collect()),
            "{said:?}"
        );
    }
}

#[test]
fn an_id_that_is_empty_or_has_a_slash_is_refused() {
    for (id, says) in [("''", "empty id; expected a word"), ("'a/b'", "an id has no `/`")] {
        let (code, said) = told(&format!("[agents.{id}]\nrun = ['cat']\n"), &[]);
        assert_eq!((code, said.len()), (Some(2), 1), "{said:?}");
        assert!(said[0].contains("quell.toml:1:") && said[0].contains(says), "{said:?}");
        // Nobody is told to use it.
        let team = format!(
            "[agents.{id}]\nrun = ['cat']\n[teams.t]\nmembers = ['agent/a']\nmode = 'broadcast'\n"
        );
        let (code, said) = told(&team, &[]);
        assert_eq!((code, said.len()), (Some(2), 2), "{said:?}");
        assert!(!said.iter().any(|words| words.contains("did you mean")), "{said:?}");
    }
}

#[test]
fn our_own_plans_have_nothing_to_be_warned_of() {
    let scratch = Scratch::new();
    let mut count = 0;
    for folder in ["crates/quell-server/plans", "tests/clients/stories/project"] {
        for file in std::fs::read_dir(repository().join(folder)).expect("it is there") {
            let file = file.expect("it is read").path();
            if file.extension().is_some_and(|end| end == "yaml" || end == "toml") {
                let ended = scratch.run(&["plan", "check", &file.display().to_string()]);
                assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{}", file.display());
                count += 1;
            }
        }
    }
    assert_eq!(count, 4, "each of them");
}
