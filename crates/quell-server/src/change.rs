//! [`Change`]: the changes of a wrong command line by which it may become a right one.

use std::ffi::OsString;
use std::path::Path;

use quell_flow::{ComponentKind, PlanFormat, variable_of};

use crate::config::meant_address;

/// Changes a command line at one of its words.
pub(crate) type Change = fn(&[OsString], usize) -> Option<Vec<OsString>>;

/// Puts `--` before a word, the name of a program. A variable is none.
pub(crate) fn with_program(args: &[OsString], at: usize) -> Option<Vec<OsString>> {
    let (before, program) = args.split_at(at);
    let name = program.first()?.to_str()?;
    let is_other = name.starts_with('-')
        || PlanFormat::of(Path::new(name)).is_ok()
        || variable_of(name).is_some()
        || ComponentKind::split(name).is_some();
    (!is_other).then(|| [before, &["--".into()], program].concat())
}

/// Puts `--config` before a word.
pub(crate) fn with_config(args: &[OsString], at: usize) -> Option<Vec<OsString>> {
    let (before, file) = args.split_at(at);
    let is_option = file.first()?.as_encoded_bytes().starts_with(b"-");
    (!is_option).then(|| [before, &["--config".into()], file].concat())
}

/// Takes `--config` out.
pub(crate) fn without_config(args: &[OsString], at: usize) -> Option<Vec<OsString>> {
    let (before, rest) = args.split_at(at);
    let (_, after) = rest.split_first().filter(|(word, _)| *word == "--config")?;
    Some([before, after].concat())
}

/// Puts `check` before a word, the file of a plan.
pub(crate) fn with_check(args: &[OsString], at: usize) -> Option<Vec<OsString>> {
    let (before, file) = args.split_at(at);
    PlanFormat::of(Path::new(file.first()?)).ok()?;
    Some([before, &["check".into()], file].concat())
}

/// Puts `--listen` before an address, or in the place of the option of a port.
pub(crate) fn with_listen(args: &[OsString], at: usize) -> Option<Vec<OsString>> {
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
