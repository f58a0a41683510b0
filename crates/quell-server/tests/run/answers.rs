//! What arrives of a component through each contract and stream mode: the table of the page
//! `quell help answers`, made by asking.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Scratch, repository, wait_until};

/// The kinds of components: how the page calls one, the name of one, and a word of its text.
const KINDS: [(&str, &str, &str); 8] = [
    ("program, agent", "agent/says", "spoken-word"),
    ("program, workflow", "workflow/flows", "spoken-word"),
    ("program that prints", "agent/prints", "printed-word"),
    ("plan", "workflow/plan", "spoken-word"),
    ("team", "team/desk", "spoken-word"),
    ("service", "agent/serves", "spoken-word"),
    ("model", "agent/thinks", "spoken-word"),
    ("demo", "workflow/everywhere", "t1 "),
];

/// What is configured besides the demo. `says.sh` says all that a program can say.
const FILE: &str = r#"
    [agents.says]
    run = ["sh", "says.sh"]
    [workflows.flows]
    run = ["sh", "says.sh"]
    [agents.prints]
    run = ["sh", "-c", "cat > /dev/null; echo printed-word"]
    [workflows.plan]
    plan = "plan.toml"
    [teams.desk]
    mode = "sequence"
    members = ["agent/says"]
    [agents.serves]
    url = "URL/serves"
    [agents.thinks]
    model = { url = "URL/v1", name = "m-1" }
    [agents.notes]
    run = ["sh", "-c", "cat > seen; echo noted"]
"#;

const PLAN: &str = "name = \"plan\"\n[[steps]]\nname = \"say\"\nrun = [\"sh\", \"says.sh\"]\n";

const SAYS: &str = r#"cat > /dev/null
echo '{"event":"tool.started","id":"1","name":"lookup-tool","input":{"q":"tea"}}'
echo '{"event":"tool.ended","id":"1","output":"found"}'
echo '{"event":"usage","input_tokens":40961,"output_tokens":40963}'
echo '{"event":"content","text":"spoken-word"}'
"#;

/// What the model says.
const CHAT: &str = r#"data: {"choices":[{"index":0,"delta":{"content":"spoken-word"}}]}

data: {"choices":[],"usage":{"prompt_tokens":40961,"completion_tokens":40963}}

data: [DONE]

"#;

/// Starts a service that says the same as `says.sh`, and a model; yields its address.
fn peer() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(answer));
    format!("http://{address}")
}

/// Answers the one request of a connection.
fn answer(mut socket: TcpStream) {
    let mut head = String::new();
    let mut from = BufReader::new(socket.try_clone().expect("a descriptor"));
    while !head.ends_with("\r\n\r\n") && from.read_line(&mut head).is_ok_and(|read| read > 0) {}
    let length = head.to_lowercase().lines().find_map(|line| {
        line.strip_prefix("content-length:").and_then(|length| length.trim().parse().ok())
    });
    let _ = from.take(length.unwrap_or(0)).read_to_string(&mut String::new());
    let lines = SAYS.lines().filter_map(|line| line.strip_prefix("echo '")?.strip_suffix('\''));
    let (kind, body) = if head.contains("/chat/completions") {
        ("text/event-stream", CHAT.to_owned())
    } else {
        ("application/x-ndjson", lines.flat_map(|line| [line, "\n"]).collect())
    };
    let length = body.len();
    let head = format!("content-type: {kind}\r\ncontent-length: {length}\r\nconnection: close");
    let _ = socket.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes());
}

/// What `says.sh` calls its tool, and how many tokens it says that it used.
const FACTS: [(&str, &str); 2] = [("tools", "lookup-tool"), ("usage", "40961")];

/// The contracts, each with the ways in which it shows a run.
const SHOWN: [(&str, &[&str]); 3] = [
    ("native", &["run", "events"]),
    ("AgentOS", &["run", "stream"]),
    (
        "LangGraph",
        &[
            "wait",
            "values",
            "updates",
            "messages",
            "messages-tuple",
            "custom",
            "events",
            "debug",
            "tasks",
            "checkpoints",
        ],
    ),
];

