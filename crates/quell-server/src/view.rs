//! [`View`]: shows a run while it runs.
//!
//! A write blocks while nobody reads. Two threads therefore do all writing, one for the view and
//! one for notes, so that the main thread still receives signals and the run ends on time.

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};
use std::sync::Arc;
use std::sync::mpsc as channel;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::MultiProgress;
use quell::{Payload, RunEvent, RunReport, RunStatus};
use quell_report::text::{cut, printable};
use tokio::sync::{mpsc, oneshot};

use crate::lines;
use crate::live::Live;
use crate::progress::Progress;
use crate::tree::Tree;

/// What to show, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Events on stdout as JSON; everything else on stderr.
    pub(crate) json: bool,
    /// Every line that programs write, and every transition.
    pub(crate) verbose: bool,
    /// The output of the run, after its report: it is an answer.
    pub(crate) answer: bool,
}

impl Style {
    /// Tells whether the tree is redrawn in place: in a terminal that can do so.
    pub(crate) fn is_live(self) -> bool {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        !self.json && !is_dumb && io::stdout().is_terminal() && io::stderr().is_terminal()
    }
}

/// What the view receives.
#[derive(Debug)]
pub(crate) enum Message {
    /// The run goes on, with what was known of it by then.
    GoesOn(Arc<RunReport>),
    /// Something happened.
    Event(RunEvent),
    /// Time passed, and no question is open.
    Tick,
    /// This is asked at the terminal, where the answer is typed.
    Question(String),
    /// How stops stand, in lines below the tree; and, without one, in a line if that is news.
    Stops(Vec<String>, Vec<String>),
    /// The run has ended.
    Report(Arc<RunReport>),
}

/// The channels to the threads that write, and what they report.
#[derive(Debug)]
pub(crate) struct View {
    /// Takes the messages to be shown, in order. At most [`BACKLOG`] wait.
    pub(crate) messages: mpsc::Sender<Message>,
    /// Takes notes for the user, which go to stderr.
    pub(crate) notes: channel::Sender<String>,
    /// Receives the error after which stdout can no longer be written.
    pub(crate) lost: oneshot::Receiver<io::Error>,
    /// Yields `None` when everything was written and both ends above are dropped.
    pub(crate) written: mpsc::Receiver<()>,
}

impl View {
    /// Starts the threads that write.
    ///
    /// # Errors
    ///
    /// Fails if the operating system cannot start a thread.
    pub(crate) fn start(style: Style) -> io::Result<Self> {
        let live = style.is_live().then(Live::new);
        let bars = live.as_ref().map(Live::screen);
        let (messages, to_show) = mpsc::channel(BACKLOG);
        let (notes, to_note) = channel::channel();
        let (tell_lost, lost) = oneshot::channel();
        let (writing, written) = mpsc::channel(1);
        let also_writing = writing.clone();
        thread::Builder::new().name("quell-view".into()).spawn(move || {
            Screen::new(style, live).show_all(to_show, tell_lost);
            drop(writing);
        })?;
        thread::Builder::new().name("quell-notes".into()).spawn(move || {
            write_notes(&to_note, bars.as_ref());
            drop(also_writing);
        })?;
        Ok(Self { messages, notes, lost, written })
    }
}

/// The thread that shows.
struct Screen {
    style: Style,
    tree: Tree,
    /// Which lines of the plain view are shown, without `verbose`.
    progress: Progress,
    live: Option<Live>,
    drawn_at: Instant,
    /// The answer to a question is being typed at the foot of the terminal. The tree is not drawn:
    /// what is typed moves everything, so that the bars would not be found again.
    is_asking: bool,
    /// Lines that wait to be written above the tree: each costs a drawing of all of it.
    above: Vec<String>,
    /// How stops stand, below the tree.
    below: Vec<String>,
    stdout: BufWriter<Stdout>,
}

impl Screen {
    fn new(style: Style, live: Option<Live>) -> Self {
        let stdout = BufWriter::with_capacity(STDOUT_BYTES, io::stdout());
        Self {
            style,
            tree: Tree::default(),
            progress: Progress::default(),
            live,
            drawn_at: Instant::now(),
            is_asking: false,
            above: Vec::new(),
            below: Vec::new(),
            stdout,
        }
    }

    fn show_all(
        mut self,
        mut to_show: mpsc::Receiver<Message>,
        tell_lost: oneshot::Sender<io::Error>,
    ) {
        while let Some(message) = to_show.blocking_recv() {
            let mut shown = self.show(message);
            if to_show.is_empty() {
                // Nothing more waits: flush, so that the reader sees all there is.
                shown = shown.and_then(|()| self.stdout.flush());
            }
            if let Err(error) = shown {
                // The receiver has gone because the run has ended: the error no longer matters.
                let _ = tell_lost.send(error);
                break;
            }
        }
        if let Some(live) = &mut self.live {
            live.clear();
        }
    }

