//! Short runs against a floor: a bare route in this process that parses the form, spawns one task
//! and answers the same bytes.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::Form;
use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Router, serve};
use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use quell_benches::figures::{per, quotient, ratio, section};
use quell_benches::race::median;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::client::{Body, Http};
use crate::cost;
use crate::short::{self, Kind};
use crate::side::Side;
use crate::threads::Threads;

/// Both by turns, a batch of runs each; processor time of the threads that serve.
pub(crate) async fn compare(http: &Http, ours: &Side) -> Result<(), String> {
    let shape = format!("short-agent, stream=false; {ROUNDS} rounds of {RUNS} requests, by turns");
    section("http/floor: processor time per request, against a bare route", &shape);
    let floor = Floor::start(http, ours).await?;
    let (mut us, mut floors) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let ours: Duration = spent(http, ours).await?.0.values().sum();
        let theirs = spent(http, &floor.side).await?;
        let theirs = theirs.0.get(NAME).copied().ok_or("the floor has no threads")?;
        if round > 0 {
            us.push(ours);
            floors.push(theirs);
        }
    }
    let both = (median(us), median(floors));
    for (side, time) in [("ours", both.0), ("floor", both.1)] {
        println!("   {side:<8} {:.1} µs per request", per(time, RUNS) / 1e3);
    }
    ratio("http/floor", quotient(both));
    Ok(())
}

async fn spent(http: &Http, side: &Side) -> Result<Threads, String> {
    let began = Threads::of_listener(&side.url)?;
    short::batch(http, Kind::Agent, side, RUNS).await?;
    Ok(cost::settled(side).await?.since(&began))
}

/// A route on threads of its own.
struct Floor {
    side: Side,
    threads: Option<Runtime>,
}

impl Floor {
    /// Answers as ours does once.
    async fn start(http: &Http, ours: &Side) -> Result<Self, String> {
        let path = "/agents/short-agent/runs";
        let form = [("message", "hi"), ("stream", "false")];
        let answer = http.post(&format!("{}{path}", ours.url), &Body::Form(&form)).await?;
        let threads = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(NAME)
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let app = Router::new().route(
            path,
            post(async |Form(form): Form<HashMap<String, String>>| {
                let run =
                    tokio::spawn(async move { form.contains_key("message").then_some(answer) });
                let answer: Bytes = run.await.ok().flatten().unwrap_or_default();
                ([(CONTENT_TYPE, "application/json")], answer)
            }),
        );
        let _on = threads.enter();
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let listener = listener.tap_io(|socket| {
            // Without it a figure would be of Nagle's delays.
            let _ = socket.set_nodelay(true);
        });
        threads.spawn(async move { serve(listener, app).await });
        let side = Side::witnessed(&format!("http://{address}"));
        Ok(Self { side, threads: Some(threads) })
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Of the threads that serve.
const NAME: &str = "floor";

const RUNS: usize = 1_600;

const ROUNDS: usize = 15;
