//! Shows what is known of the graph of an assistant (contract, section 3).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use quell_flow::{Component, ComponentKind};
use quell_http::View;
use uuid::Uuid;

use crate::app::{App, known_graph};
use crate::routes::caller::Caller;
use crate::routes::path::{GraphPath, SubgraphPath};
use crate::routes::response::json;
use crate::wire::drawing;
use crate::wire::query::{Pairs, is_true};
use crate::wire::refusal::Refusal;

pub(super) async fn draw(
    State(app): State<App>,
    Caller(view): Caller,
    GraphPath(named): GraphPath,
    query: Pairs,
) -> Result<Response, Refusal> {
    let graph = graph(&app, &view, &named).await?;
    // A number says how deep: the steps of a step are all there is.
    let is_deep = |text: &str| is_true(text) || text.parse::<u32>().is_ok_and(|deep| deep > 0);
    let is_deep = query.get("xray").is_some_and(is_deep);
    Ok(json(&drawing::graph(&graph, is_deep)))
}

pub(super) async fn schemas(
    State(app): State<App>,
    Caller(view): Caller,
    GraphPath(named): GraphPath,
) -> Result<Response, Refusal> {
    Ok(json(&drawing::schemas(&*graph(&app, &view, &named).await?)))
}

pub(super) async fn subgraphs(
    State(app): State<App>,
    Caller(view): Caller,
    GraphPath(named): GraphPath,
    query: Pairs,
) -> Result<Response, Refusal> {
    within(&app, &view, &named, &query, |_| true).await
}

pub(super) async fn subgraph(
    State(app): State<App>,
    Caller(view): Caller,
    SubgraphPath { graph, name }: SubgraphPath,
    query: Pairs,
) -> Result<Response, Refusal> {
    within(&app, &view, &graph, &query, |known| known == name).await
}

async fn within(
    app: &App,
    view: &View,
    named: &str,
    query: &Pairs,
    is_meant: impl Fn(&str) -> bool,
) -> Result<Response, Refusal> {
    let graph = graph(app, view, named).await?;
    let recurse = query.flag("recurse");
    let agent = |name: &str| {
        let agent = view.component(ComponentKind::Agent, name)?;
        view.principal().may_read(agent).then_some(&**agent)
    };
    let mut found = drawing::subgraphs(&graph, recurse, &agent);
    found.retain(|name, _| is_meant(name));
    Ok(json(&found))
}

/// Finds a graph by its id, or by that of an assistant.
async fn graph(app: &App, view: &View, named: &str) -> Result<Arc<Component>, Refusal> {
    let Ok(id) = Uuid::try_parse(named) else {
        let words = |unknown: Refusal| {
            let begin = "Invalid assistant ID: must be a UUID, or the ID of a graph.";
            Refusal::invalid(format!("{begin} {}", unknown.detail))
        };
        return known_graph(view, named).cloned().map_err(words);
    };
    let assistant = app.assistant(view, id).await?;
    known_graph(view, &assistant.now().graph).cloned()
}
