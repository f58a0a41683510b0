//! Configurations with mistakes in them: no message about one shows a secret.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use quell_flow::program_of;
use toml::de::{DeTable, DeValue};

use super::harmless::begin_of;
use super::masked::masked;
use super::{Asked, Checked, Refused};

/// What may not be shown: none of its words is plain. The second one is a name as well, of a key, a
/// variable or a scheme.
const SECRETS: [&str; 2] = ["hUsh-2hUsh q", "hUsh2hUsh"];

/// Lines with a secret, and lines that may stand beside them.
const LINES: [&str; 75] = [
    "[server]",
    "[store]",
    "path = 'no/such/runs.db?SECRET'",
    "keep = 'SECRET'",
    "store = 'SECRET'",
    "grace = '5x'",
    "[agents.a]",
    "[agents.b]",
    "[teams.t]",
    "[workflows.w]",
    "[[keys]]",
    "[model]",
    "[agents.a.env]",
    "[agents.a.enviroment]",
    "[agents.a.model]",
    "[agents.a.headers]",
    "[agents.env.B.C]",
    "[x.SECRET.y]",
    "run = ['x', '--key', 'SECRET']",
    "run = ['A:SECRET', 'make']",
    "run = ['API_KEY=SECRET', 'make']",
    "run = ['tool --key SECRET']",
    "run = \"tool --key SECRET\"",
    "rnu = ['SECRET']",
    "env = { A = 'SECRET', B = 1 }",
    "env = { B, 'SECRET' }",
    "env.A = \"SECRET\"",
    "vars = { A = 'SECRET' }",
    "secrets = ['A=SECRET']",
    "TOKEN = 'SECRET'",
    "password = \"\"\"\nSECRET\n\"\"\"",
    "timeout = \"\"\"\nA=SECRET\n\"\"\"",
    "grace = '''5s\nenv.A = 'SECRET' '''",
    "url = 'https://u:SECRET'",
    "url = 'https://u:SECRET@h/x'",
    "url = 'http://h/x?key=SECRET'",
    "url = 'https://h/v1/SECRET'",
    "cancel = 'SECRET'",
    "headers = { Authorization = 'Bearer SECRET', authorization = 'b' }",
    "headers = { 'X-Key: SECRET' = 'b' }",
    "headers_env = { a = 'SECRET' }",
    "key_env = 'SECRET'",
    "secret_env = 'SECRET'",
    "secret_file = 'SECRET'",
    "[tls]",
    "key_file = '-----BEGIN SECRET'",
    "jwks_url = 'http://h/SECRET'",
    "subject = 'a'",
    "model = { key = 'SECRET', url = 'http://h/v1' }",
    "system = 'SECRET'",
    "description = 3 # SECRET",
    "# SECRET",
    "members = ['a', 'gone']",
    "mode = 'brodcast'",
    "plan = 'A=SECRET'",
    "plan = 'https://u:SECRET@h/x.toml'",
    "cwd = '/A=SECRET/x'",
    "cwd = 'x?key=SECRET'",
    "listen = 'http://u:SECRET@h'",
    "listen = 'A=SECRET'",
    "timeout = 'A=SECRET'",
    "idle = 'https://u:SECRET@h'",
    "scopes = ['A=SECRET', 'x://SECRET']",
    "contracts = ['A=SECRET']",
    "members = ['A=SECRET']",
    "url = 'SECRET://h/x'",
    "retries = 'SECRET'",
    "running = 'SECRET'",
    "[limits]",
    "run = [true, 'SECRET']",
    "SECRET = 1",
    "'SECRET' = true",
    "env = { 'SECRET' = 1 }",
    "timeout = \"\"\"\\\n  SECRET\"\"\"",
    "A = '''\nb = SECRET\n'''",
];

/// A mistake in a text.
#[derive(Clone, Debug)]
enum Mistake {
    /// A character is there, or is not there, or is another one.
    Sign(Index, Option<char>, bool),
    /// A line stands elsewhere.
    Moved(Index, Index),
}

