//! What arrives of a component through each contract and stream mode: the table of the page
//! `quell help answers`, made by asking.

use std::fs;

use serde_json::json;

use crate::site::Site;
use crate::support::{Scratch, repository, wait_until};

/// The kinds of components: how the page calls one, the name of one, and a word of its text.
const KINDS: [(&str, &str, &str); 6] = [
    ("program, agent", "agent/says", "spoken-word"),
    ("program, workflow", "workflow/flows", "spoken-word"),
    ("program that prints", "agent/prints", "printed-word"),
    ("plan", "workflow/plan", "spoken-word"),
    ("team", "team/desk", "spoken-word"),
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
"#;

const PLAN: &str = "name = \"plan\"\n[[steps]]\nname = \"say\"\nrun = [\"sh\", \"says.sh\"]\n";

const SAYS: &str = r#"cat > /dev/null
echo '{"event":"tool.started","id":"1","name":"lookup-tool","input":{"q":"tea"}}'
echo '{"event":"tool.ended","id":"1","output":"found"}'
echo '{"event":"usage","input_tokens":40961,"output_tokens":40963}'
echo '{"event":"content","text":"spoken-word"}'
"#;

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

#[test]
fn the_page_says_what_arrives_of_each_kind_through_each_contract_in_each_stream_mode() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", FILE);
    scratch.write("plan.toml", PLAN);
    scratch.write("says.sh", SAYS);
    let site = Site::with(scratch, &["--demo", "--config", "quell.toml"]);
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
