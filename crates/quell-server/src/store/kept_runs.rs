//! [`KeptRuns`]: the runs of a store that are read, whoever has it.

use quell::store::{Page, RunRecord, StoreError};
use quell::{RunFilter, RunId, limits};
use quell_flow::excerpt;
use quell_http::EXTERNAL_ID;
use quell_report::text::printable;
use uuid::Uuid;

use super::place::Place;
use super::reader::Reader;
use crate::times::time;

/// The runs of a file or a database.
pub(super) struct KeptRuns {
    place: Place,
    pub(super) reader: Reader,
}

impl KeptRuns {
    /// Opens a file or a database. It is not made, and not changed.
    ///
    /// # Errors
    ///
    /// Fails with what to do about it.
    pub(super) fn open(place: Place) -> Result<Self, String> {
        let reader = Reader::open(&place).map_err(|error| place.told(&error))?;
        Ok(Self { place, reader })
    }

    /// Yields where they are.
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// Says what is wrong with the store.
    pub(super) fn told(&self, error: &StoreError) -> String {
        self.place.told(error)
    }

    /// Finds a run by its id as its caller knows it, or by what the UUID of no other begins with. A
    /// root comes before the runs below it.
    ///
    /// # Errors
    ///
    /// Fails with what to do if there is none, or several, or the store cannot be read.
    pub(super) fn run(&self, text: &str) -> Result<RunRecord, String> {
        let get = |run| self.reader.get(run).map_err(|error| self.told(&error));
        if let Some(found) = get(RunId::from_text(text))? {
            return Ok(found);
        }
        let shown = excerpt(text);
        let Some(range) = beginning(text) else { return Err(self.no_run(&shown)) };
        let mut ids = self.reader.ids(range.0, range.1, SHOWN_MAX + 1);
        if ids.as_ref().is_ok_and(|ids| ids.len() > 1) {
            // The runs below a root begin as it does: their ids begin with the time.
            let roots = self.roots(range)?;
            if !roots.is_empty() {
                let mut roots: Vec<RunId> = roots.iter().map(RunRecord::run).collect();
                roots.sort_unstable_by_key(RunId::as_uuid);
                ids = Ok(roots);
            }
        }
        let ids = ids.map_err(|error| self.told(&error))?;
        match ids[..] {
            [id] => get(id)?.ok_or_else(|| self.no_run(&shown)),
            [] => Err(self.no_run(&shown)),
            _ => Err(self.several(&shown, ids.into_iter())),
        }
    }

    /// Finds a root by its id as its caller knows it, or by what the UUID of no other root begins
    /// with: at least [`DIGITS_MIN`] digits, since what is done with it changes it.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); and if the run is a part of another one.
    pub(super) fn root(&self, text: &str) -> Result<RunRecord, String> {
        let get = |run| self.reader.get(run).map_err(|error| self.told(&error));
        let shown = excerpt(text);
        if let Some(found) = get(RunId::from_text(text))? {
            if found.accepted.parent.is_none() {
                return Ok(found);
            }
            let root = found.accepted.root;
            return Err(format!("run `{shown}` is a part of `{root}`; expected that"));
        }
        let digits = text.chars().filter(|c| *c != '-').count();
        let Some(range) = beginning(text).filter(|_| digits >= DIGITS_MIN) else {
            return Err(self.no_id(&shown));
        };
        let found = self.roots(range)?;
        match found.len() {
            0 => Err(self.no_run(&shown)),
            1 => get(found[0].run())?.ok_or_else(|| self.no_run(&shown)),
            _ => Err(self.several(&shown, found.iter().map(RunRecord::run))),
        }
    }

    /// Lists the roots from one id to another, and at least one more than are shown if there are
    /// so many.
    fn roots(&self, (from, to): (RunId, RunId)) -> Result<Vec<RunRecord>, String> {
        let is_it = |run: RunId| (from.as_uuid()..=to.as_uuid()).contains(&run.as_uuid());
        let (mut found, mut page) = (Vec::new(), Page::first(limits::STORE_PAGE_MAX));
        while found.len() <= SHOWN_MAX {
            let read = self.reader.list(&RunFilter::new().roots(), page);
            let read = read.map_err(|error| self.told(&error))?;
            found.extend(read.items.into_iter().flatten().filter(|root| is_it(root.run())));
            let Some(next) = read.next else { break };
            page = Page::first(limits::STORE_PAGE_MAX).after(next);
        }
        Ok(found)
    }

