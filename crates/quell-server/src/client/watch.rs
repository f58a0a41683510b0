//! `quell watch`: a run of a running server, drawn as `quell run` draws one, with its stops.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use quell::{Counts, EventKind, RunEvent, RunReport, RunRow, RunStatus};
use tokio::sync::mpsc;
use tokio::time::{self, sleep};

use super::answers::{Stops, TreeRow};
use super::client::Asks;
use super::follow::{Follow, Heard};
use super::not_done::NotDone;
use super::one_run::{OneRun, own_row};
use super::server_args::ServerArgs;
use super::strip;
use crate::exit::{EXIT_FAILED, EXIT_USAGE, exit_code};
use crate::named::run_ids;
use crate::shell_word::shell_word;
use crate::signals::Signals;
use crate::stdout::complain;
use crate::view::{FRAME, Message, Style, View};

/// What `quell watch` is told.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The id of the run: a root, or one below
    #[arg(value_name = "RUN", value_parser = run_ids())]
    run: String,

    #[command(flatten)]
    server: ServerArgs,

    /// Print every event as one line of JSON (`quell help events` has their kinds); what is meant
    /// for people goes to stderr
    #[arg(long)]
    json: bool,

    /// Show every line that the programs write, and not just the last one
    #[arg(short, long)]
    verbose: bool,
}

/// Watches the run until nothing of it executes, and yields the exit code.
pub(crate) fn watch(args: &WatchArgs) -> ExitCode {
    let watched = args.server.client().and_then(|client| {
        let (asks, runtime) = client.into_parts();
        let code = runtime.block_on(watched(Arc::new(asks), args));
        runtime.shutdown_background();
        code
    });
    ExitCode::from(watched.unwrap_or_else(|words| {
        complain(&format!("error: {words}\n"));
        EXIT_USAGE
    }))
}

/// What there is to show.
enum News {
    Event(RunEvent),
    Note(String),
    /// How the run stands: events that said it were not heard.
    Whole(RunReport),
    /// Stops, as lines and as news: see [`Message::Stops`].
    Stops(Vec<String>, Vec<String>),
    /// The events have ended.
    Followed,
    /// The run has ended so, and nothing of it executes.
    Quiescent(RunStatus),
    /// The server refuses, or is away for too long.
    Failed(String),
}

/// How the watch ends.
enum End {
    Quiescent(RunStatus),
    Failed(String),
    /// The user wants no more.
    Left,
    /// Nobody reads stdout any more.
    NoReader(io::Error),
}

async fn watched(asks: Arc<Asks>, args: &WatchArgs) -> Result<u8, String> {
    let first = own_row(&asks, &args.run).await.map_err(NotDone::words)?;
    let mut signals =
        Signals::listen().map_err(|error| format!("signals cannot be handled: {error}"))?;
    let style = Style { json: args.json, verbose: args.verbose, answer: false };
    let mut view =
        View::start(style).map_err(|error| format!("no thread for the view: {error}"))?;
    let (tell, mut news) = mpsc::channel(NEWS_MAX);
    let run = OneRun::new(Arc::clone(&asks), &args.run, &first);
    tokio::spawn(follow_all(run.clone(), tell.clone()));
    tokio::spawn(poll(asks, run.clone(), tell));
    // Its events say how it came to stand so.
    let (TreeRow { uuid, kind, name, queued_at, .. }, status) = (first, RunStatus::Queued);
    let row = RunRow::new(uuid, kind, name.as_str().into(), status, queued_at.0);
    let begun = RunReport::new(vec![row], Counts::default());
    // The view has room, or has gone.
    let _ = view.messages.try_send(Message::GoesOn(Arc::new(begun)));
    let end = tokio::select! {
        // A signal ends it, also while nobody reads what is shown.
        biased;
        _ = signals.next() => End::Left,
        error = &mut view.lost => End::NoReader(error.unwrap_or_else(|_| io::Error::other("lost"))),
        end = show(&view.messages, &view.notes, &mut news, style.is_live()) => end,
    };
    Ok(finish(end, &run, args, signals, view).await)
}

/// Shows what there is, until nothing of the run executes.
async fn show(
    messages: &mpsc::Sender<Message>,
    notes: &std::sync::mpsc::Sender<String>,
    news: &mut mpsc::Receiver<News>,
    is_live: bool,
) -> End {
    let (mut is_followed, mut ended_as) = (false, None);
    let mut ticks = time::interval(FRAME);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            // News is drawn before time that passes.
            biased;
            told = news.recv() => match told {
                Some(News::Event(event)) => Message::Event(event),
                Some(News::Whole(report)) => Message::GoesOn(Arc::new(report)),
                Some(News::Stops(lines, said)) => Message::Stops(lines, said),
                Some(News::Note(words)) => {
                    // The thread that writes notes has gone if nobody reads them.
                    let _ = notes.send(words);
                    continue;
                }
                Some(News::Followed) => {
                    is_followed = true;
                    Message::Tick
                }
                Some(News::Quiescent(status)) => {
                    ended_as = Some(status);
                    Message::Tick
                }
                Some(News::Failed(words)) => return End::Failed(words),
                None => return End::Failed("the server is not watched any more".to_owned()),
            },
            _ = ticks.tick(), if is_live => Message::Tick,
        };
        // If the view has gone, it has already said why.
        let _ = messages.send(message).await;
        if let Some(status) = ended_as.filter(|_| is_followed) {
            return End::Quiescent(status);
        }
    }
}

