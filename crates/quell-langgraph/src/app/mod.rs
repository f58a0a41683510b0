//! What the routes share: the state of the adapter, and what it does with the runs of a caller.

mod app;
mod assistants;
mod base;
mod begin;
mod bury;
mod change;
mod charge;
mod clear;
mod create;
mod delete;
mod elsewhere;
mod erase;
mod find;
mod gone;
mod history;
mod items;
mod kept;
mod leaving;
mod making;
mod record;
mod recover;
mod resume;
mod search;
mod shelf;
mod states;
mod stored;
mod update;
mod wait;
mod webhook;
mod webhook_left;

pub(crate) use app::App;
pub(crate) use assistants::known_graph;
pub(crate) use create::{CreateRequest, Created};
pub(crate) use find::{Found, Located, object_of, selected_of};
pub(crate) use history::{State as History, Wanted};
pub(crate) use stored::{StoredRun, finish, last_seq};
