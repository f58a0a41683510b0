//! What types are called, and which of their fields have no line of documentation.

use super::sources::Source;

/// Words that no type may be called by, nor end in: they say nothing, or said something that only
/// we understood.
const WORN: [&str; 17] = [
    "Common", "Data", "Desk", "Extra", "Family", "Gone", "Helper", "Impl", "Info", "Item", "Kids",
    "Manager", "Misc", "Todo", "Util", "Utils", "Wrapper",
];

/// Where every field has a line: what is to be read before anything is changed.
const DOCUMENTED: [&str; 4] = [
    "crates/quell-core/src/",
    "crates/quell/src/node/",
    "crates/quell/src/step/",
    "crates/quell/src/time/",
];

/// Every type of a crate that a worn word names.
pub(super) fn with_worn_names() -> Vec<String> {
    let named = |source: &Source| {
        let worn = source.types.iter().filter(|name| WORN.iter().any(|word| name.ends_with(word)));
        worn.map(|name| format!("{}: {name}", source.path)).collect::<Vec<_>>()
    };
    Source::within("crates/").flat_map(named).collect()
}

/// Every named field of the core that has no line, those of variants too.
pub(super) fn fields_without_a_line() -> Vec<String> {
    for folder in DOCUMENTED {
        let has_types = Source::within(folder).any(|source| !source.types.is_empty());
        assert!(has_types, "{folder} has no types: has it another name now?");
    }
    let sources = DOCUMENTED.into_iter().flat_map(Source::within);
    let bare = |source: &Source| {
        let fields = source.bare_fields.iter();
        fields.map(|field| format!("{}: {field}", source.path)).collect::<Vec<_>>()
    };
    sources.flat_map(bare).collect()
}
