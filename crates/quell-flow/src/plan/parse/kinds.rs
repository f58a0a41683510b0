//! [`parallel`], [`repeat`] and the others read the action of a step, one per kind but `run`.

use std::sync::Arc;

use quell::Payload;

use super::fault::Fault;
use super::fields::{
    Table, check_counting, count, entry, steps, table, text, unknown, word, wrong_type,
};
use super::options;
use super::reader::{Reader, name_of};
use super::tree::{Node, Value};
use crate::OnMember;
use crate::excerpt::excerpt;
use crate::limits;
use crate::plan::action::{
    ComponentStep, IfStep, LoopOptions, LoopStep, OnMax, RouteStep, TeamMode, TeamOptions,
    TeamStep, WorkflowStep,
};
use crate::plan::expression::{self, Expression};
use crate::plan::format::PlanFormat;
use crate::plan::parallel::ParallelStep;
use crate::plan::step::Action;

pub(super) fn parallel(
    reader: &mut Reader<'_>,
    step: &Table<'_>,
    node: &Node,
    level: usize,
) -> Result<Action, Fault> {
    if let (Value::List(_), None) = (&node.value, step.get("branches")) {
        let branches = reader.branches(node, level + 1);
        reader.noted(branches);
        let right = match reader.format {
            PlanFormat::Toml => "`parallel = {}`",
            PlanFormat::Json => "`\"parallel\": {}`",
            PlanFormat::Yaml => "`parallel: {}`",
        };
        let right = format!("{right}, and the list as `branches` beside it");
        return Err(wrong_type(node, &right).of("parallel"));
    }
    let options = match &node.value {
        Value::Table(_) => options::parallel(reader, node),
        _ => Err(wrong_type(node, "a table, `{}` for the defaults").of("parallel")),
    };
    let mut count = 0;
    let branches = beside(step, node, "branches", "parallel step").and_then(|branches| {
        count = steps(branches, "branches")?.len();
        reader.branches(branches, level + 1)
    });
    let (options, branches) = both(reader, options, branches)?;
    options::check_counts(node, &options.policy, count)?;
    Ok(Action::Parallel(ParallelStep { options, branches }))
}

pub(super) fn repeat(
    reader: &mut Reader<'_>,
    step: &Table<'_>,
    node: &Node,
    level: usize,
) -> Result<Action, Fault> {
    let options = check_counting(node, reader.format, "count").map_err(|fault| fault.of("loop"));
    let options = options.and_then(|()| reader.table(node, &LOOP_KEYS));
    // The caller has made a frame for these names, and removes it.
    reader.names.add_variable("index");
    reader.names.add_variable("last");
    let steps = beside(step, node, "steps", "loop");
    let steps = steps.and_then(|steps| reader.sequence(steps, "steps", level + 1));
    let steps = reader.noted(steps);
    let options = options?;
    // `until` is read after the steps: it may read their outputs, and they may not read `output`.
    reader.names.add_variable("output");
    let until = options.read("until", |node| expression(reader, node))?;
    let (key, right) = match until {
        Some(_) => ("max", "how often at most"),
        None => ("count", "how often, or `until` and `max`"),
    };
    for other in ["count", "max", "on_max"] {
        if (other == "count") == (key == "max")
            && let Some((found, _)) = options.entry(other)
        {
            let message = format!("`{other}` does not go with `{key}`; expected one of them");
            return Err(Fault::new(found.at, message));
        }
    }
    let rounds = options.get(key).ok_or_else(|| {
        let fault = options.missing(node.at, format!("loop has no `{key}`; expected {right}"));
        Fault { is_bare: true, ..fault }
    })?;
    let max = count(rounds, key, 1)?;
    if max > limits::LOOP_ROUNDS_MAX {
        let bound = limits::LOOP_ROUNDS_MAX;
        return Err(Fault::new(rounds.at, format!("{key} `{max}`; expected at most {bound}")));
    }
    let on_max = options.read("on_max", |node| word(node, &ON_MAX))?;
    let options = LoopOptions { until, max, on_max: on_max.unwrap_or_default() };
    Ok(Action::Loop(LoopStep { options, steps }))
}

