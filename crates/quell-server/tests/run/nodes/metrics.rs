//! `/v1/metrics`: what a server has in numbers, `/v1/nodes`: which there are, and who may read it.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::{Cluster, end, start};
use crate::site::Site;
use crate::support::{Scratch, repository, wait_until};

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
fn any_server_tells_which_there_are_and_what_each_of_them_has() {
    let cluster = Cluster::shared();
    let (a, b) = (cluster.join("a", "1h"), cluster.join("b", "1h"));
    start(&a, "agent/single", "first");
    wait_until("it works", || cluster.witness.path("second").exists());
    start(&a, "agent/single", "second");
    let told = |site: &Site| {
        let (status, list) = site.get("/v1/nodes");
        assert_eq!((status, &list["lost"], &list["more"]), (200, &json!([]), &json!(false)));
        let nodes = list["nodes"].as_array().expect("a list").clone();
        nodes
            .into_iter()
            .map(|node| {
                let lease = node["lease_left_ms"].as_u64().expect("it has a lease");
                assert!((1_000_000..3_600_000).contains(&lease), "{node}");
                json!([node["name"], node["connected"], node["live"], node["queued"]])
            })
            .collect::<Vec<_>>()
    };
    let all = [json!(["a", true, 2, 1]), json!(["b", true, 0, 0])];
    assert_eq!((told(&a), told(&b)), (all.to_vec(), all.to_vec()));
    end(a);
    end(b);
}

#[test]
fn a_server_alone_is_the_one_node() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[agents.a]\nrun = ['true']\n");
    let site = Site::with(scratch, &["--store", "runs.db"]);
    let (status, list) = site.get("/v1/nodes");
    assert_eq!(status, 200, "{list}");
    let nodes = list["nodes"].as_array().expect("a list");
    assert_eq!((nodes.len(), &nodes[0]["name"], &nodes[0]["live"]), (1, &json!(null), &json!(0)));
    assert!(nodes[0]["process"].as_str().expect("words").contains("pid"), "{list}");
    end(site);
}

