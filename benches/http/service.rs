//! Components that are services: what quell adds to a request, and how soon a silent model is
//! dropped.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quell_benches::figures::{latency, per, quotient, ratio, section};
use quell_benches::race::{Race, Took};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::{Body, Http};
use crate::side::Side;

/// Runs of a service through quell, and the same requests without it, by turns; then cancels of a
/// model that says nothing.
pub(crate) async fn measure(http: &Http, binary: Option<&Path>) -> Result<(), String> {
    let mut service = Service::start().await?;
    let url = service.url.clone();
    let file = std::env::temp_dir().join(format!("quell-bench-{}.toml", std::process::id()));
    let text = format!(
        "[agents.it]\nurl = \"{url}/run\"\n\
         [agents.model]\nmodel = {{ url = \"{url}/silent\", name = \"m\", confirm = \"0s\" }}\n"
    );
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    let ours = Side::configured(binary, &file);
    let _ = fs::remove_file(&file);
    let ours = ours?;
    for clients in [1, 8] {
        race(http, &ours.url, &url, clients).await?;
    }
    cancels(http, &ours.url, &mut service).await
}

async fn race(http: &Http, ours: &str, service: &str, clients: usize) -> Result<(), String> {
    let runs = clients * RUNS;
    let shape = format!(
        "a service that answers after {} ms; {clients} clients, {ROUNDS} rounds of {runs} runs a \
         side, by turns",
        THINKS.as_millis()
    );
    section(
        &format!("http/service/{clients}: time per run, and per request without quell"),
        &shape,
    );
    let (through, alone) = (format!("{ours}/agents/it/runs"), format!("{service}/run"));
    let mut race = Race::default();
    for round in 0..=ROUNDS {
        let sides = [
            batch(http, &through, clients, runs).await?,
            batch(http, &alone, clients, runs).await?,
        ];
        // The first one warms the connections.
        if round > 0 {
            let [ours, theirs] = sides;
            race.ours.push(ours);
            race.theirs.push(theirs);
        }
    }
    let both = race.medians();
    for (side, time) in [("quell", both.0), ("alone", both.1)] {
        let micros = per(time, runs) / 1e3;
        println!("   {side:<8} {:.0} runs per second, {micros:.1} µs per run", 1e6 / micros);
    }
    ratio(&format!("http/service/{clients}"), quotient(both));
    Ok(())
}

/// So many requests by so many clients.
async fn batch(http: &Http, url: &str, clients: usize, runs: usize) -> Result<Took, String> {
    let left = Arc::new(AtomicUsize::new(runs));
    let mut workers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..clients {
        let (http, url, left) = (http.clone(), url.to_owned(), Arc::clone(&left));
        workers.spawn(async move {
            let form = Body::Form(&[("message", "hi"), ("stream", "false")]);
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                http.post(&url, &form).await?;
            }
            Ok::<(), String>(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.map_err(|error| error.to_string())??;
    }
    Ok(Took { time: began.elapsed(), processor: Duration::ZERO })
}

async fn cancels(http: &Http, ours: &str, service: &mut Service) -> Result<(), String> {
    let shape = format!("a model that says nothing; {CANCELS} runs, one after the other");
    section("http/service/cancel: from the cancel to the end of the model's connection", &shape);
    let gone = || "the service is gone".to_owned();
    let mut times = Vec::new();
    for nth in 0..CANCELS {
        let id = format!("silent-{nth}");
        let start = json!({ "component": "agent/model", "input": "hi", "id": id });
        http.post(&format!("{ours}/v1/runs"), &Body::Json(&start)).await?;
        service.asked.recv().await.ok_or_else(gone)?;
        let began = Instant::now();
        let cancel = Body::Json(&json!({}));
        http.post(&format!("{ours}/v1/runs/{id}/cancel"), &cancel).await?;
        let closed = service.closed.recv().await.ok_or_else(gone)?;
        times.push(closed.saturating_duration_since(began));
    }
    latency("quell", "cancel to closed", times);
    Ok(())
}

/// A service in this process, and what it sees of requests that it does not answer.
struct Service {
    url: String,
    asked: mpsc::UnboundedReceiver<()>,
    closed: mpsc::UnboundedReceiver<Instant>,
}

impl Service {
    async fn start() -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let (asks, asked) = mpsc::unbounded_channel();
        let (ends, closed) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                tokio::spawn(serve(socket, asks.clone(), ends.clone()));
            }
        });
        Ok(Self { url: format!("http://{address}"), asked, closed })
    }
}

/// Answers the requests of a connection, but those for a silent model.
async fn serve(
    socket: TcpStream,
    asked: mpsc::UnboundedSender<()>,
    closed: mpsc::UnboundedSender<Instant>,
) -> Option<()> {
    let mut socket = BufReader::new(socket);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        socket.read_line(&mut first).await.ok().filter(|read| *read > 0)?;
        let mut line = String::new();
        while socket.read_line(&mut line).await.ok()? > 2 {
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse().ok()?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await.ok()?;
        if first.contains("/silent") {
            asked.send(()).ok()?;
            // Its end, or a reset.
            let _ = socket.read_u8().await;
            return closed.send(Instant::now()).ok();
        }
        tokio::time::sleep(THINKS).await;
        socket.write_all(ANSWER).await.ok()?;
    }
}

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// How long the service takes.
const THINKS: Duration = Duration::from_millis(10);

/// Runs of a client in a round.
const RUNS: usize = 50;

const ROUNDS: usize = 5;

const CANCELS: usize = 200;
