//! Clients that send what they like over sockets, well made and badly made, stop half-way, read
//! nothing, vanish, and cancel at any moment; with `QUELL_LONG=1` 50,000 requests of 100 of them.
//! No answer is a fault of the server, nothing is left, and every log keeps the promises.

use std::collections::{BTreeMap, HashSet};
use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fastrand::Rng;
use futures::future::join_all;
use parking_lot::Mutex;
use quell::{EventKind, RunEvent, RunFilter, RunId, RunRef, RunStatus, testing};
use quell_http::external_id;
use quell_test_support::{eventually, ms, seeds, serve, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::http::{KINDS, form};
use crate::support::{Site, fresh};

/// How much is done.
#[derive(Clone, Copy)]
struct Size {
    requests: usize,
    clients: usize,
}

impl Size {
    fn by_now() -> Self {
        let is_long = env::var("QUELL_LONG").is_ok_and(|long| long == "1");
        let (requests, clients) = if is_long { (50_000, 100) } else { (1_500, 16) };
        Self { requests, clients }
    }
}

/// A run that a client has asked for, which may be there: its path and its session.
type Known = (String, String);

struct Load {
    site: Site,
    address: SocketAddr,
    left: AtomicUsize,
    known: Mutex<Vec<Known>>,
    answers: Mutex<BTreeMap<u16, usize>>,
    /// Clients that wait for nothing: they are there until the end.
    idle: Mutex<Vec<TcpStream>>,
}

impl Load {
    async fn client(self: Arc<Self>, mut rng: Rng) {
        let taken = || self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok();
        while taken() {
            match rng.u8(..20) {
                0..=6 => self.create(&mut rng).await,
                7 | 8 => self.leave(&mut rng).await,
                9 => self.stay(&mut rng).await,
                10 => self.stop_around(&mut rng).await,
                11..=13 => self.cancel(&mut rng).await,
                14 => self.go_on(&mut rng).await,
                15..=17 => self.read(&mut rng).await,
                _ => self.nonsense(&mut rng).await,
            }
        }
    }

    /// Sends a request and reads the whole answer.
    async fn ask(&self, request: &[u8]) -> (u16, String) {
        let asked = async {
            let mut socket = TcpStream::connect(self.address).await.unwrap();
            // A server may refuse a request before it has read all of it.
            let _ = socket.write_all(request).await;
            let mut answer = Vec::new();
            let _ = socket.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        };
        let answer = within("it is answered", asked).await;
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status: {answer:?}"));
        *self.answers.lock().entry(status).or_default() += 1;
        assert!((200..500).contains(&status), "{answer}");
        (status, answer)
    }

    async fn create(&self, rng: &mut Rng) {
        let (request, known) = created(rng);
        let (status, answer) = self.ask(&request).await;
        if status == 200 || status == 202 {
            self.known.lock().extend(known);
        }
        if status == 200 && answer.contains("text/event-stream") {
            let last = answer.rsplit("event: ").next().unwrap();
            let is_last = ["Completed\n", "Cancelled\n", "Error\n"];
            let name = &last[..=last.find('\n').unwrap_or_default()];
            assert!(is_last.iter().any(|end| name.ends_with(end)), "{answer}");
        }
    }

    /// Goes away in the middle of a request, behind it, or in the middle of the answer.
    async fn leave(&self, rng: &mut Rng) {
        let (request, known) = created(rng);
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let sent = if rng.bool() { request.len() } else { rng.usize(..request.len()) };
        let _ = socket.write_all(&request[..sent]).await;
        self.known.lock().extend(known);
        if sent == request.len() && rng.bool() {
            let _ = socket.read(&mut [0; 300]).await;
        }
    }

    /// Stays, and says and reads nothing any more.
    async fn stay(&self, rng: &mut Rng) {
        let ticks = ("message", "ticks=3000 tick_ms=0");
        let fields = [ticks, ("stream", "true")];
        let (request, known) = if rng.bool() { created(rng) } else { well_made(rng, &fields) };
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let sent = if rng.bool() { request.len() } else { rng.usize(..request.len()) };
        let _ = socket.write_all(&request[..sent]).await;
        self.known.lock().extend(known);
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(socket);
        }
    }

    /// Cancels a run while it is made, before and behind it.
    async fn stop_around(&self, rng: &mut Rng) {
        let fields = [("message", "ticks=20 tick_ms=1"), ("stream", "false")];
        let (request, known) = well_made(rng, &fields);
        let cancel = head("POST", &format!("{}/cancel", known.as_ref().unwrap().0), "", 0);
        let cancels = (0..4).map(|nth| {
            let cancel = &cancel;
            async move {
                sleep(ms(nth)).await;
                self.ask(cancel).await
            }
        });
        let ((status, _), cancels) = tokio::join!(self.ask(&request), join_all(cancels));
        assert!(status == 200 || status == 429, "{status}");
        assert!(cancels.iter().all(|(status, _)| matches!(status, 200 | 404)), "{cancels:?}");
        self.known.lock().extend(known);
    }

    async fn cancel(&self, rng: &mut Rng) {
        let Some((run, _)) = self.pick(rng) else { return };
        let wait = ["", "?wait=terminal", "?wait=quiescent", "?wait=x"][rng.usize(..4)];
        self.ask(&head("POST", &format!("{run}/cancel{wait}"), "", 0)).await;
    }

    async fn go_on(&self, rng: &mut Rng) {
        let Some((run, session)) = self.pick(rng) else { return };
        let body = form(&[("session_id", &session), ("tools", "[]"), ("input", "more")]);
        let path = format!("{run}/{}", if rng.bool() { "continue" } else { "resume" });
        self.ask(&[&head("POST", &path, FORM, body.len()), body.as_bytes()].concat()).await;
    }

    async fn read(&self, rng: &mut Rng) {
        let Some((run, session)) = self.pick(rng) else { return };
        let runs = run.rsplit_once('/').unwrap().0;
        let (method, path) = match rng.u8(..7) {
            0 => ("GET", format!("{run}?session_id={session}")),
            1 => ("GET", format!("{runs}?session_id={session}")),
            2 => ("GET", format!("/sessions/{session}")),
            3 => ("GET", format!("/sessions/{session}/runs")),
            4 => ("GET", format!("/sessions?type=agent&limit={}", rng.i16(..))),
            5 => ("DELETE", format!("/sessions/{session}")),
            _ => ("GET", "/agents".to_owned()),
        };
        self.ask(&head(method, &path, "", 0)).await;
    }

    /// Sends a request that is damaged somewhere behind its first line.
    async fn nonsense(&self, rng: &mut Rng) {
        let (mut request, _) = created(rng);
        let begin = request.iter().position(|byte| *byte == b'\n').unwrap();
        for _ in 0..rng.usize(1..5) {
            let at = rng.usize(begin..request.len());
            request[at] = rng.u8(..);
        }
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let _ = socket.write_all(&request).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        // A length that is too large now is waited for: the end of what there is ends it.
        let _ = within("it is answered", socket.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP/1.1 5"), "{}", String::from_utf8_lossy(&answer));
    }

    fn pick(&self, rng: &mut Rng) -> Option<Known> {
        let known = self.known.lock();
        (!known.is_empty()).then(|| known[rng.usize(..known.len())].clone())
    }

    /// Checks the logs of runs as they end, until it is told to end itself; yields how many.
    async fn check(self: Arc<Self>, is_over: Arc<AtomicBool>) -> usize {
        let (mut seen, mut checked) = (HashSet::new(), 0);
        loop {
            let is_last = is_over.load(Ordering::SeqCst);
            for run in self.site.service.engine().runs(&RunFilter::new()) {
                checked += usize::from(is_checked(&run, &mut seen).await);
            }
            if is_last {
                return checked;
            }
            sleep(ms(20)).await;
        }
    }

    async fn look_at_the_end(&self) {
        let engine = self.site.service.engine();
        self.idle.lock().clear();
        eventually("nothing is left", || {
            engine.runs(&RunFilter::new().live()).is_empty().then_some(())
        })
        .await;
        assert_eq!(testing::held(engine).live, 0);
        assert_eq!(testing::held(engine).bytes, 0, "bytes of live runs");
        let answers = self.answers.lock();
        let all = [200, 404, 422].map(|status| answers.contains_key(&status));
        assert_eq!(all, [true; 3], "{answers:?}");
    }
}

/// Checks the log of a root that has ended, if it is whole and was not checked before.
async fn is_checked(run: &RunRef, seen: &mut HashSet<RunId>) -> bool {
    let row = run.row();
    if run.parent().is_some() || !row.status.is_terminal() || !row.quiescent {
        return false;
    }
    if !seen.insert(run.id()) {
        return false;
    }
    let trace = testing::trace(run).await;
    // The oldest events make room in a long log.
    let is_gap = |event: &RunEvent| matches!(event.kind, EventKind::Lagged { .. });
    if trace.first().is_none_or(|first| first.seq > 1) || trace.iter().any(is_gap) {
        return false;
    }
    testing::check_trace(&trace).unwrap();
    true
}

fn less(left: usize) -> Option<usize> {
    left.checked_sub(1)
}

/// Makes a request to create a run, of fields that may be right or wrong; and what it may make.
fn created(rng: &mut Rng) -> (Vec<u8>, Option<Known>) {
    let mut fields = Vec::new();
    for (name, values) in FIELDS {
        if rng.u8(..4) == 0 {
            let value = values[rng.usize(..values.len())];
            let many = if rng.u8(..200) == 0 { 40_000 } else { 1 };
            fields.push((name, value.repeat(many)));
        }
    }
    if rng.u8(..8) > 0 {
        fields.push(("message", "ticks=3 tick_ms=1 first_ms=0".to_owned()));
    }
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
    made(rng, &fields, &[FORM, FORM, FORM, MULTIPART, MULTIPART, "application/json"])
}

/// Makes a request of these fields, to a run and a session of their own.
fn well_made(rng: &mut Rng, fields: &[(&str, &str)]) -> (Vec<u8>, Option<Known>) {
    made(rng, fields, &[FORM, MULTIPART])
}

fn made(rng: &mut Rng, fields: &[(&str, &str)], kinds: &[&str]) -> (Vec<u8>, Option<Known>) {
    let (path, _, _) = KINDS[rng.usize(..KINDS.len())];
    let path = if rng.u8(..3) > 0 { "/agents/short-agent" } else { path };
    let (run, session) = (fresh("load"), format!("s-{}", rng.u8(..40)));
    let mut all = vec![("run_id", &*run), ("session_id", &*session)];
    all.extend(fields);
    let known = Some((format!("{path}/runs/{run}"), session.clone()));
    let kind = kinds[rng.usize(..kinds.len())];
    let body = if kind == MULTIPART { multipart(&all) } else { form(&all) };
    ([&head("POST", &format!("{path}/runs"), kind, body.len()), body.as_bytes()].concat(), known)
}

fn head(method: &str, path: &str, kind: &str, length: usize) -> Vec<u8> {
    let kind = if kind.is_empty() { String::new() } else { format!("content-type: {kind}\r\n") };
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{kind}\
         content-length: {length}\r\n\r\n"
    )
    .into_bytes()
}

