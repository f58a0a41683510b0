use serde_json::Value;

use crate::support::http::Events;
use crate::support::{Site, fresh};

#[tokio::test]
async fn every_answer_about_a_run_is_the_same_when_the_memory_of_the_adapter_is_lost() {
    let site = Site::open();
    let components: Vec<String> =
        ["agents", "teams", "workflows"].into_iter().map(|kind| format!("/{kind}")).collect();
    let mut read = 0;
    for kind in components {
        let listed = site.get(&kind).await.json();
        for component in listed.as_array().unwrap() {
            let id = component["id"].as_str().unwrap();
            for background in ["true", "false"] {
                let (run, path) = (fresh("run"), format!("{kind}/{id}"));
                let fields = [
                    ("message", "m"),
                    ("session_id", "s"),
                    ("user_id", "ada"),
                    ("run_id", &run),
                    ("background", background),
                    ("quell_timeout_ms", "100"),
                    ("quell_grace_ms", "20"),
                    ("session_state", r#"{"n": 1.50}"#),
                    ("own", "[1]"),
                    ("version", "1"),
                ];
                let events = site.create(&format!("{path}/runs"), &fields).await.events();
                assert!(events.len() > 1, "{events:?}");
                let path = format!("{path}/runs/{run}?session_id=s");
                let (before, after) = (site.get(&path).await, site.forgetful().get(&path).await);
                assert_eq!(before.status, 200, "{before:?}");
                assert_eq!(after.text, before.text);
                assert_eq!(after.json()["user_id"], Value::from("ada"));
                read += 1;
            }
        }
    }
    assert!(read >= 12, "{read}");
}
