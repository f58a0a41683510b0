//! [`serve`]: the command `quell serve`, from its arguments to its exit code.

use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use super::site::Site;
use super::stderr::Stderr;
use crate::args::ServeArgs;
use crate::config::Checked;
use crate::exit::EXIT_USAGE;
use crate::faults::under_error;

/// Serves what the command line asks for, until a signal ends it.
pub(crate) fn serve(args: &ServeArgs) -> ExitCode {
    let stderr = Stderr::open();
    match try_serve(args, &stderr) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            stderr.say(&format!("error: {refusal}"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Checks everything that can be checked, then listens. An error means that nothing was served.
fn try_serve(args: &ServeArgs, stderr: &Stderr) -> Result<(), String> {
    let writer = stderr.writer();
    tracing_subscriber::fmt().with_writer(move || writer.clone()).with_max_level(args.log).init();
    let checked = Checked::load(args.config.as_deref(), &args.set);
    let site = Site::new(args, checked.map_err(|faults| under_error(&faults))?)?;
    let bodies = runtime("quell-body", None)?;
    let http = runtime("quell-http", Some(HTTP_THREADS))?;
    let done = http.block_on(site.serve(bodies.handle().clone(), stderr));
    bodies.shutdown_background();
    http.shutdown_background();
    done
}

fn runtime(name: &str, threads: Option<usize>) -> Result<Runtime, String> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    let built = builder.thread_name(name).enable_all().build();
    built.map_err(|error| format!("no runtime can be built: {error}"))
}

/// Worker threads of HTTP: they parse and render, and never run a body.
const HTTP_THREADS: usize = 2;
