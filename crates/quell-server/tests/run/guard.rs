//! Programs of a `quell` that was killed: SIGKILL to the real binary, and `/proc` as the witness.

use crate::site::Site;
use crate::support::{Running, Scratch, is_alive, send, wait_until};

/// Three programs: one of the group, one that has left it, one that is deaf to SIGTERM.
const STUBBORN: &str = "echo $$ > pid1; setsid sh -c 'echo $$ > pid2; exec sleep 1000' & \
                        (trap '' TERM; sh -c 'echo $PPID > pid3'; while :; do sleep 1; done) & \
                        exec sleep 1000";

fn wait_for_pids(scratch: &Scratch) -> Vec<u32> {
    wait_until("all have written their pids", || scratch.pids().len() == 3);
    let pids = scratch.pids();
    assert!(pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
    pids
}

/// Yields the guardian of a `quell`. One that was started just now has no command line yet.
pub(crate) fn guardian_of(quell: u32) -> u32 {
    let mut found = None;
    wait_until("there is a guardian", || {
        found = look_for_guardian(quell);
        found.is_some()
    });
    found.expect("it was waited for")
}

/// Yields the guardian of a `quell`, if one is to be seen that lives.
fn look_for_guardian(quell: u32) -> Option<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc is there");
    let mut pids = entries.filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok());
    pids.find(|pid: &u32| {
        let read = |file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let parent = format!("\nPPid:\t{quell}\n");
        read("cmdline").ends_with(b"\0guard\0")
            && String::from_utf8_lossy(&read("status")).contains(&parent)
            && is_alive(*pid)
    })
}

/// Tells whether a process has a handler for SIGTERM, which is number 15.
fn catches_sigterm(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << 14) != 0)
}

#[test]
fn programs_do_not_outlive_a_killed_run() {
    let scratch = Scratch::new();
    let running = Running::start(scratch.quell(&["run", "--", "sh", "-c", STUBBORN]));
    wait_for_pids(&scratch);
    running.signal("KILL");
    // What ends has no environment any more, by which it is known, before it is dead.
    let pids = scratch.pids();
    let is_none_alive = || !pids.iter().any(|pid| is_alive(*pid));
    wait_until("nothing is left", || scratch.survivors().is_empty() && is_none_alive());
    scratch.assert_nothing_is_left(3);
    running.ended();
}

#[test]
fn programs_do_not_outlive_a_killed_server_whose_guardian_was_killed_before() {
    let scratch = Scratch::new();
    let text = serde_json::json!([STUBBORN]).to_string();
    let text = format!(
        "[agents.stubborn]\nrun = [\"sh\", \"-c\", {}]\n[agents.brief]\nrun = [\"true\"]\n",
        &text[1..text.len() - 1]
    );
    scratch.write("quell.toml", &text);
    let secret = [("A_SECRET", "hush")];
    let site = Site::with_env(scratch, &["--config", "quell.toml"], &secret);
    let start = |id: &str| {
        let component = serde_json::json!({ "kind": "agent", "id": id });
        let body = serde_json::json!({ "component": component, "input": {} });
        let (status, answer) = site.post("/v1/runs", &body);
        assert!(status < 300, "{status}: {answer}");
        format!("/v1/runs/{}", answer["id"].as_str().expect("an id"))
    };
    start("stubborn");
    wait_for_pids(&site.scratch);
    let first = guardian_of(site.pid());
    let environment = std::fs::read(format!("/proc/{first}/environ")).expect("it is ours");
    assert!(environment.is_empty(), "{}", String::from_utf8_lossy(&environment));
    wait_until("it catches SIGTERM", || catches_sigterm(first));
    send("TERM", first);
    assert!(is_alive(first), "a guardian is deaf to what is meant for its server");
    send("KILL", first);
    wait_until("it is dead", || !is_alive(first));
    // No program has to start or to end for that.
    let another = || look_for_guardian(site.pid()).is_some_and(|pid| pid != first);
    wait_until("there is another", another);
    // It is told of all programs before another one can begin.
    let brief = start("brief");
    wait_until("it has ended", || site.get(&brief).1["status"] == "completed");
    site.signal("KILL");
    let scratch = site.ended().1;
    wait_until("nothing is left", || scratch.survivors().is_empty());
    scratch.assert_nothing_is_left(3);
}

#[test]
fn a_program_that_prints_without_end_costs_bounded_memory() {
    let scratch = Scratch::new();
    // `$PPID` is the binary itself.
    let text = "head -c 60000000 /dev/zero | tr '\\0' x; head -c 20000000 /dev/zero; yes | head -c \
                20000000; grep VmHWM /proc/$PPID/status > peak";
    let running = Running::start(scratch.quell(&["run", "--", "sh", "-c", text]));
    running.ended().assert_code(0);
    let peak = String::from_utf8(scratch.read("peak")).unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 128 << 10, "{kib} KiB at most");
}

#[test]
fn what_is_always_another_process_does_not_outlive_a_killed_run() {
    for lifetime in ["0", "0.005", "0.05"] {
        let scratch = Scratch::new();
        let hydra = "trap '' TERM; [ -e pid ] || exit; echo $$ >> log; sleep $1
            setsid sh hydra $1 &";
        scratch.write("hydra", hydra);
        let text = "echo $$ > pid; setsid sh hydra $1 & exec sleep 1000";
        let args = ["run", "--", "sh", "-c", text, "sh", lifetime];
        let running = Running::start(scratch.quell(&args));
        let lines = || String::from_utf8_lossy(&scratch.read("log")).lines().count();
        wait_until("it is another for the fifth time", || lines() >= 5);
        let guardian = guardian_of(running.pid());
        running.signal("KILL");
        wait_until("the guardian is done", || !is_alive(guardian));
        let before = lines();
        // Each look may miss what is another process by now; not so many of them.
        for _ in 0..100 {
            scratch.assert_nothing_is_left(1);
        }
        assert_eq!(lines(), before, "it writes");
        running.ended();
    }
}

