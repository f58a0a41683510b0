//! [`Branches`] reads what the branches of a parallel step need of each other.
//!
//! It does so before the branches are read: a branch may name one that comes later in the text, and
//! its expressions may read the outputs of those that it needs.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::fault::Fault;
use super::fields::{meant, table, text, wrong_type};
use super::guesses::Guesses;
use super::keys::BRANCH_KEYS;
use super::reader::{Reader, name_of};
use super::shape::Shape;
use super::tree::{Node, Value};
use crate::excerpt::{excerpt, listed};
use crate::graph::{self, Reach, Walk};
use crate::limits;
use crate::plan::format::PlanFormat;

/// The branches of one parallel step.
pub(super) struct Branches {
    /// The first branch of each name.
    places: BTreeMap<Arc<str>, usize>,
    /// The names that each branch needs, as they are written.
    pub(super) needs: Vec<Arc<[Arc<str>]>>,
    /// What is known of the output of each branch; nothing if no branch needs another.
    shapes: Vec<Rc<Shape>>,
    /// Which branches come before which; none if no branch needs another.
    reach: Option<Reach>,
    /// The language of the text, for examples of what is right.
    format: PlanFormat,
}

/// A name in the `needs` of a branch.
struct Need {
    /// The branch that is meant.
    to: usize,
    /// The offset of the name in the text.
    at: usize,
    /// Whether the name is misspelt, so that another branch may be meant.
    is_guess: bool,
}

impl Branches {
    /// Reads the names, and notes the faults of each. More branches than a plan may have steps are
    /// refused later.
    pub(super) fn read(reader: &mut Reader<'_>, items: &[Node]) -> Self {
        let items = &items[..items.len().min(limits::PLAN_STEPS_MAX)];
        let names: Vec<Option<Arc<str>>> =
            items.iter().map(|item| name_of(item).map(Into::into)).collect();
        let mut places = BTreeMap::new();
        for (place, name) in names.iter().enumerate() {
            if let Some(name) = name {
                places.entry(Arc::clone(name)).or_insert(place);
            }
        }
        let (format, reach) = (reader.format, None);
        let mut branches = Self { places, needs: Vec::new(), shapes: Vec::new(), reach, format };
        let mut all: Vec<Vec<Need>> = Vec::with_capacity(items.len());
        for (place, item) in items.iter().enumerate() {
            let needs = branches.needs_of(reader, place, item);
            branches.needs.push(needs.iter().filter_map(|need| names[need.to].clone()).collect());
            all.push(needs);
        }
        if all.iter().any(|needs| !needs.is_empty()) {
            let edges: Vec<Vec<usize>> =
                all.iter().map(|needs| needs.iter().map(|need| need.to).collect()).collect();
            let walk = Walk::of(&edges, limits::PLAN_FAULTS_MAX);
            for circle in &walk.circles {
                let name = |place: usize| names[place].as_deref().unwrap_or_default();
                refuse_circle(reader, circle, &all, name);
            }
            branches.reach = Some(Reach::of(&edges, &walk));
            branches.shapes = items.iter().map(|item| reader.names.shapes.of(item)).collect();
        }
        branches
    }

    /// Reads what one branch needs.
    fn needs_of(&self, reader: &mut Reader<'_>, place: usize, item: &Node) -> Vec<Need> {
        let mut needs: Vec<Need> = Vec::new();
        let Some(node) = node_of(item) else { return needs };
        let names = match &node.value {
            Value::List(items) => Ok(items.as_slice()),
            _ => Err(wrong_type(node, "a list such as `[\"build\"]`")),
        };
        for node in reader.noted(names.map_err(|fault| fault.of("needs")).map(Some)).unwrap_or(&[])
        {
            if reader.is_full() {
                break;
            }
            let need = text(node).and_then(|name| {
                if let Some(to) = self.places.get(name).copied() {
                    return self.checked(place, &needs, Need { to, at: node.at, is_guess: false });
                }
                let (words, meant) = self.unknown(&reader.names.guesses, place, name);
                reader.note(Fault::new(node.at, words).of("needs"));
                Ok(meant.map(|to| Need { to, at: node.at, is_guess: true }))
            });
            let need = reader.noted(need.map_err(|fault| fault.of("needs")));
            needs.extend(need);
        }
        needs
    }

