//! From the moment a cancel is sent to the event that says that the run is over.

use std::time::{Duration, Instant};

use quell_benches::figures::{self, latency, ratio, section};
use uuid::Uuid;

use crate::agentos;
use crate::client::{Body, Http};
use crate::crowd::Crowd;
use crate::load::{AGENT, Contract, Load, Pace, SILENT};
use crate::side::Side;

/// Both sides by turns, one cancel each.
pub(crate) async fn race(
    http: &Http,
    load: &Load,
    ours: &Side,
    theirs: &Side,
) -> Result<(), String> {
    let rounds = match load.contract {
        Contract::AgentOs => 200,
        Contract::LangGraph => 100,
    };
    let shape = format!(
        "{}: {} at work, ticking every {} ms; {rounds} cancels a side, by turns",
        load.component, load.bodies, PACE.tick_ms
    );
    section(&format!("http/cancel/{}: from cancel to {}", load.name, load.end()), &shape);
    let (mut us, mut them) = (Cancels::new(ours), Cancels::new(theirs));
    us.once(http, load, Duration::ZERO).await?;
    them.once(http, load, Duration::ZERO).await?;
    us.forget();
    them.forget();
    for round in 0..rounds {
        let pause = pause(round);
        us.once(http, load, pause).await?;
        them.once(http, load, pause).await?;
    }
    // Whatever goes on after the terminal event has time to be seen.
    tokio::time::sleep(AFTERWARDS).await;
    print_both(http, &format!("http/cancel/{}", load.name), &us, &them).await
}

/// Both sides in blocks by turns, while other streams of the side tick.
pub(crate) async fn loaded(
    http: &Http,
    load: &Load,
    ours: &Side,
    theirs: &Side,
) -> Result<(), String> {
    let shape = format!(
        "{}: {CROWD} other streams of {} tick every {} ms and are read here as well; {BLOCKS} \
         blocks of {BLOCK} cancels a side, by turns",
        load.component, AGENT.component, CROWD_PACE.tick_ms
    );
    section(&format!("http/loaded/{}: the same under live streams", load.name), &shape);
    let (mut us, mut them) = (Cancels::new(ours), Cancels::new(theirs));
    for _ in 0..BLOCKS {
        for cancels in [&mut us, &mut them] {
            let crowd = Crowd::gather(http, cancels.side, &AGENT, CROWD_PACE, CROWD).await?;
            for round in 0..BLOCK {
                cancels.once(http, load, pause(round)).await?;
            }
            crowd.disperse(http).await?;
        }
    }
    print_both(http, &format!("http/loaded/{}", load.name), &us, &them).await
}

/// Both sides by turns: cancels of a model that says nothing for five seconds.
pub(crate) async fn silent(http: &Http, ours: &Side, theirs: &Side) -> Result<(), String> {
    let shape =
        format!("{}: asleep for 5 s; {SILENCES} cancels a side, by turns", SILENT.component);
    section("http/silent: from a cancel inside a silent wait to RunCancelled", &shape);
    let (mut us, mut them) = (Vec::new(), Vec::new());
    for _ in 0..SILENCES {
        for (side, times) in [(ours, &mut us), (theirs, &mut them)] {
            let mut live = agentos::start(http, &side.url, &SILENT, PACE, "silent").await?;
            tokio::time::sleep(WITHIN_SILENCE).await;
            let began = Instant::now();
            let cancel = http.post(&live.cancel, &Body::Empty);
            let (_, ended) = tokio::try_join!(cancel, SILENT.terminal(&mut live.events))?;
            times.push(ended - began);
            live.events.finish().await?;
        }
    }
    figures::latencies("http/silent", "cancel to terminal", (us, them));
    Ok(())
}

/// Both sides by turns: cancels of many streams at once, until the last one has ended.
pub(crate) async fn all(http: &Http, ours: &Side, theirs: &Side) -> Result<(), String> {
    let shape = format!(
        "{}: {ALL} streams tick every {} ms; {ALL_ROUNDS} rounds a side, by turns",
        AGENT.component, CROWD_PACE.tick_ms
    );
    section("http/all: from the cancels of all streams to the end of the last one", &shape);
    let (mut us, mut them) = (Vec::new(), Vec::new());
    for _ in 0..ALL_ROUNDS {
        for (side, times) in [(ours, &mut us), (theirs, &mut them)] {
            let crowd = Crowd::gather(http, side, &AGENT, CROWD_PACE, ALL).await?;
            let began = Instant::now();
            crowd.disperse(http).await?;
            times.push(began.elapsed());
        }
    }
    figures::latencies("http/all", "all cancels to the last end", (us, them));
    Ok(())
}

