//! Plans with mistakes in them: no message about one shows a secret.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use super::keys::{BRANCH_KEYS, PLAN_KEYS};
use super::tree::{self, Node};
use super::{json, text, toml, yaml};
use crate::plan::document::Plan;
use crate::plan::format::PlanFormat;

/// What may not be shown: no word of plans, and of several words itself.
const SECRET: &str = "hush-2hUsh q";

/// The format of a text; those of YAML in brackets and in lines, of TOML in lines and with headers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Written {
    Json,
    Lines,
    Brackets,
    Toml,
    Headers,
}

/// How the secret is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Style {
    Plain,
    /// In lines of its own, behind one of these.
    Block(&'static str),
    /// In quotes, behind an empty line.
    Quoted,
}

impl Written {
    const ALL: [Self; 5] = [Self::Json, Self::Lines, Self::Brackets, Self::Toml, Self::Headers];

    const fn format(self) -> PlanFormat {
        match self {
            Self::Json => PlanFormat::Json,
            Self::Lines | Self::Brackets => PlanFormat::Yaml,
            Self::Toml | Self::Headers => PlanFormat::Toml,
        }
    }

    fn write(self, plan: &Value, style: Style) -> String {
        let Value::Object(entries) = plan else { return String::new() };
        let toml = |entry| toml_line(entry, style);
        match self {
            Self::Json => serde_json::to_string_pretty(plan).unwrap(),
            Self::Brackets => in_brackets(plan, ": ", style),
            Self::Lines => in_lines(plan, 0, style),
            Self::Toml => entries.iter().map(toml).collect(),
            Self::Headers => {
                let (steps, rest): (Vec<_>, Vec<_>) =
                    entries.iter().partition(|(key, _)| *key == "steps");
                let steps = steps.iter().filter_map(|(_, steps)| steps.as_array()).flatten();
                let steps = steps.filter_map(|step| Some(with_headers(step.as_object()?, style)));
                rest.into_iter().map(toml).chain(steps).collect()
            }
        }
    }
}

/// Writes a step below its header, and its tables below theirs.
fn with_headers(step: &Map<String, Value>, style: Style) -> String {
    let (tables, rest): (Vec<_>, Vec<_>) = step.iter().partition(|(_, value)| value.is_object());
    let rest = rest.into_iter().map(|entry| toml_line(entry, style)).collect::<String>();
    let table = |(key, table): (&String, &Value)| {
        let entries = table.as_object().into_iter().flatten();
        format!(
            "[steps.{key}]\n{}",
            entries.map(|entry| toml_line(entry, style)).collect::<String>()
        )
    };
    format!("[[steps]]\n{rest}{}", tables.into_iter().map(table).collect::<String>())
}

fn toml_line((key, value): (&String, &Value), style: Style) -> String {
    match style {
        Style::Plain => format!("{key} = {}\n", in_brackets(value, " = ", style)),
        _ if value == SECRET => format!("{key} = \"\"\"\n{SECRET}\n\"\"\"\n"),
        _ => format!("{key} = {}\n", in_brackets(value, " = ", style)),
    }
}

fn in_brackets(value: &Value, sign: &str, style: Style) -> String {
    let all = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Array(items) => {
            let items = items.iter().map(|item| in_brackets(item, sign, style));
            format!("[{}]", all(items.collect()))
        }
        Value::Object(entries) => {
            let entry = |(key, value)| format!("{key}{sign}{}", in_brackets(value, sign, style));
            format!("{{ {} }}", all(entries.iter().map(entry).collect()))
        }
        text if text == SECRET && style == Style::Quoted => format!("\"\n  {SECRET}\""),
        Value::String(text) if sign == ": " && !text.contains([',', '\'']) => text.clone(),
        scalar => scalar.to_string().replace('"', "'"),
    }
}

