//! [`with_tip`]: what the message about a wrong command line says of the right one.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use quell_flow::{ComponentKind, PlanFormat, path_text, variable_of};
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
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
        && let Some(variable) = named(word)
    {
        error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
    }
    let is_misspelt = error.get(ContextKind::SuggestedArg).is_some();
    if let Some(tip) = tip(args, is_right).filter(|_| !is_misspelt) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Escapes what an error quotes of a command line, so that it neither steers a terminal nor begins
/// a line.
pub(crate) fn escaped(mut error: clap::Error) -> clap::Error {
    let quoted = error.context().filter_map(|(kind, value)| match value {
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
    match args.get(1)?.to_str()? {
        "run" if args.iter().skip(2).take(WORDS_MAX).take_while(|it| *it != "--").any(is_set) => {
            Some("a program goes after `--`, and its variables before quell".to_owned())
        }
        "run" => each(with_program, "a program goes after `--`"),
        "serve" => each(with_listen, "an address goes after `--listen`")
            .or_else(|| each(with_config, "a configuration goes after `--config`")),
        "list" => each(with_config, "a configuration goes after `--config`"),
        "plan" => each(with_check, "a plan goes after `check`"),
        "check" | "init" => each(without_config, "the file stands alone"),
        _ => None,
    }
}

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
    let (address, after) = match word.to_str()? {
        "--port" | "-p" => (after.first()?.to_str()?, &after[1..]),
        word => (word.strip_prefix("--port=").unwrap_or(word), after),
    };
    let address = meant_address(address)?.to_string();
    Some([before, &["--listen".into(), address.into()], after].concat())
}

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

/// Yields a word that sets a variable without the value, which may be a secret; none for another
/// word.
fn named(word: &str) -> Option<String> {
    Some(format!("{}=…", variable_of(word)?))
}

/// Writes a command line whose first word is `quell`.
fn shown(words: &[OsString]) -> String {
    let word = |word: &OsString| match named(&OsStr::to_string_lossy(word)) {
        Some(variable) => variable,
        None => shell_word(&OsStr::to_string_lossy(word)),
    };
    let words: Vec<String> = words.iter().skip(1).map(word).collect();
    format!("quell {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

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
