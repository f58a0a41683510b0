//! Servers that are told to end: what waits is handed over to others.

use serde_json::json;

use super::{Cluster, end, has_ended, shown, start};
use crate::support::{is_alive, wait_until};

#[test]
fn what_is_queued_begins_on_another_server_while_the_first_one_still_drains() {
    let cluster = Cluster::shared();
    // The first program is deaf: its server drains until it is told again.
    let patient = cluster.scratch("1h");
    let file = String::from_utf8_lossy(&patient.read("quell.toml")).into_owned();
    patient.write("quell.toml", &file.replacen("grace = '500ms'", "grace = '10m'", 1));
    let (a, b) = (cluster.join_in(patient, "a"), cluster.join("b", "1h"));
    start(&a, "agent/single", "first");
    wait_until("it works", || cluster.witness.path("second").exists());
    start(&a, "agent/single", "second");
    assert_eq!(a.get("/v1/runs/second").1["status"], "queued");
    a.signal("TERM");
    let second = shown(&b, "second", "another server has run it", has_ended);
    assert_eq!((&second["status"], &second["quiescent"]), (&json!("completed"), &json!(true)));
    assert_eq!(second["abandoned"], json!([]), "{second}");
    assert!(is_alive(a.pid()), "the first one drains still");
    let ran = String::from_utf8_lossy(&cluster.witness.read("single")).into_owned();
    let attempts: Vec<_> = ran.lines().filter_map(|line| line.split(' ').next_back()).collect();
    assert_eq!(attempts, ["1", "1"], "each has begun once, as its first attempt: {ran}");
    a.signal("TERM");
    let (ended, _scratch) = a.ended();
    ended.assert_code(0);
    let words = "1 run is paused or waits, and is left to other servers";
    assert!(ended.stderr.contains(words), "{ended:?}");
    let first = shown(&b, "first", "it is decided", has_ended);
    assert_eq!(first["status"], "cancelled", "{first}");
    end(b);
}

#[test]
fn a_paused_run_is_answered_through_any_server_and_goes_on_when_its_own_has_ended() {
    let cluster = Cluster::shared();
    let [a, b, c] = ["a", "b", "c"].map(|name| cluster.join(name, "1h"));
    start(&a, "workflow/asks", "r");
    shown(&b, "r", "it asks", |run| run["status"] == "paused");
    end(a);
    let answer = json!({ "answer": "yes" });
    wait_until("the answer is taken", || c.post("/v1/runs/r/resume", &answer).0 == 200);
    for site in [&b, &c] {
        let run = shown(site, "r", "it has gone on", has_ended);
        assert_eq!((&run["status"], &run["quiescent"]), (&json!("completed"), &json!(true)));
        assert_eq!(run["abandoned"], json!([]), "{run}");
    }
    let asked = String::from_utf8_lossy(&cluster.witness.read("asked")).into_owned();
    assert_eq!(asked, "before 1\nafter 1\n", "no step has run twice");
    end(b);
    end(c);
}
