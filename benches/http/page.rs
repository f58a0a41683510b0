//! The page while much goes on: short runs at a fixed rate, and cancels beside them, without it,
//! with what the page asks the server for, and with a browser that shows the runs, which takes
//! processors of this machine as well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quell_benches::figures::{quotient, ratio, section};
use serde_json::Value;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::agentos;
use crate::cancel::{Cancels, pause};
use crate::client::Http;
use crate::load::AGENT;
use crate::resident;
use crate::side::{Folder, Side};

/// Without the page, with what it asks for, and with the page, by turns.
pub(crate) async fn compare(http: &Http, ours: &Side, browser: &Path) -> Result<(), String> {
    let shape = format!(
        "{PER_SECOND} short runs a second for {} s, cancels beside them; {ROUNDS} rounds without \
         the page, with its requests alone, and with it in a browser, by turns; that has what \
         processors others leave",
        ROUND.as_secs()
    );
    section("http/page: from cancel to RunCancelled, with the page open", &shape);
    busy(http, &mut Cancels::new(ours), WARM_UP).await?;
    let [mut closed, mut asked, mut open] = [(); 3].map(|()| Cancels::new(ours));
    let (mut runs, mut pages) = (0, Vec::new());
    for _ in 0..ROUNDS {
        busy(http, &mut closed, ROUND).await?;
        tokio::select! {
            biased;
            done = busy(http, &mut asked, ROUND) => drop(done?),
            never = asks(http, &ours.url) => never?,
        }
        let page = Browser::open(http, browser, &ours.url).await?;
        let seen = async { Ok(page.looked_at(ROUND).await) };
        let (made, seen) = tokio::try_join!(busy(http, &mut open, ROUND), seen)?;
        runs += made;
        pages.push(seen);
    }
    for (cancels, name) in [(&closed, "closed"), (&asked, "asked"), (&open, "open")] {
        cancels.print(http, name).await?;
    }
    println!("   {runs} short runs with the page open");
    for page in pages {
        let at = page.resident.iter().map(|bytes| (bytes >> 20).to_string()).collect::<Vec<_>>();
        let spent = page.spent.as_secs_f64();
        println!("   the page: {spent:.1} s of processor time; MiB in turn: {}", at.join(", "));
    }
    for (cancels, name) in [(&asked, "asked"), (&open, "open")] {
        for (part, of) in [("p50", 500), ("p99", 990)] {
            let quotient = quotient((cancels.at(of), closed.at(of)));
            ratio(&format!("http/page/{name}/{part}"), quotient);
        }
    }
    Ok(())
}

/// Reads the runs as the page does, for ever.
async fn asks(http: &Http, url: &str) -> Result<(), String> {
    let mut due = interval(Duration::from_secs(1));
    loop {
        due.tick().await;
        http.get(&format!("{url}/v1/runs?limit=100&values=false")).await?;
    }
}

/// Short runs and cancels for so long; tells how many short runs there were.
async fn busy(http: &Http, cancels: &mut Cancels<'_>, time: Duration) -> Result<usize, String> {
    let until = Instant::now() + time;
    let url = cancels.side.url.clone();
    let stops = async {
        let mut round = 0;
        while Instant::now() < until {
            cancels.once(http, &AGENT, pause(round)).await?;
            round += 1;
        }
        Ok(())
    };
    tokio::try_join!(flow(http, &url, until), stops).map(|(made, ())| made)
}

/// Short runs, each when it is due, whether or not those before have ended.
async fn flow(http: &Http, url: &str, until: Instant) -> Result<usize, String> {
    let mut due = interval(Duration::from_secs(1) / PER_SECOND);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut runs, mut made) = (JoinSet::new(), 0);
    let over = |run: Result<Result<(), String>, JoinError>| run.map_err(|it| it.to_string())?;
    while Instant::now() < until {
        due.tick().await;
        let (http, url) = (http.clone(), url.to_owned());
        runs.spawn(async move { agentos::short(&http, &url).await });
        made += 1;
        while let Some(run) = runs.try_join_next() {
            over(run)?;
        }
        if runs.len() > BEHIND_MAX {
            return Err(format!("{} short runs have not ended: too many a second", runs.len()));
        }
    }
    while let Some(run) = runs.join_next().await {
        over(run)?;
    }
    Ok(made)
}

