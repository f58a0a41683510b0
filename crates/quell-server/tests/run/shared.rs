//! The paths that the contracts on one port share: `/info`, `/metrics`, and those that none serves.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::Scratch;

/// Sends a request without a body; yields the head of the answer, in lower case, and its JSON.
fn asked(site: &Site, line: &str, headers: &str) -> (String, Value) {
    let (head, body) = told(site, line, headers);
    (head, serde_json::from_str(&body).unwrap_or_default())
}

/// As [`asked`], of an answer that is text.
fn told(site: &Site, line: &str, headers: &str) -> (String, String) {
    let host = site.address();
    let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n");
    let mut client = TcpStream::connect(site.address()).expect("it listens");
    client.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_lowercase(), body.to_owned())
}

#[test]
fn info_has_the_keys_of_both_contracts_and_is_read_by_pages_of_other_origins() {
    let scratch = Scratch::new();
    let file =
        "[[keys]]\nsubject = \"ops\"\nsecret_env = \"OPS_KEY\"\n[agents.a]\nrun = [\"true\"]\n";
    scratch.write("quell.toml", file);
    let env = [("OPS_KEY", "a-key-of-ops")];
    let site = Site::with_env(scratch, &["--config", "quell.toml"], &env);
    let page = "origin: https://studio.example\r\n";
    let (head, info) = asked(&site, "GET /info", page);
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("\r\naccess-control-allow-origin: *\r\n"), "{head}");
    // What LangGraph's document requires, and AgentOS's own.
    for key in ["version", "auth_mode"] {
        assert!(info[key].is_string(), "{key}: {info}");
    }
    assert!(info.get("langgraph_py_version").is_some_and(Value::is_null), "{info}");
    for key in ["flags", "host", "metadata"] {
        assert!(info[key].is_object(), "{key}: {info}");
    }
    assert_eq!(asked(&site, "GET /info/", page).1, info);
    let asks =
        "access-control-request-method: GET\r\naccess-control-request-headers: x-api-key\r\n";
    let (head, _) = asked(&site, "OPTIONS /info", &format!("{page}{asks}"));
    assert!(head.starts_with("http/1.1 200"), "{head}");
    for line in ["access-control-allow-origin: *", "access-control-allow-headers: x-api-key"] {
        assert!(head.contains(&format!("\r\n{line}")), "{head}");
    }
    for line in ["POST /info", "PUT /openapi.json"] {
        let (head, body) = asked(&site, line, "content-length: 0\r\n");
        assert!(head.starts_with("http/1.1 405"), "{line}: {head}");
        assert_eq!(body, json!({ "detail": "Method Not Allowed" }), "{line}");
    }
}

#[test]
fn a_path_that_no_contract_serves_has_an_error_code_unless_the_options_say_no() {
    for (more, body) in [
        (&[] as &[&str], json!({ "detail": "Not Found", "error_code": "NOT_FOUND" })),
        (&["--set", "agentos.error_codes=false"], json!({ "detail": "Not Found" })),
    ] {
        let site = Site::demo(more);
        for path in ["/nowhere", "/agents/a/b/c/d/e", "/v1runs"] {
            let (head, answer) = asked(&site, &format!("GET {path}"), "");
            assert!(head.starts_with("http/1.1 404"), "{head}");
            assert_eq!(answer, body, "{path}");
        }
        // Below the paths that are of LangGraph alone a body has its one key.
        for path in ["/threads/a/nope", "/runs/a/b/c", "/store/x", "/assistants/a/b/c/d"] {
            let (head, answer) = asked(&site, &format!("GET {path}"), "");
            assert!(head.starts_with("http/1.1 404"), "{head}");
            assert_eq!(answer, json!({ "detail": "Not Found" }), "{path}");
        }
    }
}

#[test]
fn an_unknown_path_below_that_of_the_native_api_is_a_problem() {
    let site = Site::demo(&["--set", "agentos.error_codes=false"]);
    for path in ["/v1", "/v1/", "/v1/run", "/v1/runs/", "/v1/runs/r/stop", "/v1/runs/r/events/x"] {
        for method in ["GET", "POST"] {
            let (head, answer) = asked(&site, &format!("{method} {path}"), "");
            assert!(head.starts_with("http/1.1 404"), "{method} {path}: {head}");
            assert!(head.contains("\r\ncontent-type: application/problem+json\r\n"), "{head}");
            assert_eq!(answer["type"], "urn:quell:problem:unknown-path", "{method} {path}");
            assert!(answer["detail"].as_str().is_some_and(|it| it.contains("`GET /openapi.json`")));
        }
    }
}

