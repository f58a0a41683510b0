//! Teams whose leader hands out tasks in rounds: [`Team::led_by`], and [`rounds`] for any leader.

use std::num::NonZeroUsize;
use std::sync::Arc;

use quell::{Failure, Payload, RunContext};
use serde::Serialize;
use serde_json::{Value, json};

use super::builder::Team;
use super::delegate::Members;
use crate::catalog::Component;
use crate::excerpt::excerpt;

/// Tasks, each with the name of the member that it is for.
pub(crate) type Tasks = Vec<(String, Payload)>;

impl Team {
    /// Makes a team that is led by a component. It is asked in rounds, at most `max` of them, with
    /// the object `{ task, results, round }`: the task of the team, a list of
    /// `{ member, result }` with what became of the last tasks, and the number of the round,
    /// from 1.
    ///
    /// What it yields as `delegate`, a list of `{ member, task }`, is done at once by those members
    /// and answered in the next round; an output that is a text may be such an object as JSON, as
    /// models write it. Its first output without tasks is the output of the team. The team fails if
    /// there is none in the last round, and if the leader fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::num::NonZeroUsize;
    /// use std::sync::Arc;
    /// use quell::{Engine, Payload};
    /// use quell_flow::{Component, Team};
    /// use serde_json::{Value, json};
    ///
    /// let chief = Component::agent("chief", async |_ctx, asked: Payload| {
    ///     let asked: Value = asked.parse()?;
    ///     let task = json!({ "member": "writer", "task": asked["task"] });
    ///     let answer = &asked["results"][0]["result"];
    ///     Ok(if answer.is_null() { json!({ "delegate": [task] }) } else { answer.clone() }.into())
    /// });
    /// let max = NonZeroUsize::new(3).unwrap();
    /// let desk = Team::led_by("desk", &Arc::new(chief), max)
    ///     .member("writer", async |_ctx, _task| Ok(Payload::from("once upon a time")));
    /// let desk = Arc::new(desk.into_component());
    /// let engine = Engine::new();
    /// let run = desk.start(&engine, desk.spec(), Payload::from("a story")).unwrap();
    /// assert!(run.await.unwrap().as_json().contains("once upon a time"));
    /// # });
    /// ```
    pub fn led_by(id: impl Into<String>, leader: &Arc<Component>, max: NonZeroUsize) -> Self {
        let leader = Arc::clone(leader);
        Self::coordinate(id, move |ctx, task, members| {
            let leader = Arc::clone(&leader);
            async move {
                let name = leader.id().to_owned();
                let ask = |round, results| {
                    ask(Arc::clone(&leader), ctx.clone(), task.clone(), results, round)
                };
                rounds(&name, max.get(), &members, ask).await
            }
        })
    }
}

/// Asks a leader until it hands out no more tasks, and yields its last output. It is asked with the
/// number of the round, from 1, and the results of the tasks before.
pub(crate) async fn rounds<F>(
    leader: &str,
    max: usize,
    members: &Members,
    mut ask: impl FnMut(usize, Payload) -> F,
) -> Result<Payload, Failure>
where
    F: Future<Output = Result<(Payload, Tasks), Failure>>,
{
    let mut results = Payload::from(Value::Array(Vec::new()));
    for round in 1..=max {
        let (output, tasks) = ask(round, results).await?;
        if tasks.is_empty() {
            return Ok(output);
        }
        let answers = members.ask_each(tasks).await?;
        let answers = answers.iter();
        let answers = answers.map(|one| json!({ "member": &*one.member, "result": one.to_json() }));
        results = Payload::from(answers.collect::<Value>());
    }
    Err(Failure::new(format!(
        "leader `{}` has not come to an end in {max} rounds",
        excerpt(leader)
    )))
}

/// Reads tasks from a list of `{ member, task }`; null is an empty list. None if it is neither.
pub(crate) fn tasks(list: Value) -> Option<Tasks> {
    let items = match list {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        _ => return None,
    };
    let read = |mut item: Value| {
        let name = item.get("member")?.as_str()?.to_owned();
        Some((name, Payload::from(item.get_mut("task").map(Value::take).unwrap_or_default())))
    };
    items.into_iter().map(read).collect()
}

/// Asks a component that leads.
async fn ask(
    leader: Arc<Component>,
    ctx: RunContext,
    task: Payload,
    results: Payload,
    round: usize,
) -> Result<(Payload, Tasks), Failure> {
    let input = Payload::json(&Asked { task: &task, results: &results, round })?;
    let output = leader.spawn(&ctx, leader.spec(), input).await?;
    let delegate = delegate(output.parse().unwrap_or_default());
    let wrong = "`delegate` of the leader is no list of `{ member, task }`";
    let tasks = tasks(delegate).ok_or_else(|| Failure::new(wrong))?;
    Ok((output, tasks))
}

/// Yields what an output of the leader hands out, null if it is nothing.
fn delegate(output: Value) -> Value {
    let output = match output {
        // What is no JSON is an answer in words.
        Value::String(text) => serde_json::from_str(text.trim()).unwrap_or_default(),
        output => output,
    };
    match output {
        Value::Object(mut output) => output.remove("delegate").unwrap_or_default(),
        _ => Value::Null,
    }
}

#[derive(Serialize)]
struct Asked<'a> {
    task: &'a Payload,
    results: &'a Payload,
    round: usize,
}
