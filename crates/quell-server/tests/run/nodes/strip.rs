//! How a stop stands, as it is shown through another server than the one that has the run.

use std::fs::File;

use serde_json::json;

use super::Cluster;
use crate::site::Site;
use crate::support::{Ended, Running, wait_until};

/// Starts a server under a name, with the components of the demo.
fn join(cluster: &Cluster<'_>, name: &str) -> Site {
    let args = ["--store-env", "RUNS", "--node", name, "--demo"];
    Site::with_env(cluster.scratch("10min"), &args, &[("RUNS", &cluster.url())])
}

fn ask(site: &Site, args: &[&str]) -> Ended {
    let mut command = site.scratch.quell(args);
    command.env("QUELL_SERVER", format!("http://{}", site.address()));
    Running::start(command).ended()
}

#[test]
fn a_body_that_ignores_its_stop_is_shown_by_name_with_the_time_of_its_end_through_another_server() {
    let cluster = Cluster::shared();
    let (a, b) = (join(&cluster, "a"), join(&cluster, "b"));
    let input = json!({ "tag": "d", "ms": 600_000 });
    let body = json!({ "component": "agent/spinner", "input": input, "id": "deaf" });
    assert_eq!(a.post("/v1/runs", &body).0, 201);
    a.wait_for("d", 1);
    let server = format!("http://{}", b.address());
    let mut command = b.scratch.quell(&["watch", "deaf", "--server", &server]);
    command.stdout(File::create(b.scratch.path("shown")).expect("a file"));
    let watch = Running::start(command);
    let shows = |part: &str| {
        wait_until(part, || String::from_utf8_lossy(&b.scratch.read("shown")).contains(part));
    };
    ask(&b, &["cancel", "deaf", "--reason", "enough", "--grace", "10m"]).assert_code(0);
    for part in [
        "stop of deaf (spinner) │ accepted: user-request: enough, ",
        " │ node: a │ signalled: 1 of 1 runs │ still cleaning up: spinner (body) for ",
        " │ hard deadline: in 9 min 59 s: what has not ended by then is aborted",
        "s: what still executes is given up, by name",
        " │ told: as far as the store tells; ",
    ] {
        shows(part);
    }
    let top = ask(&b, &["top"]);
    let drawn = &top.assert_code(0).stdout;
    assert!(drawn.contains(" │ node: a │ signalled: 1 of 1 runs │ still cleaning up: "), "{drawn}");
    let told = &b.get("/v1/stops").1["stops"][0];
    let own = &a.get("/v1/stops").1["stops"][0];
    for field in ["hard_deadline", "given_up_at", "cleaning_up", "live", "signalled"] {
        assert_eq!(told["standing"][field], own["standing"][field], "{field}");
    }
    ask(&b, &["cancel", "deaf", "--abort"]).assert_code(0);
    shows(" │ abandoned: spinner (body): nobody waits for it, and it executes still");
    let ticks = a.ticks("d");
    wait_until("it executes still", || a.ticks("d") > ticks);
    let (_, run) = b.get("/v1/runs/deaf");
    assert_eq!((&run["status"], &run["quiescent"]), (&json!("cancelled"), &json!(false)));
    // Something of the run executes: the watch goes on until the user leaves.
    watch.signal("INT");
    watch.ended().assert_code(130);
}
