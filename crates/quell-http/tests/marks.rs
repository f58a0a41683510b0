//! What is lost of what a run said is marked wherever it is shown.

use quell::{EngineConfig, Limits};
use quell_http::router;
use serde_json::{Value, json};

use crate::support::{Witness, get, service_with, soon, start};

#[tokio::test]
async fn a_client_sees_where_events_are_missing_and_that_the_text_is_not_whole() {
    let mut limits = Limits::default();
    limits.events_per_root_max = 4;
    let service = service_with(EngineConfig::new().limits(limits), &Witness::default());
    let app = router(service.clone());
    for (id, words) in [("loud", 7), ("quiet", 1)] {
        start(&app, "talker", id, json!(words)).await;
        let run = service.engine().get(quell_http::parse_id(id).unwrap()).unwrap();
        soon("it has ended", || run.status().is_terminal()).await;
    }
    let quiet = get(&app, "/v1/runs/quiet").await.json();
    assert_eq!((&quiet["text"], quiet.get("truncated")), (&json!("0 "), None));
    assert!(!get(&app, "/v1/runs/quiet/events").await.text.contains("lagged"));
    // Ten events at once, of which the log holds four: nobody saw the first words.
    let loud = get(&app, "/v1/runs/loud").await.json();
    assert_eq!(loud["truncated"], true, "{loud}");
    assert_ne!(loud["text"], json!("0 1 2 3 4 5 6 "));
    let stream = get(&app, "/v1/runs/loud/events").await.text;
    assert!(stream.starts_with("event: lagged\n"), "{stream}");
    let last = stream.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["event"], "ended");
}
