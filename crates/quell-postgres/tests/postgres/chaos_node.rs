//! [`Process`]: a node that works, in a process of its own. It says in a file what it was told, and
//! its bodies say there that they execute: the database knows nothing of that file.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::store::RunRecord;
use quell::{
    CancelRequest, CauseKind, Engine, EngineConfig, Failure, Payload, Recovery, RunContext, RunRef,
    RunSpec, Shutdown,
};
use quell_core::store::Store as _;
use quell_core::{Disposition, RunId};
use quell_postgres::{PostgresNode, PostgresOptions};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::crew::on_threads;

const ADDRESS: &str = "QUELL_CHAOS_ADDRESS";
const NAME: &str = "QUELL_CHAOS_NAME";
const FILE: &str = "QUELL_CHAOS_FILE";

/// The lease of a node.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// How long a body may take from its stop to its end.
const GRACE: Duration = Duration::from_millis(300);

/// What stands for the cause of a stop of which the answer says none.
pub(crate) const UNTOLD: &str = "-";

/// A node in a process of its own.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) name: &'static str,
}

impl Process {
    pub(crate) fn start(address: &str, name: &'static str, file: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["chaos_node::works_if_it_is_told_to", "--exact", "--nocapture", "--quiet"]);
        command.env(ADDRESS, address).env(NAME, name).env(FILE, file);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        Self { child, name }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Has it end what it has, and waits for its end.
    pub(crate) fn end(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where all processes say what happens, each line at once.
#[derive(Clone)]
pub(crate) struct Said(Arc<File>);

impl Said {
    pub(crate) fn open(file: &Path) -> Self {
        Self(Arc::new(OpenOptions::new().create(true).append(true).open(file).unwrap()))
    }

    pub(crate) fn say(&self, pid: u32, words: &str) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        (&*self.0).write_all(format!("{now} {pid} {words}\n").as_bytes()).unwrap();
    }
}

/// What a child does.
#[test]
fn works_if_it_is_told_to() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let mut options = PostgresOptions::new(address);
    (options.node, options.lease) = (Some(std::env::var(NAME).unwrap()), LEASE);
    let file = PathBuf::from(std::env::var_os(FILE).unwrap());
    on_threads(work(options, file));
}

async fn work(options: PostgresOptions, file: PathBuf) {
    let node = loop {
        match PostgresNode::open(options.clone()).await {
            Ok(node) => break Arc::new(node),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    };
    let config = EngineConfig::new().node(Arc::clone(&node));
    let engine = Engine::with_config(config.grace(GRACE).abort_wait(Duration::from_millis(50)));
    let (said, pid) = (Said::open(&file), std::process::id());
    let worker = Worker { engine: engine.clone(), said, pid };
    let (end, mut ends) = tokio::sync::mpsc::channel::<()>(1);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        drop(end);
    });
    tokio::select! {
        // The loss comes first: nothing is said to be done after it.
        biased;
        () = engine.lease_lost() => {
            worker.say("lost");
            // Its bodies have the time that is theirs.
            let _ = tokio::time::timeout(LEASE, engine.shutdown(Shutdown::default())).await;
            return;
        }
        () = worker.works(&file) => {}
        _ = ends.recv() => {}
    }
    engine.shutdown(Shutdown::default()).await;
    let _ = node.close().await;
}

#[derive(Clone)]
struct Worker {
    engine: Engine,
    said: Said,
    pid: u32,
}

impl Worker {
    fn say(&self, words: &str) {
        self.said.say(self.pid, words);
    }

    fn decide(&self) -> impl FnMut(&RunRecord) -> Recovery + Send + use<> {
        let worker = self.clone();
        move |_| {
            let worker = worker.clone();
            Recovery::resume(RunSpec::agent("chaos"), move |ctx| worker.clone().body(ctx))
        }
    }

    async fn works(&self, file: &Path) {
        while !self.recovers().await {
            sleep(Duration::from_millis(20)).await;
        }
        tokio::join!(self.takes_over(), self.submits(), self.stops(file));
    }

