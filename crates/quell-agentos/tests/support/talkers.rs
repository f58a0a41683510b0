//! Components that note what they were given, of which most get earlier runs of their session.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quell::store::Store;
use quell::testing::cluster::{Node, Nodes};
use quell::{Engine, EngineConfig, Failure, Payload, Recovery, RunContext};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component, ComponentKind, Emit};
use quell_http::Access;
use quell_test_support::secs;
use serde_json::Value;

use super::{Site, fresh};

/// What the bodies of a site were given, in the order in which they began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<Value>>>, Arc<AtomicBool>);

/// Lets threads go when it is dropped.
pub(crate) struct LetsGo(Arc<AtomicBool>);

impl Drop for LetsGo {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Heard {
    pub(crate) fn last(&self) -> Value {
        self.0.lock().unwrap().last().cloned().unwrap()
    }

    /// Who has said what, as the last body was told.
    pub(crate) fn history(&self) -> Vec<(String, String)> {
        let last = self.last();
        let history = last["history"].as_array().unwrap_or_else(|| panic!("none: {last}"));
        let text = |said: &Value, key: &str| said[key].as_str().unwrap().to_owned();
        history.iter().map(|said| (text(said, "role"), text(said, "content"))).collect()
    }

    /// Lets go what holds a thread of its own when the result is dropped.
    pub(crate) fn letting_go(&self) -> LetsGo {
        LetsGo(Arc::clone(&self.1))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Notes its input, then does as the message says.
    async fn body(self, ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
        let input: Value = input.parse()?;
        self.0.lock().unwrap().push(input.clone());
        let message = input["message"].as_str().or(input.as_str()).unwrap_or_default().to_owned();
        if message.starts_with("say") || message.starts_with("wait") {
            Emit::content("so far").send(&ctx);
        }
        if message.starts_with("wait") {
            std::future::pending::<()>().await;
        }
        if message.starts_with("hold") {
            let told = ctx.clone();
            let work = ctx.spawn_blocking(move |_| {
                // By now a stop leaves it behind.
                Emit::content("so far").send(&told);
                while !self.1.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            work.await?;
        }
        if message.starts_with("ask") {
            return ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"));
        }
        if message.contains("fail") {
            return Err(Failure::new("it broke"));
        }
        Ok(format!("re: {message}").into())
    }

    fn component(&self, kind: ComponentKind, id: &str, history: usize) -> Component {
        let heard = self.clone();
        let body = move |ctx, input| heard.clone().body(ctx, input);
        let component = match kind {
            ComponentKind::Agent => Component::agent(id, body),
            ComponentKind::Team => Component::team(id, body),
            ComponentKind::Workflow => Component::workflow(id, body),
        };
        component.history(history).resumable()
    }

    /// One of each kind that gets three runs, one that gets very many, and one that gets none.
    fn catalog(&self) -> Catalog {
        let three = ComponentKind::ALL.map(|kind| self.component(kind, "talker", 3));
        let catalog = three.into_iter().fold(Catalog::new(), Catalog::with);
        let all = self.component(ComponentKind::Agent, "elephant", 1_000);
        catalog.with(all).with(self.component(ComponentKind::Agent, "goldfish", 0))
    }

    pub(crate) fn site(&self, engine: Engine, access: Access) -> Site {
        let (catalog, options) = (self.catalog(), Options::default());
        Site::made_of(Witness::default(), catalog, engine, options, access)
    }
}

pub(crate) fn open() -> (Site, Heard) {
    let heard = Heard::default();
    (heard.site(Engine::new(), Access::open()), heard)
}

/// A process on this store.
pub(crate) async fn process(store: Arc<dyn Store>) -> (Site, Heard) {
    let engine = Engine::with_config(EngineConfig::new().store(store));
    engine.recover(|_| Recovery::Fail).await.unwrap();
    let heard = Heard::default();
    (heard.site(engine, Access::open()), heard)
}

fn node(node: &Arc<Node>) -> (Site, Heard) {
    let config = EngineConfig::new().store(Arc::clone(node) as _).cluster(Arc::clone(node) as _);
    let heard = Heard::default();
    (heard.site(Engine::with_config(config), Access::open()), heard)
}

pub(crate) fn nodes() -> ((Site, Heard), (Site, Heard)) {
    let nodes = Nodes::new(secs(30));
    (node(&nodes.join("a")), node(&nodes.join("b")))
}

/// What is said in runs that have completed.
pub(crate) fn said(messages: &[&str]) -> Vec<(String, String)> {
    let both = |text: &&str| {
        [("user".to_owned(), (*text).to_owned()), ("assistant".to_owned(), format!("re: {text}"))]
    };
    messages.iter().flat_map(both).collect()
}

/// Starts a run that works, or asks, and waits until it does.
pub(crate) async fn begun(site: &Site, path: &str, message: &str, session: &str) -> String {
    let run = fresh("run");
    let fields = [("message", message), ("session_id", session), ("run_id", &*run)];
    let in_background = [("background", "true"), ("stream", "false")];
    let answer =
        site.create(&format!("{path}/runs"), &[&fields[..], &in_background].concat()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let read = format!("{path}/runs/{run}?session_id={session}");
    loop {
        let now = site.get(&read).await.json();
        if now["content"] == "so far" || now["status"] == "PAUSED" {
            return run;
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) const TALKERS: [&str; 3] = ["/agents/talker", "/teams/talker", "/workflows/talker"];
