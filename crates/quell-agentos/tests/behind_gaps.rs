//! Whoever comes to a run whose log has no more of its beginning is told the rest under the numbers
//! that the others have, whatever began before (contract, section 8).

use std::collections::BTreeMap;
use std::sync::Arc;

use quell::store::Store;
use quell::{Engine, EngineConfig, Failure, Limits, Payload, RunContext, RunSpec, ToolCall};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component, Emit, Part};
use quell_http::{Access, parse_id};
use quell_test_support::{Flow, Gate, Valve, within};
use serde_json::{Value, json};
use tokio::task::yield_now;

use crate::support::http::{Events as _, post_form};
use crate::support::{Site, fresh};

/// A log of few events, and a report of few runs: others are gone when they end.
fn small(component: Component) -> Site {
    let limits = Limits::default().events_per_root_max(64).report_rows_max(4);
    let engine = Engine::with_config(EngineConfig::new().limits(limits));
    let catalog = Catalog::new().with(component);
    Site::made_of(Witness::default(), catalog, engine, Options::default(), Access::open())
}

async fn say(ctx: &RunContext, words: usize) {
    for word in 0..words {
        Emit::content(format!("{word} ")).send(ctx);
        // An event without a line, so that numbers of events and of lines are not alike.
        ctx.progress(0.5);
        yield_now().await;
    }
}

/// A workflow of one step, which an agent does. Most of it is one call of a tool.
async fn one_step(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    let step = ctx.spawn(RunSpec::step("work"), async |ctx: RunContext| {
        let agent = ctx.spawn(RunSpec::agent("agent-work"), async |ctx: RunContext| {
            let call = ToolCall::new("c1", "brew", Payload::from(json!({ "of": "tea" })));
            let brews = async {
                say(&ctx, 200).await;
                Ok(Payload::from("hot"))
            };
            ctx.tool(call, brews).await?;
            say(&ctx, 5).await;
            Ok(Payload::from("done"))
        });
        Ok(agent.await?)
    });
    drop::<Payload>(step.await?);
    Ok(Payload::from("done"))
}

/// A team whose members say one word each.
async fn many_members(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    for member in 0..100 {
        let member = ctx.spawn(RunSpec::agent(format!("m{member}")), async |ctx: RunContext| {
            say(&ctx, 1).await;
            Ok(Payload::from("said"))
        });
        drop::<Payload>(member.await?);
    }
    say(&ctx, 5).await;
    Ok(Payload::from("done"))
}

/// Yields what is told under each number: its name, and whose it is.
fn numbered(events: &[Value]) -> BTreeMap<u64, (Value, Value)> {
    let told = events.iter().filter_map(|event| {
        Some((event["event_index"].as_u64()?, (event["event"].clone(), event["run_id"].clone())))
    });
    told.collect()
}

/// Runs it to its end before one who was there, then tells what one hears who comes later.
async fn first_and_late(site: &Site, path: &str) -> [Vec<Value>; 2] {
    let run = fresh("run");
    let fields = [("message", "m"), ("background", "true"), ("run_id", &*run)];
    let first = site.create(&format!("{path}/runs"), &fields).await.events();
    let path = format!("{path}/runs/{run}/resume");
    let late = site.create(&path, &[]).await.events();
    let is_gap = |event: &&Value| event["event"] == "lagged";
    let gaps = (first.iter().filter(is_gap).count(), late.iter().filter(is_gap).count());
    assert_eq!(gaps, (0, 1), "nobody was too slow who was there");
    let all = numbered(&first);
    for (index, told) in numbered(&late) {
        assert_eq!(all.get(&index), Some(&told), "{index}");
    }
    let last = late.last().unwrap()["event_index"].as_u64();
    assert_eq!(last, first.last().unwrap()["event_index"].as_u64());
    assert_eq!(late[0]["total_buffered"], last.unwrap() + 1, "{}", late[0]);
    // Who had come so far is told the next one.
    for last in late.iter().filter_map(|event| event["event_index"].as_u64()).skip(1) {
        let rest = site.create(&path, &[("last_event_index", &last.to_string())]).await.events();
        let next = numbered(&rest).keys().copied().collect::<Vec<_>>();
        let expected = numbered(&late).into_keys().filter(|index| *index > last);
        assert_eq!(next, expected.collect::<Vec<_>>(), "behind {last}");
    }
    [first, late]
}