/// The server looks for processes that hold a pipe of a stopped program until the pipe is closed.
/// If the server is killed meanwhile, the guardian does.
#[test]
fn who_holds_a_pipe_of_a_stopped_program_does_not_outlive_a_killed_server() {
    let scratch = Scratch::new();
    // It is without the mark and the number when it is looked for, and has the mark again later.
    let again = "echo $$ > pid; until [ -e again ]; do sleep 0.01; done
        QUELL_PROCESS_IDS=$M exec sleep 1000";
    scratch.write("again.sh", again);
    // The start is over when it has its input.
    let text = "read _; prlimit --locks=unlimited env -i M=\"$QUELL_PROCESS_IDS\" PATH=\"$PATH\" \
        setsid sh again.sh & exec sleep 1000";
    let text = serde_json::json!([text]).to_string();
    let text = format!("[agents.holder]\nrun = [\"sh\", \"-c\", {}]\n", &text[1..text.len() - 1]);
    scratch.write("quell.toml", &text);
    let site = Site::with(scratch, &["--config", "quell.toml"]);
    let component = serde_json::json!({ "kind": "agent", "id": "holder" });
    let body = serde_json::json!({ "component": component, "input": {} });
    let (status, answer) = site.post("/v1/runs", &body);
    assert!(status < 300, "{status}: {answer}");
    let run = format!("/v1/runs/{}", answer["id"].as_str().expect("an id"));
    wait_until("it has written its pid", || site.scratch.pids().len() == 1);
    let holder = site.scratch.pids()[0];
    let guardian = guardian_of(site.pid());
    let (status, answer) = site.post(&format!("{run}/cancel"), &serde_json::json!({}));
    assert!(status < 300, "{status}: {answer}");
    wait_until("the run is over", || site.get(&run).1["status"] == "cancelled");
    assert_eq!(site.get(&run).1["quiescent"], false, "{:?}", site.get(&run));
    assert!(is_alive(holder));
    // The server does not look any more when the mark is there again.
    site.signal("STOP");
    site.scratch.write("again", "");
    let has_mark = || {
        let environ = std::fs::read(format!("/proc/{holder}/environ")).unwrap_or_default();
        environ.windows(18).any(|at| at == b"QUELL_PROCESS_IDS=")
    };
    wait_until("it has the mark again", has_mark);
    site.signal("KILL");
    let _scratch = site.ended().1;
    wait_until("the guardian is done", || !is_alive(guardian));
    let is_left = is_alive(holder);
    send("KILL", holder);
    assert!(!is_left, "{holder} is alive");
}

/// Leaves its group for that of `quell`, and gives up the mark.
const CHANGES_ITS_GROUP: &str = "import os
os.setpgid(0, os.getpgid(os.getppid()))
open('pid', 'w').write(str(os.getpid()))
os.execve('/bin/sleep', ['sleep', '1000'], {})";

#[test]
fn a_leader_that_changed_its_group_and_gave_up_the_mark_does_not_outlive_a_killed_run() {
    let scratch = Scratch::new();
    let running = Running::start(scratch.quell(&["run", "--", "python3", "-c", CHANGES_ITS_GROUP]));
    let is_asleep = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
    };
    wait_until("it has given up the mark", || scratch.pids().iter().any(is_asleep));
    let guardian = guardian_of(running.pid());
    running.signal("KILL");
    wait_until("the guardian is done", || !is_alive(guardian));
    scratch.assert_nothing_is_left(1);
    running.ended();
}

#[test]
fn what_left_its_group_and_gave_up_the_mark_does_not_outlive_a_killed_run() {
    let scratch = Scratch::new();
    // It has the number of the program, which is given to that just after its start.
    let text = "locks() { grep 'Max file locks' /proc/$1/limits; }
        until [ \"$(locks $$)\" != \"$(locks $PPID)\" ]; do :; done
        env -i PATH=\"$PATH\" setsid sh -c 'echo $$ > pid; exec sleep 1000' & exec sleep 1000";
    let running = Running::start(scratch.quell(&["run", "--", "sh", "-c", text]));
    wait_until("it has written its pid", || scratch.pids().len() == 1);
    let guardian = guardian_of(running.pid());
    running.signal("KILL");
    wait_until("the guardian is done", || !is_alive(guardian));
    scratch.assert_nothing_is_left(1);
    running.ended();
}

/// Has a child that counts the SIGTERM that it gets, and leaves the group at the first one.
const COUNTS: &str = "import os, signal
if os.fork():
    while True: signal.pause()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
open('pid', 'w').write(str(os.getpid()))
for count in range(1, 10):
    signal.sigwait([signal.SIGTERM])
    if count == 1: os.setsid()
    open('log', 'a').write(f'{count}')";

#[test]
fn what_leaves_its_group_at_the_sigterm_of_the_guardian_gets_no_second_one() {
    let scratch = Scratch::new();
    let running = Running::start(scratch.quell(&["run", "--", "python3", "-c", COUNTS]));
    wait_until("it waits", || scratch.pids().len() == 1);
    let guardian = guardian_of(running.pid());
    running.signal("KILL");
    wait_until("the guardian is done", || !is_alive(guardian));
    scratch.assert_nothing_is_left(1);
    // On a busy machine SIGKILL comes before it has written that.
    let log = String::from_utf8_lossy(&scratch.read("log")).into_owned();
    assert!("1".starts_with(&log), "{log}");
    running.ended();
}
