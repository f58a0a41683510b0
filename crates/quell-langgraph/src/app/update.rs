//! [`App::update_state`]: a caller changes the values of a thread (contract, section 4).
//!
//! It is a run of the thread like any other, which executes nothing: so it comes after those before
//! it and before those behind it, is stored as they are, and what it leaves is what they would. No
//! list shows it as a run.

use axum::http::{HeaderMap, StatusCode};
use quell::{Payload, RunStatus};
use quell_http::View;
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::app::create::{CreateRequest, Created};
use crate::threads::Thread;
use crate::wire::create::Create;
use crate::wire::exact::{Keys, written};
use crate::wire::nodes::NodesWanted;
use crate::wire::refusal::Refusal;

impl App {
    /// Lays values over those of a thread, or of a state that is named, as its graph takes them.
    /// Yields the id of the state that there is then.
    ///
    /// # Errors
    ///
    /// Fails if there is none, or no such state or node, if a run of it is live, if it has no
    /// graph, and if the store does not take it.
    pub(crate) async fn update_state(
        &self,
        view: &View,
        id: Uuid,
        values: &Payload,
        nodes: NodesWanted,
    ) -> Result<Uuid, Refusal> {
        let thread = self.thread_of(view, id).await?;
        self.check_idle(view, &thread).await?;
        let graph = thread.with_parts(self.engine(), |parts| {
            let keys: Keys = parts.metadata.parse().unwrap_or_default();
            keys.get("graph_id").and_then(|graph| graph.parse::<String>().ok())
        });
        let graph = graph.ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, no_graph(id)))?;
        let body = written(&json!({ "assistant_id": graph, "multitask_strategy": "reject" }));
        let mut create = Create::read(&body.parse().unwrap_or_default())?;
        (create.input, create.is_update, create.nodes) = (values.clone(), true, nodes);
        let headers = HeaderMap::new();
        let request = CreateRequest {
            thread: Some(id),
            create,
            path: "",
            body: b"",
            headers: &headers,
            nth: None,
        };
        let created = match self.create(view, request).await {
            Err(refusal) if refusal == Refusal::busy() => {
                self.check_idle(view, &thread).await?;
                return Err(refusal);
            }
            created => created?,
        };
        let Created::Here(found) = created else { return Err(Refusal::internal()) };
        let report = found.run.ended().await;
        self.settled(&found.run).await;
        if report.status != RunStatus::Completed {
            return Err(Refusal::new(StatusCode::CONFLICT, "The change was stopped"));
        }
        Ok(found.run.id().as_uuid())
    }

    /// Refuses to change a thread of which a run is live.
    async fn check_idle(&self, view: &View, thread: &Thread) -> Result<(), Refusal> {
        let live = self.live_of(view, &self.buried(thread)).await?;
        if live.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = live.iter().map(|run| run.id().to_string()).collect();
        let text = format!("Thread {} has in-flight runs: {}", thread.id, ids.join(", "));
        Err(Refusal::new(StatusCode::CONFLICT, text))
    }
}

/// Upstream's words.
fn no_graph(id: Uuid) -> String {
    format!(
        "Thread '{id}' has no assigned graph ID. This usually occurs when no runs have been made \
         on this particular thread. This operation requires a graph ID. Please ensure a run has \
         been made for the thread or manually update the thread metadata (by setting the \
         'graph_id' field) before running this operation."
    )
}
