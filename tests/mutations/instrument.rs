//! The instrumented copy of the workspace: every fault of the list is in it, behind one switch that
//! is asked at run time.
//!
//! The copy lies below `target/mutations`, and a file is written only when it has changed, so that
//! the next build of the copy compiles what has changed and nothing else. What the workspace does
//! not make itself is compiled once for both: the copy is built into the folder of this build, with
//! the same features. The packages of the copy have another version, and so files of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{Fault, faults, pairs};

/// Where the engine is.
const ENGINE: &str = "crates/quell/src";

/// What the copy consists of. Cargo needs the manifest of every member.
const COPIED: [&str; 6] = ["Cargo.toml", "Cargo.lock", "README.md", "benches", "crates", "tests"];

/// Folders that nothing is built from: results, and the suites of the official clients.
const LEFT_OUT: [&str; 2] = ["target", "clients"];

/// Files that only the copy has.
const ADDED: [(&str, &str); 2] = [
    ("crates/quell/src/faults.rs", include_str!("added/faults.rs")),
    ("crates/quell/src/counted.rs", include_str!("added/counted.rs")),
];

/// What is different in the copy while no fault is on: file, text, and what replaces it.
const REPLACED: [(&str, &str, &str); 9] = [
    (
        "Cargo.toml",
        concat!("[workspace.package]\nversion = \"", env!("CARGO_PKG_VERSION"), "\""),
        concat!("[workspace.package]\nversion = \"", env!("CARGO_PKG_VERSION"), "+faults\""),
    ),
    // An expression that may be another one has more braces than it needs.
    ("Cargo.toml", "[workspace.lints.rust]\n", ALLOWED),
    (
        "crates/quell/src/lib.rs",
        "mod sync;",
        "mod counted;\npub use counted::held as locks_held;\nmod faults;\nmod sync;",
    ),
    (
        "crates/quell/src/sync/locks.rs",
        "pub(crate) use parking_lot::{Mutex, MutexGuard};",
        "pub(crate) use crate::counted::{Mutex, MutexGuard};",
    ),
    (
        "tests/foreign/actor.rs",
        "const LOCKS_HELD: fn() -> usize = || 0;",
        "const LOCKS_HELD: fn() -> usize = quell::locks_held;",
    ),
    (
        "crates/quell-test-support/src/patience.rs",
        "const PATIENCE: Duration = secs(240);",
        "const PATIENCE: Duration = secs(20);",
    ),
    (
        "tests/foreign/mod.rs",
        "const PATIENCE: Duration = secs(30);",
        "const PATIENCE: Duration = secs(15);",
    ),
    // Nobody reads how a story fails with a fault.
    ("tests/model/stored/stories.rs", "const TRIALS: u32 = 150;", "const TRIALS: u32 = 0;"),
    (
        "tests/model/stored/stage.rs",
        "static PATIENCE: Cell<u32> = const { Cell::new(50_000) };",
        "static PATIENCE: Cell<u32> = const { Cell::new(5_000) };",
    ),
];

/// What the compiler need not say of the copy.
const ALLOWED: &str = "[workspace.lints.rust]\nunused = \"allow\"\n";

/// The modules of this suite, and the one that the others need.
const SUITE: &str = "tests/main.rs";
const SUPPORT: &str = "support";

/// A text that is to be found once in a file, and what replaces it.
struct Replacement {
    /// The faults that it makes possible.
    names: Vec<&'static str>,
    text: String,
    with: String,
}