    fn show(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::GoesOn(report) => {
                self.tree.go_on_with(&report);
                Ok(())
            }
            Message::Event(event) => self.event(&event),
            Message::Tick => {
                self.is_asking = false;
                self.draw();
                Ok(())
            }
            Message::Question(words) => {
                self.ask(&words);
                Ok(())
            }
            Message::Stops(below, news) => {
                if self.live.is_none() {
                    return news.iter().try_for_each(|line| self.say(&format!("{line}\n")));
                }
                self.below = below;
                self.draw();
                Ok(())
            }
            Message::Report(report) => {
                self.is_asking = false;
                self.below.clear();
                self.draw();
                if let Some(live) = &mut self.live {
                    live.clear();
                }
                self.say(&quell_report::render(&report))?;
                let answered = self.style.answer && !self.style.json;
                match answer(&report).filter(|_| answered) {
                    Some(answer) => self.say(&answer),
                    None => Ok(()),
                }
            }
        }
    }

    fn event(&mut self, event: &RunEvent) -> io::Result<()> {
        self.tree.apply(event);
        if self.style.json {
            serde_json::to_writer(&mut self.stdout, event)?;
            self.stdout.write_all(b"\n")?;
        }
        if self.live.is_none() {
            return self.plain(event);
        }
        let above = if self.style.verbose { lines::written } else { lines::fault };
        self.above.extend(above(&self.tree, event));
        if !self.is_asking && self.drawn_at.elapsed() > FRAME {
            self.draw();
        }
        Ok(())
    }

    /// Writes a question where the tree was, below the lines that wait.
    fn ask(&mut self, words: &str) {
        self.draw();
        if let Some(live) = &mut self.live {
            live.clear();
        }
        write_note(words);
        self.is_asking = true;
    }

    /// Writes the line of an event, if it has one and there is room for it in this second.
    fn plain(&mut self, event: &RunEvent) -> io::Result<()> {
        let verbose = self.style.verbose;
        let Some(line) = lines::line(&self.tree, event, verbose) else { return Ok(()) };
        let at = self.tree.since_begin(event.at);
        let held_back = if verbose { Some(0) } else { self.progress.admit(at) };
        match held_back {
            Some(count) => self.say(&format!("{line}{}\n", lines::held_back(count))),
            None => Ok(()),
        }
    }

    fn draw(&mut self) {
        let Some(live) = &mut self.live else { return };
        if !self.above.is_empty() {
            // No error: see `Terminal`.
            let _ = live.screen().println(self.above.join("\n"));
            self.above.clear();
        }
        live.show(&self.tree, &self.below);
        self.drawn_at = Instant::now();
    }

    /// Writes text meant for people.
    fn say(&mut self, text: &str) -> io::Result<()> {
        if self.style.json {
            // If stderr cannot be written, the events on stdout may still be read.
            let _ = io::stderr().write_all(text.as_bytes());
            return Ok(());
        }
        self.stdout.write_all(text.as_bytes())
    }
}

/// Yields what a component has answered: its text, or else its JSON; of one that was stopped, the
/// text that it had by then. It cannot steer a terminal.
pub(crate) fn answer(report: &RunReport) -> Option<String> {
    let text = match (&report.output, &report.partial) {
        (Some(output), _) => {
            output.as_text().unwrap_or_else(|| output.as_json().into()).into_owned()
        }
        // What a program that failed has written is in the report.
        (None, Some(partial)) if report.status != RunStatus::Failed => partial_text(partial)?,
        _ => return None,
    };
    let lines: String = text.lines().flat_map(|line| [printable(line), "\n".into()]).collect();
    Some(format!("\n{lines}"))
}

/// Yields the text in a partial output: all of it, or what a program handed over, or said.
fn partial_text(partial: &Payload) -> Option<String> {
    if let Some(text) = partial.as_text() {
        return Some(text.into_owned());
    }
    let value: serde_json::Value = partial.parse().ok()?;
    let is_text = value.get("encoding")? == "utf-8";
    if let Some(result) = value.get("result").filter(|result| !result.is_null()) {
        let text = result.as_str().map_or_else(|| result.to_string(), str::to_owned);
        return Some(cut(&text, RESULT_CHARS_MAX));
    }
    let said = |key: &str| value.get(key)?.as_str().filter(|text| !text.trim().is_empty());
    said("content").or_else(|| said("stdout").filter(|_| is_text)).map(str::to_owned)
}

fn write_notes(notes: &channel::Receiver<String>, bars: Option<&MultiProgress>) {
    for note in notes {
        match bars {
            Some(bars) => bars.suspend(|| write_note(&note)),
            None => write_note(&note),
        }
    }
}

fn write_note(note: &str) {
    // If stderr cannot be written, the note is lost.
    let _ = io::stderr().write_all(format!("quell: {note}\n").as_bytes());
}

/// The most characters that are shown of what a program handed over when it was stopped. All of it
/// is in the report.
const RESULT_CHARS_MAX: usize = 4_000;

/// How many messages may wait to be shown. When that many wait, the log of the engine holds the
/// rest and marks what it had to drop.
const BACKLOG: usize = 1_024;

/// How much is written at once while more is waiting to be shown.
const STDOUT_BYTES: usize = 64 << 10;

/// The longest time between two drawings while events keep coming.
pub(crate) const FRAME: Duration = Duration::from_millis(100);
