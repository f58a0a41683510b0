//! What does an engine on PostgreSQL cost, and how soon do several nodes agree?
//!
//! The bench starts a server of its own, on a socket, with its default durability. Each figure
//! stands beside its bar; `ratio` is that of both, or of ours and theirs.
//!
//! `cluster/runs/N`: N submitters each let runs with an empty body be accepted and end, and wait
//! until both are durable, on one node; against tokio-postgres with a group commit that is put
//! together by hand and does the same statements on the same tables.
//! `cluster/cost`: statements, commits and notifications of runs that nobody stops or watches.
//! `cluster/stop`: from a cancel on one node until the body of a run on another one is signalled,
//! and until the answer of that one is there.
//! `cluster/events`: from the commit of an event until a reader on another node has it.
//! `cluster/recover`: a process is killed, and its runs are decided by the next one of its name.
//! `cluster/take_over`: the same by a node of another name, after the end of the lease.
//! `cluster/idle`: what nodes ask of the database that have nothing to do.
//! `cluster/claims/N`: roots that start through a limit of N for all nodes, on four nodes that have
//! more of them than their share.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

mod bare;
mod claims;
mod cost;
mod events;
mod idle;
mod left;
mod place;
mod runs;
mod stops;

use quell_benches::race::is_wanted;

use crate::place::Place;

/// Measures one thing, and prints it.
type Measure = fn(&Place);

fn main() {
    // This program is its own other process: one that has runs, and is killed.
    if left::is_child() {
        return left::be_killed();
    }
    let place = Place::start();
    let parts: [(&str, Measure); 8] = [
        ("runs", runs::measure),
        ("cost", cost::measure),
        ("stop", stops::measure),
        ("events", events::measure),
        ("recover", left::recover),
        ("take_over", left::take_over),
        ("idle", idle::measure),
        ("claims", claims::measure),
    ];
    for (name, measure) in parts {
        if is_wanted(name) {
            measure(&place);
        }
    }
}
