//! [`in_words`]: the errors of the reader, as messages about plans are written, without the names
//! that types have in Rust.

use std::borrow::Cow;

use quell_flow::{guess, is_env, is_plain};
use toml::de;

use super::elsewhere::{ELSEWHERE, SYNONYMS, other_sort};

/// Puts the key of the value with a fault before a message. One that may be a secret is not named.
pub(super) fn named(key: Option<&str>, message: &str) -> String {
    let is_name = |key: &str| key.split('.').all(is_plain);
    match key {
        Some(key) if is_name(key) => format!("`{key}`: {message}"),
        Some(_) => format!("this key: {message}"),
        None => message.to_owned(),
    }
}

/// Writes an error of the reader as messages about plans are written.
pub(super) fn in_words(error: &de::Error) -> String {
    let message = error.message();
    if let Some(unknown) = Unknown::of(message) {
        return unknown.in_words();
    }
    if let Some(key) = message.strip_prefix(MISSING) {
        return format!("{key} is missing");
    }
    for begin in ["invalid type: ", "invalid value: ", "invalid length "] {
        let rest = message.strip_prefix(begin).and_then(|rest| rest.rsplit_once(", expected "));
        if let Some((what, right)) = rest {
            return format!("found {}; expected {}", found(what), expected(right));
        }
    }
    match message {
        // Of a number, a list or a boolean in the place of a word.
        "wanted string or table" => "expected a word, in quotes".to_owned(),
        _ if message.starts_with("UUID parsing failed") => OF_UUID.to_owned(),
        _ => message.replace('\n', ", "),
    }
}

const OF_UUID: &str = "expected a UUID such as \"11111111-1111-4111-8111-111111111111\"";

/// Yields the key that an unknown one is meant to be; none of other errors.
pub(super) fn meant(error: &de::Error) -> Option<&str> {
    Unknown::of(error.message())?.meant
}

/// A key or a word that is not known.
struct Unknown<'a> {
    what: &'static str,
    found: &'a str,
    known: Vec<&'a str>,
    /// The known one that it is meant to be.
    meant: Option<&'a str>,
}

impl<'a> Unknown<'a> {
    /// Reads the message of an error.
    fn of(message: &'a str) -> Option<Self> {
        let begins = [("unknown field ", "key"), ("unknown variant ", "word")];
        let (what, (found, known)) = begins.into_iter().find_map(|(begin, what)| {
            Some((what, message.strip_prefix(begin).and_then(quoted)?))
        })?;
        let found = if is_plain(found) { found } else { HIDDEN };
        let by_habit = SYNONYMS.iter().find(|(word, key)| *word == found && known.contains(key));
        let meant = by_habit.map(|(_, key)| *key);
        let meant = meant.or_else(|| guess(found, known.iter().copied()));
        let meant =
            meant.or_else(|| Some("env").filter(|env| is_env(found) && known.contains(env)));
        Some(Self { what, found, known, meant })
    }

    fn in_words(&self) -> String {
        let Self { what, found, known, meant } = self;
        if *what == "key" && ADDRESS_KEYS.contains(found) {
            let of_service = if known.contains(&"url") { OF_SERVICE } else { "" };
            return format!("unknown key `{found}`; {WHERE_TO_LISTEN}{of_service}");
        }
        if let Some((_, right)) = ELSEWHERE.iter().find(|(key, _)| key == found)
            && known.contains(&AT_THE_TOP)
        {
            return format!("unknown key `{found}`; {right}");
        }
        if let Some(right) = other_sort(found, known).filter(|_| *what == "key") {
            return format!("unknown key `{found}`; {right}");
        }
        match meant {
            Some(meant) => format!("unknown {what} `{found}`; did you mean `{meant}`?"),
            None if known.is_empty() => format!("unknown {what} `{found}`; expected none"),
            None => {
                let known: Vec<_> = known.iter().map(|word| format!("`{word}`")).collect();
                format!("unknown {what} `{found}`; expected one of {}", known.join(", "))
            }
        }
    }
}

/// Splits "`found`, expected one of `a`, `b`", or "`found`, there are no fields".
fn quoted(text: &str) -> Option<(&str, Vec<&str>)> {
    let (found, known) =
        text.rsplit_once("`, expected ").or_else(|| text.rsplit_once("`, there are no "))?;
    Some((found.strip_prefix('`')?, known.split('`').skip(1).step_by(2).collect()))
}

