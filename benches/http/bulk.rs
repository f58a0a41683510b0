//! A cancel by status of many background runs: until their bodies are quiet, as the witness says.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use quell_benches::figures::{latency, section};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::client::{Body, Http};
use crate::langgraph::{self, AT_ONCE, Former};
use crate::load::Pace;
use crate::side::Side;

/// Two hundred, on both sides.
pub(crate) async fn compare(http: &Http, ours: &Side, theirs: &Side) -> Result<(), String> {
    let shape = format!("slow: {FEW} background runs, each ticks every {} ms", FEW_PACE.tick_ms);
    section("http/bulk: from POST /runs/cancel by status to the last tick", &shape);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let threads = langgraph::empty(http, &ours.url, FEW).await?;
        let crowd = Crowd::start(http, ours, threads, FEW_PACE).await?;
        match crowd.cancel(http, ours, "interrupt", FEW_PACE).await? {
            Some(quiet) => times.push(quiet),
            None => return Err("bodies of ours ticked on".to_owned()),
        }
    }
    latency("ours", "cancel to the last tick", times);
    let threads = langgraph::empty(http, &theirs.url, FEW).await?;
    let crowd = Crowd::start(http, theirs, threads, FEW_PACE).await?;
    match crowd.cancel(http, theirs, "interrupt", FEW_PACE).await? {
        Some(quiet) => latency("theirs", "cancel to the last tick", vec![quiet]),
        None => println!("   theirs   ticks on {} s after the answer", PATIENCE.as_secs()),
    }
    Ok(())
}

/// Ten thousand, of ours: interrupted, then rolled back.
pub(crate) async fn many(http: &Http, without: &Side, stored: &Side) -> Result<(), String> {
    for (name, side) in [("without a store", without), ("with a store in a file", stored)] {
        let shape = format!("slow: {MANY} background runs, each ticks every {MANY_MS} ms");
        section(&format!("http/bulk_many {name}: to the last tick, to the right records"), &shape);
        for action in ["interrupt", "rollback"] {
            // What is rolled back has a former state to come back to.
            let threads = if action == "rollback" {
                langgraph::filled(http, &side.url, MANY).await?
            } else {
                langgraph::empty(http, &side.url, MANY).await?
            };
            let crowd = Crowd::start(http, side, threads, MANY_PACE).await?;
            let idle = crowd.idle_after(http, side, action);
            let quiet = crowd.cancel(http, side, action, MANY_PACE).await?;
            let quiet = quiet.ok_or("bodies ticked on")?;
            let idle = idle.await.map_err(|error| error.to_string())??;
            let wrong = crowd.wrong(http, side, action).await?;
            let (quiet, idle) = (quiet.as_millis(), idle.as_millis());
            println!(
                "   {action:<9} last tick after {quiet} ms; no thread busy after {idle} ms; \
                 {wrong} of {MANY} records wrong"
            );
            crowd.delete(http, side).await?;
        }
    }
    Ok(())
}

/// Runs that tick under one probe, each in a thread of its own.
struct Crowd {
    probe: String,
    threads: Vec<Former>,
}

