//! [`Site`]: everything that is served, from the first check to the last connection.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use quell::store::RunRecord;
use quell::{Engine, HeldAttempts, Shutdown, ShutdownReport};
use quell_demo::Witness;
use quell_flow::Catalog;
use quell_http::Service;
use tokio::net::TcpSocket;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::app;
use super::connections::Connections;
use super::demo::Demo;
use super::log::Log;
use super::metrics::Metrics;
use super::nodes;
use super::origin::Origin;
use super::renewal::Renewal;
use crate::args::ServeArgs;
use crate::config::{Checked, Config, Source, Trusted};
use crate::descriptors::Shares;
use crate::remote;
use crate::signals::{HangUps, Signal, Signals};
use crate::store::{Keep, NotOpened, OpenStore, Place, Unresumed};
use quell_report::text::{printable, span, still_executes};

/// The components, the access control and the options of a server, checked.
pub(super) struct Site {
    config: Config,
    trusted: Trusted,
    /// Where that is read from.
    source: Source,
    catalog: Catalog,
    listen: SocketAddr,
    demo: Option<Demo>,
    /// Where runs are kept, if they are.
    store: Option<Origin>,
    keep: Keep,
    /// What has come since the process began.
    hang_ups: HangUps,
}

impl Site {
    /// Checks everything that can be checked before it listens.
    ///
    /// # Errors
    ///
    /// Fails if the demo would be reachable from other machines, if there is no component, or no
    /// store of which to keep something.
    pub(super) fn new(
        args: &ServeArgs,
        checked: Checked,
        hang_ups: HangUps,
    ) -> Result<Self, String> {
        let Checked { config, trusted, source, mut catalog, warnings: _ } = checked;
        let listen = config.listen(args.listen);
        let demo = args.demo.then(|| Demo {
            witness: Witness::default(),
            prefix: args.demo_prefix.clone().unwrap_or_default(),
        });
        if demo.is_some() && !listen.ip().is_loopback() {
            return Err(format!(
                "the demo has keys that everybody knows and cannot listen on {listen}; listen on \
                 127.0.0.1, or serve components of your own with --config"
            ));
        }
        if let Some(Demo { witness, prefix }) = &demo {
            catalog = quell_demo::components(catalog, witness, prefix);
        }
        if catalog.components().all(|component| component.is_exposed_nowhere()) {
            return Err(
                "there is nothing to serve: no quell.toml is in this folder; one of these \
                        would do:\n\n  quell serve --demo\n  quell serve --config FILE\n  \
                        quell init && quell serve"
                    .into(),
            );
        }
        let (store, keep) = (config.place()?, config.keep(args.keep.keep()));
        if store.is_none() && keep != Keep::default() {
            return Err(
                "there is no store of which to keep something; expected `--store FILE`, or \
                        `path` or `url` in `[store]` of the configuration"
                    .into(),
            );
        }
        let store = store.map(|place| match place {
            Place::File(path) => Origin::File(path),
            Place::Database(database) => Origin::Node(config.node(database, listen)),
        });
        Ok(Self { config, trusted, source, catalog, listen, demo, store, keep, hang_ups })
    }

