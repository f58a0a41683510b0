//! What is written is read back as it was.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use quell_core::{Cause, CauseKind, EventKind, Payload, RunEvent, RunId, RunReport, RunRow};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::values;

fn read_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(serde_json::from_str::<T>(&text).unwrap(), *value, "{text}");
    // From a file or a socket, where nothing can be borrowed.
    assert_eq!(serde_json::from_reader::<_, T>(text.as_bytes()).unwrap(), *value, "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_event_of_every_kind_is_read_back(event in values::event()) {
        read_back(&event);
        read_back(&event.kind);
    }

    #[test]
    fn a_report_and_its_rows_are_read_back(report in values::report()) {
        read_back(&report);
        read_back(report.own_row());
        read_back(&report.omitted);
    }

    #[test]
    fn the_small_ones_are_read_back(
        id in values::id(),
        kind in values::kind(),
        status in values::status(),
        cause in values::cause(),
        usage in values::usage(),
    ) {
        read_back(&id);
        read_back(&kind);
        read_back(&status);
        read_back(&*cause);
        read_back(&usage);
    }
}

#[test]
fn the_keys_of_an_event_may_come_in_any_order() {
    let id = RunId::from_text("r");
    let at = SystemTime::UNIX_EPOCH;
    let kind = EventKind::Emitted(Payload::from_json_text(r#"{"b":1.50,"a":null}"#).unwrap());
    let event = RunEvent::new(7, id, id, at, kind);
    let text = format!(
        r#"{{"data":{{"b":1.50,"a":null}},"at":"1970-01-01T00:00:00Z","run":"{id}",
            "event":"emitted","root":"{id}","seq":7}}"#
    );
    assert_eq!(serde_json::from_str::<RunEvent>(&text).unwrap(), event);
}

#[test]
fn an_output_that_is_null_is_read_back_as_none() {
    let (id, at) = (RunId::from_text("r"), SystemTime::UNIX_EPOCH);
    let kind = quell_core::RunKind::Agent;
    let mut row = RunRow::new(id, kind, "r".into(), quell_core::RunStatus::Completed, at);
    row.output = Some(Payload::from_json_text("null").unwrap());
    let report = RunReport::new(vec![row], quell_core::Counts::default());
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<RunReport>(&text).unwrap().output, None);
}

#[test]
fn an_instant_of_a_wrong_clock_is_written_as_the_nearest_that_can_be() {
    let id = RunId::from_text("r");
    let written = |at| serde_json::to_value(Cause::new(CauseKind::Shutdown, at, id)).unwrap();
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(written(before)["at"], "1970-01-01T00:00:00.000Z");
    let after = SystemTime::UNIX_EPOCH + Duration::from_hours(70_389_528);
    assert_eq!(written(after)["at"], "9999-12-31T23:59:59.999Z");
}