fn in_lines(value: &Value, indent: usize, style: Style) -> String {
    let margin = " ".repeat(indent);
    match (value, style) {
        (Value::Array(items), _) => {
            let item =
                |item| format!("{margin}- {}", in_lines(item, indent + 2, style).trim_start());
            items.iter().map(item).collect()
        }
        (Value::Object(entries), _) => {
            let entry = |(key, value): (&String, &Value)| match value {
                Value::Array(_) | Value::Object(_) => {
                    format!("{margin}{key}:\n{}", in_lines(value, indent + 2, style))
                }
                scalar => format!("{margin}{key}: {}", in_lines(scalar, indent, style)),
            };
            entries.iter().map(entry).collect()
        }
        (text, Style::Block(sign)) if text == SECRET => {
            format!("{sign} # q\n{margin}  # {SECRET}\n{margin}  {SECRET}\n")
        }
        (scalar, _) => format!("{}\n", in_brackets(scalar, ": ", style)),
    }
}

/// What people write in the place of `env`.
const CONTAINERS: [&str; 8] =
    ["env", "environment", "enviroment", "variables", "vars", "secrets", "evn", "with"];

fn step() -> impl Strategy<Value = Value> {
    let env = prop::collection::btree_map("[A-Z_]{2,5}", select(vec!["b", "it", "5"]), 1..3);
    let container = prop_oneof![3 => Just("env"), 2 => select(&CONTAINERS[..])];
    let more = select(vec![
        json!({"timeout": "3s"}),
        json!({"idle": 3}),
        json!({"cwd": "c"}),
        json!({"input": "{{ input }}"}),
        json!({"input": {"a": "b"}}),
        json!({"retry": {"attempts": 2}}),
        json!({"retries": 2}),
        json!({"uses": "b"}),
        json!({"runs-on": ["b"]}),
        json!({"image": {"name": "b", "run": "c"}}),
        json!({"API_KEY": "b"}),
    ]);
    let command = (env, container, more, any::<bool>());
    let command = command.prop_map(|(env, container, more, has_shell)| {
        let run = if has_shell { json!(["x", "$(y)"]) } else { json!(["A=b", "x", "y z"]) };
        let mut step = json!({"name": "a", "run": run, container: env});
        if let (Value::Object(step), Value::Object(more)) = (&mut step, more) {
            step.extend(more);
        }
        step
    });
    command.prop_recursive(2, 6, 2, |step| {
        let steps = prop::collection::vec(step, 1..3);
        let key = prop_oneof![3 => Just("sequence"), 1 => select(vec!["steps", "tasks", "then"])];
        (steps, key).prop_map(|(steps, key)| json!({"name": "s", key: steps}))
    })
}

/// Puts the secret in the place of one scalar.
fn hide_in(value: &mut Value, nth: &mut usize) -> bool {
    match value {
        Value::Array(items) => items.iter_mut().any(|item| hide_in(item, nth)),
        Value::Object(entries) => entries.values_mut().any(|value| hide_in(value, nth)),
        scalar if *nth == 0 => {
            *scalar = json!(SECRET);
            true
        }
        _ => {
            *nth -= 1;
            false
        }
    }
}

/// A mistake in a text.
#[derive(Clone, Debug)]
enum Mistake {
    /// A character is there, or is not there, or is another one.
    Sign(Index, Option<char>, bool),
    /// A line stands elsewhere, indented by so many spaces more or less.
    Moved(Index, Index, i8),
    /// A line has a comment with the secret, or is one.
    Comment(Index, bool),
}

impl Mistake {
    fn any() -> impl Strategy<Value = Self> {
        let sign = select("::[]{},,\"\"''#-=\n\n \t|>.x&*?".chars().collect::<Vec<_>>());
        let sign = (any::<Index>(), prop::option::weighted(0.7, sign), any::<bool>());
        let moved = (any::<Index>(), any::<Index>(), -4..5_i8);
        prop_oneof![
            4 => sign.prop_map(|(at, with, is_replaced)| Self::Sign(at, with, is_replaced)),
            2 => moved.prop_map(|(from, to, by)| Self::Moved(from, to, by)),
            1 => (any::<Index>(), any::<bool>()).prop_map(|(at, is_end)| Self::Comment(at, is_end)),
        ]
    }

