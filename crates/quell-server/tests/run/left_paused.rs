//! Paused runs of a server: who answers them, and why a later server does not go on with some.

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Scratch, wait_until};

const PLAN: &str = "\
name: ship
steps:
- { name: ok, wait: { ask: 'send it?', approve: true } }
- { name: send, run: ['true'] }
";

const SERVE: [&str; 4] = ["--config", "quell.toml", "--store", "runs.db"];

#[test]
fn a_paused_run_says_who_answers_it_and_after_a_restart_why_nobody_does() {
    let scratch = Scratch::new();
    scratch.write("ship.yaml", PLAN);
    let workflow = "[workflows.ship]\nplan = 'ship.yaml'\n";
    scratch.write("quell.toml", workflow);
    let site = Site::with(scratch, &SERVE);
    let none = site.scratch.run(&["runs", "--store", "runs.db"]);
    none.assert_code(0);
    assert_eq!((&*none.stdout, &*none.stderr), ("", "quell: no run is in runs.db\n"));
    let native = json!({ "component": "workflow/ship", "id": "r" });
    assert_eq!(site.post("/v1/runs", &native).0, 201);
    site.has_stored_paused(1);

    let through = format!(
        "through the server that has this file (process {}): curl \
         http://ADDRESS/v1/runs/r/resume --json '{{\"answer\": \"yes\"}}'",
        site.pid()
    );
    let shown = site.scratch.run(&["show", "r", "--store", "runs.db"]);
    assert!(shown.stdout.contains(&through), "{shown:?}");
    let resume = ["run", "--resume", "r", "--store", "runs.db", "--answer", "ok=yes"];
    let resumed = site.scratch.run(&resume);
    resumed.assert_code(2);
    assert!(resumed.stderr.contains(&format!("answer it {through}")), "{resumed:?}");
    site.signal("TERM");
    let (_, scratch) = site.ended();

    scratch.write("ship.yaml", &PLAN.replace("true']", "false']"));
    let scratch = takes_no_answer(scratch, "the plan of `workflow/ship` has changed since the run");
    scratch.write("other.yaml", PLAN);
    scratch.write("quell.toml", "[workflows.other]\nplan = 'other.yaml'\n");
    let scratch = takes_no_answer(scratch, "`workflow/ship` is no longer in the configuration: ");
    scratch.write("ship.yaml", PLAN);
    scratch.write("quell.toml", workflow);

    // As it was, it goes on; and it is said only of a run that was lost that another process has it
    // fail.
    let site = Site::with(scratch, &SERVE);
    assert_eq!(site.post("/v1/runs/r/resume", &json!({ "answer": "yes" })).0, 200);
    wait_until("it has ended", || site.get("/v1/runs/r").1["status"] == "completed");
    site.signal("TERM");
    let (ended, scratch) = site.ended();
    assert!(!ended.stderr.contains("takes no answer"), "{ended:?}");
    let resumed = scratch.run(&resume);
    resumed.assert_code(2);
    assert!(resumed.stderr.ends_with("completed: it cannot go on\n"), "{resumed:?}");
}

/// Serves what is left, whose log and whose refusal say why the run has no answer.
fn takes_no_answer(scratch: Scratch, why: &str) -> Scratch {
    let site = Site::with(scratch, &SERVE);
    let (code, refused) = site.post("/v1/runs/r/resume", &json!({ "answer": "yes" }));
    assert_eq!((code, &refused["type"]), (409, &json!("urn:quell:problem:not-resumable")));
    assert!(refused["detail"].as_str().is_some_and(|it| it.starts_with(why)), "{refused}");
    site.signal("TERM");
    let (ended, scratch) = site.ended();
    ended.assert_code(0);
    let says = format!("paused, and takes no answer here: r: {why}");
    assert!(ended.stderr.contains(&says), "{ended:?}");
    scratch
}

/// What a program says of its usage, and a step that leaves an output.
const COUNTS: &str = "\
name: counts
steps:
- { name: draft, run: [echo, half of it] }
- { name: ok, wait: { ask: 'send it?', approve: true } }
";

#[test]
fn what_a_paused_run_has_so_far_is_shown_before_a_restart_and_after_it() {
    let scratch = Scratch::new();
    scratch.write("counts.yaml", COUNTS);
    scratch.write("quell.toml", "[workflows.counts]\nplan = 'counts.yaml'\n");
    let site = Site::with(scratch, &SERVE);
    assert_eq!(site.post("/v1/runs", &json!({ "component": "workflow/counts", "id": "r" })).0, 201);
    site.has_stored_paused(1);
    let before = site.get("/v1/runs/r").1;
    assert!(before["partial"].to_string().contains("half of it"), "{before}");
    assert!(before["rows"][0]["summary"].is_object(), "{before}");
    let show = |scratch: &Scratch| {
        let shown = scratch.run(&["show", "r", "--store", "runs.db", "--json"]);
        shown.assert_code(0);
        let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
        let own = &shown["rows"][0];
        assert_eq!((&own["partial"], &own["summary"]), of_row(&before), "{shown}");
        let text = scratch.run(&["show", "r", "--store", "runs.db"]).stdout;
        assert!(text.contains("  partial  "), "{text}");
    };
    show(&site.scratch);
    site.signal("TERM");
    let (_, scratch) = site.ended();
    show(&scratch);
    let site = Site::with(scratch, &SERVE);
    let after = site.get("/v1/runs/r").1;
    assert_eq!((of_row(&after), &after["partial"]), (of_row(&before), &before["partial"]));
    show(&site.scratch);
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

fn of_row(run: &Value) -> (&Value, &Value) {
    (&run["rows"][0]["partial"], &run["rows"][0]["summary"])
}
