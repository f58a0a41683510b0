//! `quell check`, and what `quell serve` refuses of its configuration: all at once, with places.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::support::{Running, Scratch};

/// Runs `quell check`, with one secret in the environment and an empty one.
pub(crate) fn checked(scratch: &Scratch, args: &[&str]) -> crate::support::Ended {
    let mut command = scratch.quell(&[&["check"], args].concat());
    command.env("QUELL_TEST_KEY", "s3cret-of-thirty-two-bytes-or-more").env("QUELL_TEST_EMPTY", "");
    Running::start(command).ended()
}

const WRONG: &str = r#"
[server]
grase = "1s"
abort_wait = 5

[agents.writer]
run = "make all"
timeot = "10m"

[agents.reader]
run = ["quell-test-no-such-program"]

[agents.here]
run = ["program"]

[agents.plain]
run = ["./plain"]
contracts = ["agentsos"]

[teams.desk]
mode = "coordinat"
members = ["writer"]

[[keys]]
secret_env = "QUELL_TEST_KEY"

[[keys]]
subject = "ops"
secret_env = "QUELL_TEST_EMPTY"
scopes = ["agents:read", "agent:run"]

[[tokens]]
algorithm = "HS256"
secret_env = "QUELL_TEST_NOT_SET"

[agents.zero]
run = ["./program"]
timeout = "0s"
idle = "0s"
"#;

#[test]
fn every_fault_of_a_configuration_is_told_at_once_with_its_line() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", WRONG);
    scratch.write("plain", "#!/bin/sh\n");
    let program = scratch.write("program", "#!/bin/sh\n");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let ended = checked(&scratch, &[]);
    ended.assert_code(2);
    assert_eq!(ended.stdout, "");
    let messages: Vec<&str> = ended
        .stderr
        .lines()
        .map(str::trim_start)
        .filter(|line| line.contains("quell.toml"))
        .collect();
    let messages: Vec<&str> =
        messages.iter().map(|line| line.trim_start_matches("error: ")).collect();
    let right = [
        "quell.toml:3:1: unknown key `grase`; did you mean `grace`?",
        "quell.toml:4:14: `abort_wait`: ",
        "quell.toml:7:7: `run`: found a string; expected a list such as `[\"make\", \"all\"]`",
        "quell.toml:8:1: unknown key `timeot`; did you mean `timeout`?",
        "quell.toml:11:8: `run`: program `quell-test-no-such-program` is not in PATH",
        "quell.toml:14:8: `run`: program `program` is not in PATH; did you mean `./program`?",
        "quell.toml:17:8: `run`: program `./plain`: is not executable; `chmod +x` makes it so",
        "quell.toml:18:14: `contracts`: unknown contract `agentsos`; expected one of `native`",
        "quell.toml:21:8: `mode`: unknown word `coordinat`; did you mean `coordinate`?",
        "quell.toml:24:1: `subject`: is missing",
        "quell.toml:29:14: `secret_env`: the environment variable QUELL_TEST_EMPTY is empty",
        "quell.toml:30:26: `scopes`: unknown scope `agent:run`; did you mean `agents:run`?",
        "quell.toml:34:14: `secret_env`: the environment variable QUELL_TEST_NOT_SET is not set",
        "quell.toml:38:11: `timeout`: time is zero; expected a time above zero such as \"30s\"",
        "quell.toml:39:8: `idle`: time is zero; expected a time above zero such as \"30s\"",
    ];
    assert_eq!(messages.len(), right.len(), "{}", ended.stderr);
    for (message, right) in messages.iter().zip(right) {
        assert!(message.starts_with(right), "{right}\n{message}");
    }
    let shown = "\n         |\n       3 | grase = \"**\"\n         | ^\n";
    assert!(ended.stderr.contains(shown), "{}", ended.stderr);
    // `serve` refuses the same in the same words, and serves nothing.
    let mut command = scratch.quell(&["serve", "--config", "quell.toml"]);
    command.env("QUELL_TEST_KEY", "s3cret-of-thirty-two-bytes-or-more").env("QUELL_TEST_EMPTY", "");
    let served = Running::start(command).ended();
    served.assert_code(2);
    assert_eq!((&*served.stdout, &served.stderr), ("", &ended.stderr));
}