pub(super) fn condition(
    reader: &mut Reader<'_>,
    step: &Table<'_>,
    node: &Node,
    level: usize,
) -> Result<Action, Fault> {
    let condition = expression(reader, node).map_err(|fault| fault.of("if"));
    let read = |reader: &mut Reader<'_>, node: &Node, key| {
        reader.names.enter();
        let steps = reader.sequence(node, key, level + 1);
        reader.names.leave();
        steps
    };
    let then = step.need("then", "`if`").and_then(|node| read(reader, node, "then"));
    let otherwise = step.get("else").map_or(Ok(Arc::from([])), |node| read(reader, node, "else"));
    let steps = both(reader, then, otherwise);
    let (condition, (then, otherwise)) = both(reader, condition, steps)?;
    Ok(Action::If(IfStep { condition, then, otherwise }))
}

pub(super) fn route(
    reader: &mut Reader<'_>,
    step: &Table<'_>,
    node: &Node,
    level: usize,
) -> Result<Action, Fault> {
    let route = expression(reader, node).map_err(|fault| fault.of("route"));
    let list = step.need("routes", "route");
    let routes = list.and_then(|list| Ok((list, reader.siblings(list, "routes", level + 1)?)));
    let (route, (list, routes)) = both(reader, route, routes)?;
    reader.names.check_choice(route.as_str(), node.at);
    if let Some(name) = constant(&route) {
        one_of(node, &name, list, ("route", "routes"))?;
    }
    let otherwise = match step.get("otherwise") {
        Some(node) => {
            let right = "the name of one of `routes`";
            let name = text(node).map_err(|_| wrong_type(node, right).of("otherwise"))?;
            Some(one_of(node, name, list, ("route", "routes"))?)
        }
        None => None,
    };
    Ok(Action::Route(RouteStep { route, routes, otherwise }))
}

pub(super) fn team(
    reader: &mut Reader<'_>,
    step: &Table<'_>,
    node: &Node,
    level: usize,
) -> Result<Action, Fault> {
    if !matches!(node.value, Value::Table(_)) {
        let example = entry(reader.format, "mode", "\"broadcast\"");
        return Err(wrong_type(node, &format!("a table such as `{example}`")).of("team"));
    }
    let options = reader.table(node, &TEAM_KEYS)?;
    let mode = options.need("mode", "team").and_then(|node| Ok((node, mode_of(node)?)));
    let name = mode.as_ref().map_or("", |(_, name)| *name);
    for (key, owner) in TEAM_GOES_WITH {
        if owner != name
            && !name.is_empty()
            && let Some((found, _)) = options.entry(key)
        {
            let message = format!("`{key}` goes with mode `{owner}`; this one is `{name}`");
            reader.note(Fault::new(found.at, message));
        }
    }
    // The input is read before `task` is known: it makes the task.
    let input = input(reader, step);
    let input = reader.noted(input);
    reader.names.add_variable("task");
    let choose = options.read("choose", |node| Ok((node, expression(reader, node)?)));
    // Members may read these as well if nobody knows the mode.
    if name == "coordinate" || name.is_empty() {
        reader.names.add_variable("results");
        reader.names.add_variable("round");
    }
    let list = beside(step, node, "members", "team");
    let members = list.and_then(|list| Ok((list, reader.siblings(list, "members", level + 1)?)));
    let on_member = |key| options.read(key, |node| word(node, &ON_MEMBER));
    let (failed, stopped) = (on_member("on_member_failed"), on_member("on_member_stopped"));
    let (failed, stopped) = (reader.noted(failed), reader.noted(stopped));
    let (mode, (list, members)) = both(reader, mode, members)?;
    let mode = team_mode(reader, &options, mode, choose, list)?;
    let (on_member_failed, on_member_stopped) =
        (failed.unwrap_or_default(), stopped.unwrap_or_default());
    let team = TeamOptions { mode, on_member_failed, on_member_stopped };
    Ok(Action::Team(TeamStep { team, input, members }))
}

