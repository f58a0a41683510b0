//! The bounds of the engine, and what the manual says of them.

use super::sources::read;

/// Yields the names of the constants, each with its value in the words of the manual.
pub(super) fn constants() -> Vec<(String, String)> {
    let text = read("crates/quell-core/src/limits.rs");
    let constants = text.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("pub const ")?.split_once(": ")?;
        let (_, value) = rest.split_once(" = ")?;
        Some((name.to_owned(), words(name, value.trim_end_matches(';'))))
    });
    constants.collect()
}

/// Yields the names of the options of `Limits`.
pub(super) fn options() -> Vec<String> {
    let text = read("crates/quell/src/config.rs");
    let (_, text) = text.split_once("pub struct Limits {").unwrap();
    let (fields, _) = text.split_once("\n}").unwrap();
    let names =
        fields.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next());
    names.map(str::to_owned).collect()
}

/// Yields the rows of the manual's first table: the name in the second column, and the default.
pub(super) fn told() -> Vec<(String, String)> {
    let text = read("crates/quell/src/manual/limits.md");
    let rows = text.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    rows.filter(|row| row.len() == 6 && row[2].starts_with('`'))
        .map(|row| (row[2].trim_matches('`').to_owned(), row[3].to_owned()))
        .collect()
}

/// Puts the value of a constant into words.
pub(super) fn words(name: &str, value: &str) -> String {
    let duration = |unit: &str| value.strip_prefix(unit)?.strip_suffix(')').map(with_commas);
    if let Some(count) = duration("Duration::from_secs(") {
        format!("{count} s")
    } else if let Some(count) = duration("Duration::from_mins(") {
        format!("{count} min")
    } else if let Some(count) = duration("Duration::from_hours(") {
        format!("{count} h")
    } else if let Some((count, shift)) = value.split_once(" << ") {
        let unit = match shift {
            "10" => "KiB",
            "20" => "MiB",
            "30" => "GiB",
            other => panic!("{name}: {other}"),
        };
        format!("{count} {unit}")
    } else if name.ends_with("_BYTES_MAX") {
        format!("{} bytes", with_commas(value))
    } else if name.ends_with("_PERCENT") {
        format!("{value} %")
    } else {
        with_commas(value)
    }
}

fn with_commas(number: &str) -> String {
    number.replace('_', ",")
}