#[test]
fn of_several_kinds_of_tokens_each_needs_its_issuer() {
    const TOKENS: &str = "[[tokens]]\nalgorithm = \"HS256\"\nsecret_env = \"QUELL_TEST_KEY\"\n";
    let scratch = Scratch::new();
    let check = |text: &str| {
        scratch.write("quell.toml", &["[agents.cat]\nrun = [\"cat\"]\n", text].concat());
        checked(&scratch, &[])
    };
    check(TOKENS).assert_code(0);
    let ended = check(&[TOKENS, "issuer = \"a\"\n", TOKENS].concat());
    ended.assert_code(2);
    let words = "quell.toml:7:1: `issuer`: is missing; of several `[[tokens]]` each";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    check(&[TOKENS, "issuer = \"a\"\n", TOKENS, "issuer = \"b\"\n"].concat()).assert_code(0);
}

#[test]
fn a_configuration_is_fine_and_says_how_much_there_is() {
    let scratch = Scratch::new();
    let file = r#"
[agents.cat]
run = ["cat"]
[agents.own]
run = ["./bin/own"]
cwd = "bin"
[agents.listed]
run = ["own"]
env = { PATH = "bin" }
[workflows.greet]
plan = "greet.yaml"
[[keys]]
subject = "ops"
secret_env = "QUELL_TEST_KEY"
scopes = ["agents:read", "agents:cat:run", "*:read", "quell:admin"]
"#;
    fs::create_dir_all(scratch.path("conf/bin")).expect("a folder");
    let own = scratch.write("conf/bin/own", "#!/bin/sh\nread -r line\necho \"own $line\"\n");
    fs::set_permissions(own, fs::Permissions::from_mode(0o755)).expect("it is ours");
    scratch.write("conf/greet.yaml", "name: g\nsteps:\n- { name: a, component: agent/cat }\n");
    scratch.write("conf/quell.toml", file);
    let ended = checked(&scratch, &["conf/quell.toml"]);
    ended.assert_code(0);
    assert_eq!(ended.stdout, "conf/quell.toml: 3 agents, 1 workflow, 1 key: fine\n");
    // What is found is also what is started, although the folder is not the working directory.
    for name in ["agent/own", "agent/listed"] {
        let args =
            ["run", name, "--config", "conf/quell.toml", "--input", "1", "--report", "r.json"];
        scratch.run(&args).assert_code(0);
        assert_eq!(scratch.json("r.json")["output"], "own 1", "{name}");
    }
}

#[test]
fn the_plans_that_a_configuration_names_are_checked_too() {
    let scratch = Scratch::new();
    scratch.write(
        "quell.toml",
        "[workflows.a]\nplan = \"a.yaml\"\n[workflows.b]\nplan = \"b.toml\"\n\
         [agents.c]\nrun = [\"./c\"]\n[workflows.d]\nplan = \"gone.toml\"\n",
    );
    scratch.write("a.yaml", "name: a\nsteps:\n- { name: s }\n- { name: t }\n");
    scratch.write("b.toml", "name = 'b'\nstep = []\n");
    let ended = checked(&scratch, &[]);
    ended.assert_code(2);
    for words in [
        "quell.toml:6:8: `run`: program `./c`: no such file",
        "a.yaml:3:3: step `s` does nothing",
        "a.yaml:4:3: step `t` does nothing",
        "b.toml:2:1: unknown key `step`; did you mean `steps`?",
        "gone.toml: no such file",
    ] {
        assert!(ended.stderr.contains(words), "`{words}` is missing: {}", ended.stderr);
    }
    // A name that is not there, once the plans themselves are right.
    scratch.write(
        "quell.toml",
        "[workflows.a]\nplan = \"a.yaml\"\n[teams.t]\nmode = \"sequence\"\n\
                                 members = [\"workflow/a\", \"gone\"]\n",
    );
    scratch.write("a.yaml", "name: a\nsteps:\n- { name: s, run: [\"true\"] }\n");
    let ended = checked(&scratch, &["quell.toml"]);
    ended.assert_code(2);
    let words =
        "quell.toml:5:26: `members`: unknown component `gone`; expected one of `workflow/a`";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
}

#[test]
fn a_syntax_error_a_missing_file_and_too_many_faults_are_told() {
    let scratch = Scratch::new();
    scratch.write("syntax.toml", "[server]\ngrace = \n[agents.x]\n");
    let agents: Vec<String> = (0..90).map(|n| format!("[agents.a{n}]\nrnu = []\n")).collect();
    scratch.write("many.toml", &agents.concat());
    let keys: Vec<String> = (0..300).map(|n| format!("key{n} = 1\n")).collect();
    scratch.write("more.toml", &keys.concat());
    for (file, words) in [
        ("syntax.toml", "error: syntax.toml:2:9: "),
        ("gone.toml", "error: gone.toml: no such file; `quell init gone.toml` writes one"),
        ("many.toml", "many.toml:180:1: unknown key `rnu`; did you mean `run`?"),
        ("more.toml", "       there may be more: the search ends at 100\n"),
    ] {
        let ended = checked(&scratch, &[file]);
        ended.assert_code(2);
        assert!(ended.stderr.contains(words), "{file}: {}", ended.stderr);
    }
}

