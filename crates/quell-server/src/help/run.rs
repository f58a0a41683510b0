//! The help of `quell run`.

/// What `quell run` does.
pub(crate) const RUN_ABOUT: &str = "\
Run a plan of commands, or a single command, as one run tree that stops when told.

Every command runs in a process group of its own. A stop (a timeout, a signal to quell, a branch \
that failed) sends SIGTERM to the groups, waits for the grace but \
for a tenth of it (at most 500 ms, for the rest of the output), then sends SIGKILL. What a program \
had written by then is kept as partial output. When quell exits, nothing it started is left that \
can be found: only a process in a session of its own that has given up its environment and its \
limit of file locks (ulimit -x), or runs as another user, cannot. A small process of its own, the \
guardian, outlives a quell that is killed and ends what it had started; except on Linux it cannot \
find what has left its group, and on Linux not what has also given up those two. A stopped run \
whose program left such a process holding stdout or stderr names it as abandoned.

In a terminal the tree is live; elsewhere transitions are lines on stdout, at most four a second \
(-v: all). The report follows: status and cause of every run, what a step that failed wrote (at \
most the last 200 lines and 32 KiB of what is kept of stdout, its first 4 MiB, and of stderr), \
which steps of a plan were not started and why, who was signalled and aborted, how long the stop \
took, what output was kept.";

/// Below the help of `quell run`.
pub(crate) const RUN_AFTER_HELP: &str = "\
Signals:
  SIGINT (Ctrl-C), SIGTERM, SIGHUP   the first one cancels with grace, the second one aborts
  SIGQUIT (Ctrl-\\)                   aborts at once
  after the run has ended, any of them gives up writing what is left to write

The store (--store FILE):
  The run starts when it is stored. Its stop and its end never wait for the disk: if that is full, a
  note at the end says that the run is not stored. Runs of a process that was killed have failed,
  or ended with their stop, as soon as another one opens the file; so has what ran below them.
  One that waits for an answer stays paused.
  --resume RUN goes on with one that is paused, or with one whose process was killed if no other
  process has opened the file since; it is a run of a plan. Steps whose end is stored are not run
  again and have the outputs that they had. The step that was cut runs again, as its next attempt
  (QUELL_ATTEMPT), and so do a parallel step and a team as a whole, and a step that had ended in
  the last moment before: what it does outside may be done twice. A retried step has one attempt
  more for each that was cut. A step that has failed or timed out stays so. Cleanup (on_failure,
  on_stop) that was cut runs again as a whole, from its first step. A parallel step with
  start_next: decided that was cut decides anew, perhaps otherwise than later steps had it. The
  plan must be the same, the folder is the current one. --timeout and --grace are those of the
  first command line, unless others are given; the timeout goes on from the first start. The report
  has what ran since.
  Inputs, outputs and what programs write are in it as they are; only its owner may read it.

Steps that wait:
  A question is asked on the terminal, and a line is the answer. If stdin or stderr is none,
  answers are those of --answer. A question without one cancels the run; with a store it leaves the
  run paused, as the end of the terminal's input (Ctrl-D) does, and a line on stderr has the
  command that goes on with it. An answer is stored before anything goes on, and is never asked for
  again; one that no step has asked for is not kept, and is told. The timeout goes on meanwhile.
  Only a plan is left paused: a run of a component (`quell run NAME`) that nobody answers is
  cancelled, with a store as well; `quell run PLAN`, the file of the plan, is not.

Exit codes:
    0   completed
    1   failed, or the report could not be written, or the run is not known to be stored, or a step
        waited for an answer that nobody gave
    2   bad usage, bad plan, unwritable report, no such store: nothing was started
    3   left paused in its store: a step waits for an answer
  124   timed out
  130   cancelled: by a signal, or because the reader of stdout went away (quell run … | head)

Examples:
  quell run crates/quell-server/plans/tour.toml
  quell run plan.toml --timeout 10m --report report.json
  quell run plan.toml --json > events.ndjson
  quell run plan.toml --store runs.db
  quell run --resume 0198c1 --store runs.db
  quell run --resume 0198c1 --store runs.db --answer ok=yes
  quell run plan.toml --answer ok=yes
  make-plan | quell run -
  quell run plan.toml --from send --outputs report.json
  quell run --timeout 30s --grace 5s -- make test";
