//! Bodies that are operating-system processes: SIGTERM to the group, grace, SIGKILL; stdout as
//! events.
//!
//! A [`Process`] is a program with its arguments, working directory, environment and input.
//! [`Process::run`] is the body of a run: it starts the program in a process group of its own,
//! turns what it writes into events, and comes back when nothing of the group is alive.
//!
//! # How a process ends
//!
//! | what happens | what follows |
//! |---|---|
//! | the program ends by itself | SIGTERM to the rest of its group, 500 ms later SIGKILL |
//! | the run is stopped | SIGTERM to the group, SIGKILL shortly before the hard deadline |
//! | the body is dropped | SIGKILL to the group at once; a thread reaps it |
//!
//! "Shortly" is 500 ms or a tenth of the grace, whichever is less: time to collect what the program
//! had written. SIGCONT goes along with SIGTERM, so that a suspended program hears it. The leader
//! of the group is reaped last, because until then its number cannot be given to somebody else. As
//! long as something of the group is alive the run is not quiescent: a process that cannot be
//! killed is named in the report as abandoned, with its number: `sh (pid 4711)`, or those of the
//! processes that it seems to have left.
//!
//! # Processes that leave the group
//!
//! A descendant that makes a session of its own (`setsid`, a daemon) is out of reach of a signal to
//! the group. On Linux it is known by two things that descendants inherit:
//!
//! - a mark in the environment variable `QUELL_PROCESS_IDS`, with which every program is started.
//!   The variable is a list, so that the mark of an engine within an engine does not hide the outer
//!   one. It cannot be set or removed with [`Process::env`] and [`Process::env_remove`];
//! - a number, which every program is given just after its start as its soft limit of file locks
//!   (`RLIMIT_LOCKS`, which Linux does not enforce).
//!
//! Processes that have one of them are found in `/proc` when the program ends or is stopped, and
//! are ended with the group. Reading `/proc` for them is called a look below.
//!
//! A program that is never the same process for long cannot slip through: what was born while
//! `/proc` was read is read as well, until nothing was born; what is to be killed is suspended as
//! soon as a look finds it. As long as it is not certain that none of these is alive, the run is
//! not quiescent.
//!
//! Out of reach are descendants in a session of their own that have neither: that have given up the
//! variable (`env -i`; some servers write their title over it), and are without the number. Those
//! were started, and lost their parents, before the program had it, in its first milliseconds; they
//! have given it up (a login sets all limits); they have that of an embedder that is a program
//! itself; or the system refuses to give it (some sandboxes). Out of reach are descendants as well
//! that run as another user, and on systems other than Linux every descendant that leaves the
//! group. They run on, and the run is quiescent although they do, unless they hold on to stdout or
//! stderr. If one does, the body reads on for at most 1 s. If the run was stopped, it is then not
//! quiescent and names the program as abandoned, until those are closed. A process that holds them
//! and carries the mark again by then is killed, by the guardian if the embedder was killed.
//! Otherwise the body looks once more for the mark, and closes its end. Where `/proc` cannot be
//! read, what is left of the group is killed as soon as the program has ended.
//!
//! A process that is not dumpable (`ssh-agent`) hides its environment from everybody but root. An
//! embedder that is not root knows it by the number, and without one by its parents: one that
//! descends from a living process of the program when that is stopped, or has ended, is ended with
//! the rest, unless there is no grace. For that, SIGTERM waits for a look: for 1 s or a quarter of
//! the grace at most.
//!
//! One without a number whose parents have ended before may be of the program if it began later. It
//! can as well be a stranger, so it is not killed; but a run that was stopped is not quiescent, and
//! names the program as abandoned, until that process has ended. A run whose program ended by
//! itself does not wait for it. A `/proc` that leaves out such processes (`hidepid=2`) hides even
//! that.
//!
//! # What a process writes
//!
//! Every line of stdout and stderr is emitted as `{"stream":"stdout","line":"…"}`. A line longer
//! than 64 KiB is split; all its pieces but the last carry `"split":true`. Bytes that are not UTF-8
//! become `U+FFFD`, and the event carries `"lossy":true`. Of more than 16 lines that are read at
//! once, those that are no events are joined: `line` then holds several, with newlines between
//! them.
//!
//! A line of at most 256 KiB that is a JSON object with the key `event` is an event, and is not
//! part of stdout in the output. These kinds say something of the run:
//!
//! | `event` | its fields | what is done |
//! |---|---|---|
//! | `progress` | `fraction`, from 0 to 1 | [`RunContext::progress`] |
//! | `usage` | some of `input_tokens`, `output_tokens`, `cost_micros` | [`RunContext::usage`] |
//! | `tool.started` | `id`, `name`, perhaps `input` | a call begins, as in [`RunContext::tool`] |
//! | `tool.ended` | `id`, perhaps `output` or a text `error` | it ends |
//! | `result` | `output` | it is [`ProcessOutput::result`]; the last one counts |
//!
//! Every other kind is emitted as it stands, and `result` as well. Of these, some must have fields:
//! `content` and `reasoning` (`text`), `model.started` (`model`, `provider`), `model.ended` (these,
//! `input_tokens`, `output_tokens`), `values` (`values`), `updates` (`node`, `values`), `step`
//! (`next`), `custom` (`data`).
//!
//! An event without the fields of its kind is a line like every other, and the key `fault` of what
//! is emitted says what is wrong. So is a call that begins with the id of one that is open, that
//! begins when 256 are open or a stop was accepted, and an end of a call that is not open. An id is
//! free again when its call has ended. A call that is open when the program has ended is recorded
//! as `cancelled` if nothing of the program executes, otherwise as `unknown`: if the body was
//! dropped, or something that has left the group holds on to stdout or stderr.
//!
//! A `result` that is longer than 256 KiB, and has `event` as its first key, fails the run, unless
//! another one follows.
//!
//! [`RunContext::progress`]: quell::RunContext::progress
//! [`RunContext::usage`]: quell::RunContext::usage
//! [`RunContext::tool`]: quell::RunContext::tool
//!
//! Emitting never waits, but a pipe can: while somebody reads the events of the tree and is behind,
//! the program is read more slowly. A reader that is behind for 5 s is no longer waited for; what
//! it misses is marked by the engine, `Lagged`.
//!
//! What the program wrote on stdout is kept, byte for byte up to a bound, in the output of the run;
//! see [`ProcessOutput`].
//!
//! # Requirements
//!
//! Linux 5.3, macOS or FreeBSD (tested on Linux), and a tokio runtime for bodies with I/O and time
//! enabled; without them the body panics, and the run fails. Every process costs the embedder one
//! thread, which waits for it, and the first one another, which looks into `/proc` for all of them.
//! No stop needs a new thread: a program that has used up those of its user is stopped as well. An
//! embedder that ignores SIGCHLD, or reaps children that it did not start, takes away the exit
//! status: the run then fails and says so. Where the system refuses
//! handles of processes (`pidfd_open`; a seccomp filter, an older Linux), the group is ended, but
//! what left it is not: the run is not quiescent, and names the program as abandoned, until that
//! has ended. This is said once, as a warning of `tracing`.
//!
//! # An embedder that adopts
//!
//! An embedder that is the first process of a container, or a subreaper, becomes the parent of what
//! has lost its parent. On Linux 5.4 or newer it reaps these when they have ended, if they are
//! known to be of a program: then it has no zombie of them when the run is quiescent. A run does
//! not wait for zombies of others, which execute nothing. A look is taken when a program ends or is
//! stopped.
//!
//! What is of a program has its number. What is without, because it was started, and lost its
//! parents, before the program had that, is reaped if it is in the group of the program, if a look
//! met it outside of that group, or if it died and a look met another process of its session.
//!
//! A child that the embedder started itself is not reaped, so its exit status is not lost, with two
//! exceptions: one that was given the mark of a program and has made a session of its own, and one
//! that was put into the group of a program at most 200 ms after the start of that, or where a
//! program cannot be given the number. For every embedder, what is put into the group of a program
//! is ended with it.
//!
//! These stay as zombies also when the run is quiescent. Run an embedder whose programs leave many
//! of them below an init that reaps (`docker run --init`):
//!
//! - what is without the number, left the group and died before a look, if no look met another
//!   process of its session;
//! - what is without the number and left the group, but not the session of the embedder, if it had
//!   lost its parent before the first look: nothing tells it from a child of the embedder;
//! - what has given up the number (a login sets all limits), if it ended in the group;
//! - what outlives its program, until the look of another program;
//! - of what is without the number, what is more than 4,096 at once.
//!
//! A descendant of a program that is an embedder itself has the number of that, and counts as
//! without.
//!
//! The embedder must not call `setsid` after its first program: its own children are told by its
//! session.
//!
//! # An embedder that is killed
//!
//! An embedder that is killed cannot end its processes; [`guarded_by`] names a program that does.
//! On systems other than Linux that ends the groups, and nothing that has left them. The embedder
//! that is started next waits for that with [`take_over`], before it starts anything again.
//!
//! In an engine with a store a program starts when the store has that it does
//! ([`RunContext::hold_durably`]). The process that recovers the run names the program as
//! abandoned, and does not call the run quiescent, unless it learns that it has ended: a guardian
//! that has found nothing left says so in the file of [`take_over`], with [`guard_and_tell`].
//!
//! [`RunContext::hold_durably`]: quell::RunContext::hold_durably

#[cfg(not(unix))]
compile_error!("quell-process needs process groups, which only Unix has");

mod account;
mod aside;
mod calls;
mod channel;
mod descriptors;
mod event;
mod event_lines;
mod group;
mod guardian;
mod leader;
mod lines;
mod output;
mod pace;
mod process;
mod running;
mod stream;
mod streams;
mod survivors;
mod tail;
#[cfg(feature = "test-util")]
pub mod testing;
mod told;

pub use descriptors::raise_descriptors;
pub use event_lines::EventLines;
pub use guardian::{
    Guarded, TakenOver, forget_doubt, guard, guard_and_tell, guarded_by, let_go, take_over,
};
pub use output::{Encoding, ProcessOutput};
pub use process::Process;
