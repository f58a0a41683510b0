//! Cancel against completion: what the header says is what became of the run.

use quell_test_support::{Servo, seeds};
use serde_json::Value;

use crate::support::{Site, fresh};

/// Cancels a run of so many ticks after having given way so often; yields whether that came first.
async fn race(site: &Site, path: &str, (ticks, held_back): (u32, u32)) -> bool {
    let run = fresh("race");
    let message = format!("ticks={ticks} tick_ms=0");
    let fields = [
        ("message", message.as_str()),
        ("background", "true"),
        ("stream", "false"),
        ("session_id", "s"),
        ("run_id", &run),
    ];
    assert_eq!(site.create(&format!("{path}/runs"), &fields).await.status, 202);
    for _ in 0..held_back {
        tokio::task::yield_now().await;
    }
    let answer = site.post(&format!("{path}/runs/{run}/cancel?wait=true")).await;
    let read = site.get(&format!("{path}/runs/{run}?session_id=s")).await.json();
    let (status, cause) = (read["status"].as_str().unwrap(), &read["quell"]["cause"]);
    match answer.header("quell-disposition") {
        "accepted" => {
            assert_eq!((status, cause["kind"].as_str()), ("CANCELLED", Some("user-request")));
            assert_eq!(answer.header("quell-cause"), "user-request");
            true
        }
        "already-terminal" => {
            assert_eq!((status, cause), ("COMPLETED", &Value::Null));
            assert_eq!(answer.header("quell-cause"), "");
            false
        }
        other => panic!("disposition {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disposition_is_right_whoever_is_first() {
    let site = Site::open();
    for path in ["/agents/slow-agent", "/workflows/fn-workflow"] {
        let mut servo = Servo::wide(1);
        for (_seed, mut rng) in seeds(2_000) {
            let cancelled = race(&site, path, servo.handicaps(&mut rng)).await;
            // The end is the first runner: the more ticks, the likelier the cancel wins.
            servo.first_won(!cancelled);
        }
        servo.assert_raced(path);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_cancels_one_is_accepted() {
    let site = Site::open();
    for _ in 0..200 {
        let run = fresh("many");
        let fields = [
            ("message", "m"),
            ("background", "true"),
            ("stream", "false"),
            ("run_id", run.as_str()),
        ];
        assert_eq!(site.create("/teams/slow-team/runs", &fields).await.status, 202);
        let path = format!("/teams/slow-team/runs/{run}/cancel");
        let answers = futures::future::join_all((0..4).map(|_| site.post(&path))).await;
        let said: Vec<_> =
            answers.iter().map(|answer| answer.header("quell-disposition")).collect();
        assert_eq!(said.iter().filter(|said| **said == "accepted").count(), 1, "{said:?}");
        for said in said {
            assert!(["accepted", "already-stopping", "already-terminal"].contains(&said));
        }
    }
}
