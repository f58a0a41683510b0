//! The example of a node, in processes that are killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::crew::{expire, on_threads};
use crate::fixture::Place;

#[expect(dead_code, reason = "here nobody calls its `main`")]
#[path = "../../examples/node.rs"]
mod node;

/// The address of the database of a child, and the name of its node.
const ADDRESS: &str = "QUELL_EXAMPLE_ADDRESS";
const NAME: &str = "QUELL_EXAMPLE_NAME";

/// A process that runs the example.
struct Process {
    child: Child,
    lines: Receiver<String>,
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts one, and waits until it is up. Yields with how many runs it goes on.
    fn start(place: &Place<'_>, name: &str) -> (Self, String) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["example::is_a_node_if_it_is_told_to", "--exact", "--nocapture", "--quiet"]);
        command.env(ADDRESS, place.server.address(&place.database)).env(NAME, name);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let (say, lines) = channel();
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| say.send(line))
        });
        let mut process = Self { child, lines, stdin };
        let up = process.until(&format!("{name} is up; runs that go on: "), || {});
        (process, up)
    }

    /// Gives it a line.
    fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Reads what it says until a line begins like this, and yields the rest of that. Does
    /// something again and again meanwhile.
    fn until(&mut self, start: &str, again: impl Fn()) -> String {
        let until = Instant::now() + Duration::from_mins(1);
        while Instant::now() < until {
            let Ok(line) = self.lines.recv_timeout(Duration::from_millis(50)) else {
                again();
                continue;
            };
            // The words of the harness have no end of the line.
            if let Some((_, rest)) = line.split_once(start) {
                return rest.to_owned();
            }
        }
        panic!("it never says `{start}`")
    }

    /// Ends its lines, and waits until it has ended.
    fn end(mut self) {
        self.stdin = None;
        assert_eq!(self.until("is down; facts not known to be stored: ", || {}), "0");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a child does.
#[test]
fn is_a_node_if_it_is_told_to() {
    let (Ok(address), Ok(name)) = (std::env::var(ADDRESS), std::env::var(NAME)) else { return };
    on_threads(async { node::run(address, name, node::lines_of_stdin()).await.unwrap() });
}

#[test]
fn a_run_of_a_node_that_is_killed_goes_on_at_another_and_is_stopped_through_a_third() {
    let place = Place::shared();
    let (mut a, _) = Process::start(&place, "a");
    let (mut b, goes_on) = Process::start(&place, "b");
    assert_eq!(goes_on, "0");
    a.tell("start order-7");
    a.until("order-7 is started, with the id ", || {});
    a.until("counted 3", || {});
    a.child.kill().unwrap();
    a.child.wait().unwrap();
    let rest = b.until("took over from a; runs that go on: ", || expire(&place, "a"));
    assert_eq!(rest, "1");
    let number: u64 = b.until("counted ", || {}).parse().unwrap();
    assert!(number > 3, "it goes on behind what was saved: {number}");

    let (mut c, _) = Process::start(&place, "c");
    c.tell("stop order-7");
    let answer = c.until("order-7 is asked to stop: ", || {});
    assert!(answer.starts_with("Accepted"), "{answer}");
    c.tell("start order-7");
    let refused = c.until("order-7 is not started: ", || {});
    assert!(refused.contains("in use"), "{refused}");
    b.end();
    c.end();
}