    /// Refuses a need of the branch itself, and one that it has.
    fn checked(&self, place: usize, before: &[Need], need: Need) -> Result<Option<Need>, Fault> {
        let name = || excerpt(self.name(need.to));
        if need.to == place {
            let message = format!("branch `{}` needs itself; expected other branches", name());
            return Err(Fault::new(need.at, message));
        }
        if before.iter().any(|known| known.to == need.to && !known.is_guess) {
            let message = format!("duplicate name `{}`; expected it once", name());
            return Err(Fault::new(need.at, message));
        }
        Ok(Some(need))
    }

    fn unknown(&self, guesses: &Guesses, place: usize, name: &str) -> (String, Option<usize>) {
        let others = || self.places.iter().filter(|(_, other)| **other != place);
        let known = || others().map(|(name, _)| &**name);
        let found = excerpt(name);
        if let Some(meant) = guesses.guess(name, known()) {
            let words = format!("unknown branch `{found}`; did you mean `{}`?", excerpt(meant));
            return (words, self.places.get(meant).copied());
        }
        let right = match listed(known()) {
            none if none.is_empty() => "there is no other branch beside this one".to_owned(),
            known => format!("expected one of {known}"),
        };
        (format!("unknown branch `{found}`; {right}"), None)
    }

    fn name(&self, place: usize) -> &str {
        let found = self.places.iter().find(|(_, other)| **other == place);
        found.map_or("", |(name, _)| name)
    }

    /// Yields what is known of the output of another branch, if a branch may read it: that branch
    /// has completed before this one starts.
    pub(super) fn readable_shape(&self, branch: usize, name: &str) -> Option<&Shape> {
        let to = self.places.get(name).filter(|to| self.comes_before(**to, branch))?;
        self.shapes.get(*to).map(|shape| &**shape)
    }

    /// Lists the branches whose outputs a branch may read, with what is known of these.
    pub(super) fn readable(&self, branch: usize) -> impl Iterator<Item = (&str, &Shape)> {
        let readable = self.places.iter().filter(move |(_, to)| self.comes_before(**to, branch));
        readable.filter_map(|(name, to)| Some((&**name, &**self.shapes.get(*to)?)))
    }

    /// Says why a branch may not read the output of another; none if there is no such branch.
    pub(super) fn right_for(&self, branch: usize, name: &str) -> Option<String> {
        let to = *self.places.get(name)?;
        if to == branch {
            return Some("it is the branch itself".to_owned());
        }
        if self.comes_before(branch, to) {
            return Some("it starts after this branch".to_owned());
        }
        let quoted = serde_json::Value::from(excerpt(name));
        let right = match self.format {
            PlanFormat::Toml => format!("needs = [{quoted}]"),
            PlanFormat::Json => format!("\"needs\": [{quoted}]"),
            PlanFormat::Yaml => format!("needs: [{quoted}]"),
        };
        Some(format!("it runs beside this branch; expected `{right}`, so that it runs before"))
    }

    /// Tells whether a branch is one that another needs, directly or through others.
    fn comes_before(&self, branch: usize, other: usize) -> bool {
        self.reach.as_ref().is_some_and(|reach| reach.has(other, branch))
    }
}

/// Finds what a branch needs, also below a key that is misspelt.
fn node_of(item: &Node) -> Option<&Node> {
    let entries = table(item).ok()?;
    let is_meant =
        |name: &str| !BRANCH_KEYS.contains(&name) && meant(name, &BRANCH_KEYS) == Some("needs");
    let found = entries.iter().find(|(key, _)| key.name == "needs");
    let found = found.or_else(|| entries.iter().find(|(key, _)| is_meant(&key.name)));
    found.map(|(_, node)| node)
}

/// Notes the fault of a circle, at the name that closes it.
fn refuse_circle<'a>(
    reader: &mut Reader<'_>,
    circle: &[usize],
    all: &[Vec<Need>],
    name: impl Fn(usize) -> &'a str,
) {
    let next = circle.iter().cycle().skip(1);
    let needs = circle
        .iter()
        .zip(next)
        .filter_map(|(from, to)| all[*from].iter().find(|need| need.to == *to));
    let is_consequence = needs.clone().any(|need| need.is_guess);
    let Some(closing) = needs.last() else { return };
    let shown = excerpt(&graph::shown(circle, name));
    let message = format!("branches would wait for each other: `{shown}`; expected no circle");
    reader.note(Fault { is_consequence, ..Fault::new(closing.at, message) }.of("needs"));
}