/// Runs a component, and yields all that a contract shows of it in one way.
fn shown(site: &Site, contract: &str, way: &str, name: &str) -> String {
    let (kind, id) = name.split_once('/').expect("a kind and an id");
    let input = "ticks=2 tick_ms=0";
    match (contract, way) {
        ("native", _) => {
            let run = site.post("/v1/runs", &json!({ "component": name, "input": input })).1;
            let path = format!("/v1/runs/{}", run["id"].as_str().expect("an id"));
            wait_until("the run has ended", || site.get(&path).1["status"] == "completed");
            let path = if way == "events" { path + "/events" } else { path };
            site.text(&path, None)
        }
        ("AgentOS", _) => {
            let stream = if way == "stream" { "true" } else { "false" };
            let path = format!("/{kind}s/{id}/runs");
            let read = site.stream(&path, &[("message", input), ("stream", stream)]);
            read.join().expect("it is read")
        }
        (_, "wait") => {
            let body = json!({ "assistant_id": id, "input": { "message": input } });
            site.text("/runs/wait", Some(&body))
        }
        _ => {
            let input = json!({ "message": input });
            let body = json!({ "assistant_id": id, "input": input, "stream_mode": [way] });
            site.text("/runs/stream", Some(&body))
        }
    }
}

/// Yields a cell of the table.
fn cell(all: &str, word: &str) -> String {
    let facts = [("text", word)].into_iter().chain(FACTS);
    let found: Vec<_> = facts.filter(|(_, sign)| all.contains(sign)).map(|it| it.0).collect();
    if found.is_empty() { "–".to_owned() } else { found.join(", ") }
}

fn site() -> Site {
    let scratch = Scratch::new();
    scratch.write("quell.toml", &FILE.replace("URL", &peer()));
    scratch.write("plan.toml", PLAN);
    scratch.write("says.sh", SAYS);
    Site::with(scratch, &["--demo", "--config", "quell.toml"])
}

#[test]
fn a_component_gets_the_input_that_the_page_says() {
    let site = site();
    let seen = || -> Value { serde_json::from_slice(&site.scratch.read("seen")).expect("JSON") };
    let anything = json!({ "topic": ["tea"] });
    let started = json!({ "component": "agent/notes", "input": anything });
    let run = site.post("/v1/runs", &started).1;
    let path = format!("/v1/runs/{}", run["id"].as_str().expect("an id"));
    wait_until("it has ended", || site.get(&path).1["status"] == "completed");
    assert_eq!(seen(), anything);
    site.stream("/agents/notes/runs", &[("message", "tea"), ("stream", "false")])
        .join()
        .expect("it is read");
    assert_eq!(seen(), "tea");
    // With its kind as well, as everywhere else.
    for name in ["notes", "agent/notes"] {
        let input = json!({ "topic": name });
        site.text("/runs/wait", Some(&json!({ "assistant_id": name, "input": input })));
        assert_eq!(seen()["topic"], name);
        let input = json!({ "message": name });
        site.text("/runs/wait", Some(&json!({ "assistant_id": name, "input": input })));
        assert_eq!(seen()["message"], name);
    }
}

#[test]
fn the_page_says_what_arrives_of_each_kind_through_each_contract_in_each_stream_mode() {
    let site = site();
    let mut rows = vec![
        format!("| contract | asked for | {} |\n", KINDS.map(|it| it.0).join(" | ")),
        format!("|{}\n", "---|".repeat(2 + KINDS.len())),
    ];
    for (contract, ways) in SHOWN {
        for way in ways {
            let cells = KINDS.map(|(_, name, word)| cell(&shown(&site, contract, way, name), word));
            rows.push(format!("| {contract} | `{way}` | {} |\n", cells.join(" | ")));
        }
    }
    let table = rows.concat();
    let path = repository().join("crates/quell-server/src/answers.md");
    let page = fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_at(page.find("| contract |").expect("a table"));
    let printed = rest.split_inclusive("|\n").take_while(|line| line.starts_with('|'));
    let printed: String = printed.collect();
    if std::env::var_os("QUELL_REGENERATE").is_some() {
        let whole = format!("{before}{table}{}", &rest[printed.len()..]);
        fs::write(&path, whole).expect("the page can be written");
        return;
    }
    assert_eq!(
        printed, table,
        "the table of answers.md is another one; regenerate it: QUELL_REGENERATE=1 cargo test -p \
         quell-server --test run answers::"
    );
    let shown = site.scratch.run(&["help", "answers"]);
    assert_eq!(shown.stdout.trim_end(), page.trim_end());
}
