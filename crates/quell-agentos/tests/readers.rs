//! Whoever reads a run, wherever and whenever, is told the same (contract, section 8): in the
//! process that has begun it, in later ones that go on with it, and through another node.

use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use quell::store::Store;
use quell::testing::cluster::{Node, Nodes};
use quell::{Engine, EngineConfig, Failure, Payload, Recovery, RunContext, RunSpec, ToolCall};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component, Emit, OnWorkerLost, Part};
use quell_http::{Access, parse_id};
use quell_sqlite::SqliteStore;
use quell_test_support::{Gate, secs, within};
use serde_json::{Value, json};
use tokio::task::yield_now;
use tower::ServiceExt as _;

use crate::continued_again::{place, remove};
use crate::nodes::soon_read;
use crate::support::http::{Events as _, events, names, post_form, read};
use crate::support::{Site, fresh};

const PATH: &str = "/workflows/story";

/// A workflow of three attempts, of which the first two ask, and the last one waits for the gate.
fn story(gate: &Gate) -> Component {
    let gate = gate.clone();
    let parts = ["draft", "again", "work"].map(|name| Part::agent(name, format!("agent-{name}")));
    let body = move |ctx, _input| tell(ctx, gate.clone());
    let story = Component::workflow("story", body).steps(parts);
    story.resumable().on_worker_lost(OnWorkerLost::Continue)
}

async fn tell(ctx: RunContext, gate: Gate) -> Result<Payload, Failure> {
    Emit::content(format!("attempt {}. ", ctx.attempt())).send(&ctx);
    let answer = ctx.resumed_with().map(|answer| answer.to_string()).unwrap_or_default();
    match &*answer {
        "" => {
            step(&ctx, "draft", None).await?;
            Err(ctx.pause("first?"))
        }
        "1" => {
            step(&ctx, "again", None).await?;
            Err(ctx.pause("second?"))
        }
        "7" => {
            step(&ctx, "work", Some(gate)).await?;
            Err(ctx.pause("second?"))
        }
        _ => {
            step(&ctx, "work", Some(gate)).await?;
            Ok(Payload::from("done"))
        }
    }
}

/// A step that an agent does: it calls a tool, and says something before the gate and behind it.
async fn step(ctx: &RunContext, name: &'static str, gate: Option<Gate>) -> Result<(), Failure> {
    let step = ctx.spawn(RunSpec::step(name), async move |ctx: RunContext| {
        let agent = RunSpec::agent(format!("agent-{name}")).input(Payload::from("tea"));
        let agent = ctx.spawn(agent, async move |ctx: RunContext| {
            Emit::ModelStarted { model: "m".into(), provider: "p".into() }.send(&ctx);
            let call = ToolCall::new("c1", "brew", Payload::from(json!({ "of": "tea" })));
            ctx.tool(call, async { Ok(Payload::from("hot")) }).await?;
            Emit::content("w0 ").send(&ctx);
            while gate.as_ref().is_some_and(|gate| !gate.is_open()) {
                yield_now().await;
            }
            Emit::content("w1").send(&ctx);
            Ok(Payload::from(format!("{name} is done")))
        });
        Ok(agent.await?)
    });
    drop::<Payload>(step.await?);
    Ok(())
}

/// Where the processes of a test are: one after another on a file, or on a node beside another one.
enum World {
    /// The last one is that of the process by now.
    File(Vec<PathBuf>),
    Nodes(Nodes, Box<Site>),
}

impl World {
    fn on_a_file() -> Self {
        Self::File(vec![place()])
    }

    fn on_nodes() -> Self {
        let nodes = Nodes::new(secs(30));
        let other = on_node(&nodes.join("b"), &Gate::new());
        Self::Nodes(nodes, other.into())
    }

