//! A thread against a list of what its runs have left, one behind the other: whoever is asked shows
//! what the last one has left that is not deleted, whatever was done through whom.

use std::sync::Arc;

use proptest::prelude::*;
use quell::store::MemoryStore;
use quell::testing::cluster::Nodes;
use quell::{EngineConfig, Failure, Limits, Payload, RunContext};
use quell_flow::{Component, Reducer};
use quell_test_support::secs;
use serde_json::{Value, json};

use crate::late::{body, made, quick};
use crate::nodes::soon_status;
use crate::talk::Server;
use crate::threads::delete;

/// What is done. Numbers choose among the servers, and among the runs.
#[derive(Clone, Copy, Debug)]
enum Act {
    Runs(usize),
    Fails(usize),
    /// It is due later than it is made.
    RunsLate(usize),
    IsRolledBack(usize),
    ChangesValues(usize),
    Deletes(usize, usize),
    /// Another server is asked meanwhile, has a run meanwhile, or one of its runs is deleted.
    DeletesWhile(While, usize, usize),
    IsCopied(usize),
    /// A server loses what it has in memory.
    Restarts(usize),
}

#[derive(Clone, Copy, Debug)]
enum While {
    Looks,
    Runs,
    RollsBack,
}

/// What the servers share, and have in memory.
#[derive(Clone, Copy, Debug)]
enum Of {
    Nodes,
    OneProcess,
    /// With nothing in memory of a run that has ended.
    OneBriefly,
    OneWithoutStore,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let by = || 0..2_usize;
    let meanwhile = prop_oneof![Just(While::Looks), Just(While::Runs), Just(While::RollsBack)];
    let act = prop_oneof![
        4 => by().prop_map(Act::Runs),
        1 => by().prop_map(Act::Fails),
        1 => by().prop_map(Act::RunsLate),
        1 => by().prop_map(Act::IsRolledBack),
        1 => by().prop_map(Act::ChangesValues),
        3 => (0..4_usize, by()).prop_map(|(run, by)| Act::Deletes(run, by)),
        2 => (meanwhile, 0..4_usize, by()).prop_map(|(at, run, by)| Act::DeletesWhile(at, run, by)),
        1 => by().prop_map(Act::IsCopied),
        1 => by().prop_map(Act::Restarts),
    ];
    prop::collection::vec(act, 4..14)
}

fn of() -> impl Strategy<Value = Of> {
    prop_oneof![
        3 => Just(Of::Nodes),
        1 => Just(Of::OneProcess),
        1 => Just(Of::OneBriefly),
        1 => Just(Of::OneWithoutStore)
    ]
}

fn graphs() -> [Component; 3] {
    let fails = async |_ctx: RunContext, _input: Payload| Err::<Payload, _>(Failure::new("no"));
    let holds = async |ctx: RunContext, input: Payload| {
        ctx.stopped().await;
        Ok(input)
    };
    let fails = Component::workflow("fails", fails).reducer("said", Reducer::Append);
    let holds = Component::workflow("holds", holds).reducer("said", Reducer::Append);
    [quick(), fails, holds]
}

/// The names that a thread has, and that of the last run that had one.
type Left = (Vec<usize>, Option<usize>);

struct Model {
    of: Of,
    nodes: Nodes,
    servers: [Server; 2],
    thread: String,
    base: Option<Left>,
    /// What each has left that is not deleted, with its path.
    ended: Vec<(String, Left)>,
    made: usize,
}

async fn left(server: &Server, thread: &str) -> Left {
    let state = server.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(state.status, 200, "{state:?}");
    left_in(&state.json()["values"])
}

fn left_in(values: &Value) -> Left {
    let said = serde_json::from_value(values["said"].clone()).unwrap_or_default();
    (said, serde_json::from_value(values["own"].clone()).unwrap_or_default())
}

