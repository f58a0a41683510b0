//! The paths that the contracts on one port share: `/info`, and those that none of them serves.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::Scratch;

/// Sends a request without a body; yields the head of the answer, in lower case, and its JSON.
fn asked(site: &Site, line: &str, headers: &str) -> (String, Value) {
    let host = site.address();
    let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n");
    let mut client = TcpStream::connect(site.address()).expect("it listens");
    client.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_lowercase(), serde_json::from_str(body).unwrap_or_default())
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
    let asks =
        "access-control-request-method: GET\r\naccess-control-request-headers: x-api-key\r\n";
    let (head, _) = asked(&site, "OPTIONS /info", &format!("{page}{asks}"));
    assert!(head.starts_with("http/1.1 200"), "{head}");
    for line in ["access-control-allow-origin: *", "access-control-allow-headers: x-api-key"] {
        assert!(head.contains(&format!("\r\n{line}")), "{head}");
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
