//! An embedder that adopts what left a group: what of it has ended is reaped, and nothing else is.
//!
//! Each test runs itself again, as a subreaper and as the first process of a namespace.

use std::env;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};

use quell::{CancelRequest, Outcome, RunSpec, StopDelivery};
use rustix::process::{getpid, set_child_subreaper};

use crate::support::{
    IS_NUMBERED, PATIENCE, Pid, Scratch, eventually, failure_of, script, start, started_script,
};

/// Tells whether this process adopts. Otherwise the test was run by one that does, and passed.
pub(crate) fn adopts(test: &str) -> bool {
    if env::var_os(ADOPTS).is_some() {
        if !getpid().is_init() {
            set_child_subreaper(Some(getpid())).unwrap();
        }
        return true;
    }
    let again = |mut command: Command| {
        command.arg(env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
        let output = command.env(ADOPTS, "1").output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.contains("1 passed"), "{command:?}: {said}");
    };
    again(Command::new("env"));
    let in_a_namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]);
        command
    };
    // Not everybody may make one.
    if in_a_namespace().arg("true").output().is_ok_and(|it| it.status.success()) {
        again(in_a_namespace());
    }
    false
}

fn is_dead(pid: Pid) -> Option<()> {
    (!pid.is_alive() && !pid.is_gone()).then_some(())
}

/// Leaves the group, and lives on.
const STRAY: &str = "setsid sh -c 'echo $$ > pid; exec sleep 600' >/dev/null 2>&1 &
    until [ -s pid ]; do :; done";

