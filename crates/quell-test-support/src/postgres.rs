//! [`PostgresServer`]: a server of its own for a test, on a socket in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A server that stops and is removed at the end, also when the test panics or the process of the
/// tests is killed: a shell waits for the end of a pipe that only this process has.
#[derive(Debug)]
pub struct PostgresServer {
    programs: PathBuf,
    folder: PathBuf,
    account: Option<(u32, u32)>,
    settings: String,
    port: u16,
    watch: Option<(Child, ChildStdin)>,
}

impl PostgresServer {
    /// Yields the server that the tests of this process share, and starts it for the first one.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<PostgresServer> = OnceLock::new();
        SHARED.get_or_init(|| Self::start_on(None, &[]))
    }

    /// Starts a server of its own with settings such as `fsync=off`.
    ///
    /// A database named `locked` wants the password `open sesame`; every other one lets everybody
    /// in.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_on(Some(&Self::shared().fresh()), settings)
    }

    /// Starts one on a copy of files that `initdb` has made: to make them takes longer.
    fn start_on(fresh: Option<&Path>, settings: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("quell-pg-{}-{nth}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a temporary folder");
        let account = account();
        #[cfg(unix)]
        if let Some((user, group)) = account {
            std::os::unix::fs::chown(&folder, Some(user), Some(group)).expect("root gives it away");
        }
        let is_remote = settings.iter().any(|it| it.starts_with("listen_addresses"));
        let port = if is_remote { free_port() } else { 5432 };
        let local = if is_remote { &[][..] } else { &["listen_addresses="] };
        let settings = settings.iter().chain(local).map(|it| format!("-c {it} "));
        let settings = settings.collect::<String>();
        let always = format!(
            "-c port={port} -c unix_socket_directories={} -c max_connections=200 \
             -c logging_collector=off",
            folder.display()
        );
        let settings = format!("{always} {settings}");
        let mut server =
            Self { programs: programs(), folder, account, settings, port, watch: None };
        let data = server.data();
        let fresh = fresh.map_or_else(|| server.initialized(), Path::to_path_buf);
        server.must(server.run(Path::new("cp")).args(["-R", "-p"]).args([&fresh, &data]));
        let rules = "local locked all scram-sha-256\nlocal all all trust\n\
            host all all 127.0.0.1/32 trust\n";
        fs::write(data.join("pg_hba.conf"), rules).expect("rules of who may enter");
        server.watch = Some(server.watched());
        server.start_again();
        let make = "create role ada login password 'open sesame'";
        server.sql("postgres", make);
        server.sql("postgres", "create database locked owner ada");
        server
    }

    /// Makes the files of a server that nobody has started.
    fn initialized(&self) -> PathBuf {
        let (fresh, mut make) = (self.fresh(), self.program("initdb"));
        make.args(["--encoding=UTF8", "--locale=C", "--no-sync"]);
        make.args(["--username=quell", "--auth=trust"]).arg("--pgdata").arg(&fresh);
        self.must(&mut make);
        fresh
    }

    /// Starts it after it was stopped.
    pub fn start_again(&self) {
        let log = self.folder.join("log");
        let control = ["--wait", "--silent", "--timeout=60"];
        let mut start = self.control("start");
        start.args(control).arg("--log").arg(log).arg("--options").arg(&self.settings);
        // It lives on, and must not keep a pipe open.
        start.stdout(Stdio::null()).stderr(Stdio::null());
        let status = start.status().expect("pg_ctl starts");
        let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        assert!(status.success(), "the server does not start: {}", log());
    }

    /// Stops it as a loss of power would: nothing is written any more.
    pub fn stop_at_once(&self) {
        self.must(self.control("stop").args(["--mode=immediate", "--wait", "--silent"]));
    }

    /// Makes an empty database, and yields its name.
    pub fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("create database {name}"));
        name
    }

    /// Yields the address of a database.
    pub fn address(&self, database: &str) -> String {
        format!("host={} port={} user=quell dbname={database}", self.folder.display(), self.port)
    }

    /// Yields the address of a database as a URL.
    pub fn url(&self, database: &str) -> String {
        self.url_at(self.port, database)
    }

    /// Yields the same for another socket in the folder.
    pub(crate) fn url_at(&self, port: u16, database: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://quell@{folder}:{port}/{database}")
    }

    /// Yields the port on which it listens.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Yields the folder of the socket, in which a test may have files as well.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a statement, and yields what it answers: a line for each row.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let said = self.must(self.psql(database, sql).stdout(Stdio::piped()));
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }

    /// Begins a session that runs statements for a long time.
    pub fn session(&self, database: &str, sql: &str) -> Child {
        let mut psql = self.psql(database, sql);
        psql.stdout(Stdio::null()).stderr(Stdio::null());
        psql.spawn().expect("psql starts")
    }

    fn psql(&self, database: &str, sql: &str) -> Command {
        let mut psql = self.program("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
        psql.args(["--set=ON_ERROR_STOP=1", "--username=quell", "--port", &self.port.to_string()]);
        psql.arg("--host").arg(&self.folder);
        psql.args(["--dbname", database, "--command", sql]);
        psql
    }

    /// Gives a file to the user that the server runs as, with no right for others.
    pub fn own(&self, file: &Path) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;

            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(file, private).expect("rights of a file");
            if let Some((user, group)) = self.account {
                std::os::unix::fs::chown(file, Some(user), Some(group))
                    .expect("root gives it away");
            }
        }
    }

    fn fresh(&self) -> PathBuf {
        self.folder.join("fresh")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn control(&self, what: &str) -> Command {
        let mut control = self.program("pg_ctl");
        control.arg(what).arg("--pgdata").arg(self.data());
        control
    }

    /// A program of PostgreSQL, as a user that it accepts.
    fn program(&self, name: &str) -> Command {
        self.run(&self.programs.join(name))
    }

    /// Another program as that user.
    pub(crate) fn run(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null()).env("LC_ALL", "C");
        command.env_remove("PGPASSFILE").env_remove("PGPASSWORD");
        #[cfg(unix)]
        if let Some((user, group)) = self.account {
            std::os::unix::process::CommandExt::uid(&mut command, user);
            std::os::unix::process::CommandExt::gid(&mut command, group);
        }
        command
    }

    fn must(&self, command: &mut Command) -> Output {
        let said = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let words = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{command:?} in {}: {words}", self.folder.display());
        said
    }

    /// Starts the shell that cleans up.
    fn watched(&self) -> (Child, ChildStdin) {
        let script = "read -r _; \"$1\" stop --pgdata \"$2/data\" --mode=immediate \
            --wait >/dev/null 2>&1; cd /; rm -rf \"$2\"";
        let mut shell = self.run(Path::new("sh"));
        shell.args(["-c", script, "sh"]).arg(self.programs.join("pg_ctl")).arg(&self.folder);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Whatever ends the tests with all of their group must not end it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let mut shell = shell.spawn().expect("a shell");
        let pipe = shell.stdin.take().expect("it was asked for");
        (shell, pipe)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some((mut shell, pipe)) = self.watch.take() {
            drop(pipe);
            let _ = shell.wait();
        }
    }
}

