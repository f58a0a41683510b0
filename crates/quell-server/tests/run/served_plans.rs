//! Plans that are served: their questions are answered through every contract, also in a later
//! process, and runs of those that say so go on after `kill -9`.

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Scratch, wait_until};

const ALPHA: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const ALICE: &str = "11111111-1111-4111-8111-111111111111";
const SHIP: &str = "dddddddd-0000-4000-8000-000000000001";

const ASKING: &str = "\
name: ship
steps:
- { name: build, run: [sh, -c, 'echo x >> built; echo box'] }
- { name: ok, wait: { ask: 'send {{ steps.build.output.stdout | trim }}?', approve: true } }
- { name: send, run: [sh, -c, 'echo \"$0\" >> sent', '{{ steps.build.output.stdout | trim }}'] }
";

/// Each program writes its attempt. `cut` hangs unless `go` is there.
const CUT: &str = "\
name: p
steps:
- { name: a, run: [sh, -c, 'echo $QUELL_ATTEMPT >> ran-a; echo one'] }
- name: cut
  run: [sh, -c, 'echo $QUELL_ATTEMPT >> ran-cut; echo begun $QUELL_ATTEMPT;
    test -e go || exec sleep 300; cat']
  input: '{{ steps.a.output.stdout }}'
- { name: last, run: [sh, -c, 'echo x >> ran-last; cat'], input: '{{ steps.cut.output.stdout }}' }
";

fn text(scratch: &Scratch, name: &str) -> String {
    String::from_utf8_lossy(&scratch.read(name)).into_owned()
}

/// Calls as alice, to the contract under `/playbook3d`.
fn as_alice(site: &Site, method: &str, path: &str, body: Option<&Value>) -> Value {
    let (_, token) = site.get(&format!("/playbook3d/token-wrapper/get-tokens/{ALICE}"));
    let token = token["access_token"].as_str().expect("a token");
    site.as_principal(method, &format!("/playbook3d{path}"), (token, ALICE), body)
}

/// Serves a plan beside the demo, in which there are teams of `Playbook3D`.
fn asking(scratch: Scratch, more: &[&str]) -> Site {
    Site::with(scratch, &[&["--demo", "--config", "quell.toml"], more].concat())
}

fn asking_plan() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("ship.yaml", ASKING);
    let offer = format!(
        "[[playbook3d.workflows]]\nid = '{SHIP}'\nname = 'ship'\ncomponent = 'workflow/ship'\n"
    );
    scratch.write("quell.toml", &format!("[workflows.ship]\nplan = 'ship.yaml'\n{offer}"));
    scratch
}

/// One run for each contract, started through it.
struct Asked {
    thread: String,
    /// Of `LangGraph`, and of `Playbook3D`.
    runs: [String; 2],
}

/// Starts a run through each contract, and looks that each asks there.
fn start_all(site: &Site) -> Asked {
    let native = json!({ "component": "workflow/ship", "id": "native" });
    assert_eq!(site.post("/v1/runs", &native).0, 201);
    let fields =
        [("message", "hi"), ("run_id", "agentos"), ("session_id", "s"), ("stream", "false")];
    let (_, paused) = site.form("/workflows/ship/runs", &fields);
    assert_eq!(paused["status"], "PAUSED", "{paused}");
    let (_, thread) = site.post("/threads", &json!({}));
    let thread = thread["thread_id"].as_str().expect("a thread").to_owned();
    let asked = json!({ "assistant_id": "ship", "input": {} });
    let (_, asked) = site.post(&format!("/threads/{thread}/runs/wait"), &asked);
    assert_eq!(asked["__interrupt__"][0]["value"]["ask"], "send box?", "{asked}");
    let (_, runs) = site.get(&format!("/threads/{thread}/runs"));
    let langgraph = runs[0]["run_id"].as_str().expect("a run").to_owned();
    let id = as_alice(site, "GET", "/get_run_id", None)["run_id"].clone();
    let id = id.as_str().expect("an id").to_owned();
    let body = json!({ "id": SHIP, "origin": "2", "inputs": {} });
    as_alice(site, "POST", &format!("/run_workflow/{ALPHA}/{id}"), Some(&body));
    let asked = Asked { thread, runs: [langgraph, id] };
    assert_all_ask(site, &asked);
    asked
}

fn status(site: &Site, id: &str) -> String {
    let run = site.get(&format!("/v1/runs/{id}")).1;
    run["status"].as_str().unwrap_or_default().to_owned()
}

fn listed(site: &Site, id: &str) -> Value {
    let rows = as_alice(site, "GET", "/runs", None);
    let mut rows = rows.as_array().expect("a list").iter();
    rows.find(|row| row["id"] == *id).expect("the run is listed").clone()
}

