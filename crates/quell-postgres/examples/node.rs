//! One node of several on a PostgreSQL database, as a whole program. Start it in two terminals:
//!
//! ```sh
//! cargo run -p quell-postgres --example node -- postgres://quell:PASSWORD@localhost/runs node-1
//! cargo run -p quell-postgres --example node -- postgres://quell:PASSWORD@localhost/runs node-2
//! ```
//!
//! It reads lines: `start ID` starts a run, and `stop ID` stops one, whatever node has it. Ctrl-C,
//! or the end of the lines, ends the node, and stops its runs. Kill one instead: the other takes
//! its runs over when the lease is over, 15 s later, and goes on with what they have saved.

#![cfg_attr(not(test), expect(clippy::print_stdout, reason = "an example shows what happens"))]

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use std::{env, io, thread};

use quell::store::{RunRecord, Store as _};
use quell::{
    CancelRequest, Engine, EngineConfig, Failure, Payload, Recovery, RunContext, RunId, RunSpec,
    Shutdown,
};
use quell_postgres::{PostgresNode, PostgresOptions};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let (Some(url), Some(name)) = (args.next(), args.next()) else {
        return Err("two arguments are needed: URL NAME".into());
    };
    run(url, name, lines_of_stdin()).await
}

/// Is a node until its lines end, somebody presses Ctrl-C, or it has lost its lease.
pub(crate) async fn run(
    url: String,
    name: String,
    mut lines: mpsc::Receiver<String>,
) -> Result<(), Box<dyn Error>> {
    let mut options = PostgresOptions::new(url);
    options.node = Some(name.clone());
    let node = Arc::new(PostgresNode::open(options).await?);
    let engine = Engine::with_config(EngineConfig::new().node(Arc::clone(&node)));

    // First, once: what an earlier process of this name has left. No other node has that.
    let recovered = engine.recover(go_on).await?;
    println!("{name} is up; runs that go on: {}", recovered.resumed.len());

    let mut others = pin!(take_over(&engine));
    let has_lost = loop {
        tokio::select! {
            // The loss comes first: others may have the runs of this node soon.
            biased;
            () = engine.lease_lost() => break true,
            never = &mut others => match never {},
            _ = tokio::signal::ctrl_c() => break false,
            line = lines.recv() => match line {
                Some(line) => obey(&engine, &line).await,
                None => break false,
            },
        }
    };

    // It stops what runs here, and gives the lease back, so that nobody waits for its end.
    let report = engine.shutdown(Shutdown::default()).await;
    node.close().await?;
    println!("{name} is down; facts not known to be stored: {}", report.unstored);
    if has_lost { Err("the lease was lost: start this node again".into()) } else { Ok(()) }
}

/// Takes over from nodes whose lease is over, for as long as this one runs.
async fn take_over(engine: &Engine) -> Infallible {
    loop {
        match engine.take_over(go_on).await {
            Ok(Some(taken)) => {
                let from = taken.from.as_deref().unwrap_or("a node that is gone");
                println!(
                    "took over from {from}; runs that go on: {}",
                    taken.recovered.resumed.len()
                );
            }
            Ok(None) => {}
            Err(error) => println!("nothing can be taken over: {error}"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Says what becomes of a run that another process has left, and that nobody has stopped.
fn go_on(run: &RunRecord) -> Recovery {
    match &*run.accepted.name {
        "counter" => Recovery::resume(RunSpec::agent("counter"), count),
        // Another release of this program knows how it goes on, perhaps.
        _ => Recovery::Fail,
    }
}

/// Does what a line says.
async fn obey(engine: &Engine, line: &str) {
    let (what, text) = line.split_once(' ').unwrap_or((line, ""));
    // The same text is the same id on every node; a UUID, as a run prints its id, is itself.
    let id = RunId::from_text(text);
    match what {
        "start" => match engine.submit_durably(RunSpec::agent("counter").id(id), count).await {
            Ok(_run) => println!("{text} is started, with the id {id}"),
            Err(error) => println!("{text} is not started: {error}"),
        },
        "stop" => {
            let stop = CancelRequest::because("somebody has typed it");
            match engine.cancel_anywhere(id, stop).await {
                Ok(answer) => println!("{text} is asked to stop: {answer:?}"),
                Err(error) => println!("nothing is known of {text}: {error}"),
            }
        }
        _ => println!("say `start ID` or `stop ID`"),
    }
}

/// Counts, and saves each number before the next one: another node goes on behind it.
async fn count(ctx: RunContext) -> Result<(), Failure> {
    let saved = ctx.saved().await?.map(|saved| saved.parse::<u64>()).transpose()?;
    for number in saved.map_or(1, |saved| saved + 1).. {
        ctx.save(Payload::json(&number)?).await?;
        println!("counted {number}");
        ctx.run_until_stopped(tokio::time::sleep(Duration::from_millis(200))).await?;
    }
    Ok(())
}

/// Reads lines on a thread of its own, for which the end of the program need not wait.
pub(crate) fn lines_of_stdin() -> mpsc::Receiver<String> {
    let (give, lines) = mpsc::channel(1);
    thread::spawn(move || {
        io::stdin().lines().map_while(Result::ok).try_for_each(|line| give.blocking_send(line))
    });
    lines
}
