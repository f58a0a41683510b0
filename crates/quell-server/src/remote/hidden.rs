//! [`Hidden`]: texts that are in no message, however they are written there.

use std::ops::Range;

use super::signs::NAMED;

/// Texts that are in no message: neither as they are nor escaped, as services write what they were
/// sent, in JSON, in an address, in HTML or in the text of a program, also one within the other.
#[derive(Default)]
pub(super) struct Hidden(Vec<Secret>);

struct Secret {
    text: String,
    /// Its [`plain`] values; empty if they are too few to be a secret.
    plain: Vec<u32>,
}

impl Hidden {
    /// Adds a text without white space around it. One that is too short is no secret.
    pub(super) fn add(&mut self, text: &str) {
        let text = text.trim();
        if text.len() < SECRET_BYTES_MIN {
            return;
        }
        self.push(text);
        // Many services read the bytes of a header as Latin-1.
        if !text.is_ascii() {
            self.push(&text.bytes().map(char::from).collect::<String>());
        }
    }

    fn push(&mut self, text: &str) {
        let mut plain: Vec<u32> = plain(text).iter().map(|unit| unit.value).collect();
        if plain.len() < SECRET_BYTES_MIN {
            plain.clear();
        }
        self.0.push(Secret { text: text.to_owned(), plain });
    }

    /// Yields a text with `…` in the places of the secrets.
    pub(super) fn hide(&self, text: &str) -> String {
        shown(text, self.found(text))
    }

    /// As [`hide`](Self::hide), of a text that may have been cut inside a secret.
    pub(super) fn hide_cut(&self, text: &str) -> String {
        let mut found = self.found(text);
        // An escape may have been cut as well.
        let near = text.floor_char_boundary(text.len().saturating_sub(CUT_BYTES_MAX));
        let escapes = text[near..].match_indices(['%', '&', '\\']).map(|(at, _)| near + at);
        let ends = escapes.filter(|at| is_escape_begun(&text[*at..]));
        for end in ends.chain([text.len()]) {
            found.extend(self.begun(&text[..end]).map(|at| at..text.len()));
        }
        shown(text, found)
    }

    /// Finds every place of a secret.
    fn found(&self, text: &str) -> Vec<Range<usize>> {
        let units = plain(text);
        let mut found = Vec::new();
        for secret in &self.0 {
            // As it is, it may be read otherwise together with what stands around it.
            let places = text.match_indices(&secret.text);
            found.extend(places.map(|(at, text)| at..at + text.len()));
            let len = secret.plain.len();
            if len > 0 {
                let all = units.windows(len);
                let places = all.filter(|units| is_begin(units, &secret.plain));
                found.extend(places.map(|units| units[0].begin..units[len - 1].end));
            }
        }
        found
    }

    /// Finds the first place from which on a text is the begin of a secret.
    fn begun(&self, text: &str) -> Option<usize> {
        let mut units = plain(text);
        // The other half of a character may be cut off.
        units.truncate(units.len() - usize::from(units.last().is_some_and(|it| it.value > 0xff)));
        let is_raw = |begin: &str| self.0.iter().any(|secret| secret.text.starts_with(begin));
        let is_plain = |units: &[Unit]| self.0.iter().any(|secret| is_begin(units, &secret.plain));
        let raw = text.char_indices().map(|(at, _)| at).find(|at| is_raw(&text[*at..]));
        let escaped = (0..units.len()).find(|at| is_plain(&units[*at..]));
        let escaped = escaped.map(|at| units[at].begin);
        raw.into_iter().chain(escaped).min()
    }
}

fn is_begin(units: &[Unit], of: &[u32]) -> bool {
    units.len() <= of.len() && units.iter().zip(of).all(|(unit, value)| unit.value == *value)
}

/// Writes `…` once for parts that overlap.
fn shown(text: &str, mut hidden: Vec<Range<usize>>) -> String {
    hidden.sort_by_key(|part| (part.start, part.end));
    let (mut shown, mut end) = (String::with_capacity(text.len()), 0);
    for part in hidden {
        if part.start >= end {
            shown.push_str(&text[end..part.start]);
            shown.push('…');
        }
        end = end.max(part.end);
    }
    shown + &text[end..]
}

/// A byte of a text, or half of a character that is escaped as two, and where it is written.
#[derive(Clone, Copy, Debug)]
struct Unit {
    value: u32,
    begin: usize,
    end: usize,
}

/// Tells whether a text may be one or more escapes, one within the other, whose end is cut off.
fn is_escape_begun(text: &str) -> bool {
    let units = unescaped(text);
    let bytes: Option<Vec<u8>> = units.iter().map(|unit| u8::try_from(unit.value).ok()).collect();
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"%&\\#".contains(byte);
    bytes.is_some_and(|bytes| b"%&\\".contains(&bytes[0]) && bytes.iter().all(is_part))
}

