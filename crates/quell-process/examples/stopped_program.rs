//! Stops a program that prints: its lines as they come, its last words in the grace, the report.
//!
//! `cargo run -p quell-process --example stopped_program`

#![cfg_attr(not(test), expect(clippy::print_stdout, reason = "an example shows what happens"))]

use std::env;
use std::error::Error;
use std::io;
use std::process::Command;
use std::time::Duration;

use quell::{CancelRequest, Engine, EventKind, Payload, RunSpec};
use quell_process::Process;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The guardian is this same program: it ends what is left if this process is killed.
    if env::args().nth(1).as_deref() == Some("guard") {
        quell_process::guard(io::stdin().lock());
        return Ok(());
    }
    let mut guardian = Command::new(env::current_exe()?);
    guardian.arg("guard");
    let _guarded = quell_process::guarded_by(guardian);
    stop().await
}

/// Stops an agent when its program has printed three lines.
pub(crate) async fn stop() -> Result<(), Box<dyn Error>> {
    let engine = Engine::new();
    let agent = engine.submit(RunSpec::agent("clock"), async |ctx| {
        // The trap is the program's cleanup: SIGTERM comes first, SIGKILL when the grace is over.
        let script = "trap 'echo last words; exit' TERM; \
                      i=0; while :; do i=$((i + 1)); echo tick $i; sleep 0.1; done";
        let program = Process::new("sh").args(["-c", script]);
        let output = ctx.spawn(RunSpec::step("sh"), |ctx| program.run(ctx)).await?;
        Ok(output.stdout)
    })?;

    let (mut events, mut lines) = (agent.events(), 0);
    while lines < 3
        && let Some(event) = events.next().await
    {
        if let EventKind::Emitted(line) = event.kind {
            println!("{}", line.as_json());
            lines += 1;
        }
    }
    agent.cancel(CancelRequest::because("three are enough").grace(Duration::from_secs(5)));

    let report = agent.ended().await;
    println!("quiescent: {}, abandoned: {}", report.quiescent, report.abandoned.len());
    for row in &report.rows {
        let partial = row.partial.as_ref().map_or("nothing", Payload::as_json);
        println!("{} is {}, and left {partial}", row.name, row.status);
    }
    Ok(())
}
