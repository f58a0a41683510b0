//! `quell serve`: one engine behind every contract, and an end that keeps its word.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::site::{Site, events};
use crate::support::{PATIENCE, Scratch, is_alive, wait_until};

const ALPHA: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const ALICE: &str = "11111111-1111-4111-8111-111111111111";
const EVERYWHERE: &str = "cccccccc-0000-4000-8000-000000000004";

/// Asserts, by two looks at its probe, that a body that was told to stop ticks no more.
#[track_caller]
fn assert_stopped(site: &Site, probe: &str) {
    let before = site.ticks(probe);
    thread::sleep(Duration::from_millis(200));
    assert_eq!((site.ticks(probe), before > 0), (before, true), "{probe} ticks on");
}

/// A call as alice: with both headers, to the contract under `/playbook3d`.
fn as_alice(site: &Site, method: &str, path: &str, body: Option<&Value>) -> Value {
    let (_, token) = site.get(&format!("/playbook3d/token-wrapper/get-tokens/{ALICE}"));
    let token = token["access_token"].as_str().expect("a token");
    site.as_principal(method, &format!("/playbook3d{path}"), (token, ALICE), body)
}

/// The contracts, and what each calls a run that was cancelled.
const SEEN_AS: [(&str, &str); 4] = [
    ("agentos", "CANCELLED"),
    ("langgraph", "interrupted"),
    ("playbook3d", "canceled"),
    ("native", "cancelled"),
];

/// What a contract shows of a run of `everywhere` of the team.
fn seen(site: &Site, through: &str, id: &str) -> Value {
    match through {
        "agentos" => site.get(&format!("/workflows/everywhere/runs/{id}?session_id={ALPHA}")).1,
        "langgraph" => site.get(&format!("/threads/{ALPHA}/runs/{id}")).1,
        "playbook3d" => {
            let rows = as_alice(site, "GET", "/runs", None);
            let mut rows = rows.as_array().expect("a list").iter();
            rows.find(|row| row["id"] == *id).expect("the run is listed").clone()
        }
        _ => site.get(&format!("/v1/runs/{id}")).1,
    }
}

#[test]
fn of_an_address_that_somebody_has_the_message_says_how_to_name_another() {
    let scratch = Scratch::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it listens").to_string();
    let ended = scratch.run(&["serve", "--demo", "--listen", &address]);
    ended.assert_code(2);
    let line = ended.stderr.lines().find(|line| line.contains("cannot listen on"));
    let is_right =
        |line: &str| line.contains("; another process has it") && line.contains("--listen");
    assert!(line.is_some_and(is_right), "{ended:?}");
}

