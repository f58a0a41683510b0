//! [`Signals`] and [`Patience`]: the signals of the operating system, and what each asks of a run.

use std::fs::File;
use std::io;
use std::sync::Arc;

use quell::{CancelRequest, CauseKind};
use rustix::io::Errno;
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use tokio::sync::Notify;

/// The signals that stop a run instead of ending this process.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Listener,
    terminate: Listener,
    quit: Listener,
    hang_up: Option<Listener>,
    /// What SIGHUP asks for instead of an end, as long as the terminal is there.
    renewal: Option<Renewal>,
    /// How many were yielded.
    count: u32,
}

/// SIGHUP alone, which ends this process no longer.
#[derive(Debug)]
pub(crate) struct HangUps(Option<Listener>);

impl HangUps {
    /// Installs its handler, for a process that is told to read something again before it has begun
    /// to serve. [`Signals::with`] yields what comes meanwhile.
    ///
    /// SIGHUP stays ignored if it was ignored when the process began, which is what `nohup` does.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if the operating system refuses.
    pub(crate) fn listen() -> io::Result<Self> {
        let hang_up = if is_hang_up_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self(hang_up))
    }
}

impl Signals {
    /// Installs handlers. From here on the signals no longer end this process. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if the operating system refuses.
    pub(crate) fn listen() -> io::Result<Self> {
        Self::with(HangUps::listen()?)
    }

    /// As [`listen`](Self::listen), with a handler of SIGHUP that is there already.
    ///
    /// # Errors
    ///
    /// Fails if the operating system refuses.
    pub(crate) fn with(HangUps(hang_up): HangUps) -> io::Result<Self> {
        ignore_limit_of_files()?;
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hang_up,
            renewal: None,
            count: 0,
        })
    }

    /// Takes SIGHUP for the wish that what is read from files is read again, of which `asked` is
    /// told whenever [`next`](Self::next) is waited for, and does not yield it. A process that has
    /// a terminal now, and has none when the signal comes, has lost it: then the signal is
    /// yielded.
    pub(crate) fn renewing(mut self, asked: Arc<Notify>) -> Self {
        self.renewal = Some(Renewal { asked, had_terminal: !is_without_terminal() });
        self
    }

    /// Yields how many signals were yielded so far.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Waits until so many signals were yielded, with those before.
    ///
    /// # Cancel safety
    ///
    /// As [`next`](Self::next).
    pub(crate) async fn until(&mut self, count: u32) {
        while self.count < count {
            self.next().await;
        }
    }

    /// Waits for the next signal. Several of one kind that come at once count as one.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: a signal that arrives while nobody waits is yielded by the next call.
    pub(crate) async fn next(&mut self) -> Signal {
        let renewal = self.renewal.as_ref();
        let hang_up = async {
            let Some(listener) = &mut self.hang_up else { return std::future::pending().await };
            loop {
                listener.recv().await;
                match renewal {
                    Some(renewal) if !(renewal.had_terminal && is_without_terminal()) => {
                        renewal.asked.notify_one();
                    }
                    _ => return,
                }
            }
        };
        let signal = tokio::select! {
            // The most urgent first.
            biased;
            _ = self.quit.recv() => Signal::Quit,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            () = hang_up => Signal::HangUp,
        };
        self.count = self.count.saturating_add(1);
        signal
    }
}

/// As [`Signals::listen`] does, for a command that has no runtime.
pub(crate) fn survive_limit_of_files() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    // The handler stays when the runtime is gone.
    ignore_limit_of_files()
}

/// Handles SIGXFSZ, and ignores it: at the limit of a file (`ulimit -f`) a write then fails, as on
/// a full disk, instead of ending the process. Programs get the default back.
fn ignore_limit_of_files() -> io::Result<()> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// Who is told when SIGHUP comes, and whether it may mean that a terminal is gone.
#[derive(Debug)]
struct Renewal {
    asked: Arc<Notify>,
    had_terminal: bool,
}

/// Tells whether this process certainly has no terminal: it has none, or that was hung up.
fn is_without_terminal() -> bool {
    let of_terminal = File::open("/dev/tty").map_err(|error| Errno::from_io_error(&error));
    matches!(of_terminal, Err(Some(Errno::NXIO | Errno::IO | Errno::NOENT)))
}

/// One signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT, as from Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGQUIT, as from Ctrl-\.
    Quit,
    /// SIGHUP: the terminal is gone.
    HangUp,
}

impl Signal {
    /// Yields the name that the operating system has for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Quit => "SIGQUIT",
            Self::HangUp => "SIGHUP",
        }
    }
}

/// Decides what the next signal asks for: each asks for more than the one before.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    asked: Asked,
}

impl Patience {
    /// Decides what a signal asks of a live run. `None`: nothing is left to ask for.
    pub(crate) fn on(&mut self, signal: Signal) -> Option<CancelRequest> {
        let request = CancelRequest::because(format!("interrupted by {}", signal.as_str()))
            .by("signal")
            .kind(match signal {
                Signal::HangUp => CauseKind::Disconnected,
                _ => CauseKind::UserRequest,
            });
        match (self.asked, signal) {
            (Asked::Abort, _) => None,
            (Asked::Nothing, Signal::Interrupt | Signal::Terminate | Signal::HangUp) => {
                self.asked = Asked::Stop;
                Some(request)
            }
            (Asked::Stop, _) | (Asked::Nothing, Signal::Quit) => {
                self.asked = Asked::Abort;
                Some(request.abort())
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    Nothing,
    Stop,
    Abort,
}

/// Reads the mask of ignored signals, in which bit 0 is SIGHUP. Without `/proc` the signal counts
/// as not ignored.
fn is_hang_up_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 > 0)
}

#[cfg(test)]
mod tests {
    use quell::StopMode;

    use super::*;

    fn modes(signals: &[Signal]) -> Vec<Option<StopMode>> {
        let mut patience = Patience::default();
        signals.iter().map(|signal| patience.on(*signal).map(|request| request.mode())).collect()
    }

    #[test]
    fn the_first_signal_cancels_the_second_aborts_and_a_third_asks_for_nothing_more() {
        let expected = [Some(StopMode::Cooperative), Some(StopMode::Abort), None];
        for first in [Signal::Interrupt, Signal::Terminate, Signal::HangUp] {
            for second in [Signal::Interrupt, Signal::Terminate, Signal::Quit, Signal::HangUp] {
                assert_eq!(modes(&[first, second, Signal::Interrupt]), expected);
            }
        }
    }

    #[test]
    fn a_quit_aborts_at_once() {
        assert_eq!(modes(&[Signal::Quit, Signal::Interrupt]), [Some(StopMode::Abort), None]);
    }

    #[test]
    fn a_request_names_its_signal() {
        let request = Patience::default().on(Signal::Interrupt).expect("the first one asks");
        let expected = CancelRequest::because("interrupted by SIGINT").by("signal");
        assert_eq!(request, expected);
    }
}
