//! What sources cite by number, and where it is defined: promises and decisions by the manual,
//! sections and choices of a contract by the chapter `contract` of its adapter.

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

/// A section or a choice that is cited: `(contract, section N)` within the crate of the contract,
/// `(quell_agentos::contract, choice N)` elsewhere.
struct Citation {
    /// The word before: whose chapter it is.
    chapter: String,
    /// `section` or `choice`, and its number.
    what: String,
}

impl Citation {
    /// The crate whose chapter is meant in a file, if one is.
    fn owner(&self, path: &str) -> Option<String> {
        match &*self.chapter {
            "contract" => path.strip_prefix("crates/")?.split('/').next().map(str::to_owned),
            chapter => Some(chapter.strip_suffix("::contract")?.replace('_', "-")),
        }
    }
}

/// Every citation of a section or a choice that does not resolve, and every one that does not say
/// whose it is.
pub(super) fn lost() -> Vec<String> {
    let mut lost = Vec::new();
    for source in Source::all() {
        for cited in citations(&source.text) {
            let chapter = cited.owner(&source.path).and_then(|owner| chapter_of(&owner));
            if !chapter.is_some_and(|chapter| defines(&chapter, &cited.what)) {
                lost.push(format!("{}: {}, {}", source.path, cited.chapter, cited.what));
            }
        }
    }
    for owner in ADAPTERS {
        let chapter = chapter_of(owner).unwrap_or_default();
        let within = citations(&chapter).into_iter().map(|cited| cited.what);
        let wrong = within.filter(|what| !defines(&chapter, what));
        lost.extend(wrong.map(|what| format!("{owner}, contract.md: {what}")));
    }
    lost
}

/// How many sections and choices are cited.
pub(super) fn citations_of_contracts() -> usize {
    Source::all().iter().map(|source| citations(&source.text).len()).sum()
}

/// The crates that have a chapter `contract`.
const ADAPTERS: [&str; 3] = ["quell-agentos", "quell-langgraph", "quell-playbook3d"];

fn chapter_of(owner: &str) -> Option<String> {
    ADAPTERS.contains(&owner).then(|| read(&format!("crates/{owner}/src/contract.md")))
}

/// Tells whether a chapter has a section, or a choice among those of its section `Our choices`.
fn defines(chapter: &str, what: &str) -> bool {
    let has = |text: &str, start: String| text.lines().any(|line| line.starts_with(&start));
    match what.split_once(' ') {
        Some(("section", number)) => has(chapter, format!("## {number}. ")),
        Some(("choice", number)) => {
            let part = chapter.split_once(". Our choices\n").map_or("", |(_, after)| after);
            let choices = part.split("\n## ").next().unwrap_or_default();
            has(choices, format!("{number}. "))
        }
        _ => false,
    }
}

/// Reads the citations in a text, also those that go on in the next line of a comment. RFCs have
/// sections of their own.
fn citations(text: &str) -> Vec<Citation> {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches(['/', '!']));
    let words: Vec<_> = lines.flat_map(str::split_whitespace).map(bare).collect();
    let mut citations = Vec::new();
    for place in 0..words.len().saturating_sub(1) {
        let (kind, number) = (words[place].to_lowercase(), words[place + 1]);
        let is_kind = ["section", "sections", "choice", "choices"].contains(&&*kind);
        let is_of_rfc = place >= 2 && words[place - 2].ends_with("RFC");
        if is_kind && number.starts_with(|c: char| c.is_ascii_digit()) && !is_of_rfc {
            let chapter = place.checked_sub(1).map_or("", |before| words[before]).to_owned();
            citations.push(Citation { chapter, what: format!("{kind} {number}") });
        }
    }
    citations
}

/// Yields a word without what stands around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}
