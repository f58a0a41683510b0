//! Mistakes of those who begin: the message says what the file is, or what is right.

use crate::check::checked;
use crate::support::Scratch;

/// Runs `quell`, asserts that it refuses with one message, and yields what it says.
#[track_caller]
fn refused(scratch: &Scratch, args: &[&str]) -> String {
    let ended = scratch.run(args);
    ended.assert_code(2);
    assert_eq!(ended.stdout, "", "{args:?}");
    ended.stderr.strip_prefix("error: ").unwrap_or(&ended.stderr).to_owned()
}

#[test]
fn a_configuration_in_the_place_of_a_plan_is_told_with_what_reads_it() {
    let scratch = Scratch::new();
    let text = "listen = '127.0.0.1:0'\n[agents.writer]\nrun = ['true']\n[agents.a]\nrnu = 1\n";
    scratch.write("quell.toml", text);
    scratch.write("own.toml", text);
    scratch.write("empty.toml", "[server]\ngrace = '1s'\n");
    let right = "quell.toml: is a configuration and no plan; `quell run agent/writer` runs a \
                 component of it, `quell serve --config quell.toml` serves it, `quell check \
                 quell.toml` checks it\n";
    for args in [
        &["run", "quell.toml"][..],
        &["plan", "check", "quell.toml"],
        &["plan", "show", "quell.toml"],
    ] {
        assert_eq!(refused(&scratch, args), right, "{args:?}");
    }
    let said = refused(&scratch, &["run", "own.toml"]);
    assert!(said.contains("`quell run agent/writer --config own.toml` runs"), "{said}");
    let said = refused(&scratch, &["plan", "check", "empty.toml"]);
    assert!(said.contains("`quell run NAME --config empty.toml` runs"), "{said}");
    // A plan stays one, whatever is wrong with it.
    scratch.write("plan.toml", "name = 'p'\nserver = 1\nsteps = []\n");
    let said = refused(&scratch, &["run", "plan.toml"]);
    assert!(said.starts_with("plan.toml:2:1: unknown key `server`"), "{said}");
    scratch.write("quell.toml", "[workflows.w]\nplan = 'own.toml'\n");
    let said = refused(&scratch, &["check"]);
    let right = "quell.toml:2:8: `plan`: own.toml: is a configuration and no plan; ";
    assert!(said.starts_with(right), "{said}");
}

#[test]
fn a_plan_in_the_place_of_a_configuration_is_told_with_what_reads_it() {
    let scratch = Scratch::new();
    scratch.write("plan.toml", "name = 'p'\n[[steps]]\nname = 'a'\nrun = ['true']\n");
    scratch.write("plan.yaml", "name: p\nsteps:\n- { name: a, run: ['true'] }\n");
    let right = |file: &str| {
        format!("`quell run {file}` runs a plan, `quell plan check {file}` checks it\n")
    };
    for args in [
        &["check", "plan.toml"][..],
        &["serve", "--config", "plan.toml"],
        &["run", "agent/a", "--config", "plan.toml"],
        &["list", "--config", "plan.toml"],
    ] {
        let right = format!("plan.toml: is a plan and no configuration; {}", right("plan.toml"));
        assert_eq!(refused(&scratch, args), right, "{args:?}");
    }
    let said = refused(&scratch, &["check", "plan.yaml"]);
    let first = said.split_inclusive('\n').next().expect("a line");
    let right = format!("; a configuration is TOML; {}", right("plan.yaml"));
    assert!(first.ends_with(&right), "{said}");
}

#[test]
fn a_configuration_that_is_not_there_is_told_with_what_writes_one_or_is_there() {
    let scratch = Scratch::new();
    let init = "quell.toml: no such file; `quell init` writes one to begin with\n";
    assert_eq!(refused(&scratch, &["check"]), init);
    for args in [&["serve", "--config", "quell.toml"][..], &["list", "--config", "quell.toml"]] {
        assert_eq!(refused(&scratch, args), init);
    }
    let said = refused(&scratch, &["check", "conf/own.toml"]);
    let right =
        "conf/own.toml: no such file; `quell init conf/own.toml` writes one to begin with\n";
    assert_eq!(said, right);
    assert_eq!(refused(&scratch, &["check", "own.yaml"]), "own.yaml: no such file\n");
    scratch.write("quell.toml", "");
    let said = refused(&scratch, &["check", "quel.toml"]);
    assert_eq!(said, "quel.toml: no such file; did you mean `quell.toml`?\n");
    let said = refused(&scratch, &["check", "own.toml"]);
    assert!(said.contains("`quell init own.toml`"), "{said}");
}