fn multipart(fields: &[(&str, &str)]) -> String {
    let part = |(name, value): &(&str, &str)| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    fields.iter().map(part).chain(["--b--\r\n".to_owned()]).collect()
}

const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";

/// Fields, and values of which some are right.
const FIELDS: [(&str, &[&str]); 13] = [
    (
        "message",
        &["", "\0 ticks=1 tick_ms=0", "ticks=1 tick_ms=0 \u{1f600}", "ticks=2 tick_ms=1 \"{["],
    ),
    ("stream", &["true", "false", "1", "no", "maybe", ""]),
    ("background", &["true", "false", "on", "x"]),
    ("session_id", &["", "s-1", "a/b", "%00"]),
    ("run_id", &["load-0", "load-1", "", "..", "a b"]),
    ("user_id", &["ada", "", "x"]),
    ("version", &["1", "-1", "x", "99999999999999999999"]),
    ("quell_timeout_ms", &["1", "0", "-1", "x", "18446744073709551616"]),
    ("quell_grace_ms", &["1", "0", "x"]),
    ("session_state", &["{}", "{\"a\":1}", "{", "null", "[]"]),
    ("files", &["x"]),
    ("other", &["[1,2]", "{\"a\":{}}", "[[[[", "1e999", "\u{fffd}"]),
    ("dependencies", &["{}", "no"]),
];

