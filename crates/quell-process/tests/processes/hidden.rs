//! Descendants that left the group, and whose environment must not be read.
//!
//! Each test runs itself again, as another user if this one is root, from whom nothing is hidden.
//! Most of these processes have given up the number of their program.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::time::Duration;

use quell::{CancelRequest, RunSpec, StopDelivery};
use rustix::process::{getpid, getuid, set_child_subreaper};

use crate::support::{
    ATTEMPTS, IS_NUMBERED, PATIENCE, Scratch, Stranger, eventually, start, started_script,
};

/// Yields a folder with a copy of `sleep` that may be executed and not be read: the system lets
/// nobody but root read the environment of such a process. None if the test was run again,
/// and passed.
fn folder_of_a_user(test: &str) -> Option<Scratch> {
    if env::var_os(AS_A_USER).is_some() {
        return Some(with_sleep(Scratch::at(env::current_dir().unwrap())));
    }
    let path = env::temp_dir().join(format!("quell-{}-{test}", process::id()));
    fs::create_dir(&path).unwrap();
    let scratch = Scratch::at(path);
    let binary = scratch.path().join("tests");
    copy(&env::current_exe().unwrap(), &binary);
    let mut again = Command::new(binary);
    again.args(["--exact", &format!("hidden::{test}"), "--nocapture"]).env(AS_A_USER, "1");
    if getuid().is_root() {
        chown(scratch.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        again.uid(NOBODY).gid(NOBODY);
    }
    let output = again.current_dir(scratch.path()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    None
}

fn with_sleep(scratch: Scratch) -> Scratch {
    let folders = env::var_os("PATH").unwrap();
    let sleep = env::split_paths(&folders).map(|folder| folder.join("sleep"));
    let own = scratch.path().join("sleep");
    copy(&sleep.into_iter().find(|file| file.is_file()).unwrap(), &own);
    fs::set_permissions(own, Permissions::from_mode(0o111)).unwrap();
    scratch
}

/// Copies a program by another one: what another test starts at that moment would hold a copy of
/// ours open, and nobody executes a file that is open for writing.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_what_may_have_left_the_group_keeps_a_stopped_run_from_being_quiescent() {
    let Some(scratch) = folder_of_a_user(
        "i4_what_may_have_left_the_group_keeps_a_stopped_run_from_being_quiescent",
    ) else {
        return;
    };
    for delivery in [StopDelivery::Signal, StopDelivery::Drop] {
        for attempt in 0.. {
            let spec = RunSpec::step("program").grace(Duration::from_secs(3));
            let text = format!("({ORPHAN}); mv pid orphan; echo $$ > leader; exec sleep 100");
            let process = started_script(&text).cwd(scratch.path());
            let started = start(spec.stop_delivery(delivery), process);
            let (leader, pid) = (scratch.pid("leader").await, scratch.pid("orphan").await);
            let run = started.run().clone();
            run.cancel(CancelRequest::because("the test says so"));
            let report = run.ended().await;
            assert!(pid.is_alive() && !report.quiescent, "{delivery:?}: {report:?}");
            pid.kill();
            let quiescent = tokio::time::timeout(PATIENCE, run.quiescent()).await.unwrap();
            assert!(quiescent.quiescent, "{delivery:?}: {quiescent:?}");
            for file in ["leader", "orphan"] {
                fs::remove_file(scratch.path().join(file)).unwrap();
            }
            let named: Vec<_> = report.abandoned.iter().map(|it| &*it.name).collect();
            assert_eq!(named.len(), 1, "{delivery:?}: {named:?}");
            let left = named[0].strip_prefix("sh (seems to have left ");
            let own = format!("pid {}", pid.number());
            if left.is_some_and(|it| it.trim_end_matches(')').split(", ").any(|it| it == own)) {
                break;
            }
            // A busy machine may not have ended in time what can be ended.
            let is_late = named[0] == format!("sh (pid {})", leader.number());
            assert!(is_late && attempt < ATTEMPTS, "{delivery:?}: {named:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_what_has_a_parent_of_the_program_is_dead_after_a_stop() {
    let Some(scratch) =
        folder_of_a_user("i4_what_has_a_parent_of_the_program_is_dead_after_a_stop")
    else {
        return;
    };
    let parent = "trap \"\" TERM; prlimit --locks=unlimited ./sleep 100 &
        while cat /proc/$!/environ >/dev/null 2>&1; do :; done; echo $! > pid; wait; sleep 100";
    let text = format!("setsid sh -c '{parent}' >/dev/null 2>&1 & exec sleep 100");
    let spec = RunSpec::step("program").grace(Duration::from_secs(2));
    let started = start(spec, started_script(&text).cwd(scratch.path()));
    let pid = scratch.pid("pid").await;
    let (_, report) = started.stop().await;
    assert!(report.quiescent && !pid.is_alive(), "{report:?}");
}

/// Stops programs that write to `pid` what hides, until that is dead after a stop. SIGTERM waits
/// for a look for 1 s, which may be too short on a busy machine: what hides has lost its parent
/// then, and is in doubt.
async fn stop_in_time(text: &str, scratch: &Scratch) {
    for attempt in 0.. {
        let spec = RunSpec::step("program").grace(Duration::from_secs(5));
        let started = start(spec, started_script(text).cwd(scratch.path()));
        let pid = scratch.pid("pid").await;
        let run = started.run().clone();
        run.cancel(CancelRequest::because("the test says so"));
        let report = run.ended().await;
        let is_left = !report.quiescent && pid.is_alive();
        if is_left {
            pid.kill();
        }
        let report = tokio::time::timeout(PATIENCE, run.quiescent()).await.unwrap();
        assert!(report.quiescent && !pid.is_alive(), "{text}: {report:?}");
        fs::remove_file(scratch.path().join("pid")).unwrap();
        if !is_left {
            return;
        }
        assert!(attempt < ATTEMPTS, "{text}: it is alive");
    }
}

/// Its parent left the group, and takes a while to end; it hides, ignores SIGTERM, and has a name
/// that is not text.
const ORPHANED_SLOWLY: &str = r#"
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

int main(void) {
    static char page[1 << 20];
    struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_LOCKS, &none);
    setsid();
    int child = fork();
    if (child == 0) {
        prctl(PR_SET_DUMPABLE, 0);
        prctl(PR_SET_NAME, "\xff");
        signal(SIGTERM, SIG_IGN);
        sleep(100);
        _exit(0);
    }
    memset(page, 1, sizeof page);
    int file = memfd_create("large", 0);
    for (int i = 0; i < 500; i++) write(file, page, sizeof page);
    FILE *pid = fopen("pid", "w");
    fprintf(pid, "%d\n", child);
    fclose(pid);
    for (;;) pause();
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn i4_what_loses_its_parent_at_the_stop_is_dead_after_it() {
    let Some(scratch) = folder_of_a_user("i4_what_loses_its_parent_at_the_stop_is_dead_after_it")
    else {
        return;
    };
    scratch.compile(ORPHANED_SLOWLY);
    let child_of_the_leader = format!("{ORPHAN}; exec sleep 100");
    for text in ["./program >/dev/null 2>&1 & exec sleep 100", &child_of_the_leader] {
        stop_in_time(text, &scratch).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_parent_elsewhere_is_a_stranger() {
    let Some(scratch) = folder_of_a_user("what_has_a_parent_elsewhere_is_a_stranger") else {
        return;
    };
    let started = start(
        RunSpec::step("program"),
        started_script("echo $$ > pid; exec sleep 100").cwd(scratch.path()),
    );
    scratch.pid("pid").await;
    let stranger = Stranger::start(&scratch.path().join("sleep"));
    let (_, report) = started.stop().await;
    assert!(report.quiescent && stranger.pid().is_alive(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ended_by_itself_does_not_wait_for_what_may_have_left_the_group() {
    let Some(scratch) = folder_of_a_user(
        "a_program_that_ended_by_itself_does_not_wait_for_what_may_have_left_the_group",
    ) else {
        return;
    };
    let started =
        start(RunSpec::step("program"), started_script(&format!("({ORPHAN})")).cwd(scratch.path()));
    let (_, report) = started.end().await;
    let pid = scratch.pid("pid").await;
    assert!(report.quiescent && pid.is_alive(), "{report:?}");
    pid.kill();
}

/// The parent left the group, and ends at a SIGTERM; the child hides, and counts those it gets.
const COUNTS: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

int main(void) {
    struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    sigset_t term;
    int signal, count = 0;
    setrlimit(RLIMIT_LOCKS, &none);
    setsid();
    if (fork() != 0) for (;;) pause();
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    prctl(PR_SET_DUMPABLE, 0);
    FILE *log = fopen("log", "w");
    FILE *pid = fopen("pid", "w");
    fprintf(pid, "%d\n", getpid());
    fclose(pid);
    for (;;) {
        sigwait(&term, &signal);
        fprintf(log, "%d\n", ++count);
        fflush(log);
    }
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_hides_gets_one_sigterm_and_is_dead_after_a_stop() {
    let Some(scratch) = folder_of_a_user("what_hides_gets_one_sigterm_and_is_dead_after_a_stop")
    else {
        return;
    };
    scratch.compile(COUNTS);
    stop_in_time("./program >/dev/null 2>&1 & exec sleep 100", &scratch).await;
    assert_eq!(fs::read_to_string(scratch.path().join("log")).unwrap(), "1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_a_parent_when_its_program_ended_by_itself_is_dead() {
    let Some(scratch) =
        folder_of_a_user("what_had_a_parent_when_its_program_ended_by_itself_is_dead")
    else {
        return;
    };
    scratch.compile(COUNTS);
    let text = "./program >/dev/null 2>&1 & until [ -s pid ]; do :; done";
    let started = start(RunSpec::step("program"), started_script(text).cwd(scratch.path()));
    let (_, report) = started.end().await;
    let pid = scratch.pid("pid").await;
    assert!(report.quiescent && !pid.is_alive(), "{report:?}");
    // It gets SIGTERM once, and on a busy machine SIGKILL before it has written that.
    let log = fs::read_to_string(scratch.path().join("log")).unwrap();
    assert!("1\n".starts_with(&log), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_a_parent_in_the_group_when_its_program_ended_by_itself_is_dead() {
    let Some(scratch) =
        folder_of_a_user("what_had_a_parent_in_the_group_when_its_program_ended_by_itself_is_dead")
    else {
        return;
    };
    let text = format!("({ORPHAN}; exec sleep 100) >/dev/null 2>&1 & until [ -s pid ]; do :; done");
    for attempt in 0.. {
        let started = start(RunSpec::step("program"), started_script(&text).cwd(scratch.path()));
        let (_, report) = started.end().await;
        let pid = scratch.pid("pid").await;
        assert!(report.quiescent, "{report:?}");
        if !pid.is_alive() {
            return;
        }
        pid.kill();
        // On a busy machine the look takes longer than SIGTERM waits for it.
        assert!(attempt < ATTEMPTS, "it is alive");
        fs::remove_file(scratch.path().join("pid")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guardian_kills_what_hides_and_ignores_sigterm() {
    let Some(scratch) = folder_of_a_user("a_guardian_kills_what_hides_and_ignores_sigterm") else {
        return;
    };
    scratch.compile(COUNTS);
    let mut program = Command::new("./program");
    program.current_dir(scratch.path()).env("QUELL_PROCESS_IDS", "guarded");
    let mut program = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = scratch.pid("pid").await;
    let guard = || quell_process::guard(&b"begins guarded\n"[..]);
    tokio::task::spawn_blocking(guard).await.unwrap();
    program.wait().unwrap();
    let is_alive = pid.is_alive();
    pid.kill();
    assert!(!is_alive);
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_what_hides_and_has_the_number_is_dead_whatever_its_parents_are() {
    let Some(scratch) =
        folder_of_a_user("i4_what_hides_and_has_the_number_is_dead_whatever_its_parents_are")
    else {
        return;
    };
    let orphan = ORPHAN.replace("prlimit --locks=unlimited ", "");
    for delivery in [Some(StopDelivery::Signal), Some(StopDelivery::Drop), None] {
        let then = if delivery.is_some() { "exec sleep 100" } else { ":" };
        let text = format!("{IS_NUMBERED}; ({orphan}); {then}");
        let spec = RunSpec::step("program").grace(PATIENCE);
        let spec = spec.stop_delivery(delivery.unwrap_or(StopDelivery::Signal));
        let started = start(spec, started_script(&text).cwd(scratch.path()));
        let pid = scratch.pid("pid").await;
        let report =
            if delivery.is_some() { started.stop().await.1 } else { started.end().await.1 };
        let is_alive = pid.is_alive();
        pid.kill();
        assert!(report.quiescent && !is_alive, "{delivery:?}: {report:?}");
        fs::remove_file(scratch.path().join("pid")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_that_hides_is_not_in_doubt() {
    let Some(scratch) = folder_of_a_user("another_program_that_hides_is_not_in_doubt") else {
        return;
    };
    // It adopts, as the first process of a container does.
    set_child_subreaper(Some(getpid())).unwrap();
    let spec = || RunSpec::step("program").grace(PATIENCE);
    let first =
        start(spec(), started_script("echo $$ > first; exec sleep 100").cwd(scratch.path()));
    scratch.pid("first").await;
    let hides = "echo $$ > pid; exec ./sleep 100";
    let other =
        start(spec(), started_script(&format!("{IS_NUMBERED}; {hides}")).cwd(scratch.path()));
    let pid = scratch.pid("pid").await;
    let environ = format!("/proc/{}/environ", pid.number());
    eventually("it hides", || fs::read(&environ).is_err().then_some(())).await;
    let run = first.run().clone();
    run.cancel(CancelRequest::because("the test says so"));
    let report = run.ended().await;
    let is_alive = pid.is_alive();
    other.stop().await;
    assert!(report.quiescent && is_alive, "{report:?}");
}

/// Leaves the group, the number and a parent, once it hides.
const ORPHAN: &str = "prlimit --locks=unlimited setsid ./sleep 100 >/dev/null 2>&1 &
    while cat /proc/$!/environ >/dev/null 2>&1; do :; done; echo $! > pid";

/// Set while a test runs as another user.
const AS_A_USER: &str = "QUELL_TEST_AS_A_USER";

const NOBODY: u32 = 65_534;