impl Mistake {
    fn any() -> impl Strategy<Value = Self> {
        let sign = select("::[]{},,\"\"''#-==\n\n \t.x".chars().collect::<Vec<_>>());
        let sign = (any::<Index>(), prop::option::weighted(0.7, sign), any::<bool>());
        prop_oneof![
            2 => sign.prop_map(|(at, with, is_replaced)| Self::Sign(at, with, is_replaced)),
            1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Self::Moved(from, to)),
        ]
    }

    fn make(&self, text: &str) -> String {
        match self {
            Self::Sign(at, with, is_replaced) => {
                let mut chars: Vec<char> = text.chars().collect();
                let at = at.index(chars.len());
                chars.splice(at..at + usize::from(*is_replaced), *with);
                chars.into_iter().collect()
            }
            Self::Moved(from, to) => {
                let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
                let line = lines.remove(from.index(lines.len()));
                lines.insert(to.index(lines.len() + 1), line);
                lines.concat()
            }
        }
    }
}

fn has_secret(text: &str) -> bool {
    text.contains("hUsh")
}

/// Tells whether the secret stands where messages may show it: as a value that is no secret, as a
/// program, or as a host.
fn may_be_shown(value: &DeValue<'_>, keys: &[String]) -> bool {
    match value {
        DeValue::Table(table) => of_table(table, keys),
        DeValue::Array(items) => items.iter().enumerate().any(|(at, item)| {
            let program = item.get_ref().as_str().filter(|_| at == 0).map(program_of);
            program.is_some_and(has_secret) || may_be_shown(item.get_ref(), keys)
        }),
        DeValue::String(text) => {
            let is_host = ["http://", "https://"].iter().any(|scheme| {
                let host = text.strip_prefix(scheme).and_then(|rest| rest.split(ENDS).next());
                host.is_some_and(has_secret)
            });
            let signs = ["=", "?", "://", "\n"];
            let begin = signs.iter().filter_map(|sign| text.find(sign)).min().unwrap_or(text.len());
            has_secret(text)
                && (is_host || has_secret(&text[..begin]) && has_secret(begin_of(keys, text)))
        }
        _ => false,
    }
}

fn of_table(table: &DeTable<'_>, keys: &[String]) -> bool {
    table.iter().any(|(key, value)| {
        let keys = [keys, &[key.get_ref().to_string()]].concat();
        may_be_shown(value.get_ref(), &keys)
    })
}

/// What ends the name of a host.
const ENDS: [char; 4] = [':', '/', '?', '@'];

/// Tells whether the secret is the id of a component, which is none.
fn is_id(root: &DeTable<'_>) -> bool {
    let tables = ["agents", "teams", "workflows"].into_iter().filter_map(|kind| root.get(kind));
    let mut ids = tables.filter_map(|table| table.get_ref().as_table()).flat_map(DeTable::keys);
    ids.any(|id| has_secret(id.get_ref()))
}

fn shown(file: &Path) -> String {
    let faults = match Checked::load(Some(file), Asked::default()) {
        Ok(checked) => checked.warnings,
        Err(Refused { faults, warnings }) => [warnings, faults].concat(),
    };
    let shown = faults
        .iter()
        .map(|fault| format!("{}\n{}\n", fault.message(), fault.snippet().unwrap_or_default()));
    shown.collect()
}

const CASES: u32 = 3_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]
    #[test]
    fn no_message_about_a_damaged_configuration_shows_a_secret(
        lines in prop::collection::vec(select(&LINES[..]), 1..7),
        is_begun in any::<bool>(),
        mistakes in prop::collection::vec(Mistake::any(), 0..3),
        secret in select(&SECRETS[..]),
    ) {
        let begin = if is_begun { "[agents.a]\n" } else { "" };
        let text = format!("{begin}{}\n", lines.join("\n")).replace("SECRET", secret);
        let text = mistakes.iter().fold(text, |text, mistake| mistake.make(&text));
        let root = DeTable::parse(&text);
        // The line below a message shows it as well.
        let is_shown = |root: &DeTable<'_>| of_table(root, &[]) && has_secret(&masked(&text, root));
        if root.is_ok_and(|root| is_id(root.get_ref()) || is_shown(root.get_ref())) {
            return Ok(());
        }
        let file = std::env::temp_dir().join(format!("quell-damaged-{}.toml", std::process::id()));
        fs::write(&file, &text).expect("a file");
        let shown = shown(&file);
        fs::remove_file(&file).expect("it is ours");
        prop_assert!(!has_secret(&shown), "{}\n{}", text, shown);
    }
}
