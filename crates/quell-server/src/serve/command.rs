//! [`serve`]: the command `quell serve`, from its arguments to its exit code.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use quell_flow::{PlanError, path_text};
use tokio::runtime::{Builder, Runtime};

use super::log::Log;
use super::site::{Served, Site};
use crate::args::ServeArgs;
use crate::config::{self, Asked, AskedStore, Checked};
use crate::exit::{EXIT_FAILED, EXIT_USAGE};
use crate::faults::{all_under_error, check_of, under_error};
use crate::signals::HangUps;

/// Serves what the command line asks for, until a signal ends it.
pub(crate) fn serve(args: &ServeArgs) -> ExitCode {
    let log = Log::open(args.log_format, args.log);
    match try_serve(args, &log) {
        Ok(Served::Done) => ExitCode::SUCCESS,
        Ok(Served::Lost(words)) => {
            log.refuse((&[], ""), &words);
            ExitCode::from(EXIT_FAILED)
        }
        Err(Refusal { warnings, check, message }) => {
            log.refuse((&warnings, &check), &message);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Why nothing is served.
struct Refusal {
    /// What should be otherwise besides: mended with the rest, the next start has nothing to say.
    warnings: Vec<PlanError>,
    /// The command that lists all of them.
    check: String,
    message: String,
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self { warnings: Vec::new(), check: String::new(), message }
    }
}

/// Checks everything that can be checked, then listens. An error means that nothing was served.
fn try_serve(args: &ServeArgs, log: &Log) -> Result<Served, Refusal> {
    // Before anything is read: whoever exchanges a key does not know how far this start is.
    let http = runtime("quell-http", Some(HTTP_THREADS))?;
    let hang_ups = {
        let _inside = http.enter();
        HangUps::listen().map_err(|error| format!("signals cannot be handled: {error}"))?
    };
    let (listen, demo) = (args.listen, args.demo);
    let (place, env, node) = (args.store.clone(), args.store_env.clone(), args.node.clone());
    let store = AskedStore { place, env, node };
    let asked = Asked { settings: &args.set, listen, store: Some(&store), demo };
    // The demo stands for itself: what is served beside it is named.
    let default = config::default_file().filter(|_| args.config.is_none() && !args.demo);
    if let Some(file) = default {
        log.say(&format!("serving {}; --config reads another file", path_text(file)));
    }
    let file = args.config.as_deref().or(default);
    let checked = Checked::load(file, asked).map_err(|refused| {
        let check = check_of(file.unwrap_or(Path::new(config::DEFAULT)));
        // No other command knows what is asked for besides the file.
        let is_of_file = args.set.is_empty() && listen.is_none() && !store.is_some() && !demo;
        let message = if is_of_file {
            under_error(&refused.faults, &check)
        } else {
            all_under_error(&refused.faults)
        };
        Refusal { warnings: refused.warnings, check, message }
    })?;
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = log.traces().warning() {
        tracing::warn!("{warning}");
    }
    let site = Site::new(args, checked, hang_ups)?;
    let bodies = runtime("quell-body", None)?;
    let done = http.block_on(site.serve(bodies.handle().clone(), log));
    bodies.shutdown_background();
    // What is under way says what is lost with it; nothing of it blocks for long.
    http.shutdown_timeout(LAST_WORDS);
    Ok(done?)
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

/// How long what is under way may take to say that it is lost.
const LAST_WORDS: Duration = Duration::from_secs(1);
