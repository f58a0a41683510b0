//! The tables and queues of the server's side, and the lists that say what bounds each.

use std::collections::HashSet;

use syn::visit::{self, Visit};

use super::bounds::words;
use super::sources::{Source, read};

/// What of the sources is in which row.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) row: String,
    /// `crate/file.rs:Struct.field`, `crate/file.rs`, `crate/folder/` or `crate/file.rs:CONSTANT`.
    pub(super) what: String,
}

/// Yields what stands in `tests/tidy/held.txt`.
pub(super) fn parts() -> Vec<Part> {
    let text = read("tests/tidy/held.txt");
    let (mut row, mut parts) = (String::new(), Vec::new());
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let mut rest = line;
        if !line.starts_with(' ') {
            let (title, whats) = line.split_once(" = ").expect(line);
            (row, rest) = (title.to_owned(), whats);
        }
        let of_row = rest.split_whitespace();
        parts.extend(of_row.map(|what| Part { row: row.clone(), what: what.to_owned() }));
    }
    parts
}

/// Yields the rows of the lists: the first column, and the whole row.
pub(super) fn rows() -> Vec<(String, String)> {
    let of_server = read("crates/quell-http/src/held.md");
    let manual = read("crates/quell/src/manual/limits.md");
    let (_, of_manual) = manual.split_once("# Programs, plans and expressions").unwrap();
    let rows = of_server.lines().chain(of_manual.lines()).filter(|line| line.starts_with("| "));
    let rows = rows.map(|row| (row.split('|').nth(1).unwrap().trim().to_owned(), row.to_owned()));
    rows.filter(|(title, _)| title != "state").collect()
}

/// Yields the tables and queues: what structs, enums and statics have many things in.
pub(super) fn tables() -> Vec<String> {
    let mut found = Vec::new();
    let for_tests = |source: &Source| {
        let folder = source.path.rsplit_once('/').map(|(folder, _)| folder).unwrap_or_default();
        let of = source.test_modules.iter().map(move |name| format!("{folder}/{name}.rs"));
        of.collect::<Vec<_>>()
    };
    let for_tests: HashSet<_> = Source::within("crates/").flat_map(for_tests).collect();
    for source in Source::within("crates/").filter(|source| !for_tests.contains(&source.path)) {
        let Some(of) = of_server(&source.path) else { continue };
        let mut tables = Tables { of, found: Vec::new() };
        tables.visit_file(&syn::parse_file(&source.text).unwrap());
        found.extend(tables.found);
    }
    found
}

/// Tells whether a part names a table.
pub(super) fn names(what: &str, table: &str) -> bool {
    what == table
        || (what.ends_with('/') && table.starts_with(what))
        || table.strip_prefix(what).is_some_and(|rest| rest.starts_with(':'))
}

/// Yields the value of a constant in words; none if there is no such constant.
pub(super) fn value_of(constant: &str) -> Option<String> {
    let (file, name) = constant.split_once(':')?;
    let (of, file) = file.split_once('/')?;
    let text = read(&format!("crates/quell-{of}/src/{file}"));
    let value = text.lines().find_map(|line| {
        let rest = line.split_once("const ")?.1.strip_prefix(name)?.strip_prefix(": ")?;
        Some(rest.split_once(" = ")?.1.trim_end_matches(';').to_owned())
    })?;
    // One of the engine's is said as its value.
    match value.split_once("limits::") {
        Some((_, name)) => value_of(&format!("core/limits.rs:{name}")),
        None => Some(words(name, &value)),
    }
}

struct Tables {
    of: String,
    found: Vec<String>,
}

impl Tables {
    fn look(&mut self, owner: &syn::Ident, fields: &syn::Fields) {
        for (number, field) in fields.iter().enumerate() {
            if holds_many(&field.ty) {
                let name =
                    field.ident.as_ref().map_or_else(|| number.to_string(), ToString::to_string);
                self.found.push(format!("{}:{owner}.{name}", self.of));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Tables {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.look(&item.ident, &item.fields);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        item.variants.iter().for_each(|variant| self.look(&item.ident, &variant.fields));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        // What all memory is taken from holds nothing of its own.
        if !item.attrs.iter().any(|attr| attr.path().is_ident("global_allocator")) {
            self.found.push(format!("{}:{}", self.of, item.ident));
        }
    }
}

/// Tells whether a type is one of many things.
fn holds_many(of: &syn::Type) -> bool {
    let mut many = Many(false);
    many.visit_type(of);
    many.0
}

struct Many(bool);

impl<'ast> Visit<'ast> for Many {
    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        self.0 |= MANY.iter().any(|name| segment.ident == name);
        visit::visit_path_segment(self, segment);
    }
}

/// Yields `crate/file` of a source of the server's side.
fn of_server(path: &str) -> Option<String> {
    let (of, file) = path.strip_prefix("crates/quell-")?.split_once("/src/")?;
    SERVER.contains(&of).then(|| format!("{of}/{file}"))
}

/// The crates whose tables are in the lists; those of the engine have a list of their own.
const SERVER: [&str; 8] =
    ["http", "agentos", "langgraph", "playbook3d", "demo", "server", "flow", "process"];

/// Types that hold many things, and names that stand for such here.
const MANY: [&str; 19] = [
    "HashMap",
    "BTreeMap",
    "DashMap",
    "IndexMap",
    "VecDeque",
    "HashSet",
    "BTreeSet",
    "Vec",
    "BoundedMap",
    "Ledger",
    "Semaphore",
    "mpsc",
    "watch",
    "broadcast",
    "JoinSet",
    "BytesMut",
    "Known",
    "Kept",
    "Slab",
];
