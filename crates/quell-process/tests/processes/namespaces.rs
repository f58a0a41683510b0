//! Containers in which `/proc` is not all of the system's own.

use std::env;
use std::fs;
use std::process::Command;
use std::time::Duration;

use quell::RunSpec;

use crate::support::{Scratch, eventually, script, start};

/// Leaves the group, ignores SIGTERM, and starts another before it ends: after a millisecond, which
/// is too short for a listing to meet each of them.
const FORKS: &str = r#"
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

int main(void) {
    int log = open("log", O_WRONLY | O_APPEND | O_CREAT, 0600);
    setsid();
    signal(SIGTERM, SIG_IGN);
    while (access("log", F_OK) == 0) {
        write(log, "\n", 1);
        usleep(1000);
        if (fork() != 0) _exit(0);
    }
}
"#;

/// Runs a test again, with a load average that says nothing about this system: yields whether it
/// passed there, and what it said. None where nobody may make a namespace.
fn again_with_another_load_average(test: &str, scratch: &Scratch) -> Option<(bool, String)> {
    let average = scratch.path().join("loadavg");
    fs::write(&average, "0.00 0.00 0.00 1/2 3\n").unwrap();
    let run = |text: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"]);
        let words = format!("mount --bind \"$1\" /proc/loadavg && {text}; exit $?");
        command.args(["sh", "-c", &words, "sh"]).arg(&average).arg(env::current_exe().unwrap());
        let output = command.arg(test).env(IN_A_NAMESPACE, "1").output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let (may, _) = run("true");
    may.then(|| run("\"$2\" --exact \"$3\" --nocapture"))
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_load_average_of_another_namespace_hides_no_process() {
    let scratch = Scratch::new("load-average");
    if env::var_os(IN_A_NAMESPACE).is_none() {
        let test = "namespaces::i4_a_load_average_of_another_namespace_hides_no_process";
        let again = again_with_another_load_average(test, &scratch);
        assert!(again.as_ref().is_none_or(|(has_passed, _)| *has_passed), "{again:?}");
        return;
    }
    let scratch = Scratch::new("load-average-of-another");
    scratch.compile(FORKS);
    let written = || fs::metadata(scratch.path().join("log")).map_or(0, |log| log.len());
    for _ in 0..5 {
        let spec = RunSpec::step("forks").grace(Duration::from_millis(200));
        let text = "./program >/dev/null 2>&1 & exec sleep 600";
        let started = start(spec, script(text).cwd(scratch.path()));
        eventually("it is another for the fifth time", || (written() >= 5).then_some(())).await;
        let (_, report) = started.stop().await;
        let before = written();
        assert!(report.quiescent, "{report:?}");
        // What lives writes hundreds of times a second.
        for _ in 0..100 {
            drop(Command::new("true").status());
        }
        assert_eq!(written(), before, "it writes");
        fs::remove_file(scratch.path().join("log")).unwrap();
    }
}

/// Set while a test runs in a namespace of its own.
const IN_A_NAMESPACE: &str = "QUELL_TEST_IN_A_NAMESPACE";
