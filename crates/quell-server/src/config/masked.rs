//! [`masked`]: the text of a configuration as messages may show it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::access::is_surely_variable;
use super::words::is_plain;

/// Yields a text as messages may show it: with the names of tables and keys, the signs that make
/// the structure, and values of keys that are known to have no secrets. Instead of all else it has
/// stars, and instead of comments spaces. Every byte that is shown stays in its place.
///
/// The file is to name variables instead of secrets. But a mistake is shown with its line, and may
/// be that: so a value is hidden unless it is known to be harmless.
pub(super) fn masked(text: &str, root: &DeTable<'_>) -> String {
    let mut shown = text.as_bytes().to_vec();
    let mut values = Vec::new();
    mask_table(root, Within::Known, &mut shown, &mut values);
    values.sort_unstable_by_key(|place| place.start);
    let mut at = 0;
    for Range { start, end } in values {
        mask_between(text, at..start, &mut shown);
        at = end.max(at);
    }
    mask_between(text, at..text.len(), &mut shown);
    // Characters are replaced whole.
    String::from_utf8(shown).unwrap_or_default()
}

/// Hides what is between values: comments, and keys that may be secrets.
fn mask_between(text: &str, place: Range<usize>, shown: &mut [u8]) {
    let between = text.get(place.clone()).unwrap_or_default();
    let mut begin = place.start;
    for line in between.split_inclusive('\n') {
        let code = line.find('#').unwrap_or(line.len());
        let mut word = begin;
        for part in line[..code].split_inclusive(|c| c == '.' || STRUCTURE.contains(c)) {
            let end = word + part.len();
            let key = part.trim_end_matches(|c| c == '.' || STRUCTURE.contains(c));
            if !is_plain(key) {
                fill(shown, word..word + key.len(), b'*');
            }
            word = end;
        }
        begin += line.len();
        fill(shown, word..begin, b' ');
    }
}

/// Yields a text that cannot be read as messages may show it: of each line the key before `=`, the
/// name of a table, and the signs that make the structure; stars instead of all else.
pub(super) fn masked_lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut is_within_text = false;
    for line in text.split_inclusive('\n') {
        let key = if is_within_text { 0 } else { key_len(line) };
        for (at, char) in line.char_indices() {
            if at < key || STRUCTURE.contains(char) {
                shown.push(char);
            } else {
                shown.extend(std::iter::repeat_n('*', char.len_utf8()));
            }
        }
        let is_turned = |quotes| line.matches(quotes).count() % 2 == 1;
        is_within_text ^= is_turned("\"\"\"") || is_turned("'''");
    }
    shown
}

/// Yields how long the key at the begin of a line is, or the name of a table; 0 if none is there. A
/// key has no capitals: it may be a line of a secret in base64, which ends in `=`.
fn key_len(line: &str) -> usize {
    let is_table = line.trim_start().starts_with('[');
    let name = line.trim_start_matches([' ', '\t', '[']);
    let is_letter = |char: char| char.is_ascii_lowercase() || is_table && char.is_ascii_uppercase();
    let is_of_name = |char: char| is_letter(char) || char.is_ascii_digit() || ".-_".contains(char);
    let rest = name.trim_start_matches(is_of_name);
    let is_named = is_table || rest.trim_start().starts_with(['=', ':']);
    if is_named { line.len() - rest.len() } else { 0 }
}

/// What the keys of a table are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Those of the configuration.
    Known,
    /// Ids of components.
    Ids,
    /// Any, with the names of variables as values.
    Variables,
    /// Any, with words as values.
    Words,
    /// Any, with any values.
    Foreign,
}

/// What is shown of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    All,
    /// An address without its user, password and query.
    Address,
    /// The first item of a list: a program without its arguments.
    Program,
    /// What is surely the name of a variable.
    Variable,
    /// What looks like words.
    Words,
    Nothing,
}

impl Within {
    /// Yields what the keys of a table with this key are.
    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Ids, _) => Self::Known,
            (Self::Known, "agents" | "teams" | "workflows") => Self::Ids,
            (Self::Known, "headers_env") => Self::Variables,
            (Self::Known, "reducers") => Self::Words,
            (Self::Known, _) if TABLES.contains(&key) => Self::Known,
            _ => Self::Foreign,
        }
    }

    /// Yields what is shown of a value with this key.
    fn shown(self, key: &str) -> Shown {
        match self {
            Self::Known if HARMLESS.contains(&key) => Shown::All,
            Self::Known if ADDRESSES.contains(&key) => Shown::Address,
            Self::Known if key == "run" => Shown::Program,
            Self::Known if key.ends_with("_env") => Shown::Variable,
            Self::Variables => Shown::Variable,
            Self::Words => Shown::Words,
            Self::Known | Self::Ids | Self::Foreign => Shown::Nothing,
        }
    }
}

