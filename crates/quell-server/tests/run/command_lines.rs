//! Wrong command lines: the message says what is right, and shows nothing that may be a secret.

use crate::support::Scratch;

/// Runs `quell` in an empty folder, and yields what it says of a command line that it refuses.
#[track_caller]
fn said(args: &[&str]) -> String {
    let ended = Scratch::new().run(args);
    ended.assert_code(2);
    assert_eq!(ended.stdout, "", "{args:?}");
    ended.stderr
}

#[test]
fn a_wrong_command_line_is_refused_without_what_may_be_a_secret() {
    for (args, says) in [
        (&["run", "p.toml", "--ansewr=deploy=2hUsh"][..], "unexpected argument '--ansewr' found"),
        (&["run", "p.toml", "--ansewr", "deploy=2hUsh"], "unexpected argument '--ansewr' found"),
        (&["run", "p.toml", "--answer", "2hUsh"], "invalid value '…' for '--answer <STEP=VALUE>'"),
        (&["run", "p.toml", "--answer==2hUsh"], "invalid value '…' for '--answer <STEP=VALUE>'"),
        (&["run", "p.toml", "--input", "2hUsh"], "invalid value '…' for '--input <JSON>'"),
        (&["run", "p.toml", "--input", "token=2hUsh"], "invalid value 'token=…' for '--input"),
        (&["run", "p.toml", "--input={\"a\":2hUsh}"], "invalid value '…' for '--input <JSON>'"),
        (&["run", "p.toml", "--timeout", "2hUsh"], "invalid value '…' for '--timeout <DURATION>'"),
        (&["run", "p.toml", "--json=hush"], "unexpected value '…' for '--json' found"),
        (&["run", "p.toml", "--2hUsh-3"], "unexpected argument '--…' found"),
        (&["run", "p.toml", "2hUsh"], "unexpected argument '…' found"),
        (&["run", "echo", "--token", "hush"], "unexpected argument '--token' found"),
        (&["run", "echo", "u:2hUsh"], "tip: a program goes after `--`: quell run -- echo …"),
        (&["serve", "--set", "2hUsh"], "invalid value '…' for '--set <SECTION.KEY=VALUE>'"),
        (&["serve", "--set", "a..key=2hUsh"], "invalid value 'a..key=…' for '--set"),
        (&["serve", "--sett", "a.key=2hUsh"], "unexpected argument '--sett' found"),
        (&["serve", "--log", "2hUsh"], "invalid value '…' for '--log <LEVEL>'"),
        (&["serve", "--keep-runs", "2hUsh"], "invalid value '…' for '--keep-runs <NUMBER>'"),
        (&["serve", "--keep-runs", "x"], "expected a whole number from 0 on, such as `1000`"),
        (&["serve", "--keep", "x"], "or \"30d\""),
        (&["store", "check", "--store", "gone.db"], "gone.db: there is no such store"),
        (&["store", "check", "a.db", "--store", "b.db"], "cannot be used with"),
        (&["store", "check", ""], "is empty, as a variable that is not set is; expected one such"),
        (&["store", "backup", "", "copy.db"], "for '<FILE>': is empty, as a variable"),
        (&["serve", "--demo", "--store="], "for '--store <FILE | URL>': is empty, as a variable"),
        (&["serve", "2hUsh"], "tip: a configuration goes after `--config`: quell serve --config …"),
        (&["2hUsh"], "unrecognized subcommand '…'"),
        (&["plan", "2hUsh"], "unrecognized subcommand '…'"),
        (&["help", "2hUsh"], "unrecognized subcommand '…'"),
        (&["completions", "2hUsh"], "invalid value '…' for '<SHELL>'"),
    ] {
        let said = said(args);
        assert!(said.contains(says), "{args:?}: {said}");
        assert!(!said.contains("hush") && !said.contains("hUsh"), "{args:?}: {said}");
    }
    // What looks like words is shown.
    for (args, says) in [
        (&["run", "p.toml", "--timeout", "ten"][..], "invalid value 'ten' for '--timeout"),
        (&["run", "p.toml", "b.toml"], "unexpected argument 'b.toml' found"),
        (&["serve", "--log", "verbose"], "invalid value 'verbose' for '--log <LEVEL>'"),
        (&["frob"], "unrecognized subcommand 'frob'"),
        (&["runs", "--store"], "a value is required for '--store <FILE | URL>' but none"),
    ] {
        assert!(said(args).contains(says), "{args:?}: {}", said(args));
    }
}