#[test]
fn a_value_that_is_empty_leaves_no_gap_in_its_message() {
    let scratch = Scratch::new();
    let says = [
        ("[store]\npath = ''", "`path`: names no file; expected one such as `runs.db`"),
        ("[workflows.a]\nplan = ''", "`plan`: no extension; expected `.toml`"),
        ("[[tokens]]\nalgorithm = 'RS256'\npublic_key_file = ''", "`public_key_file`: No such"),
        ("[[keys]]\nsubject = 'a'\nsecret_env = ''", "`secret_env`: is no name of an"),
        ("[agents.a]\nurl = 'http://h'\nkey_env = ''", "`key_env`: is no name of an"),
    ];
    for (text, words) in says {
        scratch.write("quell.toml", text);
        let ended = checked(&scratch, &[]);
        ended.assert_code(2);
        assert!(ended.stderr.contains(words), "{text}: {}", ended.stderr);
    }
}

const DESK: &str = r#"
[agents.writer]
run = ["sh", "-c", 'read -r task; echo "draft of $task"']

[agents.chief]
run = ["sh", "-c", '''
read -r asked
case $asked in
*'"round":1}')
    echo '{"delegate": [{"member": "writer", "task": 1}, {"member": "agent/writer", "task": 2}]}' ;;
*) echo "$asked" ;;
esac
''']

[teams.desk]
mode = "coordinate"
leader = "agent/chief"
max = 3
members = ["agent/chief", "agent/writer"]
"#;

#[test]
fn a_team_of_the_file_is_coordinated_by_a_member() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", DESK);
    let args = ["run", "team/desk", "--input", "\"tea\"", "--report", "report.json"];
    scratch.run(&args).assert_code(0);
    let said = &scratch.json("report.json")["output"];
    assert_eq!(said["task"], "tea", "{said}");
    assert_eq!(said["round"], 2, "{said}");
    let drafts = serde_json::json!([
        { "member": "writer", "result": "draft of 1" },
        { "member": "writer", "result": "draft of 2" },
    ]);
    assert_eq!(said["results"], drafts);
    // A leader that never comes to an end fails the team.
    scratch.write("quell.toml", &DESK.replace("max = 3", "max = 1"));
    scratch.run(&args).assert_code(1);
    let error = scratch.json("report.json")["rows"][0]["error"].to_string();
    assert!(error.contains("leader `chief` has not come to an end in 1 rounds"), "{error}");
    for (key, with, says) in [
        ("leader = \"agent/chief\"", "", ":16:8: `mode`: mode `coordinate` has no `leader`"),
        ("max = 3", "", "`mode`: mode `coordinate` has no `max`"),
        ("\"agent/chief\"\n", "\"gone\"\n", "`leader`: unknown leader `gone`"),
        ("max = 3", "max = 3\nchoose = \"x\"", "`choose`: goes with mode `route`"),
        ("max = 3", "max = 0", "`max`: "),
        ("\"agent/writer\"]", "\"agent/writer\", \"writer\"]", "`writer` is a member already"),
    ] {
        scratch.write("quell.toml", &DESK.replacen(key, with, 1));
        let ended = checked(&scratch, &[]);
        ended.assert_code(2);
        assert!(ended.stderr.contains(says), "{says}: {}", ended.stderr);
    }
}

#[test]
fn what_is_no_small_regular_file_is_refused_and_never_read_whole() {
    let scratch = Scratch::new();
    let made = Command::new("mkfifo").arg(scratch.path("pipe")).status().expect("mkfifo runs");
    assert!(made.success());
    for file in ["/dev/zero", "pipe"] {
        let tokens = format!("[[tokens]]\nalgorithm = 'RS256'\npublic_key_file = '{file}'\n");
        scratch.write("quell.toml", &tokens);
        let ended = checked(&scratch, &[]);
        ended.assert_code(2);
        assert!(ended.stderr.contains("is no regular file"), "{}", ended.stderr);
        let ended = checked(&scratch, &[file]);
        ended.assert_code(2);
        assert!(ended.stderr.contains("is no regular file"), "{}", ended.stderr);
    }
}

