//! Limits that several nodes keep together. Bodies say to the test that they execute, over a
//! connection each: the engine and the database know nothing of that, and a process that is killed
//! says no more.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use quell::store::RunRecord;
use quell::{
    Engine, EngineConfig, Failure, Recovery, RunContext, RunKind, RunSpec, Scope, Shutdown,
};
use quell_core::cluster::{Cluster as _, SlotsAsked, SlotsHeld};
use quell_core::store::{Store as _, StoreError};
use quell_postgres::{PostgresNode, PostgresOptions};
use quell_test_support::{Witness, soon_in_real_time, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;

use crate::crew::{LONG, expire, is_long, join, on_threads, options};
use crate::fixture::{Place, block_on};

/// Asks for slots of the one limit.
pub(crate) async fn ask(node: &PostgresNode, max: usize, give: usize, want: usize) -> SlotsHeld {
    let asked = SlotsAsked::new("in all", "in all", Some(max)).give(give).want(want, 0);
    within("an answer", node.slots(vec![asked])).await.unwrap().remove(0)
}

#[test]
fn members_that_ask_at_once_get_no_more_than_there_are() {
    let place = Place::shared();
    on_threads(async {
        let mut nodes = Vec::new();
        for name in ["a", "b", "c", "d"] {
            nodes.push(join(&place, name).await);
        }
        for node in &nodes {
            ask(node, 7, 0, 0).await;
        }
        for round in 0..40 {
            let asks = nodes.iter().map(|node| {
                let node = Arc::clone(node);
                tokio::spawn(async move { ask(&node, 7, 0, 3).await.held })
            });
            let asks: Vec<_> = asks.collect();
            let mut held = Vec::new();
            for ask in asks {
                held.push(ask.await.unwrap());
            }
            let all: usize = held.iter().sum();
            assert!((1..=7).contains(&all), "{held:?} in round {round}");
            assert_eq!(place.sql("select taken from quota"), all.to_string());
            assert_eq!(place.sql("select sum(held) from quota_part"), all.to_string());
            for (node, held) in nodes.iter().zip(held) {
                assert_eq!(ask(node, 7, held, 0).await.held, 0);
            }
        }
        for node in nodes {
            node.close().await.unwrap();
        }
    });
}

#[test]
fn who_waits_is_told_and_of_two_maxima_the_last_one_is_right() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        // Who begins to listen looks at all of them: what it is told before is one of these.
        let listen = || place.sessions("query like 'listen %'");
        soon_in_real_time("both listen", || listen() == 2).await;
        sleep(Duration::from_millis(100)).await;
        for node in [&a, &b] {
            assert!(node.slots_moved().await.unwrap().is_empty(), "at first, all");
        }
        let of_a = ask(&a, 3, 0, 3).await;
        assert_eq!((of_a.max, of_a.held, &*of_a.set_by), (3, 3, "a"));
        let of_b = ask(&b, 2, 0, 1).await;
        assert_eq!((of_b.max, of_b.held, of_b.waits, &*of_b.set_by), (2, 0, true, "b"));
        let named = async |node: &PostgresNode| loop {
            let moved = within("it is told", node.slots_moved()).await.unwrap();
            if !moved.is_empty() {
                return moved;
            }
        };
        assert_eq!(named(&a).await, ["in all".into()]);
        // Its setting does not count any more.
        let of_a = ask(&a, 3, 0, 0).await;
        assert_eq!((of_a.max, of_a.held, of_a.may_keep), (2, 3, Some(2)));
        ask(&a, 3, 2, 0).await;
        assert_eq!(named(&b).await, ["in all".into()]);
        let of_b = ask(&b, 2, 0, 1).await;
        assert_eq!((of_b.held, of_b.taken, of_b.waits), (1, 2, false));
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn i27_whoever_takes_over_has_the_slots_and_who_has_lost_its_seat_gets_none() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        ask(&a, 5, 0, 2).await;
        ask(&b, 5, 0, 1).await;
        expire(&place, "a");
        let of_b = ask(&b, 5, 0, 0).await;
        assert_eq!((of_b.held, of_b.taken), (1, 3), "the end of a lease gives nothing back");
        b.take_over().await.unwrap().unwrap();
        let all = b.slots(Vec::new()).await.unwrap();
        assert_eq!((all.len(), all[0].held, all[0].taken), (1, 3, 3));
        let lost = Err(StoreError::LeaseLost { node: "a".into() });
        let asked = || vec![SlotsAsked::new("in all", "in all", Some(5)).give(1).want(1, 0)];
        assert_eq!(a.slots(asked()).await.map(drop), lost);
        assert_eq!(ask(&b, 5, 0, 0).await.taken, 3);
        a.close().await.unwrap();
        b.close().await.unwrap();
        // A process of its name has them again, and what that one waited for nobody waits for.
        place.sql("update quota_part set wants = 9");
        let again = join(&place, "b").await;
        assert_eq!(again.slots(Vec::new()).await.unwrap()[0].held, 3);
        assert_eq!(place.sql("select sum(wants) from quota_part"), "0");
        again.close().await.unwrap();
    });
}

const ADDRESS: &str = "QUELL_QUOTA_ADDRESS";
const NAME: &str = "QUELL_QUOTA_NAME";
const TEST: &str = "QUELL_QUOTA_TEST";

/// How many bodies may execute at once.
const MAX: usize = 6;

const LEASE: Duration = Duration::from_secs(2);

/// A node in a process of its own.
struct Process(Child);