/// Prints the cancels of both sides, and the ratios of their middle and tail.
async fn print_both(
    http: &Http,
    name: &str,
    us: &Cancels<'_>,
    them: &Cancels<'_>,
) -> Result<(), String> {
    us.print(http, "ours").await?;
    them.print(http, "theirs").await?;
    for (part, of) in [("p50", 500), ("p99", 990)] {
        ratio(&format!("{name}/{part}"), figures::quotient((us.at(of), them.at(of))));
    }
    Ok(())
}

/// What the cancels of one side took.
pub(crate) struct Cancels<'a> {
    pub(crate) side: &'a Side,
    session: Uuid,
    times: Vec<Duration>,
    /// By probe, the ticks that there were when the terminal event had come.
    ticks: Vec<(String, u64)>,
}

impl<'a> Cancels<'a> {
    /// Knows of none yet.
    pub(crate) fn new(side: &'a Side) -> Self {
        Self { side, session: Uuid::now_v7(), times: Vec::new(), ticks: Vec::new() }
    }

    /// Starts a run, waits for its ticks and a little longer, and cancels it on another connection.
    pub(crate) async fn once(
        &mut self,
        http: &Http,
        load: &Load,
        pause: Duration,
    ) -> Result<(), String> {
        let probe = format!("{}-{}", self.session, self.times.len());
        let mut live = load.start(http, &self.side.url, PACE, &probe).await?;
        tokio::time::sleep(pause).await;
        let began = Instant::now();
        let cancel = http.post(&live.cancel, &Body::Empty);
        let (_, ended) = tokio::try_join!(cancel, load.terminal(&mut live.events))?;
        self.times.push(ended - began);
        match self.side.ticks(http, &probe).await? {
            Some(0) => return Err(format!("the witness of {} saw no tick", self.side.url)),
            Some(ticks) => self.ticks.push((probe, ticks)),
            None => {}
        }
        live.events.finish().await
    }

    /// Leaves out what there was so far.
    fn forget(&mut self) {
        *self = Self::new(self.side);
    }

    /// The time within which so many of a thousand were over.
    pub(crate) fn at(&self, part: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times[(times.len() - 1) * part / 1_000]
    }

    /// Prints the latencies, and what went on after the terminal events.
    pub(crate) async fn print(&self, http: &Http, name: &str) -> Result<(), String> {
        latency(name, "cancel to terminal", self.times.clone());
        if self.ticks.is_empty() {
            println!("   {name:<8} nobody counts ticks there; give --langgraph-effects FILE");
            return Ok(());
        }
        let (mut late, mut runs) = (0, 0);
        for (probe, then) in &self.ticks {
            let now = self.side.ticks(http, probe).await?.unwrap_or_default();
            late += now.saturating_sub(*then);
            runs += u32::from(now > *then);
        }
        println!("   {name:<8} {late} ticks after the terminal event, in {runs} runs");
        Ok(())
    }
}

/// Spreads the cancels over the time between two ticks.
pub(crate) fn pause(round: u64) -> Duration {
    Duration::from_millis(round * 7 % PACE.tick_ms)
}

const PACE: Pace = Pace { tick_ms: 20, total_ms: 10_000 };

/// How long after the last cancel the witness is asked again.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// Streams that tick meanwhile.
const CROWD: usize = 100;

/// Slow enough for either side to keep up.
const CROWD_PACE: Pace = Pace { tick_ms: 100, total_ms: 600_000 };

const BLOCKS: usize = 5;

const BLOCK: u64 = 40;

/// How long after its start it is cancelled.
const WITHIN_SILENCE: Duration = Duration::from_millis(200);

const SILENCES: usize = 7;

const ALL: usize = 200;

const ALL_ROUNDS: usize = 7;