#[test]
fn i40_a_cancel_through_one_contract_is_seen_through_the_others_by_the_next_read() {
    let site = Site::demo(&[]);
    for (through, _) in SEEN_AS {
        let id = as_alice(&site, "GET", "/get_run_id", None)["run_id"].clone();
        let id = id.as_str().expect("an id");
        let inputs = json!({ "message": format!("probe={through}") });
        let body = json!({ "id": EVERYWHERE, "origin": "2", "inputs": inputs });
        let path = format!("/run_workflow/{ALPHA}/{id}");
        let queued = as_alice(&site, "POST", &path, Some(&body));
        assert_eq!(queued["status"], "queued", "{queued}");
        site.wait_for(through, 4);
        let (status, _) = match through {
            "agentos" => site.form(&format!("/workflows/everywhere/runs/{id}/cancel"), &[]),
            "langgraph" => {
                let chosen = json!({ "thread_id": ALPHA, "run_ids": [id] });
                site.post("/runs/cancel?action=interrupt", &chosen)
            }
            "playbook3d" => {
                let path = format!("/cancel/{ALPHA}/{id}");
                let told = as_alice(&site, "POST", &path, Some(&json!({})));
                assert_eq!(told["message"], "Run successfully canceled.");
                (200, told)
            }
            _ => site.post(&format!("/v1/runs/{id}/cancel"), &json!({})),
        };
        assert!((200..300).contains(&status), "{through}: {status}");
        let told: Vec<_> = SEEN_AS.iter().map(|(contract, _)| seen(&site, contract, id)).collect();
        for seen in told {
            let word = seen["quell"]["status"].as_str().or(seen["status"].as_str());
            assert!(matches!(word, Some("stopping" | "cancelled")), "{through}: {seen}");
        }
        site.post(&format!("/v1/runs/{id}/cancel"), &json!({ "wait": "quiescent" }));
        for (contract, word) in SEEN_AS {
            let seen = seen(&site, contract, id);
            assert_eq!(seen["status"], word, "{through}, {contract}: {seen}");
        }
        assert_stopped(&site, through);
    }
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures, for whoever looks")]
fn i14_a_cancel_is_answered_while_every_body_worker_spins_and_the_run_ends_on_time() {
    // The record is read meanwhile, also by a busy machine.
    let site = Site::demo(&["--set", "server.grace=2s", "--set", "server.abort_wait=2s"]);
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let spinner = json!({ "kind": "agent", "id": "spinner" });
    for n in 0..workers {
        let input = json!({ "ms": 600_000, "tag": format!("spin-{n}") });
        let body = json!({ "component": spinner, "id": format!("s{n}"), "input": input });
        assert_eq!(site.post("/v1/runs", &body).0, 201);
    }
    for n in 0..workers {
        site.wait_for(&format!("spin-{n}"), 1);
    }
    let began = Instant::now();
    let (_, told) = site.post("/v1/runs/s0/cancel", &json!({ "reason": "enough" }));
    println!("answered after {:?} while {workers} of {workers} workers spin", began.elapsed());
    assert_eq!(told["disposition"], "accepted", "{told}");
    let (mut reads, mut last) = (0, Value::Null);
    wait_until("the run is terminal", || {
        reads += 1;
        last = site.get("/v1/runs/s0").1;
        last["status"] != "stopping"
    });
    println!("terminal after {:?}, read {reads} times meanwhile", began.elapsed());
    assert_eq!((last["status"].as_str(), reads > 1), (Some("cancelled"), true), "{last}");
    assert_eq!(last["quiescent"], false, "it still spins, and the record says so: {last}");
    assert_eq!(last["rows"][0]["abandoned"][0]["what"], "body", "{last}");
    let before = site.ticks("spin-0");
    wait_until("it still spins", || site.ticks("spin-0") > before);
    site.signal("TERM");
    // Bodies that spin on cannot keep the process.
    let (ended, _) = site.ended();
    ended.assert_code(0);
    assert!(ended.stderr.contains("abandoned: body spinner still executes"), "{ended:?}");
}

#[test]
fn i38_a_signal_drains_streams_get_their_last_event_and_the_exit_is_within_the_grace() {
    let site = Site::demo(&["--set", "server.grace=40s"]);
    let fields = [("message", "probe=drained"), ("stream", "true")];
    let stream = site.stream("/teams/slow-team/runs", &fields);
    let body = json!({ "assistant_id": "stubborn", "input": { "ms": 10_000, "tag": "deaf" } });
    assert_eq!(site.post("/runs", &body).0, 200);
    site.wait_for("drained", 3);
    site.wait_for("deaf", 1);
    assert_eq!(site.get("/readyz").0, 200);
    site.signal("TERM");
    // The stubborn run keeps it up for a while: it answers, and takes nothing new.
    wait_until("it is not ready", || site.get("/readyz").0 == 503);
    assert_eq!(site.get("/healthz").0, 200);
    assert_eq!(site.form("/agents/short-agent/runs", &[("message", "hi")]).0, 503);
    let events = events(&stream.join().expect("it reads"));
    let (last, data) = events.last().expect("the stream said something");
    assert_eq!(last, "TeamRunCancelled", "{data}");
    let (ended, _) = site.ended();
    ended.assert_code(0);
    assert!(ended.took < PATIENCE / 2, "{ended:?}");
    assert!(ended.stderr.contains("SIGTERM: no new runs"), "{ended:?}");
    assert!(ended.stderr.contains("stopped 2 live runs"), "{ended:?}");
}

#[test]
fn i38_a_second_signal_aborts_what_takes_its_time() {
    let site = Site::demo(&["--set", "server.grace=1h"]);
    let body = json!({ "assistant_id": "stubborn", "input": { "ms": 3_600_000, "tag": "deaf" } });
    assert_eq!(site.post("/runs", &body).0, 200);
    site.wait_for("deaf", 1);
    site.signal("TERM");
    wait_until("it is not ready", || site.get("/readyz").0 == 503);
    site.signal("INT");
    let (ended, _) = site.ended();
    ended.assert_code(0);
    assert!(
        ended.stderr.contains("SIGINT: aborting; another signal ends this server at once"),
        "{ended:?}"
    );
}

#[test]
fn webhooks_that_are_lost_with_a_server_without_a_store_are_named() {
    // Nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = closed.local_addr().expect("it listens").to_string();
    drop(closed);
    let site = Site::demo(&["--set", &format!("langgraph.webhook_hosts=[\"{to}\"]")]);
    let create = |input: Value| {
        let webhook = format!("http://{to}/told");
        let body = json!({ "assistant_id": "slow", "input": input, "webhook": webhook });
        let (status, run) = site.post("/runs", &body);
        assert_eq!(status, 200, "{run}");
        run["run_id"].as_str().expect("an id").to_owned()
    };
    let ended = create(json!({ "chunks": 1, "chunk_ms": 1, "tag": "ended" }));
    wait_until("it is gone", || site.get(&format!("/v1/runs/{ended}")).0 == 404);
    let live = create(json!({ "tag": "live" }));
    site.wait_for("live", 1);
    site.signal("TERM");
    let (end, _) = site.ended();
    end.assert_code(0);
    for run in [ended, live] {
        let mut lines = end.stderr.lines().filter(|line| line.contains(&run));
        let is_lost = |line: &str| line.contains("a webhook is lost with its server");
        assert!(lines.any(is_lost), "{run}: {end:?}");
    }
}

const PROGRAM: &str = "echo $$ > pid; read input; echo \"got $input\"; \
                       while :; do sleep 0.05; done";

#[test]
fn a_program_of_the_file_is_an_agent_that_can_be_cancelled() {
    let scratch = Scratch::new();
    let program = serde_json::to_string(PROGRAM).expect("text");
    let file = format!(
        "[agents.shell]\nrun = [\"sh\", \"-c\", {program}]\ngrace = \"30s\"\n\
         [agents.echo]\nrun = [\"cat\"]\n"
    );
    scratch.write("quell.toml", &file);
    let site = Site::with(scratch, &["--config", "quell.toml"]);
    let (_, echoed) = site.form("/agents/echo/runs", &[("message", "hi"), ("stream", "false")]);
    assert_eq!(echoed["content"], "hi", "{echoed}");
    let body = r#"{ "component": { "kind": "agent", "id": "shell" }, "input": {
        "n": 1 } }"#;
    let (_, run) = site.post_text("/v1/runs", body);
    let id = run["id"].as_str().expect("an id").to_owned();
    wait_until("the program runs", || !site.scratch.pids().is_empty());
    wait_until("it has said something", || {
        let (_, run) = site.get(&format!("/v1/runs/{id}"));
        run["text"].as_str().is_some_and(|text| text.ends_with("\"n\": 1 }\n"))
    });
    let (_, told) = site.post(&format!("/v1/runs/{id}/cancel"), &json!({ "wait": "quiescent" }));
    assert_eq!(told["status"], "cancelled", "{told}");
    let alive: Vec<_> = site.scratch.pids().into_iter().filter(|pid| is_alive(*pid)).collect();
    assert!(alive.is_empty(), "{alive:?} are alive although the run is quiescent");
    site.signal("TERM");
    let (ended, scratch) = site.ended();
    ended.assert_code(0);
    scratch.assert_nothing_is_left(1);
}

