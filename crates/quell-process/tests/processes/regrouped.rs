//! How what changes its group is stopped.

use quell::{CancelRequest, Outcome, StopDelivery};

use crate::stops::patient;
use crate::support::{ATTEMPTS, PATIENCE, Scratch, script, start};

/// Leaves its group for that of the embedder, and gives up the mark.
const CHANGES_ITS_GROUP: &str = r#"
#include <stdio.h>
#include <unistd.h>

int main(void) {
    char *words[] = {"sleep", "600", NULL}, *none[] = {NULL};
    setpgid(0, getpgid(getppid()));
    FILE *pid = fopen("pid", "w");
    fprintf(pid, "%d\n", getpid());
    fclose(pid);
    for (int file = 0; file < 3; file++) close(file);
    execve("/bin/sleep", words, none);
}
"#;

#[tokio::test]
async fn i4_a_leader_that_changes_its_group_and_gives_up_the_mark_is_stopped() {
    for delivery in [StopDelivery::Signal, StopDelivery::Drop] {
        let scratch = Scratch::new("changes-its-group");
        scratch.compile(CHANGES_ITS_GROUP);
        let process = script("exec ./program").cwd(scratch.path());
        let started = start(patient().stop_delivery(delivery), process);
        let pid = scratch.pid("pid").await;
        let run = started.run().clone();
        run.cancel(CancelRequest::because("the test says so"));
        let report = tokio::time::timeout(PATIENCE, run.quiescent()).await;
        let is_gone = pid.is_gone();
        pid.kill();
        assert!(report.is_ok_and(|it| it.quiescent) && is_gone, "{delivery:?}");
        if delivery == StopDelivery::Signal {
            // It heard SIGTERM, and was not killed.
            let Outcome::Stopped { partial: Some(output), .. } = started.end().await.0 else {
                panic!("it was not stopped")
            };
            assert_eq!(output.signal, Some(15));
        }
    }
}

/// Leaves its group for that of the embedder, and waits for a second SIGTERM.
const CHANGES_ITS_GROUP_AND_COUNTS: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    struct timespec second = {1, 0};
    sigset_t term;
    int signal;
    setpgid(0, getpgid(getppid()));
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    FILE *pid = fopen("pid", "w");
    fprintf(pid, "%d\n", getpid());
    fclose(pid);
    sigwait(&term, &signal);
    puts(sigtimedwait(&term, NULL, &second) < 0 ? "once" : "twice");
}
"#;

#[tokio::test]
async fn a_leader_that_changes_its_group_and_keeps_the_mark_gets_one_sigterm() {
    let scratch = Scratch::new("changes-its-group-and-counts");
    scratch.compile(CHANGES_ITS_GROUP_AND_COUNTS);
    let started = start(patient(), script("exec ./program").cwd(scratch.path()));
    scratch.pid("pid").await;
    let (output, report) = started.stop().await;
    assert!(report.quiescent, "{report:?}");
    assert_eq!(output.unwrap().stdout, "once\n");
}

/// Leaves the group at its first SIGTERM, and waits for a second one.
const LEAVES_AT_SIGTERM: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    struct timespec second = {1, 0};
    sigset_t term;
    int signal;
    if (fork() != 0) for (;;) pause();
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    FILE *pid = fopen("pid", "w");
    fprintf(pid, "%d\n", getpid());
    fclose(pid);
    sigwait(&term, &signal);
    setsid();
    puts(sigtimedwait(&term, NULL, &second) < 0 ? "once" : "twice");
}
"#;

#[tokio::test]
async fn what_leaves_the_group_at_sigterm_gets_no_second_one() {
    for attempt in 0.. {
        let scratch = Scratch::new("leaves-at-sigterm");
        scratch.compile(LEAVES_AT_SIGTERM);
        let started = start(patient(), script("exec ./program").cwd(scratch.path()));
        scratch.pid("pid").await;
        let (output, report) = started.stop().await;
        assert!(report.quiescent, "{report:?}");
        if output.unwrap().stdout == "once\n" {
            return;
        }
        // SIGTERM waits for a look for 1 s: on a busy machine nobody knew it in the group.
        assert!(attempt < ATTEMPTS, "it got a second one");
    }
}
