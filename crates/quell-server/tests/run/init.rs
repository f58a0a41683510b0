//! `quell init`: the example is fine, runs, and replaces nothing.

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Running, Scratch, wait_until};

#[test]
fn the_example_is_checked_run_and_served_as_it_is() {
    let scratch = Scratch::new();
    let ended = scratch.run(&["init"]);
    ended.assert_code(0);
    assert!(ended.stdout.starts_with("wrote quell.toml and publish.toml; next:\n"), "{ended:?}");
    assert_eq!(scratch.names(), ["publish.toml", "quell.toml"]);
    let ended = scratch.run(&["check"]);
    ended.assert_code(0);
    assert_eq!(ended.stdout, "quell.toml: 2 agents, 1 team, 1 workflow: fine\n");
    let args = ["run", "publish.toml", "--input", "\"tea\"", "--report", "r.json"];
    scratch.run(&args).assert_code(0);
    let output = &scratch.json("r.json")["output"];
    assert_eq!(output["write"], "a line on \"tea\"", "{output}");
    assert_eq!(output["count"]["stdout"].as_str().map(str::trim), Some("4"), "{output}");

    let site = Site::with(scratch, &["--config", "quell.toml"]);
    for (component, right) in [
        ("agent/writer", json!("a line on \"tea\"")),
        ("team/desk", json!({ "approved": "a line on \"tea\"" })),
    ] {
        let asked = json!({ "component": component, "input": "tea" });
        let (status, run) = site.post("/v1/runs", &asked);
        assert_eq!((status, &run["component"]), (201, &component.into()), "{run}");
        let path = format!("/v1/runs/{}", run["id"].as_str().expect("an id"));
        let mut run = Value::Null;
        wait_until("it has ended", || {
            run = site.get(&path).1;
            run["ended_at"].is_string()
        });
        assert_eq!((&run["status"], &run["output"]), (&"completed".into(), &right), "{run}");
    }
}

#[test]
fn the_file_of_the_folder_is_served_unless_another_one_or_the_demo_is_asked_for() {
    let names = |site: &Site| {
        let all = site.get("/agents").1;
        let all = all.as_array().expect("a list").iter();
        all.map(|agent| agent["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[agents.here]\nrun = ['cat']\n");
    scratch.write("other.toml", "[agents.other]\nrun = ['cat']\n");
    let site = Site::with(scratch, &[]);
    assert_eq!(names(&site), ["here"]);
    site.signal("TERM");
    let (ended, scratch) = site.ended();
    assert!(ended.stderr.contains("serving quell.toml; --config reads another file"), "{ended:?}");
    let site = Site::with(scratch, &["--config", "other.toml"]);
    assert_eq!(names(&site), ["other"]);
    site.signal("TERM");
    let (ended, scratch) = site.ended();
    assert!(!ended.stderr.contains("serving"), "{ended:?}");
    let site = Site::with(scratch, &["--demo"]);
    assert!(!names(&site).contains(&"here".to_owned()), "{:?}", names(&site));
}

#[test]
fn the_key_of_the_example_is_right_once_it_is_no_comment() {
    let scratch = Scratch::new();
    scratch.run(&["init", "mine.toml"]).assert_code(0);
    let text = String::from_utf8(scratch.read("mine.toml")).expect("text");
    let (before, key) = text.split_once("# [[keys]]").expect("a key");
    scratch.write("mine.toml", &format!("{before}[[keys]]{}", key.replace("\n# ", "\n")));
    let mut command = scratch.quell(&["check", "mine.toml"]);
    command.env("OPS_KEY", "hush");
    let ended = Running::start(command).ended();
    ended.assert_code(0);
    assert_eq!(ended.stdout, "mine.toml: 2 agents, 1 team, 1 workflow, 1 key: fine\n");
}

#[test]
fn nothing_is_overwritten_and_nothing_is_written_by_halves() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", "mine");
    let ended = scratch.run(&["init"]);
    ended.assert_code(2);
    let words = "error: quell.toml is there already; expected the name of a new file\n";
    assert_eq!(ended.stderr, words);
    assert_eq!(
        (scratch.names(), scratch.read("quell.toml")),
        (vec!["quell.toml".into()], b"mine".to_vec())
    );
    scratch.write("publish.toml", "mine as well");
    let ended = scratch.run(&["init", "other.toml"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("publish.toml is there already"), "{ended:?}");
    scratch.run(&["init", "publish.toml"]).assert_code(2);
    assert_eq!(scratch.names(), ["publish.toml", "quell.toml"]);
    assert_eq!(scratch.read("publish.toml"), b"mine as well");
    scratch.run(&["init", "no/such/folder/quell.toml"]).assert_code(2);
    // The plan of that name is the one beside the file.
    let empty = Scratch::new();
    let ended = empty.run(&["init", "publish.toml"]);
    ended.assert_code(2);
    let words = "error: publish.toml is the plan beside the file; expected another name\n";
    assert_eq!(ended.stderr, words);
    assert_eq!(empty.names(), Vec::<String>::new());
}

#[test]
fn a_full_disk_leaves_nothing_of_the_example() {
    let scratch = Scratch::new();
    let mut full = scratch.program("sh");
    let quell = env!("CARGO_BIN_EXE_quell");
    // A file can have one block: the write beyond it fails.
    full.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" init", quell]);
    let ended = Running::start(full).ended();
    ended.assert_code(2);
    assert!(ended.stderr.starts_with("error: quell.toml cannot be written: "), "{ended:?}");
    assert_eq!(scratch.names(), Vec::<String>::new());
    scratch.run(&["init"]).assert_code(0);
}
