//! Programs that are never the same process for long.

use std::fs;
use std::process;
use std::time::Duration;

use quell::RunSpec;

use crate::support::{Scratch, Stranger, eventually, is_any_alive, script, start};

/// Ends as soon as it has started another, which leaves the group: after `$1` seconds.
const HYDRA: &str = "trap '' TERM; [ -e log ] || exit; echo $$ >> log; sleep $1
    setsid sh -c \"$2\" sh $1 \"$2\" &";

/// Starts one, and stays.
const STAYS: &str = ": > log; setsid sh -c \"$2\" sh $1 \"$2\" & exec sleep 600";

/// Starts one, and ends.
const ENDS: &str = ": > log; setsid sh -c \"$2\" sh $1 \"$2\" &
    until [ $(wc -l < log) -gt 9 ]; do :; done";

/// Asserts that nothing is alive and that nothing is written any more. Each look may miss what is
/// another process by now; not so many of them.
fn assert_is_dead(scratch: &Scratch, name: &str) {
    let written = || fs::metadata(scratch.path().join("log")).unwrap().len();
    let before = written();
    for _ in 0..100 {
        assert!(!is_any_alive("HYDRA", name), "{name} is alive");
    }
    assert_eq!(written(), before, "{name} writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_stopped_program_that_is_always_another_process_is_dead() {
    for (nth, lifetime) in ["0", "0.001", "0.005", "0.02", "0.1"].into_iter().enumerate() {
        for attempt in 0..3 {
            let name = format!("hydra-stopped-{nth}-{attempt}-{}", process::id());
            let scratch = Scratch::new(&name);
            let hydra = script(STAYS).args(["sh", lifetime, HYDRA]).env("HYDRA", &name);
            let spec = RunSpec::step("hydra").grace(Duration::from_millis(300 * attempt));
            let started = start(spec, hydra.cwd(scratch.path()));
            let log = scratch.path().join("log");
            eventually("it is another for the fifth time", || {
                (fs::read_to_string(&log).ok()?.lines().count() >= 5).then_some(())
            })
            .await;
            let (_, report) = started.stop().await;
            assert!(report.quiescent, "{report:?}");
            assert_is_dead(&scratch, &name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_what_an_ended_program_leaves_is_dead_although_it_is_always_another_process() {
    for (nth, lifetime) in ["0", "0.002", "0.02"].into_iter().enumerate() {
        let name = format!("hydra-ended-{nth}-{}", process::id());
        let scratch = Scratch::new(&name);
        let hydra = script(ENDS).args(["sh", lifetime, HYDRA]).env("HYDRA", &name);
        let started = start(RunSpec::step("hydra"), hydra.cwd(scratch.path()));
        let (_, report) = started.end().await;
        assert!(report.quiescent, "{report:?}");
        assert_is_dead(&scratch, &name);
    }
}

/// With an argument: starts another with the mark that is written to a file, and reaps it and what
/// comes of it at once. Without: as [`HYDRA`], many times faster.
const FORKS: &str = r#"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **words) {
    static char mark[1000];
    if (count > 1) {
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        FILE *file = fopen("mark", "r");
        fgets(mark, sizeof mark, file);
        setenv("QUELL_PROCESS_IDS", mark, 1);
        if (fork() == 0) execl("./program", "./program", NULL);
        while (wait(NULL) > 0) {}
        pause();
    }
    int log = open("log", O_WRONLY | O_APPEND | O_CREAT, 0600);
    setsid();
    signal(SIGTERM, SIG_IGN);
    for (int nth = 0; access("log", F_OK) == 0; nth++) {
        write(log, "\n", 1);
        usleep(nth % 8 * 50);
        if (fork() != 0) _exit(0);
    }
}
"#;

/// What was alive when a look ended may start another, and be gone before a handle to it is opened.
#[tokio::test(flavor = "multi_thread")]
async fn i4_what_is_gone_before_it_is_signalled_has_left_nothing_behind() {
    let scratch = Scratch::new("forks");
    scratch.compile(FORKS);
    let written = || fs::metadata(scratch.path().join("log")).map_or(0, |log| log.len());
    for _ in 0..5 {
        let spec = RunSpec::step("forks").grace(Duration::from_millis(500));
        let text = "printf %s $QUELL_PROCESS_IDS > mark.new; mv mark.new mark; exec sleep 600";
        let started = start(spec, script(text).cwd(scratch.path()));
        let mark = scratch.path().join("mark");
        eventually("the mark is there", || mark.exists().then_some(())).await;
        let stranger = Stranger::start(&scratch.path().join("program"));
        eventually("it is another for the fifth time", || (written() >= 5).then_some(())).await;
        let (_, report) = started.stop().await;
        let before = written();
        assert!(report.quiescent, "{report:?}");
        // What lives writes thousands of times a second.
        for _ in 0..100 {
            is_any_alive("HYDRA", "it takes a while");
        }
        assert_eq!(written(), before, "it writes");
        drop(stranger);
        fs::remove_file(scratch.path().join("log")).unwrap();
        fs::remove_file(mark).unwrap();
    }
}

/// Leaves the group, ignores SIGTERM, and becomes the same program again, without end: it has no
/// environment for a moment each time.
const EXECS: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

extern char **environ;

int main(int count, char **words) {
    if (count > 1) {
        setsid();
        signal(SIGTERM, SIG_IGN);
        FILE *pid = fopen("pid", "w");
        fprintf(pid, "%d\n", getpid());
        fclose(pid);
    }
    char *next[] = {words[0], 0};
    execve(words[0], next, environ);
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn i4_what_left_the_group_and_is_always_another_program_is_dead_after_a_stop() {
    for age in [Duration::ZERO, Duration::from_millis(1_500)] {
        let scratch = Scratch::new("execs");
        scratch.compile(EXECS);
        let spec = RunSpec::step("process").grace(Duration::from_secs(2));
        let text = "./program on >/dev/null 2>&1 & exec sleep 100";
        let started = start(spec, script(text).cwd(scratch.path()));
        let pid = scratch.pid("pid").await;
        tokio::time::sleep(age).await;
        let (_, report) = started.stop().await;
        let is_alive = pid.is_alive();
        pid.kill();
        assert!(report.quiescent && !is_alive, "{age:?}: {report:?}");
    }
}