fn assert_all_ask(site: &Site, asked: &Asked) {
    let [langgraph, playbook3d] = &asked.runs;
    for id in ["native", "agentos", langgraph, playbook3d] {
        wait_until("it asks", || status(site, id) == "paused");
        let (_, run) = site.get(&format!("/v1/runs/{id}"));
        let request = &run["pause"]["request"];
        assert_eq!(
            (&request["step"], &request["ask"]),
            (&json!("ok"), &json!("send box?")),
            "{run}"
        );
    }
    let (_, run) = site.get("/workflows/ship/runs/agentos?session_id=s");
    assert_eq!(
        (&run["status"], &run["request"]["step"]),
        (&json!("PAUSED"), &json!("ok")),
        "{run}"
    );
    let (_, thread) = site.get(&format!("/threads/{}", asked.thread));
    assert_eq!(thread["status"], "interrupted", "{thread}");
    assert_eq!(listed(site, playbook3d)["status"], "paused");
}

/// Answers each run through its contract; that of `Playbook3D`, which has no such call, natively.
fn answer_all(site: &Site, asked: &Asked) {
    let [_, playbook3d] = &asked.runs;
    for id in ["native", playbook3d] {
        let (code, told) = site.post(&format!("/v1/runs/{id}/resume"), &json!({ "answer": "yes" }));
        assert_eq!(code, 200, "{told}");
        wait_until("it goes on", || status(site, id) == "completed");
        let (_, run) = site.get(&format!("/v1/runs/{id}"));
        assert_eq!(run["output"]["build"]["stdout"], "box\n", "{run}");
        assert_eq!(run["output"]["ok"], true, "{run}");
    }
    assert_eq!(listed(site, playbook3d)["status"], "executed");
    let fields = [("step_requirements", "\"yes\""), ("session_id", "s"), ("stream", "false")];
    let (_, over) = site.form("/workflows/ship/runs/agentos/continue", &fields);
    assert_eq!(over["status"], "COMPLETED", "{over}");
    let answer = json!({ "assistant_id": "ship", "command": { "resume": "yes" } });
    let (_, values) = site.post(&format!("/threads/{}/runs/wait", asked.thread), &answer);
    assert_eq!((&values["ok"], &values["build"]["stdout"]), (&json!(true), &json!("box\n")));
    let ran = ["built", "sent"].map(|name| text(&site.scratch, name));
    assert_eq!(ran, ["x\n".repeat(4), "box\n".repeat(4)], "nothing has run twice");
}

