use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Fields, Item, LitStr};

fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")
}

fn read(path: &str) -> String {
    fs::read_to_string(packages().join(path)).unwrap()
}

/// Yields what an attribute of `serde` says of the name of an item, and whether it is skipped.
fn serde_name(attributes: &[Attribute]) -> (Option<String>, bool) {
    let (mut name, mut is_skipped) = (None, false);
    for attribute in attributes.iter().filter(|it| it.path().is_ident("serde")) {
        let _ = attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("rename") {
                name = Some(meta.value()?.parse::<LitStr>()?.value());
            } else if meta.path.is_ident("skip") {
                is_skipped = true;
            } else if let Ok(value) = meta.value() {
                value.parse::<syn::Expr>()?;
            }
            Ok(())
        });
    }
    (name, is_skipped)
}

fn kebab(name: &str) -> String {
    let parts = name.chars().map(|c| if c.is_uppercase() { format!("-{c}") } else { c.into() });
    parts.collect::<String>().trim_start_matches('-').to_lowercase()
}

/// Yields the names of the fields of a struct, or of the variants of an enum, as its JSON has them.
fn names_of(file: &str, item: &str) -> Vec<String> {
    let items = syn::parse_file(&read(file)).unwrap().items;
    let kept = |(name, is_skipped): (Option<String>, bool), own: String| {
        (!is_skipped).then(|| name.unwrap_or(own))
    };
    let names = items.into_iter().find_map(|found| match found {
        Item::Enum(it) if it.ident == item => {
            let variants = it.variants.iter();
            let name = |ident: &syn::Ident| kebab(&ident.to_string());
            Some(variants.filter_map(|it| kept(serde_name(&it.attrs), name(&it.ident))).collect())
        }
        Item::Struct(it) if it.ident == item => {
            let Fields::Named(fields) = it.fields else { return None };
            let name = |field: &syn::Field| field.ident.as_ref().unwrap().to_string();
            // What is private is in no JSON.
            let is_told = |field: &&syn::Field| matches!(field.vis, syn::Visibility::Public(_));
            let fields = fields.named.iter().filter(is_told);
            Some(fields.filter_map(|it| kept(serde_name(&it.attrs), name(it))).collect())
        }
        _ => None,
    });
    names.unwrap_or_else(|| panic!("{item} in {file}"))
}

/// Yields the rows of the table below a heading, each from the name in its first cell on.
fn table_below<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    let (_, below) = page.split_once(&format!("{heading}\n")).expect(heading);
    let table = below.lines().take_while(|line| !line.starts_with('#'));
    table.filter_map(|row| row.strip_prefix("| `")).collect()
}

/// Yields the first names of the rows of the table below a heading.
fn rows_below(page: &str, heading: &str) -> Vec<String> {
    let names = table_below(page, heading).into_iter().filter_map(|row| row.split('`').next());
    names.map(str::to_owned).collect()
}

#[test]
fn the_table_of_the_manual_names_every_event_as_its_json_does() {
    let page = read("quell/src/manual/events.md");
    assert_eq!(rows_below(&page, "# As JSON"), names_of("quell-core/src/event.rs", "EventKind"));
}

#[test]
fn the_page_of_events_has_the_table_of_the_manual_and_every_field() {
    let (page, manual) = (read("quell-server/src/events.md"), read("quell/src/manual/events.md"));
    let named = table_below(&manual, "# As JSON").into_iter().map(|row| row.trim_end_matches('|'));
    let explained = table_below(&page, "## Kinds");
    assert_eq!(explained.len(), named.len(), "every kind and no other");
    for (explained, row) in explained.into_iter().zip(named) {
        let what = explained.strip_prefix(row).and_then(|rest| rest.strip_prefix("| "));
        assert!(what.is_some_and(|what| what.len() > 2), "of `{row}` the page has `{explained}`");
    }
    // The kind is flattened into its event, as `event` and `data`.
    let mut fields = names_of("quell-core/src/event.rs", "RunEvent");
    assert_eq!(fields.pop().as_deref(), Some("kind"));
    fields.extend(["event", "data"].map(str::to_owned));
    assert_eq!(rows_below(&page, "## An event"), fields);
}

#[test]
fn the_page_of_the_report_names_every_field_as_its_json_does() {
    let page = read("quell-server/src/report.md");
    let report = "quell-core/src/report/report.rs";
    let settled = "quell-flow/src/parallel/settled.rs";
    for (heading, file, item) in [
        ("The report", report, "RunReport"),
        ("A row", report, "RunRow"),
        ("Abandoned work", report, "Abandoned"),
        ("A cause", "quell-core/src/cause.rs", "Cause"),
        ("Counts", report, "Counts"),
        ("Usage", "quell-core/src/usage.rs", "Usage"),
        ("A program", "quell-process/src/output.rs", "ProcessOutput"),
        ("A parallel step", settled, "StepSummary"),
        ("A branch", settled, "BranchRow"),
        ("A step that was not started", "quell-flow/src/skipped.rs", "SkippedStep"),
    ] {
        let mut fields = names_of(file, item);
        if item == "RunReport" {
            fields.push("given".to_owned());
        }
        assert_eq!(rows_below(&page, &format!("## {heading}")), fields, "{item}");
    }
    for (field, file, item) in [
        ("`status`", "quell-core/src/status.rs", "RunStatus"),
        ("`kind` of a run", "quell-core/src/kind.rs", "RunKind"),
        ("`kind` of a cause", "quell-core/src/cause.rs", "CauseKind"),
        ("`what`", report, "Work"),
        ("`encoding`", "quell-process/src/output.rs", "Encoding"),
        ("`counted_as`", settled, "CountedAs"),
        ("`reason`", "quell-flow/src/skipped.rs", "SkipReason"),
    ] {
        let (_, row) = page.split_once(&format!("\n| {field} | `")).expect(field);
        let words = row.lines().next().unwrap().trim_end_matches("` |");
        assert_eq!(words.split("`, `").collect::<Vec<_>>(), names_of(file, item), "{item}");
    }
}

/// Yields the rows of a page that begin with the number of a promise, or of a decision, each with
/// the rest of it.
fn numbered<'a>(page: &'a str, letter: &str) -> Vec<(u32, &'a str)> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_prefix(letter));
    let cells = rows.filter_map(|row| row.split_once(" | "));
    cells.filter_map(|(number, rest)| Some((number.parse().ok()?, rest))).collect()
}

#[test]
fn the_readme_has_every_promise_of_the_manual_each_with_a_test_of_its_number() {
    let (manual, readme) = (read("quell/src/manual/promises.md"), read("../README.md"));
    let shown = numbered(&readme, "I");
    let numbers = |rows: &[(u32, &str)]| rows.iter().map(|(number, _)| *number).collect::<Vec<_>>();
    assert_eq!(numbers(&shown), numbers(&numbered(&manual, "I")));
    for (number, row) in shown {
        assert!(row.contains(&format!("::i{number}_")), "I{number} names no test that bears it");
    }
}

#[test]
fn no_promise_and_no_decision_says_that_it_is_not_kept_yet() {
    let manual = read("quell/src/manual/promises.md");
    let rows = [numbered(&manual, "I"), numbered(&manual, "D")].concat();
    assert_eq!(rows.len(), 40 + 17);
    for (number, row) in rows {
        // A restriction that is set off from what it restricts is forgotten when it is lifted.
        assert!(!row.contains(" *") && !row.contains(" yet."), "{number}: {row}");
    }
}
