//! The rooms of a crate, that is the folders and files at the top of its `src`: the circles in
//! which they use each other, and the tables that say which stands above which.

use std::collections::{BTreeMap, BTreeSet};

use super::manifests::Manifest;
use super::sources::{Source, read};

/// Every circle, with its arrows.
pub(super) fn circles() -> Vec<String> {
    let (mut found, mut count) = (Vec::new(), 0);
    for folder in Manifest::all().into_iter().map(|manifest| manifest.folder) {
        let sources = sources_of(&folder);
        let rooms = Rooms::of(&sources);
        let all = rooms.arrows();
        count += all.values().map(BTreeMap::len).sum::<usize>();
        found.extend(
            circles_of(&all).iter().map(|circle| format!("{folder}: {}", told(circle, &all))),
        );
    }
    assert!(count > 200, "only {count} arrows between rooms were found");
    found
}

/// Every arrow that points up in the table "Who owns what" of its crate, and every room that the
/// table leaves out.
pub(super) fn against_the_tables() -> Vec<String> {
    let mut found = Vec::new();
    for (of, table) in TABLES {
        let text = read(table);
        let rows = rows_of(&text);
        assert!(rows.len() > 5, "{table}: only {} rows of rooms were found", rows.len());
        let sources = sources_of(of);
        let rooms = Rooms::of(&sources);
        found.extend(rooms.not_in(&rows).into_iter().map(|it| format!("{table}: {it}")));
    }
    found
}

/// The files with such a table, each with the folder of its crate.
const TABLES: [(&str, &str); 5] = [
    ("crates/quell", "crates/quell/src/manual/architecture.md"),
    ("crates/quell-agentos", "crates/quell-agentos/src/lib.rs"),
    ("crates/quell-http", "crates/quell-http/src/rooms.md"),
    ("crates/quell-langgraph", "crates/quell-langgraph/src/lib.rs"),
    ("crates/quell-playbook3d", "crates/quell-playbook3d/src/lib.rs"),
];

/// The rooms of one crate, and which uses which.
struct Rooms<'a> {
    sources: &'a [&'a Source],
    names: BTreeSet<&'a str>,
    /// What the root exports: its name, and the room that it comes from.
    exported: BTreeMap<&'a str, &'a str>,
}

/// What is used by a room: the room that it is in, and the files that name it.
type Used<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

impl<'a> Rooms<'a> {
    fn of(sources: &'a [&'a Source]) -> Self {
        let is_root = |source: &&&'a Source| modules_of(&source.path).is_empty();
        let rooms = sources.iter().filter_map(|source| modules_of(&source.path).first().copied());
        let mut all = Self { sources, names: rooms.collect(), exported: BTreeMap::new() };
        for path in sources.iter().filter(is_root).flat_map(|source| &source.paths) {
            let path: Vec<_> = path.iter().map(String::as_str).collect();
            let path = path.strip_prefix(&["crate"]).unwrap_or(&path);
            let path = path.strip_prefix(&["self"]).unwrap_or(path);
            if let [room, .., name] = path
                && let Some(room) = all.names.get(room)
            {
                all.exported.insert(name, room);
            }
        }
        all
    }

    /// Yields what each room uses of others, without what is compiled for tests only.
    fn arrows(&self) -> BTreeMap<&'a str, Used<'a>> {
        let mut arrows: BTreeMap<_, Used<'a>> = BTreeMap::new();
        for source in self.sources.iter().filter(|source| !self.is_for_tests(source)) {
            let modules = modules_of(&source.path);
            let Some(room) = modules.first() else { continue };
            let others = source.paths.iter().filter_map(|path| self.room_of(&modules, path));
            for other in others.filter(|other| other != room) {
                arrows.entry(*room).or_default().entry(other).or_default().insert(&source.path);
            }
        }
        arrows
    }

    /// Says what of the rooms contradicts the rows of a table, each of which uses those below.
    fn not_in(&self, rows: &[Vec<&str>]) -> Vec<String> {
        let row_of = |room: &str| rows.iter().position(|names| names.contains(&room));
        let rooms = self.names.iter().filter(|room| !self.is_bare(room));
        let missing = rooms.filter(|room| row_of(room).is_none());
        let mut found: Vec<_> = missing.map(|room| format!("{room} is in no row")).collect();
        for (from, used) in self.arrows() {
            for (to, files) in used.iter().filter(|(to, _)| row_of(to) < row_of(from)) {
                found.push(format!("{from} uses {to}, which stands above it: {files:?}"));
            }
        }
        found
    }

    /// Tells whether a room has nothing but documentation and tests.
    fn is_bare(&self, room: &str) -> bool {
        let files = self.sources.iter().filter(|it| modules_of(&it.path).first() == Some(&room));
        let mut files = files.filter(|source| !self.is_for_tests(source));
        files.all(|file| file.logic.is_empty() && file.types.is_empty() && file.paths.is_empty())
    }

    /// Yields the room in which something is that a module names.
    fn room_of(&self, modules: &[&str], path: &'a [String]) -> Option<&'a str> {
        let up = path.iter().take_while(|name| *name == "super").count();
        let from_root = match path.first()?.as_str() {
            "crate" => &path[1..],
            "super" if up == modules.len() => &path[up..],
            _ => return None,
        };
        let name = from_root.first()?.as_str();
        self.names.get(name).or_else(|| self.exported.get(name)).copied()
    }

    /// Tells whether a module above declares a file, or a module that it is in, as one for tests.
    fn is_for_tests(&self, source: &Source) -> bool {
        let modules = modules_of(&source.path);
        modules.iter().enumerate().any(|(depth, name)| {
            let mut above =
                self.sources.iter().filter(|it| modules_of(&it.path) == modules[..depth]);
            above.any(|above| above.test_modules.iter().any(|module| module == name))
        })
    }
}

