use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quell::{Engine, EngineConfig, Payload};
use quell_flow::{Catalog, Component};
use quell_http::{Service, router};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::support::{Client, serve};

const WORKERS: usize = 2;
/// The status is read meanwhile, also by a busy machine.
const GRACE: Duration = Duration::from_secs(2);
const ABORT_WAIT: Duration = Duration::from_secs(2);

/// How much later than promised this machine may be.
const SLACK: Duration = Duration::from_mins(1);

fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap()
}

async fn json(to: SocketAddr, method: &str, path: &str, body: &str) -> Value {
    let answer = Client::connect(to).await.send(method, path, body).await.rest().await;
    serde_json::from_str(&answer).unwrap()
}

// I14, over HTTP: every worker of the bodies spins, and the front does not notice.
#[test]
fn a_cancel_is_answered_and_the_status_readable_while_every_body_worker_spins() {
    let (bodies, front) = (runtime(WORKERS), runtime(1));
    let (stop, spinning) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let config =
        EngineConfig::new().runtime(bodies.handle().clone()).grace(GRACE).abort_wait(ABORT_WAIT);
    let (flag, count) = (Arc::clone(&stop), Arc::clone(&spinning));
    let spinner = Component::agent("spinner", move |_ctx, _input| {
        let (stop, spinning) = (Arc::clone(&flag), Arc::clone(&count));
        async move {
            spinning.fetch_add(1, Ordering::SeqCst);
            while !stop.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Ok(Payload::from("let go"))
        }
    });
    let service = Service::new(Engine::with_config(config), Catalog::new().with(spinner));
    front.block_on(async {
        let to = serve(router(service)).await;
        for id in 0..WORKERS {
            let body = format!(r#"{{"component":{{"kind":"agent","id":"spinner"}},"id":"r{id}"}}"#);
            json(to, "POST", "/v1/runs", &body).await;
        }
        while spinning.load(Ordering::SeqCst) < WORKERS {
            sleep(Duration::from_millis(1)).await;
        }
        let mut client = Client::connect(to).await;
        let mut events = client.send("GET", "/v1/runs/r0/events", "").await;
        events.until("event: started\n").await;

        let began = Instant::now();
        let told = json(to, "POST", "/v1/runs/r0/cancel", "").await;
        let answered = began.elapsed();
        assert_eq!(told["disposition"], "accepted");
        println!("answered after {answered:?}");
        assert!(answered < GRACE + SLACK, "answered after {answered:?}");
        let mut reads = 0;
        while json(to, "GET", "/v1/runs/r0", "").await["status"] != "cancelled" {
            reads += 1;
            assert!(began.elapsed() < GRACE + ABORT_WAIT + SLACK, "not terminal in time");
        }
        assert!(began.elapsed() < GRACE + ABORT_WAIT + SLACK);
        assert!(reads > 0, "it was readable meanwhile");
        let rest = events.rest().await;
        assert!(rest.contains("event: stopping\n") && rest.contains("event: ended\n"), "{rest}");

        let body = r#"{"wait":"terminal"}"#;
        let told = json(to, "POST", "/v1/runs/r1/cancel", body).await;
        assert_eq!((&told["status"], &told["quiescent"]), (&"cancelled".into(), &false.into()));
        let run = json(to, "GET", "/v1/runs/r1", "").await;
        assert_eq!(run["abandoned"], serde_json::json!(["spinner"]));

        stop.store(true, Ordering::SeqCst);
        let body = r#"{"wait":"quiescent"}"#;
        let told = json(to, "POST", "/v1/runs/r1/cancel", body).await;
        assert_eq!((&told["reached"], &told["quiescent"]), (&true.into(), &true.into()));
    });
    bodies.shutdown_background();
    front.shutdown_background();
}
