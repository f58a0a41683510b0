//! What a client asks one server about runs of another one.

use std::thread;

use serde_json::{Value, json};

use super::{Cluster, end, has_ended, listed, shown, start};
use crate::support::{Scratch, is_alive, wait_until};

#[test]
fn a_run_of_one_server_is_read_streamed_and_stopped_through_another() {
    let cluster = Cluster::shared();
    let (a, b) = (cluster.join("a", "30s"), cluster.join("b", "30s"));
    start(&a, "agent/slow", "r");
    cluster.work(1);
    shown(&b, "r", "it runs", |run| run["status"] == "running");
    assert!(listed(&b).contains("r"));
    // An id is in use wherever its run is.
    let again = json!({ "component": "agent/slow", "input": null, "id": "r" });
    assert_eq!(b.post("/v1/runs", &again).0, 409);
    let (told, stopped) = thread::scope(|scope| {
        let stream = scope.spawn(|| b.text("/v1/runs/r/events", None));
        let stopped = b.post("/v1/runs/r/cancel", &json!({ "wait": "quiescent" }));
        (stream.join().expect("it reads"), stopped)
    });
    assert_eq!((stopped.0, &stopped.1["disposition"]), (200, &json!("accepted")), "{}", stopped.1);
    assert!(!cluster.witness.pids().into_iter().any(is_alive), "its program has ended");
    cluster.assert_silent();
    assert!(told.contains("cancelled"), "the stream ends with the end: {told}");
    for site in [&a, &b] {
        let run = shown(site, "r", "it has ended", has_ended);
        assert_eq!((&run["status"], &run["quiescent"]), (&json!("cancelled"), &json!(true)));
    }
    end(a);
    end(b);
}

#[test]
fn i24_a_paused_run_is_quiescent_whoever_tells_of_it() {
    let cluster = Cluster::shared();
    let (a, b) = (cluster.join("a", "30s"), cluster.join("b", "30s"));
    start(&a, "workflow/asks", "r");
    let run = shown(&b, "r", "it asks", |run| run["status"] == "paused");
    let here = shown(&a, "r", "it asks", |run| run["status"] == "paused");
    let scratch = Scratch::new();
    let json = |args: &[&str]| -> Value {
        let said = scratch.run(&[args, &["--json", "--store", &cluster.url()]].concat());
        said.assert_code(0);
        serde_json::from_str(&said.stdout).expect("JSON")
    };
    for told in [run, here, json(&["runs"]), json(&["show", "r"])] {
        assert_eq!(
            (&told["status"], &told["quiescent"]),
            (&json!("paused"), &json!(true)),
            "{told}"
        );
    }
    for site in [&a, &b] {
        assert_eq!(site.get("/v1/runs/r").1["node"], "a");
    }
    let shown = scratch.run(&["show", "r", "--store", &cluster.url()]).stdout;
    assert!(shown.contains("\n  node     a\n"), "{shown}");
    end(a);
    end(b);
}

#[test]
fn a_thread_that_nodes_keep_is_no_run_of_a_list_unless_that_is_asked_for() {
    let cluster = Cluster::shared();
    let a = cluster.join("a", "30s");
    let scratch = Scratch::new();
    let listed_by_line = |more: &[&str]| {
        let said = scratch.run(&[&["runs", "--store", &cluster.url()], more].concat());
        said.assert_code(0);
        said
    };
    assert_eq!(a.post("/threads", &json!({})).0, 200);
    let none = listed_by_line(&[]);
    assert!(none.stdout.is_empty() && none.stderr.contains("no run is in"), "{none:?}");
    start(&a, "workflow/asks", "r");
    shown(&a, "r", "it asks", |run| run["status"] == "paused");
    for _ in 0..3 {
        assert_eq!(a.post("/threads", &json!({})).0, 200);
    }
    assert_eq!(listed(&a).into_iter().collect::<Vec<_>>(), ["r"]);
    for limit in ["0", "1", "2"] {
        let said = listed_by_line(&["--limit", limit]).stdout;
        assert!(said.starts_with("r  ") && said.lines().count() == 1, "{limit}: {said}");
    }
    let all = listed_by_line(&["--records"]).stdout;
    assert_eq!(all.lines().count(), 5, "{all}");
    assert_eq!(listed_by_line(&["--records", "--limit", "2"]).stdout.lines().count(), 2);
    end(a);
}

#[test]
fn another_contract_starts_on_one_server_and_stops_through_another() {
    let cluster = Cluster::shared();
    let (a, b) = (cluster.join("a", "30s"), cluster.join("b", "30s"));
    let (status, run) = a.form(
        "/agents/slow/runs",
        &[("message", "hi"), ("background", "true"), ("stream", "false")],
    );
    assert!((200..300).contains(&status), "{status}: {run}");
    cluster.work(1);
    let id = run["run_id"].as_str().expect("an id");
    let (status, answer) = b.form(&format!("/agents/slow/runs/{id}/cancel"), &[]);
    assert_eq!(status, 200, "{answer}");
    wait_until("its program has ended", || !cluster.witness.pids().into_iter().any(is_alive));
    cluster.assert_silent();
    end(a);
    end(b);
}

#[test]
fn one_bulk_cancel_stops_the_runs_of_all_servers() {
    let cluster = Cluster::shared();
    let (a, b) = (cluster.join("a", "30s"), cluster.join("b", "30s"));
    let body = json!({ "assistant_id": "slow", "input": {} });
    for site in [&a, &a, &b, &b] {
        let (status, run) = site.post("/runs", &body);
        assert_eq!(status, 200, "{run}");
    }
    cluster.work(4);
    assert_eq!(b.post("/runs/cancel", &json!({ "status": "all" })).0, 204);
    wait_until("the programs have ended", || !cluster.witness.pids().into_iter().any(is_alive));
    cluster.assert_silent();
    end(a);
    end(b);
}

#[test]
fn no_program_gets_the_variable_with_the_address() {
    let cluster = Cluster::shared();
    let site = cluster.join("a", "30s");
    let fields = [("message", "hi"), ("stream", "false")];
    let (status, run) = site.form("/agents/brief/runs", &fields);
    assert_eq!((status, run["content"].as_str().map(str::trim)), (200, Some("none")), "{run}");
    end(site);
}
