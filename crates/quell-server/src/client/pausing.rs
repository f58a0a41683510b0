//! `quell pause` and `quell resume`: runs of a running server that wait for an answer.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::StatusCode;
use quell::RunStatus;
use quell_report::text::printable;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::answers::Paused;
use super::server_args::ServerArgs;
use crate::named::{in_path, run_ids};
use crate::out::{Fault, Out, written};
use crate::times;

/// What `quell pause` is told.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The id of the run
    #[arg(value_name = "RUN", value_parser = run_ids())]
    run: String,

    #[command(flatten)]
    server: ServerArgs,

    /// What the run is to ask: JSON, or else text
    #[arg(long, value_name = "VALUE")]
    request: Option<String>,

    /// End the run, timed out, if it has no answer after this time
    #[arg(long, value_name = "DURATION", value_parser = times::parse)]
    expires_in: Option<Duration>,

    /// Print the answer of the server as JSON
    #[arg(long)]
    json: bool,
}

/// What `quell resume` is told.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The id of the run
    #[arg(value_name = "RUN", value_parser = run_ids())]
    run: String,

    /// The answer: JSON, or else text
    #[arg(value_name = "ANSWER", allow_hyphen_values = true)]
    answer: String,

    #[command(flatten)]
    server: ServerArgs,

    /// Answer this attempt alone, whose number is in the `pause` of the run
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,

    /// Print the answer of the server as JSON
    #[arg(long)]
    json: bool,
}

/// Asks a run to pause, and yields the exit code.
pub(crate) fn pause(args: &PauseArgs) -> ExitCode {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let asked = Asked { server: &args.server, run: &args.run, change: "pause", json: args.json };
    written(|out| {
        let request = args.request.as_deref().map(value).transpose()?;
        asked.change(&Pause { request, expires_in_ms: args.expires_in.map(ms) }, out)
    })
}

/// Answers a run, and yields the exit code.
pub(crate) fn resume(args: &ResumeArgs) -> ExitCode {
    let asked = Asked { server: &args.server, run: &args.run, change: "resume", json: args.json };
    written(|out| {
        asked.change(&Resume { answer: value(&args.answer)?, attempt: args.attempt }, out)
    })
}

/// The body of a pause.
#[derive(Serialize)]
struct Pause {
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u64>,
}

/// The body of an answer.
#[derive(Serialize)]
struct Resume {
    answer: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
}

/// What a run is asked.
struct Asked<'a> {
    server: &'a ServerArgs,
    run: &'a str,
    change: &'a str,
    json: bool,
}

impl Asked<'_> {
    fn change(&self, body: &impl Serialize, out: &mut Out) -> Result<(), Fault> {
        let client = self.server.client()?;
        let path = format!("v1/runs/{}/{}", in_path(self.run), self.change);
        let answer = client.post(&path, body, Duration::ZERO)?;
        if self.json {
            return out.line(answer.read::<Value>()?);
        }
        let Paused { status, attempt } = answer.read()?;
        let run = printable(self.run);
        out.line(match status {
            RunStatus::Paused if self.change == "pause" => {
                format!("{run}  paused: it waits for an answer (attempt {attempt})")
            }
            _ if answer.status == StatusCode::ACCEPTED => {
                format!("{run}  {status}: it pauses at its next checkpoint (attempt {attempt})")
            }
            _ => format!("{run}  {status}: attempt {attempt}"),
        })
    }
}

/// Reads a value: JSON if it is that, with every digit, and else the text.
fn value(text: &str) -> Result<Box<RawValue>, String> {
    let value = RawValue::from_string(text.to_owned()).or_else(|_| to_raw_value(text));
    value.map_err(|error| error.to_string())
}

/// Below the help of `quell pause`.
pub(crate) const PAUSE_AFTER_HELP: &str = "\
A run pauses at its next checkpoint, and not before. Only a run of a component that lets its runs \
be paused does. `quell resume RUN ANSWER` has it go on; a cancel ends it at once.

Exit codes:
  0   it is paused, or will be
  2   bad usage, no such run, or it cannot be paused; or the server is not there, or refuses

Examples:
  quell pause my-run
  quell pause my-run --request '{\"ask\": \"go on?\"}' --expires-in 1h";

/// Below the help of `quell resume`.
pub(crate) const RESUME_AFTER_HELP: &str = "\
An answer is JSON if it can be read as such, and else a text: yes is a text, 5 a number, '\"5\"' a \
text again. A step of a plan that asks for approval takes yes and no. With --attempt a second \
answer to the same question is refused.

Exit codes:
  0   the run has its answer
  2   bad usage, no such run, or it is not paused; or the server is not there, or refuses

Examples:
  quell ps --status paused
  quell resume my-run yes
  quell resume my-run '{\"pick\": 2}' --attempt 1";