/// Shows how it has ended, waits until that is written, and yields the exit code.
async fn finish(end: End, run: &OneRun, args: &WatchArgs, mut signals: Signals, view: View) -> u8 {
    let View { messages, notes, mut written, .. } = view;
    let name = shell_word(&args.run);
    let (code, words) = match end {
        End::Quiescent(status) => match run.report().await {
            Ok(Some(report)) => {
                let _ = messages.send(Message::Report(Arc::new(report))).await;
                (exit_code(status), None)
            }
            _ => (exit_code(status), Some(format!("{status}; its report cannot be read"))),
        },
        End::Failed(words) => (EXIT_FAILED, Some(words)),
        End::Left => (LEFT, Some(format!("the run goes on; `quell cancel {name}` stops it"))),
        End::NoReader(error) if error.kind() == io::ErrorKind::BrokenPipe => (0, None),
        End::NoReader(error) => (EXIT_FAILED, Some(format!("stdout cannot be written: {error}"))),
    };
    if let Some(words) = words {
        let _ = notes.send(words);
    }
    drop((messages, notes));
    tokio::select! {
        // The output is complete, or nobody waits for it.
        biased;
        _ = written.recv() => {}
        _ = signals.next() => {}
    }
    code
}

/// Tells of the events of the run until its end, and how it stands where some were missed.
async fn follow_all(run: OneRun, tell: mpsc::Sender<News>) {
    let mut follow = Follow::new(run.clone());
    loop {
        let news = match follow.next().await {
            Ok(Some(Heard::Event(event))) => News::Event(event),
            Ok(Some(Heard::Unreadable)) => {
                News::Note("an event cannot be read: the server is of another release".to_owned())
            }
            Ok(Some(Heard::Lost(words))) => News::Note(format!("{words}; it is asked again")),
            Ok(None) => News::Followed,
            Err(error) => News::Failed(error.words()),
        };
        let is_last = matches!(news, News::Followed | News::Failed(_));
        let is_gap = |event: &RunEvent| matches!(event.kind, EventKind::Lagged { .. });
        if matches!(&news, News::Event(event) if is_gap(event))
            && let Ok(Some(report)) = run.report().await
        {
            // Nobody watches any more: the next one to tell is told nothing either.
            let _ = tell.send(News::Whole(report)).await;
        }
        // Nobody watches any more.
        if tell.send(news).await.is_err() || is_last {
            return;
        }
    }
}

/// Asks how the stops of the run stand, until nothing of it executes.
async fn poll(asks: Arc<Asks>, run: OneRun, tell: mpsc::Sender<News>) {
    let mut known = Vec::new();
    loop {
        let mut wait = WAIT;
        match run.own_row().await {
            Ok(row) if row.status.is_terminal() && row.quiescent => {
                // Of a stop that was never looked at the events tell.
                let _ = tell.send(News::Stops(Vec::new(), Vec::new())).await;
                let _ = tell.send(News::Quiescent(row.status)).await;
                return;
            }
            Ok(row) => {
                let stops = asks.get::<Stops>("v1/stops?limit=1000").await;
                if let Ok(stops) = stops {
                    let drawn = drawn(&stops, &row, run.name(), &mut known);
                    if !drawn.0.is_empty() {
                        wait = STOP_WAIT;
                    }
                    if tell.send(News::Stops(drawn.0, drawn.1)).await.is_err() {
                        return;
                    }
                }
            }
            Err(NotDone::Refused(words)) => {
                let _ = tell.send(News::Failed(words)).await;
                return;
            }
            // Who follows the events says so.
            Err(NotDone::Lost(_)) => {}
        }
        sleep(wait).await;
    }
}

/// Draws the stops of a tree, that of the run itself first; what was not `known` is news.
fn drawn(
    stops: &Stops,
    row: &TreeRow,
    run: &str,
    known: &mut Vec<String>,
) -> (Vec<String>, Vec<String>) {
    let is_own = |stop: &&super::answers::Stop| stop.uuid == row.uuid;
    let is_below = |stop: &&super::answers::Stop| stop.root == run && stop.uuid != row.uuid;
    let own = stops.stops.iter().filter(is_own);
    let all: Vec<_> = own.chain(stops.stops.iter().filter(is_below)).take(STOPS_MAX).collect();
    let lines = all.iter().flat_map(|stop| strip::lines(stop, stops.at.0)).collect();
    let now: Vec<_> = all.iter().map(|stop| strip::news(stop)).collect();
    let is_news = |(_, words): &(_, &String)| !known.contains(words);
    let said = all.iter().zip(&now).filter(is_news);
    let said = said.map(|(stop, _)| strip::line(stop, stops.at.0)).collect();
    *known = now;
    (lines, said)
}

/// The stops of a tree that are drawn.
const STOPS_MAX: usize = 3;

/// News that waits to be shown. With more, the server is read no further.
const NEWS_MAX: usize = 256;

/// How often it is asked how the run stands, and while it stops.
const WAIT: Duration = Duration::from_secs(1);
const STOP_WAIT: Duration = Duration::from_millis(300);

/// The exit code if the user leaves.
const LEFT: u8 = 130;

/// Below the help of `quell watch`.
pub(crate) const WATCH_AFTER_HELP: &str = "\
In a terminal the tree is live, as that of `quell run`, and while something of it stops, how that \
proceeds is below it: who asked for it and why, how many runs are signalled, what still cleans up, \
by name and since when, when it is aborted and when it is given up, what was aborted, and what is \
abandoned and executes still. Elsewhere transitions are lines, and each step of a stop is one. It \
ends when nothing of the run executes any more, with the report. A server that is away is asked \
again for two minutes. Ctrl-C ends the watch, and not the run.

Exit codes:
    0   completed
    1   failed, or the server went away
    2   bad usage, no such run, or the server is not there, or refuses
  124   timed out
  130   cancelled; or the watch was left

Examples:
  quell watch my-run
  quell watch my-run --json | jq -r .event";
