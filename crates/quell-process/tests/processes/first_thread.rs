//! Programs whose first thread ends while another goes on: the system calls them dead (`Z`).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use quell::RunSpec;

use crate::support::{PATIENCE, Scratch, eventually, script, start};

/// Ends its first thread. The other one ignores SIGTERM, or says a word after it. A shell cannot do
/// that; a C compiler is there, because it links these tests.
const SOURCE: &str = r#"
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

fn compile(scratch: &Scratch) {
    let source = scratch.path().join("first.c");
    fs::write(&source, SOURCE).unwrap();
    let mut cc = Command::new("cc");
    let status =
        cc.arg("-pthread").arg("-o").arg(scratch.path().join("first")).arg(source).status();
    assert!(status.unwrap().success());
}

fn states(pid: &str) -> Vec<String> {
    let threads = fs::read_dir(Path::new("/proc").join(pid.trim()).join("task"));
    let threads = threads.into_iter().flatten().filter_map(Result::ok);
    let stats = threads.filter_map(|it| fs::read_to_string(it.path().join("stat")).ok());
    stats.filter_map(|it| Some(it.rsplit_once(") ")?.1[..1].to_owned())).collect()
}

fn is_executing(pid: &str) -> bool {
    states(pid).iter().any(|state| state != "Z" && state != "X")
}

async fn until_first_thread_ended(scratch: &Scratch) -> String {
    scratch.pid("pid").await;
    let pid = fs::read_to_string(scratch.path().join("pid")).unwrap();
    eventually("the first thread has ended", || {
        states(&pid).contains(&"Z".to_owned()).then_some(())
    })
    .await;
    assert!(is_executing(&pid));
    pid
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_what_left_the_group_and_ended_its_first_thread_is_dead_after_a_stop() {
    for rest in ["exec sleep 600", "until [ -e go ]; do sleep 0.01; done"] {
        let scratch = Scratch::new("first-thread-left");
        compile(&scratch);
        let text = format!("./first stays >/dev/null 2>&1 & {rest}");
        let spec = RunSpec::step("process").grace(Duration::from_secs(5));
        let started = start(spec, script(&text).cwd(scratch.path()));
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
    compile(&scratch);
    let spec = RunSpec::step("process").grace(PATIENCE);
    let started = start(spec, script("./first hears & wait").cwd(scratch.path()));
    until_first_thread_ended(&scratch).await;
    let (output, report) = started.stop().await;
    assert_eq!(output.unwrap().stdout, "saved\n");
    assert!(report.quiescent, "{report:?}");
}
