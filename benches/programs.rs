//! What does it cost to run a program as a run?
//!
//! `programs/sh`, `programs/python`: `sh -c :` and `python3 -S -c pass`, one after the other. Each
//! is a run that reads its output and knows at the end that nothing of it is alive, against the
//! `output` of tokio's `Command`, which knows of the program alone.

#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

use quell::{Engine, EngineConfig, RunSpec};
use quell_benches::figures::{compare, section};
use quell_benches::race::{Race, Stopwatch, Took, is_wanted};
use quell_process::Process;
use tokio::process::Command;
use tokio::runtime::{Builder, Runtime};

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system lets a runtime be made");
    let engine = Engine::with_config(EngineConfig::new().runtime(runtime.handle().clone()));
    for (name, program) in PROGRAMS {
        if is_wanted(name) {
            race(&runtime, &engine, name, program);
        }
    }
}

fn race(runtime: &Runtime, engine: &Engine, name: &str, program: &'static [&'static str]) {
    section(&program.join(" "), "one after the other; theirs: tokio's Command");
    let race = Race::run(
        ROUNDS,
        || runtime.block_on(ours(engine, program)),
        || runtime.block_on(theirs(program)),
    );
    compare(&format!("programs/{name}"), RUNS, &race);
}

async fn ours(engine: &Engine, program: &'static [&'static str]) -> Took {
    let watch = Stopwatch::start();
    for _ in 0..RUNS {
        let process = Process::new(program[0]).args(program[1..].iter().copied());
        let run = engine.submit(RunSpec::step("program"), move |ctx| process.run(ctx));
        let output = run.expect("it is accepted").await.expect("it ends well");
        assert_eq!(output.exit_code, Some(0));
    }
    watch.stop()
}

async fn theirs(program: &'static [&'static str]) -> Took {
    let watch = Stopwatch::start();
    for _ in 0..RUNS {
        let output = Command::new(program[0]).args(program[1..].iter().copied()).output().await;
        assert!(output.expect("it starts").status.success());
    }
    watch.stop()
}

const PROGRAMS: [(&str, &[&str]); 2] =
    [("sh", &["sh", "-c", ":"]), ("python", &["python3", "-S", "-c", "pass"])];

const RUNS: usize = 20;
const ROUNDS: usize = 15;