fn mode_of(node: &Node) -> Result<&str, Fault> {
    let name = text(node)?;
    if TEAM_MODES.contains(&name) {
        return Ok(name);
    }
    Err(unknown(node.at, "mode", name, &TEAM_MODES))
}

fn team_mode<'a>(
    reader: &mut Reader<'_>,
    options: &Table<'a>,
    (mode, name): (&Node, &str),
    choose: Result<Option<(&'a Node, Expression)>, Fault>,
    members: &Node,
) -> Result<TeamMode, Fault> {
    match name {
        "broadcast" => Ok(TeamMode::Broadcast),
        "sequence" => Ok(TeamMode::Sequence),
        "route" => {
            let missing = || Fault::new(mode.at, format!("mode `{name}` has no `choose`"));
            let (node, choose) = choose?.ok_or_else(missing)?;
            reader.names.check_choice(choose.as_str(), node.at);
            if let Some(name) = constant(&choose) {
                one_of(node, &name, members, ("choice", "members"))?;
            }
            Ok(TeamMode::Route { choose })
        }
        _ => coordinate(reader, options, members),
    }
}

fn coordinate(
    reader: &mut Reader<'_>,
    options: &Table<'_>,
    members: &Node,
) -> Result<TeamMode, Fault> {
    let need = |key| options.need(key, "mode `coordinate`");
    let leader = need("leader")
        .and_then(|leader| one_of(leader, text(leader)?, members, ("leader", "members")));
    let max = need("max").and_then(|max| count(max, "max", 1));
    reader.names.add_variable("output");
    let delegate = options.read("delegate", |node| expression(reader, node));
    // Of two faults the second is noted first.
    let counts = both(reader, max, leader);
    let ((max, leader), delegate) = both(reader, counts, delegate)?;
    let delegate = delegate
        .unwrap_or_else(|| Expression::new("output.delegate if output is mapping else none"));
    Ok(TeamMode::Coordinate { leader, delegate, max })
}

pub(super) fn component(
    reader: &mut Reader<'_>,
    step: &Table<'_>,
    node: &Node,
) -> Result<Action, Fault> {
    let input = input(reader, step);
    let input = reader.noted(input);
    let name = text(node)?;
    if name.trim().is_empty() {
        let message = "empty name of a component; expected an id, or a kind and an id";
        return Err(Fault::new(node.at, message));
    }
    let origin = reader.origin(node.at);
    Ok(Action::Component(ComponentStep { component: name.into(), input, origin }))
}

pub(super) fn workflow(
    reader: &mut Reader<'_>,
    step: &Table<'_>,
    node: &Node,
    level: usize,
) -> Result<Action, Fault> {
    let input = input(reader, step);
    let input = reader.noted(input);
    if let Value::Text(_) = node.value {
        return Err(wrong_type(node, PLAN_WITHIN).of("workflow"));
    }
    reader.names.enter_closed();
    let plan = reader.plan(node, level);
    reader.names.leave();
    Ok(Action::Workflow(WorkflowStep { workflow: Arc::new(plan?), input }))
}

/// Finds a key that stands beside the options of a step. That it is not there is a consequence if
/// it stands in them.
fn beside<'a>(step: &Table<'a>, options: &Node, key: &str, owner: &str) -> Result<&'a Node, Fault> {
    let is_inside =
        || table(options).is_ok_and(|all| all.iter().any(|(found, _)| found.name == key));
    step.need(key, owner).map_err(|fault| Fault { is_consequence: is_inside(), ..fault })
}

/// Reports both faults of two results: notes one, and yields the other.
fn both<A, B>(
    reader: &mut Reader<'_>,
    one: Result<A, Fault>,
    other: Result<B, Fault>,
) -> Result<(A, B), Fault> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(fault), Err(other)) => {
            reader.note(other);
            Err(fault)
        }
        (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => Err(fault),
    }
}