#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_group_is_gone_when_its_run_is_quiescent() {
    if !adopts("adopted::what_left_the_group_is_gone_when_its_run_is_quiescent") {
        return;
    }
    let orphan = STRAY.replace("setsid", "(setsid").replace("&\n", "&)\n");
    for (text, delivery) in [
        (format!("{STRAY}; exec sleep 600"), Some(StopDelivery::Signal)),
        (format!("{STRAY}; exec sleep 600"), Some(StopDelivery::Drop)),
        (format!("{orphan}; exec sleep 600"), Some(StopDelivery::Signal)),
        (STRAY.to_owned(), None),
    ] {
        let scratch = Scratch::new("adopted");
        let spec = RunSpec::step("program").grace(PATIENCE);
        let spec = spec.stop_delivery(delivery.unwrap_or(StopDelivery::Signal));
        let started = start(spec, script(&text).cwd(scratch.path()));
        let pid = scratch.pid("pid").await;
        let report =
            if delivery.is_some() { started.stop().await.1 } else { started.end().await.1 };
        assert!(report.quiescent && pid.is_gone(), "{text}, {delivery:?}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_died_before_a_look_is_gone_if_one_of_its_session_was_met() {
    if !adopts("adopted::what_died_before_a_look_is_gone_if_one_of_its_session_was_met") {
        return;
    }
    let scratch = Scratch::new("adopted-dead");
    let text = "setsid sh -c '(sh -c \"echo \\$\\$ > dead\" &); echo $$ > pid; exec sleep 600' \
        >/dev/null 2>&1 & exec sleep 600";
    let spec = RunSpec::step("program").grace(PATIENCE);
    let started = start(spec, script(text).cwd(scratch.path()));
    let (pid, dead) = (scratch.pid("pid").await, scratch.pid("dead").await);
    eventually("it is dead", || is_dead(dead)).await;
    let (_, report) = started.stop().await;
    assert!(report.quiescent && pid.is_gone() && dead.is_gone(), "{report:?}");
}

/// A child that this test starts itself, in its folder and with a mark.
fn child(words: &str, mark: &str, scratch: &Scratch) -> Child {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec {words}")).current_dir(scratch.path());
    command.env("MARK", mark).stdin(Stdio::null()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_the_embedder_started_is_not_reaped() {
    if !adopts("adopted::a_child_that_the_embedder_started_is_not_reaped") {
        return;
    }
    let scratch = Scratch::new("adopted-foreign");
    let text = "printf %s \"$QUELL_PROCESS_IDS\" > mark.new; mv mark.new mark";
    let text = format!("{text}; {STRAY}; exec sleep 600");
    let spec = RunSpec::step("program").grace(PATIENCE);
    let started = start(spec, script(&text).cwd(scratch.path()));
    let stray = scratch.pid("pid").await;
    let mark = fs::read_to_string(scratch.path().join("mark")).unwrap();
    let mut without_a_mark = child("true", &mark, &scratch);
    let mut marked = child("env QUELL_PROCESS_IDS=$MARK sleep 600", &mark, &scratch);
    // It has a session of its own and no mark, and starts one that has.
    let in_its_session = "echo $$ > member; QUELL_PROCESS_IDS=$MARK exec sleep 600";
    let text = format!("sh -c '{in_its_session}' & until [ -s member ]; do :; done; exit 7");
    fs::write(scratch.path().join("leads.sh"), text).unwrap();
    let mut leads_a_session = child("setsid sh leads.sh", &mark, &scratch);
    let member = scratch.pid("member").await;
    for child in [&without_a_mark, &leads_a_session] {
        eventually("it is dead", || is_dead(Pid::of(child))).await;
    }
    for pid in [member, Pid::of(&marked)] {
        eventually("it sleeps", || pid.is_named("sleep").then_some(())).await;
    }
    let (_, report) = started.stop().await;
    assert!(report.quiescent && stray.is_gone() && member.is_gone(), "{report:?}");
    assert_eq!(without_a_mark.wait().unwrap().code(), Some(0));
    assert_eq!(leads_a_session.wait().unwrap().code(), Some(7));
    assert_eq!(marked.wait().unwrap().signal(), Some(15));
}

/// Makes a session of its own, in which it leaves another group.
const LEADS_A_SESSION: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    int other = fork();
    if (other == 0) for (;;) pause();
    // Who leads a group makes no session.
    setpgid(other, other);
    setpgid(0, other);
    if (setsid() < 0) return 1;
    kill(other, SIGKILL);
    if (fork() == 0) {
        setpgid(0, 0);
        FILE *pid = fopen("pid.new", "w");
        fprintf(pid, "%d\n", getpid());
        fclose(pid);
        rename("pid.new", "pid");
        for (;;) pause();
    }
    while (access("pid", F_OK)) usleep(1000);
    return 7;
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_leads_a_session_keeps_its_exit_status() {
    if !adopts("adopted::a_program_that_leads_a_session_keeps_its_exit_status") {
        return;
    }
    let scratch = Scratch::new("adopted-leader");
    scratch.compile(LEADS_A_SESSION);
    let (message, _) = failure_of(script("exec ./program").cwd(scratch.path())).await;
    assert!(message.starts_with("`sh` ended with exit status: 7"), "{message}");
    assert!(scratch.pid("pid").await.is_gone());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_died_before_every_look_is_gone() {
    if !adopts("adopted::what_died_before_every_look_is_gone") {
        return;
    }
    for leaves in ["sh", "setsid sh", "setsid env -u QUELL_PROCESS_IDS sh"] {
        let scratch = Scratch::new("adopted-short");
        let text = format!("{IS_NUMBERED}; ({leaves} -c 'echo $$ > dead' &); exec sleep 600");
        let started = start(RunSpec::step("program"), script(&text).cwd(scratch.path()));
        let dead = scratch.pid("dead").await;
        eventually("it is dead", || is_dead(dead)).await;
        let (_, report) = started.stop().await;
        assert!(report.quiescent && dead.is_gone(), "{leaves}: {report:?}");
    }
}

/// Yields when a process began, in ticks.
fn began(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(19).unwrap().parse().unwrap()
}

/// Waits until what is started is younger than the first moments of what was started before.
fn wait_for_later_ones() {
    let now = || {
        let mut child = Command::new("true").spawn().unwrap();
        let now = began(child.id());
        child.wait().unwrap();
        now
    };
    let before = now();
    while now() < before + 30 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_the_embedder_put_into_a_group_keeps_its_exit_status() {
    // Here and in those that adopt.
    adopts("adopted::a_child_that_the_embedder_put_into_a_group_keeps_its_exit_status");
    for (delivery, signal) in [(StopDelivery::Signal, 15), (StopDelivery::Drop, 9)] {
        let scratch = Scratch::new("adopted-member");
        let spec = RunSpec::step("program").grace(PATIENCE).stop_delivery(delivery);
        let text = format!("{IS_NUMBERED}; echo $$ > pid; exec sleep 600");
        // What begins within moments of the end of its start counts as its own.
        let started = start(spec, started_script(&text).cwd(scratch.path()));
        let group = scratch.pid("pid").await.number();
        wait_for_later_ones();
        let child = |words: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", words]).process_group(group).spawn().unwrap()
        };
        let (mut dead, mut alive) = (child("exit 7"), child("exec sleep 600"));
        eventually("it is dead", || is_dead(Pid::of(&dead))).await;
        eventually("it sleeps", || Pid::of(&alive).is_named("sleep").then_some(())).await;
        let (_, report) = started.stop().await;
        assert!(report.quiescent, "{report:?}");
        assert_eq!(dead.wait().unwrap().code(), Some(7));
        assert_eq!(alive.wait().unwrap().signal(), Some(signal));
    }
}

/// Enters the group of another program.
const ENTERS: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **words) {
    if (setpgid(0, atoi(words[1]))) return 1;
    FILE *entered = fopen("entered", "w");
    fprintf(entered, "%d\n", getpid());
    fclose(entered);
    for (;;) pause();
}
"#;

/// Leaves a group, and lives on at SIGTERM until it is allowed to end.
const LIVES: &str = "setsid sh -c 'trap : TERM; : > lives; until [ -e end ]; do sleep 0.01; done' &
    until [ -e lives ]; do :; done";

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_enters_the_group_of_another_keeps_its_exit_status() {
    if !adopts("adopted::a_program_that_enters_the_group_of_another_keeps_its_exit_status") {
        return;
    }
    let scratch = Scratch::new("adopted-enters");
    scratch.compile(ENTERS);
    let spec = || RunSpec::step("program").grace(PATIENCE);
    let text = "echo $$ > pid; exec sleep 600";
    let entered = start(spec(), script(text).cwd(scratch.path()));
    let group = scratch.pid("pid").await.number();
    let text = format!("{LIVES}; exec ./program {group}");
    let enters = start(spec(), script(&text).cwd(scratch.path()));
    let dead = scratch.pid("entered").await;
    // It is not reaped as long as what it has left lives.
    enters.run().cancel(CancelRequest::because("the test says so"));
    eventually("it is dead", || is_dead(dead)).await;
    assert!(entered.stop().await.1.quiescent);
    assert!(is_dead(dead).is_some());
    fs::write(scratch.path().join("end"), "").unwrap();
    let (outcome, report) = enters.end().await;
    let Outcome::Stopped { partial, .. } = outcome else { panic!("{report:?}") };
    assert_eq!(partial.and_then(|it| it.signal), Some(15), "{report:?}");
}

/// Set while a test runs as a process that adopts.
const ADOPTS: &str = "QUELL_TEST_ADOPTS";
