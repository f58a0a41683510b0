//! [`Place`]: the server of the bench, [`Ours`]: a node on it, and how a bar is printed.

use std::sync::Arc;
use std::time::Duration;

use quell::store::Store as _;
use quell::{Engine, EngineConfig, Failure, RunContext, RunRef, RunSpec, RunStatus, Shutdown};
use quell_benches::figures::ratio;
use quell_postgres::{PostgresNode, PostgresOptions};
use quell_test_support::PostgresServer;
use tokio::runtime::{Builder, Runtime};

/// A server, with a count of its statements.
pub(crate) struct Place {
    pub(crate) server: PostgresServer,
}

/// What the server has done since it was reset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Statements of ours, each with its first words, how often, and in milliseconds.
    pub(crate) statements: Vec<(String, f64, f64)>,
}

impl Place {
    pub(crate) fn start() -> Self {
        let counts = "shared_preload_libraries=pg_stat_statements";
        let server = PostgresServer::start(&[counts, "max_connections=900"]);
        println!("{}", server.sql("postgres", "select version()"));
        Self { server }
    }

    /// What the processes of the server that live have used so far; zero where the system does not
    /// tell.
    pub(crate) fn processor_time(&self) -> Duration {
        let file = self.server.folder().join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let server = text.lines().next().unwrap_or_default();
        let Ok(all) = std::fs::read_dir("/proc") else { return Duration::ZERO };
        let nanos = all.filter_map(|process| {
            let process = process.ok()?.path();
            let stat = std::fs::read_to_string(process.join("stat")).ok()?;
            // The name is in brackets, and may have any.
            let mut rest = stat.rsplit_once(") ")?.1.split(' ');
            let is_its_own = rest.nth(1)? == server;
            let text = std::fs::read_to_string(process.join("schedstat")).ok()?;
            let nanos = text.split(' ').next()?.parse::<u64>().ok()?;
            is_its_own.then_some(nanos)
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Makes an empty database.
    pub(crate) fn database(&self) -> Database<'_> {
        let name = self.server.database();
        self.server.sql(&name, "create extension pg_stat_statements");
        Database { server: &self.server, name }
    }
}

/// A database of the server.
pub(crate) struct Database<'a> {
    server: &'a PostgresServer,
    name: String,
}

impl Database<'_> {
    pub(crate) fn address(&self) -> String {
        self.server.address(&self.name)
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql)
    }

    pub(crate) fn options(&self, node: &str, lease: Duration) -> PostgresOptions {
        let mut options = PostgresOptions::new(self.address());
        (options.node, options.lease) = (Some(node.into()), lease);
        options
    }

    /// Joins as a process would, with a runtime of its own.
    pub(crate) fn join(&self, name: &str) -> Ours {
        Ours::open(self.options(name, LEASE))
    }

    /// Forgets what was counted.
    pub(crate) fn reset(&self) {
        self.sql("select pg_stat_statements_reset()");
    }

    /// Reads what was counted in this database since then, without what counts.
    pub(crate) fn counts(&self) -> Counts {
        let read = "select calls || '|' || total_exec_time || '|' ||
                left(regexp_replace(query, '\\s+', ' ', 'g'), 60)
            from pg_stat_statements s join pg_database d on d.oid = s.dbid
            where datname = current_database() and query not like '%pg_stat_statements%'
            order by calls desc";
        let rows = self.sql(read);
        let statements = rows.lines().map(|line| {
            let mut parts = line.splitn(3, '|');
            let mut number = || parts.next().and_then(|it| it.parse().ok()).expect("a number");
            let (calls, ms) = (number(), number());
            (parts.next().unwrap_or_default().to_owned(), calls, ms)
        });
        Counts { statements: statements.collect() }
    }

    /// Reads how often `NOTIFY` was sent since then.
    pub(crate) fn notifications(&self) -> f64 {
        let read = "select coalesce(sum(rows), 0) from pg_stat_statements s
            join pg_database d on d.oid = s.dbid
            where datname = current_database() and query like '%pg_notify%'
            and query not like '%pg_stat_statements%'";
        self.sql(read).parse().expect("a number")
    }
}

impl Counts {
    /// Yields how many statements there were, without those that begin and end transactions.
    pub(crate) fn calls(&self) -> f64 {
        let all = self.statements.iter().filter(|it| !matches!(&*it.0, "begin" | "commit"));
        all.map(|it| it.1).sum()
    }

    /// Yields how often a statement was done that begins so.
    pub(crate) fn of(&self, words: &str) -> f64 {
        self.statements.iter().filter(|it| it.0.starts_with(words)).map(|it| it.1).sum()
    }

    /// Prints each with what there was of it per unit.
    pub(crate) fn print(&self, per: f64, unit: &str) {
        for (words, calls, ms) in &self.statements {
            let (each, micros) = (calls / per, ms * 1e3 / calls);
            if each >= 0.005 {
                println!("   {each:>9.2} per {unit}, {micros:>7.1} µs each: {words}");
            }
        }
    }
}

/// A node as a process has it.
pub(crate) struct Ours {
    pub(crate) runtime: Runtime,
    pub(crate) engine: Engine,
    pub(crate) node: Arc<PostgresNode>,
}

impl Ours {
    pub(crate) fn open(options: PostgresOptions) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("the system lets a runtime be made");
        let node = runtime.block_on(PostgresNode::open(options)).expect("it joins");
        let node = Arc::new(node);
        let config = EngineConfig::new().node(Arc::clone(&node));
        let engine = Engine::with_config(config.runtime(runtime.handle().clone()));
        Self { runtime, engine, node }
    }

    /// Starts a run that waits for a stop, and yields it when that is stored.
    pub(crate) fn waiting<F: Future<Output = ()> + Send + 'static>(
        &self,
        then: impl FnOnce() -> F + Send + 'static,
    ) -> RunRef {
        self.runtime.block_on(async {
            let body = async move |ctx: RunContext| {
                ctx.stopped().await;
                then().await;
                Ok::<_, Failure>(())
            };
            let run = self.engine.submit_durably(RunSpec::agent("research"), body).await;
            let run = run.expect("it is stored").into_ref();
            while run.status() != RunStatus::Running {
                tokio::task::yield_now().await;
            }
            run.stored().await.expect("it is stored");
            run
        })
    }

    pub(crate) fn close(self) {
        self.runtime.block_on(async {
            self.engine.shutdown(Shutdown::from(Duration::ZERO)).await;
            self.node.close().await.expect("it closes");
        });
    }
}

/// Prints a figure beside its bar, and the ratio of both.
pub(crate) fn against_bar(name: &str, took: Duration, bar: Duration) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("   {name}: {:.2} ms, bar {:.0} ms", ms(took), ms(bar));
    ratio(&format!("cluster/{name}"), took.as_secs_f64() / bar.as_secs_f64());
}

/// As [`against_bar`], of the middle and of the tail.
pub(crate) fn percentiles(name: &str, mut times: Vec<Duration>, bars: [Duration; 2]) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!("   {name}: {} times, worst {:.2} ms", times.len(), at(100).as_secs_f64() * 1e3);
    for (part, bar) in [50, 99].into_iter().zip(bars) {
        against_bar(&format!("{name}/p{part}"), at(part), bar);
    }
}

/// The default one.
pub(crate) const LEASE: Duration = Duration::from_secs(15);
