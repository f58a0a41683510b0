//! What `quell serve` logs: for people in a terminal, JSON otherwise, and never a secret.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Scratch, send, wait_until};

/// Serves a program to a key, with the log in the file `log`; the key is `hush-key`.
fn logged(args: &[&str]) -> Site {
    let scratch = Scratch::new();
    let file = "[[keys]]\nsubject = \"ops\"\nsecret_env = \"OPS_KEY\"\nadmin = true\n\
                [agents.it]\nrun = [\"sh\", \"-c\", \"cat; echo said-by-it\"]\n\
                [agents.fails]\nrun = [\"sh\", \"fails.sh\"]\n";
    scratch.write("quell.toml", file);
    let fails = "echo hush-out; printf 'no \\033[1mink\\n' >&2; \
                 head -c 4000 /dev/zero | tr '\\0' x >&2; exit 3";
    scratch.write("fails.sh", fails);
    let log = File::create(scratch.path("log")).expect("a file can be made");
    let args = [&["--config", "quell.toml", "--log", "info"], args].concat();
    Site::heard_with(scratch, &args, &[("OPS_KEY", "hush-key")], Stdio::from(log))
}

/// Plays a run, a cancel of one that is not there, and requests with secrets in them; ends the
/// server and yields its log.
fn played(site: Site) -> String {
    let key = ("none", "hush-key");
    let body = json!({ "component": "agent/it", "input": "hush-body", "id": "it is\u{202e} one" });
    let run = site.as_principal_told("POST", "/v1/runs", key, Some(&body));
    assert_eq!(run.0, 201, "{}", run.1);
    let path = "/v1/runs/it%20is%E2%80%AE%20one";
    wait_until("the run has ended", || {
        let run = site.as_principal_told("GET", path, key, None).1;
        run["status"] == "completed"
    });
    let body = json!({ "component": "agent/fails", "input": "hush-body", "id": "fails" });
    assert_eq!(site.as_principal_told("POST", "/v1/runs", key, Some(&body)).0, 201);
    wait_until("the other run has ended", || {
        let run = site.as_principal_told("GET", "/v1/runs/fails", key, None).1;
        run["status"] == "failed"
    });
    site.get("/v1/runs?token=hush-query");
    site.get("/playbook3d/token-wrapper/get-tokens/hush-key");
    site.get("/nowhere/hush-key");
    assert_eq!(site.echoed("/healthz", "x-request-id", "mine-1").as_deref(), Some("mine-1"));
    let long = "x".repeat(129);
    for refused in ["two words", &long] {
        assert_eq!(site.echoed("/healthz", "x-request-id", refused), None, "{refused}");
    }
    site.signal("TERM");
    let (ended, scratch) = site.ended();
    ended.assert_code(0);
    let text = String::from_utf8(scratch.read("log")).expect("text");
    for secret in ["hush", "said-by-it", "\u{202e}", "\u{1b}"] {
        assert!(!text.contains(secret), "{secret:?}: {text}");
    }
    text
}

fn with_message<'a>(lines: &'a [Value], message: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["message"] == message).collect()
}