    /// Yields the next process. The one before it is as good as killed, whatever of the run is in
    /// the store.
    async fn process(&mut self, before: Option<(&Site, &str)>, gate: &Gate) -> Site {
        let (site, store): (_, Arc<dyn Store>) = match self {
            Self::File(files) => {
                if let Some((site, run)) = before {
                    stored(site, run).await;
                    let killed = place();
                    quell_sqlite::backup(files.last().unwrap(), &killed).unwrap();
                    files.push(killed);
                }
                let file = files.last().unwrap();
                let store: Arc<dyn Store> = Arc::new(SqliteStore::open(file).unwrap());
                let engine = Engine::with_config(EngineConfig::new().store(Arc::clone(&store)));
                (of(engine, gate), store)
            }
            Self::Nodes(nodes, _) => {
                if let Some((site, run)) = before {
                    stored(site, run).await;
                }
                let node = nodes.join("a");
                (on_node(&node, gate), node)
            }
        };
        let catalog = site.service.catalog();
        let decide = |run: &_| catalog.recovery(run, &store).unwrap_or(Recovery::Fail);
        site.service.engine().recover(decide).await.unwrap();
        site
    }

    /// Yields those through whom the run can be read.
    fn readers<'a>(&'a self, own: &'a Site) -> Vec<(&'static str, &'a Site)> {
        match self {
            Self::File(_) => vec![("the process", own)],
            Self::Nodes(_, other) => vec![("its node", own), ("the other node", other)],
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let Self::File(files) = self else { return };
        for file in files {
            remove(file);
        }
    }
}

fn of(engine: Engine, gate: &Gate) -> Site {
    let catalog = Catalog::new().with(story(gate));
    Site::made_of(Witness::default(), catalog, engine, Options::default(), Access::open())
}

fn on_node(node: &Arc<Node>, gate: &Gate) -> Site {
    let config = EngineConfig::new().store(Arc::clone(node) as _).cluster(Arc::clone(node) as _);
    of(Engine::with_config(config), gate)
}

/// Waits until all that is known of a run by now is in the store.
async fn stored(site: &Site, run: &str) {
    if let Some(run) = site.service.engine().get(parse_id(run).unwrap()) {
        run.stored().await.unwrap();
    }
}

/// Reads a stream until it has said so many events with an index, or ends. Yields those.
async fn told(site: &Site, path: &str, fields: &[(&str, &str)], most: usize) -> Vec<Value> {
    let answer = site.app.clone().oneshot(post_form(path, fields)).await.unwrap();
    let (mut chunks, mut text) = (answer.into_body().into_data_stream(), String::new());
    let reads = async {
        while let Some(chunk) = chunks.next().await {
            text.push_str(str::from_utf8(&chunk.unwrap()).unwrap());
            if text.ends_with("\n\n") && text.matches("\"event_index\"").count() >= most {
                break;
            }
        }
    };
    within("it is told", reads).await;
    let mut all = events(&text);
    all.retain(|event| !["replay", "catch_up", "subscribed"].contains(&name(event)));
    all
}

fn name(event: &Value) -> &str {
    event["event"].as_str().unwrap()
}

const ALL: usize = usize::MAX;

/// Everybody who comes back behind any of the events is told the others, and how many there are.
async fn agree(when: &str, world: &World, own: &Site, run: &str, all: &[Value]) {
    let indices: Vec<_> = all.iter().map(|event| event["event_index"].as_u64().unwrap()).collect();
    assert_eq!(indices, (0..all.len() as u64).collect::<Vec<_>>(), "{when}: {:?}", names(all));
    let is_over = all.last().is_some_and(|event| name(event).starts_with("Workflow"));
    for (who, site) in world.readers(own) {
        for from in 0..all.len() {
            let last = (i64::try_from(from).unwrap() - 1).to_string();
            let path = format!("{PATH}/runs/{run}/resume");
            let fields = [("last_event_index", &*last)];
            let most = if is_over { ALL } else { all.len() - from };
            let told = told(site, &path, &fields, most).await;
            assert_eq!(names(&told), names(&all[from..]), "{when}, {who}, behind {last}");
            for (told, sent) in told.iter().zip(&all[from..]) {
                assert_eq!(told, sent, "{when}, {who}, behind {last}");
            }
        }
        if is_over {
            let answer = site.create(&format!("{PATH}/runs/{run}/resume"), &[]).await;
            let (head, count) = (&answer.events()[0], all.len());
            assert_eq!(head["total_events"], count, "{when}, {who}: {head}");
            assert_eq!(head["total_buffered"], count, "{when}, {who}: {head}");
        }
    }
}