#[test]
fn metrics_have_the_keys_of_both_contracts_unless_somebody_reads_text() {
    let site = Site::demo(&[]);
    for headers in ["", "accept: */*\r\n", "accept: application/json, text/plain, */*\r\n"] {
        let (head, answer) = asked(&site, "GET /metrics?starting_date=2026-01-01", headers);
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
        assert!(answer["workers"].is_object(), "{answer}");
        assert_eq!((&answer["metrics"], &answer["updated_at"]), (&json!([]), &Value::Null));
    }
    let reads_text = "accept: application/openmetrics-text;q=0.5,text/plain;q=0.3,*/*;q=0.1\r\n";
    for (line, headers) in
        [("GET /metrics", reads_text), ("GET /metrics?format=prometheus", "accept: */*\r\n")]
    {
        let (head, _) = asked(&site, line, headers);
        assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4"), "{head}");
    }
    // Prometheus finds there what the server counts as well.
    let (_, text) = told(&site, "GET /metrics", reads_text);
    for line in ["lg_api_num_running_runs 0\n", "\nquell_long_requests 0\n", "\n# EOF\n"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (_, text) = told(&site, "GET /metrics?format=prometheus", reads_text);
    assert!(text.contains("lg_api_num_running_runs 0\n") && !text.contains("quell_"), "{text}");
    let (_, answer) = asked(&site, "GET /metrics?format=json", "");
    assert!(answer["queue"].is_object() && answer.get("metrics").is_none(), "{answer}");
    for line in ["HEAD /metrics", "HEAD /metrics/"] {
        let (head, _) = asked(&site, line, "");
        assert!(head.starts_with("http/1.1 200"), "{line}: {head}");
    }
    // AgentOS has its paths with a slash at the end, too.
    let (_, answer) = asked(&site, "GET /metrics/?starting_date=2026-01-01", "");
    assert!(answer["workers"].is_object() && answer["metrics"].is_array(), "{answer}");
    let (_, answer) = asked(&site, "GET /metrics/?format=json", "");
    assert!(answer["queue"].is_object() && answer.get("metrics").is_none(), "{answer}");
    let (_, text) = told(&site, "GET /metrics/", reads_text);
    assert!(text.contains("lg_api_num_running_runs 0\n") && text.contains("\nquell_"), "{text}");
}

#[test]
fn components_are_listed_by_the_names_that_people_read() {
    let scratch = Scratch::new();
    scratch.write(
        "quell.toml",
        r#"
[agents.ann]
name = "Ann of Ghent"
run = ["true"]
[teams.pair]
name = "The pair"
mode = "broadcast"
members = ["ann"]
[agentos]
os_id = "os-1"
name = "One"
description = "For trying things."
"#,
    );
    let site = Site::with_env(scratch, &["--config", "quell.toml"], &[]);
    let (_, config) = asked(&site, "GET /config", "");
    assert_eq!(
        (&config["os_id"], &config["description"]),
        (&json!("os-1"), &json!("For trying things."))
    );
    let ann = json!({ "id": "ann", "name": "Ann of Ghent", "db_id": "quell" });
    assert_eq!(config["agents"], json!([ann]));
    assert_eq!(config["teams"][0]["name"], "The pair");
    let (_, home) = asked(&site, "GET /", "");
    assert_eq!(home, json!({ "name": "One", "health": "/health", "info": "/info" }));
    let (_, document) = asked(&site, "GET /openapi/agentos.json", "");
    assert!(document["paths"]["/config"].is_object(), "{document}");
    let (_, document) = asked(&site, "GET /playbook3d/openapi.json", "");
    assert!(document["paths"]["/workflows"].is_object(), "{document}");
}

#[test]
fn a_name_that_nobody_can_read_is_a_fault_with_its_line() {
    let scratch = Scratch::new();
    let long = "x".repeat(257);
    let text = format!(
        "[agents.a]\nname = \" \"\nrun = [\"true\"]\n\
         [agents.b]\nname = \"{long}\"\nrun = [\"true\"]\n\
         [teams.c]\nname = \"a\\u001bb\"\nmode = \"sequence\"\nmembers = [\"a\"]\n"
    );
    scratch.write("quell.toml", &text);
    let ended = scratch.run(&["check", "quell.toml"]);
    ended.assert_code(2);
    for words in
        ["empty name; expected a line", "name of 257 bytes", "name with a control character"]
    {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
}
