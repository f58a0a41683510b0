//! [`masked`]: the text of a configuration as messages may show it.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Yields a text with stars instead of what may be a secret: values of headers, values of keys that
/// are named like secrets, and the queries of addresses. Every other byte stays in its place.
///
/// The file is to name variables instead. But a mistake is shown with its line, and may be that.
pub(super) fn masked(text: &str, root: &DeTable<'_>) -> String {
    let mut shown = text.as_bytes().to_vec();
    mask_table(root, false, &mut shown);
    // Characters are replaced whole.
    String::from_utf8(shown).unwrap_or_default()
}

/// Recurses as deep as the parser allows.
fn mask_table(table: &DeTable<'_>, is_secret: bool, shown: &mut [u8]) {
    for (key, value) in table {
        let key = key.get_ref();
        mask(value, is_secret || key == "headers" || is_of_secret(key), shown);
        if ["url", "cancel"].contains(&key.as_ref()) {
            mask_address(value, shown);
        }
    }
}

fn mask(value: &Spanned<DeValue<'_>>, is_secret: bool, shown: &mut [u8]) {
    match value.get_ref() {
        DeValue::Table(table) => mask_table(table, is_secret, shown),
        DeValue::Array(items) => items.iter().for_each(|item| mask(item, is_secret, shown)),
        DeValue::String(_) if is_secret => {
            let span = value.span();
            // Its quotes remain.
            hide(shown.get_mut(span.start + 1..span.end.saturating_sub(1)).unwrap_or_default());
        }
        _ => {}
    }
}

/// Hides the user and the password of an address, and its query.
fn mask_address(value: &Spanned<DeValue<'_>>, shown: &mut [u8]) {
    let span = value.span();
    let whole = shown.get_mut(span.start..span.end.saturating_sub(1)).unwrap_or_default();
    if let Some(at) = whole.iter().position(|byte| *byte == b'?') {
        hide(&mut whole[at + 1..]);
    }
    let host = whole.windows(3).position(|bytes| bytes == b"://").map_or(0, |at| at + 3);
    if let Some(at) = whole[host..].iter().position(|byte| matches!(byte, b'@' | b'/'))
        && whole[host + at] == b'@'
    {
        hide(&mut whole[host..host + at]);
    }
}

/// Puts stars in the place of all but the ends of lines.
fn hide(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b'*');
}

/// Tells whether a key is named as a secret is, and not as the variable or file that has it.
fn is_of_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let names = ["auth", "key", "password", "secret", "token"];
    let elsewhere = ["_env", "_file", "s"];
    names.iter().any(|name| key.contains(name)) && !elsewhere.iter().any(|end| key.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_stars_and_nothing_else_moves() {
        for (text, right) in [
            ("headers = { a = \"hush\", b = 1 }", "headers = { a = \"****\", b = 1 }"),
            ("[model.headers]\nx = \"grüße\"", "[model.headers]\nx = \"*******\""),
            ("key = \"hush\"\nkey_env = \"KEY\"", "key = \"****\"\nkey_env = \"KEY\""),
            ("env = { API_KEY = 'hush', A = 'b' }", "env = { API_KEY = '****', A = 'b' }"),
            ("url = \"http://a/b?c=hush\"", "url = \"http://a/b?******\""),
            ("cancel = \"http://a:b@c/d@e\"", "cancel = \"http://***@c/d@e\""),
            ("url = \"?\"\ncancel = ''", "url = \"?\"\ncancel = ''"),
            ("[[tokens]]\nissuer = \"me\"", "[[tokens]]\nissuer = \"me\""),
            ("run = [\"a?b\", \"c\"]", "run = [\"a?b\", \"c\"]"),
        ] {
            let root = DeTable::parse(text).expect("TOML").into_inner();
            assert_eq!(masked(text, &root), right);
        }
    }
}
