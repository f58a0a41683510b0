//! `quell events`: the events of a run of a store, or the page about events.

use std::process::ExitCode;

use clap::Args;
use quell::store::{ImpliedEvents, Subtree};
use quell::{RunEvent, limits};

use super::kept_runs::KeptRuns;
use super::store_args::AnyStoreArgs;
use crate::help::EVENTS_PAGE;
use crate::lines;
use crate::named::run_ids;
use crate::out::{Fault, Out, written};
use crate::stdout;
use crate::tree::Tree;

/// What `quell events` is told.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// The id of the run as its caller knows it, or what its UUID alone begins with. Without it
    /// the page about events is printed
    #[arg(value_name = "RUN", value_parser = run_ids())]
    run: Option<String>,

    #[command(flatten)]
    store: AnyStoreArgs,

    /// Print one line of JSON per event
    #[arg(long, requires = "run")]
    json: bool,
}

/// Prints the events of a run, or the page, and yields the exit code.
pub(crate) fn events(args: &EventsArgs) -> ExitCode {
    let Some(run) = &args.run else { return stdout::say(EVENTS_PAGE) };
    written(|out| {
        let kept = KeptRuns::open(args.store.place()?)?;
        let record = kept.run(run)?;
        let (run, root) = (record.run(), record.accepted.root);
        let mut shown =
            Shown { out, json: args.json, tree: Tree::default(), members: Subtree::new(run) };
        let mut implied = ImpliedEvents::new(run);
        let mut after = 0;
        loop {
            let events = kept.reader.events(root, after, limits::STORE_PAGE_MAX);
            let events = events.map_err(|error| kept.told(&error))?;
            let before = after;
            for event in events {
                match event {
                    Ok(event) => {
                        implied.saw(&event);
                        after = after.max(event.last_seq());
                        shown.event(&event)?;
                    }
                    Err(unreadable) => {
                        after = after.max(unreadable.seq.unwrap_or_default());
                        shown.out.gap(unreadable);
                    }
                }
            }
            shown.out.flush()?;
            if after == before {
                break;
            }
        }
        // The record is older than the events: of an end that it knows, the event was seen if there
        // is one.
        implied.missing(&record).iter().try_for_each(|event| shown.event(event))
    })
}

/// What was shown of a tree so far.
struct Shown<'a> {
    out: &'a mut Out,
    json: bool,
    tree: Tree,
    members: Subtree,
}

impl Shown<'_> {
    fn event(&mut self, event: &RunEvent) -> Result<(), Fault> {
        if !self.json {
            self.tree.apply(event);
        }
        if !self.members.has(event) {
            return Ok(());
        }
        if !self.json {
            let line = lines::line(&self.tree, event, true);
            return line.map_or(Ok(()), |line| self.out.line(line));
        }
        let line = serde_json::to_string(event).map_err(|error| error.to_string())?;
        self.out.line(line)
    }
}