/// Everybody reads the run in the same words.
async fn read_alike(world: &World, own: &Site, run: &str, expected: Option<&Value>) -> Value {
    let mut expected = expected.cloned();
    for (who, site) in world.readers(own) {
        let told = read(site, PATH, run, "s").await;
        assert_eq!(told.get("quell").unwrap().get("truncated"), None, "{who}: {told}");
        assert_eq!(&told, expected.get_or_insert_with(|| told.clone()), "{who}");
    }
    expected.unwrap()
}

async fn create(site: &Site, run: &str) -> Vec<Value> {
    let fields = [("message", "m"), ("background", "true"), ("run_id", run), ("session_id", "s")];
    told(site, &format!("{PATH}/runs"), &fields, ALL).await
}

async fn go_on(site: &Site, run: &str, answer: &str, background: &str) -> Vec<Value> {
    let fields = [("step_requirements", answer), ("background", background)];
    told(site, &format!("{PATH}/runs/{run}/continue"), &fields, ALL).await
}

async fn everybody_is_told_the_same(mut world: World) {
    let (run, gate) = (&*fresh("run"), Gate::new());
    let first = world.process(None, &gate).await;
    let mut all = create(&first, run).await;
    assert_eq!(names(&all).last(), Some(&"WorkflowPaused"));
    soon_read(world.readers(&first).last().unwrap().1, PATH, run, "PAUSED").await;
    agree("before", &world, &first, run, &all).await;
    let asks = read_alike(&world, &first, run, None).await;
    assert_eq!(asks["step_executor_runs"][0]["tools"].as_array().unwrap().len(), 1, "{asks}");

    // Paused since an earlier process.
    let second = world.process(Some((&first, run)), &gate).await;
    read_alike(&world, &second, run, Some(&asks)).await;
    agree("paused, and the next process", &world, &second, run, &all).await;
    let more = go_on(&second, run, "1", "true").await;
    assert_eq!(names(&more).last(), Some(&"WorkflowPaused"));
    all.extend(more);
    stored(&second, run).await;
    agree("it asks again", &world, &second, run, &all).await;
    let asks = read_alike(&world, &second, run, None).await;

    // And it works when the process is killed that goes on with it.
    let third = world.process(Some((&second, run)), &gate).await;
    agree("it asks again, and the next process", &world, &third, run, &all).await;
    read_alike(&world, &third, run, Some(&asks)).await;
    let fields = [("step_requirements", "2"), ("background", "true"), ("stream", "false")];
    let answered = third.create(&format!("{PATH}/runs/{run}/continue"), &fields).await;
    assert_eq!(answered.status, 202, "{answered:?}");
    let path = format!("{PATH}/runs/{run}/resume");
    all = told(&third, &path, &[], all.len() + 6).await;
    assert_eq!(all.last().unwrap()["content"], "w0 ", "{:?}", names(&all));
    stored(&third, run).await;
    agree("it works", &world, &third, run, &all).await;

    let fourth = world.process(Some((&third, run)), &gate).await;
    let live = told(&fourth, &path, &[], all.len() + 8).await;
    assert_eq!(names(&live[..all.len()]), names(&all));
    assert_eq!(live[..all.len()], all);
    let lost = ["RunError", "StepError", "StepStarted", "RunStarted", "ModelRequestStarted"];
    assert_eq!(names(&live[all.len()..])[..5], lost);
    stored(&fourth, run).await;
    agree("another attempt works", &world, &fourth, run, &live).await;
    // An answer that is sent again gets the events behind the pause that it is to.
    let fields = [("step_requirements", "2"), ("background", "true")];
    let again = told(&fourth, &format!("{PATH}/runs/{run}/continue"), &fields, 1).await;
    let pause = all.iter().rposition(|event| name(event) == "WorkflowPaused").unwrap();
    assert_eq!(again[0], all[pause + 1]);
    gate.open();
    let all = told(&fourth, &path, &[], ALL).await;
    assert_eq!(all[..live.len()], live);
    assert_eq!(names(&all).last(), Some(&"WorkflowCompleted"));
    stored(&fourth, run).await;
    soon_read(world.readers(&fourth).last().unwrap().1, PATH, run, "COMPLETED").await;
    agree("the end", &world, &fourth, run, &all).await;
    let end = read_alike(&world, &fourth, run, None).await;
    let fifth = world.process(Some((&fourth, run)), &gate).await;
    agree("the end, and the next process", &world, &fifth, run, &all).await;
    read_alike(&world, &fifth, run, Some(&end)).await;
}

