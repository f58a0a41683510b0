//! `quell serve` and collectors of OpenTelemetry: one that reads what it is sent, one that never
//! answers, and one that is away.
#![expect(clippy::expect_used, reason = "a test fails by a panic")]

mod collector;
mod served;

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};

use collector::{Collector, closed_port, texts};
use served::{Served, wait_until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Who starts what runs, and a secret that no log shows.
const SECRET: &str = "dGhlIHNlY3JldA";

/// Starts a workflow of several steps, and waits until they run.
fn begin(served: &Served, id: &str, flags: &str) {
    let body = format!(r#"{{"component":"workflow/slow-workflow","input":"hi","id":"{id}"}}"#);
    let trace = format!("00-{TRACE}-{PARENT}-{flags}");
    assert_eq!(served.post("/v1/runs", &body, Some(&trace)), 201);
    let tree = format!("/v1/runs/{id}/tree");
    wait_until("its steps run", || served.get(&tree).matches("\"running\"").count() >= 3);
}

fn stop(served: &Served, id: &str) {
    let path = format!("/v1/runs/{id}/cancel");
    assert!((200..300).contains(&served.post(&path, "{}", None)));
    let run = format!("/v1/runs/{id}");
    wait_until("it has ended", || served.get(&run).contains("\"status\":\"cancelled\""));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn the_spans_of_a_run_are_exported_below_the_span_that_its_caller_names() {
    let collector = Collector::reading();
    let endpoint = format!("http://{}", collector.address);
    let headers = format!("authorization=Bearer%20{SECRET}");
    let served = Served::new(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", &headers),
    ]);
    begin(&served, "one", "01");
    stop(&served, "one");
    // Its caller does not record its trace.
    begin(&served, "two", "00");
    stop(&served, "two");
    let log = served.drained();
    assert!(!log.contains(SECRET) && !log.contains("lost"), "{log}");

    let received = collector.received();
    assert!(received.iter().all(|it| it.path == "/v1/traces"));
    assert!(received.iter().all(|it| it.authorization == format!("Bearer {SECRET}")));
    let resource = texts(&received[0].resource);
    assert_eq!(resource["service.name"], "quell");
    let spans: Vec<&Span> = received.iter().flat_map(|it| &it.spans).collect();
    let named = |name: &str| {
        let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name}: {spans:?}");
        (*found[0], texts(&found[0].attributes))
    };
    let (root, of_root) = named("slow-workflow");
    assert_eq!((hex(&root.trace_id), hex(&root.parent_span_id)), (TRACE.into(), PARENT.into()));
    let expected = [
        ("run.kind", "workflow"),
        ("run.name", "slow-workflow"),
        ("run.owner", "ops"),
        ("run.status", "cancelled"),
        ("run.cause", "user-request"),
    ];
    let expected: BTreeMap<_, _> =
        expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let mut told = of_root.clone();
    told.remove("run.uuid").expect("its id");
    assert_eq!(told, expected);
    // Whatever is below it, down to the leaves, is in its trace, and began in it.
    let below: Vec<_> = spans.iter().filter(|span| span.span_id != root.span_id).collect();
    assert!(below.len() >= 2, "{spans:?}");
    for span in below {
        assert_eq!(span.trace_id, root.trace_id);
        let above = spans.iter().find(|it| it.span_id == span.parent_span_id);
        let above = above.expect("the span of the run above is exported, too");
        assert!(above.start_time_unix_nano <= span.start_time_unix_nano);
        let told = texts(&span.attributes);
        assert_eq!((&*told["run.status"], &*told["run.cause"]), ("cancelled", "parent-stopped"));
        let is_error =
            |it: &Span| it.status.as_ref().is_some_and(|it| it.code() == StatusCode::Error);
        assert!(!is_error(span), "a stop is no failure: {span:?}");
    }
}

#[test]
fn a_collector_that_never_answers_delays_no_run_no_stop_and_no_end() {
    let collector = Collector::silent();
    let endpoint = format!("http://{}", collector.address);
    let served = Served::new(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        // Each span is a batch, so that one is under way from the first end on.
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "2"),
    ]);
    begin(&served, "one", "01");
    stop(&served, "one");
    wait_until("it is sent a batch", || collector.connections() > 0);
    // While that waits for its answer, and the queue is full.
    for id in ["two", "three"] {
        begin(&served, id, "01");
        stop(&served, id);
    }
    served.drained();
}

#[test]
fn a_collector_that_is_away_is_told_of_once() {
    let endpoint = format!("http://{SECRET}@127.0.0.1:{}", closed_port());
    let served = Served::new(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
    ]);
    begin(&served, "one", "01");
    stop(&served, "one");
    let log = served.drained();
    assert_eq!(log.matches("spans are lost").count(), 1, "{log}");
    assert!(!log.contains(SECRET), "{log}");
}

#[test]
fn what_is_no_address_of_a_collector_is_told_of_and_nothing_else_happens() {
    let endpoint = format!("{SECRET} and spaces");
    let served = Served::new(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    begin(&served, "one", "01");
    stop(&served, "one");
    let log = served.drained();
    assert_eq!(log.matches("no span is exported").count(), 1, "{log}");
    assert!(!log.contains(SECRET), "{log}");
}
