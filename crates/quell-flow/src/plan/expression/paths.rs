//! [`of`] lists what an expression reads, such as `steps.build.output`.

use std::collections::BTreeSet;

use super::language::strict;
use super::{guard, token};

/// The keys that lead to a value: `steps`, `build`, `output`.
pub(crate) type Path = Vec<String>;

/// The paths that a text reads.
pub(crate) type Names = BTreeSet<Path>;

/// Lists the paths of an expression that is right.
///
/// The language lists names with attributes: neither what a slice reads nor the key of an index. So
/// it reads a text with a call in place of each slice, and with an attribute in place of each index
/// that is a text.
///
/// # Errors
///
/// Yields a message if the expression has too many operators, or nests too deep.
pub(super) fn of(text: &str) -> Result<Names, String> {
    let read = Plain::of(text)?;
    let parsed = strict().compile_expression(&read.text).map_err(|error| error.to_string())?;
    let paths = parsed.undeclared_variables(true).into_iter();
    Ok(paths.map(|path| path.split('.').map(|key| read.key(key)).collect()).collect())
}

/// An expression without slices and indexes that are texts.
#[derive(Debug)]
struct Plain {
    text: String,
    /// What the attributes begin with that stand for indexes. No other word has it.
    mark: String,
    /// The indexes.
    keys: Vec<String>,
}

impl Plain {
    fn of(text: &str) -> Result<Self, String> {
        let brackets = guard::brackets(text)?;
        let mut mark = String::from("i_");
        while text.contains(&mark) {
            mark.push('_');
        }
        let mut keys = Vec::new();
        let calls = brackets.calls.into_iter();
        let mut edits: Vec<_> = calls.map(|(at, call)| (at..at + 1, call.to_owned())).collect();
        for index in brackets.indexes {
            if let Some(key) = literal(&text[index.start + 1..index.end - 1]) {
                edits.push((index, format!(" .{mark}{} ", keys.len())));
                keys.push(key);
            }
        }
        edits.sort_unstable_by_key(|(at, _)| at.start);
        let (mut plain, mut done) = (String::with_capacity(text.len()), 0);
        for (at, instead) in edits {
            plain.push_str(&text[done..at.start]);
            plain.push_str(&instead);
            done = at.end;
        }
        plain.push_str(&text[done..]);
        Ok(Self { text: plain, mark, keys })
    }

    /// Yields the key that an attribute stands for, which is itself if it is one.
    fn key(&self, attribute: &str) -> String {
        let index = attribute.strip_prefix(&self.mark).and_then(|at| at.parse::<usize>().ok());
        let key = index.and_then(|at| self.keys.get(at));
        key.map_or_else(|| attribute.to_owned(), String::clone)
    }
}

/// Yields the value of an index that is one text in quotes.
fn literal(inside: &str) -> Option<String> {
    let inside = inside.trim();
    let is_text =
        inside.starts_with(['"', '\'']) && token::len(inside.as_bytes(), false) == inside.len();
    let value = is_text.then(|| strict().compile_expression(inside).ok()?.eval(()).ok());
    value.flatten()?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slices_and_indexes_read_is_listed() {
        for (text, paths) in [
            ("a[1] + b.c", &["a", "b.c"][..]),
            ("{a: b}[c]", &["a", "b", "c"]),
            ("a[1:]", &["a"]),
            ("a.b[ : c[::-d] ].e", &["a.b", "c", "d"]),
            (r#"a["b"].c['d'][e].f"#, &["a.b.c.d", "e"]),
            (r#"(a)["b"][c["d"]:]"#, &["a.b", "c.d"]),
            (r#"["a"] == a[ "b" ] or i_0["x"] in ["y"]"#, &["a.b", "i_0.x"]),
            (r#"a["b" ~ c]"#, &["a", "c"]),
            (r#"1["a"].b"#, &[]),
        ] {
            let found: Vec<_> = of(text).unwrap().iter().map(|path| path.join(".")).collect();
            assert_eq!(found, paths, "{text}");
        }
        let path: Path = of(r#"a["b.\"\u00e9"]"#).unwrap().pop_first().unwrap();
        assert_eq!(path, ["a", "b.\"é"]);
    }
}
