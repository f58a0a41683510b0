//! What is run: components that tick, in both contracts, and how their streams end.

use std::time::Instant;

use crate::client::{Events, Http};
use crate::{agentos, langgraph};

/// A contract that both sides speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contract {
    /// Agents, teams and workflows.
    AgentOs,
    /// Graphs, on threads.
    LangGraph,
}

/// A component whose bodies tick.
#[derive(Debug)]
pub(crate) struct Load {
    /// In the names of figures.
    pub(crate) name: &'static str,
    /// Through which it is run.
    pub(crate) contract: Contract,
    /// In the path, or as assistant.
    pub(crate) component: &'static str,
    /// Bodies at work at once.
    pub(crate) bodies: usize,
    /// The event that a tick gives.
    tick: &'static str,
    /// The event that says that all is over; without one it is the end of the stream.
    terminal: Option<&'static str>,
}

/// How bodies tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between two ticks.
    pub(crate) tick_ms: u64,
    /// How long in all, if nobody cancels.
    pub(crate) total_ms: u64,
}

/// A run that ticks, and its stream.
#[derive(Debug)]
pub(crate) struct Live {
    /// What it says.
    pub(crate) events: Events,
    /// Where a POST cancels it.
    pub(crate) cancel: String,
}

impl Load {
    /// Starts a run and waits for as many ticks as it has bodies.
    pub(crate) async fn start(
        &self,
        http: &Http,
        url: &str,
        pace: Pace,
        probe: &str,
    ) -> Result<Live, String> {
        let mut live = match self.contract {
            Contract::AgentOs => agentos::start(http, url, self, pace, probe).await?,
            Contract::LangGraph => langgraph::start(http, url, self, pace, probe).await?,
        };
        for _ in 0..self.bodies {
            if self.until(&mut live.events, Some(self.tick)).await?.is_none() {
                return Err(format!("{}: ended before {} ticks", live.cancel, self.bodies));
            }
        }
        Ok(live)
    }

    /// Waits for the terminal event, and tells when it came.
    pub(crate) async fn terminal(&self, events: &mut Events) -> Result<Instant, String> {
        match (self.until(events, self.terminal).await?, self.terminal) {
            (None, Some(name)) => Err(format!("{}: ended without {name}", self.component)),
            _ => Ok(Instant::now()),
        }
    }

    /// In words, what the end of a run is.
    pub(crate) fn end(&self) -> &'static str {
        self.terminal.unwrap_or("the end of the stream")
    }

    /// Reads on to an event of this name, or to the end of the stream.
    async fn until(&self, events: &mut Events, name: Option<&str>) -> Result<Option<()>, String> {
        while let Some(event) = events.next().await? {
            if name == Some(event.name.as_str()) {
                return Ok(Some(()));
            }
            if event.name == "error" || event.name == "RunError" {
                return Err(format!("{}: {}", self.component, event.data));
            }
        }
        Ok(None)
    }
}

/// Everything that is cancelled.
pub(crate) const LOADS: [Load; 5] = [
    AGENT,
    Load { name: "team", component: "teams/slow-team", bodies: 3, ..of_agents("TeamRunCancelled") },
    Load {
        name: "workflow",
        component: "workflows/slow-workflow",
        bodies: 4,
        ..of_agents("WorkflowCancelled")
    },
    GRAPH,
    Load { name: "parallel", component: "parallel", bodies: 4, ..GRAPH },
];

/// One agent that ticks.
pub(crate) const AGENT: Load = of_agents("RunCancelled");

/// An agent that says nothing for five seconds before its only tick.
pub(crate) const SILENT: Load = Load { name: "silent", component: "agents/silent-agent", ..AGENT };

/// A graph of one node that ticks.
pub(crate) const GRAPH: Load = Load {
    name: "graph",
    contract: Contract::LangGraph,
    component: "slow",
    bodies: 1,
    tick: "custom",
    terminal: None,
};

const fn of_agents(terminal: &'static str) -> Load {
    Load {
        name: "agent",
        contract: Contract::AgentOs,
        component: "agents/slow-agent",
        bodies: 1,
        tick: "RunContent",
        terminal: Some(terminal),
    }
}
