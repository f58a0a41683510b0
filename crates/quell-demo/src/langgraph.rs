//! The demo graphs of `LangGraph` (`quell_langgraph::contract`, section 14): deterministic, no
//! network.
//!
//! A graph emits `Updates` for every node that has finished, and what the state is after every
//! step: `Step` if a run of it can go on there, else `Values`. Its nodes are runs of their own, so
//! that a stop reaches each of them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use quell::{Failure, Payload, RunContext, RunError, RunHandle, RunSpec};
use quell_flow::{Catalog, Component, Emit, Nodes, Reducer};
use quell_http::NATIVE;
use serde_json::{Map, Value, json};

use crate::contracts::LANGGRAPH;
use crate::{Record, Witness};

/// Adds the demo graphs to a catalog, under their ids with a prefix. They are exposed in this
/// contract and in the native one.
pub fn components(catalog: Catalog, witness: &Witness, prefix: &str) -> Catalog {
    let graphs = [
        graph(prefix, "echo", witness, echo),
        graph(prefix, "slow", witness, slow),
        graph(prefix, "steps", witness, steps).nodes(STEPS),
        graph(prefix, "parallel", witness, parallel).nodes(PARALLEL),
        graph(prefix, "nested", witness, nested).nodes(NESTED),
        graph(prefix, "failing", witness, failing),
        graph(prefix, "stubborn", witness, stubborn),
        graph(prefix, "interrupting", witness, interrupting).nodes(INTERRUPTING).resumable(),
    ];
    graphs.into_iter().fold(catalog, Catalog::with)
}

fn graph<F, Fut>(prefix: &str, id: &str, witness: &Witness, body: F) -> Component
where
    F: Fn(Graph) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Graph, Failure>> + Send + 'static,
{
    let witness = witness.clone();
    let run = move |ctx: RunContext, input: Payload| {
        let (body, witness) = (body.clone(), witness.clone());
        async move {
            let graph = body(Graph::new(ctx, &input, witness)?).await?;
            Ok(Value::Object(graph.values()).into())
        }
    };
    Component::workflow(format!("{prefix}{id}"), run)
        .reducer("log", Reducer::Append)
        .exposed_in([LANGGRAPH, NATIVE])
}

/// A graph at work: its state, and what it needs to run nodes.
struct Graph {
    ctx: RunContext,
    /// As text: it is read when a node is done, and nodes may take long.
    state: Payload,
    witness: Witness,
}

impl Graph {
    /// An input that is no object is no state; one that values cannot hold fails.
    fn new(ctx: RunContext, input: &Payload, witness: Witness) -> Result<Self, Failure> {
        input.parse::<Value>()?;
        Ok(Self { ctx, state: input.clone(), witness })
    }

    fn values(&self) -> Map<String, Value> {
        let mut values: Map<String, Value> = self.state.parse().unwrap_or_default();
        if !values.get("log").is_some_and(Value::is_array) {
            values.insert("log".into(), json!([]));
        }
        values
    }

    fn set(&mut self, values: Map<String, Value>) {
        self.state = Value::Object(values).into();
    }

    fn text(&self, key: &str) -> String {
        self.values().get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.values().get(key).and_then(Value::as_u64)
    }

    fn pace(&self) -> Pace {
        Pace {
            total: Duration::from_millis(self.number("ms").unwrap_or(1000)),
            chunk: Duration::from_millis(self.number("chunk_ms").unwrap_or(50).max(1)),
            tag: self.text("tag"),
        }
    }

    fn record(&self, node: &str) -> Record {
        Record::start(&self.witness, Some(self.text("tag")), node)
    }

    /// A node that returns at once.
    fn quick(&mut self, node: &str, line: String) {
        self.record(node).finish();
        self.update(node, line);
    }

    /// Says what a node changed.
    fn update(&mut self, node: &str, line: String) {
        let values = json!({ "log": [line] });
        Emit::Updates { node: node.to_owned(), values: values.into() }.send(&self.ctx);
        let mut values = self.values();
        if let Some(Value::Array(log)) = values.get_mut("log") {
            log.push(line.into());
        }
        self.set(values);
    }

