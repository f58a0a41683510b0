//! What `quell serve` logs: for people in a terminal, JSON otherwise, and never a secret.

use std::fs::File;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Scratch, send, wait_until};

/// Serves a program to a key, with the log in the file `log`; the key is `hush-key`.
fn logged(args: &[&str]) -> Site {
    let scratch = Scratch::new();
    let file = "[[keys]]\nsubject = \"ops\"\nsecret_env = \"OPS_KEY\"\nadmin = true\n\
                [agents.it]\nrun = [\"sh\", \"-c\", \"cat; echo said-by-it\"]\n";
    scratch.write("quell.toml", file);
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
    let [begun] = with_message(&lines, "run accepted")[..] else { unreachable!("{log}") };
    let [over] = with_message(&lines, "run ended")[..] else { unreachable!("{log}") };
    for line in [begun, over] {
        let who = (&line["run.id"], &line["run.owner"]);
        assert_eq!(who, (&json!("it is\\u{202e} one"), &json!("ops")), "{log}");
    }
    assert_eq!(
        (&begun["run.component"], &begun["contract"]),
        (&"agent/it".into(), &"native".into())
    );
    assert!(over["status"] == "completed" && over["duration_ms"].is_u64(), "{over}");
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
