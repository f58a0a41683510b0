//! [`graph`]: what is known of the nodes of a graph, drawn as upstream does (contract, section 3).

use std::collections::BTreeSet;

use quell_flow::{Component, ComponentKind, Part, Reducer};
use serde_json::{Map, Value, json};

/// Draws a graph: its parts as nodes, one after the other or side by side. Steps within a step are
/// drawn if the drawing is to be deep. A component that declares nodes has these, one behind the
/// other; one without parts as well is one node of its own name.
pub(crate) fn graph(component: &Component, is_deep: bool) -> Value {
    let mut drawing = Drawing { is_deep, ..Drawing::default() };
    drawing.node(START.to_owned());
    let start = vec![START.to_owned()];
    let (parts, id) = (component.parts(), component.id());
    let ends = match (component.kind(), component.mode_of()) {
        _ if !component.nodes_of().is_empty() => {
            let nodes = component.nodes_of().iter();
            nodes.fold(start, |before, name| vec![drawing.behind(&before, name.clone())])
        }
        _ if parts.is_empty() => vec![drawing.behind(&start, id.to_owned())],
        (ComponentKind::Team, Some("broadcast")) => drawing.beside(parts, "", &start),
        (ComponentKind::Team, mode) if mode != Some("sequence") => {
            let leader = drawing.behind(&start, id.to_owned());
            for member in drawing.beside(parts, "", std::slice::from_ref(&leader)) {
                drawing.edges.push(json!({ "source": member, "target": leader }));
            }
            vec![leader]
        }
        _ => drawing.line(parts, "", start),
    };
    drawing.nodes.push(json!({ "id": END }));
    for end in ends {
        drawing.edges.push(json!({ "source": end, "target": END }));
    }
    json!({ "nodes": drawing.nodes, "edges": drawing.edges })
}

#[derive(Default)]
struct Drawing {
    is_deep: bool,
    names: BTreeSet<String>,
    nodes: Vec<Value>,
    edges: Vec<Value>,
}

impl Drawing {
    /// Adds a node, and yields its id: a name that another one has gets a number.
    fn node(&mut self, name: String) -> String {
        let more = (2..).map(|nr| format!("{name}_{nr}"));
        let id = std::iter::once(name.clone()).chain(more).find(|id| !self.names.contains(id));
        let id = id.unwrap_or(name);
        self.names.insert(id.clone());
        self.nodes.push(json!({ "id": id, "type": "runnable", "data": { "name": id } }));
        id
    }

    fn behind(&mut self, before: &[String], name: String) -> String {
        let id = self.node(name);
        let edge = |before: &String| json!({ "source": before, "target": id });
        self.edges.extend(before.iter().map(edge));
        id
    }

    /// Draws parts one after the other, and yields the last nodes.
    fn line(&mut self, parts: &[Part], within: &str, before: Vec<String>) -> Vec<String> {
        parts.iter().fold(before, |before, part| self.part(part, within, &before))
    }

    fn beside(&mut self, parts: &[Part], within: &str, before: &[String]) -> Vec<String> {
        parts.iter().flat_map(|part| self.part(part, within, before)).collect()
    }

    fn part(&mut self, part: &Part, within: &str, before: &[String]) -> Vec<String> {
        let name = format!("{within}{}", part.name);
        match part.parts.as_slice() {
            parts @ [_, ..] if part.is_parallel => self.beside(parts, within, before),
            parts @ [_, ..] if self.is_deep => {
                self.line(parts, &format!("{name}:"), before.to_vec())
            }
            _ => vec![self.behind(before, name)],
        }
    }
}

/// Writes what is known of the types of a graph: the lists that are added to.
pub(crate) fn schemas(component: &Component) -> Value {
    let lists = component.reducers().keys().filter(|(_, reducer)| *reducer != Reducer::Overwrite);
    let lists: Map<_, _> =
        lists.map(|(key, _)| (key.to_owned(), json!({ "type": "array" }))).collect();
    let title = format!("{}_state", component.id());
    let state = json!({ "title": title, "type": "object", "properties": lists });
    json!({
        "graph_id": component.id(),
        "input_schema": null,
        "output_schema": null,
        "state_schema": if lists.is_empty() { Value::Null } else { state },
        "config_schema": {},
        "context_schema": null,
    })
}

/// Lists the parts of a graph that are graphs themselves, each with its types: an agent of the
/// catalog, or steps within a step. With `recurse` those within them, too: `<step>|<step>`.
pub(crate) fn subgraphs<'a>(
    component: &Component,
    recurse: bool,
    agent: &impl Fn(&str) -> Option<&'a Component>,
) -> Map<String, Value> {
    let mut found = Map::new();
    collect(component.parts(), "", recurse, agent, &mut found);
    found
}

fn collect<'a>(
    parts: &[Part],
    within: &str,
    recurse: bool,
    agent: &impl Fn(&str) -> Option<&'a Component>,
    found: &mut Map<String, Value>,
) {
    for part in parts {
        if part.is_parallel {
            collect(&part.parts, within, recurse, agent, found);
            continue;
        }
        let name = format!("{within}{}", part.name);
        let own = part.agent.as_deref().and_then(agent);
        if let Some(own) = own {
            found.insert(name.clone(), without_id(schemas(own)));
        } else if !part.parts.is_empty() {
            found.insert(name.clone(), without_id(unknown()));
        }
        if recurse {
            collect(&part.parts, &format!("{name}|"), recurse, agent, found);
        }
    }
}

fn unknown() -> Value {
    json!({
        "input_schema": null,
        "output_schema": null,
        "state_schema": null,
        "config_schema": {},
        "context_schema": null,
    })
}

fn without_id(mut schemas: Value) -> Value {
    if let Value::Object(keys) = &mut schemas {
        keys.remove("graph_id");
    }
    schemas
}

const START: &str = "__start__";
const END: &str = "__end__";

#[cfg(test)]
mod tests {
    use quell::Payload;

    use super::*;

    fn edges(drawing: &Value) -> Vec<String> {
        let edges = drawing["edges"].as_array().unwrap().iter();
        let text = |edge: &Value, key: &str| edge[key].as_str().unwrap().to_owned();
        edges.map(|it| format!("{}>{}", text(it, "source"), text(it, "target"))).collect()
    }

    #[test]
    fn steps_are_drawn_in_their_order_and_side_by_side_and_those_within_only_if_asked_for() {
        let flow = Component::workflow("flow", async |_ctx, input: Payload| Ok(input)).steps([
            Part::function("a"),
            Part::parallel("fan", [Part::function("b"), Part::agent("c", "writer")]),
            Part::sequence("d", [Part::function("e"), Part::function("e")]),
        ]);
        let flat = ["__start__>a", "a>b", "a>c", "b>d", "c>d", "d>__end__"];
        assert_eq!(edges(&graph(&flow, false)), flat);
        let deep = ["__start__>a", "a>b", "a>c", "b>d:e", "c>d:e", "d:e>d:e_2", "d:e_2>__end__"];
        assert_eq!(edges(&graph(&flow, true)), deep);
        let names = |recurse| {
            let all = subgraphs(&flow, recurse, &|_| None);
            all.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["d"]);
        let own = subgraphs(&flow, false, &|name| (name == "writer").then_some(&flow));
        assert_eq!(own.keys().collect::<Vec<_>>(), ["c", "d"]);
        let alone = Component::agent("alone", async |_ctx, input: Payload| Ok(input));
        assert_eq!(edges(&graph(&alone, true)), ["__start__>alone", "alone>__end__"]);
    }
}