/// Reads an expression, and checks that its names are known here.
pub(super) fn expression(reader: &Reader<'_>, node: &Node) -> Result<Expression, Fault> {
    let text = match &node.value {
        Value::Text(text) => text,
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        _ => return Err(wrong_type(node, "an expression, which is a string")),
    };
    check_len(node, text)?;
    reader.names.check(text, node.at)?;
    Ok(Expression::new(text))
}

/// Checks a text that may be a template, and tells whether it is one.
pub(super) fn check_template(reader: &Reader<'_>, node: &Node, text: &str) -> Result<bool, Fault> {
    if text.contains("{%") && text.contains("%}") {
        let message = "there are no statements: `{% … %}` stays as it is; expected `{{ … }}`, or \
                       a step with `if`";
        reader.names.warn(node.at, message.to_owned());
    }
    if !expression::is_template(text) {
        return Ok(false);
    }
    check_len(node, text)?;
    reader.names.check_template(text, node.at)?;
    Ok(true)
}

fn check_len(node: &Node, text: &str) -> Result<(), Fault> {
    let (bytes, max) = (text.len(), limits::EXPRESSION_BYTES_MAX);
    if bytes <= max {
        return Ok(());
    }
    Err(Fault::new(node.at, format!("expression has {bytes} bytes; expected at most {max}")))
}

/// Reads the input of a component or a plan, whose texts may be templates.
fn input(reader: &mut Reader<'_>, step: &Table<'_>) -> Result<Option<Payload>, Fault> {
    let Some(node) = step.get("input") else { return Ok(None) };
    let mut nodes = vec![node];
    while let Some(node) = nodes.pop().filter(|_| !reader.is_full()) {
        match &node.value {
            Value::Text(text) => {
                if let Err(fault) = check_template(reader, node, text) {
                    reader.note(fault.of("input"));
                }
            }
            Value::List(items) => nodes.extend(items),
            Value::Table(entries) => nodes.extend(entries.iter().map(|(_, value)| value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    node.to_payload().map(Some).map_err(|error| Fault::new(node.at, error.to_string()))
}

/// Yields the text of an expression that reads nothing, and so always has the same value.
fn constant(expression: &Expression) -> Option<String> {
    let value = expression.eval(&().into()).ok()?;
    value.as_str().map(str::to_owned)
}

/// Finds the name of a step in a list, also of one that has a fault. A list without names has
/// faults of its own.
fn one_of(
    node: &Node,
    name: &str,
    list: &Node,
    (what, of): (&str, &str),
) -> Result<Arc<str>, Fault> {
    let written = || steps(list, of).unwrap_or_default().iter().filter_map(name_of);
    let is_there = written().any(|known| known == name) || written().next().is_none();
    is_there.then(|| name.into()).ok_or_else(|| {
        let names: Vec<String> = written().map(excerpt).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut fault = unknown(node.at, what, name, &names);
        if !fault.message.ends_with('?') {
            fault.message.extend([" of `", of, "`"]);
        }
        fault
    })
}

/// What a `workflow` is, in the place of a text.
const PLAN_WITHIN: &str = "a plan, a table with its `name` and `steps`; one in a file is run as a \
                           `component`, which quell.toml names";

pub(super) const LOOP_KEYS: [&str; 4] = ["count", "until", "max", "on_max"];

const ON_MAX: [(&str, OnMax); 2] = [("fail", OnMax::Fail), ("accept", OnMax::Accept)];

pub(super) const TEAM_KEYS: [&str; 7] =
    ["mode", "choose", "leader", "delegate", "max", "on_member_failed", "on_member_stopped"];

const ON_MEMBER: [(&str, OnMember); 2] = [("go_on", OnMember::GoOn), ("fail", OnMember::Fail)];

pub(super) const TEAM_MODES: [&str; 4] = ["broadcast", "route", "sequence", "coordinate"];

const TEAM_GOES_WITH: [(&str, &str); 4] = [
    ("choose", "route"),
    ("leader", "coordinate"),
    ("delegate", "coordinate"),
    ("max", "coordinate"),
];
