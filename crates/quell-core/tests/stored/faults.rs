//! What another release, or somebody else, has written is an error in words, never a panic.

use proptest::prelude::*;
use quell_core::{RunEvent, RunReport};
use serde_json::{Value, json};

use crate::values;

fn event() -> Value {
    let id = "018f4e2c-0000-7000-8000-000000000001";
    json!({ "seq": 1, "root": id, "run": id, "at": "2026-01-01T00:00:00Z", "event": "started" })
}

fn fault<T: serde::de::DeserializeOwned>(value: &Value) -> String {
    let read = serde_json::from_str::<T>(&value.to_string());
    read.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_kind_or_a_field_of_a_newer_release_is_named() {
    assert_eq!(fault::<RunEvent>(&event()), "");
    let mut newer = event();
    newer["event"] = json!("levitated");
    assert!(fault::<RunEvent>(&newer).contains("unknown variant `levitated`"));
    let mut newer = event();
    newer["height"] = json!(3);
    assert!(fault::<RunEvent>(&newer).contains("unknown field `height`"));
    let mut newer = event();
    newer["event"] = json!("refused");
    newer["data"] = json!({ "what": "x", "bytes": 1, "bytes_max": 2, "height": 3 });
    assert!(fault::<RunEvent>(&newer).contains("unknown field `height`"));
}

#[test]
fn a_report_has_a_row_and_no_field_that_is_not_known() {
    let report = json!({
        "run": event()["run"], "status": "completed", "cause": null, "quiescent": true,
        "output": null, "partial": null, "error": null, "abandoned": [], "rows": [],
        "omitted": { "live": 0, "completed": 0, "failed": 0, "cancelled": 0, "timed_out": 0 },
    });
    assert!(fault::<RunReport>(&report).contains("a report has a row"));
    let mut newer = report;
    newer["mood"] = json!("good");
    assert!(fault::<RunReport>(&newer).contains("unknown field `mood`"));
}

#[test]
fn what_is_nested_without_end_is_an_error() {
    let deep = "[".repeat(1_000_000);
    assert!(serde_json::from_str::<RunEvent>(&format!(r#"{{"data":{deep}"#)).is_err());
    assert!(serde_json::from_str::<RunReport>(&format!(r#"{{"rows":{deep}"#)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A byte that has changed is an error, or another value: never a panic.
    #[test]
    fn bytes_that_were_changed_never_panic(
        event in values::event(),
        report in values::report(),
        changes in proptest::collection::vec(any::<(proptest::sample::Index, u8)>(), 1..9),
    ) {
        for text in [serde_json::to_vec(&event).unwrap(), serde_json::to_vec(&report).unwrap()] {
            let mut text = text;
            for (place, byte) in &changes {
                let place = place.index(text.len());
                text[place] = *byte;
            }
            let _ = serde_json::from_slice::<RunEvent>(&text);
            let _ = serde_json::from_slice::<RunReport>(&text);
        }
    }
}
