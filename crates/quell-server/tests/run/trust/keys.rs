//! Keys are read again at SIGHUP.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::json;

use super::{AGENT, log, renewed, site, told};
use crate::site::Site;
use crate::support::{Running, Scratch, is_alive, send, wait_until};

const READ: &str = "keys were read again";
const WRONG: &str = "keys stay as they were";

fn entry(subject: &str) -> String {
    format!("[[keys]]\nsubject = \"{subject}\"\nsecret_file = \"{subject}.key\"\n")
}

#[test]
fn a_key_that_is_added_is_taken_and_one_that_is_removed_is_refused_without_a_restart() {
    let scratch = Scratch::new();
    scratch.write("ada.key", "hush-ada-1\n");
    scratch.write("ben.key", "hush-ben-1\n");
    scratch.write("quell.toml", &format!("{AGENT}{}", entry("ada")));
    let site = site(scratch, &[]);
    assert_eq!((told(&site, "hush-ada-1"), told(&site, "hush-ben-1")), (200, 401));
    site.scratch.write("quell.toml", &format!("{AGENT}{}{}", entry("ada"), entry("ben")));
    assert_eq!(told(&site, "hush-ben-1"), 401, "nobody has asked for it");
    renewed(&site, 1, READ);
    assert_eq!((told(&site, "hush-ada-1"), told(&site, "hush-ben-1")), (200, 200));
    // Another secret of the same holder.
    site.scratch.write("ada.key", "hush-ada-2\n");
    renewed(&site, 2, READ);
    assert_eq!((told(&site, "hush-ada-1"), told(&site, "hush-ada-2")), (401, 200));
    site.scratch.write("quell.toml", &format!("{AGENT}{}", entry("ben")));
    renewed(&site, 3, READ);
    assert_eq!((told(&site, "hush-ada-2"), told(&site, "hush-ben-1")), (401, 200));
    assert!(!log(&site).contains("hush"), "{}", log(&site));
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn a_file_that_is_wrong_leaves_the_keys_as_they_were_and_no_secret_in_the_log() {
    let scratch = Scratch::new();
    scratch.write("ada.key", "hush-ada");
    let right = format!("{AGENT}{}", entry("ada"));
    scratch.write("quell.toml", &right);
    let site = site(scratch, &[]);
    let wrong = [
        (format!("{right}[[keys]]\nsubject = \"ben\"\nsecret_file = \"ben.key\"\n"), "this file"),
        (format!("{right}[[keys]]\nsubject = \"ben\"\n"), "is missing"),
        (format!("{right}[[keys\nsecret = 'hush-ben'\n"), "quell.toml:6"),
        (format!("{right}secret_env = \"hush-x\"\n"), "secret_file"),
        (AGENT.to_owned(), "no key is left"),
        (String::new(), "no key is left"),
    ];
    for (at, (file, says)) in wrong.iter().enumerate() {
        site.scratch.write("quell.toml", file);
        renewed(&site, at + 1, WRONG);
        wait_until(says, || log(&site).contains(says));
        assert_eq!((told(&site, "hush-ada"), told(&site, "other")), (200, 401), "{file}");
    }
    // Who watches for warnings learns that a key which was to go is still good, and why.
    let is_warning = |line: &str| line.contains("\"level\":\"WARN\"");
    for says in [WRONG, "no key is left", "this file", "is missing"] {
        let text = log(&site);
        let mut lines = text.lines().filter(|line| line.contains(says)).peekable();
        assert!(lines.peek().is_some() && lines.all(is_warning), "{says}: {text}");
    }
    fs::remove_file(site.scratch.path("quell.toml")).expect("it is there");
    renewed(&site, wrong.len() + 1, WRONG);
    assert_eq!((told(&site, "hush-ada"), told(&site, "other")), (200, 401));
    site.scratch.write("quell.toml", &right);
    site.scratch.write("ada.key", "hush-next");
    renewed(&site, 1, READ);
    assert_eq!((told(&site, "hush-ada"), told(&site, "hush-next")), (401, 200));
    assert!(!log(&site).contains("hush"), "{}", log(&site));
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn a_stream_of_a_key_that_was_removed_goes_on_and_its_next_request_is_refused() {
    let scratch = Scratch::new();
    scratch.write("ada.key", "hush-ada");
    scratch.write("ben.key", "hush-ben");
    let agent = "[agents.writer]\nrun = [\"sh\", \"-c\", \"while [ ! -e go ]; do sleep 0.02; done; \
                 echo end\"]\n";
    scratch.write("quell.toml", &format!("{agent}{}{}", entry("ada"), entry("ben")));
    let site = site(scratch, &[]);
    let body = json!({ "component": "agent/writer", "id": "one" }).to_string();
    let post = ureq::post(format!("http://{}/v1/runs", site.address()));
    let post = post.header("authorization", "Bearer hush-ada").content_type("application/json");
    assert_eq!(post.send(&body).expect("it starts").status(), 201);
    let mut stream = TcpStream::connect(site.address()).expect("it listens");
    let head = "GET /v1/runs/one/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer hush-ada";
    write!(stream, "{head}\r\n\r\n").expect("it reads");
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("HTTP/1.1 200 OK"));
    assert!(lines.any(|line| line.contains("\"started\"") || line.contains("event: started")));
    site.scratch.write("quell.toml", &format!("{agent}{}", entry("ben")));
    renewed(&site, 1, READ);
    assert_eq!(told(&site, "hush-ada"), 401);
    site.scratch.write("go", "");
    assert!(lines.any(|line| line.contains("completed")), "the stream tells the end");
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn a_server_that_is_asked_twice_without_a_terminal_goes_on_and_one_that_lost_it_drains() {
    let scratch = Scratch::new();
    let stderr = Stdio::from(File::create(scratch.path("log")).expect("a file"));
    let site = Site::heard(scratch, &["--demo"], stderr);
    for times in [1, 2] {
        renewed(&site, times, "callers have 0 keys and 0 issuers");
        assert_eq!(site.get("/healthz").0, 200);
    }
    site.signal("TERM");
    site.ended().0.assert_code(0);
    // `script` gives it a terminal, which is gone with it.
    let site = Site::in_terminal(Scratch::new(), "2> log", &[]);
    let server = String::from_utf8(site.scratch.read("pid")).expect("text");
    site.signal("KILL");
    wait_until("it drains", || {
        String::from_utf8_lossy(&site.scratch.read("log")).contains("SIGHUP: no new runs")
    });
    let server: u32 = server.trim().parse().expect("a number");
    wait_until("it has ended", || !is_alive(server));
}

#[test]
fn a_key_that_no_request_can_bring_is_a_fault_and_the_former_one_stays() {
    let scratch = Scratch::new();
    scratch.write("ada.key", "hush-ada\r\n");
    scratch.write("quell.toml", &format!("{AGENT}{}", entry("ada")));
    let site = site(scratch, &[]);
    let wrong = [
        ("hush-one\nhush-two\n", "several lines"),
        ("hush-ada ", "a blank at its begin or end"),
        ("\thush-ada", "a sign that no header can carry"),
        ("hush-schl\u{fc}ssel", "a sign that no header can carry"),
        ("hush\u{200b}ada", "a sign that no header can carry"),
        ("hush\0ada", "a sign that no header can carry"),
        ("\u{feff}hush-ada", "a byte order mark"),
    ];
    for (at, (key, says)) in wrong.iter().enumerate() {
        site.scratch.write("ada.key", key);
        renewed(&site, at + 1, WRONG);
        wait_until(says, || log(&site).contains(says));
        assert_eq!(told(&site, "hush-ada"), 200, "{key:?}");
        let checked = site.scratch.run(&["check"]);
        checked.assert_code(2);
        assert!(checked.stderr.contains(says) && !checked.stderr.contains("hush"), "{checked:?}");
    }
    assert!(!log(&site).contains("hush"), "{}", log(&site));
    site.signal("TERM");
    site.ended().0.assert_code(0);
    let scratch = Scratch::new();
    let table = "[[keys]]\nsubject = 'ada'\nsecret_env = 'ADAS_KEY'\n";
    let agentos = "[agentos]\nsecurity_key_env = 'ADAS_KEY'\n";
    // No variable has a sign NUL.
    for ((key, says), file) in wrong.iter().zip([table, agentos].iter().cycle()) {
        let says = if key.starts_with('\u{feff}') { "a sign that no header" } else { says };
        scratch.write("quell.toml", &format!("{AGENT}{file}"));
        let mut command = scratch.quell(&["check"]);
        command.env("ADAS_KEY", key.replace('\0', "\u{1}"));
        let checked = Running::start(command).ended();
        checked.assert_code(2);
        assert!(checked.stderr.contains(says) && !checked.stderr.contains("hush"), "{checked:?}");
    }
}

#[test]
fn a_secret_or_key_of_tokens_that_is_weak_or_can_verify_nothing_is_a_fault() {
    let scratch = Scratch::new();
    let tokens = |entry: &str| format!("{AGENT}[[tokens]]\n{entry}\n");
    scratch.write("short", &"x".repeat(31));
    scratch.write("long", &"x".repeat(32));
    for (name, text) in [
        ("few.pem", include_str!("../../../../quell-http/tests/keys/rs256_1024.pub.pem")),
        ("many.pem", include_str!("../../../../quell-http/tests/keys/rs256_8192.pub.pem")),
        ("curve.pem", include_str!("../../../../quell-http/tests/keys/es384.pub.pem")),
    ] {
        scratch.write(name, text);
    }
    let weak = "`secret_file`: a secret of HS256 with fewer than 32 bytes";
    for (file, says) in [
        (tokens("algorithm = 'HS256'\nsecret_file = 'short'"), weak),
        (tokens("algorithm = 'RS256'\npublic_key_file = 'few.pem'"), "fewer than 2048 bits"),
        (tokens("algorithm = 'RS256'\npublic_key_file = 'many.pem'"), "more than 4096 bits"),
        (tokens("algorithm = 'ES256'\npublic_key_file = 'curve.pem'"), "P-256"),
        (format!("{AGENT}[playbook3d]\ntoken_secret = 'hush'\n"), "`token_secret`: a secret of"),
        (format!("{AGENT}[playbook3d]\nplatform_key = 'hush '\n"), "`platform_key`: the key has"),
    ] {
        scratch.write("quell.toml", &file);
        let checked = scratch.run(&["check"]);
        checked.assert_code(2);
        assert!(checked.stderr.contains(says) && !checked.stderr.contains("hush"), "{checked:?}");
    }
    scratch.write("quell.toml", &tokens("algorithm = 'HS256'\nsecret_file = 'long'"));
    scratch.run(&["check"]).assert_code(0);
}

#[test]
fn a_server_that_is_told_to_read_its_keys_again_while_it_starts_goes_on_and_does_so() {
    let scratch = Scratch::new();
    // Enough that the signal comes while they are read.
    let agents = (0..2_000).map(|at| format!("[agents.a{at}]\nrun = [\"cat\"]\n"));
    scratch.write("quell.toml", &agents.collect::<String>());
    let mut command = scratch.quell(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    command.stderr(File::create(scratch.path("log")).expect("a file"));
    command.stdout(Stdio::null());
    let mut server = command.spawn().expect("it starts");
    let says = |words: &str| String::from_utf8_lossy(&scratch.read("log")).contains(words);
    wait_until("it begins to read", || says("serving quell.toml"));
    send("HUP", server.id());
    wait_until("it reads again", || says(READ) || !is_alive(server.id()));
    assert!(says(READ), "SIGHUP has ended it");
    send("TERM", server.id());
    assert!(server.wait().expect("it is ours").success());
}
