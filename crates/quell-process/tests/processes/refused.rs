//! A system that refuses handles of processes.

use std::env;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quell::{CancelRequest, RunSpec};
use tokio::runtime::Builder;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{Scratch, script, start};

/// Becomes another program, for which there is no `pidfd_open`.
const REFUSES: &str = r"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int count, char **words) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 434, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 1;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 1;
    execv(words[1], words + 1);
    return 1;
}
";

/// Counts warnings of this crate.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("quell_process") && *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Leaves the group, and ignores SIGTERM.
const STRAY: &str =
    "echo $$ > leader; setsid sh -c 'trap \"\" TERM; echo $$ > pid; exec sleep 600' & wait";

#[test]
fn what_cannot_be_ended_without_handles_is_named_and_said_once() {
    if env::var_os(REFUSED).is_none() {
        let scratch = Scratch::new("refused");
        scratch.compile(REFUSES);
        let mut again = Command::new(scratch.path().join("program"));
        again.arg(env::current_exe().unwrap()).args(["--exact", "--nocapture"]);
        let test = "refused::what_cannot_be_ended_without_handles_is_named_and_said_once";
        let output = again.arg(test).env(REFUSED, "1").output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let warnings = Warnings::default();
    let until_over = async {
        for nth in 0..2 {
            let scratch = Scratch::new(&format!("refused-{nth}"));
            let spec = RunSpec::step("program").grace(Duration::from_millis(500));
            let started = start(spec, script(STRAY).cwd(scratch.path()));
            let (run, stray) = (started.run().clone(), scratch.pid("pid").await);
            run.cancel(CancelRequest::because("the test says so"));
            let report = run.ended().await;
            let abandoned = &report.own_row().abandoned;
            let name = format!("sh (pid {})", scratch.pid("leader").await.number());
            assert!(abandoned.iter().any(|it| *it.name == name), "{report:?}");
            assert!(!report.quiescent && stray.is_alive());
            stray.kill();
            assert!(started.end().await.1.quiescent);
        }
    };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    // The thread that owns a leader says it as well, if its look is the first one.
    tracing::subscriber::set_global_default(warnings.clone()).unwrap();
    runtime.block_on(until_over);
    assert_eq!(warnings.0.load(Ordering::Relaxed), 1);
}

/// Set while the test runs where handles are refused.
const REFUSED: &str = "QUELL_TEST_REFUSED";