/// Makes the copy, or brings it up to date, and yields where it is.
pub(super) fn copy() -> PathBuf {
    let copy = top().join("target/mutations/sources");
    let mut files = BTreeMap::new();
    for part in COPIED {
        read_all(Path::new(part), &mut files);
    }
    let texts = texts().unwrap_or_else(|wrong| panic!("{}", wrong.join("\n")));
    let added = ADDED.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let suite = (SUITE.to_owned(), needed(&fs::read_to_string(top().join(SUITE)).unwrap()));
    let changed = texts.into_iter().chain(added).chain([suite]);
    files.extend(changed.map(|(path, text)| (path.into(), text.into())));
    for (path, content) in &files {
        let path = copy.join(path);
        if fs::read(&path).is_ok_and(|old| old == *content) {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    remove_all_but(&files, &copy);
    copy
}

/// Leaves out the modules of the suite that no fault is caught by.
fn needed(suite: &str) -> String {
    let catching = pairs().filter_map(|(_, test)| test.split("::").next());
    let needed: BTreeSet<&str> = catching.chain([SUPPORT]).collect();
    let is_needed = |line: &&str| {
        let module = line.strip_prefix("mod ").and_then(|line| line.strip_suffix(";\n"));
        module.is_none_or(|module| needed.contains(module))
    };
    suite.split_inclusive('\n').filter(is_needed).collect()
}

/// Yields every file that a fault changes, instrumented, or what is wrong with the list.
pub(super) fn texts() -> Result<BTreeMap<String, String>, Vec<String>> {
    let (mut texts, mut wrong) = (BTreeMap::new(), Vec::new());
    for (path, replacements) in replacements() {
        match fs::read_to_string(top().join(&path)) {
            Ok(text) => match replaced(&text, &replacements) {
                Ok(text) => drop(texts.insert(path, text)),
                Err(what) => wrong.extend(what.iter().map(|what| format!("{path}: {what}"))),
            },
            Err(error) => wrong.push(format!("{path}: {error}")),
        }
    }
    if wrong.is_empty() { Ok(texts) } else { Err(wrong) }
}

/// Collects what is to be replaced in each file. Faults at the same text share one replacement.
fn replacements() -> BTreeMap<String, Vec<Replacement>> {
    let mut all = BTreeMap::<String, Vec<Replacement>>::new();
    for (path, text, with) in REPLACED {
        let (text, with) = (text.to_owned(), with.to_owned());
        all.entry(path.to_owned()).or_default().push(Replacement { names: vec![], text, with });
    }
    let mut branches = BTreeMap::<_, Vec<_>>::new();
    for fault in faults() {
        for edit in fault.edits {
            branches.entry((edit.file, edit.text)).or_default().push((fault, edit.faulty));
        }
    }
    for ((file, text), branches) in branches {
        let replacement = switched(text, &branches);
        all.entry(format!("{ENGINE}/{file}")).or_default().push(replacement);
    }
    all
}

/// Makes the expression that is one of the faulty ones if its fault is on, and else the text.
fn switched(text: &str, branches: &[(&'static Fault, &str)]) -> Replacement {
    let (before, rest) = text.split_once('«').unwrap_or(("", text));
    let (sound, after) = rest.split_once('»').unwrap_or((rest, ""));
    let faulty = branches.iter().map(|(fault, faulty)| {
        let faulty = faulty.replace('…', sound);
        format!("if crate::faults::on({:?}) {{ {faulty} }} else", fault.name)
    });
    let faulty = faulty.collect::<Vec<_>>().join(" ");
    let with = format!("{before}{{ {faulty} {{ {sound} }} }}{after}");
    let names = branches.iter().map(|(fault, _)| fault.name).collect();
    Replacement { names, text: text.replace(['«', '»'], ""), with }
}

/// Replaces texts each of which is there once, and which do not touch each other.
fn replaced(text: &str, replacements: &[Replacement]) -> Result<String, Vec<String>> {
    let (mut found, mut wrong) = (BTreeMap::new(), Vec::new());
    for replacement in replacements {
        let Replacement { names, text: part, .. } = replacement;
        match text.matches(part).count() {
            1 => drop(found.insert(text.find(part), replacement)),
            count => wrong.push(format!(
                "the text of the fault {names:?} stands there {count} times, not once: `{part}`"
            )),
        }
    }
    let (mut made, mut end) = (String::with_capacity(2 * text.len()), 0);
    for (start, replacement) in found {
        let start = start.expect("it was found once");
        let Some(between) = text.get(end..start) else {
            let names = &replacement.names;
            wrong.push(format!("the text of the fault {names:?} overlaps that of another one"));
            continue;
        };
        made += between;
        made += &replacement.with;
        end = start + replacement.text.len();
    }
    made += &text[end..];
    if wrong.is_empty() { Ok(made) } else { Err(wrong) }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads a file, or every file below a folder, by its path from the top.
fn read_all(path: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let full = top().join(path);
    if !full.is_dir() {
        files.insert(path.to_owned(), fs::read(full).unwrap());
        return;
    }
    for entry in fs::read_dir(full).unwrap() {
        let name = entry.unwrap().file_name();
        let is_hidden = name.to_string_lossy().starts_with('.');
        if !is_hidden && !LEFT_OUT.iter().any(|left_out| name == *left_out) {
            read_all(&path.join(name), files);
        }
    }
}

/// Removes what the copy still has of files and folders that are no more: Cargo finds targets and
/// packages by itself.
fn remove_all_but(files: &BTreeMap<PathBuf, Vec<u8>>, copy: &Path) {
    let (mut folders, mut below) = (vec![copy.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below.push(path.clone());
                folders.push(path);
            } else if !files.contains_key(path.strip_prefix(copy).unwrap()) {
                fs::remove_file(path).unwrap();
            }
        }
    }
    // Each comes after the one that it is in.
    for folder in below.iter().rev() {
        if fs::read_dir(folder).unwrap().next().is_none() {
            fs::remove_dir(folder).unwrap();
        }
    }
}

#[test]
fn each_fault_changes_a_text_that_is_there_once() {
    let wrong = texts().err().unwrap_or_default();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let names: BTreeSet<_> = faults().map(|fault| fault.name).collect();
    assert_eq!(names.len(), faults().count(), "two faults have one name");
}

#[test]
fn a_text_that_is_not_there_once_or_overlaps_another_is_told() {
    let of = |name: &'static str, text: &str| Replacement {
        names: vec![name],
        text: text.to_owned(),
        with: "x".to_owned(),
    };
    let texts = ["a + b", "b * c", "a", "d"].map(|text| of("it", text));
    let wrong = replaced("a + b * c + a", &texts).unwrap_err();
    assert_eq!(wrong.len(), 3, "{wrong:#?}");
    let sound = replaced("a + b * c", &[of("it", "b *"), of("it", "a +")]).unwrap();
    assert_eq!(sound, "x x c");
}