/// Says what was found, by the reader's words for it.
fn found(what: &str) -> Cow<'_, str> {
    match what {
        "map" => "a table".into(),
        "sequence" => "a list".into(),
        // The value is in the line below, unless it may be a secret.
        _ if what.starts_with("string ") => "a string".into(),
        _ if what.starts_with("boolean ") => "a boolean".into(),
        _ if what.starts_with("integer ") || what.starts_with("floating point ") => {
            "a number".into()
        }
        _ if what.ends_with(" variant") => "something else".into(),
        _ => what.into(),
    }
}

/// Says what was expected, by the reader's words for it.
fn expected(right: &str) -> Cow<'_, str> {
    let below = |bits: u32| format!("a whole number from 0 to {}", 2_u64.pow(bits) - 1);
    match right {
        "u8" => below(8).into(),
        "u16" => below(16).into(),
        "u32" => below(32).into(),
        "u64" | "usize" => "a whole number from 0 on".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a map" => "a table".into(),
        "a sequence" | "a set" => "a list".into(),
        "path string" => "a path".into(),
        "string only" => "a string".into(),
        "struct StoreEntry" => "a table such as `{ path = \"runs.db\", keep = \"30d\" }`".into(),
        "struct Limit" => "a table such as `{ running = 10, queued = 50 }`".into(),
        "struct ModelEntry" => "a table such as `{ url = \"https://…/v1\", name = \"…\" }`".into(),
        _ if right.starts_with("a nonzero ") => "a whole number above 0".into(),
        _ if right.starts_with("struct ") => "a table".into(),
        _ if right.starts_with("enum ") || right == "string or table" => "a word".into(),
        _ => right.into(),
    }
}

/// Keys by which other files say where a server listens.
const ADDRESS_KEYS: [&str; 6] = ["listen", "port", "host", "addr", "address", "bind"];

/// What is said of them, and beside that of those of a component.
const WHERE_TO_LISTEN: &str = "where to listen stands at the top of the file, above all tables: \
                               `listen = \"127.0.0.1:7777\"`";
const OF_SERVICE: &str = "; where a service is: `url = \"http://127.0.0.1:8000/run\"`";

/// A key that only the whole file has.
const AT_THE_TOP: &str = "listen";

/// What stands in the place of a key that is not named.
pub(super) const HIDDEN: &str = "…";

