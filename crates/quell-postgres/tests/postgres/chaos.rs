//! Processes that are killed, frozen and cut off at random. What they say outside the database
//! decides whether what they were told is so.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use quell::{Recovery, Shutdown};
use quell_core::store::Store as _;
use quell_test_support::{PostgresServer, within};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::chaos_judge::{is_enough, judge, watch};
use crate::chaos_node::{LEASE, Process, Said};
use crate::crew::{engine, is_long, join, on_threads};
use crate::fixture::Place;

/// What happens to processes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// Some are killed, and come back under their names, or are taken over before that.
    Kills,
    /// Some are frozen for longer than their lease.
    Freezes,
    /// The server loses its power.
    Restarts,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// For how much longer than it takes at least it is waited for what is wanted.
const PATIENCE: Duration = Duration::from_mins(4);

/// Three nodes, and when the one that is not there comes back.
struct Nodes<'a> {
    place: &'a Place<'a>,
    file: PathBuf,
    all: Vec<Process>,
    /// The names that are away, and until when.
    away: HashMap<&'static str, Instant>,
    frozen: HashMap<String, u128>,
    happened: usize,
}

impl Nodes<'_> {
    fn start(&mut self, name: &'static str) {
        let address = self.place.server.address(&self.place.database);
        self.all.push(Process::start(&address, name, &self.file));
    }

    /// Has those come back that have ended, or whose time it is.
    fn restart(&mut self) {
        let mut ended = Vec::new();
        self.all.retain_mut(|it| {
            let ends = it.child.try_wait().unwrap().is_some();
            ended.extend(ends.then_some(it.name));
            !ends
        });
        self.away.extend(ended.into_iter().map(|name| (name, Instant::now())));
        let back: Vec<_> =
            self.away.iter().filter(|(_, at)| **at <= Instant::now()).map(|it| *it.0).collect();
        for name in back {
            self.away.remove(name);
            self.start(name);
        }
    }

    async fn strike(&mut self, weather: Weather) {
        let nth = fastrand::usize(..self.all.len().max(1));
        let is_there = !self.all.is_empty();
        match weather {
            Weather::Kills if is_there => {
                let mut victim = self.all.swap_remove(nth);
                victim.kill();
                // Half of them come back after they were taken over.
                let wait = if fastrand::bool() { LEASE * 2 } else { Duration::ZERO };
                self.away.insert(victim.name, Instant::now() + wait);
            }
            Weather::Freezes if is_there => {
                let victim = &self.all[nth];
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
                // One that has just gone on may be frozen again before it has ended.
                let pid = victim.child.id().to_string();
                self.frozen.entry(pid).or_insert(now.as_nanos());
                victim.signal(Signal::STOP);
                sleep(LEASE * 2).await;
                victim.signal(Signal::CONT);
            }
            Weather::Restarts => {
                self.place.server.stop_at_once();
                self.place.server.start_again();
            }
            Weather::Kills | Weather::Freezes => return,
        }
        self.happened += 1;
    }
}

/// Has three nodes work in some weather, and judges what they have said.
fn play(weather: Weather, pause: Duration) {
    let server = PostgresServer::start(&[]);
    let place = Place::on(&server);
    let file = std::env::temp_dir().join(format!("quell-chaos-{}", place.database));
    let file = file.with_extension(std::process::id().to_string());
    let _ = std::fs::remove_file(&file);
    Said::open(&file);
    let told = on_threads(async {
        let node = join(&place, "judge").await;
        let judges = engine(&node);
        watch(&place);
        let (all, away, frozen) = (Vec::new(), HashMap::new(), HashMap::new());
        let mut nodes = Nodes { place: &place, file, all, away, frozen, happened: 0 };
        for name in NAMES {
            nodes.start(name);
        }
        let time = Duration::from_secs(if is_long() { 60 } else { 6 });
        let until = Instant::now() + time;
        let of_freezes = usize::from(weather == Weather::Freezes);
        let wanted =
            [("submitted", 60), ("told", 30), ("takes-over", of_freezes), ("lost", of_freezes)];
        let late = until + PATIENCE;
        while Instant::now() < until || !is_enough(&nodes.file, &wanted) {
            assert!(Instant::now() < late, "there never were as many as these: {wanted:?}");
            sleep(pause).await;
            nodes.strike(weather).await;
            nodes.restart();
        }
        nodes.restart();
        for process in &mut nodes.all {
            process.end();
        }
        // Those that are away have left something, perhaps.
        let live = || place.sql("select count(*) from run where status < 3") != "0";
        within("all are taken over", async {
            while live() {
                let _ = judges.take_over(|_| Recovery::Fail).await;
                sleep(Duration::from_millis(50)).await;
            }
            let waits = || place.sql("select count(*) from stop where answer is null") != "0";
            while waits() {
                let _ = judges.take_over(|_| Recovery::Fail).await;
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        let seen = judge(&place, &nodes.file, &nodes.frozen);
        judges.shutdown(Shutdown::default()).await;
        node.close().await.unwrap();
        std::fs::remove_file(&nodes.file).unwrap();
        (seen, nodes.happened)
    });
    let (seen, happened) = told;
    println!("it has happened {happened} times: {seen:?}");
    assert!(happened > 0);
}

#[test]
fn i34_i35_of_nodes_that_are_killed_no_run_is_lost_ends_twice_or_goes_on_after_its_stop() {
    play(Weather::Kills, Duration::from_millis(400));
}

#[test]
fn i35_of_nodes_that_are_frozen_nothing_late_is_stored_and_none_executes_beside_another() {
    play(Weather::Freezes, Duration::from_millis(200));
}

#[test]
fn i34_a_server_that_loses_its_power_loses_nothing_that_a_node_was_told() {
    play(Weather::Restarts, Duration::from_millis(900));
}