#[test]
fn a_team_is_not_offered_itself_in_the_place_of_an_unknown_member() {
    let scratch = Scratch::new();
    let team = |member: &str| {
        let rest = "[agents.writer]\nrun = ['true']\n";
        let text = format!("[teams.a]\nmode = 'sequence'\nmembers = ['{member}']\n{rest}");
        scratch.write("quell.toml", &text);
        refused(&scratch, &["check"])
    };
    for (member, right) in [
        ("team/b", "unknown component `team/b`; expected one of `agent/writer`\n"),
        ("agent/a", "unknown component `agent/a`; expected one of `agent/writer`\n"),
        ("team/wirter", "unknown component `team/wirter`; did you mean `agent/writer`?\n"),
        ("wirter", "unknown component `wirter`; did you mean `agent/writer`?\n"),
    ] {
        let said = team(member);
        assert!(said.contains(&format!("quell.toml:3:12: `members`: {right}")), "{said}");
    }
    // Its own name is no unknown one.
    assert!(team("a").contains("the team contains itself"));
    scratch.write("quell.toml", "[teams.a]\nmode = 'sequence'\nmembers = ['b']\n");
    let said = refused(&scratch, &["check"]);
    assert!(said.contains("unknown component `b`; there are no components\n"), "{said}");
}

/// Faults of which one used to hide another.
const HIDDEN: &str = r#"
[agents.nothing]
zzz = 1

[agents.meant]
rnu = ["true"]

[agents.model]
model = { ulr = "http://h/v1", name = "m" }

[agents.nameless]
model = { url = "http://h/v1", zzz = 1 }

[teams.all]
zzz = 1
members = ["gone"]

[teams.some]
mdoe = "sequence"

[teams.wrong]
mode = "sequance"
members = ["gone", 5]

[teams.led]
mode = "coordinate"
laeder = "agent/meant"

[[keys]]
zzz = 1

[[keys]]
subjct = "ops"
scopes = ["agent:run"]

[[tokens]]
zzz = 1

[[playbook3d.workflows]]
nmae = "n"

[[playbook3d.workflows]]
id = 1
name = "n"
component = "agent/meant"
"#;

#[test]
fn a_key_that_is_missing_is_told_beside_other_faults_unless_it_is_one_of_them() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", HIDDEN);
    let said = refused(&scratch, &["check"]);
    let lines = said.lines().filter_map(|line| Some(line.split_once("quell.toml:")?.1));
    let found: Vec<&str> = lines.collect();
    let right = [
        "2:1: `nothing`: expected one of `run = ",
        "3:1: unknown key `zzz`; expected one of ",
        "6:1: unknown key `rnu`; did you mean `run`?",
        "9:11: unknown key `ulr`; did you mean `url`?",
        "12:9: `model`: `name` is missing",
        "12:32: unknown key `zzz`; expected one of",
        "14:1: `mode`: is missing; expected `broadcast`",
        "15:1: unknown key `zzz`",
        "16:12: `members`: unknown component `gone`",
        "18:1: `members`: is missing; expected a list",
        "19:1: unknown key `mdoe`; did you mean `mode`?",
        "22:8: `mode`: unknown word `sequance`; did you mean `sequence`?",
        "23:12: `members`: unknown component `gone`",
        "23:20: `members`: found a number; expected a string",
        "25:1: `members`: is missing",
        "26:8: `mode`: mode `coordinate` has no `max`",
        "27:1: unknown key `laeder`; did you mean `leader`?",
        "29:1: `subject`: is missing",
        "29:1: `secret_env`: is missing",
        "30:1: unknown key `zzz`",
        "32:1: `secret_env`: is missing",
        "33:1: unknown key `subjct`; did you mean `subject`?",
        "34:11: `scopes`: unknown scope `agent:run`",
        "36:1: `algorithm`: is missing",
        "37:1: unknown key `zzz`",
        "39:1: `workflows`: `id` is missing",
        "40:1: unknown key `nmae`; did you mean `name`?",
        "43:6: `id`: found a number; expected",
    ];
    for (found, right) in found.iter().zip(right) {
        assert!(found.starts_with(right), "{right}\n{found}");
    }
    assert_eq!(found.len(), right.len(), "{said}");
}

