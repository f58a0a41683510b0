//! The command line of this bench.

use std::path::PathBuf;

/// What is measured, and where.
#[derive(Debug, Default)]
pub(crate) struct Args {
    /// The binary to start; without it, the one that was built beside this bench.
    pub(crate) quell: Option<PathBuf>,
    /// Another build of it, for `cost_…` to compare with.
    pub(crate) before: Option<PathBuf>,
    /// Whether servers of ours that are started keep their runs in a file.
    pub(crate) is_stored: bool,
    /// A server of ours that runs already.
    pub(crate) ours: Option<String>,
    /// The upstream `AgentOS` server.
    pub(crate) agno: Option<String>,
    /// The upstream `LangGraph` server.
    pub(crate) langgraph: Option<String>,
    /// The file in which the nodes of the upstream `LangGraph` server log what they do.
    pub(crate) langgraph_effects: Option<PathBuf>,
    /// The browser that opens the page.
    pub(crate) browser: Option<PathBuf>,
    parts: Vec<String>,
}

impl Args {
    /// Reads the command line of this process.
    pub(crate) fn read(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut read = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value\n{USAGE}"));
            match arg.as_str() {
                "--quell" => read.quell = Some(value()?.into()),
                "--before" => read.before = Some(value()?.into()),
                "--store" => read.is_stored = true,
                "--ours" => read.ours = Some(base(&value()?)?),
                "--agno" => read.agno = Some(base(&value()?)?),
                "--langgraph" => read.langgraph = Some(base(&value()?)?),
                "--langgraph-effects" => read.langgraph_effects = Some(value()?.into()),
                "--browser" => read.browser = Some(value()?.into()),
                // Said by cargo.
                "--bench" => {}
                part if PARTS.contains(&part) => read.parts.push(arg),
                other => return Err(format!("{other} is neither an option nor a part\n{USAGE}")),
            }
        }
        Ok(read)
    }

    /// Tells whether a part is asked for: by name, else all are.
    pub(crate) fn is_wanted(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|name| name == part)
    }
}

/// Takes a base URL, without the slash at its end.
fn base(url: &str) -> Result<String, String> {
    if url.starts_with("http://") {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    Err(format!("{url} is no base URL; it looks like http://127.0.0.1:7777"))
}

const PARTS: [&str; 17] = [
    "memory",
    "background",
    "cancel",
    "first_event",
    "bulk",
    "bulk_many",
    "loaded",
    "silent",
    "all",
    "streams",
    "short",
    "stored",
    "service",
    "page",
    "floor",
    "cost_short",
    "cost_cancel",
];

const USAGE: &str = "\
usage: cargo bench -p quell-benches --bench http -- [OPTIONS] [PARTS]
  --quell PATH              the binary to start, if not the one in this target folder
  --before PATH             another build of it; cost_short and cost_cancel compare with it
  --store                   servers of ours that are started keep their runs in a file
  --ours URL                a `quell serve --demo` that runs already; none is started then
  --agno URL                the upstream AgentOS server, with the demo components
  --langgraph URL           the upstream LangGraph server, with the demo graphs
  --langgraph-effects FILE  where the nodes of that server log their ticks
  --browser PATH            Chromium, which opens the page for the part `page`
parts: memory, background, cancel, first_event, bulk, bulk_many, loaded, silent, all, streams,
short, stored, service, page, floor, cost_short, cost_cancel; without one, all";
