//! [`read_log`]: the handler that shows the events of a run, page by page.

use axum::extract::RawQuery;
use quell::RunEvent;

use crate::counted::counted;
use crate::native::extract::{Caller, RunPath};
use crate::native::problems::RefusedPart;
use crate::native::query::LogQuery;
use crate::native::routes::{Answer, readable_run};
use crate::native::wire::{LogPage, event_text};
use crate::run_state::written;

/// Reads the event log of a run and its descendants, page by page.
///
/// The events that there are by now, in their order, without waiting for more: as many as the limit
/// says, or as a mebibyte holds, or as there is room for under way. Each is what the stream of the
/// run tells, and is told under this number from now on, whatever becomes of this server. In the
/// place of events that are gone is `lagged`, which says their numbers.
#[utoipa::path(
    get, path = "/v1/runs/{id}/log", operation_id = "read_log", tag = "runs",
    params(
        RunPath,
        ("after" = Option<u64>, Query, description = "The last event that the client has: `after` \
            of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1_000,
            description = "1 to 1,000. Defaults to 100"),
        ("last" = Option<bool>, Query, description = "Whether to say the number of the last \
            event that there is by now. Defaults to false"),
    ),
    responses(
        RefusedPart,
        (status = 200, description = "Events", body = LogPage),
    )
)]
pub(crate) async fn read_log(
    Caller(view): Caller,
    RunPath(id): RunPath,
    RawQuery(query): RawQuery,
) -> Answer {
    let LogQuery { after, limit, asks_last } = LogQuery::read(query.as_deref())?;
    let run = readable_run(&view, id).await?;
    let queued_at = written(run.row().queued_at);
    let mut page = LogPage { events: Vec::new(), after, has_more: false, queued_at, last: None };
    let (mut room, mut bytes, mut refused) = (view.room_now(0)?, 0, None);
    let take = |event: &RunEvent| {
        let text = event_text(event);
        let (is_first, more) = (page.events.is_empty(), bytes + text.get().len());
        let is_full = !is_first && (page.events.len() >= limit || more > BYTES_MAX);
        // Before it is kept: others read pages of their own meanwhile.
        let has_room = if is_full { Ok(()) } else { room.resize(counted(more)) };
        if is_full || has_room.is_err() {
            page.has_more = true;
            refused = has_room.err().filter(|_| is_first);
            return false;
        }
        bytes = more;
        page.after = event.last_seq();
        page.events.push(text);
        true
    };
    view.read_log(&run, after, take).await?;
    if let Some(refused) = refused {
        return Err(refused.into());
    }
    if asks_last && page.has_more {
        let last = view.last_that_is_written(&run).await?;
        page.last = last.map(|last| last.max(page.after));
    }
    Ok(view.json_response_in(room, bytes, move || page).await?)
}

/// What the events of a page take as text; the first one may take more.
const BYTES_MAX: usize = 1 << 20;
