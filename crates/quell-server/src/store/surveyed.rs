//! [`surveyed`]: what `quell store check` says of a database.

use std::fmt::Write as _;

use quell::store::{Page, StoreError};
use quell::{RunFilter, limits};
use quell_postgres::Survey;
use quell_report::text::{printable, size};

use super::place::{Database, Place};
use super::reader::DatabaseReader;

/// Looks at a database and reads all of its runs. Yields what was found if nothing is wrong.
///
/// # Errors
///
/// Fails with what is wrong, and what to do, before what was found.
pub(super) fn surveyed(place: &Place, database: &Database) -> Result<String, String> {
    let told = |error: &StoreError| place.told(error);
    let DatabaseReader { reader, waits } =
        DatabaseReader::open(database).map_err(|it| told(&it))?;
    let survey = waits.block_on(reader.survey()).map_err(|error| told(&error))?;
    let (mut unreadable, mut more, mut next) = (Vec::new(), 0_usize, None);
    loop {
        let page = Page::first(limits::STORE_PAGE_MAX);
        let page = next.iter().fold(page, |page, cursor| page.after(*cursor));
        let read = waits.block_on(reader.list(&RunFilter::new(), page));
        let read = read.map_err(|error| told(&error))?;
        for one in read.items.into_iter().filter_map(Result::err) {
            if unreadable.len() < SHOWN_MAX {
                unreadable.push(one.to_string());
            } else {
                more += 1;
            }
        }
        next = read.next;
        if next.is_none() {
            break;
        }
    }
    let found = found(&survey);
    if unreadable.is_empty() {
        return match &survey.refusal {
            None => Ok(format!("{}\n{found}", printable(&format!("{place}: fine")))),
            Some(refusal) => Err(format!("{}\n{found}", told(refusal))),
        };
    }
    let refusal = survey.refusal.as_ref().map(|refusal| format!("{}\n", told(refusal)));
    let mut words = refusal.unwrap_or_default();
    let all = unreadable.len() + more;
    let place = place.to_string();
    let _ = write!(words, "{}: runs that cannot be read: {all}", printable(&place));
    for one in &unreadable {
        words.extend(["\n       ", &*printable(one)]);
    }
    if more > 0 {
        let _ = write!(words, "\n       and {more} more");
    }
    Err(format!("{words}\n{found}"))
}

/// Draws what was found, a line for each thing.
fn found(survey: &Survey) -> String {
    let standby = if survey.is_standby {
        "a standby, which may be behind".to_owned()
    } else {
        waited_for(&survey.synchronous_standby_names, &survey.synchronous_commit)
    };
    let count = |count: Option<u64>| {
        count.map_or_else(|| "too many to be counted in time".to_owned(), |count| count.to_string())
    };
    let bytes = |bytes: u64| size(usize::try_from(bytes).unwrap_or(usize::MAX));
    let Survey { fsync, full_page_writes, synchronous_commit, .. } = survey;
    let facts = [
        ("server", format!("PostgreSQL {}", survey.version)),
        ("fsync", fsync.clone()),
        ("pages", format!("full_page_writes {full_page_writes}")),
        ("commit", format!("synchronous_commit {synchronous_commit}; {standby}")),
        ("schema", format!("{}, opened or taken over {} times", survey.schema, survey.boot)),
        ("nodes", survey.nodes.to_string()),
        ("runs", count(survey.runs)),
        ("roots", format!("{}, {} of them live", count(survey.roots), survey.live)),
        ("events", count(survey.events)),
        ("states", count(survey.checkpoints)),
        ("bytes", format!("{}, {} on disk", bytes(survey.bytes), bytes(survey.disk_bytes))),
    ];
    let lines = facts.map(|(title, words)| format!("  {title:<8} {}", printable(&words)));
    lines.join("\n")
}

/// Says which standbys a commit waits for.
fn waited_for(names: &str, commit: &str) -> String {
    match (names, commit) {
        ("", _) => "no commit waits for a standby".to_owned(),
        (_, "off" | "local") => format!("no commit waits for {names}"),
        (_, "remote_write") => format!("commits wait for {names}, not for what they have on disk"),
        _ => format!("commits wait for {names}"),
    }
}

/// The most that is shown of what cannot be read. The others are counted.
const SHOWN_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_is_waited_for_only_if_commits_do_so() {
        let of = |commit| waited_for("far", commit);
        assert_eq!(waited_for("", "on"), "no commit waits for a standby");
        assert_eq!(
            [of("on"), of("remote_apply")],
            ["commits wait for far", "commits wait for far"]
        );
        assert_eq!(of("remote_write"), "commits wait for far, not for what they have on disk");
        assert_eq!([of("off"), of("local")].map(|words| words.starts_with("no ")), [true; 2]);
    }
}