impl Model {
    async fn new(of: Of) -> Self {
        let nodes = Nodes::new(secs(30));
        let servers = if matches!(of, Of::Nodes) {
            ["a", "b"].map(|name| Self::node(&nodes, name))
        } else {
            let config = EngineConfig::new();
            let config = match of {
                Of::OneWithoutStore => config,
                _ => config.store(Arc::new(MemoryStore::new())),
            };
            let config = match of {
                Of::OneBriefly => config.limits(Limits::default().ended_trees_max(0)),
                _ => config,
            };
            let server = Server::serving_with(config, graphs());
            [server.clone(), server]
        };
        let thread = servers[0].thread().await;
        Self { of, nodes, servers, thread, base: None, ended: Vec::new(), made: 0 }
    }

    fn node(nodes: &Nodes, name: &str) -> Server {
        Server::serving_with(EngineConfig::new().node(nodes.join(name)), graphs())
    }

    fn last(&self) -> Left {
        let last = self.ended.last().map(|(_, left)| left);
        last.or(self.base.as_ref()).cloned().unwrap_or_default()
    }

    /// Yields what there is once the next one has left its name in it.
    fn next(&mut self, says: bool) -> Left {
        self.made += 1;
        let (mut said, _) = self.last();
        said.extend(says.then_some(self.made));
        (said, Some(self.made))
    }

    async fn runs(&mut self, graph: &str, by: usize) {
        let left = self.next(graph == "quick");
        let path = format!("/threads/{}/runs/wait", self.thread);
        let told = self.servers[by].post(&path, &body(graph, self.made)).await;
        assert_eq!(told.status, 200, "{told:?}");
        self.ended.push((told.header("content-location").to_owned(), left));
    }

    async fn runs_late(&mut self, by: usize) {
        let left = self.next(true);
        let mut body = body("quick", self.made);
        body["after_seconds"] = 0.01.into();
        let run = made(&self.servers[by], &self.thread, &body).await;
        soon_status(&self.servers[by], &run, "success").await;
        self.ended.push((run, left));
    }

    /// Has a run wait to be stopped; yields its path.
    async fn holds(&mut self, by: usize) -> String {
        self.made += 1;
        let run = made(&self.servers[by], &self.thread, &body("holds", self.made)).await;
        soon_status(&self.servers[by], &run, "running").await;
        run
    }

    async fn changes_values(&mut self, by: usize) {
        self.made += 1;
        let (mut said, own) = self.last();
        let path = format!("/threads/{}/state", self.thread);
        let change = json!({ "values": { "said": [self.made] } });
        let told = self.servers[by].post(&path, &change).await;
        if told.status == 400 {
            assert!(self.ended.is_empty(), "{told:?}");
            return;
        }
        assert_eq!(told.status, 200, "{told:?}");
        let id = told.json()["checkpoint"]["checkpoint_id"].as_str().unwrap().to_owned();
        said.push(self.made);
        self.ended.push((format!("/threads/{}/runs/{id}", self.thread), (said, own)));
    }

    /// Chooses a run, the newest one first.
    fn taken(&mut self, nth: usize) -> Option<String> {
        let place = self.ended.len().checked_sub(1 + nth % self.ended.len().max(1))?;
        Some(self.ended.remove(place).0)
    }

