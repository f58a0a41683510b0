//! Short runs against a floor: a bare route in this process that parses the form, spawns one task
//! and answers the same bytes. Between both a route that submits a run where the floor spawns its
//! task: what a run costs if nothing is known of contracts, callers, streams and a second runtime.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::Form;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Router, serve};
use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use quell::{Engine, RunSpec};
use quell_benches::figures::{per, quotient, ratio, section};
use quell_benches::race::median;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::client::{Body, Http};
use crate::cost;
use crate::short::{self, Kind};
use crate::side::Side;
use crate::threads::Threads;

/// All by turns, a batch of runs each; processor time of the threads that serve.
pub(crate) async fn compare(http: &Http, ours: &Side) -> Result<(), String> {
    let shape = format!("short-agent, stream=false; {ROUNDS} rounds of {RUNS} requests, by turns");
    section("http/floor: processor time per request, against a bare route", &shape);
    let answer = answer_of(http, ours).await?;
    let (floor, engine) = (Bare::start(FLOOR, spawns(&answer))?, Engine::new());
    let runs = Bare::start(RUN, submits(&engine, &answer))?;
    let (mut us, mut runs_in, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let ours: Duration = spent(http, ours).await?.0.values().sum();
        let all = [(ours, &mut us), (runs.spent(http).await?, &mut runs_in)];
        for (time, of) in all.into_iter().chain([(floor.spent(http).await?, &mut floors)]) {
            if round > 0 {
                of.push(time);
            }
        }
    }
    let (us, runs_in, floors) = (median(us), median(runs_in), median(floors));
    for (side, time) in [("ours", us), ("a run", runs_in), ("floor", floors)] {
        println!("   {side:<8} {:.1} µs per request", per(time, RUNS) / 1e3);
    }
    ratio("http/floor", quotient((us, floors)));
    ratio("http/floor/run", quotient((runs_in, floors)));
    Ok(())
}

/// What ours answers once.
async fn answer_of(http: &Http, ours: &Side) -> Result<Bytes, String> {
    let form = [("message", "hi"), ("stream", "false")];
    http.post(&format!("{}{PATH}", ours.url), &Body::Form(&form)).await
}

async fn spent(http: &Http, side: &Side) -> Result<Threads, String> {
    let began = Threads::of_listener(&side.url)?;
    short::batch(http, Kind::Agent, side, RUNS).await?;
    Ok(cost::settled(side).await?.since(&began))
}

/// A route that spawns one task.
fn spawns(answer: &Bytes) -> Router {
    let answer = answer.clone();
    Router::new().route(
        PATH,
        post(async move |Form(form): Form<HashMap<String, String>>| {
            let run = tokio::spawn(async move { form.contains_key("message").then_some(answer) });
            answered(run.await.ok().flatten())
        }),
    )
}

/// A route that submits one run, and keeps nothing of it.
fn submits(engine: &Engine, answer: &Bytes) -> Router {
    let (engine, answer) = (engine.clone(), answer.clone());
    Router::new().route(
        PATH,
        post(async move |Form(form): Form<HashMap<String, String>>| {
            let body = async move |_| Ok(form.contains_key("message").then_some(answer));
            let run = engine.submit(RunSpec::agent("short-agent"), body);
            let run = async { run.ok()?.outcome().await.into_value()? };
            answered(run.await)
        }),
    )
}

fn answered(answer: Option<Bytes>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], answer.unwrap_or_default())
}

/// A route on threads of its own.
struct Bare {
    name: &'static str,
    side: Side,
    threads: Option<Runtime>,
}

impl Bare {
    fn start(name: &'static str, app: Router) -> Result<Self, String> {
        let threads = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(name)
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let _on = threads.enter();
        let listener = TcpListener::from_std(listener).map_err(|error| error.to_string())?;
        let listener = listener.tap_io(|socket| {
            // Without it a figure would be of Nagle's delays.
            let _ = socket.set_nodelay(true);
        });
        threads.spawn(async move { serve(listener, app).await });
        let side = Side::witnessed(&format!("http://{address}"));
        Ok(Self { name, side, threads: Some(threads) })
    }

    /// Yields the time that its threads need for a batch.
    async fn spent(&self, http: &Http) -> Result<Duration, String> {
        let all = spent(http, &self.side).await?;
        all.0.get(self.name).copied().ok_or_else(|| format!("`{}` has no threads", self.name))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Of the threads that serve.
const FLOOR: &str = "floor";
const RUN: &str = "run";

const PATH: &str = "/agents/short-agent/runs";

const RUNS: usize = 1_600;

const ROUNDS: usize = 15;
