//! How long after a cancel is a run over, seen through HTTP, and what do runs and streams cost?
//!
//! 1. `memory`: resident bytes of the server per live stream, the slope from 200 to 2,000 of them.
//! 2. `cancel`: from a cancel on another connection to the terminal event on the stream, p50 and
//!    p99; an agent, a team of three, a workflow of four steps, a graph, a graph of four workers.
//!    A witness that the bodies themselves feed says whether work went on after that event.
//!    `bulk`: the same of 200 background runs that one request cancels by status, until the last
//!    tick; `bulk_many` of 10,000 of ours, without and with a store, and what their records say.
//!    `background`: resident bytes per background run. `first_event`: how soon a run says
//!    something.
//! 3. `loaded`: the cancels of agent, team and workflow while 100 other streams tick; `silent`:
//!    inside a wait of five seconds; `all`: of 200 streams at once.
//! 4. `streams`: 10,000 streams of ours at once.
//! 5. `short`: runs per second through 32 connections, answered at the end or streamed, of graphs
//!    through 50.
//! 6. `stored`: the same with a store in a file, against without.
//! 7. `service`: components that are services: runs per second through 1 and 8 clients, and of
//!    the same requests without quell; from a cancel to the end of a silent model's connection.
//! 8. `page`: cancels beside 1,000 short runs a second, without the page, with its requests alone,
//!    and with a browser that has it open; what that takes.
//! 9. `floor`: processor time per short run, against a bare route that answers the same bytes;
//!    `cost_short`, `cost_cancel`: that of our server by its threads, and of the same runs on an
//!    engine in this process: what HTTP adds.
//!
//! With `--store` every server of ours that the bench starts keeps its runs in a file.
//!
//! Ours is `quell serve --demo`, started here; theirs are the servers whose contracts it speaks,
//! to be started before the bench, with the same demo components. One process measures both, by
//! turns; its own work is in the figures of both.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::print_stderr, reason = "a bench that cannot go on says so")]

mod agentos;
mod args;
mod background;
mod bulk;
mod cancel;
mod client;
mod cost;
mod crowd;
mod floor;
mod langgraph;
mod load;
mod memory;
mod page;
mod resident;
mod service;
mod short;
mod side;
mod streams;
mod threads;

use std::process::ExitCode;

use tokio::runtime::Builder;

use args::Args;
use client::Http;
use load::{AGENT, Contract, GRAPH, LOADS};
use short::Kind;
use side::Side;