#[test]
fn commands_of_other_tools_are_told_what_is_right_here() {
    for (args, tip) in [
        (&["stop", "x"][..], "Ctrl-C stops `quell run`, `quell cancel RUN` a run of a server;"),
        (&["start"], "did you mean `quell serve`?"),
        (&["validate", "quell.toml"], "did you mean `quell check`, or `quell plan check`?"),
        (&["exec", "x"], "did you mean `quell run`?"),
        (&["ls"], "`quell list` has the components, `quell ps` the runs of a server, `quell runs"),
        (&["new"], "did you mean `quell init`?"),
        (&["tail"], "`quell logs RUN` has the events of a run of a server, `quell events RUN"),
        (&["rnu", "plan.toml"], "did you mean `quell run`?"),
        (&["sevre"], "did you mean `quell serve`?"),
        (&["plan", "lint", "p.toml"], "did you mean `quell plan check`?"),
        (&["plan", "graph", "p.toml"], "did you mean `quell plan show`?"),
        (&["plan", "chekc", "p.toml"], "did you mean `quell plan check`?"),
        (
            &["run", "agent", "writer"],
            "a component is named by its kind and id: quell run agent/writer",
        ),
        (&["--verbose", "run", "x"], "an option goes after its command: quell run --verbose x"),
        (&["--json", "list"], "an option goes after its command: quell list --json"),
    ] {
        let said = said(args);
        assert!(said.contains(&format!("tip: {tip}")), "{args:?}: {said}");
        assert_eq!(said.matches("tip:").count(), 1, "{args:?}: {said}");
    }
    for args in [&["frob"][..], &["plan", "frob"], &["--frob"]] {
        assert!(!said(args).contains("tip:"), "{}", said(args));
    }
}

#[test]
fn where_to_listen_is_shown_from_the_options_of_other_servers() {
    for (args, address) in [
        (&["serve", "--host", "0.0.0.0"][..], "0.0.0.0:7777"),
        (&["serve", "--host=localhost"], "127.0.0.1:7777"),
        (&["serve", "--bind", "127.0.0.1:80"], "127.0.0.1:80"),
        (&["serve", "--host", "0.0.0.0", "--port", "80"], "0.0.0.0:80"),
        (&["serve", "-p", "80", "--host", "0.0.0.0"], "0.0.0.0:80"),
        (&["serve", "--addr", ":80"], "127.0.0.1:80"),
    ] {
        let tip =
            format!("tip: an address goes after `--listen`: quell serve --listen {address}\n");
        assert!(said(args).contains(&tip), "{args:?}: {}", said(args));
    }
}

#[test]
fn a_part_of_an_address_and_a_command_of_another_tool_are_told_with_what_is_right() {
    for (args, right) in [
        (&["serve", "--demo", "--listen", "8080"][..], "; did you mean `127.0.0.1:8080` or, for "),
        (&["serve", "--demo", "--listen", "localhost"], "; did you mean `127.0.0.1:7777`?"),
        (&["help", "rnu"], "tip: did you mean `quell help run`?"),
        (&["answer", "x"], "tip: `quell run --resume RUN --store FILE --answer STEP=VALUE` "),
        (&["answer"], "`quell resume RUN ANSWER` one of a server"),
        (&["suspend", "x"], "tip: did you mean `quell pause`?"),
    ] {
        let ended = Scratch::new().run(args);
        ended.assert_code(2);
        assert!(ended.stderr.contains(right), "{args:?}: {}", ended.stderr);
    }
}
