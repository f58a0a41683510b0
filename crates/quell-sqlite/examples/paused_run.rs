//! A run that saves its state, asks, is answered by a later engine, and goes on from what it saved.
//!
//! `cargo run -p quell-sqlite --example paused_run`

#![cfg_attr(not(test), expect(clippy::print_stdout, reason = "an example shows what happens"))]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::{env, fs, process};

use quell::store::Store as _;
use quell::{
    Engine, EngineConfig, Failure, Payload, Recovered, Recovery, RunContext, RunSpec, Shutdown,
};
use quell_sqlite::SqliteStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::temp_dir().join(format!("quell-paused-run-{}", process::id()));
    fs::create_dir_all(&folder)?;
    let done = ask_and_answer(&folder.join("runs.db")).await;
    fs::remove_dir_all(&folder)?;
    done
}

/// Starts a run that asks, and ends the engine. A second engine on the same file has the answer; in
/// a service it is one of a later process.
pub(crate) async fn ask_and_answer(file: &Path) -> Result<(), Box<dyn Error>> {
    let (store, engine, _) = opened(file).await?;
    let run = engine.submit_resumable(RunSpec::agent("clerk"), clerk)?;
    let question = run.run().paused().await.ok_or("it has ended")?;
    println!("it asks {}", question.as_json());
    closed(&store, engine).await?;

    let (store, engine, recovered) = opened(file).await?;
    let run = recovered.paused.first().ok_or("it is not paused any more")?;
    run.resume_durably("yes").await?;
    let report = run.ended().await;
    let output = report.own_row().output.as_ref().map_or("nothing", Payload::as_json);
    println!("it is {}, and has said {output}", run.status());
    closed(&store, engine).await
}

/// Opens the file, makes an engine that keeps its runs there, and decides what an earlier process
/// has left in it, before anything is submitted.
async fn opened(file: &Path) -> Result<(Arc<SqliteStore>, Engine, Recovered), Box<dyn Error>> {
    let store = Arc::new(SqliteStore::open(file)?);
    let engine = Engine::with_config(EngineConfig::new().store(Arc::clone(&store) as _));
    let decide = engine.recover(|left| match &*left.accepted.name {
        // One that is paused stays so until it has its answer; one that was lost goes on.
        "clerk" => Recovery::resumable(RunSpec::agent("clerk"), clerk),
        _ => Recovery::Fail,
    });
    let recovered = decide.await?;
    println!("left by an earlier process: {} paused", recovered.paused.len());
    Ok((store, engine, recovered))
}

/// Ends the engine, and then gives the file to whoever opens it next.
async fn closed(store: &SqliteStore, engine: Engine) -> Result<(), Box<dyn Error>> {
    let report = engine.shutdown(Shutdown::default()).await;
    store.close().await?;
    if report.unstored > 0 { Err("not all is known to be stored".into()) } else { Ok(()) }
}

/// Copies three pages, and asks before the last one. Each attempt begins here.
async fn clerk(ctx: RunContext) -> Result<(), Failure> {
    let saved = ctx.saved().await?;
    let copied: u32 = saved.map_or(Ok(0), |state| state.parse())?;
    println!("attempt {} begins, {copied} pages are copied", ctx.attempt());
    for page in copied + 1..=3 {
        ctx.checkpoint()?;
        if page == 3 && ctx.resumed_with().is_none() {
            return Err(ctx.pause("may I copy the last page?"));
        }
        // Once this returns it is stored: no later attempt copies the page again.
        ctx.save(Payload::json(&page)?).await?;
    }
    ctx.set_output("all pages are copied".into());
    Ok(())
}