/// Hides values, and collects the places of all. Recurses as deep as the parser allows.
fn mask_table(table: &DeTable<'_>, keys: Within, shown: &mut [u8], all: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let key = key.get_ref().as_ref();
        mask(value, (keys.shown(key), keys.below(key)), shown, all);
    }
}

/// As [`mask_table`], for a value, and for the tables in it.
fn mask(
    value: &Spanned<DeValue<'_>>,
    (what, below): (Shown, Within),
    shown: &mut [u8],
    all: &mut Vec<Range<usize>>,
) {
    let span = value.span();
    match (value.get_ref(), what) {
        (DeValue::Table(table), _) => return mask_table(table, below, shown, all),
        // Teams, workflows and keys are lists of tables as well.
        (DeValue::Array(items), _) => {
            let below = if below == Within::Ids { Within::Known } else { below };
            for (at, item) in items.iter().enumerate() {
                let what = match what {
                    Shown::Program if at == 0 => Shown::All,
                    Shown::Program => Shown::Nothing,
                    what => what,
                };
                mask(item, (what, below), shown, all);
            }
            return;
        }
        (DeValue::String(text), Shown::All) if text.contains("://") => mask_address(value, shown),
        (DeValue::Boolean(_), _) | (_, Shown::All) => {}
        (DeValue::String(_), Shown::Address) => mask_address(value, shown),
        (DeValue::String(text), Shown::Variable) if is_surely_variable(text) => {}
        (DeValue::String(text), Shown::Words) if is_plain(text) => {}
        // Its quotes remain.
        (DeValue::String(_), _) => fill(shown, span.start + 1..span.end.saturating_sub(1), b'*'),
        _ => fill(shown, span.clone(), b'*'),
    }
    all.push(span);
}

/// Hides the user and the password of an address, and its query.
fn mask_address(value: &Spanned<DeValue<'_>>, shown: &mut [u8]) {
    let Range { start, end } = value.span();
    let end = end.saturating_sub(1);
    let whole = shown.get(start..end).unwrap_or_default();
    let query = whole.iter().position(|byte| *byte == b'?').map_or(end, |at| start + at);
    let before = &whole[..query.saturating_sub(start).min(whole.len())];
    let host = before.windows(3).position(|bytes| bytes == b"://").map_or(0, |at| at + 3);
    // A password may have a slash, and an `@` of its own.
    let user = before[host..].iter().rposition(|byte| *byte == b'@');
    if let Some(len) = user {
        fill(shown, start + host..start + host + len, b'*');
    }
    fill(shown, query + 1..end, b'*');
}

/// Puts a sign in the place of all but the ends of lines.
fn fill(shown: &mut [u8], place: Range<usize>, sign: u8) {
    let bytes = shown.get_mut(place).unwrap_or_default();
    bytes.iter_mut().filter(|byte| !b"\r\n".contains(byte)).for_each(|byte| *byte = sign);
}

/// Tells whether a value with these keys may be a secret, or have one in it.
pub(super) fn may_be_secret(keys: &[String]) -> bool {
    let Some((last, tables)) = keys.split_last() else { return true };
    let within = tables.iter().fold(Within::Known, |within, key| within.below(key));
    within.shown(last) != Shown::All
}

/// Keys of tables whose keys are known.
const TABLES: [&str; 7] =
    ["agentos", "keys", "langgraph", "model", "playbook3d", "server", "tokens"];

/// Keys whose values are no secrets: numbers, times, names, kinds, scopes and paths.
const HARMLESS: [&str; 60] = [
    "abort_wait",
    "accounts_prefix",
    "admin",
    "algorithm",
    "api_prefix",
    "audiences",
    "cancel_timeout",
    "cancel_wait_ms",
    "choose",
    "close_brackets",
    "completed_sentinel",
    "component",
    "confirm",
    "connect_timeout",
    "contracts",
    "cors_origins",
    "cwd",
    "db_id",
    "default_scopes",
    "end_event",
    "error_codes",
    "grace",
    "grace_max_ms",
    "heartbeat_ms",
    "id",
    "idle",
    "issuer",
    "leader",
    "listen",
    "max",
    "max_tokens",
    "members",
    "memory_mib",
    "mode",
    "name",
    "on_member_failed",
    "on_member_stopped",
    "os_id",
    "plan",
    "provider",
    "public_key_file",
    "quiescent_wait_max_ms",
    "read_only",
    "retries",
    "running_max",
    "scopes",
    "settle_ms",
    "subject",
    "subject_claim",
    "teams",
    "temperature",
    "timeout",
    "timeout_error",
    "timeout_max_ms",
    "token_life_ms",
    "trusted_hosts",
    "trusted_origins",
    "unknown_runs",
    "unmasked_errors",
    "without_credits",
];

/// Keys of addresses.
const ADDRESSES: [&str; 3] = ["url", "cancel", "public_url"];