impl Process {
    fn start(place: &Place<'_>, name: &str, to: SocketAddr) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["quotas::works_if_it_is_told_to", "--exact", "--nocapture", "--quiet"]);
        command.env(ADDRESS, place.server.address(&place.database));
        command.env(NAME, name).env(TEST, to.to_string());
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn kill(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Has it end what it has, and waits for its end.
    fn end(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Counts the bodies that say that they execute. None ends while they are held.
fn listen(witness: &Witness, holds: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (to, witness) = (listener.local_addr().unwrap(), witness.clone());
    let holds = Arc::clone(holds);
    thread::spawn(move || {
        for body in listener.incoming().map_while(Result::ok) {
            let (witness, holds) = (witness.clone(), Arc::clone(&holds));
            thread::spawn(move || watch(body, &witness, &holds));
        }
    });
    to
}

/// A body executes from the first answer on, until it says that it ends, or is gone.
fn watch(mut body: TcpStream, witness: &Witness, holds: &AtomicBool) {
    let inside = witness.enter();
    let _ = body.write_all(b"+");
    let _ = body.read(&mut [0]);
    while holds.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(1));
    }
    drop(inside);
    let _ = body.write_all(b"-");
}

#[test]
fn i27_a_node_that_is_killed_under_load_takes_no_slot_with_it_and_leaves_none_to_two() {
    let (place, witness) = (Place::shared(), Witness::new());
    let holds = Arc::default();
    let to = listen(&witness, &holds);
    let mut nodes = ["a", "b", "c", "d"].map(|name| Process::start(&place, name, to));
    let rounds = if is_long() { 12 } else { 2 };
    block_on(async {
        for round in 0..rounds {
            let before = witness.entered();
            soon_in_real_time("they work", || witness.entered() >= before + 200).await;
            assert!(witness.most() <= MAX, "{} in round {round}", witness.most());
            let nth = round % nodes.len();
            nodes[nth].kill();
            let name = ["a", "b", "c", "d"][nth];
            // It starts again after a take-over, or before.
            if round % 2 == 0 {
                let gone = format!("select count(*) from node where name = '{name}'");
                soon_in_real_time("others take over", || place.sql(&gone) == "0").await;
            }
            let before = witness.entered();
            soon_in_real_time("they work on", || witness.entered() >= before + 200).await;
            // On a busy machine bodies that end at once are hardly ever all inside.
            holds.store(true, Ordering::SeqCst);
            soon_in_real_time("all slots are used", || witness.inside() == MAX).await;
            holds.store(false, Ordering::SeqCst);
            nodes[nth] = Process::start(&place, name, to);
        }
        nodes.iter_mut().for_each(Process::end);
        assert_eq!((witness.most(), witness.inside()), (MAX, 0));
        let node = PostgresNode::open(options(&place, "last", LONG)).await.unwrap();
        let last = engine(&Arc::new(node));
        last.recover(fail).await.unwrap();
        let left = || place.sql("select sum(taken) + sum(held) from quota, quota_part");
        let given_back = async {
            // Of one that had lost its lease when it ended the slots are those of its successor.
            while left() != "0" {
                last.take_over(fail).await.unwrap();
                sleep(Duration::from_millis(20)).await;
            }
        };
        within("all slots are given back", given_back).await;
        within("down", last.shutdown(Shutdown::default())).await;
    });
}

fn engine(node: &Arc<PostgresNode>) -> Engine {
    let short = Duration::from_millis(50);
    let config = EngineConfig::new().node(Arc::clone(node)).grace(short).abort_wait(short);
    Engine::with_config(config.limit_of_all_nodes(Scope::Kind(RunKind::Agent), MAX))
}

fn fail(_: &RunRecord) -> Recovery {
    Recovery::Fail
}

/// What a child does.
#[test]
fn works_if_it_is_told_to() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let mut options = PostgresOptions::new(address);
    (options.node, options.lease) = (Some(std::env::var(NAME).unwrap()), LEASE);
    let to = std::env::var(TEST).unwrap().parse().unwrap();
    on_threads(work(options, to));
}

async fn work(options: PostgresOptions, to: SocketAddr) {
    let (end, mut ends) = tokio::sync::mpsc::channel::<()>(1);
    thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        drop(end);
    });
    let mut is_over = false;
    // On a busy machine it may lose its lease, and comes back.
    while !is_over {
        let node = loop {
            match PostgresNode::open(options.clone()).await {
                Ok(node) => break Arc::new(node),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        };
        let engine = engine(&node);
        is_over = tokio::select! {
            biased;
            _ = ends.recv() => true,
            () = engine.lease_lost() => false,
            () = works(&engine, to) => true,
        };
        engine.shutdown(Shutdown::default()).await;
        let _ = node.close().await;
    }
}

async fn works(engine: &Engine, to: SocketAddr) {
    while engine.recover(fail).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    let takes_over = async {
        loop {
            // What is left undecided is decided by the next call.
            drop(engine.take_over(|_| again(to)).await);
            sleep(Duration::from_millis(100)).await;
        }
    };
    let submits = async {
        loop {
            // Always some more than there are slots.
            if engine.standing().live < 2 * MAX {
                drop(engine.submit_durably(RunSpec::agent("a"), move |_| body(to)).await);
            } else {
                sleep(Duration::from_millis(1)).await;
            }
        }
    };
    tokio::join!(takes_over, submits);
}

fn again(to: SocketAddr) -> Recovery {
    Recovery::resume(RunSpec::agent("a"), move |_: RunContext| body(to))
}

async fn body(to: SocketAddr) -> Result<(), Failure> {
    let Ok(mut test) = tokio::net::TcpStream::connect(to).await else { return Ok(()) };
    let mut word = [0];
    let _ = test.read(&mut word).await;
    sleep(Duration::from_millis(fastrand::u64(0..8))).await;
    let _ = test.write_all(b"-").await;
    let _ = test.read(&mut word).await;
    Ok(())
}
