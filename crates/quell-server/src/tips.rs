//! [`with_tip`]: what the message about a wrong command line says of the right one.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use quell_flow::{ComponentKind, guess, path_text, variable_of};
use quell_report::text::printable;

use crate::change::{Change, with_check, with_config, with_listen, with_program, without_config};
use crate::shown_word::{is_of_words, shown, shown_word};

/// Adds to the message about an unknown argument or command the command line that was probably
/// meant: one that is right.
pub(crate) fn with_tip(
    mut error: clap::Error,
    args: &[OsString],
    is_right: IsRight<'_>,
) -> clap::Error {
    if !matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand) {
        return error;
    }
    // It would say how the argument becomes a value: `quell init -- --force` writes a file of that
    // name.
    error.remove(ContextKind::Suggested);
    if error.kind() == ErrorKind::InvalidSubcommand {
        // Words are near to it that nobody means: `store` for `stop`.
        error.remove(ContextKind::SuggestedSubcommand);
    }
    let is_misspelt = error.get(ContextKind::SuggestedArg).is_some() && !is_before_command(args);
    if is_before_command(args) {
        error.remove(ContextKind::SuggestedArg);
    }
    if let Some(tip) = tip(args, is_right).filter(|_| !is_misspelt) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Leaves out of what an error quotes of a command line all that may be a secret, as `shown_word`
/// does, and escapes the rest, so that it neither steers a terminal nor begins a line. An option
/// that takes no value shows none.
pub(crate) fn without_secrets(mut error: clap::Error) -> clap::Error {
    let takes_none = error.kind() == ErrorKind::TooManyValues;
    let is_unknown = error.kind() == ErrorKind::UnknownArgument;
    let quoted = error.context().filter_map(|(kind, value)| match value {
        ContextValue::String(_) if kind == ContextKind::InvalidValue && takes_none => {
            Some((kind, ContextValue::String("…".to_owned())))
        }
        ContextValue::String(text)
            if matches!(kind, ContextKind::InvalidValue | ContextKind::InvalidSubcommand)
                || (kind == ContextKind::InvalidArg && is_unknown) =>
        {
            Some((kind, ContextValue::String(path_text(shown_word(text)))))
        }
        ContextValue::String(text) => Some((kind, ContextValue::String(path_text(text)))),
        ContextValue::Strings(all) => {
            Some((kind, ContextValue::Strings(all.iter().map(path_text).collect())))
        }
        _ => None,
    });
    let quoted: Vec<_> = quoted.collect();
    for (kind, value) in quoted {
        error.insert(kind, value);
    }
    error
}

/// Yields the message of an error, line by line without what would steer a terminal.
pub(crate) fn words(error: &clap::Error) -> String {
    let text = error.render().to_string();
    text.lines().flat_map(|line| [printable(line), "\n".into()]).collect()
}

/// What is said of a wrong command line, in the order in which it is tried.
struct Tip {
    /// The command behind which it is said; without one it is said where no command stands first.
    command: Option<&'static str>,
    /// How it begins.
    says: &'static str,
    /// Yields how it goes on, if it is right.
    rest: Rest,
}

