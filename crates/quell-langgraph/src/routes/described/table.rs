//! [`document`], and the table of all routes.

use quell_http::described::schema::{list, named, number, text};
use quell_http::described::{delete, get, patch, post, put};
use serde_json::{Value, json};

use crate::routes::described::dialect::{DIALECT, Operation, Routes, flag, of_graph};
use crate::routes::described::{answers, bodies, crons, runs};
use crate::routes::{assistants, graphs, metrics, states, store, system, threads};

/// Makes the `OpenAPI` document of the contract: every route of [`router`](crate::router), what it
/// takes, and every answer to it. `GET /openapi.json` answers it; a server that has other contracts
/// under the same root puts it beside theirs.
///
/// # Examples
///
/// ```
/// let document = quell_langgraph::document();
/// assert!(document["paths"]["/runs/cancel"]["post"]["responses"]["204"].is_object());
/// ```
pub fn document() -> Value {
    let (_, mut paths) = shared().into_parts();
    paths.extend(of_contract().into_parts().1);
    let mut schemas = answers::schemas();
    schemas.extend(bodies::schemas());
    schemas.extend(crons::schemas());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "quell: LangGraph Agent Server",
            "description": "The run API of LangGraph Agent Server, as quell serves it.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "apiKey": { "type": "apiKey", "in": "header", "name": "x-api-key" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

/// Makes the routes that other contracts have as well.
pub(in crate::routes) fn shared() -> Routes {
    let object = || json!({ "type": "object" });
    Routes::new(DIALECT)
        .at(
            "/info",
            [get(system::get_info, "Says what the server is")
                .needs_nobody()
                .answers(200, named("Info"))],
        )
        .at(
            "/openapi.json",
            [get(system::describe, "Describes the API").needs_nobody().answers(200, object())],
        )
}

/// Makes the routes of this contract alone.
pub(in crate::routes) fn of_contract() -> Routes {
    let routes = about_server(Routes::new(DIALECT));
    let routes = about_store(about_graphs(about_assistants(routes)));
    let routes = about_states(about_threads(routes));
    crons::about_crons(runs::about_stateless_runs(runs::about_runs(routes)))
}

fn about_server(routes: Routes) -> Routes {
    let metrics = get(metrics::show, "Counts what the runs of the caller do")
        .refuses([401])
        .query("format", text())
        .answers(200, named("Metrics"))
        .answers_as(200, "text/plain", text());
    routes
        .at(
            "/ok",
            [get(system::ok, "Says that the server is there")
                .needs_nobody()
                .answers(200, named("Ok"))],
        )
        .at("/metrics", [metrics])
}

fn about_assistants(routes: Routes) -> Routes {
    let row = |operation: Operation| operation.asks().answers(200, named("Assistant"));
    routes
        .at(
            "/assistants/search",
            [post(assistants::search, "Searches assistants")
                .reads()
                .asks()
                .takes("AssistantSearch")
                .answers(200, list("AssistantPart"))
                .with_headers(200, PAGE)
                .refuses([404])],
        )
        .at(
            "/assistants/count",
            [post(assistants::count, "Counts assistants")
                .reads()
                .asks()
                .takes("AssistantCount")
                .answers(200, number())
                .refuses([404])],
        )
        .at(
            "/assistants",
            [row(post(assistants::create, "Makes an assistant"))
                .takes("AssistantCreate")
                .refuses([400, 404, 409])],
        )
        .at(
            "/assistants/{assistant}",
            [
                row(get(assistants::read, "Shows an assistant")).refuses([404, 422]),
                row(patch(assistants::change, "Makes a new version of an assistant"))
                    .takes("AssistantPatch")
                    .refuses([400, 404, 409]),
                delete(assistants::delete, "Deletes an assistant")
                    .asks()
                    .query("delete_threads", flag())
                    .answers_empty(204)
                    .refuses([404, 409, 422]),
            ],
        )
        .at(
            "/assistants/{assistant}/versions",
            [post(assistants::versions, "Lists the versions")
                .reads()
                .asks()
                .takes("AssistantVersions")
                .answers(200, list("AssistantVersion"))
                .refuses([404])],
        )
        .at(
            "/assistants/{assistant}/latest",
            [row(post(assistants::latest, "Chooses a version"))
                .takes("AssistantLatest")
                .refuses([404, 409])],
        )
}

fn about_graphs(routes: Routes) -> Routes {
    routes
        .at(
            "/assistants/{assistant}/graph",
            [of_graph(get(graphs::draw, "Draws the graph"))
                .asks()
                .query("xray", text())
                .answers(200, named("Graph"))
                .refuses([404, 422])],
        )
        .at(
            "/assistants/{assistant}/schemas",
            [of_graph(get(graphs::schemas, "Shows what is known of types"))
                .asks()
                .answers(200, named("GraphSchemas"))
                .refuses([404, 422])],
        )
        .at(
            "/assistants/{assistant}/subgraphs",
            [subgraphs(get(graphs::subgraphs, "Lists the graphs within the graph"))],
        )
        .at(
            "/assistants/{assistant}/subgraphs/{name}",
            [subgraphs(get(graphs::subgraph, "Shows a graph within the graph"))],
        )
}

fn subgraphs(operation: Operation) -> Operation {
    let all = json!({ "type": "object", "additionalProperties": { "type": "object" } });
    of_graph(operation).asks().query("recurse", flag()).answers(200, all).refuses([404, 422])
}

fn about_store(routes: Routes) -> Routes {
    routes
        .at(
            "/store/items",
            [
                put(store::put, "Puts an item")
                    .asks()
                    .takes("ItemPut")
                    .answers_empty(204)
                    .refuses([400]),
                get(store::read, "Shows an item; null if there is none")
                    .asks()
                    .query("namespace", text())
                    .query("key", text())
                    .query("refresh_ttl", flag())
                    .answers(200, json!({ "anyOf": [named("Item"), { "type": "null" }] }))
                    .refuses([400, 422]),
                delete(store::delete, "Deletes an item")
                    .asks()
                    .takes("ItemDelete")
                    .answers_empty(204),
            ],
        )
        .at(
            "/store/items/search",
            [post(store::search, "Searches items")
                .reads()
                .asks()
                .takes("ItemSearch")
                .answers(200, named("ItemsFound"))
                .refuses([400])],
        )
        .at(
            "/store/namespaces",
            [post(store::namespaces, "Lists namespaces")
                .reads()
                .asks()
                .takes("NamespaceSearch")
                .answers(200, named("Namespaces"))],
        )
}

fn about_threads(routes: Routes) -> Routes {
    let row = |operation: Operation| operation.asks().answers(200, named("Thread"));
    routes
        .at(
            "/threads",
            [row(post(threads::create, "Makes a thread")).takes("ThreadCreate").refuses([409])],
        )
        .at(
            "/threads/search",
            [post(threads::search, "Searches threads")
                .reads()
                .asks()
                .takes("ThreadSearch")
                .answers(200, list("ThreadPart"))
                .with_headers(200, PAGE)],
        )
        .at(
            "/threads/count",
            [post(threads::count, "Counts threads")
                .reads()
                .asks()
                .takes("ThreadCount")
                .answers(200, number())],
        )
        .at(
            "/threads/{thread}",
            [
                row(get(threads::read, "Shows a thread"))
                    .query("include", text())
                    .refuses([404, 422]),
                row(patch(threads::change, "Changes what a thread was given"))
                    .header("Prefer", text())
                    .takes("ThreadPatch")
                    .answers_empty(204)
                    .refuses([404]),
                delete(threads::delete, "Deletes a thread, and stops its runs")
                    .asks()
                    .answers_empty(204)
                    .refuses([404, 422]),
            ],
        )
        .at(
            "/threads/{thread}/copy",
            [row(post(threads::copy, "Copies a thread")).refuses([404, 413, 422])],
        )
}

fn about_states(routes: Routes) -> Routes {
    let state = |operation: Operation| operation.asks().answers(200, named("ThreadState"));
    let history = |operation: Operation| operation.asks().answers(200, list("ThreadState"));
    routes
        .at(
            "/threads/{thread}/state",
            [
                state(get(states::last, "Shows the last state")).refuses([404, 422]),
                post(states::change, "Changes the values")
                    .asks()
                    .takes("ThreadStateUpdate")
                    .answers(200, named("ThreadStateUpdated"))
                    .refuses([400, 404, 409]),
            ],
        )
        .at(
            "/threads/{thread}/state/checkpoint",
            [state(post(states::of_body, "Shows the state that the body names").reads())
                .takes("ThreadStateOf")
                .refuses([404])],
        )
        .at(
            "/threads/{thread}/state/{checkpoint}",
            [state(get(states::one, "Shows a state")).refuses([404, 422])],
        )
        .at(
            "/threads/{thread}/history",
            [
                history(get(states::list, "Lists the states"))
                    .query("limit", number())
                    .query("before", text())
                    .refuses([404, 422]),
                history(post(states::search, "Lists the states that are meant").reads())
                    .takes("ThreadStateSearch")
                    .refuses([404]),
            ],
        )
}

const PAGE: [&str; 2] = ["x-pagination-total", "x-pagination-next"];