/// Reads a text so that it is the same as what it becomes when it is escaped: [`unescaped`], with
/// each `+` as a space and without backslashes.
fn plain(text: &str) -> Vec<Unit> {
    let mut plain: Vec<Unit> = Vec::with_capacity(text.len());
    for mut unit in unescaped(text) {
        match (unit.value, plain.last().map(|before| before.value)) {
            (BACKSLASH, _) => {}
            (low @ 0xdc00..0xe000, Some(high @ 0xd800..0xdc00)) => {
                let both = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                let begin = plain.pop().map_or(unit.begin, |high| high.begin);
                let both = char::from_u32(both).unwrap_or_default();
                push(&mut plain, &Written::Char(both), begin..unit.end);
            }
            (PLUS, _) => {
                unit.value = SPACE;
                plain.push(unit);
            }
            _ => plain.push(unit),
        }
    }
    plain
}

/// Reads a text without its escapes, of whatever kind, and those in what they stand for.
fn unescaped(text: &str) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        push(&mut units, &Written::Char(c), at..at + c.len_utf8());
        while let Some((len, written)) = escape(&units) {
            let first = units.len() - len;
            let place = units[first].begin..at + c.len_utf8();
            units.truncate(first);
            push(&mut units, &written, place);
        }
    }
    units
}

/// What an escape stands for.
enum Written {
    Char(char),
    /// A byte, or half of a character.
    Value(u32),
}

fn push(units: &mut Vec<Unit>, written: &Written, place: Range<usize>) {
    let mut add = |value| units.push(Unit { value, begin: place.start, end: place.end });
    match written {
        Written::Char(c) => {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| add(byte.into()));
        }
        Written::Value(value) => add(*value),
    }
}

/// Yields the length of the escape with which a text ends, if it does, and what that stands for.
fn escape(units: &[Unit]) -> Option<(usize, Written)> {
    let back = |len: usize| units.get(units.len().checked_sub(len)?).map(|unit| unit.value);
    let is = |len: usize, byte: u8| back(len) == Some(byte.into());
    let last = u8::try_from(back(1)?).ok()?;
    if last == b';' {
        return entity(units);
    }
    if last == b'}' {
        return braced(units);
    }
    if last.is_ascii_hexdigit() {
        if is(3, b'%') {
            return Some((3, Written::Value(hex(units, 2)?)));
        }
        if is(4, b'\\') && is(3, b'x') {
            return Some((4, Written::Value(hex(units, 2)?)));
        }
        if is(6, b'\\') && is(5, b'u') {
            let value = hex(units, 4)?;
            let half = Written::Value(value);
            return Some((6, char::from_u32(value).map_or(half, Written::Char)));
        }
    }
    if is(4, b'\\') && [3, 2, 1].iter().all(|nth| is_octal(back(*nth))) {
        let digits = &units[units.len() - 3..];
        let value = digits.iter().fold(0, |value, unit| value * 8 + unit.value - u32::from(b'0'));
        return Some((4, Written::Value(value)));
    }
    let control = match last {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        _ => return None,
    };
    is(2, b'\\').then_some((2, Written::Char(control)))
}

/// Reads the digits with which a text ends.
fn hex(units: &[Unit], digits: usize) -> Option<u32> {
    let mut last = units[units.len() - digits..].iter();
    last.try_fold(0, |value, unit| Some(value * 16 + char::from_u32(unit.value)?.to_digit(16)?))
}

fn is_octal(value: Option<u32>) -> bool {
    value.is_some_and(|value| (u32::from(b'0')..=u32::from(b'7')).contains(&value))
}

/// Reads a character such as `\u{e9}`, which ends in `}`.
fn braced(units: &[Unit]) -> Option<(usize, Written)> {
    let near = &units[units.len().saturating_sub(ESCAPE_BYTES_MAX)..];
    let open = near.iter().rposition(|unit| unit.value == u32::from(b'{'))?;
    let is = |at: Option<usize>, byte: u8| at.is_some_and(|at| near[at].value == u32::from(byte));
    if !is(open.checked_sub(1), b'u') || !is(open.checked_sub(2), b'\\') {
        return None;
    }
    let digits = near.len() - open - 2;
    let value = (1..=6).contains(&digits).then(|| hex(&near[..near.len() - 1], digits))??;
    Some((near.len() - open + 2, Written::Char(char::from_u32(value)?)))
}

/// Reads a character of HTML, which ends in `;`.
fn entity(units: &[Unit]) -> Option<(usize, Written)> {
    let near = &units[units.len().saturating_sub(ESCAPE_BYTES_MAX)..];
    let from = near.iter().rposition(|unit| unit.value == u32::from(b'&'))?;
    // What is escaped twice has a backslash more.
    let name = near[from + 1..near.len() - 1].iter().filter(|unit| unit.value != BACKSLASH);
    let name: String = name.map(|unit| char::from_u32(unit.value)).collect::<Option<_>>()?;
    let c = match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(number) => char::from_u32(u32::from_str_radix(number, 16).ok()?)?,
            None => char::from_u32(number.parse().ok()?)?,
        },
        None => NAMED.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((near.len() - from, Written::Char(c)))
}

/// What is shorter is no secret, and may be a part of any word.
const SECRET_BYTES_MIN: usize = 4;

/// The longest escape, of those that are read.
const ESCAPE_BYTES_MAX: usize = 12;