#[tokio::test]
async fn every_reader_is_told_the_same_in_each_process_on_a_file() {
    everybody_is_told_the_same(World::on_a_file()).await;
}

#[tokio::test]
async fn every_reader_is_told_the_same_in_each_process_and_through_another_node() {
    everybody_is_told_the_same(World::on_nodes()).await;
}

#[tokio::test]
async fn an_answer_that_is_sent_again_when_its_attempt_was_lost_is_told_all_up_to_the_next_pause() {
    for mut world in [World::on_a_file(), World::on_nodes()] {
        let (run, gate) = (&*fresh("run"), Gate::new());
        let first = world.process(None, &gate).await;
        let begun = create(&first, run).await.len();
        let fields = [("step_requirements", "7"), ("background", "true"), ("stream", "false")];
        let answered = first.create(&format!("{PATH}/runs/{run}/continue"), &fields).await;
        assert_eq!(answered.status, 202, "{answered:?}");
        let resume = format!("{PATH}/runs/{run}/resume");
        let told_first = told(&first, &resume, &[], begun + 6).await;
        assert_eq!(told_first.last().unwrap()["content"], "w0 ", "{:?}", names(&told_first));
        stored(&first, run).await;
        let second = world.process(Some((&first, run)), &gate).await;
        let mut answers = Vec::new();
        for background in ["true", "false"] {
            let fields = [("step_requirements", "7"), ("background", background)];
            let request = post_form(&format!("{PATH}/runs/{run}/continue"), &fields);
            answers.push(second.app.clone().oneshot(request).await.unwrap());
        }
        gate.open();
        let all = told(&second, &resume, &[], ALL).await;
        let all = &names(&all)[begun..];
        assert_eq!(all.last(), Some(&"WorkflowPaused"));
        assert!(all.contains(&"StepError") && !all.contains(&"lagged"), "{all:?}");
        for answer in answers {
            let body = within("it is let go", answer.into_body().collect()).await.unwrap();
            let body = body.to_bytes();
            assert_eq!(names(&events(str::from_utf8(&body).unwrap())), all);
        }
    }
}

#[tokio::test]
async fn a_stream_in_the_foreground_begins_behind_the_pause_of_an_earlier_process() {
    for mut world in [World::on_a_file(), World::on_nodes()] {
        let gate = Gate::new();
        gate.open();
        let (here, later) = (&*fresh("run"), &*fresh("run"));
        let first = world.process(None, &gate).await;
        for run in [here, later] {
            create(&first, run).await;
        }
        let expected = go_on(&first, here, "1", "false").await;
        stored(&first, here).await;
        let second = world.process(Some((&first, later)), &gate).await;
        let told = go_on(&second, later, "1", "false").await;
        assert_eq!(names(&told), names(&expected));
        assert_eq!(names(&told).first(), Some(&"StepStarted"));
        let index = |told: &[Value]| told.iter().map(|it| it["step_index"].clone()).collect();
        let (told, expected): (Vec<_>, Vec<_>) = (index(&told), index(&expected));
        assert_eq!(told, expected);
    }
}
