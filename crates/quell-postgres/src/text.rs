//! Texts of callers, which may have a NUL: PostgreSQL stores none.

use std::borrow::Cow;

/// Yields a text as a column keeps it: a NUL is `\0`, and a backslash is doubled.
pub(crate) fn kept(text: &str) -> Cow<'_, str> {
    if text.contains(['\0', '\\']) {
        text.replace('\\', r"\\").replace('\0', r"\0").into()
    } else {
        text.into()
    }
}

/// Yields the text that is kept like that.
pub(crate) fn given(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let (mut whole, mut left) = (String::with_capacity(text.len()), text.chars());
    while let Some(next) = left.next() {
        match next {
            '\\' => whole.extend(left.next().map(|what| if what == '0' { '\0' } else { what })),
            other => whole.push(other),
        }
    }
    whole.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_and_no_two_are_kept_alike() {
        let all =
            ["", "a", "\0", r"\0", "\\\0", r"\\0", "a\0\0b", r"\", r"\\", "0", "ä\0\u{1f600}"];
        for text in all {
            assert!(!kept(text).contains('\0'));
            assert_eq!(given(&kept(text)), text);
            let alike = all.iter().filter(|other| kept(other) == kept(text));
            assert_eq!(alike.count(), 1, "{text:?}");
        }
    }
}
