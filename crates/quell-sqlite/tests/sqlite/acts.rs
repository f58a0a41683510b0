//! Appends of each kind, and a process that dies at a point of them.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use futures::future::join_all;
use quell_core::store::StoreError;
use quell_core::store::{Accepted, BoxFuture, ClaimedKey, Epoch, Record, Store, StoredPause};
use quell_core::{EventKind, Payload, RunEvent, RunId, RunKind, RunStatus};
use quell_sqlite::{SqliteOptions, SqliteStore};

use crate::child::say;
use crate::death::{self, AtWake};
use crate::fixture::{accept, at, beside, block_on, end, epoch, event, state, stop};

/// What is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Accept,
    Stop,
    Save,
    Pause,
    Answer,
    End,
    EndWithRollback,
    Forget,
    /// Appends of several kinds in one transaction.
    Together,
    /// One in whose transaction another one is refused, and taken back.
    Refused,
    /// One whose transaction is rolled back because there is no room for another one in it.
    Full,
}

/// Where the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Before the appends.
    Nothing,
    /// When the store has them, and its first statement waits for the file.
    Handed,
    /// When the log of SQLite is written beyond so many bytes.
    Written(u64),
    /// After COMMIT, when the first caller is to be woken.
    Committed,
    /// When every caller has its answer.
    Told,
}

impl Act {
    pub(crate) const ALL: [Self; 11] = [
        Self::Accept,
        Self::Stop,
        Self::Save,
        Self::Pause,
        Self::Answer,
        Self::End,
        Self::EndWithRollback,
        Self::Forget,
        Self::Together,
        Self::Refused,
        Self::Full,
    ];

    /// What is stored before: runs, each with an event, a state and a child that has ended; one of
    /// them is paused, another one has ended.
    pub(crate) fn before(epoch: Epoch) -> Vec<Record> {
        let mut records = Vec::new();
        for nth in 0..6 {
            let root = run(nth);
            let mut below =
                Accepted::new(child_of(nth), RunKind::Step, "below".into(), epoch, at());
            (below.root, below.parent) = (root, Some(root));
            records.extend([keyed(nth, epoch), event(root, epoch, 1)]);
            records.push(Record::Accepted(below.into()));
            records.extend([state(root, epoch, "lane", 1), state(root, epoch, "lane", 2)]);
            records.push(end(child_of(nth), epoch, RunStatus::Completed));
        }
        records.extend([pause(4, epoch), ended(5, epoch, RunStatus::Completed, false)]);
        records
    }

    /// The appends.
    pub(crate) fn appends(self, epoch: Epoch) -> Vec<Vec<Record>> {
        // Two that share a row.
        let with_event =
            |nth, record| vec![event(run(nth), epoch, 7), event(run(nth), epoch, 8), record];
        match self {
            Self::Accept => vec![vec![keyed(9, epoch), event(run(9), epoch, 1)]],
            Self::Stop => vec![with_event(0, stop(run(0), epoch))],
            Self::Save => vec![with_event(1, state(run(1), epoch, "lane", 3))],
            Self::Pause => vec![with_event(2, pause(2, epoch))],
            Self::Answer => vec![with_event(4, answer(4, epoch))],
            Self::End => vec![with_event(3, ended(3, epoch, RunStatus::Failed, false))],
            Self::EndWithRollback => {
                let below = child_of(0);
                let rolled_back = ended(0, epoch, RunStatus::Cancelled, true);
                vec![vec![stop(run(0), epoch), event(run(0), epoch, 7), rolled_back, {
                    Record::Quiesced { run: below, epoch, at: at() }
                }]]
            }
            Self::Forget => vec![vec![Record::Forgotten { run: run(5), epoch, at: at() }]],
            Self::Together => {
                let others = Self::ALL.into_iter().take(8);
                // The end with rollback is of the run that is stopped.
                others.filter(|it| *it != Self::Stop).flat_map(|it| it.appends(epoch)).collect()
            }
            Self::Refused => vec![
                with_event(1, state(run(1), epoch, "lane", 3)),
                vec![stop(run(2), epoch), state(run(2), epoch, "lane", 3), event(run(8), epoch, 1)],
                with_event(3, ended(3, epoch, RunStatus::Failed, false)),
            ],
            Self::Full => {
                let kind = EventKind::Emitted(Payload::from("x".repeat(4 << 20)));
                let large = RunEvent::new(9, run(2), run(2), at(), kind);
                vec![
                    with_event(1, state(run(1), epoch, "lane", 3)),
                    vec![stop(run(2), epoch), Record::Event { epoch, event: large }],
                ]
            }
        }
    }

    /// How many more runs, rows of events and states there are after it.
    pub(crate) fn adds(self) -> [isize; 3] {
        match self {
            Self::Accept => [1, 1, 0],
            Self::Stop | Self::Pause | Self::Answer | Self::End => [0, 1, 0],
            Self::Save | Self::Full => [0, 1, 1],
            Self::EndWithRollback => [0, 1, -2],
            Self::Forget => [-2, -1, -2],
            Self::Together => [-1, 5, -3],
            Self::Refused => [0, 2, 1],
        }
    }

