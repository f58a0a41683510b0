//! What a guardian is told, and when it is given up.

use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quell_test_support::{eventually, soon};
use rustix::process::Pid;
use tokio::sync::Mutex;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

use super::guard::Program;
use super::guarded::{STATE, State, announce, reap};
use super::news::News;
use super::take_over::{TakenOver, take_over};
use crate::survivors;

/// Guards with a shell command.
fn guarded(script: &str) -> State {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::null());
    State { command: Some(command), ..State::new() }
}

/// Ends the guardian, and yields the lines that it was told.
fn told(state: &mut State, file: &std::path::Path) -> Vec<String> {
    let (mut child, pipe) = state.end().unwrap();
    drop(pipe);
    child.wait().unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::remove_file(file).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_guardian_is_told_of_no_program_of_the_one_before_it() {
    let file = std::env::temp_dir().join(format!("quell-guardian-{}", std::process::id()));
    let script = format!("exec cat > {}", file.display());
    let mut state = guarded(&script);
    state.tell("first", News::Announced).unwrap();
    state.tell("first", News::Started(7, Some(70))).unwrap();
    assert_eq!(told(&mut state, &file), ["begins first", "begins first 7 70"]);
    state.tell("first", News::Ended).unwrap();
    state.tell("unguarded", News::Announced).unwrap();
    state.command = guarded(&script).command;
    state.tell("second", News::Announced).unwrap();
    assert_eq!(told(&mut state, &file), ["begins second"]);
}

#[test]
fn one_that_dies_is_replaced_with_the_next_news_and_the_other_is_told_all() {
    let file = std::env::temp_dir().join(format!("quell-guardian-2-{}", std::process::id()));
    let mut state = guarded(&format!("exec cat > {}", file.display()));
    state.tell("gone", News::Announced).unwrap();
    state.tell("stays", News::Started(8, None)).unwrap();
    let (child, _) = state.guardian.as_mut().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    state.tell("gone", News::Ended).unwrap();
    assert_eq!(told(&mut state, &file), ["begins stays 8"]);
}

#[test]
fn one_that_does_not_read_is_given_up_and_not_tried_at_once() {
    let mut state = guarded("exec sleep 600");
    state.programs = (0..3_000).map(|it| (format!("{it:036}"), News::Announced)).collect();
    let error = state.tell("next", News::Announced).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(state.guardian.is_none() && state.next_start.is_some());
    state.command = Some(Command::new("/nonexistent"));
    let error = state.tell("next", News::Ended).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(state.end().is_none() && state.next_start.is_none());
}

#[test]
fn one_that_does_not_end_is_killed() {
    let mut state = guarded("exec sleep 600");
    state.tell("program", News::Announced).unwrap();
    let (child, pipe) = state.end().unwrap();
    let pid = Pid::from_child(&child);
    drop(pipe);
    reap(child, Duration::from_millis(50));
    assert_eq!(survivors::began(pid), None);
}

#[tokio::test]
async fn the_next_process_waits_for_the_guardian_and_not_without_end() {
    let _one_at_a_time = ONE_AT_A_TIME.lock().await;
    let file = std::env::temp_dir().join(format!("quell-guardian-3-{}", std::process::id()));
    STATE.lock().unwrap().command = guarded("exec cat").command;
    // There was none before, and then none that had anything to guard.
    for _ in 0..2 {
        assert_ne!(take_over(&file, FREE_WAIT).await.unwrap(), TakenOver::Late);
        let program = announce("program");
        let (child, pipe) = STATE.lock().unwrap().end().unwrap();
        // The process is gone, its guardian is not.
        STATE.lock().unwrap().command = guarded("exec cat").command;
        let late = take_over(&file, Duration::from_millis(50)).await.unwrap();
        assert_eq!(late, TakenOver::Late);
        // All that it had open is closed.
        let mut state = STATE.lock().unwrap();
        (state.command, state.ledger) = (None, None);
        drop(state);
        drop((program, pipe));
        reap(child, Duration::from_mins(2));
        STATE.lock().unwrap().command = guarded("exec cat").command;
    }
    assert!(STATE.lock().unwrap().end().is_none());
    assert_ne!(take_over(&file, FREE_WAIT).await.unwrap(), TakenOver::Late);
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_process_that_lets_go_is_not_waited_for_unless_a_program_may_be_left() {
    let _one_at_a_time = ONE_AT_A_TIME.lock().await;
    let file = std::env::temp_dir().join(format!("quell-guardian-4-{}", std::process::id()));
    STATE.lock().unwrap().command = guarded("exec cat").command;
    assert_ne!(take_over(&file, Duration::ZERO).await.unwrap(), TakenOver::Late);
    let program = announce("program");
    // As the next process does: another opening of the file.
    let is_free = || {
        let file = std::fs::File::open(&file).unwrap();
        file.try_lock().is_ok_and(|()| file.unlock().is_ok())
    };
    super::let_go();
    assert!(!is_free(), "a program is there");
    drop(program);
    assert!(!is_free(), "the guardian has it");
    super::let_go();
    soon("it is free", is_free).await;
    // A program that begins after that has a guardian as well.
    let program = announce("late");
    assert!(STATE.lock().unwrap().living().is_some());
    soon("it is free", is_free).await;
    drop(program);
    let (child, pipe) = STATE.lock().unwrap().end().unwrap();
    drop(pipe);
    reap(child, Duration::from_mins(2));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_group_whose_number_means_another_by_now_is_nobodys() {
    let own = rustix::process::getpid();
    let program = |began| Program { group: Some(own), began };
    let began = survivors::began(own);
    assert_eq!(program(began).group(), Some(own));
    assert!(began.is_none_or(|began| program(Some(began + 1)).group().is_none()));
}

/// Counts the events that are told while nobody holds the lock.
#[derive(Clone, Default)]
struct Free(Arc<AtomicUsize>);

impl Subscriber for Free {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        // The thread that keeps a guardian has it for moments.
        let until = Instant::now() + Duration::from_mins(2);
        while STATE.try_lock().is_err() {
            assert!(Instant::now() < until, "it is held");
        }
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_subscriber_that_hears_of_a_lack_of_a_guardian_may_start_a_program() {
    let _one_at_a_time = ONE_AT_A_TIME.blocking_lock();
    STATE.lock().unwrap().command = Some(Command::new("/nonexistent"));
    let free = Free::default();
    // While there is one alone, what another thread is the first to say is heard by nobody.
    let _beside = Dispatch::new(Free::default());
    tracing::subscriber::with_default(free.clone(), || drop(announce("program")));
    assert!(STATE.lock().unwrap().end().is_none());
    // It could not be started, neither for the announcement nor for the end.
    assert_eq!(free.0.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn one_that_cannot_be_replaced_is_tried_again_while_programs_run() {
    let _one_at_a_time = ONE_AT_A_TIME.lock().await;
    let command = || guarded("exec cat >/dev/null").command;
    STATE.lock().unwrap().command = command();
    let program = announce("program");
    let deaths = {
        let mut state = STATE.lock().unwrap();
        state.command = Some(Command::new("/nonexistent"));
        let (guardian, _) = state.guardian.as_mut().unwrap();
        guardian.kill().unwrap();
        state.deaths
    };
    // One death, and one that could not be started.
    eventually("another one was tried", || {
        (STATE.lock().unwrap().deaths >= deaths + 2).then_some(())
    })
    .await;
    assert!(STATE.lock().unwrap().living().is_none());
    STATE.lock().unwrap().command = command();
    eventually("there is another one", || STATE.lock().unwrap().living()).await;
    let (child, pipe) = STATE.lock().unwrap().end().unwrap();
    drop((program, pipe));
    reap(child, Duration::from_mins(2));
}

/// How long a file may be locked that nobody holds open any more: what another test starts at that
/// moment has it, too, until it is another program.
const FREE_WAIT: Duration = Duration::from_mins(2);

/// Held by those that use what all programs are guarded with.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
