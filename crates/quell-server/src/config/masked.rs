//! [`masked`]: the text of a configuration as messages may show it.

use std::collections::HashSet;
use std::ops::Range;

use quell_flow::is_plain;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::harmless::{Shown, Within};

/// Yields a text as messages may show it: with the names of tables and keys, the signs that make
/// the structure, and values of keys that are known to have no secrets. Instead of all else it has
/// stars, and instead of comments spaces. Every byte that is shown stays in its place.
///
/// The file is to name variables instead of secrets. But a mistake is shown with its line, and may
/// be that: so a value is hidden unless it is known to be harmless.
pub(super) fn masked(text: &str, root: &DeTable<'_>) -> String {
    let mut mask = Mask { shown: text.into(), values: Vec::new(), keys: HashSet::new() };
    mask.hide_table(root, Within::Known);
    mask.values.sort_unstable_by_key(|place| place.start);
    let mut at = 0;
    for Range { start, end } in std::mem::take(&mut mask.values) {
        mask.hide_between(text, at..start);
        at = end.max(at);
    }
    mask.hide_between(text, at..text.len());
    // Characters are replaced whole.
    String::from_utf8(mask.shown).unwrap_or_default()
}

/// A text of which is hidden what may be a secret.
struct Mask {
    shown: Vec<u8>,
    /// The places of all values.
    values: Vec<Range<usize>>,
    /// Keys that are hidden wherever they stand: the tree has one place of each, and a dotted key
    /// or the name of a table may say it again.
    keys: HashSet<String>,
}

impl Mask {
    /// Hides values, and collects the places of all, and keys. Recurses as deep as the parser
    /// allows.
    fn hide_table(&mut self, table: &DeTable<'_>, keys: Within) {
        for (key, value) in table {
            let key = key.get_ref().as_ref();
            if !keys.shows_key(key) {
                self.keys.insert(key.to_owned());
            }
            self.hide(value, (keys.shown(key), keys.below(key)));
        }
    }

    /// As [`Mask::hide_table`], for a value, and for the tables in it.
    fn hide(&mut self, value: &Spanned<DeValue<'_>>, (what, below): (Shown, Within)) {
        let span = value.span();
        match (value.get_ref(), what) {
            (DeValue::Table(table), _) => return self.hide_table(table, below),
            // Teams, workflows and keys are lists of tables as well.
            (DeValue::Array(items), _) => {
                let below = match below {
                    Within::Ids => Within::Known,
                    Within::Env => Within::Secret,
                    below => below,
                };
                for (at, item) in items.iter().enumerate() {
                    let is_program = at == 0 && matches!(item.get_ref(), DeValue::String(_));
                    let shown = match what {
                        Shown::Command if is_program => (Shown::Program, below),
                        Shown::Command => (Shown::Nothing, Within::Secret),
                        what => (what, below),
                    };
                    self.hide(item, shown);
                }
                return;
            }
            (DeValue::String(text), what) => self.hide_behind(&span, what.begin(text)),
            (DeValue::Boolean(_), what)
                if what != Shown::Command && !matches!(below, Within::Env | Within::Secret) => {}
            (_, Shown::All | Shown::Words | Shown::Number) => {}
            _ => fill(&mut self.shown, span.clone(), b'*'),
        }
        self.values.push(span);
    }

    /// Hides a text behind its begin, which is shown if it is written as it is, but for its quotes.
    fn hide_behind(&mut self, Range { start, end }: &Range<usize>, begin: &str) {
        let written = self.shown.get(*start..*end).unwrap_or_default();
        let quotes = written.iter().take_while(|byte| b"\"'".contains(byte)).count().min(3);
        // Two are an empty text.
        let quotes = if quotes == 2 { 1 } else { quotes };
        let is_written = written[quotes..].starts_with(begin.as_bytes());
        let len = if is_written { begin.len() } else { 0 };
        fill(&mut self.shown, start + quotes + len..end.saturating_sub(quotes), b'*');
    }

    /// Hides what is between values: comments, and keys that may be secrets.
    fn hide_between(&mut self, text: &str, place: Range<usize>) {
        let (mut rest, mut at) = (text.get(place.clone()).unwrap_or_default(), place.start);
        while let Some(first) = rest.chars().next() {
            let (before, len) = match first {
                '#' => (0, rest.find('\n').unwrap_or(rest.len())),
                // In quotes all is of the key.
                '"' | '\'' => (1, quoted_len(&rest[1..], first)),
                _ => (0, rest.find(is_sign).unwrap_or(rest.len())),
            };
            let key = rest.get(before..before + len).unwrap_or_default();
            let is_shown = is_plain(key) && !self.keys.contains(key);
            if first == '#' || !is_shown {
                let sign = if first == '#' { b' ' } else { b'*' };
                fill(&mut self.shown, at + before..at + before + len, sign);
            }
            // A sign, or the quote at the end.
            let after = rest[before + len..].chars().next().map_or(0, char::len_utf8);
            at += before + len + after;
            rest = rest.get(before + len + after..).unwrap_or_default();
        }
    }
}

/// Tells whether this stands beside a key.
fn is_sign(c: char) -> bool {
    c == '.' || STRUCTURE.contains(c)
}

/// Yields how long a key in quotes is, without them.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut is_escape = false;
    let end = text.find(|c| {
        let is_end = c == quote && !is_escape;
        is_escape = c == '\\' && quote == '"' && !is_escape;
        is_end
    });
    end.unwrap_or(text.len())
}

/// Puts a sign in the place of all but the ends of lines.
fn fill(shown: &mut [u8], place: Range<usize>, sign: u8) {
    let bytes = shown.get_mut(place).unwrap_or_default();
    bytes.iter_mut().filter(|byte| !b"\r\n".contains(byte)).for_each(|byte| *byte = sign);
}

