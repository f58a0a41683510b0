//! [`Operation`] and [`Routes`]: a method of a path, with what the document says of it.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use serde_json::{Map, Value, json};

use crate::app::App;

/// A method of a path: what serves it, and what the document says of it.
pub(super) struct Operation {
    method: &'static str,
    served: MethodRouter<App>,
    summary: &'static str,
    /// A list.
    parameters: Value,
    body: Option<&'static str>,
    answers: Map<String, Value>,
    is_public: bool,
    takes_graphs: bool,
}

/// Makes an operation of a handler.
macro_rules! methods {
    ($($method:ident)*) => {$(
        pub(super) fn $method<H, T>(handler: H, summary: &'static str) -> Operation
        where
            H: Handler<T, App>,
            T: 'static,
        {
            Operation::new(stringify!($method), routing::$method(handler), summary)
        }
    )*};
}

methods!(get post put patch delete);

impl Operation {
    pub(super) fn new(
        method: &'static str,
        served: MethodRouter<App>,
        summary: &'static str,
    ) -> Self {
        let (parameters, answers, body) = (json!([]), Map::new(), None);
        let (is_public, takes_graphs) = (false, false);
        let it =
            Self { method, served, summary, parameters, body, answers, is_public, takes_graphs };
        // A page of somebody else's, or a caller who lacks a right; a defect of ours.
        it.refuses([403, 500])
    }

    /// It asks for credentials, if any are asked for, and looks at what is kept.
    pub(super) fn asks(self) -> Self {
        self.refuses([401, 429, 503])
    }

    /// It needs no credentials.
    pub(super) fn needs_nobody(mut self) -> Self {
        self.is_public = true;
        self
    }

    /// Its path takes the id of a graph in the place of an assistant's.
    pub(super) fn takes_graphs(mut self) -> Self {
        self.takes_graphs = true;
        self
    }

    /// It reads a body of JSON, of this schema.
    pub(super) fn takes(mut self, schema: &'static str) -> Self {
        self.body = Some(schema);
        self.refuses([408, 413, 415, 422])
    }

    pub(super) fn query(self, name: &str, schema: Value) -> Self {
        self.parameter("query", name, schema)
    }

    pub(super) fn header(self, name: &str, schema: Value) -> Self {
        self.parameter("header", name, schema)
    }

    fn parameter(mut self, place: &str, name: &str, schema: Value) -> Self {
        let parameter = json!({ "name": name, "in": place, "required": false, "schema": schema });
        if let Value::Array(all) = &mut self.parameters {
            all.push(parameter);
        }
        self
    }

    /// It answers with JSON of this schema.
    pub(super) fn answers(self, status: u16, schema: Value) -> Self {
        self.answers_as(status, "application/json", schema)
    }

    /// It answers with a body of some other kind; several of one status stand side by side.
    pub(super) fn answers_as(mut self, status: u16, kind: &str, schema: Value) -> Self {
        let answer = self.answers.entry(status.to_string());
        let answer = answer.or_insert_with(|| json!({ "description": reason(status) }));
        answer["content"][kind] = json!({ "schema": schema });
        self
    }

    /// It answers without a body.
    pub(super) fn answers_empty(mut self, status: u16) -> Self {
        self.answers.insert(status.to_string(), json!({ "description": reason(status) }));
        self
    }

    /// Its last answer but refusals has these headers, or some of them.
    pub(super) fn with_headers<const N: usize>(mut self, status: u16, names: [&str; N]) -> Self {
        let all = names.map(|name| (name.to_owned(), json!({ "schema": { "type": "string" } })));
        self.answers[&status.to_string()]["headers"] = Map::from_iter(all).into();
        self
    }

    /// It refuses with these statuses.
    pub(super) fn refuses<const N: usize>(self, statuses: [u16; N]) -> Self {
        let refusal = || json!({ "$ref": "#/components/schemas/ErrorResponse" });
        statuses.into_iter().fold(self, |it, status| it.answers(status, refusal()))
    }

    /// Writes what the document says of it.
    fn told(&self, path: &str) -> Value {
        let parameter = |name| parameter_of_path(name, self.takes_graphs);
        let mut parameters: Vec<_> = names_of(path).map(parameter).collect();
        parameters.extend(self.parameters.as_array().cloned().unwrap_or_default());
        let mut told = json!({
            "operationId": format!("{}{}", self.method, path.replace(['/', '{', '}'], "_")),
            "tags": [tag(path)],
            "summary": self.summary,
            "parameters": parameters,
            "responses": self.answers,
        });
        if let Some(schema) = self.body {
            let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
            let content = json!({ "application/json": { "schema": schema } });
            told["requestBody"] = json!({ "required": true, "content": content });
        }
        if !self.is_public {
            // None is needed where the server asks for none.
            told["security"] = json!([{ "apiKey": [] }, { "bearer": [] }, {}]);
        }
        told
    }
}

pub(super) fn named(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

pub(super) fn list(schema: &str) -> Value {
    json!({ "type": "array", "items": named(schema) })
}

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

pub(super) fn texts() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

/// A boolean of a query: any text that is not true is false.
pub(super) fn flag() -> Value {
    json!({ "type": "string", "examples": ["true", "false"] })
}

pub(super) fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

/// The routes, and the paths of the document.
#[derive(Default)]
pub(in crate::routes) struct Routes {
    pub(in crate::routes) router: Router<App>,
    pub(super) paths: Map<String, Value>,
}

impl Routes {
    /// Adds the methods of a path.
    pub(super) fn at<const N: usize>(mut self, path: &str, operations: [Operation; N]) -> Self {
        let mut told = Map::new();
        for operation in operations {
            let path_told = operation.told(path);
            self.router = self.router.route(path, operation.served);
            told.insert(operation.method.to_owned(), path_told);
        }
        let braced = |name: &str| format!("{{{name}}}");
        let names = names_of(path).map(|name| (braced(name), braced(&shown(name))));
        let shown = names.fold(path.to_owned(), |path, (from, to)| path.replace(&from, &to));
        self.paths.insert(shown, told.into());
        self
    }
}

/// Yields the names of the ids in a path.
fn names_of(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// Yields the name of an id of a path as upstream's document has it.
fn shown(name: &str) -> String {
    if name == PART { "namespace".to_owned() } else { format!("{name}_id") }
}

fn parameter_of_path(name: &str, takes_graphs: bool) -> Value {
    let schema = if name == PART || takes_graphs {
        json!({ "type": "string" })
    } else {
        json!({ "type": "string", "format": "uuid" })
    };
    json!({ "name": shown(name), "in": "path", "required": true, "schema": schema })
}

/// The one name in a path that is no id.
const PART: &str = "name";

fn tag(path: &str) -> &'static str {
    match path.split('/').nth(1) {
        Some("assistants") => "Assistants",
        Some("threads" | "runs") if path.contains("/crons") => "Crons",
        Some("threads") if path.contains("/runs") => "Thread Runs",
        Some("threads") => "Threads",
        Some("runs") => "Stateless Runs",
        Some("store") => "Store",
        _ => "System",
    }
}

fn reason(status: u16) -> &'static str {
    let status = axum::http::StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or_default()
}
