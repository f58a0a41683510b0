//! The `quell` binary: runs plans of commands as one run tree that stops when told, and serves
//! agents, teams and workflows over HTTP.
//!
//! `quell run` builds two runtimes by hand: bodies have worker threads of their own, and the main
//! thread waits for events and signals. At the end nothing is joined: a body that blocks its
//! thread for ever cannot keep this process from exiting.

mod answers;
mod args;
mod asking;
mod change;
mod check;
mod client;
mod config;
mod descriptors;
mod environment;
mod exit;
mod faults;
mod guard;
mod help;
mod init;
mod input;
mod install;
mod job;
mod lines;
mod list;
mod live;
mod log_format;
mod markdown;
mod named;
mod out;
mod outputs;
mod places;
mod plan;
mod printed;
mod processes;
mod programs;
mod progress;
mod quoted;
mod remote;
mod report_file;
mod run;
mod serve;
mod shell_word;
mod shown_word;
mod signals;
mod small_file;
mod stdout;
mod store;
mod terminal;
mod times;
mod tips;
mod tree;
mod view;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::CommandFactory as _;
use help::{ANSWERS_PAGE, PROCESS_PAGE, REPORT_PAGE, SERVICE_PAGE};
use quell_flow::PLAN_TEMPLATES;
use tikv_jemallocator::Jemalloc;

/// Requests and runs are made and freed on different threads all the time.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os());
    // Those that run programs do so with their other signals.
    if !matches!(&cli, Ok(Cli { command: Command::Run(_) | Command::Serve(_) | Command::Guard })) {
        // Without it, a file that is full ends the process without a word.
        let _ = signals::survive_limit_of_files();
    }
    match cli {
        Ok(Cli { command: Command::Run(args) }) => guard::guarded(|| run::run(args)),
        Ok(Cli { command: Command::Serve(args) }) => guard::guarded(|| serve::serve(&args)),
        Ok(Cli { command: Command::Guard }) => guard::run(),
        Ok(Cli { command: Command::Check(args) }) => check::run(&args),
        Ok(Cli { command: Command::Client(command) }) => client::run(&command),
        Ok(Cli { command: Command::Completions(args) }) => {
            install::completions(&args, &Cli::command())
        }
        Ok(Cli { command: Command::Init(args) }) => init::run(&args),
        Ok(Cli { command: Command::List(args) }) => list::run(&args),
        Ok(Cli { command: Command::Man(args) }) => install::man(&args, Cli::command()),
        Ok(Cli { command: Command::Plan(command) }) => plan::run(&command),
        Ok(Cli { command: Command::Answers }) => stdout::say(ANSWERS_PAGE),
        Ok(Cli { command: Command::Report }) => stdout::say(REPORT_PAGE),
        Ok(Cli { command: Command::Events(args) }) => store::events(&args),
        Ok(Cli { command: Command::Runs(args) }) => store::runs(&args),
        Ok(Cli { command: Command::Nodes(args) }) => store::nodes(&args),
        Ok(Cli { command: Command::Show(args) }) => store::show(&args),
        Ok(Cli { command: Command::Store(command) }) => store::upkeep(&command),
        Ok(Cli { command: Command::Process }) => stdout::say(PROCESS_PAGE),
        Ok(Cli { command: Command::Templates }) => stdout::say(PLAN_TEMPLATES),
        Ok(Cli { command: Command::Service }) => stdout::say(SERVICE_PAGE),
        // The help, or the version.
        Err(shown) if !shown.use_stderr() => stdout::said(shown.print()),
        Err(shown) => {
            stdout::complain(&tips::words(&shown));
            ExitCode::from(u8::try_from(shown.exit_code()).unwrap_or(exit::EXIT_USAGE))
        }
    }
}