/// The signs that say how a line is read, and white space.
const STRUCTURE: &str = " \t\r\n\"'=,:{}[]#";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_stars_and_nothing_else_moves() {
        for (text, right) in [
            ("headers = { a = \"hush\", b = 17 }", "headers = { a = \"****\", b = ** }"),
            ("[model.headers]\nx = \"grüße\"", "[model.headers]\nx = \"*******\""),
            ("key = \"hush\"\nkey_env = \"KEY\"", "key = \"****\"\nkey_env = \"KEY\""),
            ("env = { API_KEY = 'hush', A = 'b' }", "env = { API_KEY = '****', A = '*' }"),
            ("api_keys = ['hush', 1.5]\npwd = 12", "api_keys = ['****', ***]\npwd = **"),
            ("pasword = \"hush\"\nx.grace = 1", "pasword = \"****\"\nx.grace = *"),
            ("max_tokens = 0\ntoken_life_ms = 1", "max_tokens = 0\ntoken_life_ms = 1"),
            ("[agents.monkey]\nrun = ['make']", "[agents.monkey]\nrun = ['make']"),
            ("[agents]\nkey = 'hush'\na = 'b'", "[agents]\nkey = '****'\na = '*'"),
            ("teams = ['key']\nagents = 'a'", "teams = ['key']\nagents = '*'"),
            ("run = ['a', '-H', 7, 'b c']", "run = ['a', '**', *, '***']"),
            ("run = 'a -H b'", "run = '******'"),
            ("public_url = 'http://a:b@c'", "public_url = 'http://***@c'"),
            ("key_env = 'ghp_16Ab'\nsecret_env = 'a1'", "key_env = '********'\nsecret_env = '**'"),
            ("key_env = 'my_key'\nsecret_env = 7", "key_env = 'my_key'\nsecret_env = *"),
            ("key_env = 'AKIAIOSFODNN7EXAMPLE'", "key_env = '********************'"),
            ("url = \"http://a/b?c=hush\"", "url = \"http://a/b?******\""),
            ("cancel = \"http://a:b@c/d@e\"", "cancel = \"http://*******@e\""),
            ("url = \"http://a:b/c@d?e@f\"", "url = \"http://*****@d?***\""),
            ("url = \"http://a/b\"", "url = \"http://a/b\""),
            (
                "headers_env = { a = \"A_1\", b = \"sk 1\" }",
                "headers_env = { a = \"A_1\", b = \"****\" }",
            ),
            ("headers_env = \"a: b\"", "headers_env = \"****\""),
            ("model = 'hush'\nkeys = ['hush']", "model = '****'\nkeys = ['****']"),
            ("env = \"A=b\"\ntokens = 'a'", "env = \"***\"\ntokens = '*'"),
            ("model = { name = 'm' }\nenv.A = 'b'", "model = { name = 'm' }\nenv.A = '*'"),
            ("url = \"?\"\ncancel = ''", "url = \"?\"\ncancel = ''"),
            ("[[tokens]]\nissuer = \"me\"", "[[tokens]]\nissuer = \"me\""),
            ("[[keys]]\nadmin = true", "[[keys]]\nadmin = true"),
            ("mode = 'a' # hush 'x'\ngrace = 5", "mode = 'a'           \ngrace = 5"),
            ("members = [ # hush\n'a', 'b']", "members = [       \n'a', 'b']"),
            ("\"sk-1 2hU\" = 1\nhf_AbC = true", "\"sk-1 ***\" = *\n****** = true"),
            ("[agents.a.reducers]\nx = 'append'", "[agents.a.reducers]\nx = 'append'"),
            ("[[playbook3d.workflows]]\nname = 'a'", "[[playbook3d.workflows]]\nname = 'a'"),
        ] {
            let root = DeTable::parse(text).expect("TOML").into_inner();
            assert_eq!(masked(text, &root), right);
        }
    }

    #[test]
    fn of_what_cannot_be_read_keys_and_structure_are_shown() {
        for (text, right) in [
            ("[agents.a-b\n", "[agents.a-b\n"),
            ("grace = 5s # x\nsk-1\n", "grace = ** # *\n****\n"),
            ("  headers = { a = \"hush }\nb", "  headers = { * = \"**** }\n*"),
            ("authorization: Bearer hu.sh\r\n", "authorization: ****** *****\r\n"),
            ("a = '''\nhush\n'''\nb", "a = '''\n****\n'''\n*"),
            ("key = \"hush\nc2Vj==\"\n", "key = \"****\n****==\"\n"),
            ("[Agents.A1\n", "[Agents.A1\n"),
            ("a = \"\"\"x\"\"\"\nb = 1\n\"ü\" = 1", "a = \"\"\"*\"\"\"\nb = *\n\"**\" = *"),
        ] {
            assert_eq!(masked_lines(text), right);
        }
    }
}
