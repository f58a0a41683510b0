//! Signals: the first cancels, the second aborts, and nothing is left after either.

use std::process::{Command, Stdio};
use std::thread;

use crate::support::{PATIENCE, Running, Scratch, wait_until};

/// Says when it has begun and when SIGTERM came, cleans up, and ends.
const POLITE: &str = "trap 'echo cleaned up; exit 0' TERM; echo begun; echo $$ > pid; \
                      while :; do sleep 0.05; done";

/// Says when SIGTERM came, and goes on, as does a child of it that is deaf altogether.
const STUBBORN: &str = "trap 'echo > heard' TERM; \
                        sh -c 'trap \"\" TERM; echo $$ > pid.2; while :; do sleep 0.05; done' & \
                        echo $$ > pid.1; while :; do sleep 0.05; done";

/// Prepares `quell` as what another program becomes.
fn through(scratch: &Scratch, first: &[&str], args: &[&str]) -> Command {
    let quell = scratch.quell(args);
    let mut command = scratch.program(first[0]);
    command.args(&first[1..]).arg(quell.get_program()).args(quell.get_args());
    command
}

#[test]
fn one_signal_cancels_with_grace_and_the_program_can_clean_up() {
    for (signal, cause) in [
        ("INT", "user-request: interrupted by SIGINT (by signal)"),
        ("TERM", "user-request: interrupted by SIGTERM (by signal)"),
        ("HUP", "disconnected: interrupted by SIGHUP (by signal)"),
    ] {
        let scratch = Scratch::new();
        let args = ["run", "--grace", "50s", "--report", "report.json", "--", "sh", "-c", POLITE];
        // The tests may run under `nohup` themselves.
        let running = Running::start(through(&scratch, &["env", "--default-signal=HUP"], &args));
        wait_until("the program has begun", || scratch.pids().len() == 1);
        running.signal(signal);
        let ended = running.ended();
        ended.assert_code(130);
        assert!(ended.took < PATIENCE / 2, "{ended:?}");
        assert!(ended.stdout.contains(&format!("cause    {cause}")), "{ended:?}");
        assert!(ended.stderr.contains("another signal aborts"), "{ended:?}");
        let report = scratch.json("report.json");
        assert_eq!(report["partial"]["stdout"], "begun\ncleaned up\n", "{report:#}");
        scratch.assert_nothing_is_left(1);
    }
}

#[test]
fn a_second_signal_aborts_without_waiting_for_the_grace() {
    for (first, second) in [("INT", "INT"), ("TERM", "INT"), ("INT", "TERM")] {
        let scratch = Scratch::new();
        let args = ["run", "--grace", "1h", "--", "sh", "-c", STUBBORN];
        let running = Running::start(scratch.quell(&args));
        wait_until("both programs have begun", || scratch.pids().len() == 2);
        running.signal(first);
        wait_until("the program has heard SIGTERM", || scratch.path("heard").exists());
        running.signal(second);
        let ended = running.ended();
        ended.assert_code(130);
        assert!(ended.stderr.contains("aborting, without grace"), "{ended:?}");
        assert!(ended.stdout.contains(&format!("interrupted by SIG{first}")), "{ended:?}");
        scratch.assert_nothing_is_left(2);
    }
}

#[test]
fn sigquit_aborts_at_once() {
    let scratch = Scratch::new();
    let args = ["run", "--grace", "1h", "--", "sh", "-c", STUBBORN];
    let running = Running::start(scratch.quell(&args));
    wait_until("both programs have begun", || scratch.pids().len() == 2);
    running.signal("QUIT");
    running.ended().assert_code(130);
    scratch.assert_nothing_is_left(2);
}

#[test]
fn a_hang_up_is_ignored_under_nohup() {
    let scratch = Scratch::new();
    let script = "echo $$ > pid; while [ ! -e go ]; do sleep 0.05; done";
    let nohup = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"];
    let running = Running::start(through(&scratch, &nohup, &["run", "--", "sh", "-c", script]));
    wait_until("the program has begun", || scratch.pids().len() == 1);
    running.signal("HUP");
    scratch.write("go", "");
    running.ended().assert_code(0);
}

#[test]
fn signals_are_heard_while_nobody_reads_stdout() {
    let scratch = Scratch::new();
    let script = "echo $$ > pid; seq 1 50000; echo > written; exec sleep 300";
    let mut command = scratch.quell(&["run", "--json", "--", "sh", "-c", script]);
    let (unread, stdout) = std::io::pipe().expect("a pipe can be made");
    command.stdout(stdout).stderr(Stdio::null());
    let running = Running::start(command);
    wait_until("the program has written", || scratch.path("written").exists());
    running.signal("INT");
    wait_until("the program has ended", || {
        scratch.pids().into_iter().all(|pid| !crate::support::is_alive(pid))
    });
    // The run has ended or is about to; the first signal after that gives the output up.
    let pid = running.pid();
    let nagging = thread::spawn(move || {
        while crate::support::is_alive(pid) {
            crate::support::send("INT", pid);
            thread::sleep(std::time::Duration::from_millis(200));
        }
    });
    running.ended().assert_code(130);
    nagging.join().expect("the nagging thread ends");
    drop(unread);
    scratch.assert_nothing_is_left(1);
}

#[test]
fn a_file_that_may_not_grow_is_no_signal_to_us_and_one_to_programs() {
    let scratch = Scratch::new();
    let script = "sh -c 'seq 1 10000 > big'; echo $? > status; seq 1 10000";
    let limited = ["sh", "-c", "ulimit -f 2; exec \"$@\"", "sh"];
    let mut command = through(&scratch, &limited, &["run", "--json", "--", "sh", "-c", script]);
    let out = std::fs::File::create(scratch.path("out")).expect("a file can be made");
    command.stdout(out);
    let ended = Running::start(command).ended();
    assert!(ended.code.is_some(), "{ended:?}");
    assert_eq!(scratch.read("out").len(), 1_024, "the file is full");
    // 128 and the number of the signal.
    assert_eq!(scratch.read("status"), b"153\n");
    scratch.assert_nothing_is_left(0);
}
