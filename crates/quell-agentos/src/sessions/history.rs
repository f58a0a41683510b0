//! [`Sessions::history`]: what was said in the earlier runs of a session, for the next one
//! (contract, section 10).

use std::time::SystemTime;

use futures::{StreamExt as _, stream};
use quell::{Payload, RunFilter, RunId, RunStatus};
use quell_flow::{COMPONENT, Component};
use quell_http::{
    Charge, RunView, SESSION, View, offload_if_large, parse_id, same_id, whole_millis,
};

use crate::sessions::find::{Sessions, is_lone, spellings};
use crate::snapshot::{FORKED_FROM, position_of, read_at, session_of};
use crate::wire::history::said;
use crate::wire::refusal::Refusal;

/// Which history is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryOf<'a> {
    /// Says how many runs it has at most.
    pub(crate) component: &'a Component,
    pub(crate) session: &'a str,
    /// Whose runs they are; of one that goes on from a run, whose that is.
    pub(crate) owner: Option<&'a str>,
    /// The run that it ends with, however that has ended; none for the newest one.
    pub(crate) last: Option<&'a RunView>,
    /// How long it may be as JSON.
    pub(crate) bytes_max: usize,
}

/// The order of runs in a session.
type Place = (SystemTime, RunId);

impl Sessions {
    /// Reads what was said in the newest runs of a component in a session that have completed, or
    /// were cancelled, by now: a list of messages, the oldest first, and what it is charged.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or there is no room for them.
    pub(crate) async fn history(
        &self,
        view: &View,
        of: HistoryOf<'_>,
    ) -> Result<(Payload, Charge), Refusal> {
        let runs = self.earlier(view, of).await?;
        let mut reads = stream::iter(runs).map(|run| said_in(view, run)).buffered(AT_ONCE);
        let (mut all, mut bytes) = (Vec::new(), BRACKETS);
        let mut room = view.room_now(0).map_err(Refusal::overdrawn)?;
        while let Some(said) = reads.next().await {
            let said = said?;
            let more = said.iter().map(|message| message.len() + COMMA).sum::<usize>();
            // No older one either: what was said in between would be missing.
            if bytes + more > of.bytes_max {
                break;
            }
            bytes += more;
            // Before the next charge: together they would be too many.
            drop(room);
            room = view.room_now(COPIES * bytes).map_err(Refusal::overdrawn)?;
            all.push(said);
        }
        let all: Vec<_> = all.into_iter().rev().flatten().collect();
        let list = Payload::json(&all).map_err(|_| Refusal::unexpected())?;
        Ok((list, room))
    }

    /// Finds the runs of a history, the newest first.
    async fn earlier(&self, view: &View, of: HistoryOf<'_>) -> Result<Vec<RunId>, Refusal> {
        let line = self.line(view, of).await?;
        let most = of.component.history_of() - line.len();
        let of = match line.last() {
            Some(first) => HistoryOf { owner: first.owner(), last: Some(first), ..of },
            None => of,
        };
        let mut found = Vec::new();
        for text in spellings(of.session) {
            found.extend(self.newest(view, of, &text, most).await?);
        }
        if most > 0
            && let Ok(root) = parse_id(of.session)
            && let Some(run) = view.find_by_id(root).await?
            && is_lone(&run)
            && of.means(&run)
            && self.has(view, &run).await?
        {
            found.push(place(&run));
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.truncate(most);
        let line = line.iter().map(RunView::id);
        Ok(line.chain(found.into_iter().map(|(_, run)| run)).collect())
    }

    /// Finds the run that a history ends with, the one that it goes on from, and so on: what came
    /// between two of these is of another line.
    async fn line(&self, view: &View, of: HistoryOf<'_>) -> Result<Vec<RunView>, Refusal> {
        let (mut line, mut next) = (Vec::new(), of.last.cloned());
        while let Some(run) = next.filter(|_| line.len() < of.component.history_of()) {
            let before = match run.label(FORKED_FROM) {
                Some(id) => view.find(id).await?,
                None => None,
            };
            // Another run may have the id of one that was deleted.
            next = before.filter(|before| place(before) < place(&run) && of.is_own(before));
            if let Some(before) = &next
                && !self.has(view, before).await?
            {
                next = None;
            }
            line.push(run);
        }
        Ok(line)
    }

    /// Finds the newest runs that name a session with this text.
    async fn newest(
        &self,
        view: &View,
        of: HistoryOf<'_>,
        session: &str,
        most: usize,
    ) -> Result<Vec<Place>, Refusal> {
        // A store goes by the first label: of a component there may be very many.
        let filter = RunFilter::new().label(SESSION, session).label(COMPONENT, of.component.id());
        let filter = filter.kind(of.component.kind().run_kind());
        let filter = of.owner.into_iter().fold(filter, RunFilter::owner);
        let (mut found, mut next, mut parts) = (Vec::new(), None, 0);
        while found.len() < most && parts < PARTS_MAX && (parts == 0 || next.is_some()) {
            let left = most - found.len();
            let page = view.list(filter.clone(), left, next, |run| of.means(run)).await?;
            for run in page.runs {
                if !self.leaving.has(view, &run).await? {
                    found.push(place(&run));
                }
            }
            (next, parts) = (page.next, parts + 1);
        }
        Ok(found)
    }
}

impl HistoryOf<'_> {
    /// Tells whether a run is one of it, but for the last one.
    fn means(&self, run: &RunView) -> bool {
        matches!(run.status(), RunStatus::Completed | RunStatus::Cancelled)
            && run.owner() == self.owner
            && !run.is_rolled_back()
            && self.last.is_none_or(|last| place(run) < place(last))
            && self.is_own(run)
    }

    /// Tells whether a run is one of the component in the session, whosever it is.
    fn is_own(&self, run: &RunView) -> bool {
        run.kind() == self.component.kind().run_kind()
            && run.label(COMPONENT) == Some(self.component.id())
            && same_id(&session_of(run), self.session)
    }
}

fn place(run: &RunView) -> Place {
    (whole_millis(run.queued_at()), run.id())
}

/// Reads what was said in a run. One that has left meanwhile has said nothing.
async fn said_in(view: &View, run: RunId) -> Result<Vec<Payload>, Refusal> {
    let Some(run) = view.find_by_id(run).await? else { return Ok(Vec::new()) };
    let Some(position) = position_of(view, &run) else { return Ok(Vec::new()) };
    let reading = view.read(run).await?;
    let bytes = reading.weight();
    let work = async move {
        let tree = read_at(&reading, &position);
        said(&tree).iter().map(Payload::json).collect::<Result<Vec<_>, _>>()
    };
    offload_if_large(bytes, work).await?.map_err(|_| Refusal::unexpected())
}

/// Runs that are read at once.
const AT_ONCE: usize = 4;

/// Parts of a list that are read for a history: with a store each is a few pages.
const PARTS_MAX: usize = 16;

/// What a list has besides its messages, and besides each.
const BRACKETS: usize = 2;
const COMMA: usize = 1;

/// Copies of it in memory until the run has its input: each message, the list, and the input.
const COPIES: usize = 3;
