//! `quell check` finds all that `quell serve` refuses, and all of it at once: mended in one go, a
//! file is served.

use crate::site::Site;
use crate::support::{Ended, Scratch};

/// Checks `quell.toml`, asserts that `serve` refuses the same, and yields its messages.
#[track_caller]
fn refused(scratch: &Scratch) -> Vec<String> {
    let [checked, served] =
        [&["check"][..], &["serve", "--config", "quell.toml"]].map(|args| scratch.run(args));
    served.assert_code(2);
    assert_eq!((&checked.stdout, &checked.stderr), (&served.stdout, &served.stderr));
    messages(&checked)
}

#[track_caller]
fn messages(ended: &Ended) -> Vec<String> {
    ended.assert_code(2);
    let lines = ended.stderr.lines().map(|line| line.trim_start_matches("error: ").trim_start());
    let faults = lines.filter(|line| !line.starts_with("warning: "));
    let named = faults.filter(|line| line.contains("toml:") || line.contains("yaml:"));
    named.map(str::to_owned).collect()
}

#[test]
fn an_address_beyond_loopback_without_keys_is_a_fault_of_the_file() {
    let scratch = Scratch::new();
    let agent = "[agents.a]\nrun = [\"true\"]\n";
    scratch.write("quell.toml", &format!("listen = \"0.0.0.0:0\"\n{agent}"));
    let found = refused(&scratch);
    let right = "quell.toml:1:10: `listen`: refusing to listen on 0.0.0.0 without access control";
    assert!(found.len() == 1 && found[0].starts_with(right), "{found:?}");
    // Keys with a fault are keys: once they are right, nothing is open.
    scratch.write("quell.toml", &format!("listen = \"0.0.0.0:0\"\n{agent}[[keys]]\nx = 1\n"));
    let found = refused(&scratch);
    assert!(found.iter().all(|line| !line.contains("listen")), "{found:?}");
    scratch.write("quell.toml", &format!("{agent}[[keys]]\nsubject = \"a\"\nsecret_env = \"A\"\n"));
    // On the command line as well, where they may be taken away again.
    let args = ["serve", "--config", "quell.toml", "--listen", "0.0.0.0:0", "--set", "keys=[]"];
    let ended = scratch.run(&args);
    ended.assert_code(2);
    assert!(ended.stderr.starts_with("error: --listen 0.0.0.0:0: refusing to listen"), "{ended:?}");
}

#[test]
fn a_file_with_nothing_to_serve_is_refused() {
    let scratch = Scratch::new();
    for text in ["", "[server]\ngrace = \"1s\"\n", "agents.a = { run = ['true'], contracts = [] }"]
    {
        scratch.write("quell.toml", text);
        let found = refused(&scratch);
        let right = "quell.toml: there is nothing to serve; expected a component in `[agents]`";
        assert!(found.len() == 1 && found[0].starts_with(right), "{text}: {found:?}");
    }
}

#[test]
fn what_playbook3d_is_to_offer_must_be_there_and_exposed_in_it() {
    let scratch = Scratch::new();
    let file = |component: &str| {
        format!(
            "[agents.a]\nrun = ['true']\ncontracts = ['native']\n[agents.b]\nrun = ['true']\n\
             [[playbook3d.workflows]]\nid = '11111111-1111-4111-8111-111111111111'\nname = 'n'\n\
             component = '{component}'\n"
        )
    };
    for (component, right) in [
        ("c", "unknown component `c`; expected one of `agent/a`, `agent/b`"),
        ("workflow/b", "unknown component `workflow/b`; did you mean `agent/b`?"),
        ("a", "`a` is not exposed in `playbook3d`, by its `contracts`"),
    ] {
        scratch.write("quell.toml", &file(component));
        assert_eq!(refused(&scratch), [format!("quell.toml:9:13: `component`: {right}")]);
    }
    for component in ["b", "agent/b"] {
        scratch.write("quell.toml", &file(component));
        scratch.run(&["check"]).assert_code(0);
    }
}

#[test]
fn a_prefix_is_any_text_that_a_path_may_have() {
    let scratch = Scratch::new();
    let file = "[agents.a]\nrun = ['true']\n[playbook3d]\naccounts_prefix = '*/:a'\n";
    scratch.write("quell.toml", file);
    scratch.run(&["check"]).assert_code(0);
    let site = Site::with(scratch, &["--config", "quell.toml"]);
    assert_eq!(site.get("/playbook3d/*/:a/teams").0, 200);
    assert_eq!(site.get("/playbook3d/x/:a/teams").0, 404);
}

/// Faults of every stage in which a file is read: its shape, its addresses, programs, teams of
/// them, plans, the names in these, teams of plans.
const WRONG: &str = r#"# Of the faults of a file 20 are shown.


[agents.both]
run = ["true"]
url = "http://127.0.0.1:1"

[agents.stray]
run = ["true"]
retries = 1
confirm = "1s"

[agents.shown]
model = { name = "m" }

[agents.left]
run = "true"

[agents.steps]
plan = "names.yaml"

[teams.early]
mode = "coordinate"
choose = "x"
members = ["left", "absent", "agent/both"]

[teams.late]
mode = "sequence"
members = ["workflow/names", "early", "nobody"]