#[test]
fn where_keys_are_asked_for_metrics_and_nodes_are_for_administrators() {
    let scratch = Scratch::new();
    scratch.write(
        "quell.toml",
        "[[keys]]\nsubject = 'ada'\nsecret_env = 'ADA'\n\
         [[keys]]\nsubject = 'root'\nsecret_env = 'ROOT'\nadmin = true\n\
         [agents.a]\nrun = ['true']\n",
    );
    let keys = [("ADA", "adas-own-key-0123456789"), ("ROOT", "the-root-key-0123456789")];
    let site = Site::with_env(scratch, &[], &keys);
    for path in ["/v1/metrics", "/v1/nodes"] {
        let (status, refused) = site.get(path);
        assert_eq!(status, 401, "{refused}");
        let told = |key: &str| site.as_principal_told("GET", path, (key, key), None);
        let (status, refused) = told(keys[0].1);
        assert_eq!((status, &refused["type"]), (403, &json!("urn:quell:problem:forbidden")));
        assert_eq!(told(keys[1].1).0, 200);
        let asked = |method: &str, path: &str| {
            let (status, refused) =
                site.as_principal_told(method, path, (keys[1].1, keys[1].1), None);
            (status, refused["type"].clone())
        };
        let refused = |name: &str| json!(format!("urn:quell:problem:{name}"));
        let with_one = format!("{path}?dry_run=true");
        assert_eq!(asked("GET", &with_one), (422, refused("bad-parameter")));
        assert_eq!(asked("POST", path), (405, refused("method-not-allowed")));
        let (_, document) = site.get("/openapi.json");
        let answers = &document["paths"][path]["get"]["responses"];
        for status in ["200", "401", "403", "422"] {
            assert!(answers[status].is_object(), "{path}: {status}");
        }
    }
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

/// Yields the names of metrics that stand in a text, without what a histogram puts behind its own.
fn names_in(text: &str) -> BTreeSet<String> {
    let names = text.match_indices("quell_").map(|(at, _)| {
        let is_part = |it: char| it.is_ascii_lowercase() || it == '_';
        let name = &text[at..];
        &name[..name.find(|it| !is_part(it)).unwrap_or(name.len())]
    });
    let series = ["_bucket", "_count", "_sum"];
    names
        .map(|name| series.iter().find_map(|it| name.strip_suffix(it)).unwrap_or(name).to_owned())
        .collect()
}

/// Yields every text that a board asks a Prometheus.
fn asked_by(board: &Value) -> String {
    match board {
        Value::Object(all) => {
            let asked = all.iter().map(|(key, value)| match (key.as_str(), value) {
                ("expr" | "query" | "definition", Value::String(asked)) => format!("{asked}\n"),
                _ => asked_by(value),
            });
            asked.collect()
        }
        Value::Array(all) => all.iter().map(asked_by).collect(),
        _ => String::new(),
    }
}

#[test]
fn the_board_and_the_manual_name_every_metric_that_there_is_and_no_other() {
    let cluster = Cluster::shared();
    let scratch = cluster.scratch("1h");
    let config = String::from_utf8(scratch.read("quell.toml")).expect("text");
    let limits = "[limits]\nrunning = 3\nqueued = 4\n[limits.all_nodes]\nrunning = 5\n";
    scratch.write("quell.toml", &format!("{config}{limits}"));
    let site = cluster.join_in(scratch, "a");
    wait_until("it has heard of the limits of all nodes", || {
        site.text("/v1/metrics", None).contains("quell_limit_max{")
    });
    let text = site.text("/v1/metrics", None);
    end(site);
    // A name stands before a value there, or before its labels.
    let series = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap_or_default());
    let there = names_in(&series.collect::<Vec<_>>().join("\n"));
    assert!(there.len() > 30, "{there:?}");
    let read = |path| fs::read_to_string(repository().join(path)).expect("it is there");
    let board = read("crates/quell-server/deploy/grafana.json");
    let board: Value = serde_json::from_str(&board).expect("JSON");
    let manual = read("crates/quell/src/manual/watching.md");
    let rows = manual.lines().filter(|line| line.starts_with("| `quell_"));
    let first: Vec<_> = rows.filter_map(|row| row.split('|').nth(1)).collect();
    assert_eq!(names_in(&asked_by(&board)), there, "the board");
    assert_eq!(names_in(&first.join("\n")), there, "the manual");
    let panels = board["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
}

#[test]
fn a_stop_that_was_asked_for_is_counted_and_measured() {
    let scratch = Scratch::new();
    scratch
        .write("quell.toml", "[agents.a]\nrun = ['sleep', '1000']\n[agents.b]\nrun = ['true']\n");
    let site = Site::with(scratch, &[]);
    for (id, component) in [("one", "agent/a"), ("two", "agent/b")] {
        start(&site, component, id);
    }
    assert_eq!(site.post("/v1/runs/one/cancel", &json!({ "wait": "quiescent" })).0, 200);
    wait_until("the other one has ended", || site.get("/v1/runs/two").1["status"] == "completed");
    let text = site.text("/v1/metrics", None);
    for (name, wanted) in [
        ("quell_ended_runs_total{status=\"cancelled\",cause=\"user-request\"}", 1.0),
        ("quell_ended_runs_total{status=\"cancelled\",cause=\"shutdown\"}", 0.0),
        ("quell_ended_runs_total{status=\"completed\",cause=\"none\"}", 1.0),
        ("quell_cancel_to_terminal_seconds_count", 1.0),
        ("quell_cancel_to_terminal_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("quell_cancel_to_quiescent_seconds_count", 1.0),
        ("quell_honesty_gap_seconds_count", 0.0),
        ("quell_queue_wait_seconds_count", 2.0),
        ("quell_live_runs", 0.0),
    ] {
        assert_eq!(value(&text, name), Some(wanted), "{name}: {text}");
    }
    let took = value(&text, "quell_cancel_to_terminal_seconds_sum").expect("a sum");
    assert!(took > 0.0, "{text}");
    assert_eq!(text.matches("# TYPE quell_ended_runs counter").count(), 1, "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    end(site);
}