#[test]
fn in_a_file_each_line_of_the_log_is_an_object_with_the_ids_that_callers_know() {
    let log = played(logged(&[]));
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| unreachable!("no JSON: {line}")))
        .collect();
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    let [begun, _] = with_message(&lines, "run accepted")[..] else { unreachable!("{log}") };
    let mut ends = with_message(&lines, "run ended");
    ends.sort_by_key(|line| line["run.id"] == "fails");
    let [over, failed] = ends[..] else { unreachable!("{log}") };
    for line in [begun, over] {
        let who = (&line["run.id"], &line["run.owner"]);
        assert_eq!(who, (&json!("it is\\u{202e} one"), &json!("ops")), "{log}");
        let uuid = quell::RunId::from_text("it is\u{202e} one").to_string();
        assert_eq!(line["run.uuid"], uuid.as_str(), "{log}");
    }
    assert_eq!(over["quiescent"], true, "{over}");
    assert_eq!(
        (&begun["run.component"], &begun["contract"]),
        (&"agent/it".into(), &"native".into())
    );
    assert!(over["status"] == "completed" && over["duration_ms"].is_u64(), "{over}");
    assert_eq!(over["run.component"], "agent/it");
    assert!(over.get("error").is_none(), "{over}");
    assert_eq!(
        (&failed["run.component"], &failed["status"]),
        (&"agent/fails".into(), &"failed".into())
    );
    let why = failed["error"].as_str().expect("a reason");
    assert!(why.starts_with("`sh` ended with exit status: 3: no \\u{1b}[1mink\\nxxx"), "{why}");
    assert!(why.len() <= 512 + "…".len() && why.ends_with("x…"), "{why}");
    assert!(begun["span"]["request.id"].is_string(), "{begun}");
    let answered = with_message(&lines, "request answered");
    let of = |path: &str| answered.iter().find(|line| line["path"] == path).expect(path);
    let start = answered.iter().find(|line| line["method"] == "POST").expect("a start");
    assert_eq!(start["span"]["request.id"], begun["span"]["request.id"]);
    assert_eq!((&start["path"], &start["status"]), (&"/v1/runs".into(), &201.into()));
    assert!(start["duration_ms"].is_u64(), "{start}");
    of("/playbook3d/token-wrapper/get-tokens/{api_key}");
    assert_eq!(of("(unknown)")["status"], 404);
    assert_eq!(of("/healthz")["span"]["request.id"], "mine-1");
    let last = lines.last().expect("a line");
    assert!(last["message"].as_str().expect("text").starts_with("stopped 0 live runs"), "{last}");
}

#[test]
fn the_format_of_the_log_may_be_asked_for_and_a_file_has_no_escapes() {
    let log = played(logged(&["--log-format", "human"]));
    assert!(log.lines().all(|line| !line.starts_with('{')), "{log}");
    assert!(log.contains("run ended") && log.contains("run.owner=\"ops\""), "{log}");
}

#[test]
fn a_run_that_stays_paused_in_the_store_is_not_said_to_have_ended() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[workflows.asks]\nplan = 'p.yaml'\n[store]\npath = 'runs.db'\n");
    scratch.write("p.yaml", "name: p\nsteps: [{ name: ok, wait: 'go?' }]\n");
    let log = File::create(scratch.path("log")).expect("a file can be made");
    let site = Site::heard(scratch, &["--log", "info"], Stdio::from(log));
    let body = json!({ "component": "workflow/asks", "id": "one" });
    assert_eq!(site.post("/v1/runs", &body).0, 201);
    wait_until("it asks", || site.get("/v1/runs/one").1["status"] == "paused");
    site.signal("TERM");
    let (ended, scratch) = site.ended();
    ended.assert_code(0);
    let log = String::from_utf8(scratch.read("log")).expect("text");
    let lines: Vec<Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(with_message(&lines, "run ended").is_empty(), "{log}");
    let [left] = with_message(&lines, "run left as it is")[..] else { unreachable!("{log}") };
    assert_eq!((&left["run.id"], &left["status"]), (&json!("one"), &json!("paused")), "{log}");
}

/// Ends a server in a terminal; yields what stood there.
fn seen(site: &Site) -> String {
    site.get("/healthz");
    let pid = site.scratch.pids();
    send("TERM", *pid.first().expect("its id"));
    let mut text = String::new();
    wait_until("it has ended", || {
        text = String::from_utf8(site.scratch.read("stdout")).unwrap_or_default();
        text.contains("stopped 0 live runs")
    });
    text
}

