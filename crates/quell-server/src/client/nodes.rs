//! [`list_nodes`]: the servers on a database, as a running server tells of them.

use serde_json::Value;

use super::answers::Cluster;
use super::server_args::ServerArgs;
use crate::out::{Fault, Out};

/// Lists the members, and those that were lost. `node` and `lost` draw one.
pub(crate) fn list_nodes(
    server: &ServerArgs,
    out: &mut Out,
    node: impl Fn(&Value) -> String,
    lost: impl Fn(&Value) -> String,
) -> Result<(), Fault> {
    let client = server.client()?;
    let all: Cluster = client.get("v1/nodes")?;
    all.nodes.iter().try_for_each(|it| out.line(node(it)))?;
    all.lost.iter().try_for_each(|it| out.line(lost(it)))?;
    if all.more {
        out.gap("there are more: `quell nodes --store URL` lists all");
    }
    Ok(())
}
