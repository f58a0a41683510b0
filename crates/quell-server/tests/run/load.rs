//! `quell serve` among clients that leave, linger, or do not read.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::site::Site;
use crate::support::{Scratch, wait_until};

// I31, with bytes behind the request, as old clients send them.
#[test]
fn i31_a_client_that_left_is_noticed_behind_bytes_that_nobody_reads() {
    let site = Site::demo(&[]);
    for (probe, behind) in
        [("line", "\r\n"), ("next", "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")]
    {
        let body = format!("message=ticks%3D100000+probe%3D{probe}&stream=false");
        let request = format!(
            "POST /agents/slow-agent/runs HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n\
             {body}{behind}",
            body.len()
        );
        let mut client = TcpStream::connect(site.address()).expect("it listens");
        client.write_all(request.as_bytes()).expect("it reads");
        wait_until("the run works", || site.ticks(probe) > 0);
        drop(client);
        wait_until("the run was cancelled", || {
            let before = site.ticks(probe);
            thread::sleep(Duration::from_millis(200));
            site.ticks(probe) == before
        });
    }
    let (_, runs) = site.get("/v1/runs?status=cancelled");
    assert_eq!(runs["total"], 2, "{runs}");
    site.signal("TERM");
    assert_eq!(site.ended().0.code, Some(0));
}

// B7: the log is longer than a pipe holds, and nobody reads it.
#[test]
fn it_ends_when_told_although_nobody_reads_its_stderr() {
    let scratch = Scratch::new();
    let (unread, stderr) = std::io::pipe().expect("a pipe");
    let site = Site::heard(scratch, &["--demo", "--log", "trace"], Stdio::from(stderr));
    for _ in 0..300 {
        assert_eq!(site.get("/v1/runs").0, 200);
    }
    site.signal("TERM");
    let (ended, _) = site.ended();
    assert_eq!(ended.code, Some(0));
    drop(unread);
}

// 64 descriptors are 32 connections: 24 for streams, waits and starts.
#[test]
fn a_cancel_and_a_read_find_a_place_behind_streams_and_idle_connections() {
    let scratch = Scratch::new();
    let site = Site::under("ulimit -n 64", scratch, &["--demo"]);
    let component = json!({ "kind": "agent", "id": "slow-agent" });
    let input = json!({ "message": "ticks=100000 probe=places" });
    let body = json!({ "component": component, "id": "places", "input": input });
    assert_eq!(site.post("/v1/runs", &body).0, 201);
    let ask = |request: &str| {
        let mut client = TcpStream::connect(site.address()).expect("it listens");
        client.write_all(request.as_bytes()).expect("it reads");
        client
    };
    let stream = "GET /v1/runs/places/events HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let status = |client: &mut TcpStream| {
        let mut line = [0; 12];
        client.read_exact(&mut line).expect("it answers");
        String::from_utf8_lossy(&line[9..]).into_owned()
    };
    let mut readers: Vec<_> = (0..24).map(|_| ask(stream)).collect();
    for reader in &mut readers {
        assert_eq!(status(reader), "200");
    }
    assert_eq!(status(&mut ask(stream)), "503");
    // In the words of each contract, for pages too.
    let mut refused = ask("POST /runs/wait HTTP/1.1\r\nhost: localhost\r\n\
                           connection: close\r\ncontent-length: 0\r\n\r\n");
    let mut told = String::new();
    refused.read_to_string(&mut told).expect("it answers");
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("\r\n\r\n{\"detail\":"), "{told}");
    assert!(told.contains("access-control-allow-origin: *"), "{told}");
    // As many as there are places, and more, of which nothing comes but their first bytes.
    let idle: Vec<_> = (0..40).map(|_| ask("GET /heal")).collect();
    let (code, told) = site.post("/v1/runs/places/cancel", &json!({}));
    assert_eq!((code, told["disposition"].as_str()), (200, Some("accepted")), "{told}");
    assert_eq!(site.get("/v1/runs/places").0, 200);
    drop((readers, idle));
    site.signal("TERM");
    assert_eq!(site.ended().0.code, Some(0));
}

// 24 places for what holds a connection for long: 40 cancels that wait do not take all 32.
#[test]
fn cancels_that_wait_leave_places_for_those_that_do_not() {
    let site = Site::under("ulimit -n 64", Scratch::new(), &["--demo"]);
    let component = json!({ "kind": "agent", "id": "slow-agent" });
    let input = json!({ "message": "ticks=100000 tick_ms=100 probe=awaited" });
    let body = json!({ "component": component, "id": "awaited", "input": input });
    assert_eq!(site.post("/v1/runs", &body).0, 201);
    // A run that has not begun would end at the first of these cancels.
    wait_until("it has begun", || !site.get("/_bench/ticks?probe=awaited").1["marks"][0].is_null());
    let year = 31_536_000_000_u64;
    let body = json!({ "mode": "after_step", "escalate_after_ms": year, "wait": "terminal" });
    let body = body.to_string();
    let request = format!(
        "POST /v1/runs/awaited/cancel HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let ask = || {
        let mut client = TcpStream::connect(site.address()).expect("it listens");
        client.write_all(request.as_bytes()).expect("it reads");
        client
    };
    let waiting: Vec<_> = (0..40).map(|_| ask()).collect();
    assert_eq!(site.get("/healthz").0, 200);
    let (code, told) = site.post("/v1/runs/awaited/cancel", &json!({ "mode": "abort" }));
    assert_eq!((code, told["disposition"].as_str()), (200, Some("escalated")), "{told}");
    drop(waiting);
    site.signal("TERM");
    assert_eq!(site.ended().0.code, Some(0));
}