/// Finds the programs of PostgreSQL, the newest first.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let of_debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut of_debian: Vec<_> = of_debian.map(|version| version.path().join("bin")).collect();
    of_debian.sort();
    let mut all = of_debian.into_iter().rev().chain(std::env::split_paths(&path));
    let found = all.find(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists());
    found.unwrap_or_else(|| {
        panic!(
            "PostgreSQL is not installed: these tests start servers of their own. Install it \
             (Debian: apt-get install postgresql), or have initdb and pg_ctl in the PATH"
        )
    })
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it has one").port()
}

/// Yields whom PostgreSQL runs as, if that must be another user than this one: it refuses root.
fn account() -> Option<(u32, u32)> {
    let number = |args: &[&str]| {
        let said = Command::new("id").args(args).output().expect("the program `id`");
        String::from_utf8_lossy(&said.stdout).trim().parse::<u32>().ok()
    };
    if number(&["-u"]) != Some(0) {
        return None;
    }
    let both = number(&["-u", "postgres"]).zip(number(&["-g", "postgres"]));
    let missing = "PostgreSQL does not run as root, and there is no user `postgres`: install \
        PostgreSQL (Debian: apt-get install postgresql), or run these tests as another user";
    Some(both.unwrap_or_else(|| panic!("{missing}")))
}