[agents.torn]
model = { nme = "m", url = "http://127.0.0.1:1" }

[teams.torn]
mode = "coordinate"
leader = 1
max = 2
members = ["left"]

[teams.one]
mode = "sequence"
members = ["team/two"]
[teams.two]
mode = "sequence"
members = ["team/one"]

[workflows.gone]
plan = "gone.toml"

[workflows.names]
plan = "names.yaml"

[workflows.bad]
plan = "bad.yaml"

[workflows.round]
plan = "round.yaml"
"#;

#[test]
fn the_faults_of_every_stage_are_found_together_and_no_fault_makes_another_one() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", WRONG);
    let names = "name: n\nsteps:\n- { name: a, component: agent/nowhere }\n\
                 - { name: b, component: agent/left }\n- { name: c, component: workflow/bad }\n\
                 - { name: d, component: workflow/gone }\n";
    scratch.write("names.yaml", names);
    scratch.write("bad.yaml", "name: b\nsteps:\n- { name: a, rnu: [x] }\n");
    scratch.write(
        "round.yaml",
        "name: r\nsteps:\n- { name: a, component: workflow/round }\n\
         - { name: b, component: agent/unknown }\n",
    );
    let right = [
        "quell.toml:6:7: `url`: `run` and `url` are both there; expected one of them",
        "quell.toml:10:11: `retries`: goes with `url`",
        "quell.toml:11:11: `confirm`: goes with `url`",
        "quell.toml:13:1: `shown`: its `model` has no `url`, so that it is only shown; expected",
        "quell.toml:17:7: `run`: found a string",
        "quell.toml:20:8: `plan`: the plan names components; expected it in `[workflows]`",
        "quell.toml:23:8: `mode`: mode `coordinate` has no `leader`",
        "quell.toml:23:8: `mode`: mode `coordinate` has no `max`",
        "quell.toml:24:10: `choose`: goes with mode `route`",
        "quell.toml:25:20: `members`: unknown component `absent`",
        "quell.toml:29:39: `members`: unknown component `nobody`",
        "quell.toml:32:11: unknown key `nme`; did you mean `name`?",
        "quell.toml:36:10: `leader`: found a number; expected a string",
        "quell.toml:42:11: `members`: the team contains itself, through its members",
        "quell.toml:45:11: `members`: the team contains itself, through its members",
        "quell.toml:48:8: `plan`: gone.toml: no such file",
        "bad.yaml:3:14: unknown key `rnu`",
        "round.yaml:3:25: component `round` would run itself",
        "round.yaml:4:25: unknown component `agent/unknown`",
        "names.yaml:3:25: unknown component `agent/nowhere`",
    ];
    let found = refused(&scratch);
    for (found, right) in found.iter().zip(right) {
        assert!(found.starts_with(right), "{right}\n{found}");
    }
    assert_eq!(found.len(), right.len(), "{found:#?}");
}

#[test]
fn a_plan_that_two_workflows_have_is_complained_of_once() {
    let scratch = Scratch::new();
    let both = "[workflows.a]\nplan = \"p.yaml\"\n[workflows.b]\nplan = \"p.yaml\"\n";
    scratch.write("quell.toml", both);
    scratch.write("p.yaml", "name: p\nsteps:\n- { name: a, rnu: [] }\n");
    assert_eq!(refused(&scratch).len(), 2);
    scratch.write("p.yaml", "name: p\nsteps:\n- { name: a, run: [sh, -c, 'echo {{ input }}'] }\n");
    let ended = scratch.run(&["check"]);
    ended.assert_code(0);
    assert_eq!(ended.stderr.matches("warning: ").count(), 1, "{ended:?}");
}

#[test]
fn teams_may_have_members_that_are_teams_in_any_order() {
    let scratch = Scratch::new();
    let team = |id: &str, member: &str| {
        format!("[teams.{id}]\nmode = 'sequence'\nmembers = ['{member}']\n")
    };
    let file = "[agents.a]\nrun = ['cat']\n[workflows.w]\nplan = 'w.yaml'\n".to_owned();
    let teams = [("x", "team/y"), ("y", "team/z"), ("z", "agent/a"), ("k", "team/l")];
    let teams = teams.map(|(id, member)| team(id, member)).concat() + &team("l", "workflow/w");
    scratch.write("quell.toml", &(file + &teams));
    scratch.write("w.yaml", "name: w\nsteps:\n- { name: s, component: team/x, input: hi }\n");
    scratch.run(&["check"]).assert_code(0);
    scratch.run(&["run", "team/k", "--report", "r.json"]).assert_code(0);
    assert_eq!(scratch.json("r.json")["output"]["s"], "hi");
}

#[test]
fn faults_of_the_command_line_are_all_told_because_no_other_command_lists_them() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[agents.a]\nrun = ['true']\n");
    let settings: Vec<String> = (0..25).map(|nth| format!("agents.b{nth}.bogus=1")).collect();
    let mut args = vec!["serve", "--config", "quell.toml"];
    args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let ended = scratch.run(&args);
    ended.assert_code(2);
    for nth in 0..25 {
        assert!(ended.stderr.contains(&format!("--set agents.b{nth}.bogus")), "{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("lists all"), "{}", ended.stderr);
}