/// How much of the end of a text may be an escape that was cut, with those in it.
const CUT_BYTES_MAX: usize = 3 * ESCAPE_BYTES_MAX;

const BACKSLASH: u32 = b'\\' as u32;
const PLUS: u32 = b'+' as u32;
const SPACE: u32 = b' ' as u32;

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(secrets: &[&str]) -> Hidden {
        let mut hidden = Hidden::default();
        for secret in secrets {
            hidden.add(secret);
        }
        hidden
    }

    /// Writes every character but letters and digits as `\u` and its halves.
    fn escaped(text: &str, write: impl Fn(u16) -> String) -> String {
        let halves = text.encode_utf16();
        let is_kept = |half: u16| u8::try_from(half).is_ok_and(|byte| byte.is_ascii_alphanumeric());
        let halves = halves.map(|half| match u8::try_from(half) {
            Ok(byte) if is_kept(half) => char::from(byte).to_string(),
            _ => write(half),
        });
        halves.collect()
    }

    /// Yields a text in the ways in which services write it.
    fn ways(text: &str) -> Vec<String> {
        let json = |text: &str| serde_json::Value::from(text).to_string();
        let percent: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        let latin: String = text.bytes().map(char::from).collect();
        let repr = text.bytes().map(|byte| match byte {
            b'"' | b'\\' => format!("\\{}", char::from(byte)),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        });
        let name = |c: char| match NAMED.iter().find(|(_, known)| *known == c) {
            Some((name, _)) => format!("&{name};"),
            None => c.to_string(),
        };
        let named: String = text.chars().map(name).collect();
        let braced = text.chars().map(|c| format!("\\u{{{:x}}}", u32::from(c)));
        let braced: Vec<String> = braced.collect();
        let octal = text.bytes().map(|byte| match byte {
            b'"' | b'\\' => format!("\\{byte:03o}"),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\{byte:03o}"),
        });
        vec![
            text.to_owned(),
            json(text),
            json(&json(text)),
            json(text).replace('/', "\\/"),
            json(&latin),
            escaped(text, |half| format!("\\u{half:04x}")),
            escaped(text, |half| format!("\\u{half:04X}")),
            escaped(&latin, |half| format!("\\u{half:04x}")),
            json(&escaped(text, |half| format!("\\u{half:04x}"))),
            percent.replace('+', "%20"),
            percent.to_ascii_lowercase().replace("zz", "ZZ"),
            form_urlencoded::byte_serialize(percent.as_bytes()).collect(),
            json(&html),
            html,
            escaped(text, |half| format!("&#{half};")).replace("&#55357;&#56832;", "&#x1F600;"),
            repr.collect(),
            named,
            braced.concat(),
            octal.collect(),
            percent,
        ]
    }

    const SECRETS: [&str; 10] = [
        "ZZsigZZ",
        "ZZ81/aq+9dr/x7w==",
        "sid=\"ZZsigZZ\"; theme=a",
        r#"{"user":"u","sig":"ZZ/+=ZZ"}"#,
        r#"\ZZ\"\\u0041ZZ\tnZZ\"#,
        "ZZé€😀ZZ",
        "ZZ%41%2F%25ZZ%",
        "ZZ&lt;&ampZZ;<",
        "a\u{9}ZZ\nZZ ZZ",
        "\"ZZ\u{1f600}\"",
    ];

    #[test]
    fn a_secret_is_hidden_in_whatever_way_it_is_written() {
        for secret in SECRETS {
            let hidden = hidden(&[secret]);
            for way in ways(secret) {
                let said = format!("no {way}: {{\"got\":\"{way}\"}}");
                let shown = hidden.hide(&said);
                assert!(!shown.contains("ZZ") && shown.contains('…'), "{said}: {shown}");
                assert!(shown.starts_with("no ") && shown.contains("{\"got\":\""), "{shown}");
            }
        }
    }

    #[test]
    fn a_secret_that_was_cut_is_hidden_wherever_that_was() {
        for secret in SECRETS {
            let hidden = hidden(&[secret]);
            for way in ways(secret) {
                for (at, _) in way.char_indices() {
                    let shown = hidden.hide_cut(&format!("no {}", &way[..at]));
                    assert!(!shown.contains("ZZ"), "{way} up to {at}: {shown}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_secret_is_shown_as_it_is() {
        let hidden = hidden(&["ZZsigZZ", "ZZé\"", "abc", " \u{e9} "]);
        for said in ["", "100 %", "a\\nb \\", "C:\\new\\u00", "%zz &amp; \\ud83d \\ude00 & a;b c"] {
            assert_eq!(hidden.hide(said), said);
            assert_eq!(hidden.hide_cut(said), said);
        }
        // Secrets may overlap, and may touch what would be an escape with them.
        let hidden = self::hidden(&["abcdef", "defghi", "41abc", "topsecret"]);
        assert_eq!(hidden.hide("(abcdefghi) %41abc C:\\topsecret"), "(…) %… C:\\…");
        assert_eq!(hidden.hide_cut("abcdefgh"), "…");
    }
}