#[test]
fn a_scope_for_a_component_that_is_not_there_is_warned_of() {
    let scratch = Scratch::new();
    let file = "[agents.writer]\nrun = ['true']\n[[keys]]\nsubject = 'ops'\n\
                secret_env = 'QUELL_TEST_KEY'\n\
                scopes = ['agents:writer:run', 'agents:wirter:run', 'agents:*:run', \
                'teams:x:read', 'agents:read', '*:x:run']\n";
    scratch.write("quell.toml", file);
    let ended = checked(&scratch, &[]);
    ended.assert_code(0);
    let warnings: Vec<&str> =
        ended.stderr.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
    let right = [
        "quell.toml:6:32: `scopes`: scope `agents:wirter:run` is for the agent `wirter`, which is \
         not there; did you mean `agents:writer:run`?",
        "quell.toml:6:69: `scopes`: scope `teams:x:read` is for the team `x`, which is not there",
    ];
    assert_eq!(warnings, right);
}

#[test]
fn a_variable_in_the_place_of_a_program_is_shown_without_its_value() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[agents.a]\nrun = ['API_KEY=hush', 'make']\n");
    scratch.write("plan.yaml", "name: p\nsteps:\n- { name: a, run: [API_KEY=hush, make] }\n");
    let says = "`run`: `API_KEY=…` is no program; a variable stands in `env`";
    for (args, code) in [(&["check"][..], 2), (&["plan", "check", "plan.yaml"], 0)] {
        let ended = scratch.run(args);
        ended.assert_code(code);
        assert!(ended.stderr.contains(says) && !ended.stderr.contains("hush"), "{ended:?}");
    }
    let ran = scratch.run(&["run", "plan.yaml", "--json", "--report", "report.json"]);
    ran.assert_code(1);
    let report = String::from_utf8(scratch.read("report.json")).expect("text");
    for text in [&ran.stderr, &report] {
        assert!(text.contains("cannot start `API_KEY=…`") && !text.contains("hush"), "{text}");
    }
    assert!(!ran.stdout.contains("hush"), "{ran:?}");
}

#[test]
fn a_program_of_a_plan_that_is_not_there_is_warned_of() {
    let scratch = Scratch::new();
    let plan = "name: p\nsteps:\n- { name: a, run: [quell-test-gone] }\n\
                - { name: b, run: [./made-by-a] }\n- { name: c, run: ['{{ input }}'] }\n\
                - { name: d, run: [here], env: { PATH: bin } }\n\
                - { name: e, run: [sh], env: { PATH: bin } }\n\
                - { name: f, run: [sh], env: { PATH: '{{ input }}' } }\n\
                - name: g\n  workflow: { name: w, steps: [{ name: x, run: [quell-test-gone] }] }\n\
                on_stop: [{ name: h, run: [quell-test-gone] }]\n";
    scratch.write("plan.yaml", plan);
    scratch.write("quell.toml", "[workflows.w]\nplan = 'plan.yaml'\n");
    fs::create_dir(scratch.path("bin")).expect("a folder can be made");
    let here = scratch.write("bin/here", "#!/bin/sh\n");
    fs::set_permissions(here, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let gone = "`run`: program `quell-test-gone` is not in PATH";
    let right = [
        format!("plan.yaml:3:19: {gone}"),
        "plan.yaml:7:19: `run`: program `sh` is not in PATH".to_owned(),
        format!("plan.yaml:10:48: {gone}"),
        format!("plan.yaml:11:27: {gone}"),
    ];
    for args in [&["check"][..], &["plan", "check", "plan.yaml"]] {
        let ended = scratch.run(args);
        ended.assert_code(0);
        let lines = ended.stderr.lines();
        let warnings: Vec<&str> = lines.filter_map(|line| line.strip_prefix("warning: ")).collect();
        assert_eq!(warnings, right, "{args:?}");
    }
}

#[test]
fn keys_of_a_program_beside_a_plan_are_refused() {
    let scratch = Scratch::new();
    scratch.write("plan.yaml", "name: p\nsteps:\n- { name: a, run: ['true'] }\n");
    let file = "[workflows.w]\nplan = 'plan.yaml'\ncwd = '.'\nenv = { A = 'b' }\n\
                env_clear = true\n";
    scratch.write("quell.toml", file);
    let ended = scratch.run(&["check"]);
    ended.assert_code(2);
    for (line, key) in [(3, "cwd"), (4, "env"), (5, "env_clear")] {
        let words = format!("quell.toml:{line}:");
        let said = ended.stderr.lines().find(|said| said.contains(&words)).expect(key);
        assert!(said.ends_with(&format!("`{key}`: goes with `run`")), "{said}");
    }
}