#[test]
fn a_program_of_the_file_answers_langgraph_and_the_file_says_what_is_appended_to() {
    let scratch = Scratch::new();
    let file = r#"
        [agents.text]
        run = ["echo", "hello"]
        [workflows.list]
        run = ["sh", "-c", "cat > /dev/null; echo '{\"items\": [\"b\"]}'"]
        reducers = { items = "append" }
    "#;
    scratch.write("quell.toml", file);
    let site = Site::with(scratch, &["--config", "quell.toml"]);
    let (_, thread) = site.post("/threads", &json!({}));
    let path = format!("/threads/{}/runs/wait", thread["thread_id"].as_str().expect("an id"));
    let run = |graph: &str, input: Value| {
        site.post(&path, &json!({ "assistant_id": graph, "input": input })).1
    };
    let said = run("text", json!({}));
    assert_eq!(
        (&said["output"], &said["messages"][0]["content"]),
        (&"hello".into(), &"hello".into())
    );
    let first = run("list", json!({ "items": "a" }));
    let messages = &said["messages"];
    assert_eq!(first, json!({ "output": "hello", "items": ["a", "b"], "messages": messages }));
    assert_eq!(run("list", json!({}))["items"], json!(["a", "b", "b"]));
}

#[test]
fn a_program_of_the_file_does_not_get_the_secrets_of_the_server() {
    let scratch = Scratch::new();
    let program = "env > env.$1; echo through";
    let program = serde_json::to_string(program).expect("text");
    let file = format!(
        "[[keys]]\nsubject = \"ops\"\nsecret_env = \"OPS_KEY\"\nadmin = true\n\
         [[tokens]]\nalgorithm = \"HS256\"\nsecret_env = \"TOKEN_SECRET\"\n\
         [agents.shell]\nrun = [\"sh\", \"-c\", {program}, \"sh\", \"agent\"]\n\
         [agents.given]\nrun = [\"sh\", \"-c\", {program}, \"sh\", \"given\"]\n\
         env = {{ OPS_KEY = \"said so\" }}\n\
         [workflows.plan]\nplan = \"plan.toml\"\n"
    );
    scratch.write("quell.toml", &file);
    let plan = format!(
        "name = \"plan\"\n[[steps]]\nname = \"env\"\n\
         run = [\"sh\", \"-c\", {program}, \"sh\", \"plan\"]\n"
    );
    scratch.write("plan.toml", &plan);
    let env = [
        ("OPS_KEY", "hush-key"),
        ("TOKEN_SECRET", "hush-secret-of-thirty-two-bytes-or-more"),
        ("OTHER", "seen"),
    ];
    let site = Site::with_env(scratch, &["--config", "quell.toml"], &env);
    for (kind, id, file) in
        [("agent", "shell", "agent"), ("agent", "given", "given"), ("workflow", "plan", "plan")]
    {
        let body = json!({ "component": { "kind": kind, "id": id }, "id": id });
        let keys = ("hush-key", "hush-key");
        let run = site.as_principal_told("POST", "/v1/runs", keys, Some(&body));
        assert_eq!(run.0, 201, "{}", run.1);
        let path = format!("/v1/runs/{id}");
        wait_until("it has ended", || {
            let (_, run) = site.as_principal_told("GET", &path, keys, None);
            run["status"] == "completed"
        });
        let seen = String::from_utf8(site.scratch.read(&format!("env.{file}"))).expect("text");
        assert!(seen.contains("OTHER=seen"), "{seen}");
        assert!(!seen.contains("hush"), "{id}: {seen}");
        assert_eq!(seen.contains("OPS_KEY=said so"), id == "given", "{id}: {seen}");
    }
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn what_a_program_writes_is_told_as_text_and_never_in_part() {
    let scratch = Scratch::new();
    let file = r#"
        [agents.odd]
        run = ["printf", '\377\376abc']
        [agents.long]
        run = ["sh", "-c", "head -c 40000000 /dev/zero | tr '\\0' x"]
    "#;
    scratch.write("quell.toml", file);
    let site = Site::with(scratch, &["--config", "quell.toml"]);
    let fields = [("message", "hi"), ("stream", "false")];
    let (_, odd) = site.form("/agents/odd/runs", &fields);
    assert_eq!(odd["content"], "\u{fffd}\u{fffd}abc", "{odd}");
    let fields = [("message", "hi"), ("stream", "false"), ("run_id", "long")];
    assert_eq!(site.form("/agents/long/runs", &fields).1["status"], "ERROR");
    let error = site.get("/v1/runs/long").1["error"].clone();
    assert!(error.as_str().is_some_and(|text| text.contains("40000000 bytes")), "{error}");
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn what_cannot_be_served_is_refused_before_anything_listens() {
    let scratch = Scratch::new();
    scratch.write("bad.toml", "[agentos]\nos_id = 1\n");
    scratch.write("typo.toml", "listen = \"127.0.0.1:0\"\n\n[agent.x]\nrun = [\"cat\"]\n");
    scratch.write("neither.toml", "[agents.x]\ndescription = \"nothing\"\n");
    scratch.write("open.toml", "[agents.x]\nrun = [\"cat\"]\n");
    scratch.write(
        "key.toml",
        "[agents.x]\nrun = [\"cat\"]\n[[keys]]\nsubject = \"ops\"\nsecret_env = \"NO_SUCH_KEY\"\n",
    );
    for (args, says) in [
        (&[][..], "quell serve --demo"),
        (&["--demo", "--listen", "0.0.0.0:0"], "the demo has keys that everybody knows"),
        (&["--config", "open.toml", "--listen", "0.0.0.0:0"], "([[keys]], [[tokens]])"),
        (&["--config", "bad.toml"], "bad.toml:2:9: `os_id`: found a number; expected a string"),
        (&["--config", "typo.toml"], "typo.toml:3:2: unknown key `agent`; did you mean `agents`?"),
        (&["--config", "neither.toml"], "neither.toml:1:1: `x`: expected one of `run = "),
        (&["--config", "key.toml"], "the environment variable NO_SUCH_KEY"),
        (&["--config", "none.toml"], "none.toml"),
        (&["--config", "/dev/zero"], "/dev/zero: is no regular file"),
        (&["--demo", "--set", "agentos"], "expected section.key=value"),
        (&["--demo", "--set", "agentos.x=1"], "unknown key `x`"),
        (&["--demo-prefix", "x"], "--demo"),
    ] {
        let ended = scratch.run(&[&["serve"], args].concat());
        ended.assert_code(2);
        assert!(ended.stderr.contains(says), "{args:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{args:?}");
    }
}
