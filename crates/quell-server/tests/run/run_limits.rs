//! `[limits]` of `quell.toml`: how many runs run at once, and how many wait.

use serde_json::{Value, json};

use crate::check::checked;
use crate::site::Site;
use crate::support::{Scratch, wait_until};

const FILE: &str = "
[limits]
running = 2
queued = 3
each_owner = { running = 20 }

[limits.workflows]
queued = 0

[agents.slow]
run = ['sleep', '60']
running = 1
queued = 1

[agents.other]
run = ['sleep', '60']

[workflows.daily]
run = ['sleep', '60']
";

fn start(site: &Site, component: &str) -> (u16, Value) {
    site.post("/v1/runs", &json!({ "component": component }))
}

fn queue_of(site: &Site, run: &Value) -> Value {
    let id = run["id"].as_str().expect("an id");
    site.get(&format!("/v1/runs/{id}")).1["queue"].clone()
}

#[test]
fn what_is_over_a_limit_of_the_file_waits_and_what_is_over_its_queue_is_refused() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", FILE);
    let ended = checked(&scratch, &[]);
    ended.assert_code(0);
    let site = Site::with(scratch, &[]);

    let (_, first) = start(&site, "agent/slow");
    let (status, second) = start(&site, "agent/slow");
    assert_eq!((status, &second["status"]), (201, &json!("queued")), "{second}");
    let waits = |limit: &str, ahead: usize| {
        let slot = "slot";
        json!({ "waiting_for": slot, "limit": limit, "ahead": ahead, "due": null })
    };
    assert_eq!(second["queue"], waits("component agent/slow", 0));
    assert_eq!(queue_of(&site, &first), Value::Null);
    let (status, refused) = start(&site, "agent/slow");
    assert_eq!(status, 429, "{refused}");
    let words = "queue is full: at most 1 run may wait ([agents.slow] queued)";
    assert_eq!(refused["detail"], words);

    // Those of another component run as long as there is room in all.
    let (status, other) = start(&site, "agent/other");
    assert_eq!((status, queue_of(&site, &other)), (201, Value::Null));
    let (status, refused) = start(&site, "workflow/daily");
    assert_eq!(status, 429, "{refused}");
    let third = start(&site, "agent/other").1;
    assert_eq!(third["queue"], waits("in all", 0));
    assert_eq!(start(&site, "agent/other").1["queue"], waits("in all", 1));
    let (status, refused) = start(&site, "agent/other");
    assert_eq!((status, &refused["type"]), (429, &json!(TOO_MANY)));

    let id = first["id"].as_str().expect("an id");
    site.post(&format!("/v1/runs/{id}/cancel"), &json!({ "wait": "quiescent" }));
    wait_until("the next one runs", || queue_of(&site, &second).is_null());
}

#[test]
fn an_owner_at_its_limit_is_refused_and_told_which_and_another_one_is_not() {
    let scratch = Scratch::new();
    let file = "
[limits]
each_owner = { running = 1, queued = 1 }

[agents.slow]
run = ['sleep', '60']

[agents.other]
run = ['sleep', '60']

[[keys]]
subject = 'ada'
secret_env = 'ADA_KEY'

[[keys]]
subject = 'bob'
secret_env = 'BOB_KEY'
";
    scratch.write("quell.toml", file);
    let env = [("ADA_KEY", "the-key-of-ada"), ("BOB_KEY", "the-key-of-bob")];
    let site = Site::with_env(scratch, &[], &env);
    let call = |owner: &str, method: &str, path: &str, body: Option<&Value>| {
        let key = format!("the-key-of-{owner}");
        site.as_principal_told(method, path, ("none", &key), body)
    };
    let start = |owner: &str, component: &str| {
        call(owner, "POST", "/v1/runs", Some(&json!({ "component": component })))
    };

    let (status, first) = start("ada", "agent/slow");
    assert_eq!((status, &first["queue"]), (201, &Value::Null), "{first}");
    let (status, second) = start("ada", "agent/other");
    let waits = json!({ "waiting_for": "slot", "limit": "owner", "ahead": 0, "due": null });
    assert_eq!((status, &second["queue"]), (201, &waits), "{second}");
    let (status, refused) = start("ada", "agent/slow");
    assert_eq!(status, 429, "{refused}");
    let words = "queue is full: at most 1 run may wait ([limits.each_owner] queued)";
    assert_eq!((&refused["type"], &refused["detail"]), (&json!(TOO_MANY), &json!(words)));
    assert_eq!(call("ada", "GET", "/v1/runs", None).1["total"], 2, "nothing was made");

    let (status, other) = start("bob", "agent/slow");
    assert_eq!((status, &other["queue"]), (201, &Value::Null), "{other}");

    // There is room again when the first one is over.
    let id = first["id"].as_str().expect("an id");
    let quiescent = json!({ "wait": "quiescent" });
    let (status, ended) = call("ada", "POST", &format!("/v1/runs/{id}/cancel"), Some(&quiescent));
    assert_eq!(status, 200, "{ended}");
    assert_eq!(start("ada", "agent/slow").0, 201);
}

#[test]
fn a_run_that_waits_for_its_lane_says_so() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[agents.slow]\nrun = ['sleep', '60']\n");
    let site = Site::with(scratch, &[]);
    let body = json!({ "component": "agent/slow", "lane": { "key": "thread-1" } });
    let first = site.post("/v1/runs", &body).1;
    assert_eq!(queue_of(&site, &first), Value::Null);
    let second = site.post("/v1/runs", &body).1;
    let lane = json!({ "waiting_for": "lane", "limit": null, "ahead": 0, "due": null });
    assert_eq!(queue_of(&site, &second), lane);
}

#[test]
fn a_limit_that_is_wrong_is_told_with_its_place() {
    for (text, says) in [
        ("[limits]\nruning = 1\n", "unknown key `runing`; did you mean `running`?"),
        ("[limits]\nrunning = -1\n", "expected a whole number from 0 on"),
        ("[limits.each_owner]\nqueue = 1\n", "unknown key `queue`; did you mean `queued`?"),
        ("[limits]\nagents = 4\n", "found a number; expected a table"),
        (
            "[server]\nrunning_max = 1\n[limits]\nrunning = 1\n",
            "`running`: `running_max` of `[server]` says it as well; expected one of them",
        ),
    ] {
        let scratch = Scratch::new();
        scratch.write("quell.toml", &format!("{text}[agents.a]\nrun = ['cat']\n"));
        let ended = checked(&scratch, &[]);
        ended.assert_code(2);
        assert!(ended.stderr.contains(says), "{text}: {ended:?}");
    }
}

const TOO_MANY: &str = "urn:quell:problem:too-many-runs";