/// How the reader begins the error of a key that is not there.
pub(super) const MISSING: &str = "missing field ";

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use toml::Table;

    use super::super::Config;
    use super::super::elsewhere::OF_TEAMS;
    use super::super::sort::KEYS;
    use super::*;
    use crate::help::SERVE_AFTER_HELP;

    /// The tables of the file, each with what stands before and after a line of it.
    const TABLES: [(&str, &str); 20] = [
        ("", ""),
        ("[server]", ""),
        ("[store]", ""),
        ("[limits]", ""),
        ("[limits.each_owner]", ""),
        ("[limits.all_nodes]", ""),
        ("[limits.all_nodes.each_owner]", ""),
        ("[limits.all_nodes.components.'agent/a']", ""),
        ("[[keys]]", ""),
        ("[[tokens]]", ""),
        ("[tls]", ""),
        ("[agents.a]", ""),
        ("[agents.a.model]", ""),
        ("[workflows.a]", ""),
        ("[teams.a]", ""),
        ("[agentos]", ""),
        ("[langgraph]", ""),
        ("[playbook3d]", ""),
        ("[[playbook3d.teams]]", "id = '11111111-1111-4111-8111-111111111111'\nname = 'a'"),
        (
            "[[playbook3d.workflows]]",
            "id = '11111111-1111-4111-8111-111111111111'\nname = 'a'\ncomponent = 'a'",
        ),
    ];

    const VALUES: [&str; 14] = [
        "0",
        "-1",
        "1",
        "5_000_000_000",
        "1.5",
        "true",
        "'x'",
        "''",
        "[]",
        "[[1]]",
        "[{}]",
        "{}",
        "{ zzz = 1 }",
        "1979-05-27",
    ];

    /// The words that no message may have: those of Rust and of its libraries.
    const RUST: [&str; 23] = [
        "struct",
        "enum",
        "variant",
        "field",
        "tuple",
        "newtype",
        "unit",
        "sequence",
        "map",
        "nonzero",
        "u8",
        "u16",
        "u32",
        "u64",
        "usize",
        "i64",
        "isize",
        "f32",
        "f64",
        "str",
        "invalid type",
        "syntax",
        "Option",
    ];

    #[test]
    fn a_key_that_may_be_a_secret_is_not_named() {
        for name in ["grace", "X-Api-Key", "playbook3d", "DB_PASS", "x-500", "Sha256", ""] {
            assert!(is_plain(name), "{name}");
        }
        let long = "a".repeat(17);
        for name in ["hf_AbCd", "sk-a1b2c3d4", "AKIAIOSFODNN7EXAMPLE", "a b", "a/b", &long] {
            assert!(!is_plain(name), "{name}");
            assert!(!named(Some(name), "is wrong").contains(name));
            let words = message(&format!("\"{name}\" = 1")).expect("it is unknown");
            assert!(words.starts_with("unknown key `…`; ") && !words.contains(name), "{words}");
        }
    }

    #[test]
    fn a_key_that_other_files_have_is_guessed() {
        for (text, says) in [
            ("[agents.a]\ncommand = ['x']", "unknown key `command`; did you mean `run`?"),
            ("[agents.a]\nmodel = { key = 'x' }", "unknown key `key`; did you mean `key_env`?"),
            ("[agents.a]\nmodel = { model = 'x' }", "unknown key `model`; did you mean `name`?"),
            ("[server]\nmax_runs = 1", "unknown key `max_runs`; did you mean `running_max`?"),
            ("[limits]\nmax_runs = 1", "unknown key `max_runs`; did you mean `running`?"),
            ("[agents.a]\nqueued_max = 1", "unknown key `queued_max`; did you mean `queued`?"),
            ("[limits]\neach_user = {}", "unknown key `each_user`; did you mean `each_owner`?"),
            ("[limits.agents]\nrun = 1", "unknown key `run`; did you mean `running`?"),
            ("[server]\nport = 80", "unknown key `port`; where to listen stands at the top of"),
            ("[agentos]\nlisten = ':80'", "unknown key `listen`; where to listen stands at"),
            ("host = 'h'", "unknown key `host`; where to listen stands at the top of the file"),
            (
                "[agents.a]\naddr = ':80'",
                "unknown key `addr`; where to listen stands at the top of the file, above all \
                 tables: `listen = \"127.0.0.1:7777\"`; where a service is: `url = \"http://127",
            ),
            ("[agents.a]\nenviroment = {}", "unknown key `enviroment`; did you mean `env`?"),
            ("[agents.a]\nvars = {}", "unknown key `vars`; did you mean `env`?"),
            ("[agents.a]\nenv_claer = true", "unknown key `env_claer`; did you mean `env_clear`?"),
            ("[server]\nenvironment = 'x'", "unknown key `environment`; expected one of `grace`"),
            ("[agents.a]\nenv = ['A=b']", "found a list; expected a table such as `{ LANG = "),
            ("[agents.a]\nenv = 'A=b'", "found a string; expected a table such as `{ LANG = "),
            ("store = 'runs.db'", "found a string; expected a table such as `{ path = \"runs.db\""),
            ("[store]\nfile = 'runs.db'", "unknown key `file`; did you mean `path`?"),
            ("[store]\nkeep_run = 3", "unknown key `keep_run`; did you mean `keep_runs`?"),
            ("[agents.a]\nscript = 'x'", "unknown key `script`; did you mean `run`?"),
            ("[agents.a]\nworkdir = 'x'", "unknown key `workdir`; did you mean `cwd`?"),
            ("[workflows.w]\nsteps = []", "unknown key `steps`; did you mean `plan`?"),
            ("[[keys]]\nkey = 'x'", "unknown key `key`; did you mean `secret_env`?"),
            ("[[keys]]\nuser = 'x'", "unknown key `user`; did you mean `subject`?"),
            ("[agents.a]\nurl = 'x'\nkey = 'x'", "unknown key `key`; did you mean `key_env`?"),
            ("[tls]\ncert = 'x'", "unknown key `cert`; did you mean `cert_file`?"),
            ("[tls]\nkey = 'x'", "unknown key `key`; did you mean `key_file`?"),
            ("[ssl]\ncert = 'x'", "unknown key `ssl`; the certificate is `cert_file` in `[tls]`"),
            ("[cors]\norigins = []", "unknown key `cors`; pages of other origins are those of"),
            ("[agents.a]\nlog = 'x'", "unknown key `log`; expected one of `run`"),
            ("[limits]\neach_owner = 3", "found a number; expected a table such as `{ running"),
            ("[[playbook3d.teams]]\nid = 'x'\nname = 'y'", "expected a UUID such as \"11"),
            ("[teams.a]\nmodel = 'm'", "unknown key `model`; a team has none, each of its members"),
            ("[teams.a]\nrun = ['x']", "unknown key `run`; a team has none, each of its members"),
            ("[teams.a]\nnmae = 'x'", "unknown key `nmae`; did you mean `name`?"),
            ("[workflows.a]\nmembers = []", "unknown key `members`; only a team has it: `[teams"),
            ("[agents.a]\nmodel = 'm'", "found a string; expected a table such as `{ url = "),
        ] {
            let words = message(text).expect(text);
            assert!(words.starts_with(says), "{words}");
        }
    }

    /// Quotes that are not closed take in the lines behind.
    #[test]
    fn of_a_text_its_first_line_is_quoted() {
        for (begin, shown) in
            [("[server]\ngrace", "`…`"), ("listen", "`5s!…`"), ("[agents.a]\ntimeout", "`…`")]
        {
            let words = message(&format!("{begin} = \"\"\"5s!\nenv.API_KEY = 'hush'\n\"\"\""));
            let words = words.expect("it is refused");
            assert!(words.contains(shown) && !words.contains("hush"), "{words}");
        }
    }

    fn message(text: &str) -> Option<String> {
        let table: Table = text.parse().expect(text);
        Some(in_words(&Config::deserialize(table).err()?))
    }

    /// Yields the keys that a table may have, as the message about an unknown one lists them.
    fn keys_of(head: &str, rest: &str) -> Vec<String> {
        let unknown = message(&format!("{head}\nzzz = 1\n{rest}\n")).expect("it is unknown");
        let (_, keys) = unknown.split_once("expected one of ").expect("a list of keys");
        keys.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_keys_that_only_teams_have_are_all() {
        let mut only = keys_of("[teams.a]", "");
        only.retain(|key| !KEYS.contains(&key.as_str()));
        assert_eq!(only, OF_TEAMS);
    }

    #[test]
    fn the_history_of_a_session_has_its_bounds_in_every_message() {
        for value in ["-1", "101", "5_000_000_000", "1.5", "'three'", "[3]"] {
            for table in ["agents", "teams"] {
                let words = message(&format!("[{table}.a]\nhistory = {value}"));
                let words = words.expect("it is refused");
                assert!(words.ends_with("; expected 0 to 100 runs"), "{value}: {words}");
            }
        }
        assert_eq!(message("[agents.a]\nhistory = 100"), None);
    }

    #[test]
    fn the_keys_of_a_component_that_are_warned_of_are_all() {
        let (mut all, mut known) = (keys_of("[agents.a]", ""), KEYS.to_vec());
        all.sort_unstable();
        known.sort_unstable();
        assert_eq!(all, known);
    }

    #[test]
    fn the_help_of_serve_has_every_key_of_the_file() {
        for (head, rest) in TABLES {
            for key in keys_of(head, rest) {
                let is_end = |c: char| !(c.is_alphanumeric() || c == '_');
                let has = SERVE_AFTER_HELP.split(is_end).any(|word| word == key);
                assert!(has, "`{key}` of {head} is missing");
            }
        }
    }

    #[test]
    fn no_message_about_a_value_of_a_wrong_type_has_a_word_of_rust() {
        let (mut keys_seen, mut wrong) = (0, 0);
        for (head, rest) in TABLES {
            for key in keys_of(head, rest) {
                keys_seen += 1;
                let others = rest.lines().filter(|line| !line.starts_with(&format!("{key} = ")));
                let others = others.collect::<Vec<_>>().join("\n");
                for value in VALUES {
                    let text = format!("{head}\n{key} = {value}\n{others}\n");
                    let Some(words) = message(&text) else { continue };
                    wrong += 1;
                    let is_end = |c: char| !(c.is_alphanumeric() || c == '_');
                    // What is quoted are keys and words of the file.
                    let said: String = words.split('`').step_by(2).collect::<Vec<_>>().join("`");
                    for word in RUST {
                        let has = said.split(is_end).any(|found| found == word)
                            || (word.contains(' ') && said.contains(word));
                        assert!(!has, "{text}{words}: `{word}`");
                    }
                }
            }
        }
        assert!(keys_seen > 90 && wrong > 800, "{keys_seen} keys, {wrong} wrong values");
    }
}