impl Crowd {
    /// Starts them, and returns when each of them may have ticked.
    async fn start(
        http: &Http,
        side: &Side,
        threads: Vec<Former>,
        pace: Pace,
    ) -> Result<Self, String> {
        let probe = Uuid::now_v7().to_string();
        langgraph::crowd(http, &side.url, pace, &probe, &threads).await?;
        let began = Instant::now();
        let enough = u64::try_from(threads.len()).unwrap_or(u64::MAX);
        while side.counted(http, &probe).await? < enough {
            if began.elapsed() > PATIENCE * 12 {
                return Err(format!("{}: its bodies do not tick", side.url));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(Self { probe, threads })
    }

    /// Cancels all live runs of the server. Yields how long after that the last tick was seen;
    /// none if they tick on.
    async fn cancel(
        &self,
        http: &Http,
        side: &Side,
        action: &str,
        pace: Pace,
    ) -> Result<Option<Duration>, String> {
        let url = format!("{}/runs/cancel?action={action}", side.url);
        let began = Instant::now();
        let cancelled = tokio::spawn({
            let http = http.clone();
            async move { http.post(&url, &Body::Json(&json!({ "status": "all" }))).await }
        });
        let (mut seen, mut last) = (0, Duration::ZERO);
        // Nothing ticks any more if nothing did for several times as long as it takes.
        while began.elapsed() < last + Duration::from_millis(pace.tick_ms * 4).max(SURE) {
            let ticks = side.counted(http, &self.probe).await?;
            if ticks != seen {
                (seen, last) = (ticks, began.elapsed());
            }
            if last > PATIENCE {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
        cancelled.await.map_err(|error| error.to_string())??;
        Ok(Some(last))
    }

    /// Measures from now on until no thread is busy.
    fn idle_after(
        &self,
        http: &Http,
        side: &Side,
        action: &str,
    ) -> JoinHandle<Result<Duration, String>> {
        let (http, url) = (http.clone(), format!("{}/threads/count", side.url));
        // A run that was interrupted leaves its thread `interrupted`, one rolled back as before.
        let status = if action == "rollback" { "idle" } else { "interrupted" };
        let body = json!({ "status": status });
        let all = self.threads.len();
        tokio::spawn(async move {
            let began = Instant::now();
            loop {
                let count = http.post(&url, &Body::Json(&body)).await?;
                if String::from_utf8_lossy(&count).trim().parse() == Ok(all) {
                    return Ok(began.elapsed());
                }
                if began.elapsed() > PATIENCE * 6 {
                    return Err(format!("{}: not all are {body}", String::from_utf8_lossy(&count)));
                }
                tokio::time::sleep(COUNTED).await;
            }
        })
    }

    /// Counts the threads that are not as they have to be: after a rollback each is read exactly as
    /// before its run; else its one run was interrupted.
    async fn wrong(&self, http: &Http, side: &Side, action: &str) -> Result<usize, String> {
        let is_rollback = action == "rollback";
        let check = |thread: &Former| {
            let (id, before) = (thread.id.clone(), thread.read.clone());
            async move {
                let is_right = if is_rollback {
                    langgraph::read(http, &side.url, &id).await? == before
                } else {
                    let runs = http.get(&format!("{}/threads/{id}/runs", side.url)).await?;
                    let runs = runs.as_array().map_or(&[] as &[Value], Vec::as_slice);
                    let status = runs.first().map(|run| &run["status"]);
                    runs.len() == 1 && status.is_some_and(|status| status == "interrupted")
                };
                Ok::<_, String>(usize::from(!is_right))
            }
        };
        let checks = stream::iter(&self.threads).map(check).buffer_unordered(AT_ONCE);
        checks.try_fold(0, |sum, one| async move { Ok(sum + one) }).await
    }

    /// Deletes all threads.
    async fn delete(&self, http: &Http, side: &Side) -> Result<(), String> {
        let delete = |thread: &Former| {
            let url = format!("{}/threads/{}", side.url, thread.id);
            async move { http.delete(&url).await }
        };
        let deletes = stream::iter(&self.threads).map(delete).buffer_unordered(AT_ONCE);
        deletes.try_collect().await
    }
}

const FEW: usize = 200;

const FEW_PACE: Pace = Pace { tick_ms: 20, total_ms: 30_000 };

const ROUNDS: usize = 9;

const MANY: usize = 10_000;

const MANY_MS: u64 = 1_000;

const MANY_PACE: Pace = Pace { tick_ms: MANY_MS, total_ms: 600_000 };

/// Between two looks at the witness.
const POLL: Duration = Duration::from_micros(500);

/// Between two counts of threads.
const COUNTED: Duration = Duration::from_millis(20);

/// Without a tick for so long they are quiet.
const SURE: Duration = Duration::from_millis(300);

/// How long they may tick after a cancel.
const PATIENCE: Duration = Duration::from_secs(5);
