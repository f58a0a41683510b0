//! [`App::update_state`]: a caller changes the values of a thread (contract, section 4).
//!
//! It is a run of the thread like any other, which executes nothing: so it comes after those before
//! it and before those behind it, is stored as they are, and what it leaves is what they would. No
//! list shows it as a run.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use quell::{Payload, RunStatus};
use quell_http::View;
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::app::App;
use crate::app::create::{CreateRequest, Created};
use crate::threads::Thread;
use crate::wire::asked::Asked;
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
        let Created::Here(found) = self.change(view, &thread, &create).await? else {
            return Err(Refusal::internal());
        };
        let report = found.run.ended().await;
        self.heard(&found.run).await?;
        if report.status != RunStatus::Completed {
            return Err(Refusal::new(StatusCode::CONFLICT, "The change was stopped"));
        }
        Ok(found.run.id().as_uuid())
    }

    /// Makes the run of a change, behind the changes that others make just now.
    async fn change(
        &self,
        view: &View,
        thread: &Thread,
        create: &Create,
    ) -> Result<Created, Refusal> {
        let (headers, mut pause) = (HeaderMap::new(), PAUSES.0);
        let until = Instant::now() + BUSY_MAX;
        loop {
            let request = CreateRequest {
                thread: Some(thread.id),
                create: create.clone(),
                path: "",
                body: b"",
                headers: &headers,
                nth: None,
            };
            match self.create(view, request).await {
                Err(refusal) if refusal == Refusal::busy() && Instant::now() < until => {
                    self.check_idle(view, thread).await?;
                }
                created => return created,
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Refuses to change a thread of which a run is live.
    async fn check_idle(&self, view: &View, thread: &Thread) -> Result<(), Refusal> {
        let mut live = self.live_of(view, &self.buried(thread)).await?;
        // Other changes are over in a moment, and no list shows them.
        live.retain(|run| Asked::of(run).is_none_or(|asked| !asked.is_update));
        if live.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = live.iter().map(|run| run.id().to_string()).collect();
        let text = format!("Thread {} has in-flight runs: {}", thread.id, ids.join(", "));
        Err(Refusal::new(StatusCode::CONFLICT, text))
    }
}

/// How long a change waits for others at most, and between two looks: at first, and at most.
const BUSY_MAX: Duration = Duration::from_secs(10);
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(80));

/// Upstream's words.
fn no_graph(id: Uuid) -> String {
    format!(
        "Thread '{id}' has no assigned graph ID. This usually occurs when no runs have been made \
         on this particular thread. This operation requires a graph ID. Please ensure a run has \
         been made for the thread or manually update the thread metadata (by setting the \
         'graph_id' field) before running this operation."
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use quell::store::Store;
    use quell::testing::cluster::Nodes;
    use quell::{Engine, EngineConfig, Recovery, RunRef};
    use quell_flow::{Catalog, Component, Reducer};
    use quell_http::Service;
    use quell_test_support::{soon, within};
    use serde_json::Value;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::options::Options;

    /// Two nodes with a graph that has nodes and one that has none, whose bodies are counted and
    /// held back.
    struct Pair {
        apps: [App; 2],
        /// The store of the second one.
        store: Arc<dyn Store>,
        begun: Arc<AtomicUsize>,
        go_on: Arc<Semaphore>,
        thread: Uuid,
    }

    impl Pair {
        async fn new() -> Self {
            let (begun, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
            let graph = |name: &str| {
                let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
                let body = move |_ctx, input| {
                    let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
                    async move {
                        begun.fetch_add(1, Ordering::SeqCst);
                        go_on.acquire().await.unwrap().forget();
                        Ok(input)
                    }
                };
                Component::workflow(name, body).reducer("said", Reducer::Append)
            };
            let nodes = Nodes::new(Duration::from_secs(30));
            let of = [nodes.join("a"), nodes.join("b")];
            let apps = of.clone().map(|node| {
                let engine = Engine::with_config(EngineConfig::new().node(node));
                let two = graph("noded").nodes(["one", "two"]);
                let catalog = Catalog::new().with(graph("bare")).with(two);
                App::new(Service::new(engine, catalog), Options::default())
            });
            let thread = Uuid::now_v7();
            let made = Thread::new(thread, None, &Keys::new(), false);
            apps[0].make_thread(made, true).await.unwrap().unwrap();
            let [_, store] = of;
            Self { apps, store, begun, go_on, thread }
        }

        /// Makes a run of a graph, behind those that there are, on the first node.
        async fn made(&self, body: &Value, is_update: bool) -> RunRef {
            let keys = written(body).parse().unwrap();
            let mut create = Create::read(&keys).unwrap();
            create.is_update = is_update;
            create.nodes.as_node = keys.get("as_node").and_then(|name| name.parse().ok());
            let headers = HeaderMap::new();
            let (thread, path, body, nth) = (Some(self.thread), "", &b""[..], None);
            let request = CreateRequest { thread, create, path, body, headers: &headers, nth };
            let app = &self.apps[0];
            let made = app.create(&app.all(), request).await.unwrap();
            app.engine().get(made.run().id()).unwrap()
        }

        /// Has the first node end, and the second one take over what it leaves.
        async fn hand_over(&self) {
            self.apps[0].engine().shutdown(Duration::ZERO).await;
            let catalog = self.apps[1].service().catalog();
            let decide = |run: &_| catalog.recovery(run, &self.store).unwrap_or(Recovery::Fail);
            let all = self.apps[1].engine().take_over(decide).await.unwrap();
            assert!(all.is_some());
        }
    }

    /// Has a change of values wait behind a run when its node ends. Tells what it leaves on the
    /// next one, and that nothing has begun there.
    async fn changed_elsewhere(graph: &str, as_node: Option<&str>, forks: bool) -> (Value, Value) {
        let pair = Pair::new().await;
        let body = |nr: u32| {
            let input = json!({ "nr": nr });
            json!({ "assistant_id": graph, "input": input, "multitask_strategy": "enqueue" })
        };
        let mut first = None;
        pair.go_on.add_permits(2);
        for nr in 1..=2 {
            let run = pair.made(&body(nr), false).await;
            within("it ends", run.ended()).await;
            run.stored().await.unwrap();
            let app = &pair.apps[0];
            let thread = app.thread_of(&app.all(), pair.thread).await.unwrap();
            let state = app.state(&app.all(), &thread, None).await.unwrap().unwrap();
            first = first.or(Some(state.0.id));
        }
        let held = pair.made(&body(3), false).await;
        soon("it has begun", || pair.begun.load(Ordering::SeqCst) == 3).await;
        let mut change = body(0);
        change["input"] = json!({ "said": ["mine"] });
        change["as_node"] = json!(as_node);
        if forks {
            change["checkpoint_id"] = json!(first.unwrap().to_string());
        }
        let change = pair.made(&change, true).await;
        assert!(!held.status().is_terminal() && change.row().started_at.is_none());
        pair.hand_over().await;
        let app = &pair.apps[1];
        let change = app.engine().get(change.id()).expect("it was taken over");
        let report = within("it ends", change.ended()).await;
        assert_eq!(report.status, RunStatus::Completed, "{report:?}");
        assert_eq!(pair.begun.load(Ordering::SeqCst), 3, "nothing has begun for it");
        let thread = app.thread_of(&app.all(), pair.thread).await.unwrap();
        let (parts, values) = app.state(&app.all(), &thread, None).await.unwrap().unwrap();
        (written(&*values.unwrap()).parse().unwrap(), json!(parts.next))
    }

    #[tokio::test]
    async fn changes_that_come_at_once_through_two_nodes_are_all_made() {
        let pair = Pair::new().await;
        pair.go_on.add_permits(1);
        let first = json!({ "assistant_id": "bare", "input": {} });
        let run = pair.made(&first, false).await;
        within("it ends", run.ended()).await;
        run.stored().await.unwrap();
        let changes = (0..12).map(|nr| {
            let app = &pair.apps[nr % 2];
            let values = Payload::from(json!({ "said": [nr] }));
            async move {
                let (view, nodes) = (app.all(), NodesWanted::default());
                app.update_state(&view, pair.thread, &values, nodes).await
            }
        });
        let made = within("they are made", join_all(changes)).await;
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        let app = &pair.apps[1];
        let thread = app.thread_of(&app.all(), pair.thread).await.unwrap();
        let (_, values) = app.state(&app.all(), &thread, None).await.unwrap().unwrap();
        let values: Value = written(&*values.unwrap()).parse().unwrap();
        assert_eq!(values["said"].as_array().map(Vec::len), Some(12), "{values}");
    }

    #[tokio::test]
    async fn a_change_that_had_not_started_is_one_where_it_is_taken_over() {
        let (none, start, two) = (json!([]), json!(["__start__"]), json!(["two"]));
        for (graph, as_node, forks, next) in [
            ("bare", None, true, &none),
            ("bare", None, false, &none),
            ("noded", None, true, &none),
            // The run before it was cut before its first node.
            ("noded", None, false, &start),
            ("noded", Some("one"), true, &two),
            ("noded", Some("one"), false, &two),
            ("noded", Some("__end__"), true, &none),
            ("noded", Some("__end__"), false, &none),
        ] {
            let told = changed_elsewhere(graph, as_node, forks).await;
            let nr = if forks { 1 } else { 3 };
            let expected = (json!({ "nr": nr, "said": ["mine"] }), next.clone());
            assert_eq!(told, expected, "{graph} {as_node:?} {forks}");
        }
    }
}