#[test]
fn where_to_listen_and_how_tables_are_written_is_told_with_an_example() {
    let scratch = Scratch::new();
    let agent = |rest: &str| format!("[agents.a]\nrun = ['true']\n{rest}\n");
    let listen = "where to listen stands at the top of the file, above all tables: `listen = \
                  \"127.0.0.1:7777\"`";
    let variables = "expected a table such as `{ LANG = \"C\", PORT = \"8000\" }`";
    for (text, words) in [
        (agent("[server]\nport = 80"), format!("4:1: unknown key `port`; {listen}\n")),
        (agent("[agentos]\nlisten = ':1'"), format!("4:1: unknown key `listen`; {listen}\n")),
        (agent("host = 'h'"), format!("3:1: unknown key `host`; {listen}; where a service is: ")),
        (format!("addr = ':1'\n{}", agent("")), format!("1:1: unknown key `addr`; {listen}\n")),
        (
            format!("{}[keys]\nsubject = 'a'", agent("")),
            "4:1: `keys`: found a table; expected a list, each entry below two brackets".into(),
        ),
        (
            "[[agents]]\nname = 'a'".into(),
            "1:1: `agents`: found a list; expected a table for each, such as `[agents.wr".into(),
        ),
        (
            "[agents]\na = ['true']".into(),
            "2:5: `a`: found a list; expected a table such as `{ run = [".into(),
        ),
        ("agent.a = 1".into(), "1:1: unknown key `agent`; did you mean `agents`?\n".into()),
        (agent("env = ['A=b']"), format!("3:7: `env`: found a list; {variables}\n")),
        (agent("env = 'A=b'"), format!("3:7: `env`: found a string; {variables}\n")),
    ] {
        scratch.write("quell.toml", &text);
        let ended = checked(&scratch, &[]);
        ended.assert_code(2);
        let right = format!("error: quell.toml:{words}");
        assert!(ended.stderr.starts_with(&right), "{right}\n{}", ended.stderr);
        assert_eq!(ended.stderr.matches("quell.toml:").count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn a_template_without_quotes_is_told_with_them() {
    let scratch = Scratch::new();
    for rest in
        ["run = ['echo', {{ input }}]", "run = [{{ input }}]", "run = ['a']\ninput = {{ a }}"]
    {
        scratch.write("plan.toml", &format!("name = 'p'\n[[steps]]\nname = 'a'\n{rest}\n"));
        let said = refused(&scratch, &["run", "plan.toml"]);
        let first = said.lines().next().expect("a line");
        assert!(first.ends_with("; a template stands in quotes: \"{{ input }}\""), "{said}");
        scratch.write("quell.toml", &format!("[agents.a]\n{rest}\n"));
        let said = refused(&scratch, &["check"]);
        let first = said.lines().next().expect("a line");
        assert!(first.contains("; texts stand in quotes, and templates are for plans"), "{said}");
    }
    // Of other faults of the syntax nothing is said of templates.
    scratch.write("plan.toml", "name = 'p'\nsteps = { a = }\n");
    let said = refused(&scratch, &["run", "plan.toml"]);
    assert!(!said.contains("template"), "{said}");
}

/// Yields what is said of a wrong command line.
#[track_caller]
fn said(args: &[&str]) -> String {
    refused(&Scratch::new(), args)
}

#[test]
fn a_program_without_dashes_is_shown_with_them() {
    for (args, right) in [
        (&["run", "echo", "hi"][..], "quell run -- echo hi"),
        (&["run", "ls", "-l"], "quell run -- ls -l"),
        (&["run", "--timeout", "30s", "make", "a"], "quell run --timeout 30s -- make a"),
        (&["run", "echo", "$(id); a b"], "quell run -- echo …"),
    ] {
        let tip = format!("tip: a program goes after `--`: {right}\n");
        assert!(said(args).contains(&tip), "{}", said(args));
    }
    for args in [
        &["run", "a.toml", "b.toml"][..],
        &["run", "agent/x", "hello"],
        &["run", "a.toml", "--frob"],
    ] {
        assert!(!said(args).contains("a program goes"), "{}", said(args));
        assert!(!said(args).contains("as a value"), "{}", said(args));
    }
    for args in [&["run", "echo", "--timout", "3s"][..], &["run", "a.toml", "--timout", "3s"]] {
        let tip = "tip: a similar argument exists: '--timeout'";
        assert!(said(args).contains(tip) && !said(args).contains("goes after"), "{}", said(args));
    }
}

#[test]
fn a_configuration_and_an_address_are_shown_where_they_belong() {
    for (args, tip) in [
        (
            &["serve", "own.toml"][..],
            "a configuration goes after `--config`: quell serve --config own.toml",
        ),
        (
            &["list", "own.toml", "--json"],
            "a configuration goes after `--config`: quell list --config own.toml --json",
        ),
        (&["check", "--config", "own.toml"], "the file stands alone: quell check own.toml"),
        (&["plan", "p.yaml"], "a plan goes after `check`: quell plan check p.yaml"),
        (&["init", "--config", "own.toml"], "the file stands alone: quell init own.toml"),
        (
            &["serve", "--port", "80"],
            "an address goes after `--listen`: quell serve --listen 127.0.0.1:80",
        ),
        (
            &["serve", "--demo", "--port=80"],
            "an address goes after `--listen`: quell serve --demo --listen 127.0.0.1:80",
        ),
        (
            &["serve", "8080"],
            "an address goes after `--listen`: quell serve --listen 127.0.0.1:8080",
        ),
        (
            &["serve", "--demo", ":8080"],
            "an address goes after `--listen`: quell serve --demo --listen 127.0.0.1:8080",
        ),
        (
            &["serve", "0.0.0.0:80"],
            "an address goes after `--listen`: quell serve --listen 0.0.0.0:80",
        ),
        (
            &["serve", "localhost:80", "--demo"],
            "an address goes after `--listen`: quell serve --listen 127.0.0.1:80 --demo",
        ),
        (
            &["serve", "[::1]:80"],
            "an address goes after `--listen`: quell serve --listen '[::1]:80'",
        ),
        (&["serve", "./a:80"], "a configuration goes after `--config`: quell serve --config …"),
        (&["serve", "70000"], "a configuration goes after `--config`: quell serve --config …"),
    ] {
        assert!(said(args).contains(&format!("tip: {tip}\n")), "{}", said(args));
    }
}

#[test]
fn an_address_without_a_port_of_a_name_or_of_the_web_is_shown_as_listen_has_it() {
    for (word, address) in [
        ("127.0.0.1", "127.0.0.1:7777"),
        ("::1", "'[::1]:7777'"),
        ("localhost", "127.0.0.1:7777"),
        ("http://localhost:80", "127.0.0.1:80"),
        ("http://localhost:80/v1/x", "127.0.0.1:80"),
        ("https://example.com/v1", "127.0.0.1:7777"),
        ("example.com:80", "127.0.0.1:80"),
    ] {
        let tip =
            format!("tip: an address goes after `--listen`: quell serve --listen {address}\n");
        assert!(said(&["serve", word]).contains(&tip), "{}", said(&["serve", word]));
    }
}

#[test]
fn an_unknown_option_is_not_shown_as_the_name_of_a_file() {
    for args in [&["init", "--force"][..], &["check", "--all"], &["serve", "--port", "x"]] {
        assert!(!said(args).contains("tip:"), "{}", said(args));
    }
}