#[tokio::test]
async fn what_began_before_a_gap_ends_under_the_numbers_that_all_know() {
    let parts = [Part::agent("work", "agent-work")];
    let site = small(Component::workflow("flow", one_step).steps(parts));
    let [first, late] = first_and_late(&site, "/workflows/flow").await;
    let ended = |told: &[Value]| {
        let ended = told.iter().find(|event| event["event"] == "ToolCallCompleted");
        ended.unwrap().clone()
    };
    let (known, end) = (ended(&first), ended(&late));
    assert_eq!(known["tool"]["tool_args"], json!({ "of": "tea" }));
    for what in ["tool_call_id", "result", "tool_call_error"] {
        assert_eq!(end["tool"][what], known["tool"][what], "{what}");
    }
    assert_eq!(end["tool"]["tool_call_id"], "c1");
    for what in ["tool_name", "tool_args"] {
        assert_eq!(end["tool"][what], Value::Null, "{what} is gone");
    }
    let of_step = |told: &[Value]| told.iter().filter(|it| it["event"] == "StepOutput").count();
    assert_eq!((of_step(&first), of_step(&late)), (0, 0), "an agent has done it");
}

#[tokio::test]
async fn runs_that_are_gone_have_had_their_numbers() {
    let site = small(Component::team("crowd", many_members));
    let [first, late] = first_and_late(&site, "/teams/crowd").await;
    assert!(late.len() > 8 && late.len() < first.len());
}

/// Says a word; then many more when its gate is open, faster than anybody reads.
fn bursts(gate: &Gate) -> Component {
    let gate = gate.clone();
    Component::agent("bursts", move |ctx: RunContext, _input: Payload| {
        let gate = gate.clone();
        async move {
            Emit::content("first").send(&ctx);
            while !gate.is_open() {
                yield_now().await;
            }
            for word in 0..200 {
                Emit::content(format!("{word} ")).send(&ctx);
                ctx.progress(0.5);
            }
            Ok(Payload::from("done"))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_where_the_store_has_not_got_what_comes_next_and_goes_on_from_there() {
    let (gate, store) = (Gate::new(), Valve::new(Flow::Open));
    let limits = Limits::default().events_per_root_max(64);
    let config = EngineConfig::new().limits(limits).store(Arc::clone(&store) as Arc<dyn Store>);
    let catalog = Catalog::new().with(bursts(&gate));
    let engine = Engine::with_config(config);
    let site =
        Site::made_of(Witness::default(), catalog, engine, Options::default(), Access::open());
    let (run, path) = (fresh("run"), "/agents/bursts/runs");
    let fields = [("message", "m"), ("background", "true"), ("run_id", &*run)];
    let mut client = site.follow(post_form(path, &fields)).await;
    client.until("first").await;
    store.set(Flow::Shut { stops: false });
    gate.open();
    let mut told = client.until_its_end().await;
    let error = told.pop().unwrap();
    assert_eq!(error["event"], "error", "{error}");
    assert!(error["error"].as_str().unwrap().contains("resume"), "{error}");
    let path = format!("{path}/{run}/resume");
    let last = told.last().unwrap()["event_index"].to_string();
    let fields = [("last_event_index", &*last)];
    let uncounted = site.create(&path, &fields).await.events();
    let [error] = &*uncounted else { panic!("it cannot be counted: {uncounted:?}") };
    let words = error["error"].as_str().unwrap();
    assert!(error["event"] == "error" && words.contains("ask again"), "{error}");
    store.set(Flow::Open);
    // While the time stands still nobody waits for a store, which works elsewhere.
    tokio::time::resume();
    let kept = site.service.engine().get(parse_id(&run).unwrap()).unwrap();
    let is_stored = async {
        // An append that the time that stood still has given up is told first, and tried again.
        while kept.stored().await.is_err() {
            yield_now().await;
        }
    };
    within("it is stored", is_stored).await;
    let all = site.create(&path, &[]).await.events();
    told.extend(site.create(&path, &fields).await.events().drain(1..));
    assert_eq!(told, all[1..]);
    assert_eq!(all.last().unwrap()["event"], "RunCompleted");
}
