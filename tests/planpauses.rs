//! I24, I34: plans that are paused, or had their answer, when their process ends.

use std::future::pending;
use std::sync::{Arc, Mutex};

use quell::store::{MemoryStore, RunRecord, Store};
use quell::{
    Engine, Failure, Payload, Recovery, RunContext, RunId, RunRef, RunStatus, Shutdown, Usage,
};
use quell_flow::{Catalog, CommandStep, LinkedPlan, Plan, PlanPast, Runner};

use crate::support::{Flow, Valve, durable, within};

/// Yields the words of a command, and hears of each. `use` uses tokens, and `hang` never ends.
#[derive(Clone, Default)]
struct Says(Arc<Mutex<Vec<String>>>);

impl Runner for Says {
    async fn run(&self, ctx: RunContext, step: CommandStep) -> Result<Payload, Failure> {
        let words = step.command.join(" ");
        self.0.lock().unwrap().push(words.clone());
        if words.starts_with("use") {
            ctx.usage(Usage { input_tokens: 12, output_tokens: 3, cost_micros: 40 });
        }
        if words == "hang" { pending().await } else { Ok(words.into()) }
    }
}

impl Says {
    fn said(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn plan(yaml: &str) -> LinkedPlan {
    Plan::from_yaml(yaml).unwrap().link(&Catalog::new()).unwrap()
}

/// One process after the other on the same store.
struct Processes {
    store: Arc<MemoryStore>,
    /// How the last one gets to it.
    valve: Arc<Valve>,
    plan: LinkedPlan,
    boot: u32,
    run: RunId,
}

/// What one of them does.
struct Process {
    engine: Engine,
    says: Says,
    run: RunRef,
}

impl Processes {
    /// Begins a run of a plan in the first process.
    fn begin(yaml: &str) -> (Self, Process) {
        let (store, plan, says) = (Arc::new(MemoryStore::new()), plan(yaml), Says::default());
        let valve = Valve::reopened(&store, 1);
        let engine = durable(&valve);
        let body = plan.clone().recorded(PlanPast::default(), says.clone());
        let run = engine.submit_resumable(plan.recorded_spec(), body).unwrap().into_ref();
        (Self { store, valve, plan, boot: 1, run: run.id() }, Process { engine, says, run })
    }

    async fn record(&self) -> RunRecord {
        self.store.get(self.run).await.unwrap().unwrap()
    }

    /// Lets the process be one that was killed, which stores nothing more, and goes on with the run
    /// in the next one.
    async fn next(&mut self, before: Process) -> Process {
        let _: &'static mut Engine = Box::leak(Box::new(before.engine));
        self.valve.set(Flow::Shut { stops: true });
        self.boot += 1;
        self.valve = Valve::reopened(&self.store, self.boot);
        let engine = durable(&self.valve);
        let past = PlanPast::read(&*self.store, &self.plan, &self.record().await).await.unwrap();
        let (says, spec) = (Says::default(), self.plan.recorded_spec());
        let attempt = self.plan.clone().recorded(past, says.clone());
        let mut how = Some(Recovery::resumable(spec, move |ctx| {
            let ended = attempt(ctx);
            async { ended.await.map(drop) }
        }));
        let recovered = engine.recover(|_| how.take().unwrap_or(Recovery::Fail)).await.unwrap();
        let run = recovered.paused.into_iter().chain(recovered.resumed).next().unwrap();
        Process { engine, says, run }
    }
}

impl Process {
    /// Waits until the run asks, and yields the step that does.
    async fn asked(&self) -> String {
        let request = within("it asks", self.run.paused()).await.unwrap();
        request.parse::<serde_json::Value>().unwrap()["step"].as_str().unwrap().to_owned()
    }

    async fn answer(&self, answer: &str) {
        within("it is stored", self.run.resume_durably(answer)).await.unwrap();
    }

    /// Waits for the end, and yields the output.
    async fn output(&self) -> String {
        let report = within("it ends", self.run.ended()).await;
        assert_eq!(report.status, RunStatus::Completed, "{report:?}");
        report.output.clone().unwrap().as_json().to_owned()
    }
}

#[tokio::test]
async fn a_question_within_other_steps_is_answered_in_a_later_process_and_nothing_runs_twice() {
    let (mut processes, first) = Processes::begin(
        "
name: p
steps:
- { name: a, run: [one] }
- name: rounds
  loop: { count: 2 }
  steps:
  - { name: b, run: [round, '{{ index }}'] }
  - name: choice
    if: steps.b.output == 'round 2'
    then:
    - name: inner
      workflow:
        name: nested
        steps: [{ name: c, run: [two] }, { name: ok, wait: go? },
          { name: d, run: [got, '{{ steps.ok.output }}'] }]
on_failure: [{ name: tell, run: [failed] }]
",
    );
    assert_eq!(first.asked().await, "ok");
    assert_eq!(first.says.said(), ["one", "round 1", "round 2", "two"]);
    // The next one is lost while it waits.
    let second = processes.next(first).await;
    assert_eq!(second.asked().await, "ok");
    let third = processes.next(second).await;
    assert_eq!(third.asked().await, "ok");
    assert_eq!(processes.record().await.status, RunStatus::Paused);
    third.answer("ada").await;
    let output = third.output().await;
    assert_eq!(third.says.said(), ["got ada"]);
    let inner = r#""inner":{"c":"two","ok":"ada","d":"got ada"}"#;
    assert!(output.contains(inner), "{output}");
    assert!(output.starts_with(r#"{"a":"one","#), "{output}");
}

#[tokio::test]
async fn an_answer_that_was_acknowledged_is_never_asked_for_again_and_answers_no_other_question() {
    let (mut processes, first) = Processes::begin(
        "
name: p
steps:
- { name: ok, wait: go? }
- { name: a, run: [got, '{{ steps.ok.output }}'] }
- { name: where, wait: to whom? }
- { name: b, run: [to, '{{ steps.where.output }}'] }
",
    );
    assert_eq!(first.asked().await, "ok");
    first.answer("yes").await;
    // It is lost before, while or after the rest runs: all of it is the same to the next one.
    let second = processes.next(first).await;
    assert_eq!(second.asked().await, "where");
    let third = processes.next(second).await;
    assert_eq!(third.asked().await, "where");
    third.answer("ada").await;
    let output = third.output().await;
    assert_eq!(output, r#"{"ok":"yes","a":"got yes","where":"ada","b":"to ada"}"#);
    assert_eq!(third.says.said(), ["to ada"]);
}

#[tokio::test]
async fn a_process_that_is_lost_long_after_the_answer_does_not_take_it_for_that_to_the_next_one() {
    let (mut processes, first) = Processes::begin(
        "
name: p
steps:
- { name: ok, wait: { ask: go?, approve: true } }
- name: outer
  sequence: [{ name: a, run: [one] }, { name: more, wait: { ask: more?, approve: true } }]
- { name: b, run: [hang] }
- { name: last, wait: last? }
",
    );
    assert_eq!(first.asked().await, "ok");
    first.answer("perhaps").await;
    assert_eq!(first.asked().await, "ok");
    first.answer("yes").await;
    assert_eq!(first.asked().await, "more");
    let second = processes.next(first).await;
    second.answer("what?").await;
    let third = processes.next(second).await;
    assert_eq!(third.asked().await, "more");
    third.answer("yes").await;
    while third.says.said() != ["hang"] {
        tokio::task::yield_now().await;
    }
    let fourth = processes.next(third).await;
    while fourth.says.said() != ["hang"] {
        tokio::task::yield_now().await;
    }
    assert_eq!(fourth.run.status(), RunStatus::Running);
    fourth.engine.shutdown(Shutdown::default()).await;
}

#[tokio::test]
async fn an_answer_that_was_acknowledged_outlives_a_pause_that_a_client_asks_for_next() {
    let (mut processes, first) = Processes::begin(
        "
name: p
steps:
- { name: ok, wait: { ask: go?, approve: true } }
- { name: a, run: [got, '{{ steps.ok.output }}'] }
",
    );
    assert_eq!(first.asked().await, "ok");
    // Nothing is polled between the two: the pause is there before the next attempt begins.
    first.run.resume("yes").unwrap();
    first.run.pause("later").unwrap();
    let asked = within("it is paused", first.run.paused()).await.unwrap();
    assert_eq!(asked.as_text().as_deref(), Some("later"));
    assert_eq!(first.says.said(), [""; 0]);
    while processes.record().await.status != RunStatus::Paused
        || processes.record().await.paused.unwrap().asked_by.is_some()
    {
        tokio::task::yield_now().await;
    }
    let second = processes.next(first).await;
    second.answer("go on").await;
    assert_eq!(second.output().await, r#"{"ok":true,"a":"got true"}"#);
}

#[tokio::test]
async fn a_pause_that_a_client_asks_for_is_no_question_of_the_plan_whatever_it_says() {
    let (mut processes, first) = Processes::begin(
        "
name: p
steps:
- { name: ok, wait: { ask: go?, approve: true } }
- { name: a, run: [got, '{{ steps.ok.output }}'] }
",
    );
    first.run.pause(Payload::from_json_text(r#"{"place":"/ok"}"#).unwrap()).unwrap();
    within("it is paused", first.run.paused()).await.unwrap();
    while processes.record().await.status != RunStatus::Paused {
        tokio::task::yield_now().await;
    }
    let second = processes.next(first).await;
    second.answer("yes").await;
    assert_eq!(second.asked().await, "ok");
    assert_eq!(second.says.said(), [""; 0]);
}

#[tokio::test]
async fn a_plan_that_goes_on_in_a_later_process_has_the_rows_and_the_usage_of_all_its_steps() {
    let (mut processes, first) = Processes::begin(
        "
name: p
steps:
- { name: a, run: [use, some] }
- { name: ok, wait: go? }
- { name: b, run: [use, more] }
",
    );
    let told = |process: &Process| {
        let report = process.run.report();
        let rows = report.rows.iter().map(|row| (row.name.to_string(), row.usage.input_tokens));
        rows.collect::<Vec<_>>()
    };
    let row = |name: &str, used| (name.to_owned(), used);
    assert_eq!(first.asked().await, "ok");
    assert_eq!(told(&first), [row("p", 12), row("a", 12)]);
    let second = processes.next(first).await;
    assert_eq!(told(&second), [row("p", 12), row("a", 12)]);
    second.answer("yes").await;
    second.output().await;
    assert_eq!(told(&second), [row("p", 24), row("a", 12), row("ok", 0), row("b", 12)]);
}
