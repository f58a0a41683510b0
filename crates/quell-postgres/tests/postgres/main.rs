//! The store in PostgreSQL, with real servers that are stopped and sessions that are killed.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by a panic, tells one story from its beginning to its end, and prints \
        what it has measured"
)]

// Pauses, answers and new limits through a member that does not have the run.
mod acts;
// What one append, one read or one statement does to the others.
mod apart;
// Stops through a member that does not have the run.
mod asked;
// A database that is away, or was taken over.
mod away;
// Processes that are killed, frozen and cut off at random, and files that say what they did.
mod chaos;
// What a process of those does, and what becomes of what it said.
mod chaos_judge;
mod chaos_node;
// I37: keys that members share.
mod claims;
// The suite that every store passes.
mod conforms;
// Members of a cluster in one database, and engines on them.
mod crew;
// Commits of which the answer is lost.
mod doubt;
// An engine on such a store.
mod engine;
// The example of a node, in processes that are killed.
mod example;
// Stores of servers, and what the server says of them.
mod fixture;
// What is so once somebody has said that a member is gone for good.
mod forgotten;
// Processes that are frozen, and go on later.
mod frozen;
// What is asked all the time, on tables that have grown.
mod grown;
// What the stores of this process have said in the log.
// Sessions that are killed under load, and servers that lose their power.
mod kills;
// I36: lanes that members share.
mod lanes;
// Limits that nobody uses any more, and exchanges that nobody answers.
mod lapsed;
// Lists of many runs, and of those that cannot be read.
mod lists;
// Writers that remember what they were told.
mod load;
// Members of a cluster: who has a run, and what happens to those of a member that is gone.
mod nodes;
// What is asked of a run that is forgotten since.
mod meant;
// Stops that are open, on whatever member.
mod open_stops;
// What is refused when a store is opened, and in which words.
mod open;
// Engines whose database is away for long, and hosts whose clock is wrong.
mod outage;
// Statements on tables that have grown.
mod plans;
// The way to a server, which can be broken.
mod proxy;
// I27: limits that several members keep together.
mod quotas;
// What two members do to the same row in the same moment.
mod raced;
// Who only reads: what is stored, and who has it.
mod readers;
// I6, I22, I34: stops that are remembered for runs of other members.
mod reserved;
// I4: programs of members that have come back, and say what they know of them.
mod returned;
// I36: runs that are taken back while others read, and sessions that end in the midst of that.
mod taken_back;
// What a session relies on, whatever the settings of its role or database say.
mod sessions;
// What a take-over says of the runs that it takes.
mod taken;
// Who the server has to be.
mod tls;
// Who is left of trees that are stopping.
mod trees_now;
// Who is told of what is new in a log.
mod watched;