/// Clients that stay at once.
const IDLE_MAX: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_clients_send_the_server_answers_and_nothing_is_left() {
    for (seed, _) in seeds(1).take(1) {
        let Size { requests, clients } = Size::by_now();
        let site = Site::open();
        let address = serve(site.app.clone()).await;
        let left = AtomicUsize::new(requests);
        let (known, answers, idle) = Default::default();
        let load = Arc::new(Load { site, address, left, known, answers, idle });
        let is_over = Arc::new(AtomicBool::new(false));
        let looking = tokio::spawn(Arc::clone(&load).check(Arc::clone(&is_over)));
        let clients = (0..clients as u64).map(|nth| {
            let rng = Rng::with_seed(seed.0.wrapping_add(nth));
            tokio::spawn(Arc::clone(&load).client(rng))
        });
        for client in join_all(clients.collect::<Vec<_>>()).await {
            client.unwrap();
        }
        load.look_at_the_end().await;
        is_over.store(true, Ordering::SeqCst);
        let checked = looking.await.unwrap();
        assert!(checked > requests / 10, "{checked} logs of {requests} requests");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_that_a_thousand_clients_cancel_at_once_ends_once() {
    let site = Site::open();
    let address = serve(site.app.clone()).await;
    for (path, _, _) in KINDS {
        let run = crate::support::http::start(&site, path, "ticks=100000 tick_ms=5", "s").await;
        let cancel = head("POST", &format!("{path}/runs/{run}/cancel"), "", 0);
        let cancels = (0..1_000).map(|_| {
            let cancel = cancel.clone();
            tokio::spawn(async move {
                let mut socket = TcpStream::connect(address).await.unwrap();
                socket.write_all(&cancel).await.unwrap();
                let mut answer = String::new();
                socket.read_to_string(&mut answer).await.unwrap();
                answer
            })
        });
        let mut accepted = 0;
        for answer in join_all(cancels.collect::<Vec<_>>()).await {
            let answer = answer.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            accepted += usize::from(answer.contains("quell-disposition: accepted\r\n"));
        }
        assert_eq!(accepted, 1, "{path}");
        let roots = site.service.engine().runs(&RunFilter::new().status(RunStatus::Cancelled));
        let root = roots.iter().find(|root| external_id(root) == run).unwrap();
        root.quiescent().await;
        testing::check_trace(&testing::trace(root).await).unwrap();
    }
}
