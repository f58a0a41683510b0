//! `quell tree` and `quell logs`.

use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::{ask, lines, start, words};
use crate::site::{Site, end_of};
use crate::support::{Running, Scratch, wait_until};

/// What passes connections on to a server, and cuts them when the test says so.
struct Door {
    address: SocketAddr,
    passed: Arc<Mutex<Vec<TcpStream>>>,
}

impl Door {
    fn to(site: &Site) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (behind, passed) = (site.address().to_owned(), Arc::new(Mutex::default()));
        let all: Arc<Mutex<Vec<TcpStream>>> = Arc::clone(&passed);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(&behind).expect("it listens");
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (copy(from), copy(to));
                    thread::spawn(move || {
                        // A connection that is cut ends here.
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                all.lock().expect("nobody panics here").push(client);
            }
        });
        Self { address, passed }
    }

    /// Tells whether there is a connection that was not cut.
    fn is_open(&self) -> bool {
        !self.passed.lock().expect("nobody panics here").is_empty()
    }

    /// Cuts all connections. Others may be made.
    fn cut(&self) {
        for client in self.passed.lock().expect("nobody panics here").drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn copy(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a socket")
}

#[test]
fn a_stream_that_is_cut_goes_on_from_the_last_event_on() {
    let site = Site::demo(&[]);
    let door = Door::to(&site);
    start(&site, "workflow/slow", "r", &json!({}));
    let server = format!("http://{}", door.address);
    let mut command = site.scratch.quell(&["logs", "-f", "r", "--json", "--server", &server]);
    command.stdout(File::create(site.scratch.path("events")).expect("a file"));
    let follows = Running::start(command);
    let printed = || String::from_utf8(site.scratch.read("events")).expect("text");
    let count = || printed().lines().count();
    for nth in 0..=2 {
        // What is printed from here on comes from a connection that has had its answer.
        wait_until("it is asked", || door.is_open());
        let before = count();
        wait_until("events are printed", || count() > before);
        if nth < 2 {
            door.cut();
        }
    }
    wait_until("it goes on", || count() >= 9);
    assert_eq!(site.post("/v1/runs/r/cancel", &json!({})).0, 200);
    let ended = follows.ended();
    ended.assert_code(0);
    assert_eq!(ended.stderr.matches("it is asked again").count(), 2, "{ended:?}");
    let text = printed();
    let printed = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let right: Vec<_> = site.log("r").into_iter().map(|(_, event)| event).collect();
    assert_eq!(printed.collect::<Vec<_>>(), right, "each once, in their order");
}

#[test]
fn the_events_so_far_are_printed_of_a_run_that_goes_on_and_all_of_one_that_has_ended() {
    let site = Site::demo(&[]);
    start(&site, "workflow/slow", "r", &json!({}));
    let so_far = ask(&site, &["logs", "r"]);
    let shown = &so_far.assert_code(0).stdout;
    assert!(shown.contains("  slow  running\n"), "{shown}");
    assert_eq!(site.get("/v1/runs/r").1["status"], "running");
    site.post("/v1/runs/r/cancel", &json!({ "reason": "enough" }));
    end_of(&site, "r");
    let whole = ask(&site, &["logs", "r"]);
    let shown = &whole.assert_code(0).stdout;
    assert!(shown.contains("  slow  stopping: user-request: enough\n"), "{shown}");
    assert!(
        whole.stdout.lines().last().is_some_and(|line| line.contains("  slow  cancelled after"))
    );
    ask(&site, &["logs", "nobody"]).assert_code(2);
}

#[test]
fn all_that_a_run_has_said_so_far_is_printed_however_much_that_is() {
    let site = Site::demo(&[]);
    start(&site, "workflow/slow", "c", &json!({ "ms": 600_000, "chunk_ms": 1 }));
    let is_long = || site.get("/v1/runs/c/log?after=1200").1["events"] != json!([]);
    wait_until("it has said much", is_long);
    let said = lines(&ask(&site, &["logs", "c", "--json"]));
    let numbers: Vec<_> =
        said.iter().map(|event| event["seq"].as_u64().expect("a number")).collect();
    assert!(numbers.len() > 1_200);
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[test]
fn events_are_printed_byte_for_byte_as_they_were_said_followed_or_not() {
    let values = [
        "1E400",
        "12345678901234567890123456789.100",
        "-0",
        r#"{"k":1,"k":2,"a":0}"#,
        r#"["\u0041\/"]"#,
    ];
    let said = values.map(|value| format!("{{\"event\":\"custom\",\"data\":{value}}}\n")).concat();
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[agents.says]\nrun = [\"cat\", \"said\"]\n");
    scratch.write("said", &said);
    let site = Site::with(scratch, &["--config", "quell.toml"]);
    assert_eq!(site.post("/v1/runs", &json!({ "component": "agent/says", "id": "r" })).0, 201);
    end_of(&site, "r");
    let so_far = ask(&site, &["logs", "r", "--json"]);
    for value in values {
        let data = format!("\"data\":{value}");
        assert!(so_far.assert_code(0).stdout.contains(&data), "{data}: {}", so_far.stdout);
    }
    let followed = ask(&site, &["logs", "-f", "r", "--json"]);
    assert_eq!(so_far.stdout, followed.assert_code(0).stdout);
    let for_people = ask(&site, &["logs", "r"]);
    assert_eq!(for_people.assert_code(0).stdout, ask(&site, &["logs", "-f", "r"]).stdout);
}

#[test]
fn a_tree_is_drawn_with_its_depth_and_what_was_left() {
    let site = Site::demo(&[]);
    start(&site, "workflow/nested", "n", &json!({ "tag": "n" }));
    wait_until("all have begun", || {
        site.get("/v1/runs/n/tree").1["rows"].as_array().is_some_and(|rows| rows.len() == 3)
    });
    let drawn = ask(&site, &["tree", "n"]);
    let shown: Vec<_> = drawn.assert_code(0).stdout.lines().map(str::to_owned).collect();
    assert!(shown[0].starts_with("▶ nested") && shown[1].starts_with("  ▶ sub"), "{shown:?}");
    assert!(shown[2].starts_with("    ▶ inner"), "{shown:?}");
    let rows = lines(&ask(&site, &["tree", "n", "--json"]));
    assert_eq!(rows.iter().map(|row| &row["depth"]).collect::<Vec<_>>(), [0, 1, 2]);
    let below = rows[1]["uuid"].as_str().expect("text");
    let drawn = ask(&site, &["tree", below]).stdout;
    assert!(drawn.starts_with("▶ sub") && words(&drawn).len() == 2, "{drawn}");
    start(&site, "agent/spinner", "s", &json!({ "tag": "s", "ms": 600_000 }));
    site.wait_for("s", 1);
    ask(&site, &["cancel", "s", "--abort", "--wait", "terminal"]).assert_code(0);
    let left = ask(&site, &["tree", "s"]).stdout;
    assert!(left.starts_with("⊘ spinner  cancelled"), "{left}");
    assert!(left.contains("abandoned, and executes still: spinner"), "{left}");
}
