//! `/v1/metrics`: what a server has in numbers, `/v1/nodes`: which there are, and who may read it.

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