/// The signs that say how a line is read, and white space.
pub(super) const STRUCTURE: &str = " \t\r\n\"'=,:{}[]#";

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
            ("run = ['API_KEY=hush', 'a']", "run = ['API_KEY=****', '*']"),
            ("run = ['a=b-c', 'a']", "run = ['a=***', '*']"),
            ("run = ['A:hush', 'a']", "run = ['A:****', '*']"),
            ("run = ['a-b=c']\ncwd = 'A=b'", "run = ['a-b=*']\ncwd = 'A=*'"),
            ("run = ['a --key b']", "run = ['a********']"),
            ("run = 'a -H b'", "run = '******'"),
            ("public_url = 'http://a:b@c'", "public_url = 'http://*****'"),
            ("url = 'https://u:hush'", "url = 'https://******'"),
            ("url = 'https://u:80/v1/2hUsh'", "url = 'https://u:80/v1/*****'"),
            ("url = 'http://[::1]:80/a?b'", "url = 'http://[::1]:80/a?*'"),
            ("url = 'hush'\ncancel = 'a://b'", "url = '****'\ncancel = '*****'"),
            ("grace = '''5s\nA\n'''", "grace = '''5s\n*\n'''"),
            ("key_env = 'ghp_16Ab'\nsecret_env = 'a1'", "key_env = '********'\nsecret_env = '**'"),
            ("key_env = 'my_key'\nsecret_env = 7", "key_env = 'my_key'\nsecret_env = *"),
            ("key_env = 'AKIAIOSFODNN7EXAMPLE'", "key_env = '********************'"),
            ("url = \"http://a/b?c=hush\"", "url = \"http://a/b?******\""),
            ("cancel = \"http://a:b@c/d@e\"", "cancel = \"http://*********\""),
            ("url = \"http://a:b/c@d?e@f\"", "url = \"http://***********\""),
            ("url = \"http://a/b\"", "url = \"http://a/b\""),
            (
                "headers_env = { a = \"A_1\", b = \"sk 1\" }",
                "headers_env = { a = \"A_1\", b = \"****\" }",
            ),
            ("headers_env = \"a: b\"", "headers_env = \"****\""),
            ("model = 'hush'\nkeys = ['hush']", "model = '****'\nkeys = ['****']"),
            ("env = \"A=b\"\ntokens = 'a'", "env = \"***\"\ntokens = '*'"),
            ("model = { name = 'm' }\nenv.A = 'b'", "model = { name = 'm' }\nenv.A = '*'"),
            ("env = { 'B=a' = 1, B_1 = true }", "env = { '***' = *, B_1 = **** }"),
            ("env.'B:a' = 1\nenv.B-a = 1", "env.'***' = *\nenv.*** = *"),
            ("[env]\n'B.a' = 'x'\nB.a = 1", "[env]\n'***' = '*'\nB.* = *"),
            ("[env.B-a.x]\n[env.B-a.y]\nz = 1", "[env.***.*]\n[env.***.*]\n* = *"),
            ("evn = { B = { a = 1, 'b c' = 2 } }", "evn = { B = { * = *, '***' = * } }"),
            ("env = [{ a = 1 }, 'B=a', true]", "env = [{ * = * }, '***', ****]"),
            ("env = true\nenv_clear = true", "env = ****\nenv_clear = true"),
            ("'a\\' = 1\n\"b\\\"=c\" = 1", "'**' = *\n\"*****\" = *"),
            ("url = \"?\"\ncancel = ''", "url = \"*\"\ncancel = ''"),
            ("[[tokens]]\nissuer = \"me\"", "[[tokens]]\nissuer = \"me\""),
            ("[[keys]]\nadmin = true", "[[keys]]\nadmin = true"),
            ("mode = 'a' # hush 'x'\ngrace = 5", "mode = 'a'           \ngrace = 5"),
            ("members = [ # hush\n'a', 'b']", "members = [       \n'a', 'b']"),
            ("\"sk-1 2hU\" = 1\nhf_AbC = true", "\"********\" = *\n****** = true"),
            ("[agents.a.reducers]\nx = 'append'", "[agents.a.reducers]\nx = 'append'"),
            ("[[playbook3d.workflows]]\nname = 'a'", "[[playbook3d.workflows]]\nname = 'a'"),
        ] {
            let root = DeTable::parse(text).expect("TOML").into_inner();
            assert_eq!(masked(text, &root), right);
        }
    }
    #[test]
    fn of_harmless_values_the_begin_is_shown_and_of_a_number_no_text() {
        for (text, right) in [
            ("run = [true, 'x', false]", "run = [****, '*', *****]"),
            ("run = [['a'], ['b']]", "run = [['*'], ['*']]"),
            ("run = [7, { x = true }]", "run = [*, { * = **** }]"),
            ("run = true", "run = ****"),
            ("[limits]\nrunning = -1\nx = 2", "[limits]\nrunning = -1\nx = *"),
            ("limits.teams.queued = 0.5", "limits.teams.queued = 0.5"),
            ("limits.running = 'hush'", "limits.running = '****'"),
            ("retries = 'hush'\nmax = 0", "retries = '****'\nmax = 0"),
            ("cwd = '/A=hush/x'", "cwd = '/A=******'"),
            ("plan = 'x?hush'", "plan = 'x?****'"),
            ("listen = 'ann:hush@h'\nname = 'a@b'", "listen = 'ann:******'\nname = 'a@b'"),
            ("public_key_file = '-----BEGIN hush'", "public_key_file = '-----**********'"),
            ("cwd = 'http://[hush]/x'", "cwd = 'http://********'"),
        ] {
            let root = DeTable::parse(text).expect("TOML").into_inner();
            assert_eq!(masked(text, &root), right);
        }
    }
}