fn main() -> ExitCode {
    match Args::read(std::env::args().skip(1)).and_then(|args| measure(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Measures on one thread, and leaves the other processors to the servers.
fn measure(args: &Args) -> Result<(), String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(parts(args))
}

async fn parts(args: &Args) -> Result<(), String> {
    let http = Http::new();
    let peers = Peers::new(args);
    if args.is_wanted("memory") {
        for load in [&AGENT, &GRAPH] {
            let Some(theirs) = peers.of(load.contract, load.name) else { continue };
            memory::compare(&http, load, &ours(args)?, theirs).await?;
        }
    }
    graphs(args, &http, &peers).await?;
    let ours = ours(args)?;
    if args.is_wanted("cancel") {
        for load in &LOADS {
            let Some(theirs) = peers.of(load.contract, load.name) else { continue };
            cancel::race(&http, load, &ours, theirs).await?;
        }
    }
    crowded(args, &http, &peers, &ours).await?;
    if args.is_wanted("short") {
        for (kind, load) in [(Kind::Agent, &AGENT), (Kind::Streamed, &AGENT), (Kind::Graph, &GRAPH)]
        {
            let Some(theirs) = peers.of(load.contract, load.name) else { continue };
            short::race(&http, kind, &ours, theirs).await?;
        }
    }
    if args.is_wanted("stored") {
        let without = Side::ours(args.quell.as_deref())?;
        short::stored(&http, &Side::stored(args.quell.as_deref())?, &without).await?;
    }
    if args.is_wanted("service") {
        service::measure(&http, args.quell.as_deref()).await?;
    }
    if args.is_wanted("page") {
        match &args.browser {
            Some(browser) => page::compare(&http, &self::ours(args)?, browser).await?,
            None => println!("\npage: left out; give --browser with the path of a Chromium"),
        }
    }
    if args.is_wanted("floor") {
        floor::compare(&http, &ours).await?;
    }
    let before = args.before.as_deref().map(|path| Side::ours(Some(path))).transpose()?;
    if args.is_wanted("cost_short") {
        cost::of_short(&http, &ours, before.as_ref()).await?;
    }
    if args.is_wanted("cost_cancel") {
        cost::of_cancel(&http, &ours, before.as_ref()).await?;
    }
    Ok(())
}

/// What of agents alone is measured, with many streams or long waits.
async fn crowded(args: &Args, http: &Http, peers: &Peers, ours: &Side) -> Result<(), String> {
    let theirs = |part| args.is_wanted(part).then(|| peers.of(Contract::AgentOs, part)).flatten();
    if let Some(theirs) = theirs("loaded") {
        for load in LOADS.iter().filter(|load| load.contract == Contract::AgentOs) {
            cancel::loaded(http, load, ours, theirs).await?;
        }
    }
    if let Some(theirs) = theirs("silent") {
        cancel::silent(http, ours, theirs).await?;
    }
    if let Some(theirs) = theirs("all") {
        cancel::all(http, ours, theirs).await?;
    }
    if args.is_wanted("streams") {
        streams::many(http, &self::ours(args)?).await?;
    }
    Ok(())
}

/// What of graphs alone is measured, each part on a fresh server of ours.
async fn graphs(args: &Args, http: &Http, peers: &Peers) -> Result<(), String> {
    let theirs = |part| args.is_wanted(part).then(|| peers.of(Contract::LangGraph, part)).flatten();
    if let Some(theirs) = theirs("background") {
        background::memory(http, &ours(args)?, theirs).await?;
    }
    if let Some(theirs) = theirs("first_event") {
        background::first_event(http, &ours(args)?, theirs).await?;
    }
    if let Some(theirs) = theirs("bulk") {
        bulk::compare(http, &ours(args)?, theirs).await?;
    }
    if args.is_wanted("bulk_many") {
        let stored = Side::stored(args.quell.as_deref())?;
        bulk::many(http, &Side::ours(args.quell.as_deref())?, &stored).await?;
    }
    Ok(())
}

/// Takes the server that was named, or starts a fresh one.
fn ours(args: &Args) -> Result<Side, String> {
    match &args.ours {
        Some(url) => Ok(Side::witnessed(url)),
        None if args.is_stored => Side::stored(args.quell.as_deref()),
        None => Side::ours(args.quell.as_deref()),
    }
}

/// The other side, per contract.
struct Peers {
    agno: Option<Side>,
    langgraph: Option<Side>,
}

impl Peers {
    fn new(args: &Args) -> Self {
        let effects = args.langgraph_effects.as_deref();
        Self {
            agno: args.agno.as_deref().map(Side::witnessed),
            langgraph: args.langgraph.as_deref().map(|url| Side::logged(url, effects)),
        }
    }

    /// The server that is compared with; without one it says what is left out.
    fn of(&self, contract: Contract, what: &str) -> Option<&Side> {
        let (side, who, option) = match contract {
            Contract::AgentOs => (&self.agno, "AgentOS server (agno 3.1.10)", "--agno"),
            Contract::LangGraph => {
                (&self.langgraph, "LangGraph server (langgraph-api 0.16.7)", "--langgraph")
            }
        };
        if side.is_none() {
            println!("\n{what}: left out; start the upstream {who} and give {option} URL");
        }
        side.as_ref()
    }
}
