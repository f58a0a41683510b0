//! `quell top`: what a running server executes, drawn again and again.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use quell_report::text::printable;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::answers::{RunPage, Stops};
use super::client::Asks;
use super::keys::Keys;
use super::not_done::NotDone;
use super::ps::table;
use super::server_args::ServerArgs;
use super::strip;
use crate::live::Live;
use crate::out::{Fault, Out, written};
use crate::signals::Signals;
use crate::view::Style;

/// What `quell top` is told.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    server: ServerArgs,

    /// The time from one picture to the next
    #[arg(long, value_name = "DURATION", value_parser = crate::times::parse, default_value = "1s")]
    every: Duration,

    /// Print once, as one line of JSON with `stops` and `runs`
    #[arg(long)]
    json: bool,
}

/// Shows what the server executes, and yields the exit code.
pub(crate) fn top(args: &TopArgs) -> ExitCode {
    let style = Style { json: args.json, verbose: false, answer: false };
    written(|out| {
        let (asks, runtime) = args.server.client()?.into_parts();
        let shown = if style.is_live() {
            runtime.block_on(redrawn(Arc::new(asks), args.every.max(EVERY_MIN)))
        } else {
            runtime.block_on(once(&asks, args.json, out))
        };
        runtime.shutdown_background();
        shown
    })
}

async fn once(asks: &Asks, json: bool, out: &mut Out) -> Result<(), Fault> {
    if !json {
        return picture(asks, RUNS_MAX).await?.into_iter().try_for_each(|line| out.line(line));
    }
    let runs: RunPage = asks.get(&runs_path(RUNS_MAX)).await?;
    let stops: Value = asks.get(STOPS).await?;
    out.line(json!({ "stops": stops["stops"], "runs": runs.runs }))
}

/// Draws until the user has seen enough.
async fn redrawn(asks: Arc<Asks>, every: Duration) -> Result<(), Fault> {
    let first = picture(&asks, RUNS_DRAWN).await?;
    let mut signals =
        Signals::listen().map_err(|error| format!("signals cannot be handled: {error}"))?;
    let (_keys, quit) = Keys::begin();
    let mut quit = std::pin::pin!(quit);
    let mut live = Live::new();
    live.draw(&first);
    let (tell, mut pictures) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            sleep(every).await;
            // Nobody looks any more.
            if tell.send(picture(&asks, RUNS_DRAWN).await).await.is_err() {
                return;
            }
        }
    });
    let end = loop {
        tokio::select! {
            // The end comes before another picture.
            biased;
            () = &mut quit => break Ok(()),
            _ = signals.next() => break Ok(()),
            shown = pictures.recv() => match shown {
                Some(Ok(lines)) => live.draw(&lines),
                // It may come back.
                Some(Err(NotDone::Lost(words))) => live.draw(&[words]),
                Some(Err(refused)) => break Err(refused.into()),
                None => break Ok(()),
            },
        }
    };
    live.clear();
    end
}

/// Asks for what there is, and draws it: the stops first.
async fn picture(asks: &Asks, runs_max: usize) -> Result<Vec<String>, NotDone> {
    let runs: RunPage = asks.get(&runs_path(runs_max)).await?;
    let stops: Stops = asks.get(STOPS).await?;
    let have = match runs.total {
        Some(1) => "1 run has".to_owned(),
        Some(total) => format!("{total} runs have"),
        None => "many runs have".to_owned(),
    };
    let under_way = match stops.stops.len() {
        1 => "1 stop is".to_owned(),
        count => format!("{count} stops are"),
    };
    let server = asks.server();
    let head = format!("{}  {have} not ended, {under_way} under way", printable(&server));
    let mut lines = vec![head];
    lines.extend(stops.stops.iter().take(STOPS_DRAWN).map(|stop| strip::line(stop, stops.at.0)));
    if stops.stops.len() > STOPS_DRAWN {
        lines.push(format!("… and {} more stops", stops.stops.len() - STOPS_DRAWN));
    }
    lines.push(String::new());
    lines.extend(table(&runs.runs, stops.at.0));
    Ok(lines)
}

fn runs_path(runs_max: usize) -> String {
    format!("v1/runs?status=queued,running,paused,stopping&values=false&limit={runs_max}")
}

const STOPS: &str = "v1/stops?limit=100";

/// Runs that are printed, and that are drawn.
const RUNS_MAX: usize = 1_000;
const RUNS_DRAWN: usize = 100;

/// Stops that are drawn.
const STOPS_DRAWN: usize = 10;

/// Servers are asked no more often.
const EVERY_MIN: Duration = Duration::from_millis(100);

/// Below the help of `quell top`.
pub(crate) const TOP_AFTER_HELP: &str = "\
The stops that are under way come first, the oldest on top: who asked for each and why, how far it \
is, what it waits for by name, and when that is given up. Below them are the runs as `quell ps` \
lists them. `q` or Ctrl-C ends it. Without a terminal it prints once.

Exit codes:
  0   shown
  2   bad usage, or the server is not there, or refuses

Examples:
  quell top
  quell top --server https://quell.example --key-env OPS_KEY --every 5s";
