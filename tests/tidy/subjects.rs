//! The subjects of commits: `area: what is so now`.

use std::process::Command;

/// What is wrong with the subjects of the commits that the upstream of this branch does not have.
/// Nothing without git or without an upstream: what has landed cannot be mended.
pub(super) fn faults_of_new_ones() -> Vec<String> {
    let new = ["log", "--no-merges", "--format=%s", "@{upstream}..HEAD"];
    let top = env!("CARGO_MANIFEST_DIR");
    let Ok(output) = Command::new("git").args(new).current_dir(top).output() else {
        return Vec::new();
    };
    let subjects = String::from_utf8_lossy(&output.stdout);
    let faults = subjects.lines().filter_map(|it| Some(format!("{it}: {}", fault_of(it)?)));
    faults.collect()
}

/// Says what is wrong with a subject.
fn fault_of(subject: &str) -> Option<&'static str> {
    let Some((areas, what)) = subject.split_once(": ") else {
        return Some("it does not begin with an area");
    };
    let is_name = |area: &str| {
        let is_of_a_name =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_./".contains(c);
        !area.is_empty() && area.chars().all(is_of_a_name)
    };
    if !areas.split(", ").all(is_name) {
        return Some("an area is the name of a file or crate");
    }
    if what.trim().is_empty() {
        return Some("it does not say what is so now");
    }
    if subject.ends_with('.') {
        return Some("it ends with a full stop");
    }
    (subject.chars().count() > super::COLUMNS_MAX).then_some("it is too long")
}

#[test]
fn a_subject_without_an_area_or_with_a_full_stop_is_a_fault() {
    for good in ["engine: a stop is bounded", "core, http: one name", "readme: Rust is enough"] {
        assert_eq!(fault_of(good), None, "{good}");
    }
    let long = format!("engine: {}", "x".repeat(super::COLUMNS_MAX));
    for bad in ["Fix things", "Engine: a stop", "the engine: a stop", "engine: a stop.", &long] {
        assert!(fault_of(bad).is_some(), "{bad}");
    }
}
