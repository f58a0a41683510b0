//! A served `quell` with the address it took, and calls to it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::{Value, json};

use crate::support::{Ended, Running, Scratch, wait_until};

/// A `quell serve` at work.
pub(crate) struct Site {
    pub(crate) scratch: Scratch,
    running: Running,
    base: String,
}

impl Site {
    /// Serves the demo.
    pub(crate) fn demo(more: &[&str]) -> Self {
        Self::with(Scratch::new(), &[&["--demo"], more].concat())
    }

    /// Serves what the arguments say, on a free port.
    pub(crate) fn with(scratch: Scratch, args: &[&str]) -> Self {
        Self::made(scratch, args, &[], Stdio::piped())
    }

    /// As [`Site::with`], with more variables in its environment.
    pub(crate) fn with_env(scratch: Scratch, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::made(scratch, args, env, Stdio::piped())
    }

    /// As [`Site::with`], with a stderr of its own.
    pub(crate) fn heard(scratch: Scratch, args: &[&str], stderr: Stdio) -> Self {
        Self::made(scratch, args, &[], stderr)
    }

    /// As [`Site::heard`], with more variables in its environment.
    pub(crate) fn heard_with(
        scratch: Scratch,
        args: &[&str],
        env: &[(&str, &str)],
        stderr: Stdio,
    ) -> Self {
        Self::made(scratch, args, env, stderr)
    }

    /// As [`Site::with`], after a command of the shell.
    pub(crate) fn under(before: &str, scratch: Scratch, args: &[&str]) -> Self {
        let mut command = scratch.program("sh");
        command.args(["-c", &format!("{before}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_quell")]);
        command.args([&["serve", "--listen", "127.0.0.1:0"], args].concat());
        Self::begun(scratch, command, Stdio::piped())
    }

    /// Serves the demo in a terminal, which is what it writes to on stdout and stderr. Its id is in
    /// the file `pid`.
    pub(crate) fn in_terminal(scratch: Scratch, args: &str, env: &[(&str, &str)]) -> Self {
        let quell = env!("CARGO_BIN_EXE_quell");
        let serve = format!("exec '{quell}' serve --demo --listen 127.0.0.1:0 {args}");
        let mut command = scratch.program("script");
        command.args(["-qec", &format!("echo $$ > pid; {serve}"), "/dev/null"]);
        command.env("TERM", "xterm").env_remove("NO_COLOR").envs(env.iter().copied());
        Self::begun(scratch, command, Stdio::piped())
    }

    fn made(scratch: Scratch, args: &[&str], env: &[(&str, &str)], stderr: Stdio) -> Self {
        let args = [&["serve", "--listen", "127.0.0.1:0"], args].concat();
        let mut command = scratch.quell(&args);
        command.envs(env.iter().copied());
        Self::begun(scratch, command, stderr)
    }

    fn begun(scratch: Scratch, mut command: Command, stderr: Stdio) -> Self {
        let out = File::create(scratch.path("stdout")).expect("a file can be made");
        command.stdout(Stdio::from(out)).stderr(stderr);
        let running = Running::start(command);
        let mut base = String::new();
        wait_until("it says where it listens", || {
            let text = String::from_utf8(scratch.read("stdout")).unwrap_or_default();
            let line = text.lines().next().filter(|_| text.ends_with('\n'));
            base = line.and_then(|line| line.split(" on ").nth(1)).unwrap_or_default().to_owned();
            !base.is_empty()
        });
        Self { scratch, running, base }
    }

    /// Yields the address it took.
    pub(crate) fn address(&self) -> &str {
        self.base.split("://").last().unwrap_or_default()
    }