    /// Says that several runs begin alike, and which.
    fn several(&self, text: &str, ids: impl ExactSizeIterator<Item = RunId>) -> String {
        let has_more = ids.len() > SHOWN_MAX;
        let mut words = format!("several runs begin with `{text}`; write more of one:");
        for id in ids.take(SHOWN_MAX) {
            words.extend(["\n       ", &*printable(&about(id, self.reader.get(id)))]);
        }
        if has_more {
            words.push_str("\n       and others");
        }
        words
    }

    fn no_run(&self, text: &str) -> String {
        let place = self.place.to_string();
        format!(
            "no run `{text}` is in {}; {} lists those that are",
            printable(&place),
            self.lists()
        )
    }

    /// Says of a text that is too short for an id, or of none, what an id looks like.
    fn no_id(&self, text: &str) -> String {
        let place = self.place.to_string();
        format!(
            "no run `{text}` is in {}; expected an id such as {EXAMPLE}, or the first digits of \
             one, at least {DIGITS_MIN}; {} lists the runs",
            printable(&place),
            self.lists(),
        )
    }

    /// Yields the command line that lists the runs.
    fn lists(&self) -> String {
        // What is shown of an address does not open it: it has no user.
        match self.place {
            Place::File(_) => {
                format!("`quell runs --store {}`", printable(&self.place.to_string()))
            }
            Place::Database(_) => "`quell runs` of the same store".to_owned(),
        }
    }
}

/// Yields the UUID of a run, and what tells it from others.
fn about(id: RunId, run: Result<Option<RunRecord>, StoreError>) -> String {
    match run {
        Ok(Some(run)) => {
            let (status, at) = (run.status.as_str(), time(run.accepted.at));
            let external = run.accepted.labels.get(EXTERNAL_ID);
            let external = external.map_or_else(String::new, |id| format!("  ({id})"));
            format!("{id}  {status:<9}  {at}  {}{external}", run.accepted.name)
        }
        Ok(None) => id.to_string(),
        Err(error) => format!("{id}  {error}"),
    }
}

/// Yields the first and the last id that begin with a text; none if no UUID does.
fn beginning(text: &str) -> Option<(RunId, RunId)> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let is_right = text.len() <= UUID_CHARS && !digits.is_empty() && digits.len() <= UUID_DIGITS;
    if !is_right || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let padded = |with: char| {
        let mut digits = digits.clone();
        digits.extend(std::iter::repeat_n(with, UUID_DIGITS - digits.len()));
        Uuid::try_parse(&digits).ok().map(RunId::from_uuid)
    };
    padded('0').zip(padded('f'))
}

/// The fewest digits that stand for a run which is changed.
const DIGITS_MIN: usize = 4;

/// What an id looks like.
const EXAMPLE: &str = "01a213ca-2413-7e94-a5cc-82e28401cd7e";

/// Runs that begin alike and are shown.
const SHOWN_MAX: usize = 5;

/// Characters of a UUID with its hyphens, and the digits of one.
const UUID_CHARS: usize = 36;
const UUID_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_beginning_of_ids_only_if_it_has_their_digits() {
        let (from, to) = beginning("01A2-0").unwrap();
        assert_eq!(from.to_string(), "01a20000-0000-0000-0000-000000000000");
        assert_eq!(to.to_string(), "01a20fff-ffff-ffff-ffff-ffffffffffff");
        let whole = "01a205c7-0447-7a60-97bd-559ffd8543b3";
        let (from, to) = beginning(whole).unwrap();
        assert_eq!((from.to_string(), from), (whole.to_owned(), to));
        for none in ["", "-", "sh", "0x1", "01a2 ", &format!("{whole}0"), "é"] {
            assert_eq!(beginning(none), None, "{none}");
        }
    }
}