    /// Says what the state is after a step.
    fn step(&self) {
        Emit::Values { values: Value::Object(self.values()).into() }.send(&self.ctx);
    }

    /// Starts a ticking node.
    fn ticking(&self, node: &str, who: &str) -> RunHandle<()> {
        let (pace, witness, who) = (self.pace(), self.witness.clone(), who.to_owned());
        let node = RunSpec::step(node);
        let ticking = Box::new(Ticking { who, pace, witness });
        self.ctx.spawn(node, move |ctx| Box::pin(tick(ctx, ticking)))
    }
}

/// How a ticking node ticks.
#[derive(Clone)]
struct Pace {
    total: Duration,
    chunk: Duration,
    tag: String,
}

/// A ticking node. It and its future are boxed: the task would hold them several times over, and
/// may live for long.
struct Ticking {
    who: String,
    pace: Pace,
    witness: Witness,
}

fn say(ctx: &RunContext, node: &str, tick: u64, tag: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let tick = json!({ "node": node, "tick": tick, "tag": tag, "t": now.as_secs_f64() });
    Emit::custom(tick).send(ctx);
}

/// Sleeps and ticks. It never asks about a stop: it is dropped at its next await.
async fn tick(ctx: RunContext, ticking: Box<Ticking>) -> Result<(), Failure> {
    let Ticking { who, pace, witness } = &*ticking;
    let record = Record::start(witness, Some(pace.tag.clone()), who);
    let start = Instant::now();
    let mut count = 0;
    loop {
        let left = pace.total.saturating_sub(start.elapsed());
        if left.is_zero() {
            break;
        }
        tokio::time::sleep(left.min(pace.chunk)).await;
        count += 1;
        record.tick();
        say(&ctx, who, count, &pace.tag);
    }
    record.finish();
    Ok(())
}

/// Waits for a node; its failure is the graph's.
async fn done<T: Send + 'static>(node: RunHandle<T>) -> Result<T, Failure> {
    node.await.map_err(|error| match error {
        RunError::Failed(failed) => failed.failure,
        other => other.into(),
    })
}

async fn echo(mut graph: Graph) -> Result<Graph, Failure> {
    let line = format!("echo:{}", graph.text("text"));
    graph.quick("echo", line);
    graph.step();
    Ok(graph)
}

async fn slow(mut graph: Graph) -> Result<Graph, Failure> {
    done(graph.ticking("slow", "slow")).await?;
    graph.update("slow", "slow:done".into());
    graph.step();
    Ok(graph)
}

/// The nodes of the graphs that have several, each in its order.
const STEPS: [&str; 3] = ["before", "slow", "after"];
const PARALLEL: [&str; 2] = ["worker", "join"];
const NESTED: [&str; 2] = ["sub", "tail"];
const INTERRUPTING: [&str; 1] = ["ask"];

async fn steps(graph: Graph) -> Result<Graph, Failure> {
    walk(graph, STEPS.into_iter().take(1), &STEPS).await
}

async fn parallel(graph: Graph) -> Result<Graph, Failure> {
    let width = graph.number("n").unwrap_or(4).min(WIDTH_MAX);
    let workers = (0..width).map(|_| PARALLEL[0]);
    walk(graph, workers.chain((width == 0).then_some(PARALLEL[1])), &PARALLEL).await
}

/// Nodes of one step, at most.
const WIDTH_MAX: u64 = 1_000;

async fn nested(graph: Graph) -> Result<Graph, Failure> {
    walk(graph, NESTED.into_iter().take(1), &NESTED).await
}

async fn interrupting(graph: Graph) -> Result<Graph, Failure> {
    walk(graph, INTERRUPTING, &INTERRUPTING).await
}