    /// Serves until a signal, then drains. The bodies have a runtime of their own.
    ///
    /// # Errors
    ///
    /// Fails if it cannot listen, or has no store; then nothing was served.
    pub(super) async fn serve(self, bodies: Handle, log: &Log) -> Result<Served, String> {
        let Self { config, trusted, source, catalog, listen, demo, store, keep, hang_ups } = self;
        let (mut signals, renewed) = signals(hang_ups)?;
        let cannot = |error: io::Error| format!("cannot listen on {listen}: {}", told(&error));
        // Before a node joins, and takes runs over: what cannot serve leaves them to others.
        let socket = bound(listen).map_err(cannot)?;
        let store = match store {
            None => None,
            Some(store) => match store.open(&mut signals, log).await {
                Ok(store) => Some(store),
                Err(not_opened) => return not_served(not_opened),
            },
        };
        let listener = socket.listen(QUEUE).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        if let Err(error) = quell_process::raise_descriptors() {
            tracing::warn!(%error, "limit of descriptors cannot be raised");
        }
        let shares = Shares::of_process();
        let of_engine = config.engine(shares.running()).runtime(bodies);
        let of_engine = store.iter().fold(of_engine, |config, store| store.engine(config));
        let engine = Engine::with_config(of_engine);
        let mut held = HeldAttempts::default();
        if let Some(store) = &store {
            held = match taken_in(store, (&engine, &catalog), &mut signals, log).await {
                Ok(held) => held,
                Err(not_opened) => return not_served(not_opened),
            };
        }
        let limits = config.limits(shares.streams());
        let renewal = Renewal::begin(trusted, source, renewed).await?;
        let service = Service::new(engine.clone(), catalog).limits(limits).access(renewal.access());
        let metrics = Metrics::new(store.as_ref().and_then(OpenStore::node));
        let trust = (renewal.lookup(), renewal.tls().is_some());
        let app = app::router(&service, &config, demo, metrics.clone(), trust);
        let connections = Connections::accept(listener, app, shares.connections, renewal.tls());
        announce(renewal.scheme(), address);
        // Only now: from here on they can be read, and stopped.
        held.start();

        let end = tokio::select! {
            biased;
            // The loss comes first: others may have the runs of this server soon.
            () = engine.lease_lost() => End::LeaseLost,
            signal = signals.next() => End::Signal(signal),
            never = renewal.go_on(log) => match never {},
            never = keep.prune(&engine) => match never {},
            never = nodes::beside(store.as_ref(), (&service, &metrics), log) => match never {},
        };
        let (grace, abort_wait) = (config.grace(), config.abort_wait());
        let plan = Shutdown { grace, abort_wait, ..Shutdown::default() };
        log.say(&format!(
            "{}: no new runs; live ones have {} to end, another signal aborts them",
            end.as_str(),
            span(plan.grace)
        ));
        let last = signals.count() + SIGNALS_MORE;
        let second = drain(&service, &plan, &mut signals).await;
        let Some(report) = drained(&engine, plan, (&mut signals, second), log).await else {
            return Ok(Served::Lost(NOT_AWAITED.to_owned()));
        };
        connections.close(LAST_WORDS).await;
        remote::confirmed(&mut signals, |words| log.say(&words)).await;
        log.say(&summary(&report, store.as_ref().is_some_and(OpenStore::is_shared)));
        let is_closed = is_closed(store, (&mut signals, last)).await;
        log.traces().close(&mut signals, last).await;
        let served = is_closed.then(|| end.served(report.unstored));
        Ok(served.unwrap_or_else(|| Served::Lost(NOT_AWAITED.to_owned())))
    }
}

/// Refuses new runs, and has what needs the engine end before that shuts down, unless a signal
/// comes meanwhile: batches, which abort and take back what they have made, and what clients follow
/// of other nodes. Yields that signal.
async fn drain(service: &Service, plan: &Shutdown, signals: &mut Signals) -> Option<Signal> {
    service.drain();
    let ends = async {
        service.end_batches(plan.abort_wait + BATCHES_WAIT).await;
        service.stop_followed(FOLLOWED_WAIT.min(plan.grace)).await;
    };
    tokio::select! {
        biased;
        () = ends => None,
        signal = signals.next() => Some(signal),
    }
}

/// Handles signals. Yields also what is told of those that ask to read files again.
fn signals(hang_ups: HangUps) -> Result<(Signals, Arc<Notify>), String> {
    let signals =
        Signals::with(hang_ups).map_err(|error| format!("signals cannot be handled: {error}"));
    let renewed = Arc::new(Notify::new());
    Ok((signals?.renewing(Arc::clone(&renewed)), renewed))
}

/// Tells how a server ends that has no store, and has served nothing.
fn not_served(not_opened: NotOpened) -> Result<Served, String> {
    match not_opened {
        NotOpened::Away(words) => Ok(Served::Lost(words)),
        NotOpened::Refused(words) => Err(words),
    }
}

/// Decides what an earlier process has left in the store, and tells the log of it. Yields what goes
/// on, which is held.
async fn taken_in(
    store: &OpenStore,
    (engine, catalog): (&Engine, &Catalog),
    signals: &mut Signals,
    log: &Log,
) -> Result<HeldAttempts, NotOpened> {
    let port = store.port();
    let mut unresumed = Unresumed::default();
    let going_on = |run: &RunRecord| {
        let how = catalog.recovery(run, &port);
        if how.is_none() {
            unresumed.note(run, catalog);
        }
        how
    };
    let say = |words: &str| log.say(words);
    let (held, left_behind) = store.recover(engine, signals, say, going_on).await?;
    for words in left_behind {
        log.say(&words);
    }
    for words in unresumed.lines() {
        tracing::warn!("{words}");
    }
    Ok(held)
}

/// Why a server ends.
enum End {
    Signal(Signal),
    LeaseLost,
}

impl End {
    /// Tells how a server has ended that does not know of so many facts that they are stored.
    fn served(&self, unstored: usize) -> Served {
        match (self, unstored) {
            (Self::LeaseLost, _) => Served::Lost(LEASE_LOST.to_owned()),
            (Self::Signal(_), 0) => Served::Done,
            (Self::Signal(_), facts) => {
                let what = match facts {
                    1 => "1 fact of a run is".to_owned(),
                    _ => format!("{facts} facts of runs are"),
                };
                Served::Lost(format!(
                    "{what} not known to be stored; the next start decides what becomes of \
                     these runs, by what is stored of them"
                ))
            }
        }
    }

