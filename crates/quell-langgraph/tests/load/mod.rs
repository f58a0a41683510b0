//! Clients that do what they like to threads and runs, for some seconds; with `QUELL_LONG=1` 200 of
//! them for a minute, with 10,000 threads. What they are promised is looked at as they go, and when
//! they have left: nothing overlaps or is left, streams are exact, and what is deleted is gone.

/// What the clients do, and with what.
mod clients;
/// What is looked at when the clients have done.
mod end;
/// Clients that go away in the middle.
mod leaving;
/// One process, in memory and on a file.
mod one;
/// Streams, and replays of them from any id.
mod streams;
/// Three processes on one database.
mod three;