/// Runs the nodes of a graph, one step after the other, from where it is to begin.
async fn walk(
    mut graph: Graph,
    first: impl IntoIterator<Item = &'static str>,
    order: &[&'static str],
) -> Result<Graph, Failure> {
    let begin = Payload::from(Value::Object(graph.values()));
    let mut nodes = Nodes::begin(&graph.ctx, begin, first).await;
    graph.set(nodes.state().parse()?);
    while let Some(now) = nodes.now().map(<[String]>::to_vec) {
        let (mut next, mut names) = (Vec::new(), now.clone());
        names.dedup();
        for name in &names {
            let count = now.iter().filter(|node| *node == name).count();
            run_node(&mut graph, name, count).await?;
            let behind = order.iter().skip_while(|node| *node != name).nth(1);
            next.extend(behind.filter(|behind| !next.contains(*behind)).copied());
        }
        nodes.leave(Value::Object(graph.values()).into(), next);
    }
    Ok(graph)
}

/// Runs a node, so many times at once.
async fn run_node(graph: &mut Graph, name: &str, count: usize) -> Result<(), Failure> {
    match name {
        "before" => graph.quick("before", "before".into()),
        "slow" => {
            done(graph.ticking("slow", "slow")).await?;
            graph.update("slow", "slow:done".into());
        }
        "after" => graph.quick("after", "after".into()),
        "worker" => work(graph, count).await?,
        "join" => graph.quick("join", "join".into()),
        "sub" => below(graph).await?,
        "tail" => graph.quick("tail", "after".into()),
        _ => ask(graph)?,
    }
    Ok(())
}

async fn work(graph: &mut Graph, width: usize) -> Result<(), Failure> {
    let workers: Vec<_> =
        (0..width).map(|i| graph.ticking("worker", &format!("worker{i}"))).collect();
    for outcome in join_all(workers.into_iter().map(done)).await {
        outcome?;
    }
    for i in 0..width {
        graph.update("worker", format!("worker{i}:done"));
    }
    Ok(())
}

/// Runs a graph within the graph.
async fn below(graph: &mut Graph) -> Result<(), Failure> {
    let (state, witness) = (graph.values(), graph.witness.clone());
    let inner = graph.ctx.spawn(RunSpec::workflow("sub"), move |ctx| async move {
        let input = Payload::from(Value::Object(state));
        let mut graph = Graph::new(ctx, &input, witness)?;
        let mut values = graph.values();
        values.insert("log".into(), json!([]));
        graph.set(values);
        graph.step();
        done(graph.ticking("inner", "inner")).await?;
        graph.update("inner", "inner:done".into());
        graph.step();
        Ok(())
    });
    done(inner).await?;
    graph.update("sub", "inner:done".into());
    Ok(())
}

/// Asks whether to go on, and says what it was told: a text as it is, anything else as JSON.
fn ask(graph: &mut Graph) -> Result<(), Failure> {
    let Some(answer) = graph.ctx.resumed_with() else {
        return Err(graph.ctx.pause(Payload::from(json!({ "question": "go on?" }))));
    };
    let told = answer.parse().unwrap_or_else(|_| answer.to_string());
    graph.quick("ask", format!("answer:{told}"));
    Ok(())
}

async fn failing(graph: Graph) -> Result<Graph, Failure> {
    if graph.number("ms").is_some_and(|ms| ms > 0) {
        done(graph.ticking("fail", "failing")).await?;
    }
    let text = graph.text("fail");
    let text = if text.is_empty() { "boom" } else { text.as_str() };
    Err(Failure::new(format!("ValueError: {text}")))
}

async fn stubborn(mut graph: Graph) -> Result<Graph, Failure> {
    let (pace, witness) = (graph.pace(), graph.witness.clone());
    let node = graph.ctx.spawn(RunSpec::step("stubborn"), move |ctx| ignore(ctx, pace, witness));
    done(node).await?;
    graph.update("stubborn", "stubborn:done".into());
    graph.step();
    Ok(graph)
}

/// Listens for the stop, so that it has the grace, and ignores it until its time is over.
async fn ignore(ctx: RunContext, pace: Pace, witness: Witness) -> Result<(), Failure> {
    let record = Record::start(&witness, Some(pace.tag.clone()), "stubborn");
    let start = Instant::now();
    let (mut count, mut has_seen) = (0, ctx.is_stopping());
    while start.elapsed() < pace.total {
        tokio::time::sleep(Duration::from_millis(50)).await;
        count += 1;
        record.tick();
        say(&ctx, "stubborn", count, &pace.tag);
        if ctx.is_stopping() && !std::mem::replace(&mut has_seen, true) {
            record.see_stop();
        }
    }
    record.finish();
    Ok(())
}
