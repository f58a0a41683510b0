//! What bash completes: names of components of the configuration, and of steps of the plan.

use std::path::Path;
use std::process::Command;

use crate::support::Scratch;

/// Completes as bash does: the folder of the binary, the number of the word with the cursor, and
/// the words.
const SCRIPT: &str = "PATH=$1:$PATH; . ./completions; COMP_CWORD=$2; shift 2; COMP_WORDS=(\"$@\"); \
                      $(complete -p quell | sed 's/.*-F \\([^ ]*\\).*/\\1/') quell \
                      \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; \
                      printf '%s\\n' \"${COMPREPLY[@]}\"";

/// Yields all that completes the word with this number.
#[track_caller]
fn completed(scratch: &Scratch, words: &[&str], at: usize) -> Vec<String> {
    let binary = Path::new(env!("CARGO_BIN_EXE_quell"));
    let mut bash = Command::new("bash");
    bash.args(["-c", SCRIPT, "bash"]).arg(binary.parent().expect("a folder"));
    bash.arg(at.to_string()).args(words).current_dir(scratch.path("."));
    let ended = bash.output().expect("bash");
    assert!(ended.status.success() && ended.stderr.is_empty(), "{words:?}: {ended:?}");
    let said = String::from_utf8(ended.stdout).expect("text");
    said.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Yields what completes the last word, without options.
#[track_caller]
fn names(scratch: &Scratch, words: &[&str]) -> Vec<String> {
    let all = completed(scratch, words, words.len() - 1);
    all.into_iter().filter(|name| !name.starts_with('-')).collect()
}

#[test]
fn bash_completes_components_and_steps() {
    let scratch = Scratch::new();
    scratch.run(&["init"]).assert_code(0);
    scratch.write("completions", &scratch.run(&["completions", "bash"]).stdout);
    let own = "[agents.own]\nrun = ['true']\n[agents.'$(touch marker)']\nrun = ['true']\n";
    scratch.write("own.toml", own);
    let run = |words: &[&str]| names(&scratch, &[&["quell", "run"], words].concat());
    let known = ["agent/chief", "agent/writer", "team/desk", "workflow/publish"];
    for name in known {
        assert!(run(&[""]).contains(&name.to_owned()), "{name}: {:?}", run(&[""]));
    }
    assert_eq!(run(&["agent/w"]), ["agent/writer"]);
    assert_eq!(run(&["--config", "own.toml", "agent/"]), ["agent/own"]);
    assert_eq!(run(&["publish.toml", "--only", ""]), ["write", "count"]);
    assert_eq!(run(&["publish.toml", "--from", "c"]), ["count"]);
    // An option without a value.
    assert_eq!(run(&["--json", "publish.toml", "--from", "c"]), ["count"]);
    assert_eq!(run(&["--verbose", "publish.toml", "--only", "c"]), ["count"]);
    assert_eq!(run(&["--json", "agent/w"]), ["agent/writer"]);
    assert_eq!(run(&["--verbose", "--config", "own.toml", "--json", "agent/"]), ["agent/own"]);
    for name in ["p.yaml", "p.yml", "p.json"] {
        let plan = r#"{ "name": "p", "steps": [{ "name": "one", "run": ["true"] }] }"#;
        scratch.write(name, plan);
        assert_eq!(run(&[name, "--from", "o"]), ["one"], "{name}");
    }
    assert_eq!(names(&scratch, &["quell", "run"]), ["run", "runs"], "the word itself");
    for words in [
        &["--", "agent/"][..],
        &["--", "echo", "agent/"],
        &["publish.toml", "agent/"],
        &["agent/writer", "--only", "w"],
        &["--report", "agent/"],
    ] {
        assert!(!run(words).concat().contains('w'), "{words:?}: {:?}", run(words));
    }
    // As readline splits `--config=own.toml`.
    assert_eq!(run(&["--config", "=", "own.toml", "agent/"]), ["agent/own"]);
    assert_eq!(run(&["--report", "=", "out.json", "agent/w"]), ["agent/writer"]);
    assert_eq!(run(&["publish.toml", "--only", "=", "c"]), ["count"]);
    assert_eq!(run(&["publish.toml", "--report", "=", "out.json", "--from", "c"]), ["count"]);
    assert_eq!(run(&["--label", "a", "=", "b.toml", "agent/w"]), ["agent/writer"]);
    for words in [&["--report", "=", "agent/"][..], &["--config", "=", "own.toml", "--", "agent/"]]
    {
        assert!(!run(words).concat().contains('w'), "{words:?}: {:?}", run(words));
    }
    assert_eq!(names(&scratch, &["quell", "serve", "--log", "er"]), ["error"]);
    assert!(!scratch.path("marker").exists(), "a name was taken for a command");
}

#[test]
fn bash_completes_names_where_they_stand_and_nowhere_else() {
    let scratch = Scratch::new();
    scratch.run(&["init"]).assert_code(0);
    scratch.write("completions", &scratch.run(&["completions", "bash"]).stdout);
    scratch.write("own.toml", "[agents.own]\nrun = ['true']\n");
    scratch.write("out.toml", "name = 'o'\n[[steps]]\nname = 'wrong'\nrun = ['true']\n");
    let step = |name: &str, what: &str| format!("[[steps]]\nname = '{name}'\n{what}\n");
    let inner = "sequence = [{ name = 'inner', run = ['true'] }]";
    let steps = [step("top", inner), step("a b", "run = ['true']"), step("tail", "run = ['true']")];
    scratch.write("deep.toml", &format!("name = 'd'\n{}", steps.concat()));
    let none: [&str; 0] = [];
    for (words, right) in [
        // Of another command, behind the program, or without a file to read.
        (&["serve", "agent/w"][..], &none[..]),
        (&["run", "--", "agent/w"], &none),
        (&["run", "gone.toml", "--only", ""], &none),
        (&["run", "--config", "gone.toml", "agent/"], &none),
        (&["run", "--only", ""], &none),
        (&["run", "publish.toml", "--json", "agent/"], &none),
        // A file that is the value of an option is no plan.
        (&["run", "--report", "out.toml", "agent/w"], &["agent/writer"]),
        (&["run", "--outputs", "out.toml", "publish.toml", "--only", "w"], &["write"]),
        (&["run", "publish.toml", "--outputs", "out.toml", "--only", "w"], &["write"]),
        // Where `=` divides no words.
        (&["run", "--report=out.toml", "agent/w"], &["agent/writer"]),
        (&["run", "publish.toml", "--report=out.toml", "--only", "w"], &["write"]),
        (&["run", "--config=own.toml", "agent/"], &["agent/own"]),
        (&["run", "--only=x", "publish.toml", "agent/"], &none),
        // A pattern is no begin of a name.
        (&["run", "a*"], &none),
        (&["run", "publish.toml", "--only", "[wc]"], &none),
        // Steps at the top, whose names are words of a shell.
        (&["run", "deep.toml", "--only", ""], &["top", "tail"]),
        (&["run", "-v", "publish.toml", "--from", "c"], &["count"]),
        (&["run", "--verbose", "agent/w"], &["agent/writer"]),
    ] {
        assert_eq!(names(&scratch, &[&["quell"], words].concat()), right, "{words:?}");
    }
    // What stands behind the cursor does not count.
    for (words, at, right) in [
        (&["quell", "run", "agent/w", "publish.toml"][..], 2, &["agent/writer"][..]),
        (&["quell", "run", "agent/w", "--only", "x"], 2, &["agent/writer"]),
        (&["quell", "run", "agent/w", "--", "x"], 2, &["agent/writer"]),
        (&["quell", "run", "agent/w"], 1, &["run", "runs"]),
    ] {
        let found = completed(&scratch, words, at);
        let found: Vec<_> = found.into_iter().filter(|name| !name.starts_with('-')).collect();
        assert_eq!(found, right, "{words:?}");
    }
    // Options stay where names are completed.
    let words = ["quell", "run", "publish.toml", "--only", "--fro"];
    assert_eq!(completed(&scratch, &words, 4), ["--from"]);
}
