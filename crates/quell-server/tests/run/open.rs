//! A `quell serve` without keys, and the pages of a browser on its machine.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::check::checked;
use crate::site::Site;
use crate::support::Scratch;

const TEAM: &str = "/playbook3d/run_workflow/aaaaaaaa-0000-4000-8000-000000000001";

/// Sends a request with a body, and yields the status.
fn told(site: &Site, line: &str, headers: &[(&str, &str)], body: &str) -> u16 {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{line} HTTP/1.1\r\nconnection: close\r\n{}", headers.concat());
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let mut client = TcpStream::connect(site.address()).expect("it listens");
    client.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    let status = answer.split(' ').nth(1).expect("a status line");
    status.parse().expect("a number")
}

#[test]
fn a_page_of_a_browser_reads_and_starts_nothing_on_a_keyless_server() {
    let site = Site::demo(&[]);
    let own = site.address().to_owned();
    let port = own.rsplit(':').next().expect("a port").to_owned();
    let agent = json!({ "component": { "kind": "agent", "id": "slow-agent" } }).to_string();
    let graph = json!({ "assistant_id": "slow", "input": {} }).to_string();
    let writes = [
        ("POST /v1/runs", "application/json", agent.as_str()),
        ("POST /runs", "text/plain", &graph),
        ("POST /runs/stream", "text/plain", &graph),
        ("POST /runs/cancel", "text/plain", r#"{"status":"all"}"#),
        ("POST /agents/slow-agent/runs", "application/x-www-form-urlencoded", "message=hi"),
        (TEAM, "text/plain", "{}"),
        ("POST /nowhere", "text/plain", "{}"),
    ];
    let rebound = format!("evil.example:{port}");
    let rebound_page = format!("http://{rebound}");
    for (line, kind, body) in writes {
        let line = if line == TEAM { format!("POST {TEAM}") } else { line.to_owned() };
        for (host, origin) in
            [(own.as_str(), "http://evil.example"), (&own, "null"), (&rebound, &rebound_page)]
        {
            let headers = [("host", host), ("origin", origin), ("content-type", kind)];
            assert_eq!(told(&site, &line, &headers, body), 403, "{line} {host} {origin}");
        }
    }
    // Without an origin, JSON still has to be called so.
    let plain = [("host", own.as_str()), ("content-type", "text/plain")];
    assert_eq!(told(&site, "POST /runs", &plain, &graph), 415);
    let reads = [
        "/v1/runs",
        "/healthz",
        "/openapi.json",
        "/agents",
        "/config",
        "/info",
        "/ok",
        "/playbook3d/runs",
        "/_bench/ticks?probe=x",
        "/nowhere",
    ];
    for path in reads {
        let line = format!("GET {path}");
        assert_eq!(told(&site, &line, &[("host", &rebound)], ""), 403, "{path}");
        assert_ne!(told(&site, &line, &[("host", &own)], ""), 403, "{path}");
    }
    assert_eq!(site.get("/v1/runs").1["total"], 0, "nothing has started");
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn a_key_of_one_contract_is_warned_of_where_others_ask_for_none() {
    let scratch = Scratch::new();
    let agent = "[agents.writer]\nrun = ['true']\n";
    let key = "[agentos]\nsecurity_key_env = 'QUELL_TEST_KEY'\n";
    let keys = "[[keys]]\nsubject = 'ops'\nsecret_env = 'QUELL_TEST_KEY'\n";
    let says = "quell.toml:4:20: `security_key_env`: is the key of `agentos` alone, and \
                `native`, `langgraph` on the same port ask for none; expected `[[keys]]`, which \
                all contracts ask for, or `contracts = [\"agentos\"]` in each component";
    for (file, right) in [
        (format!("{agent}{key}"), &[says][..]),
        (format!("{agent}contracts = ['agentos']\n{key}"), &[]),
        (format!("{agent}{key}{keys}"), &[]),
    ] {
        scratch.write("quell.toml", &file);
        let ended = checked(&scratch, &[]);
        ended.assert_code(0);
        let warnings: Vec<&str> =
            ended.stderr.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
        assert_eq!(warnings, right, "{file}");
    }
}
