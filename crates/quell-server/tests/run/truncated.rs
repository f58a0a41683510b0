//! `POST /internal/truncate`, which a server in demo mode has.

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::Scratch;

const PATH: &str = "/internal/truncate";

/// Leaves a thread with a run that has ended, one with a run that ticks, an assistant, an item and
/// a cron.
fn filled(site: &Site, probe: &str) -> [String; 2] {
    let made = |path: &str, body: &Value| {
        let (status, made) = site.post(path, body);
        assert_eq!(status, 200, "{path}: {made}");
        made
    };
    let threads = [(); 2].map(|()| {
        let thread = made("/threads", &json!({}));
        format!("/threads/{}", thread["thread_id"].as_str().unwrap_or_default())
    });
    let echo = json!({ "assistant_id": "echo", "input": { "text": "a" } });
    made(&format!("{}/runs/wait", threads[0]), &echo);
    let input = json!({ "ms": 60_000, "tag": probe });
    let slow = json!({ "assistant_id": "slow", "input": input });
    made(&format!("{}/runs", threads[1]), &slow);
    site.wait_for(probe, 1);
    made("/assistants", &json!({ "graph_id": "echo", "name": "mine" }));
    made("/runs/crons", &json!({ "assistant_id": "echo", "schedule": "@yearly" }));
    let item = json!({ "namespace": ["a"], "key": "k", "value": { "v": 1 } });
    let put = site.as_principal_told("PUT", "/store/items", ("", ""), Some(&item));
    assert_eq!(put.0, 204, "{put:?}");
    threads
}

/// Counts threads, own assistants, crons and items.
fn counted(site: &Site) -> Value {
    let count = |path: &str| site.post(path, &json!({})).1;
    let assistants = site.post("/assistants/count", &json!({ "name": "mine" })).1;
    let items = site.post("/store/items/search", &json!({ "namespace_prefix": ["a"] })).1;
    let items = items["items"].as_array().map(Vec::len);
    json!([count("/threads/count"), assistants, count("/runs/crons/count"), items])
}

#[test]
fn a_demo_stops_all_that_is_live_and_empties_what_is_named() {
    for more in [&[][..], &["--store", "runs.db"]] {
        let args = [&["--demo"][..], more].concat();
        let site = Site::with(Scratch::new(), &args);
        let threads = filled(&site, "stopped");
        assert_eq!(site.post(PATH, &json!({})), (200, json!({ "ok": true })));
        let ticks = site.ticks("stopped");
        assert_eq!(counted(&site), json!([2, 1, 1, 1]), "nothing is named");
        let list = |thread: &str| site.get(&format!("{thread}/runs")).1;
        assert_eq!(list(&threads[1])[0]["status"], "interrupted");
        assert_eq!(site.post(PATH, &json!({ "runs": true, "store": true })).0, 200);
        assert_eq!(counted(&site), json!([2, 1, 0, 0]));
        for thread in &threads {
            assert_eq!(list(thread), json!([]));
            assert_eq!(site.get(thread).1["values"], Value::Null);
        }
        assert_eq!(site.post(PATH, &json!({ "threads": true, "assistants": true })).0, 200);
        assert_eq!(counted(&site), json!([0, 0, 0, 0]));
        assert_eq!(site.ticks("stopped"), ticks);
        assert_eq!(site.post(PATH, &json!({ "threads": 1 })).0, 422);
    }
}

#[test]
fn no_other_server_has_it() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[agents.a]\nrun = [\"true\"]\n");
    let site = Site::with(scratch, &["--config", "quell.toml"]);
    assert_eq!(site.post(PATH, &json!({ "threads": true })).0, 404);
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[agents.a]\nrun = [\"true\"]\n[langgraph]\ntruncates = true\n");
    scratch.run(&["check", "quell.toml"]).assert_code(2);
}
