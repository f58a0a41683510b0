//! [`Pooler`]: PgBouncer in front of a [`PostgresServer`].

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::thread::sleep;

use crate::{PostgresServer, ms};

/// A pooler that ends with the test, also when that panics or its process is killed: a shell waits
/// for the end of a pipe that only this process has.
#[derive(Debug)]
pub struct Pooler<'a> {
    server: &'a PostgresServer,
    port: u16,
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl<'a> Pooler<'a> {
    /// Starts one in a mode of PgBouncer, `session` or `transaction`, on a socket beside that of
    /// the server.
    pub fn start(server: &'a PostgresServer, mode: &str) -> Self {
        let folder = server.folder().display();
        let port = free_port(server);
        let file = server.folder().join(format!("pgbouncer-{port}.ini"));
        let settings = format!(
            "[databases]\n* = host={folder} port={} user=quell\n[pgbouncer]\nlisten_port = {port}\n\
             listen_addr =\nunix_socket_dir = {folder}\nauth_type = any\npool_mode = {mode}\n",
            server.port()
        );
        fs::write(&file, settings).expect("settings of the pooler");
        let script = "\"$1\" --quiet \"$2\" & read -r _; kill $!; wait";
        let mut shell = server.run(Path::new("sh"));
        shell.args(["-c", script, "sh"]).arg(program()).arg(&file);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Whatever ends the tests with all of their group must not end it.
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let mut shell = shell.spawn().expect("a shell");
        let pipe = shell.stdin.take();
        let pooler = Self { server, port, shell, pipe };
        let socket = server.folder().join(format!(".s.PGSQL.{port}"));
        for _ in 0..10_000 {
            if UnixStream::connect(&socket).is_ok() {
                return pooler;
            }
            sleep(ms(1));
        }
        panic!("the pooler does not start");
    }

    /// Yields the address of a database behind it as a URL.
    pub fn url(&self, database: &str) -> String {
        self.server.url_at(self.port, database)
    }
}

impl Drop for Pooler<'_> {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}

/// Yields a number that no other socket in the folder of the server has.
fn free_port(server: &PostgresServer) -> u16 {
    let is_free = |port: &u16| !server.folder().join(format!("pgbouncer-{port}.ini")).exists();
    (6432..6500).find(is_free).expect("a free port")
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian has it where only root looks.
    let mut all = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = all.find_map(|folder| Some(folder.join("pgbouncer")).filter(|it| it.exists()));
    found
        .unwrap_or_else(|| panic!("PgBouncer is not installed (Debian: apt-get install pgbouncer)"))
}
