//! `/v1/metrics`: what a server has in numbers, and who may read it.

use serde_json::json;

use super::{Cluster, end, start};
use crate::site::Site;
use crate::support::{Scratch, wait_until};

/// Yields the value of a line.
fn value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[test]
fn a_server_tells_what_it_has_its_lease_and_what_it_took_over() {
    let cluster = Cluster::shared();
    let (a, b) = (cluster.join("a", "1h"), cluster.join("b", "1h"));
    start(&a, "agent/single", "first");
    wait_until("it works", || cluster.witness.path("second").exists());
    start(&a, "agent/single", "second");
    let text = a.text("/v1/metrics", None);
    assert!(text.ends_with("# EOF\n"), "{text}");
    for (name, wanted) in [
        ("quell_roots{status=\"running\"}", 1.0),
        ("quell_roots{status=\"queued\"}", 1.0),
        ("quell_roots{status=\"paused\"}", 0.0),
        ("quell_live_runs", 2.0),
        ("quell_abandoned_roots", 0.0),
        ("quell_asked_waiting", 0.0),
        ("quell_store_in_trouble", 0.0),
        ("quell_draining", 0.0),
        ("quell_take_overs_total", 0.0),
    ] {
        assert_eq!(value(&text, name), Some(wanted), "{name}: {text}");
    }
    let lease = value(&text, "quell_lease_left_seconds").expect("it has one");
    assert!((1_000.0..3_600.0).contains(&lease), "{text}");
    for counted in ["quell_commits_total", "quell_records_total"] {
        assert!(value(&text, counted).is_some_and(|count| count >= 1.0), "{text}");
    }
    end(a);
    wait_until("the other one has taken over", || {
        value(&b.text("/v1/metrics", None), "quell_take_overs_total").is_some_and(|it| it >= 1.0)
    });
    end(b);
}

#[test]
fn where_keys_are_asked_for_metrics_are_for_administrators() {
    let scratch = Scratch::new();
    scratch.write(
        "quell.toml",
        "[[keys]]\nsubject = 'ada'\nsecret_env = 'ADA'\n\
         [[keys]]\nsubject = 'root'\nsecret_env = 'ROOT'\nadmin = true\n\
         [agents.a]\nrun = ['true']\n",
    );
    let keys = [("ADA", "adas-own-key-0123456789"), ("ROOT", "the-root-key-0123456789")];
    let site = Site::with_env(scratch, &[], &keys);
    let (status, refused) = site.get("/v1/metrics");
    assert_eq!(status, 401, "{refused}");
    let told = |key: &str| site.as_principal_told("GET", "/v1/metrics", (key, key), None);
    let (status, refused) = told(keys[0].1);
    assert_eq!((status, &refused["type"]), (403, &json!("urn:quell:problem:forbidden")));
    assert_eq!(told(keys[1].1).0, 200);
    site.signal("TERM");
    site.ended().0.assert_code(0);
}
