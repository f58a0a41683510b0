//! [`App::turn_of_nodes`]: of the batches with one key, one is made at a time, of all nodes on one
//! store: what one of them finds there, no other one is about to take back.

use std::sync::Arc;

use quell::{CancelRequest, Engine, OnBusy, RunContext, RunRef, RunSpec};
use quell_http::{RECORD, StartError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::app::App;
use crate::app::app::to_the_end;
use crate::app::gone::forget;
use crate::wire::refusal::Refusal;

/// The turn of one node. Dropped, that of the next one begins.
#[derive(Debug)]
pub(crate) struct TurnOfNodes(Option<(oneshot::Sender<()>, Engine, RunRef)>);

impl App {
    /// Waits until no other node makes a batch with this key of this owner. A node that is lost has
    /// its turn until its lease is over.
    ///
    /// # Errors
    ///
    /// Fails if the store does not take it, or this node ends.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropped, it has no turn.
    pub(crate) async fn turn_of_nodes(
        &self,
        owner: Option<&Arc<str>>,
        key: &str,
    ) -> Result<TurnOfNodes, Refusal> {
        if !self.is_node() {
            return Ok(TurnOfNodes(None));
        }
        let whose = owner.map_or_else(|| "-".to_owned(), |owner| format!("+{owner}"));
        let lane = Uuid::new_v5(&TURNS, format!("{whose}\n{key}").as_bytes());
        let spec = RunSpec::step(NAME).unlimited().label(RECORD, NAME);
        let spec = spec.lane(format!("{NAME}:{lane}"), OnBusy::Enqueue);
        let spec = owner.into_iter().fold(spec, |spec, owner| spec.owner(&**owner));
        let ((begins, begun), (done, is_done)) = (oneshot::channel(), oneshot::channel::<()>());
        let body = async move |ctx: RunContext| {
            let _ = begins.send(());
            // Dropped, it is over as well.
            let _ = ctx.run_until_stopped(is_done).await;
            Ok(())
        };
        let unavailable = || Refusal::from(StartError::Unavailable);
        let engine = self.engine().clone();
        // A caller that goes away while the store is waited for drops the turn then.
        let turn = to_the_end(async move {
            let run = engine.submit_durably(spec, body).await.map_err(|_| unavailable())?;
            Ok::<_, Refusal>(TurnOfNodes(Some((done, engine, run.into_ref()))))
        });
        let turn = turn.await?;
        begun.await.map_err(|_| unavailable())?;
        Ok(turn)
    }
}

impl Drop for TurnOfNodes {
    fn drop(&mut self) {
        let Some((done, engine, run)) = self.0.take() else { return };
        // One that still waits for its turn is stopped.
        run.cancel(CancelRequest::because("its batch is over"));
        drop(done);
        if let Ok(here) = Handle::try_current() {
            drop(here.spawn(async move { forget(&engine, run.id()).await }));
        }
    }
}

const NAME: &str = "batch";

/// The lanes of such turns.
const TURNS: Uuid = Uuid::from_u128(0x7175_656c_6c2d_6261_7463_682d_7475_726e);
