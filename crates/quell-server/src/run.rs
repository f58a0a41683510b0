//! [`run`]: the command `quell run`, from its arguments to its exit code.

use std::cell::Cell;
use std::io::{self, Write as _};
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt as _, future};
use quell::{
    CancelRequest, CauseKind, Disposition, Engine, EngineConfig, EventKind, EventStream, Limits,
    RunId, RunRef, RunReport,
};
use quell_flow::path_text;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::time;

use crate::answers::Answers;
use crate::args::RunArgs;
use crate::asking::{Asking, Turn};
use crate::config::DEFAULT;
use crate::exit::{EXIT_FAILED, EXIT_PAUSED, EXIT_USAGE, exit_code};
use crate::job::Job;
use crate::remote;
use crate::report_file::ReportFile;
use crate::signals::{Patience, Signal, Signals};
use crate::stdout;
use crate::store::{OpenStore, is_part_of};
use crate::view::{FRAME, Message, Style, View};
use quell_report::text::span;

/// Runs what the command line asks for.
pub(crate) fn run(args: RunArgs) -> ExitCode {
    match try_run(args) {
        Ok(code) => ExitCode::from(code),
        Err(refusal) => {
            // If stderr cannot be written, the exit code still tells the caller.
            let _ = writeln!(io::stderr().lock(), "error: {refusal}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Checks everything that can be checked, then starts. An error means that nothing was started.
fn try_run(args: RunArgs) -> Result<u8, String> {
    let (json, verbose) = (args.json, args.verbose);
    let (report_path, store) = (args.report.clone(), args.store.clone());
    if let Some(words) = overwritten(&args) {
        return Err(words);
    }
    let job = Job::load(args)?;
    let style = Style { json, verbose, answer: job.is_component() };
    let report_file = match &report_path {
        Some(path) => Some(ReportFile::prepare(path).map_err(|error| {
            format!("{}: the report cannot be written here: {error}", path_text(path))
        })?),
        None => None,
    };
    // Without it fewer programs run at once, and the others wait.
    let _ = quell_process::raise_descriptors();
    let no_threads = |error: io::Error| format!("no runtime can be built: {error}");
    let bodies = Builder::new_multi_thread()
        .thread_name("quell-body")
        .enable_all()
        .build()
        .map_err(no_threads)?;
    let watch = Builder::new_current_thread().enable_all().build().map_err(no_threads)?;
    let files = (report_file, store.as_deref());
    let code = watch.block_on(run_until_ended(job, style, files, bodies.handle().clone()));
    bodies.shutdown_background();
    watch.shutdown_background();
    code
}

/// Says that the report would take the place of a file that is read.
fn overwritten(args: &RunArgs) -> Option<String> {
    let report = args.report.as_ref()?;
    if args.store.as_ref().is_some_and(|store| is_part_of(store, report)) {
        let report = path_text(report);
        return Some(format!("--report {report} would overwrite the store; expected another file"));
    }
    let place = report.canonicalize().ok()?;
    let config = args.config.as_deref().unwrap_or(Path::new(DEFAULT));
    let read = [
        ("`--outputs`", args.outputs.as_deref()),
        ("the plan", args.plan.as_deref()),
        ("the configuration", Some(config)),
    ];
    let is_it = |path: &Path| path.canonicalize().is_ok_and(|read| read == place && read.is_file());
    let (what, _) = read.into_iter().find(|(_, path)| path.is_some_and(is_it))?;
    let report = path_text(report);
    Some(format!("--report {report} would overwrite {what}, which is read; expected another file"))
}

/// Submits the job, shows it until it has ended, and yields the exit code.
async fn run_until_ended(
    mut job: Job,
    style: Style,
    (report_file, store): (Option<ReportFile>, Option<&Path>),
    bodies: Handle,
) -> Result<u8, String> {
    let mut signals =
        Signals::listen().map_err(|error| format!("signals cannot be handled: {error}"))?;
    let store = store.map(OpenStore::open).transpose()?;
    let mut limits = Limits::default();
    limits.events_per_root_max = EVENTS_MAX;
    let config = EngineConfig::new().runtime(bodies).limits(limits);
    let config = store.iter().fold(config, |config, store| store.engine(config));
    let engine = Engine::with_config(config);
    let going_on = match &store {
        Some(store) => job.going_on(store).await?,
        None => None,
    };
    let (going_on, left_behind) = match (&store, going_on) {
        (Some(store), Some(wanted)) => {
            let (run, words) = store.go_on(&engine, &mut signals, say, wanted).await?;
            (Some(run), words)
        }
        // None goes on, so that none is held.
        (Some(store), None) => (None, store.recover(&engine, &mut signals, say, |_| None).await?.1),
        (None, _) => (None, Vec::new()),
    };
    let (given, again) = (job.given(), job.again());
    let answers = Answers::new(job.take_answers());
    let mut view =
        View::start(style).map_err(|error| format!("no thread for the view: {error}"))?;
    let run = match going_on {
        Some(run) => {
            // The view has room, or has gone.
            let _ = view.messages.try_send(Message::GoesOn(run.report()));
            run
        }
        None => submitted(job, &engine, &mut signals).await?,
    };
    for words in left_behind {
        note(&view, words);
    }

    let mut asking = Asking::new(answers, again.map(|again| again(run.id())));
    let mut events = run.events();
    let report = follow((&run, &mut events), &mut signals, &mut view, (style, &mut asking)).await;
    for words in asking.unused(&report) {
        note(&view, words);
    }
    let mut code = exit_code(report.status);
    if asking.is_unanswered() && code != EXIT_PAUSED {
        code = EXIT_FAILED;
    }
    if let Some(Err(error)) = report_file.map(|file| file.write(&report, &given)) {
        note(&view, format!("the report could not be written: {error}"));
        code = code.max(EXIT_FAILED);
    }
    remote::confirmed(&mut signals, |words| note(&view, words)).await;
    let stored = async {
        match store {
            Some(store) => store.close_after(&engine, &run).await,
            None => None,
        }
    };
    let is_stored = finish((report, events), signals, view, stored).await;
    Ok(match code {
        0 | EXIT_PAUSED if !is_stored => EXIT_FAILED,
        code => code,
    })
}

/// Submits the job; a signal ends the wait for the store.
async fn submitted(job: Job, engine: &Engine, signals: &mut Signals) -> Result<RunRef, String> {
    tokio::select! {
        // Without a store it is submitted at once.
        biased;
        run = job.submit(engine) => run.map_err(|error| error.to_string()),
        signal = signals.next() => {
            Err(format!("{}: the store had not taken the run; it was not started", signal.as_str()))
        }
    }
}

/// Shows the run until it has ended or is left paused, and answers signals and the steps that wait.
async fn follow(
    (run, events): (&RunRef, &mut EventStream),
    signals: &mut Signals,
    view: &mut View,
    (style, asking): (Style, &mut Asking),
) -> Arc<RunReport> {
    let mut patience = Patience::default();
    let mut ticks = time::interval(FRAME);
    let mut reader = pin!(stdout::closed());
    let mut has_reader = !style.is_live();
    let messages = view.messages.clone();
    let mut question = None;
    let mut shown = pin!(async {
        show(events, run.id(), &messages).await;
        run.ended().await
    });
    loop {
        tokio::select! {
            // Sources that stop the run come before those that show it.
            biased;
            signal = signals.next() => {
                if run.status().is_terminal() {
                    return run.ended().await;
                }
                note(view, answer(run, signal, &mut patience));
            }
            () = &mut reader, if has_reader => {
                has_reader = false;
                disconnect(run, view, "stdout is closed");
            }
            lost = &mut view.lost, if has_reader => {
                has_reader = false;
                let why = match lost {
                    Ok(error) => error.to_string(),
                    Err(_) => "the view has gone".into(),
                };
                disconnect(run, view, &format!("stdout cannot be written: {why}"));
            }
            report = &mut shown => return report,
            turn = asking.turn(run) => match turn {
                Turn::GoesOn(None) => {}
                Turn::Asks(words) if style.is_live() => question = Some(words),
                Turn::GoesOn(Some(words)) | Turn::Asks(words) => note(view, words),
                Turn::GivenUp(words, why) => {
                    if let Some(words) = words {
                        note(view, words);
                    }
                    give_up(run, view, why);
                }
                Turn::Left(words) => {
                    note(view, words);
                    return run.report();
                }
            },
            // It comes after the events until now, below what they show.
            Ok(room) = view.messages.reserve(), if question.is_some() => {
                room.send(Message::Question(question.take().unwrap_or_default()));
            }
            // A view whose queue is full needs no ticks. A line that is typed stays as it is.
            _ = ticks.tick(), if !asking.is_reading() => {
                drop(view.messages.try_send(Message::Tick));
            }
        }
    }
}

/// Sends events to the view until the root has ended or the view has gone.
///
/// # Cancel safety
///
/// Cancel safe: an event that was taken is sent.
async fn show(events: &mut EventStream, root: RunId, messages: &mpsc::Sender<Message>) {
    while let Ok(room) = messages.reserve().await {
        let Some(event) = events.next().await else { return };
        let is_last = event.run == root && matches!(event.kind, EventKind::Ended(_));
        room.send(Message::Event(event));
        if is_last {
            return;
        }
    }
}

/// Does what a signal asks for, and yields the note that says so.
fn answer(run: &RunRef, signal: Signal, patience: &mut Patience) -> String {
    let name = signal.as_str();
    let Some(request) = patience.on(signal) else {
        return format!(
            "{name}: aborting already; the run ends at once or is abandoned in a second"
        );
    };
    let is_abort = request.mode() == quell::StopMode::Abort;
    let left = |until: Instant| span(until.saturating_duration_since(Instant::now()));
    let next = "another signal aborts";
    match run.cancel(request) {
        Disposition::Accepted { .. } | Disposition::Escalated { .. } if is_abort => {
            format!("{name}: aborting, without grace")
        }
        Disposition::Accepted { hard_deadline } => {
            format!("{name}: stopping, with {} of grace; {next}", left(hard_deadline))
        }
        Disposition::AlreadyStopping { cause, hard_deadline } => {
            let left = left(hard_deadline);
            format!("{name}: stopping already ({cause}), {left} of grace left; {next}")
        }
        disposition => format!("{name}: {}", disposition.as_str()),
    }
}

/// Cancels a paused run that has no answer.
fn give_up(run: &RunRef, view: &View, why: &'static str) {
    if let Disposition::Accepted { .. } = run.cancel(CancelRequest::because(why)) {
        note(view, format!("{why}: the run is cancelled"));
    }
}

/// Cancels the run because nobody reads its output.
fn disconnect(run: &RunRef, view: &View, why: &str) {
    let request = CancelRequest::because(why).by("stdout").kind(CauseKind::Disconnected);
    if let Disposition::Accepted { .. } = run.cancel(request) {
        note(view, format!("{why}: the run is cancelled"));
    }
}

/// Shows what is left of the events and the report, and waits until everything is written and
/// stored, or until a signal ends the wait. `stored` yields a note if the run is not stored.
/// Yields whether it is.
async fn finish(
    (report, mut events): (Arc<RunReport>, EventStream),
    mut signals: Signals,
    view: View,
    stored: impl Future<Output = Option<String>>,
) -> bool {
    let View { messages, notes, mut written, .. } = view;
    let (is_stored, (give_up, no_patience)) = (Cell::new(false), oneshot::channel::<()>());
    let shown = async move {
        // Of a run that is left paused some may wait. If the view has gone, it has already reported
        // why.
        while let Some(Some(event)) = events.next().now_or_never() {
            let _ = messages.send(Message::Event(event)).await;
        }
        let _ = messages.send(Message::Report(report)).await;
    };
    let kept = async {
        let words = tokio::select! {
            biased;
            words = stored => words,
            _ = no_patience => Some("the run is not known to be stored".into()),
        };
        is_stored.set(words.is_none());
        if let Some(words) = words {
            let _ = notes.send(words);
        }
        // The thread that writes notes ends after this.
        drop(notes);
    };
    let mut last_words = pin!(async {
        future::join(shown, kept).await;
        written.recv().await
    });
    tokio::select! {
        // The output is complete, or the view has gone.
        biased;
        _ = &mut last_words => return is_stored.get(),
        _ = signals.next() => drop(give_up),
    }
    // The signal may have been meant for the run, which ended just then: a reader that still reads
    // gets the rest of the report.
    let _ = time::timeout(PATIENCE_AFTER_END, last_words).await;
    is_stored.get()
}

/// Says something before there is a view.
fn say(words: &str) {
    stdout::complain(&format!("quell: {words}\n"));
}

fn note(view: &View, note: String) {
    // The thread that writes notes ends after the last sender is dropped, so this does not fail.
    let _ = view.notes.send(note);
}

/// The most events that the engine holds for the view. With more, the view may fall further behind
/// before it misses any.
const EVENTS_MAX: usize = 32_768;

/// How long the rest of the output may take after a signal.
const PATIENCE_AFTER_END: Duration = Duration::from_millis(500);