// The system says what limit the server has, the program what limit it was given.
#[test]
fn the_server_has_all_descriptors_there_may_be_and_its_programs_as_many_as_before() {
    let scratch = Scratch::new();
    let told = scratch.path("limit");
    // The limit is restored right after the program has begun.
    let script = format!("sleep 0.5; ulimit -Sn > {0}.new; mv {0}.new {0}", told.display());
    let config = format!("[agents.limit]\nrun = [\"sh\", \"-c\", \"{script}\"]\n");
    let file = scratch.write("quell.toml", &config).display().to_string();
    let site = Site::under("ulimit -Sn 20", scratch, &["--config", &file]);
    let component = json!({ "kind": "agent", "id": "limit" });
    let (status, run) = site.post("/v1/runs", &json!({ "component": component }));
    assert_eq!(status, 201, "{run}");
    let limits = fs::read_to_string(format!("/proc/{}/limits", site.pid())).expect("it lives");
    let of_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let words: Vec<_> = of_files.expect("a limit").split_whitespace().collect();
    assert!(words[0] == words[1] && words[0] != "20", "{words:?}");
    wait_until("the program says its limit", || told.exists());
    assert_eq!(site.scratch.read("limit"), b"20\n");
    site.signal("TERM");
    assert_eq!(site.ended().0.code, Some(0));
}

// A quarter of 64 descriptors is for programs, of which each has 4 at most.
#[test]
fn programs_leave_descriptors_for_cancels_and_a_cancel_ends_the_wait_for_them() {
    let scratch = Scratch::new();
    let script = format!("touch {}.$QUELL_RUN_ID; sleep 600", scratch.path("up").display());
    let config = format!(
        "[server]\nrunning_max = 100\n\n[agents.sleeper]\nrun = [\"sh\", \"-c\", \"{script}\"]\n"
    );
    let file = scratch.write("quell.toml", &config).display().to_string();
    let site = Site::under("ulimit -n 64", scratch, &["--config", &file]);
    let component = json!({ "kind": "agent", "id": "sleeper" });
    for id in 0..40 {
        let body = json!({ "component": component, "id": format!("r{id}") });
        assert_eq!(site.post("/v1/runs", &body).0, 201);
    }
    let up = |id: usize| site.scratch.path(&format!("up.r{id}")).exists();
    let ups = || (0..40).filter(|id| up(*id)).count();
    wait_until("four programs run", || ups() == 4);
    let cancel = |id: usize| {
        let (code, told) =
            site.post(&format!("/v1/runs/r{id}/cancel"), &json!({ "wait": "quiescent" }));
        assert_eq!((code, told["disposition"].as_str()), (200, Some("accepted")), "{told}");
    };
    cancel(39);
    assert_eq!(site.get("/v1/runs/r39").1["status"], "cancelled");
    assert_eq!(ups(), 4);
    cancel((0..40).find(|id| up(*id)).expect("four run"));
    wait_until("the next one runs", || ups() == 5);
    assert!(!up(39), "its run was cancelled while it waited");
    site.signal("TERM");
    assert_eq!(site.ended().0.code, Some(0));
}

// 32 places, and 40 clients behind the one who reads.
#[test]
fn who_takes_a_large_answer_slowly_keeps_their_place_until_they_have_it() {
    let site = Site::under("ulimit -n 64", Scratch::new(), &["--demo"]);
    let component = json!({ "kind": "agent", "id": "slow-agent" });
    let input = json!({ "message": "ticks=1", "text": "x".repeat(14 << 20) });
    let body = json!({ "component": component, "id": "large", "input": input });
    assert_eq!(site.post("/v1/runs", &body).0, 201);
    let ask = |request: &str| {
        let mut client = TcpStream::connect(site.address()).expect("it listens");
        client.write_all(request.as_bytes()).expect("it reads");
        client
    };
    let mut reader =
        ask("GET /v1/runs/large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut answer = vec![0; 4 << 10];
    reader.read_exact(&mut answer).expect("it answers");
    let idle: Vec<_> = (0..40)
        .map(|_| {
            let one = ask("GET /heal");
            let mut more = [0; 4 << 10];
            reader.read_exact(&mut more).expect("it goes on");
            answer.extend(more);
            one
        })
        .collect();
    assert_eq!(site.get("/healthz").0, 200);
    reader.read_to_end(&mut answer).expect("all of it comes");
    assert!(answer.len() > 14 << 20, "cut after {} bytes", answer.len());
    drop(idle);
    site.signal("TERM");
    assert_eq!(site.ended().0.code, Some(0));
}

/// Tells whether a connection is still open, and takes what has come on it.
fn is_open(mut client: &TcpStream) -> bool {
    client.set_nonblocking(true).expect("a socket");
    let mut taken = [0; 4 << 10];
    loop {
        match client.read(&mut taken) {
            Ok(1..) => {}
            Ok(0) => return false,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

// 32 places, all of them taken by cancels whose body does not come: they would have half a minute,
// and then all of them are answered 408.
#[test]
fn who_sends_a_request_slowly_gives_their_place_to_others() {
    let site = Site::under("ulimit -n 64", Scratch::new(), &["--demo"]);
    let begun = "POST /v1/runs/some/cancel HTTP/1.1\r\nhost: localhost\r\n\
                 content-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let slow: Vec<_> = (0..32)
        .map(|_| {
            let mut client = TcpStream::connect(site.address()).expect("it listens");
            client.write_all(begun.as_bytes()).expect("it reads");
            client
        })
        .collect();
    assert_eq!(site.get("/healthz").0, 200);
    let open = slow.iter().filter(|client| is_open(client)).count();
    assert!(open >= 24, "{open} of 32 still have their places: the others were given up");
    drop(slow);
    site.signal("TERM");
    assert_eq!(site.ended().0.code, Some(0));
}
