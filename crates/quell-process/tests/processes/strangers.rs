//! Processes of others, which no engine has started: they may cost time, and no more.

use std::fs;
use std::path::Path;
use std::time::Duration;

use quell::RunSpec;

use crate::support::{Scratch, Stranger, eventually, run, script, start};

/// Has no environment. Its first thread has ended, so that this cannot be told from a program that
/// is about to have one; to read each of the others takes a while.
const BARE: &str = r"
#include <pthread.h>
#include <unistd.h>

extern char **environ;

static void *rest(void *unused) { for (;;) pause(); }

int main(int count, char **words) {
    char *none[] = {0};
    if (*environ) execve(words[0], words, none);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 1 << 16);
    for (int i = 0; i < 40; i++) {
        pthread_t other;
        pthread_create(&other, &small, rest, NULL);
    }
    pthread_exit(NULL);
}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_without_environment_keeps_no_program_from_ending() {
    let scratch = Scratch::new("bare-stranger");
    scratch.compile(BARE);
    let stranger = Stranger::start(&scratch.path().join("program"));
    let own = Path::new("/proc").join(stranger.id().to_string());
    eventually("its first thread has ended", || {
        let stat = fs::read_to_string(own.join("stat")).unwrap();
        stat.contains(") Z ").then_some(())
    })
    .await;
    let (_, report) = run(script("true")).await;
    assert!(report.quiescent, "{report:?}");
    let spec = RunSpec::step("stopped").grace(Duration::from_mins(1));
    let (_, report) = start(spec, script("exec sleep 600")).stop().await;
    assert!(report.quiescent && !report.rows[0].aborted, "{report:?}");
}
