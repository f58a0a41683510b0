//! [`View::last_that_is_written`]: how far the log of a run goes by now.

use quell::{Engine, RunId};

use crate::lookup_error::LookupError;
use crate::run_view::RunView;
use crate::service::view::View;
use crate::stored_events::read;

impl View {
    /// Yields the number of the last event of a run, or of its tree, that there is by now; none if
    /// nobody writes the log any more: then its end is its end.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn last_that_is_written(
        &self,
        run: &RunView,
    ) -> Result<Option<u64>, LookupError> {
        let RunView::Stored(stored) = run else {
            return Ok(Some(self.last_seq_by_now(run.clone()).await));
        };
        let (engine, record) = (self.service().engine(), stored.record());
        if record.status.is_terminal() || !engine.is_elsewhere(record) {
            return Ok(None);
        }
        last_stored(engine, record.accepted.root).await.map(Some)
    }
}

/// Yields the number of the last event of the log of a root that is stored by now; zero if none is.
/// It asks for single events: about as often as twice the number has binary digits.
///
/// # Errors
///
/// Fails with the trouble of the store.
async fn last_stored(engine: &Engine, root: RunId) -> Result<u64, LookupError> {
    if !has_behind(engine, root, 0).await? {
        return Ok(0);
    }
    // There is an event behind `known`, and none behind `known + step` when that was looked at.
    let (mut known, mut step) = (0_u64, 1_u64);
    while has_behind(engine, root, known.saturating_add(step)).await? {
        (known, step) = (known.saturating_add(step), step.saturating_mul(2));
    }
    while step > 1 {
        let half = step / 2;
        if has_behind(engine, root, known.saturating_add(half)).await? {
            (known, step) = (known.saturating_add(half), step - half);
        } else {
            step = half;
        }
    }
    Ok(known.saturating_add(1))
}

async fn has_behind(engine: &Engine, root: RunId, seq: u64) -> Result<bool, LookupError> {
    Ok(!read(engine.stored_events(root, seq, 1)).await?.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use quell::store::{Accepted, Epoch, MemoryStore, Record, Store};
    use quell::{EngineConfig, EventKind, RunEvent, RunKind};

    use super::*;

    #[tokio::test]
    async fn the_last_event_of_a_log_is_found_however_long_that_is() {
        let (root, at, epoch) = (RunId::from_text("run"), SystemTime::UNIX_EPOCH, Epoch::new(1, 1));
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::with_config(EngineConfig::new().store(Arc::clone(&store) as _));
        assert_eq!(last_stored(&engine, root).await.unwrap(), 0);
        let accepted = Accepted::new(root, RunKind::Agent, "run".into(), epoch, at);
        store.append(vec![Record::Accepted(accepted.into())]).await.unwrap();
        for seq in 1..=70 {
            let event = RunEvent::new(seq, root, root, at, EventKind::Started);
            store.append(vec![Record::Event { epoch, event }]).await.unwrap();
            assert_eq!(last_stored(&engine, root).await.unwrap(), seq);
        }
    }
}