    /// How many of the appends are refused.
    fn refusals(self) -> usize {
        usize::from(matches!(self, Self::Refused | Self::Full))
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "an accepted run",
            Self::Stop => "a stop",
            Self::Save => "a saved state",
            Self::Pause => "a pause",
            Self::Answer => "an answer",
            Self::End => "an end",
            Self::EndWithRollback => "an end with rollback",
            Self::Forget => "a forgotten tree",
            Self::Together => "appends that share a transaction",
            Self::Refused => "an append beside one that is taken back",
            Self::Full => "an append whose first transaction is rolled back",
        })
    }
}

impl At {
    /// Writes it for the child.
    pub(crate) fn told(self, act: Act) -> String {
        let (nth, bytes) = match self {
            Self::Nothing => (0, 0),
            Self::Handed => (1, 0),
            Self::Written(bytes) => (2, bytes),
            Self::Committed => (3, 0),
            Self::Told => (4, 0),
        };
        let act = Act::ALL.iter().position(|it| *it == act).unwrap();
        format!("{act} {nth} {bytes}")
    }

    fn read(told: &str) -> (Act, Self) {
        let numbers: Vec<u64> = told.split(' ').map(|it| it.parse().unwrap()).collect();
        let at = match numbers[1] {
            0 => Self::Nothing,
            1 => Self::Handed,
            2 => Self::Written(numbers[2]),
            3 => Self::Committed,
            _ => Self::Told,
        };
        (Act::ALL[usize::try_from(numbers[0]).unwrap()], at)
    }
}

/// What a child does: it appends, says how long the log is before and after, and dies.
pub(crate) fn acts(file: &Path, how: &str) -> ! {
    let (act, at) = At::read(how);
    let mut options = SqliteOptions::default();
    options.bytes_max = (act == Act::Full).then_some(3 << 20);
    let store = SqliteStore::open_with(file, &options).unwrap();
    let log = || say(&format!("log {}", beside(file, "-wal").metadata().unwrap().len()));
    log();
    if at == At::Nothing {
        death::now();
    }
    // While somebody else writes the appends come together, and wait.
    let other = rusqlite::Connection::open(file).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let batches = act.appends(epoch(&store));
    let mut appends: Vec<_> = batches.into_iter().map(|batch| store.append(batch)).collect();
    let waker = match at {
        At::Committed => Waker::from(Arc::new(AtWake)),
        _ => Waker::noop().clone(),
    };
    wait(&mut appends, &waker);
    match at {
        At::Handed => death::now(),
        At::Written(bytes) => death::beyond(bytes),
        _ => {}
    }
    other.execute_batch("rollback").unwrap();
    if at == At::Committed {
        loop {
            std::thread::park();
        }
    }
    let answers = block_on(join_all(appends));
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!(refused, act.refusals(), "{answers:?}");
    log();
    death::now()
}

/// Hands appends over, with who is woken.
fn wait(appends: &mut [BoxFuture<'_, Result<(), StoreError>>], waker: &Waker) {
    let mut context = Context::from_waker(waker);
    for append in appends {
        assert!(Pin::new(append).poll(&mut context).is_pending());
    }
}

fn run(nth: usize) -> RunId {
    RunId::from_text(&format!("run {nth}"))
}

fn child_of(nth: usize) -> RunId {
    RunId::from_text(&format!("below {nth}"))
}

/// The acceptance of a run with all that takes a row or a statement of its own.
fn keyed(nth: usize, epoch: Epoch) -> Record {
    let Record::Accepted(mut accepted) = accept(run(nth), epoch) else { unreachable!() };
    accepted.key = Some(ClaimedKey { key: format!("key {nth}").into(), payload: [7; 32] });
    accepted.spec = Some(Payload::from("s".repeat(9_000)));
    accepted.lane = Some("lane".into());
    Record::Accepted(accepted)
}

fn pause(nth: usize, epoch: Epoch) -> Record {
    let pause = StoredPause::new(Payload::from("q".repeat(9_000)), 1, at());
    Record::Paused { run: run(nth), epoch, pause: pause.into() }
}

fn answer(nth: usize, epoch: Epoch) -> Record {
    let (answer, stood) = (Payload::from("a".repeat(9_000)), Duration::ZERO);
    Record::Resumed { run: run(nth), epoch, attempt: 2, answer, stood, at: at() }
}

fn ended(nth: usize, epoch: Epoch, status: RunStatus, takes_back: bool) -> Record {
    let Record::Ended { run, epoch, report, .. } = end(run(nth), epoch, status) else {
        unreachable!()
    };
    Record::Ended { run, epoch, report, rollback: takes_back }
}