/// Yields the files of the `src` of a crate.
fn sources_of(folder: &str) -> Vec<&'static Source> {
    let within = format!("{folder}/src/");
    Source::all().iter().filter(|source| source.path.starts_with(&within)).collect()
}

/// Yields the names in the first column of the table of rooms, row by row.
fn rows_of(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().map(|line| line.trim_start_matches("//!").trim());
    let table = lines.skip_while(|line| !line.ends_with("# Who owns what"));
    let table = table.skip_while(|line| !line.starts_with('|'));
    let rows = table.take_while(|line| line.starts_with('|')).skip(2);
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let names = cells.map(|cell| cell.split('`').skip(1).step_by(2));
    names.map(|names| names.map(|name| name.trim_end_matches('/')).collect()).collect()
}

/// Yields the modules that a file of `src` stands for: none for the root.
fn modules_of(path: &str) -> Vec<&str> {
    let path = path.split_once("/src/").map_or(path, |(_, path)| path);
    let mut modules: Vec<_> = path.trim_end_matches(".rs").split('/').collect();
    if modules.len() == 1 && ["lib", "main"].contains(&modules[0]) {
        return Vec::new();
    }
    modules.pop_if(|last| *last == "mod");
    modules
}

/// Yields the largest sets of rooms each of which uses every other one, directly or not.
fn circles_of<'a>(arrows: &BTreeMap<&'a str, Used<'a>>) -> Vec<BTreeSet<&'a str>> {
    let reached: BTreeMap<_, _> =
        arrows.keys().map(|room| (*room, reached(room, arrows))).collect();
    let leads = |from: &str, to: &str| reached.get(from).is_some_and(|all| all.contains(to));
    let circles: BTreeSet<BTreeSet<_>> = reached
        .iter()
        .filter(|(room, all)| all.contains(**room))
        .map(|(room, all)| all.iter().copied().filter(|other| leads(other, room)).collect())
        .collect();
    circles.into_iter().collect()
}

/// Yields every room that a room uses, directly or not.
fn reached<'a>(room: &'a str, arrows: &BTreeMap<&'a str, Used<'a>>) -> BTreeSet<&'a str> {
    let (mut all, mut next) = (BTreeSet::new(), vec![room]);
    while let Some(room) = next.pop() {
        let used = arrows.get(room).into_iter().flat_map(BTreeMap::keys);
        next.extend(used.copied().filter(|used| all.insert(*used)));
    }
    all
}

/// Says which room of a circle uses which, and where.
fn told(circle: &BTreeSet<&str>, arrows: &BTreeMap<&str, Used<'_>>) -> String {
    let mut lines = vec![format!("{circle:?}")];
    for (from, used) in arrows.iter().filter(|(from, _)| circle.contains(**from)) {
        for (to, files) in used.iter().filter(|(to, _)| circle.contains(**to)) {
            lines.push(format!("{from} uses {to}: {files:?}"));
        }
    }
    lines.join("\n    ")
}

#[test]
fn a_circle_is_found_however_it_is_closed() {
    let sources = [
        ("lib.rs", "mod a; mod b; mod c; mod d; pub use c::{inner::End, Start};"),
        ("a/mod.rs", "mod deep; #[cfg(all(test, unix))] mod tests;"),
        ("a/deep.rs", "use super::Own; use crate::{b::{self, B}, d};"),
        ("a/tests.rs", "mod more;"),
        ("a/tests/more.rs", "use crate::e::E;"),
        ("b.rs", "fn f(end: u8) -> bool { matches!(end, g(crate::End::Late)) }"),
        ("c/mod.rs", "fn f() { super::a::f() }"),
        ("d.rs", "#[cfg(test)] mod tests { use crate::a::A; }"),
        ("e.rs", "use crate::a::A;"),
    ];
    let sources = sources.map(|(path, text)| Source::parse(format!("crates/x/src/{path}"), text));
    let sources: Vec<_> = sources.iter().collect();
    let arrows = Rooms::of(&sources).arrows();
    assert_eq!(circles_of(&arrows), [BTreeSet::from(["a", "b", "c"])]);
    let told = told(&circles_of(&arrows)[0], &arrows);
    assert!(told.contains(r#"b uses c: {"crates/x/src/b.rs"}"#), "{told}");
    let rows =
        rows_of("# Who owns what\n\n| room | what |\n|---|---|\n| `a/`, `c` | |\n| `b`, `d` | |");
    assert_eq!(rows, [["a", "c"], ["b", "d"]]);
    let said = Rooms::of(&sources).not_in(&rows);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("e is in no row") && said[1].starts_with("b uses c, "), "{said:?}");
    let broken: Vec<_> = sources.into_iter().filter(|file| !file.path.ends_with("b.rs")).collect();
    assert!(circles_of(&Rooms::of(&broken).arrows()).is_empty());
}
