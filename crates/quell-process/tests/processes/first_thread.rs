//! Programs whose first thread ends while another goes on: the system calls them dead (`Z`).

use std::fs;
use std::path::Path;
use std::time::Duration;

use quell::RunSpec;

use crate::support::{PATIENCE, Scratch, Started, Stranger, eventually, run, script, start};

/// Ends its first thread. The other one ignores SIGTERM, or says a word after it. A shell cannot do
/// that; a C compiler is there, because it links these tests.
const GOES_ON: &str = r#"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_t first;
static int hears;

static void *rest(void *unused) {
    sigset_t all;
    int signal;
    pthread_join(first, NULL);
    FILE *pid = fopen("pid", "w");
    fprintf(pid, "%d\n", getpid());
    fclose(pid);
    while (!hears) pause();
    sigfillset(&all);
    sigwait(&all, &signal);
    usleep(300000);
    puts("saved");
    exit(0);
}

int main(int count, char **words) {
    pthread_t other;
    sigset_t all;
    hears = strcmp(words[1], "hears") == 0;
    if (!hears) setsid();
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    first = pthread_self();
    pthread_create(&other, NULL, rest, NULL);
    pthread_exit(NULL);
}
"#;

/// Leaves the group. Its first thread has descriptors of its own, and what they name takes a while
/// to be freed: it has no environment any more, and is not dead. The other thread goes on.
const ENDS_SLOWLY: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *rest(void *unused) { for (;;) pause(); }

int main(void) {
    static char page[1 << 20];
    pthread_t other;
    sigset_t all;
    setsid();
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    pthread_create(&other, NULL, rest, NULL);
    unshare(CLONE_FILES);
    memset(page, 1, sizeof page);
    int file = memfd_create("large", 0);
    for (int i = 0; i < 500; i++) write(file, page, sizeof page);
    FILE *pid = fopen("pid", "w");
    fprintf(pid, "%d\n", getpid());
    fclose(pid);
    while (access("go", F_OK)) usleep(1000);
    syscall(SYS_exit, 0);
}
"#;

/// Has a child of two threads, one of which it traces. Both end, and the dead stay: it does not ask
/// for them.
const TRACES: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <unistd.h>

static void *traced(void *unused) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    return NULL;
}

int main(void) {
    pid_t child = fork();
    if (child == 0) {
        pthread_t other;
        pthread_create(&other, NULL, traced, NULL);
        pthread_join(other, NULL);
        _exit(0);
    }
    FILE *pid = fopen("pid", "w");
    fprintf(pid, "%d\n", child);
    fclose(pid);
    for (;;) pause();
}
"#;

fn states(pid: &str) -> Vec<String> {
    let threads = fs::read_dir(Path::new("/proc").join(pid.trim()).join("task"));
    let threads = threads.into_iter().flatten().filter_map(Result::ok);
    let stats = threads.filter_map(|it| fs::read_to_string(it.path().join("stat")).ok());
    stats.filter_map(|it| Some(it.rsplit_once(") ")?.1[..1].to_owned())).collect()
}

fn is_executing(pid: &str) -> bool {
    states(pid).iter().any(|state| state != "Z" && state != "X")
}

async fn pid(scratch: &Scratch) -> String {
    scratch.pid("pid").await;
    fs::read_to_string(scratch.path().join("pid")).unwrap()
}

async fn until_first_thread_ended(scratch: &Scratch) -> String {
    let pid = pid(scratch).await;
    eventually("the first thread has ended", || {
        states(&pid).contains(&"Z".to_owned()).then_some(())
    })
    .await;
    assert!(is_executing(&pid));
    pid
}

/// Starts a program that leaves the group, and a leader that stays until `rest` ends.
fn start_beside(source: &str, argument: &str, rest: &str, scratch: &Scratch) -> Started {
    scratch.compile(source);
    let text = format!("./program {argument} >/dev/null 2>&1 & {rest}");
    let spec = RunSpec::step("process").grace(Duration::from_secs(5));
    start(spec, script(&text).cwd(scratch.path()))
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_what_left_the_group_and_ended_its_first_thread_is_dead_after_a_stop() {
    for rest in ["exec sleep 600", "until [ -e go ]; do sleep 0.01; done"] {
        let scratch = Scratch::new("first-thread-left");
        let started = start_beside(GOES_ON, "stays", rest, &scratch);
        let pid = until_first_thread_ended(&scratch).await;
        let report = if rest.starts_with("exec") {
            started.stop().await.1
        } else {
            fs::write(scratch.path().join("go"), "").unwrap();
            started.end().await.1
        };
        assert!(report.quiescent && !is_executing(&pid), "{rest}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_the_group_that_ended_its_first_thread_gets_the_grace() {
    let scratch = Scratch::new("first-thread-grace");
    scratch.compile(GOES_ON);
    let spec = RunSpec::step("process").grace(PATIENCE);
    let started = start(spec, script("./program hears & wait").cwd(scratch.path()));
    until_first_thread_ended(&scratch).await;
    let (output, report) = started.stop().await;
    assert_eq!(output.unwrap().stdout, "saved\n");
    assert!(report.quiescent, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_what_left_the_group_and_is_ending_its_first_thread_is_dead_after_a_stop() {
    let scratch = Scratch::new("first-thread-ends-slowly");
    let started = start_beside(ENDS_SLOWLY, "", "exec sleep 600", &scratch);
    let pid = pid(&scratch).await;
    let environment = Path::new("/proc").join(pid.trim()).join("environ");
    fs::write(scratch.path().join("go"), "").unwrap();
    while fs::read(&environment).is_ok_and(|text| !text.is_empty()) {}
    let (_, report) = started.stop().await;
    assert!(report.quiescent && !is_executing(&pid), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_stranger_that_is_traced_keeps_no_program_from_ending() {
    let scratch = Scratch::new("traced");
    scratch.compile(TRACES);
    // It does not carry a mark.
    let _stranger = Stranger::start(&scratch.path().join("program"));
    let pid = pid(&scratch).await;
    let dead = || (states(&pid) == ["Z", "Z"]).then_some(());
    eventually("both threads are dead", dead).await;
    let spec = RunSpec::step("stopped").grace(Duration::from_mins(1));
    let (_, report) = start(spec, script("exec sleep 600")).stop().await;
    assert!(report.quiescent && !report.rows[0].aborted, "{report:?}");
    let (_, report) = run(script("true")).await;
    assert!(report.quiescent && dead().is_some(), "{report:?}");
}

/// Leaves the group, and takes a while to end.
const HAS_MUCH: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void) {
    static char page[1 << 20];
    setsid();
    memset(page, 1, sizeof page);
    int file = memfd_create("large", 0);
    for (int i = 0; i < 500; i++) write(file, page, sizeof page);
    FILE *pid = fopen("pid", "w");
    fprintf(pid, "%d\n", getpid());
    fclose(pid);
    for (;;) pause();
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn i4_what_left_the_group_and_takes_a_while_to_end_has_ended_after_a_stop() {
    let scratch = Scratch::new("ends-slowly");
    let started = start_beside(HAS_MUCH, "", "exec sleep 600", &scratch);
    let pid = pid(&scratch).await;
    let (_, report) = started.stop().await;
    assert!(report.quiescent && !is_executing(&pid), "{report:?}");
}