#[test]
fn in_a_terminal_the_log_is_for_people_with_colours_unless_they_are_not_wanted() {
    let text = seen(&Site::in_terminal(Scratch::new(), "--log info", &[]));
    let line = text.lines().find(|line| line.contains("request answered")).expect("a line");
    assert!(line.contains('\u{1b}') && !line.starts_with('{'), "{line:?}");
    let plain = Site::in_terminal(Scratch::new(), "--log info", &[("NO_COLOR", "1")]);
    let text = seen(&plain);
    assert!(text.contains("request answered") && !text.contains('\u{1b}'), "{text:?}");
    let json = Site::in_terminal(Scratch::new(), "--log info --log-format json", &[]);
    let text = seen(&json);
    let lines = text.lines().skip(1).map(serde_json::from_str::<Value>);
    assert!(lines.into_iter().all(|line| line.is_ok()), "{text:?}");
}

/// Sends bytes, and yields what is answered until the connection is closed.
fn raw(site: &Site, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(site.address()).expect("it listens");
    stream.write_all(bytes).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer).into_owned()
}

fn lines_of(site: &Site) -> Vec<Value> {
    let log = String::from_utf8(site.scratch.read("log")).unwrap_or_default();
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn a_path_that_is_no_ascii_is_answered_and_logged_in_ascii() {
    let site = logged(&[]);
    for name in ["é".repeat(300), "a\u{9b}31m\u{2028}".to_owned()] {
        let request =
            format!("GET /v1/runs/{name} HTTP/1.1\r\nhost: it\r\nconnection: close\r\n\r\n");
        let answer = raw(&site, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    wait_until("both are logged", || with_message(&lines_of(&site), "request answered").len() == 2);
    let lines = lines_of(&site);
    let paths = with_message(&lines, "request answered");
    let paths: Vec<&str> = paths.iter().filter_map(|line| line["path"].as_str()).collect();
    assert!(paths[0].starts_with("/v1/runs/\\u{e9}") && paths[0].ends_with('…'), "{paths:?}");
    assert_eq!(paths[1], "/v1/runs/a\\u{9b}31m\\u{2028}");
}

#[test]
fn a_request_whose_client_leaves_is_logged() {
    let scratch = Scratch::new();
    let file = "[agents.it]\nrun = [\"sh\", \"-c\", \"echo > begun; exec sleep 60\"]\n";
    scratch.write("quell.toml", file);
    let log = File::create(scratch.path("log")).expect("a file can be made");
    let args = ["--config", "quell.toml", "--log", "info"];
    let site = Site::heard(scratch, &args, Stdio::from(log));
    let body = "message=hello&stream=false";
    let mut client = TcpStream::connect(site.address()).expect("it listens");
    let head = "POST /agents/it/runs HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/x-www-form-urlencoded\r\n";
    write!(client, "{head}content-length: {}\r\n\r\n{body}", body.len()).expect("it reads");
    wait_until("the run has begun", || site.scratch.path("begun").exists());
    drop(client);
    wait_until("it is logged", || {
        let lines = lines_of(&site);
        let left = with_message(&lines, "request left unanswered");
        left.iter().any(|line| line["path"] == "/agents/it/runs" && line["status"] == 499)
    });
}

#[test]
fn why_nothing_is_served_is_an_object_where_json_was_asked_for() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[agents.it]\nrun = 'true'\nnope = 1\n");
    let serve = ["serve", "--config", "quell.toml", "--log-format", "json"];
    let ended = scratch.run(&serve);
    ended.assert_code(2);
    let line: Value = serde_json::from_str(ended.stderr.trim_end()).expect("one object");
    assert_eq!(line["level"], "ERROR");
    assert!(line["message"].as_str().expect("text").contains("nope"), "{line}");
    // What is warned of besides is an object of its own before it.
    scratch.write("quell.toml", "[agents.it]\nplan = 'p.yaml'\nnope = 1\n");
    scratch.write("p.yaml", "name: p\nsteps:\n- { name: a, run: [absent-program] }\n");
    let ended = scratch.run(&serve);
    let lines = ended.stderr.lines().map(|line| serde_json::from_str(line).expect("an object"));
    let levels: Vec<Value> = lines.map(|line: Value| line["level"].clone()).collect();
    assert_eq!(levels, ["WARN", "ERROR"], "{}", ended.stderr);
}
