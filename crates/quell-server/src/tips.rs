//! [`with_tip`]: what the message about a wrong command line says of the right one.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use quell_flow::{ComponentKind, PlanFormat, guess, path_text, plain_begin, variable_of};
use quell_report::text::printable;

use crate::config::DEFAULT_PORT;
use crate::shell_word::shell_word;

/// Adds to the message about an unknown argument or command the command line that was probably
/// meant: one that is right.
pub(crate) fn with_tip(
    mut error: clap::Error,
    args: &[OsString],
    is_right: impl Fn(&[OsString]) -> bool,
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

fn tip(args: &[OsString], is_right: impl Fn(&[OsString]) -> bool) -> Option<String> {
    let each = |with: Change, what: &str| {
        let mut changed = (2..args.len().min(WORDS_MAX)).filter_map(|at| with(args, at));
        let words = changed.find(|words| is_right(words))?;
        Some(format!("{what}: {}", shown(&words)))
    };
    let is_command = |name: &str| COMMANDS.contains(&name);
    let command = args.get(1)?.to_str()?;
    if is_before_command(args) {
        let at = args.iter().position(|word| word.to_str().is_some_and(is_command))?;
        let changed = [&args[..1], &args[at..=at], &args[1..at], &args[at + 1..]].concat();
        return Some(format!("an option goes after its command: {}", shown(&changed)));
    }
    match command {
        word if !is_command(word) => of_command(word),
        "run" if component(args).is_some() => {
            let name = component(args)?;
            Some(format!("a component is named by its kind and id: quell run {name}"))
        }
        "run" if args.iter().skip(2).take(WORDS_MAX).take_while(|it| *it != "--").any(is_set) => {
            Some("a program goes after `--`, and its variables before quell".to_owned())
        }
        "run" => each(with_program, "a program goes after `--`"),
        "serve" => each(with_listen, "an address goes after `--listen`")
            .or_else(|| each(with_config, "a configuration goes after `--config`")),
        "list" => each(with_config, "a configuration goes after `--config`"),
        "plan" => of_plan(args.get(2)?.to_str()?)
            .or_else(|| each(with_check, "a plan goes after `check`")),
        "check" | "init" => each(without_config, "the file stands alone"),
        _ => None,
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

/// Says what a command of other tools is here, or which one is near.
fn of_command(word: &str) -> Option<String> {
    let by_habit = ELSEWHERE.iter().find(|(words, _)| words.contains(&word));
    let near = || guess(word, COMMANDS).map(|near| format!("did you mean `quell {near}`?"));
    by_habit.map(|(_, right)| (*right).to_owned()).or_else(near)
}

/// Says the same of one behind `plan`.
fn of_plan(word: &str) -> Option<String> {
    let commands = ["check", "show", "schema"];
    let by_habit = match word {
        "validate" | "lint" | "verify" | "test" => Some("check"),
        "draw" | "graph" | "tree" | "print" => Some("show"),
        _ => None,
    };
    let meant = by_habit.or_else(|| guess(word, commands)).filter(|_| !commands.contains(&word));
    meant.map(|meant| format!("did you mean `quell plan {meant}`?"))
}

/// The commands.
const COMMANDS: [&str; 17] = [
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
    "show",
    "store",
    "templates",
    "completions",
    "man",
    "service",
];

/// Commands of other tools, and what they are here.
const ELSEWHERE: [(&[&str], &str); 7] = [
    (
        &["stop", "cancel", "kill", "abort", "down"],
        "Ctrl-C stops `quell run`; a run of a server is stopped by `curl -X POST \
         http://127.0.0.1:7777/v1/runs/ID/cancel`",
    ),
    (&["start", "up", "server", "daemon"], "did you mean `quell serve`?"),
    (&["validate", "lint", "verify"], "did you mean `quell check`, or `quell plan check`?"),
    (&["exec", "execute"], "did you mean `quell run`?"),
    (
        &["ps", "ls", "status"],
        "`quell list` has the components, `quell runs --store FILE` the runs of a store",
    ),
    (&["new", "create", "generate"], "did you mean `quell init`?"),
    (&["logs", "log", "tail"], "`quell events RUN --store FILE` has the events of a run"),
];

/// Changes a command line at one of its words.
type Change = fn(&[OsString], usize) -> Option<Vec<OsString>>;

/// Puts `--` before a word, the name of a program. A variable is none.
fn with_program(args: &[OsString], at: usize) -> Option<Vec<OsString>> {
    let (before, program) = args.split_at(at);
    let name = program.first()?.to_str()?;
    let is_other = name.starts_with('-')
        || PlanFormat::of(Path::new(name)).is_ok()
        || variable_of(name).is_some()
        || ComponentKind::split(name).is_some();
    (!is_other).then(|| [before, &["--".into()], program].concat())
}

/// Puts `--config` before a word.
fn with_config(args: &[OsString], at: usize) -> Option<Vec<OsString>> {
    let (before, file) = args.split_at(at);
    let is_option = file.first()?.as_encoded_bytes().starts_with(b"-");
    (!is_option).then(|| [before, &["--config".into()], file].concat())
}

/// Takes `--config` out.
fn without_config(args: &[OsString], at: usize) -> Option<Vec<OsString>> {
    let (before, rest) = args.split_at(at);
    let (_, after) = rest.split_first().filter(|(word, _)| *word == "--config")?;
    Some([before, after].concat())
}

/// Puts `check` before a word, the file of a plan.
fn with_check(args: &[OsString], at: usize) -> Option<Vec<OsString>> {
    let (before, file) = args.split_at(at);
    PlanFormat::of(Path::new(file.first()?)).ok()?;
    Some([before, &["check".into()], file].concat())
}

/// Puts `--listen` before an address, or in the place of the option of a port.
fn with_listen(args: &[OsString], at: usize) -> Option<Vec<OsString>> {
    let (before, rest) = args.split_at(at);
    let (word, after) = rest.split_first()?;
    let Some((address, after)) = of_option(rest) else {
        let address = meant_address(word.to_str()?)?.to_string();
        return Some([before, &["--listen".into(), address.into()], after].concat());
    };
    // The port may be an option of its own.
    let (address, after) = match of_option(after) {
        Some((other, after)) if is_port(other) != is_port(address) => {
            let (host, port) = if is_port(other) { (address, other) } else { (other, address) };
            (format!("{host}:{port}"), after)
        }
        _ => (address.to_owned(), after),
    };
    let address = meant_address(&address)?.to_string();
    Some([before, &["--listen".into(), address.into()], after].concat())
}

/// Reads an option by which other servers are told where to listen, and yields its value and what
/// stands behind it.
fn of_option(words: &[OsString]) -> Option<(&str, &[OsString])> {
    let (word, after) = words.split_first()?;
    let (name, value) = match word.to_str()?.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word.to_str()?, None),
    };
    if !LISTEN_ELSEWHERE.contains(&name) {
        return None;
    }
    match value {
        Some(value) => Some((value, after)),
        None => Some((after.first()?.to_str()?, &after[1..])),
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

/// Options by which other servers are told where to listen.
const LISTEN_ELSEWHERE: [&str; 6] = ["--port", "-p", "--host", "--bind", "--addr", "--address"];

/// Yields the address that a word means: one as it is, without a port, of the host of an address of
/// the web, or a port. A server listens on an address of its own machine: that of a name is
/// loopback.
fn meant_address(word: &str) -> Option<SocketAddr> {
    let of_web = word.strip_prefix("http://").or_else(|| word.strip_prefix("https://"));
    let host = of_web.map_or(word, |rest| rest.split('/').next().unwrap_or_default());
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, DEFAULT_PORT));
    }
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (name, port) = host.rsplit_once(':').unwrap_or(("", host));
    let is_name = name.chars().all(|char| char.is_ascii_alphanumeric() || ".-".contains(char));
    match port.parse() {
        Ok(port) => is_name.then(|| loopback(port)),
        Err(_) => (of_web.is_some() || host == "localhost").then(|| loopback(DEFAULT_PORT)),
    }
}

