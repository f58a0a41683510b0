//! [`RunPage`] and [`ListCursor`]: a part of a list of runs, in memory and in the store at once,
//! and a place in it.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use quell::store::Cursor;
use quell::{RunId, RunRef};
use uuid::Uuid;

use crate::run_view::RunView;

/// A place in a list of runs. Its text means something to this service only.
///
/// # Examples
///
/// ```
/// use quell_http::ListCursor;
///
/// assert!("yesterday".parse::<ListCursor>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListCursor {
    /// The runs in memory that are left are those before this: nanoseconds since 1970, and the id.
    pub(crate) before: (u128, RunId),
    /// How far the store was read.
    pub(crate) store: Place,
}

/// A part of a list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunPage {
    /// The runs, newest first.
    pub runs: Vec<RunView>,
    /// Where the next part begins; `None` if this was the last one.
    pub next: Option<ListCursor>,
    /// How many there are in all parts; `None` if that is not known without reading more of the
    /// store.
    pub total: Option<usize>,
}

/// A place in the list of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before the first one.
    Begin,
    /// Behind what the store has here.
    Behind(Cursor),
    /// Behind the last one.
    End,
}

/// A text is no place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the `next` of a list")]
#[non_exhaustive]
pub struct BadCursor;

impl fmt::Display for ListCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, run) = self.before;
        write!(f, "{at:x}.{}", run.as_uuid().simple())?;
        match self.store {
            Place::Begin => f.write_str("."),
            Place::Behind(place) => write!(f, ".{:x}", place.as_u64()),
            Place::End => Ok(()),
        }
    }
}

impl FromStr for ListCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let id = |text: &str| Uuid::try_parse(text).map(RunId::from_uuid).map_err(|_| BadCursor);
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(|_| BadCursor);
        let parts: Vec<_> = text.split('.').collect();
        let (at, run, store) = match *parts {
            [at, run] => (at, run, Place::End),
            [at, run, ""] => (at, run, Place::Begin),
            [at, run, place] => (at, run, Place::Behind(Cursor::from_u64(number(place)?))),
            _ => return Err(BadCursor),
        };
        let at = u128::from_str_radix(at, 16).map_err(|_| BadCursor)?;
        Ok(Self { before: (at, id(run)?), store })
    }
}

/// Yields the place of a run in memory: when it was accepted, in nanoseconds, and its id.
pub(crate) fn key(run: &RunRef) -> (u128, RunId) {
    let since = run.queued_at().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos(), run.id())
}

/// Nanoseconds of a millisecond.
pub(crate) const NANOS: u128 = 1_000_000;

/// Yields the id of a run, and when it was accepted, as the store has it.
pub(crate) fn dated(run: &RunRef) -> (RunId, u128) {
    (run.id(), millis(run.queued_at()))
}

pub(crate) fn millis(at: SystemTime) -> u128 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}