    async fn recovers(&self) -> bool {
        let recovered = self.engine.recover(self.decide()).await;
        recovered.is_ok_and(|recovered| {
            recovered.resumed.into_iter().for_each(|run| self.watch(run));
            true
        })
    }

    async fn takes_over(&self) {
        loop {
            if let Ok(Some(taken)) = self.engine.take_over(self.decide()).await {
                self.say("takes-over");
                taken.recovered.resumed.into_iter().for_each(|run| self.watch(run));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn submits(&self) {
        loop {
            let id = RunId::from_text(&format!("{} {}", self.pid, fastrand::u64(..)));
            let (spec, worker) = (RunSpec::agent("chaos").id(id), self.clone());
            let run = self.engine.submit_durably(spec, move |ctx| worker.body(ctx)).await;
            if let Ok(run) = run {
                self.say(&format!("submitted {id}"));
                self.watch(run.into_ref());
            }
            sleep(Duration::from_millis(fastrand::u64(5..40))).await;
        }
    }

    /// Says when the end of a run is acknowledged.
    fn watch(&self, run: RunRef) {
        let worker = self.clone();
        tokio::spawn(async move {
            let status = run.ended_status().await;
            if run.stored().await.is_ok() {
                worker.say(&format!("stored {} {status:?}", run.id()));
            }
        });
    }

    /// Stops runs of all processes, from the newest ones.
    async fn stops(&self, file: &Path) {
        let mut lines = BufReader::new(File::open(file).unwrap());
        let mut newest = VecDeque::new();
        loop {
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap() > 0 {
                if let [_, _, "submitted", id] = line.split_whitespace().collect::<Vec<_>>()[..] {
                    newest.push_back(id.parse::<RunId>().unwrap());
                }
                line.clear();
                newest.drain(..newest.len().saturating_sub(100));
            }
            if !newest.is_empty() {
                let id = newest[fastrand::usize(..newest.len())];
                let worker = self.clone();
                tokio::spawn(async move { worker.stop(id).await });
            }
            sleep(Duration::from_millis(fastrand::u64(5..30))).await;
        }
    }

    async fn stop(&self, id: RunId) {
        // No two are asked for with the same words.
        let why = format!("{}-{}", self.pid, fastrand::u64(..));
        let request = CancelRequest::because(&why);
        let told = match self.engine.get(id) {
            Some(run) => {
                let (told, stored) = run.cancel_durably(request).await;
                stored.map(|()| told)
            }
            None => self.engine.cancel_anywhere(id, request).await,
        };
        if let Ok(told) = told {
            let cause = match &told {
                Disposition::Accepted { .. } => &*why,
                Disposition::AlreadyStopping { cause, .. }
                    if cause.kind == CauseKind::UserRequest =>
                {
                    cause.message.as_deref().unwrap_or(UNTOLD)
                }
                _ => UNTOLD,
            };
            self.say(&format!("told {id} {cause} {told:?}"));
        }
    }

    async fn body(self, ctx: RunContext) -> Result<(), Failure> {
        let id = ctx.id();
        self.say(&format!("begins {id}"));
        let _inside = Inside { worker: self.clone(), id };
        for nth in 0..fastrand::u32(1..12) {
            self.say(&format!("beats {id}"));
            ctx.save(Payload::json(&(self.pid, nth))?).await?;
            let pause = sleep(Duration::from_millis(fastrand::u64(1..60)));
            if let Err(stopped) = ctx.run_until_stopped(pause).await {
                // Long enough that a process dies meanwhile.
                sleep(GRACE.mul_f64(fastrand::f64())).await;
                return Err(stopped.into());
            }
        }
        self.say(&format!("ends {id}"));
        Ok(())
    }
}

/// Says when a body is gone, however it ends.
struct Inside {
    worker: Worker,
    id: RunId,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.worker.say(&format!("leaves {}", self.id));
    }
}