    fn make(&self, text: &str) -> String {
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        match self {
            Self::Sign(at, with, is_replaced) => {
                let mut chars: Vec<char> = text.chars().collect();
                let at = at.index(chars.len());
                let end = if *is_replaced { at + 1 } else { at };
                chars.splice(at..end, *with);
                return chars.into_iter().collect();
            }
            Self::Moved(from, to, by) => {
                let line = lines.remove(from.index(lines.len()));
                let to = to.index(lines.len() + 1);
                let text = line.trim_start_matches(' ');
                let indent = (line.len() - text.len()).saturating_add_signed((*by).into());
                lines.insert(to, " ".repeat(indent) + text.trim_end() + "\n");
            }
            Self::Comment(at, is_end) => {
                let at = at.index(lines.len());
                let line = if *is_end { lines.remove(at) } else { String::new() };
                lines.insert(at, format!("{} # {SECRET}\n", line.trim_end()));
            }
        }
        lines.concat()
    }
}

/// Tells whether the secret stands where messages may show it: below keys that plans have, but for
/// those whose values may be secrets, or as a key with a value, which may be the name of a
/// variable.
fn may_be_shown(node: &Node, is_known: bool) -> bool {
    let has_secret = |text: &str| text.contains("hush") || text.contains("2hUsh");
    let keys = PLAN_KEYS.iter().chain(&BRANCH_KEYS).chain(&["attempts"]);
    let is_of_plans =
        |key: &str| !["env", "input"].contains(&key) && keys.clone().any(|it| *it == key);
    match &node.value {
        tree::Value::Text(text) => is_known && has_secret(text),
        tree::Value::List(items) => items.iter().any(|item| may_be_shown(item, is_known)),
        tree::Value::Table(entries) => entries.iter().any(|(key, value)| {
            let is_key = has_secret(&key.name) && !matches!(value.value, tree::Value::Null);
            let is_text = key.name == "input" && matches!(value.value, tree::Value::Text(_));
            is_key || may_be_shown(value, is_known && (is_text || is_of_plans(&key.name)))
        }),
        _ => false,
    }
}

/// Of such texts, one in forty showed the secret when `env` was looked for in what cannot be
/// parsed.
const CASES: u32 = 4_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]
    #[test]
    fn no_message_about_a_damaged_plan_shows_a_secret(
        steps in prop::collection::vec(step(), 1..3),
        container in prop_oneof![4 => Just("steps"), 1 => select(vec!["tasks", "setps", "x"])],
        written in select(&Written::ALL[..]),
        style in select(vec![
            Style::Plain, Style::Plain, Style::Block("|"), Style::Block(">-"), Style::Quoted,
        ]),
        nth in 0..12_usize,
        mistakes in prop::collection::vec(Mistake::any(), 0..3),
    ) {
        let mut plan = json!({"name": "p", "timeout": "1m", container: steps});
        let mut nth = nth;
        hide_in(&mut plan, &mut nth);
        let plain = written.write(&plan, style);
        let text = mistakes.iter().fold(plain, |text, mistake| mistake.make(&text));
        let root = match written.format() {
            PlanFormat::Toml => toml::parse(&text),
            PlanFormat::Json => json::parse(&text),
            PlanFormat::Yaml => yaml::parse(&text),
        };
        if root.is_ok_and(|root| may_be_shown(&root, true)) {
            return Ok(());
        }
        let (plan, faults) = match text::plan(written.format(), &text, None) {
            Ok(plan) => (Some(plan), Vec::new()),
            Err(refusal) => (refusal.rest().cloned(), refusal.into_faults()),
        };
        let found = |plan: &Plan| {
            let of_commands = plan.commands().into_iter().map(|command| command.fault("no"));
            of_commands.chain(plan.warnings().iter().cloned()).collect::<Vec<_>>()
        };
        let of_plan = plan.iter().flat_map(found);
        for fault in faults.into_iter().chain(of_plan) {
            let shown = format!("{fault}\n{}", fault.snippet().unwrap_or_default());
            let has_secret = ["hush", "2hUsh"].iter().any(|part| shown.contains(part));
            prop_assert!(!has_secret, "{}\n{}", text, shown);
        }
    }
}