/// The words of a command line at which a change is tried. Each change is read as a whole, and a
/// pattern of a shell may stand for thousands of files.
const WORDS_MAX: usize = 32;

/// Tells whether a word sets a variable, as before a program in a shell.
fn is_set(word: &OsString) -> bool {
    word.to_str().is_some_and(|word| variable_of(word).is_some())
}

/// Yields a word of a command line as messages show it: all of it if it looks like words, the name
/// of what it sets, `NAME=…`, and otherwise `…`. Nothing is known of a word in a wrong place.
pub(crate) fn shown_word(word: &str) -> String {
    if is_shown(word) {
        return word.to_owned();
    }
    match word.split_once('=') {
        Some((name, _)) if !name.is_empty() && is_shown(name) => format!("{name}=…"),
        _ if word.starts_with("--") => "--…".to_owned(),
        _ => "…".to_owned(),
    }
}

/// Tells whether a word looks like words, or is a number or an address to listen on.
fn is_shown(word: &str) -> bool {
    word.is_empty() || is_of_words(word) || word.parse::<SocketAddr>().is_ok()
}

/// Tells whether a text looks like words, as a path and an option do.
fn is_of_words(text: &str) -> bool {
    plain_begin(text).len() == text.len() && text.lines().count() < 2
}

/// Writes a command line whose first word is `quell`. What stands behind the name of a secret is
/// one.
fn shown(words: &[OsString]) -> String {
    let mut before = String::new();
    let word = |word: &OsString| {
        let word = word.to_string_lossy();
        let is_secret = is_shown(&word) && !is_of_words(&format!("{before} {word}"));
        let is_value = !before.is_empty() && is_of_words(&before) && is_secret;
        let is_address = word.parse::<SocketAddr>().is_ok();
        let shown = if is_value && !is_address { "…".to_owned() } else { shown_word(&word) };
        before = word.into_owned();
        if shown.contains('…') { shown } else { shell_word(&shown) }
    };
    let words: Vec<String> = words.iter().skip(1).map(word).collect();
    format!("quell {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use clap::CommandFactory as _;

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

    #[test]
    fn what_does_not_look_like_words_is_not_shown() {
        for (word, right) in [
            ("make", "make"),
            ("--timeout", "--timeout"),
            ("./a.toml", "./a.toml"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("", ""),
            ("API_KEY=hush", "API_KEY=…"),
            ("--api-key=hush", "--api-key=…"),
            ("ok=2hUsh", "ok=…"),
            ("2hUsh=x", "…"),
            ("--2hUsh-3", "--…"),
            ("2hUsh", "…"),
            ("u:hush", "…"),
            ("make\nx", "…"),
        ] {
            assert_eq!(shown_word(word), right, "{word}");
        }
        let line = |words: &[&str]| shown(&words.iter().map(OsString::from).collect::<Vec<_>>());
        for (words, right) in [
            (&["quell", "run", "--", "ls", "-l"][..], "quell run -- ls -l"),
            (&["quell", "run", "--", "x", "--token", "hush"], "quell run -- x --token …"),
            (&["quell", "run", "--", "curl", "-u", "ann:hush"], "quell run -- curl -u …"),
            (&["quell", "serve", "--listen", "[::1]:80"], "quell serve --listen '[::1]:80'"),
        ] {
            assert_eq!(line(words), right);
        }
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
            assert_eq!(tip(&args, is_right), None);
            assert!(tried.get() <= 2 * WORDS_MAX, "{command}: {} were tried", tried.get());
        }
    }
}
