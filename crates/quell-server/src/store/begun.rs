//! [`words`]: what is said of a store that has just begun where something stood.

use quell_report::text::printable;
use quell_sqlite::Begun;

use super::place::Place;

/// Says that a store is new and empty although something stood in its place; none if nothing did,
/// or it was there.
pub(super) fn words(place: &Place, begun: Option<Begun>) -> Option<String> {
    let what = match begun? {
        Begun::InEmptyFile => "the file was empty: a new store, without any run, has begun in it",
        Begun::AfterAnother => {
            "a store was here before, and its file is gone or empty: this one is new, without the \
             runs of that"
        }
        _ => return None,
    };
    Some(printable(&format!("{place}: {what}")).into_owned())
}
