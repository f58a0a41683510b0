//! [`Service::holds`]: whether what is known of a run here is what others will say of it.

use quell::RunRef;
use quell::store::StoreError;

use crate::lost::is_loss;
use crate::service::Service;

impl Service {
    /// Waits until what is known of a run here is stored, if there is a store, and tells whether it
    /// holds: this node has not lost the run, and does not end with what a store in trouble may
    /// never have. To be asked before an end, or a pause, is told: a later process, or another
    /// node, would tell another one.
    ///
    /// A store that is in trouble is not waited for; one that neither stores nor fails is so after
    /// 30 s.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only waits.
    ///
    /// # Examples
    ///
    /// ```
    /// # use quell::{Engine, RunSpec};
    /// # use quell_flow::Catalog;
    /// # use quell_http::Service;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let service = Service::new(Engine::new(), Catalog::new());
    /// let handle = service.engine().submit(RunSpec::agent("a"), async |_ctx| Ok(())).unwrap();
    /// let run = handle.into_ref();
    /// run.ended().await;
    /// assert!(service.holds(&run).await);
    /// # }
    /// ```
    pub async fn holds(&self, run: &RunRef) -> bool {
        !self.engine().has_store() || self.is_kept(run.stored().await)
    }

    /// As [`Service::holds`], of all runs of a tree, with the events that it has told by now.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only waits.
    pub async fn holds_tree(&self, root: &RunRef) -> bool {
        // What a node has given up since it has lost its lease is on its way no more.
        self.is_kept(root.events_stored().await) && self.holds(root).await
    }

    fn is_kept<T>(&self, stored: Result<T, StoreError>) -> bool {
        let Err(error) = stored else { return true };
        !is_loss(&error) && (error.is_refusal() || !self.is_draining())
    }
}
