//! What do 1,000 requests of 15 MiB from one key do to the server, and to another owner's runs?
//!
//! The server is `quell serve --demo` with two keys, started here. One key starts runs with large
//! inputs, eight at a time, which nothing ends. Meanwhile the other has runs that stay, and others
//! that it cancels one by one. Printed are the bound of the state, resident memory at the end and
//! at its highest, the answers by their status, and the cancels of the other owner. It fails where
//! memory is above the bound and a quarter, or a run of the other owner was touched.
//!
//! `--quell PATH` starts another binary than the one in this target folder.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::print_stderr, reason = "a bench that cannot go on says so")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use bytes::Bytes;
use futures::future::{join, join_all};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use quell_benches::figures::{latency, section};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let measured = runtime.map_err(|error| error.to_string());
    match measured.and_then(|runtime| runtime.block_on(measure())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<(), String> {
    let server = Server::start()?;
    let (greedy, other) = (server.client(GREEDY.1), server.client(OTHER.1));
    let shape = format!(
        "{REQUESTS} requests of {} MiB from one key, {AT_ONCE} at once; bound {BOUND_MIB} MiB",
        INPUT_BYTES >> 20
    );
    section("greedy: one owner who takes what there is", &shape);
    let mut kept = Vec::new();
    for _ in 0..KEPT {
        kept.push(other.start(&small()).await?);
    }
    let body = Bytes::from(body(&"x".repeat(INPUT_BYTES)));
    let statuses = RefCell::new(BTreeMap::new());
    let is_over = RefCell::new(false);
    let send = async |share: usize| {
        for _ in 0..share {
            let told = greedy.ask(Method::POST, "/v1/runs", body.clone()).await;
            let status =
                told.map_or_else(|_| "cut off".to_owned(), |(status, _)| status.to_string());
            *statuses.borrow_mut().entry(status).or_insert(0) += 1;
        }
    };
    let sending = async {
        join_all((0..AT_ONCE).map(|_| send(REQUESTS / AT_ONCE))).await;
        *is_over.borrow_mut() = true;
    };
    let cancelling = async {
        let mut times = Vec::new();
        while !*is_over.borrow() {
            let run = other.start(&small()).await?;
            let (began, path) = (Instant::now(), format!("/v1/runs/{run}/cancel"));
            let (status, told) = other.ask(Method::POST, &path, "{}".into()).await?;
            times.push(began.elapsed());
            if status != 200 || told["disposition"] != "accepted" {
                return Err(format!("a cancel was answered {status} {told}"));
            }
            tokio::time::sleep(BETWEEN).await;
        }
        Ok::<_, String>(times)
    };
    let ((), times) = join(sending, cancelling).await;
    for (status, count) in statuses.take() {
        println!("   answers  {status}: {count}");
    }
    let times = times?;
    latency("other", &format!("{} cancels", times.len()), times);
    let mut live = 0;
    for run in &kept {
        let (_, told) = other.ask(Method::GET, &format!("/v1/runs/{run}"), Bytes::new()).await?;
        live += usize::from(told["status"] == "running");
    }
    println!("   other    {live} of {KEPT} runs untouched");
    let (resident, peak) = (server.memory("VmRSS:")?, server.memory("VmHWM:")?);
    println!("   memory   bound {BOUND_MIB} MiB, resident {resident} MiB, peak {peak} MiB");
    if live < KEPT || resident.max(peak) > BOUND_MIB + BOUND_MIB / 4 {
        return Err("that is more than one owner may take".into());
    }
    Ok(())
}

/// A run that ticks until somebody ends it.
fn small() -> Bytes {
    body("").into()
}

fn body(ballast: &str) -> String {
    let input = json!({ "message": "ticks=1000000 probe=greedy", "ballast": ballast });
    json!({ "component": { "kind": "agent", "id": "slow-agent" }, "input": input }).to_string()
}

/// The server that is measured. Killed when it is dropped.
struct Server {
    process: Child,
    folder: PathBuf,
    url: String,
}

impl Server {
    fn start() -> Result<Self, String> {
        let folder = env::temp_dir().join(format!("quell-greedy-{}", std::process::id()));
        let file = folder.join("quell.toml");
        let key = |(name, _): (&str, &str)| {
            format!("[[keys]]\nsubject = \"{name}\"\nsecret_env = \"{name}\"\n")
        };
        let text = format!("[server]\nmemory_mib = {BOUND_MIB}\n{}{}", key(GREEDY), key(OTHER));
        let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, text));
        written.map_err(|error| format!("{}: {error}", file.display()))?;
        let binary = binary()?;
        let cannot = |why: &str| format!("{}: {why}\n{BUILD_IT}", binary.display());
        let started = Command::new(&binary)
            .args(["serve", "--demo", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .envs([GREEDY, OTHER])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let process = started.map_err(|error| cannot(&error.to_string()))?;
        let mut server = Self { process, folder, url: String::new() };
        let stdout = server.process.stdout.take().ok_or_else(|| cannot("it has no stdout"))?;
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        read.map_err(|error| cannot(&error.to_string()))?;
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.ok_or_else(|| cannot("it did not say where it listens"))?;
        url.clone_into(&mut server.url);
        Ok(server)
    }

    fn client(&self, key: &'static str) -> Owner {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Owner { client, url: self.url.clone(), key }
    }

    /// Reads a figure of the process in MiB, as Linux tells it.
    fn memory(&self, name: &str) -> Result<u64, String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.map_err(|error| format!("this system tells no memory: {error}"))?;
        let figure = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = figure.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib >> 10).ok_or_else(|| format!("this system tells no {name}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // They fail only where there is nothing left to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Who sends requests under one key.
struct Owner {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    key: &'static str,
}

impl Owner {
    /// Starts a run and yields its id.
    async fn start(&self, body: &Bytes) -> Result<String, String> {
        let (status, told) = self.ask(Method::POST, "/v1/runs", body.clone()).await?;
        let id = told["id"].as_str().filter(|_| status == 201);
        id.map(str::to_owned).ok_or_else(|| format!("a start was answered {status} {told}"))
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<(u16, Value), String> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        let request = request.header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {}", self.key));
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let answer = async {
            let answer = self.client.request(request).await.map_err(|error| error.to_string())?;
            let status = answer.status().as_u16();
            let text = answer.into_body().collect().await.map_err(|error| error.to_string())?;
            Ok((status, serde_json::from_slice(&text.to_bytes()).unwrap_or_default()))
        };
        tokio::time::timeout(PATIENCE, answer).await.map_err(|_| format!("{path}: silent"))?
    }
}

/// Finds the binary that is named, or `release/quell` beside `release/deps/greedy-…`.
fn binary() -> Result<PathBuf, String> {
    let mut args = env::args().skip_while(|arg| arg != "--quell").skip(1);
    if let Some(path) = args.next() {
        return Ok(path.into());
    }
    let here = env::current_exe().map_err(|error| error.to_string())?;
    let folder = here.parent().and_then(Path::parent).unwrap_or(&here);
    Ok(folder.join(format!("quell{}", env::consts::EXE_SUFFIX)))
}

const BUILD_IT: &str = "build it first with `cargo build --release -p quell-server`, or name \
                        another with `--quell PATH`";

/// Subjects, which are the names of variables too, and their keys.
const GREEDY: (&str, &str) = ("GREEDY", "0123456789abcdef0123456789abcdef");
const OTHER: (&str, &str) = ("OTHER", "fedcba9876543210fedcba9876543210");

const REQUESTS: usize = 1_000;
const AT_ONCE: usize = 8;
const INPUT_BYTES: usize = 15 << 20;

/// What the state of the server may take: its default.
const BOUND_MIB: u64 = 2_048;

/// Runs of the other owner that stay.
const KEPT: usize = 20;

/// Between two cancels of the other owner.
const BETWEEN: Duration = Duration::from_millis(10);

const PATIENCE: Duration = Duration::from_secs(30);