    async fn deletes_while(&mut self, at: While, nth: usize, by: usize) {
        let other = self.servers[1 - by].clone();
        let (deleter, mut with) = (self.servers[by].clone(), self.last());
        match at {
            While::Looks => {
                let Some(run) = self.taken(nth) else { return };
                let looks = left(&other, &self.thread);
                let (told, shown) = tokio::join!(delete(&deleter, &run), looks);
                assert_eq!(told.status, 204, "{told:?}");
                assert!(shown == with || shown == self.last(), "{shown:?}, {with:?}");
            }
            While::Runs => {
                let Some(run) = self.taken(nth) else { return };
                let without = self.next(true);
                let path = format!("/threads/{}/runs/wait", self.thread);
                let body = body("quick", self.made);
                let (told, ran) = tokio::join!(delete(&deleter, &run), other.post(&path, &body));
                assert_eq!((told.status.as_u16(), ran.status.as_u16()), (204, 200), "{ran:?}");
                let shown = left(&other, &self.thread).await;
                with.0.push(self.made);
                with.1 = Some(self.made);
                assert!(shown == with || shown == without, "{shown:?}, {with:?}, {without:?}");
                self.ended.push((ran.header("content-location").to_owned(), shown));
            }
            While::RollsBack => {
                let held = self.holds(1 - by).await;
                let run = self.taken(nth);
                let leaves = async {
                    match &run {
                        Some(run) => delete(&deleter, run).await.status.as_u16(),
                        None => 204,
                    }
                };
                let (told, back) = tokio::join!(leaves, delete(&other, &held));
                assert_eq!((told, back.status.as_u16()), (204, 204), "{back:?}");
            }
        }
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Runs(by) => self.runs("quick", by).await,
            Act::Fails(by) => self.runs("fails", by).await,
            Act::RunsLate(by) => self.runs_late(by).await,
            Act::IsRolledBack(by) => {
                let held = self.holds(by).await;
                let path = format!("{held}/cancel?wait=1&action=rollback");
                assert_eq!(self.servers[by].post(&path, &Value::Null).await.status, 200);
            }
            Act::ChangesValues(by) => self.changes_values(by).await,
            Act::Deletes(nth, by) => {
                let Some(run) = self.taken(nth) else { return };
                assert_eq!(delete(&self.servers[by], &run).await.status, 204);
            }
            Act::DeletesWhile(at, nth, by) => self.deletes_while(at, nth, by).await,
            Act::IsCopied(by) => {
                let path = format!("/threads/{}/copy", self.thread);
                let copy = self.servers[by].post(&path, &Value::Null).await;
                assert_eq!(copy.status, 200, "{copy:?}");
                copy.json()["thread_id"].as_str().unwrap().clone_into(&mut self.thread);
                self.base = Some(self.last()).filter(|left| *left != Left::default());
                self.ended.clear();
            }
            Act::Restarts(by) => {
                let fresh = self.servers[by].forgetful();
                match self.of {
                    Of::Nodes => self.servers[by] = fresh,
                    // One process has one.
                    Of::OneProcess | Of::OneBriefly => self.servers = [fresh.clone(), fresh],
                    // What has started on what was deleted would go with that.
                    Of::OneWithoutStore => {}
                }
            }
        }
    }

    async fn check(&self, server: &Server) {
        assert_eq!(left(server, &self.thread).await, self.last());
        let path = format!("/threads/{}/history?limit=100", self.thread);
        let told = server.get(&path).await;
        assert_eq!(told.status, 200, "{told:?}");
        let told = told.json();
        // Before the input of each there is what it started on.
        let told = told.as_array().unwrap().iter();
        let told = told.filter(|state| state["metadata"]["source"] != "input");
        let told = told.map(|state| left_in(&state["values"]));
        let all = self.ended.iter().rev().map(|(_, left)| left).chain(&self.base);
        assert_eq!(told.collect::<Vec<_>>(), all.cloned().collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(40)
    })]

    #[test]
    fn whoever_is_asked_shows_what_the_last_run_has_left(acts in acts(), of in of()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new(of).await;
            for (nth, act) in acts.iter().enumerate() {
                model.act(*act).await;
                model.check(&model.servers[nth % 2]).await;
            }
            let fresh = match of {
                Of::Nodes => Model::node(&model.nodes, "late"),
                Of::OneWithoutStore => model.servers[0].clone(),
                _ => model.servers[0].forgetful(),
            };
            for server in model.servers.iter().chain([&fresh]) {
                model.check(server).await;
            }
        });
    }
}