    /// Yields words for it.
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Signal(signal) => signal.as_str(),
            Self::LeaseLost => "the lease is lost",
        }
    }
}

/// How a server has ended.
pub(super) enum Served {
    /// By a signal.
    Done,
    /// Because of its store: a database was not heard of for too long, or there is none to begin
    /// with; or not all is known to be stored.
    Lost(String),
}

/// Yields the words of an error of listening, with what to do about it.
fn told(error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process has it, perhaps another quell: `--listen 127.0.0.1:PORT` takes \
             another port"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 are for root: `--listen 127.0.0.1:PORT` takes another port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; it is no address of this machine: `--listen 127.0.0.1:PORT` takes one that is"
        }
        _ => "",
    };
    format!("{error}{hint}")
}

/// Takes the address, and does not listen yet: nobody is kept waiting before there is an answer.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Closed connections of an earlier server would otherwise block the address for a while.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Shuts the engine down. A second signal, which may have come before, aborts every run, and one
/// more ends the wait: then there is no report.
async fn drained(
    engine: &Engine,
    plan: Shutdown,
    (signals, second): (&mut Signals, Option<Signal>),
    log: &Log,
) -> Option<ShutdownReport> {
    let mut shutdown = std::pin::pin!(engine.shutdown(plan));
    let further = async {
        match second {
            Some(signal) => signal,
            None => signals.next().await,
        }
    };
    let signal = tokio::select! {
        biased;
        report = &mut shutdown => return Some(report),
        signal = further => signal,
    };
    log.say(&format!("{}: aborting; another signal ends this server at once", signal.as_str()));
    // A second call aborts; the first one still yields the whole report.
    let ended = async { tokio::join!(shutdown, engine.shutdown(plan)).0 };
    tokio::select! {
        biased;
        report = ended => Some(report),
        _ = signals.next() => None,
    }
}

/// Closes the store, if there is one. Yields whether so many signals did not come before.
async fn is_closed(store: Option<OpenStore>, (signals, last): (&mut Signals, u32)) -> bool {
    tokio::select! {
        biased;
        _ = OptionFuture::from(store.map(OpenStore::close)) => true,
        () = signals.until(last) => false,
    }
}

fn summary(report: &ShutdownReport, is_shared: bool) -> String {
    // What did not end is paused, or has not begun.
    let left = report.roots.live;
    let (stopped, took) = (report.roots.total() - left, span(report.took));
    let runs = |count: u64| if count == 1 { "run" } else { "runs" };
    let mut words = format!("stopped {stopped} live {} in {took}", runs(stopped));
    if left > 0 {
        let waits =
            if left == 1 { "is paused or waits, and is" } else { "are paused or wait, and are" };
        let to = if is_shared { "other servers" } else { "the next process" };
        let _ = write!(words, "; {left} {} {waits} left to {to}", runs(left));
    }
    let left = report.abandoned.iter().map(|left| {
        let (sort, name) = (left.what.as_str(), printable(&left.name));
        format!("\nabandoned: {sort} {name} {}", still_executes(left.what))
    });
    iter::once(words).chain(left).collect()
}

/// Writes the address to stdout, for the process that started this one.
fn announce(scheme: &str, address: SocketAddr) {
    let mut stdout = io::stdout().lock();
    // A closed stdout does not stop the server.
    let _ =
        writeln!(stdout, "quell listening on {scheme}://{address}").and_then(|()| stdout.flush());
}

/// Why a server ends that nobody has asked to.
const LEASE_LOST: &str = "\
    the lease of this server was lost: the database was not reached in time, or this process did \
    not run; other servers may have its runs, so it has stopped them; start it again";

/// Why a server ends that was told so often to end that it no longer waits.
const NOT_AWAITED: &str = "\
    ended by the third signal, without waiting for what had not ended or was not stored; what a \
    store has of it the next start decides";

/// How many signals, once a server ends, end every wait of it: the first of them aborts its runs.
const SIGNALS_MORE: u32 = 2;

/// How many connections may wait to be accepted; the system may allow fewer. New clients wait here
/// while every slot is taken.
const QUEUE: u32 = 4_096;

/// How long requests may take to take back the runs that they have made, once these are aborted.
const BATCHES_WAIT: Duration = Duration::from_secs(1);

/// How long runs of other nodes may take to end whose clients follow them through this one.
const FOLLOWED_WAIT: Duration = Duration::from_secs(2);

/// How long connections may take to write what is left, once every run has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
