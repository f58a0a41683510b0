//! Promises and decisions that sources cite by number, and those that the manual defines.

use std::collections::BTreeSet;

use super::sources::{Source, read};

/// Every number that the manual defines: rows that begin with `| I9 |` or `| D5 |`.
pub(super) fn defined() -> BTreeSet<String> {
    let text = read("crates/quell/src/manual/promises.md");
    let first_cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    first_cells.filter(|cell| is_number(cell)).map(str::to_owned).collect()
}

/// Every number that is cited, with the file that does so.
pub(super) fn cited() -> Vec<(String, String)> {
    let mut cited = Vec::new();
    for source in Source::all() {
        let words = source.text.split(|c: char| !c.is_alphanumeric() && c != '_');
        cited.extend(
            words.filter(|word| is_number(word)).map(|word| (source.path.clone(), word.to_owned())),
        );
    }
    cited
}

/// Tells whether a word is the number of a promise or of a decision.
fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix(['I', 'D']).unwrap_or_default();
    matches!(digits.len(), 1 | 2) && digits.bytes().all(|byte| byte.is_ascii_digit())
}