    /// Yields the id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(crate) fn signal(&self, name: &str) {
        self.running.signal(name);
    }

    pub(crate) fn ended(self) -> (Ended, Scratch) {
        (self.running.ended(), self.scratch)
    }

    /// Waits until `runs.db` has so many runs that are paused: what is shown may not be stored yet,
    /// and a crash forgets that.
    pub(crate) fn has_stored_paused(&self, count: usize) {
        let paused = ["runs", "--store", "runs.db", "--status", "paused"];
        wait_until("it is stored", || self.scratch.run(&paused).stdout.lines().count() == count);
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        answer(agent().get(self.url(path)).call())
    }

    /// Posts JSON.
    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_text(path, &body.to_string())
    }

    /// Posts JSON as it is written.
    pub(crate) fn post_text(&self, path: &str, body: &str) -> (u16, Value) {
        answer(agent().post(self.url(path)).content_type("application/json").send(body))
    }

    /// Calls with a bearer token and a key.
    pub(crate) fn as_principal(
        &self,
        method: &str,
        path: &str,
        credentials: (&str, &str),
        body: Option<&Value>,
    ) -> Value {
        let (status, value) = self.as_principal_told(method, path, credentials, body);
        assert_eq!(status, 200, "{method} {path}: {value}");
        value
    }

    /// As [`Site::as_principal`], with the status.
    pub(crate) fn as_principal_told(
        &self,
        method: &str,
        path: &str,
        (token, key): (&str, &str),
        body: Option<&Value>,
    ) -> (u16, Value) {
        let call = ureq::http::Request::builder()
            .method(method)
            .uri(self.url(path))
            .header("authorization", format!("Bearer {token}"))
            .header("x-api-key", key)
            .header("content-type", "application/json");
        let body = body.map(ToString::to_string).unwrap_or_default();
        answer(agent().run(call.body(body).expect("a request")))
    }

    /// Calls with a header; yields that header of the answer.
    pub(crate) fn echoed(&self, path: &str, name: &str, value: &str) -> Option<String> {
        let answer = agent().get(self.url(path)).header(name, value).call();
        let answer = answer.expect("there is an answer");
        answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
    }

    /// Gets, or posts JSON; yields all that is answered, a stream to its end.
    pub(crate) fn text(&self, path: &str, body: Option<&Value>) -> String {
        let url = self.url(path);
        let answer = match body {
            Some(body) => agent().post(url).content_type("application/json").send(body.to_string()),
            None => agent().get(url).call(),
        };
        let text = answer.expect("there is an answer").body_mut().read_to_string();
        text.expect("its body is text")
    }

    /// Posts a form.
    pub(crate) fn form(&self, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
        answer(agent().post(self.url(path)).send_form(fields.iter().copied()))
    }

    /// Opens a stream; its lines come as they are written, until it ends.
    pub(crate) fn stream(&self, path: &str, fields: &[(&str, &str)]) -> thread::JoinHandle<String> {
        let answer = agent().post(self.url(path)).send_form(fields.iter().copied());
        let body = answer.expect("the stream opens").into_body().into_reader();
        thread::spawn(move || {
            let mut lines = String::new();
            // A stream that is cut off ends here; the test looks at what it said.
            let _ = BufReader::new(body).read_to_string(&mut lines);
            lines
        })
    }

    /// Reads the log of a run that has ended, or waits for its end: the events with their data.
    pub(crate) fn log(&self, id: &str) -> Vec<(String, Value)> {
        let mut answer = agent().get(self.url(&format!("/v1/runs/{id}/events"))).call();
        let text = answer.as_mut().map(|answer| answer.body_mut().read_to_string());
        events(&text.expect("there is an answer").expect("its body is text"))
    }

    /// What bodies did under a probe: the sum of their ticks.
    pub(crate) fn ticks(&self, probe: &str) -> u64 {
        let (_, seen) = self.get(&format!("/_bench/ticks?probe={probe}"));
        seen["ticks"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum()
    }

    /// Waits until this many bodies tick under a probe.
    pub(crate) fn wait_for(&self, probe: &str, bodies: usize) {
        wait_until("the bodies tick", || {
            let (_, seen) = self.get(&format!("/_bench/ticks?probe={probe}"));
            seen["ticks"].as_object().is_some_and(|ticks| ticks.len() == bodies)
        });
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

fn answer(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut answer = answer.expect("there is an answer");
    let body = answer.body_mut().with_config().limit(1 << 30);
    let text = body.read_to_string().expect("its body is text");
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// The data of the events of a stream, by event.
pub(crate) fn events(stream: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut name = String::new();
    for line in BufReader::new(stream.as_bytes()).lines().map_while(Result::ok) {
        if let Some(event) = line.strip_prefix("event: ") {
            name = event.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            all.push((name.clone(), serde_json::from_str(data).unwrap_or(Value::Null)));
        }
    }
    all
}

/// Starts a run of the component `agent/it`.
pub(crate) fn begin(site: &Site, id: &str, input: &Value) {
    let body = json!({ "component": "agent/it", "input": input, "id": id });
    assert_eq!(site.post("/v1/runs", &body).0, 201);
}

/// Starts a run of the component, waits for its end, and yields the run.
pub(crate) fn run_of(site: &Site, id: &str, input: &Value) -> Value {
    begin(site, id, input);
    end_of(site, id)
}

/// Waits for the end of a run, and yields the run.
pub(crate) fn end_of(site: &Site, id: &str) -> Value {
    let mut run = Value::Null;
    wait_until("the run has ended", || {
        run = site.get(&format!("/v1/runs/{id}")).1;
        !matches!(run["status"].as_str(), Some("queued" | "running" | "stopping"))
    });
    run
}