/// What a page took.
#[derive(Debug, Default)]
struct Page {
    /// Every so often, in bytes.
    resident: Vec<u64>,
    spent: Duration,
}

/// A browser that shows the runs. Killed when this is dropped.
#[derive(Debug)]
struct Browser {
    process: Child,
    _profile: Folder,
}

impl Browser {
    /// Opens the page, and returns when the browser has it.
    async fn open(http: &Http, program: &Path, url: &str) -> Result<Self, String> {
        let profile = Folder::new()?;
        let folder = profile.0.display();
        let cannot = |why: &str| format!("{} does not open {url}/ui: {why}", program.display());
        // It is on the machine of whoever looks, so it takes nothing here that others can use. The
        // page is our own: no sandbox, which needs rights that few containers have.
        let started = Command::new("nice")
            .args(["-n", "19"])
            .arg(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--remote-debugging-port=0", &format!("--user-data-dir={folder}")])
            .arg(format!("{url}/ui"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = started.map_err(|error| cannot(&error.to_string()))?;
        let port = profile.0.join("DevToolsActivePort");
        let browser = Self { process, _profile: profile };
        for _ in 0..OPEN_LOOKS {
            sleep(BETWEEN_LOOKS).await;
            if Self::has_page(http, &port, url).await {
                return Ok(browser);
            }
        }
        Err(cannot("it says of no page that it is there"))
    }

    async fn has_page(http: &Http, port: &Path, url: &str) -> bool {
        let port = fs::read_to_string(port).unwrap_or_default();
        let Some(port) = port.lines().next() else { return false };
        let pages = http.get(&format!("http://127.0.0.1:{port}/json/list")).await;
        let is_ours = |page: &Value| {
            let at = page["url"].as_str().is_some_and(|at| at.starts_with(url));
            at && page["title"].as_str().is_some_and(|title| title.contains("quell"))
        };
        pages.is_ok_and(|pages| pages.as_array().into_iter().flatten().any(is_ours))
    }

    /// Looks at what the page takes, for so long.
    async fn looked_at(&self, time: Duration) -> Page {
        let (until, mut page) = (Instant::now() + time, Page::default());
        while Instant::now() < until {
            sleep(EVERY).await;
            let of_each = renderers(&self.process.id().to_string());
            page.resident.push(of_each.iter().filter_map(|pid| resident::resident(pid)).sum());
            page.spent = of_each.iter().filter_map(|pid| spent(pid)).sum();
        }
        page
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It fails only for a process that is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Finds the processes of a browser in which pages are.
fn renderers(browser: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| process.file_name().into_string().ok());
    let is_page = |pid: &String| {
        let command = fs::read(PathBuf::from("/proc").join(pid).join("cmdline"));
        let command = String::from_utf8_lossy(&command.unwrap_or_default()).into_owned();
        command.contains("--type=renderer") && is_below(pid, browser)
    };
    pids.filter(is_page).collect()
}

fn is_below(pid: &str, above: &str) -> bool {
    let mut pid = pid.to_owned();
    while let Some(parent) = field(&pid, PARENT) {
        if parent == above {
            return true;
        }
        pid = parent;
    }
    false
}

/// The time that a process has had on processors.
fn spent(pid: &str) -> Option<Duration> {
    let ticks = |nth| field(pid, nth)?.parse::<u32>().ok();
    Some(TICK * (ticks(USER_TIME)? + ticks(SYSTEM_TIME)?))
}

/// Reads a field of the state of a process, counted behind its name.
fn field(pid: &str, nth: usize) -> Option<String> {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let behind = state.rsplit_once(')')?.1;
    behind.split_whitespace().nth(nth).map(str::to_owned)
}

const PER_SECOND: u32 = 1_000;

const ROUND: Duration = Duration::from_mins(1);

const ROUNDS: usize = 2;

const WARM_UP: Duration = Duration::from_secs(5);

/// Short runs that have not ended, beyond which the rate is not kept.
const BEHIND_MAX: usize = 2_000;

/// How often is looked whether the page is there, and how long between.
const OPEN_LOOKS: u32 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Between two looks at what it takes.
const EVERY: Duration = Duration::from_secs(10);

/// Fields of the state of a process, as Linux numbers them, without the first two.
const PARENT: usize = 1;
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

/// The unit of those times.
const TICK: Duration = Duration::from_millis(10);
