//! The store of `quell run` and `quell serve`, a file or a database that outlives the process, and
//! the commands that read it.

mod ended;
mod events;
mod keep;
mod kept_runs;
mod left_behind;
mod node;
mod nodes;
mod open;
mod others;
mod out;
mod place;
mod reader;
mod resume;
mod runs;
mod show;
mod store_args;
mod surveyed;
mod upkeep;

pub(crate) use events::{EventsArgs, events};
pub(crate) use keep::{Keep, KeepArgs};
pub(crate) use node::{NodeArgs, default_name};
pub(crate) use nodes::{NODES_AFTER_HELP, NodesArgs, nodes};
pub(crate) use open::{OpenStore, is_part_of};
pub(crate) use place::{Database, EXPECTED, Place, is_url, places};
pub(crate) use resume::{GRACE, Left, PLAN_FILE, TIMEOUT, as_annotation};
pub(crate) use runs::{RunsArgs, runs};
pub(crate) use show::{ShowArgs, show};
pub(crate) use upkeep::{StoreCommand, upkeep};
