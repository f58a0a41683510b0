//! Very many descendants that end as soon as they have left the group, while children of an
//! embedder that adopts end as well: each of the former is reaped, and none of the latter.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{self, Child, Command};
use std::thread;

use quell::{CancelRequest, RunSpec};

use crate::adopted::adopts;
use crate::support::{PATIENCE, Scratch, eventually, script, start};

/// Once it has the number: starts `$1` that lose their parent and end, each in one of eight ways.
const STORMS: &str = r#"
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int way) {
    char *words[] = {"true", NULL}, *none[] = {NULL};
    if (way & 1) setsid();
    if (way & 2) execve("/bin/true", words, none);
    if ((way & 4) && vfork() == 0) _exit(0);
    _exit(way);
}

int main(int count, char **words) {
    struct rlimit own, parents;
    prlimit(getppid(), RLIMIT_LOCKS, NULL, &parents);
    do getrlimit(RLIMIT_LOCKS, &own); while (own.rlim_cur == parents.rlim_cur);
    for (int i = 0; i < atoi(words[1]); i++) {
        int child = fork();
        if (child == 0) {
            for (int k = 0; k < 8; k++) if (fork() == 0) end(k);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    FILE *done = fopen("done", "w");
    fclose(done);
    for (;;) pause();
}
"#;

/// Yields what this process has not reaped, and is dead.
fn zombies() -> BTreeSet<u32> {
    let own = process::id().to_string();
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|it| {
        let number = it.unwrap().file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        (fields.next() == Some("Z") && fields.next() == Some(&own)).then_some(number)
    });
    numbers.collect()
}

/// Starts children, of which each ends with its place, in the group and session of this process, a
/// group, or a session of their own.
fn children() -> Vec<Child> {
    let child = |nth: usize| {
        let mut command = Command::new(if nth % 3 == 2 { "setsid" } else { "sh" });
        if nth % 3 == 2 {
            command.arg("sh");
        }
        if nth % 3 == 1 {
            command.process_group(0);
        }
        command.args(["-c", &format!("exit {nth}")]).spawn().unwrap()
    };
    (0..100).map(child).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_strays_leaves_no_zombie_and_takes_no_exit_status() {
    if !adopts("storm::a_storm_of_strays_leaves_no_zombie_and_takes_no_exit_status") {
        return;
    }
    let mut programs = Vec::new();
    // Each has an engine of its own.
    for nth in 0..2 {
        let scratch = Scratch::new(&format!("storm-{nth}"));
        scratch.compile(STORMS);
        let spec = RunSpec::step("program").grace(PATIENCE);
        let started = start(spec, script("exec ./program 40").cwd(scratch.path()));
        programs.push((scratch, started));
    }
    let mut own = thread::spawn(children).join().unwrap();
    for (scratch, _) in &programs {
        let done = scratch.path().join("done");
        eventually("all are started", || done.exists().then_some(())).await;
    }
    for child in &own {
        eventually("it is dead", || zombies().contains(&child.id()).then_some(())).await;
    }
    assert!(zombies().len() > own.len(), "nothing is left to be reaped");
    for (_, started) in &programs {
        started.run().cancel(CancelRequest::because("the test says so"));
    }
    for (_scratch, started) in programs {
        let (_, report) = started.end().await;
        assert!(report.quiescent, "{report:?}");
    }
    assert_eq!(zombies(), own.iter().map(Child::id).collect());
    let codes: Vec<_> = own.iter_mut().map(|it| it.wait().unwrap().code()).collect();
    assert_eq!(codes, (0..100).map(Some).collect::<Vec<_>>());
    assert_eq!(zombies(), BTreeSet::new());
}
