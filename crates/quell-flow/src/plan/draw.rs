//! [`Plan`] displays as a tree of its steps.

use std::fmt;
use std::sync::Arc;

use super::{Action, Cleanup, Plan, PlanPolicy, PlanStep, TeamMode};
use crate::excerpt::excerpt;

/// Displays as a tree: a line per step, with its action and its times.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}{}",
            excerpt(&self.name),
            times(&[("timeout", self.timeout), ("grace", self.grace)])
        )?;
        let mut parts = vec![Part::Steps(&self.steps)];
        parts.extend(cleanup(&self.cleanup));
        draw(f, &parts, "")
    }
}

/// What is drawn below a line.
enum Part<'a> {
    Steps(&'a Arc<[PlanStep]>),
    Named(&'static str, &'a Arc<[PlanStep]>),
    Plan(&'a Plan),
}

fn cleanup(cleanup: &Cleanup) -> impl Iterator<Item = Part<'_>> {
    let both = [("on_failure", &cleanup.on_failure), ("on_stop", &cleanup.on_stop)];
    let there = both.into_iter().filter(|(_, steps)| !steps.is_empty());
    there.map(|(name, steps)| Part::Named(name, steps))
}

/// Draws parts below a line. Recurses once per level of steps; the depth of a plan is bounded.
fn draw(f: &mut fmt::Formatter<'_>, parts: &[Part<'_>], margin: &str) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        match part {
            Part::Steps(steps) => {
                for (at, step) in steps.iter().enumerate() {
                    draw_step(f, step, margin, is_last && at + 1 == steps.len())?;
                }
            }
            Part::Named(name, steps) => {
                let below = line(f, margin, is_last, name)?;
                draw(f, &[Part::Steps(steps)], &below)?;
            }
            Part::Plan(plan) => {
                let below = line(f, margin, is_last, &format!("workflow {}", excerpt(&plan.name)))?;
                let mut parts = vec![Part::Steps(&plan.steps)];
                parts.extend(cleanup(&plan.cleanup));
                draw(f, &parts, &below)?;
            }
        }
    }
    Ok(())
}

fn draw_step(
    f: &mut fmt::Formatter<'_>,
    step: &PlanStep,
    margin: &str,
    is_last: bool,
) -> fmt::Result {
    let own = [("timeout", step.timeout), ("grace", step.grace), ("idle", step.idle)];
    let retry = step.retry.map(|retry| format!(", {} attempts", retry.attempts));
    let words = format!(
        "{}: {}{}{}{}",
        excerpt(&step.name),
        does(&step.action),
        needs(&step.needs),
        retry.unwrap_or_default(),
        times(&own),
    );
    let below = line(f, margin, is_last, &words)?;
    let mut parts: Vec<Part<'_>> = match &step.action {
        Action::Workflow(inside) => vec![Part::Plan(&inside.workflow)],
        Action::If(inside) => {
            let both = [("then", &inside.then), ("else", &inside.otherwise)];
            let there = both.into_iter().filter(|(_, steps)| !steps.is_empty());
            there.map(|(name, steps)| Part::Named(name, steps)).collect()
        }
        action => action.parts().into_iter().map(|(_, steps)| Part::Steps(steps)).collect(),
    };
    parts.extend(cleanup(&step.cleanup));
    draw(f, &parts, &below)
}

/// Writes one line, and yields the margin of the lines below it.
fn line(
    f: &mut fmt::Formatter<'_>,
    margin: &str,
    is_last: bool,
    words: &str,
) -> Result<String, fmt::Error> {
    let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    writeln!(f, "{margin}{branch}{words}")?;
    Ok(format!("{margin}{below}"))
}

fn does(action: &Action) -> String {
    match action {
        Action::Run(run) => format!("run {}", excerpt(&run.command.join(" "))),
        Action::Sequence(_) => "sequence".into(),
        Action::Parallel(step) => {
            let limit = step.options.limit.map(|limit| format!(", limit {limit}"));
            format!("parallel {}{}", policy(&step.options.policy), limit.unwrap_or_default())
        }
        Action::Loop(step) => match &step.options.until {
            Some(until) => {
                let max = step.options.max;
                format!("loop until {}, {max} rounds at most", excerpt(until.as_str()))
            }
            None => format!("loop {} rounds", step.options.max),
        },
        Action::If(step) => format!("if {}", excerpt(step.condition.as_str())),
        Action::Route(step) => {
            let otherwise = step.otherwise.as_ref().map(|name| format!(", or {}", excerpt(name)));
            format!("route {}{}", excerpt(step.route.as_str()), otherwise.unwrap_or_default())
        }
        Action::Team(step) => match &step.team.mode {
            TeamMode::Route { choose } => format!("team route {}", excerpt(choose.as_str())),
            TeamMode::Coordinate { leader, .. } => {
                format!("team coordinate, led by {}", excerpt(leader))
            }
            mode => format!("team {mode}"),
        },
        Action::Component(step) => format!("component {}", excerpt(&step.component)),
        Action::Workflow(_) => "workflow".into(),
        Action::Wait(step) => {
            let options = &step.options;
            let expires = times(&[("expires", options.expires)]);
            let what = if options.approve { "wait for approval" } else { "wait" };
            format!("{what}: {}{expires}", excerpt(&options.ask))
        }
    }
}

fn needs(names: &[Arc<str>]) -> String {
    let names: Vec<String> = names.iter().map(|name| excerpt(name)).collect();
    if names.is_empty() { String::new() } else { format!(", after {}", names.join(" and ")) }
}

fn policy(policy: &PlanPolicy) -> String {
    match policy {
        PlanPolicy::Until { until } => format!("until {}", excerpt(until.as_str())),
        named => named.to_policy().name().to_owned(),
    }
}

fn times(times: &[(&str, Option<std::time::Duration>)]) -> String {
    let named = times.iter().filter_map(|(name, time)| {
        Some(format!("{name} {}", humantime::format_duration((*time)?)))
    });
    let named: Vec<String> = named.collect();
    if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) }
}