type Rest = fn(&[OsString], IsRight<'_>) -> Option<String>;
type IsRight<'a> = &'a dyn Fn(&[OsString]) -> bool;

const fn tip_of(command: &'static str, says: &'static str, rest: Rest) -> Tip {
    Tip { command: Some(command), says, rest }
}

const BEHIND_DASHES: &str = "a program goes after `--`";
const BEHIND_CONFIG: &str = "a configuration goes after `--config`: ";
const ALONE: &str = "the file stands alone: ";

const TIPS: [Tip; 14] = [
    Tip {
        command: None,
        says: "an option goes after its command: ",
        rest: |args, _| with_command_first(args),
    },
    Tip { command: None, says: "", rest: |args, _| of_command(args.get(1)?.to_str()?, "quell") },
    tip_of("help", "", |args, _| of_help(args)),
    tip_of("run", "a component is named by its kind and id: quell run ", |args, _| component(args)),
    tip_of("run", BEHIND_DASHES, |args, _| {
        let mut words = args.iter().skip(2).take(WORDS_MAX).take_while(|it| *it != "--");
        words.any(is_set).then(|| ", and its variables before quell".to_owned())
    }),
    tip_of("run", BEHIND_DASHES, |args, is_right| {
        Some(format!(": {}", changed(args, with_program, is_right)?))
    }),
    tip_of("serve", "an address goes after `--listen`: ", |args, is_right| {
        changed(args, with_listen, is_right)
    }),
    tip_of("serve", BEHIND_CONFIG, |args, is_right| changed(args, with_config, is_right)),
    tip_of("list", BEHIND_CONFIG, |args, is_right| changed(args, with_config, is_right)),
    tip_of("plan", "", |args, _| of_plan(args.get(2)?.to_str()?, "quell plan")),
    tip_of("plan", "a plan goes after `check`: ", |args, is_right| {
        changed(args, with_check, is_right)
    }),
    tip_of("check", ALONE, |args, is_right| changed(args, without_config, is_right)),
    tip_of("init", ALONE, |args, is_right| changed(args, without_config, is_right)),
    tip_of("nodes", "`quell nodes` alone lists them; ", |args, _| of_nodes(args.get(2)?)),
];

fn tip(args: &[OsString], is_right: IsRight<'_>) -> Option<String> {
    let command = args.get(1)?.to_str()?;
    let known = COMMANDS.iter().chain(["help"].iter()).find(|known| **known == command).copied();
    let mut tips = TIPS.iter().filter(|tip| tip.command == known);
    tips.find_map(|tip| Some(format!("{}{}", tip.says, (tip.rest)(args, is_right)?)))
}

/// Changes a command line at the first of its words at which that makes it right.
fn changed(args: &[OsString], change: Change, is_right: IsRight<'_>) -> Option<String> {
    let mut changed = (2..args.len().min(WORDS_MAX)).filter_map(|at| change(args, at));
    Some(shown(&changed.find(|words| is_right(words))?))
}

/// Puts the command first, if an option stands there.
fn with_command_first(args: &[OsString]) -> Option<String> {
    if !is_before_command(args) {
        return None;
    }
    let is_command = |word: &OsString| word.to_str().is_some_and(|it| COMMANDS.contains(&it));
    let at = args.iter().position(is_command)?;
    Some(shown(&[&args[..1], &args[at..=at], &args[1..at], &args[at + 1..]].concat()))
}

/// Says the same of the words behind `help`.
fn of_help(args: &[OsString]) -> Option<String> {
    let word = args.get(2)?.to_str()?;
    match args.get(3) {
        Some(below) if word == "plan" => of_plan(below.to_str()?, "quell help plan"),
        _ => of_command(word, "quell help").filter(|_| !COMMANDS.contains(&word)),
    }
}

/// Tells whether a command line begins with an option, and a command stands behind it.
fn is_before_command(args: &[OsString]) -> bool {
    let is_command = |word: &OsString| word.to_str().is_some_and(|word| COMMANDS.contains(&word));
    let is_option = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
    args.get(1).is_some_and(is_option) && args.iter().skip(2).take(WORDS_MAX).any(is_command)
}

/// Yields the name of the component that two words mean, `agent writer`.
fn component(args: &[OsString]) -> Option<String> {
    let (kind, id) = (args.get(2)?.to_str()?, args.get(3)?.to_str()?);
    let is_kind = ComponentKind::ALL.into_iter().any(|one| one.as_str() == kind);
    (is_kind && is_of_words(id) && !id.starts_with('-')).then(|| format!("{kind}/{id}"))
}

/// Says what a command of other tools is here, or which one is near: that is shown behind `before`.
fn of_command(word: &str, before: &str) -> Option<String> {
    let by_habit = ELSEWHERE.iter().find(|(words, _)| words.contains(&word));
    let near = || guess(word, COMMANDS).map(|near| format!("did you mean `{before} {near}`?"));
    by_habit.map(|(_, right)| (*right).to_owned()).or_else(near)
}

/// Says the same of one behind `plan`.
fn of_plan(word: &str, before: &str) -> Option<String> {
    let commands = ["check", "show", "schema"];
    let by_habit = ELSEWHERE_OF_PLANS.iter().find(|(words, _)| words.contains(&word));
    let meant = by_habit.map(|(_, meant)| *meant).or_else(|| guess(word, commands));
    let meant = meant.filter(|_| !commands.contains(&word))?;
    Some(format!("did you mean `{before} {meant}`?"))
}

/// Says what is behind `nodes`, if a word stands there that is no command.
fn of_nodes(word: &OsString) -> Option<String> {
    let is_right = word == "forget" || word.as_encoded_bytes().starts_with(b"-");
    (!is_right).then(|| "`quell nodes forget NAME` says that one is gone for good".to_owned())
}

/// Commands of other tools about plans, and what they are here.
const ELSEWHERE_OF_PLANS: [(&[&str], &str); 2] = [
    (&["validate", "lint", "verify", "test"], "check"),
    (&["draw", "graph", "tree", "print"], "show"),
];

/// The commands.
const COMMANDS: [&str; 26] = [
    "run",
    "serve",
    "init",
    "check",
    "list",
    "plan",
    "process",
    "answers",
    "report",
    "events",
    "runs",
    "nodes",
    "ps",
    "tree",
    "watch",
    "logs",
    "top",
    "cancel",
    "pause",
    "resume",
    "show",
    "store",
    "templates",
    "completions",
    "man",
    "service",
];

/// Commands of other tools, and what they are here.
const ELSEWHERE: [(&[&str], &str); 9] = [
    (
        &["stop", "kill", "abort", "down"],
        "Ctrl-C stops `quell run`, `quell cancel RUN` a run of a server; `quell runs cancel RUN \
         --store FILE` ends a run that is left paused",
    ),
    (
        &["answer", "continue", "reply", "approve"],
        "`quell run --resume RUN --store FILE --answer STEP=VALUE` answers a run that `quell run` \
         left paused, `quell resume RUN ANSWER` one of a server",
    ),
    (&["suspend", "hold"], "did you mean `quell pause`?"),
    (&["start", "up", "server", "daemon"], "did you mean `quell serve`?"),
    (&["validate", "lint", "verify"], "did you mean `quell check`, or `quell plan check`?"),
    (&["exec", "execute"], "did you mean `quell run`?"),
    (
        &["ls", "status"],
        "`quell list` has the components, `quell ps` the runs of a server, `quell runs --store \
         FILE` those of a store",
    ),
    (&["new", "create", "generate"], "did you mean `quell init`?"),
    (
        &["log", "tail", "follow"],
        "`quell logs RUN` has the events of a run of a server, `quell events RUN --store FILE` \
         those of one of a store",
    ),
];

/// The words of a command line at which a change is tried. Each change is read as a whole, and a
/// pattern of a shell may stand for thousands of files.
const WORDS_MAX: usize = 32;

/// Tells whether a word sets a variable, as before a program in a shell.
fn is_set(word: &OsString) -> bool {
    word.to_str().is_some_and(|word| variable_of(word).is_some())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use clap::{CommandFactory as _, Parser as _};

    use super::*;
    use crate::args::Cli;

    #[test]
    fn the_commands_are_those_of_the_help() {
        let cli = Cli::command();
        let shown = cli.get_subcommands().filter(|command| !command.is_hide_set());
        let mut names: Vec<&str> = shown.map(clap::Command::get_name).collect();
        let mut known = COMMANDS.to_vec();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
    }

    /// Command lines that are wrong, and what is said of each: every tip of the table.
    const WRONG: [(&[&str], &str); 14] = [
        (&["--store", "a", "runs"], "an option goes after its command: quell runs --store a"),
        (&["rnu"], "did you mean `quell run`?"),
        (&["help", "rnu"], "did you mean `quell help run`?"),
        (&["run", "agent", "x"], "a component is named by its kind and id: quell run agent/x"),
        (&["run", "A=b", "make"], "a program goes after `--`, and its variables before quell"),
        (&["run", "ls", "-l"], "a program goes after `--`: quell run -- ls -l"),
        (&["serve", ":80"], "an address goes after `--listen`: quell serve --listen 127.0.0.1:80"),
        (&["serve", "x"], "a configuration goes after `--config`: quell serve --config x"),
        (&["list", "x"], "a configuration goes after `--config`: quell list --config x"),
        (&["plan", "chek"], "did you mean `quell plan check`?"),
        (&["plan", "p.yaml"], "a plan goes after `check`: quell plan check p.yaml"),
        (&["check", "--config", "x"], "the file stands alone: quell check x"),
        (&["init", "--config", "x"], "the file stands alone: quell init x"),
        (
            &["nodes", "web-1"],
            "`quell nodes` alone lists them; `quell nodes forget NAME` says that one is gone for \
             good",
        ),
    ];

    /// Yields what is said of a wrong command line.
    fn said(words: &[&str]) -> String {
        let args = ["quell"].iter().chain(words).map(OsString::from);
        Cli::read(args).expect_err("it is wrong").render().to_string()
    }

    #[test]
    fn every_tip_is_said_of_a_command_line() {
        for (at, (words, right)) in WRONG.into_iter().enumerate() {
            let said = said(words);
            assert!(said.contains(&format!("tip: {right}\n")), "{words:?}: {right}\n{said}");
            // The tip that says it is the one at this place of the table.
            let args: Vec<_> = ["quell"].iter().chain(words).map(OsString::from).collect();
            let is_right = |args: &[OsString]| Cli::try_parse_from(args).is_ok();
            let rest = (TIPS[at].rest)(&args, &is_right).expect(right);
            assert_eq!(format!("{}{rest}", TIPS[at].says), right);
        }
        assert_eq!(WRONG.len(), TIPS.len(), "a tip without a command line that has it");
    }

    #[test]
    fn every_command_of_another_tool_is_told_with_what_it_is_here() {
        for (words, right) in ELSEWHERE {
            for word in words {
                for args in [&[*word][..], &[*word, "x"], &["help", *word]] {
                    let said = said(args);
                    assert!(said.contains(&format!("tip: {right}\n")), "{args:?}: {said}");
                }
            }
        }
        for (words, right) in ELSEWHERE_OF_PLANS {
            for word in words {
                let tip = format!("tip: did you mean `quell plan {right}`?\n");
                assert!(said(&["plan", word]).contains(&tip), "{word}");
                let tip = format!("tip: did you mean `quell help plan {right}`?\n");
                assert!(said(&["help", "plan", word]).contains(&tip), "{word}");
            }
        }
        assert!(!said(&["help", "xyzzy"]).contains("tip:"));
    }

    #[test]
    fn a_change_is_tried_at_the_first_words_only() {
        for command in ["run", "serve", "list", "plan", "check", "init"] {
            let words = std::iter::repeat_n(OsString::from("x"), 10_000);
            let args: Vec<_> = ["quell".into(), command.into()].into_iter().chain(words).collect();
            let tried = Cell::new(0);
            let is_right = |_: &[OsString]| {
                tried.set(tried.get() + 1);
                false
            };
            assert_eq!(tip(&args, &is_right), None);
            assert!(tried.get() <= 2 * WORDS_MAX, "{command}: {} were tried", tried.get());
        }
    }
}
