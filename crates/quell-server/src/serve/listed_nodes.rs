//! [`router`]: `/v1/nodes`, the servers on the database of this one, as `quell nodes` lists them.

use std::process;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use quell::limits;
use quell::store::StoreError;
use quell_http::described::{Routes, get, schema};
use quell_http::{NoQuery, Problem, Service};
use quell_postgres::PostgresNode;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::dialect::{DIALECT, served};
use crate::store::{lost_json, node_json};
use crate::times::time;

/// The service, and the store if others have it as well.
type Site = (Service, Option<Arc<PostgresNode>>);

/// Serves `/v1/nodes` to whoever sees the runs of all: to everybody where no key is asked for,
/// which is on loopback alone, and else to administrators.
pub(super) fn router(service: Service, node: Option<Arc<PostgresNode>>) -> Router {
    served(routes().into_parts().0, (service, node))
}

/// Makes the route, and what the document says of it.
pub(super) fn routes() -> Routes<Site> {
    let (or_null, number) = (schema::or_null, schema::number);
    let node = schema::whole(json!({
        "name": or_null(schema::text()),
        "boot": or_null(number()),
        "connected": or_null(json!({ "type": "boolean" })),
        "process": or_null(schema::text()),
        "lease_until": or_null(schema::time()),
        "lease_left_ms": or_null(number()),
        "lease_over_ms": or_null(number()),
        "drained": { "type": "boolean" },
        "live": number(),
        "queued": number(),
        "stops_waiting": number(),
        "runs_in_doubt": number(),
        "at": schema::time(),
    }));
    let list = schema::whole(json!({
        "nodes": schema::list_of(node),
        "lost": schema::list_of(schema::object()),
        "more": { "type": "boolean" },
    }));
    let show = get(show, "Lists the servers on the database, as `quell nodes --json` does");
    Routes::new(DIALECT).at("/v1/nodes", [show.answers(200, list).refuses([503])])
}

async fn show(
    State((service, node)): State<Site>,
    query: Result<NoQuery, Problem>,
    headers: HeaderMap,
) -> Response {
    match service.access_of().check(&headers) {
        Err(error) => return Problem::from(error).into_response(),
        Ok(who) if !who.sees_all() => {
            let detail = "nodes have the runs of all: they need the key of an administrator";
            return Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).into_response();
        }
        Ok(_) => {}
    }
    if let Err(refused) = query {
        return refused.into_response();
    }
    let Some(node) = node else {
        return Json(json!({ "nodes": [alone(&service)], "lost": [], "more": false }))
            .into_response();
    };
    match timeout(ANSWER_WAIT, listed(&node)).await {
        Ok(Ok(all)) => Json(all).into_response(),
        failed => {
            if let Ok(Err(error)) = failed {
                tracing::warn!(%error, "the nodes cannot be read");
            }
            let detail = "the database cannot be read; ask again";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Problem::new(status, "store-unavailable", detail).into_response()
        }
    }
}

/// Reads the members, and those that were lost, as far as one answer goes.
async fn listed(node: &PostgresNode) -> Result<Value, StoreError> {
    let nodes = node.nodes(None, NODES_MAX).await?;
    let lost = node.lost_nodes(None, NODES_MAX).await?;
    let more = nodes.len() >= NODES_MAX || lost.len() >= NODES_MAX;
    let nodes: Vec<_> = nodes.iter().map(node_json).collect();
    let lost: Vec<_> = lost.iter().map(lost_json).collect();
    Ok(json!({ "nodes": nodes, "lost": lost, "more": more }))
}

/// Tells of a server that is none of several, with the keys of one that is.
fn alone(service: &Service) -> Value {
    let now = service.engine().standing();
    json!({
        "name": null,
        "boot": null,
        "connected": true,
        "process": format!("quell {}, pid {}", env!("CARGO_PKG_VERSION"), process::id()),
        "lease_until": null,
        "lease_left_ms": null,
        "lease_over_ms": null,
        "drained": false,
        "live": now.queued + now.running + now.paused + now.stopping,
        "queued": now.queued,
        "stops_waiting": 0,
        "runs_in_doubt": 0,
        "at": time(SystemTime::now()),
    })
}

/// How long the database may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Nodes in an answer, and lost ones.
const NODES_MAX: usize = limits::STORE_PAGE_MAX;
