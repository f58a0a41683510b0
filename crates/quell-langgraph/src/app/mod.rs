//! What the routes share: the state of the adapter, and what it does with the runs of a caller.

mod app;
mod base;
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
mod leaving;
mod making;
mod record;
mod recover;
mod resume;
mod search;
mod stored;
mod update;
mod wait;

pub(crate) use app::App;
pub(crate) use create::{CreateRequest, Created};
pub(crate) use find::{Found, Located, graph_of, object_of, selected_of};
pub(crate) use history::State as History;
pub(crate) use stored::{StoredRun, finish, last_seq};