#[test]
fn a_plan_that_waits_is_answered_through_every_contract_and_goes_on_behind_the_question() {
    let site = asking(asking_plan(), &[]);
    let asked = start_all(&site);
    answer_all(&site, &asked);
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn a_server_that_ends_leaves_paused_runs_and_says_so_and_one_that_was_cancelled_lists_its_steps() {
    let site = asking(asking_plan(), &["--store", "runs.db"]);
    let asked = start_all(&site);
    site.has_stored_paused(4);
    let (code, told) = site.post("/v1/runs/native/cancel", &json!({}));
    assert_eq!((code, &told["status"]), (200, &json!("cancelled")), "{told}");
    let (_, run) = site.get("/v1/runs/native");
    let skipped = &run["rows"][0]["summary"]["skipped"];
    let ok = json!({ "name": "ok", "reason": "paused", "ask": skipped[0]["ask"] });
    assert!(skipped[0] == ok && ok["ask"].is_string(), "{run}");
    site.signal("TERM");
    let (ended, scratch) = site.ended();
    ended.assert_code(0);
    let says = "stopped 0 live runs in ";
    assert!(ended.stderr.contains(says), "{ended:?}");
    assert!(
        ended.stderr.contains("; 3 runs are paused or wait, and are left to the next process"),
        "{ended:?}"
    );
    let shown = scratch.run(&["show", "native", "--store", "runs.db"]);
    assert!(shown.stdout.contains("ok    the run was paused before"), "{shown:?}");
    let site = asking(scratch, &["--store", "runs.db"]);
    assert_eq!(status(&site, &asked.runs[0]), "paused");
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn a_plan_that_waited_when_its_server_was_killed_goes_on_in_the_next_one() {
    let more = ["--store", "runs.db"];
    let site = asking(asking_plan(), &more);
    let asked = start_all(&site);
    site.has_stored_paused(4);
    site.signal("KILL");
    let site = asking(site.ended().1, &more);
    assert_all_ask(&site, &asked);
    answer_all(&site, &asked);
    let told = site.log("native").into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(
        (&*told[0], told.iter().any(|name| name == "lagged")),
        ("queued", false),
        "{told:?}"
    );
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn what_is_no_answer_is_refused_through_every_contract_and_changes_nothing_and_no_fails_the_run() {
    let site = asking(asking_plan(), &[]);
    let asked = start_all(&site);
    let says = "step `ok` waits for `yes` or `no`";
    for wrong in [json!("perhaps"), json!({ "confirmed": true }), json!([]), json!(1)] {
        let answer = json!({ "answer": wrong });
        for id in ["native", "agentos", &*asked.runs[1]] {
            let (code, refused) = site.post(&format!("/v1/runs/{id}/resume"), &answer);
            assert_eq!((code, &refused["type"]), (422, &json!("urn:quell:problem:no-answer")));
            assert_eq!(refused["detail"], format!("the {says}, and it still does"));
        }
        let fields = [("step_requirements", &*wrong.to_string()), ("session_id", "s")];
        let (code, refused) = site.form("/workflows/ship/runs/agentos/continue", &fields);
        assert_eq!((code, &refused["detail"][0]["msg"]), (422, &json!(says)), "{refused}");
        assert_eq!(refused["detail"][0]["loc"], json!(["body", "step_requirements"]));
        let resume = json!({ "assistant_id": "ship", "command": { "resume": wrong } });
        for how in ["", "/wait", "/stream"] {
            let path = format!("/threads/{}/runs{how}", asked.thread);
            let (code, refused) = site.post(&path, &resume);
            let words = format!("command.resume: {says}");
            assert_eq!((code, &refused["detail"]), (422, &json!(words)), "{how}");
        }
    }
    assert_all_ask(&site, &asked);
    for id in ["native", "agentos", &*asked.runs[0], &*asked.runs[1]] {
        assert_eq!(site.get(&format!("/v1/runs/{id}")).1["pause"]["attempt"], 1, "{id}");
    }
    // What the clients of the contracts have for yes and no.
    let fields = [("step_requirements", "false"), ("session_id", "s"), ("stream", "false")];
    let (_, over) = site.form("/workflows/ship/runs/agentos/continue", &fields);
    assert_eq!(over["status"], "ERROR", "{over}");
    let resume = json!({ "assistant_id": "ship", "command": { "resume": false } });
    assert_eq!(site.post(&format!("/threads/{}/runs/wait", asked.thread), &resume).0, 200);
    for id in ["native", &*asked.runs[1]] {
        assert_eq!(site.post(&format!("/v1/runs/{id}/resume"), &json!({ "answer": "no" })).0, 200);
    }
    for id in ["native", "agentos", &*asked.runs[0], &*asked.runs[1]] {
        wait_until("it has failed", || status(&site, id) == "failed");
    }
    let ran = ["built", "sent"].map(|name| text(&site.scratch, name));
    assert_eq!(ran, ["x\n".repeat(4), String::new()]);
}

/// Waits until the store has what a program of a run has written, and kills the server.
fn killed_at(site: Site, id: &str, written: &str) -> Scratch {
    wait_until(written, || {
        site.scratch.run(&["events", id, "--store", "runs.db"]).stdout.contains(written)
    });
    killed(site)
}

fn killed(site: Site) -> Scratch {
    site.signal("KILL");
    wait_until("the guardian", || site.scratch.survivors().is_empty());
    site.ended().1
}

/// Serves a plan from a store, with more lines of its component.
fn cut(plan: &str, lines: &str) -> Site {
    let scratch = Scratch::new();
    scratch.write("plan.yaml", plan);
    let file =
        "[store]\npath = 'runs.db'\n[server]\ngrace = '1h'\n[workflows.p]\nplan = 'plan.yaml'\n";
    scratch.write("quell.toml", &format!("{file}{lines}\n"));
    Site::with(scratch, &[])
}

const CONTINUE: &str = "on_worker_lost = 'continue'";

fn start(site: &Site) {
    let body = json!({ "component": "workflow/p", "id": "r", "input": {} });
    assert_eq!(site.post("/v1/runs", &body).0, 201);
}

/// Yields the number of the attempt of the only run.
fn attempt(site: &Site) -> u64 {
    let listed = site.scratch.run(&["runs", "--store", "runs.db", "--json"]);
    let run: Value = serde_json::from_str(&listed.stdout).expect("one run");
    run["attempt"].as_u64().expect("a number")
}

fn ended(site: &Site) -> Value {
    let mut run = Value::Null;
    wait_until("it has ended", || {
        run = site.get("/v1/runs/r").1;
        run["ended_at"].is_string()
    });
    run
}

#[test]
fn a_plan_that_continues_goes_on_by_itself_behind_the_steps_that_had_ended() {
    let site = cut(CUT, CONTINUE);
    start(&site);
    let scratch = killed_at(site, "r", "begun 1");
    scratch.write("go", "");
    let site = Site::with(scratch, &[]);
    let run = ended(&site);
    assert_eq!((&run["status"], attempt(&site)), (&json!("completed"), 2), "{run}");
    assert_eq!(run["output"]["last"]["stdout"], "begun 2\none\n", "{run}");
    let ran = ["ran-a", "ran-cut", "ran-last"].map(|name| text(&site.scratch, name));
    assert_eq!(ran, ["1\n", "1\n2\n", "x\n"]);
    site.signal("TERM");
    let (ended, _scratch) = site.ended();
    assert!(ended.stderr.contains("1 run that an earlier process"), "{ended:?}");
    assert!(ended.stderr.contains("goes on"), "{ended:?}");
}

#[test]
fn a_plan_that_continues_goes_on_after_two_crashes_in_a_row() {
    let site = cut(CUT, CONTINUE);
    start(&site);
    let site = Site::with(killed_at(site, "r", "begun 1"), &[]);
    let scratch = killed_at(site, "r", "begun 2");
    scratch.write("go", "");
    let site = Site::with(scratch, &[]);
    let run = ended(&site);
    assert_eq!((&run["status"], attempt(&site)), (&json!("completed"), 3), "{run}");
    let ran = ["ran-a", "ran-cut", "ran-last"].map(|name| text(&site.scratch, name));
    assert_eq!(ran, ["1\n", "1\n2\n3\n", "x\n"]);
}

#[test]
fn i34_a_plan_that_continues_and_was_stopped_ends_with_its_stop_and_nothing_of_it_runs() {
    let site = cut(
        &CUT.replace("exec sleep 300", "{ trap : TERM; while :; do sleep 0.1; done; }"),
        CONTINUE,
    );
    start(&site);
    wait_until("it works", || text(&site.scratch, "ran-cut") == "1\n");
    let (code, told) = site.post("/v1/runs/r/cancel", &json!({ "reason": "enough" }));
    assert_eq!((code, &told["status"]), (200, &json!("stopping")), "{told}");
    let scratch = killed(site);
    scratch.write("go", "");
    let site = Site::with(scratch, &[]);
    let run = ended(&site);
    assert_eq!((&run["status"], &run["cause"]["message"]), (&json!("cancelled"), &json!("enough")));
    assert_eq!((&*text(&site.scratch, "ran-cut"), &*text(&site.scratch, "ran-last")), ("1\n", ""));
}

#[test]
fn a_plan_that_does_not_say_so_has_failed_as_has_one_whose_text_has_changed() {
    for (lines, changed) in [("", CUT.to_owned()), (CONTINUE, CUT.replace("echo one", "echo two"))]
    {
        let site = cut(CUT, lines);
        start(&site);
        let scratch = killed_at(site, "r", "begun 1");
        scratch.write("go", "");
        scratch.write("plan.yaml", &changed);
        let site = Site::with(scratch, &[]);
        let run = ended(&site);
        assert_eq!(run["status"], "failed", "{run}");
        assert!(run["error"].as_str().is_some_and(|it| it.contains("worker lost")), "{run}");
        assert_eq!(text(&site.scratch, "ran-cut"), "1\n");
    }
}

#[test]
fn an_answer_that_was_used_before_a_crash_is_not_used_again() {
    let plan = CUT.replace("- name: cut", "- { name: ok, wait: go on? }\n- name: cut")
        + "- { name: more, wait: more? }\n";
    let site = cut(&plan, CONTINUE);
    start(&site);
    let asked = |site: &Site, step: &str| {
        wait_until(step, || site.get("/v1/runs/r").1["pause"]["request"]["step"] == step);
    };
    let answer = |site: &Site, answer: &str| {
        assert_eq!(site.post("/v1/runs/r/resume", &json!({ "answer": answer })).0, 200);
    };
    asked(&site, "ok");
    answer(&site, "yes");
    let scratch = killed_at(site, "r", "begun 1");
    scratch.write("go", "");
    let site = Site::with(scratch, &[]);
    asked(&site, "more");
    site.has_stored_paused(1);
    let site = Site::with(killed(site), &[]);
    asked(&site, "more");
    answer(&site, "no more");
    let run = ended(&site);
    assert_eq!(run["output"]["ok"], "yes", "{run}");
    assert_eq!(run["output"]["more"], "no more", "{run}");
    let ran = ["ran-a", "ran-cut", "ran-last"].map(|name| text(&site.scratch, name));
    assert_eq!(ran, ["1\n", "1\n2\n", "x\n"]);
}
