use std::time::Duration;

use quell::{EngineConfig, Limits, Payload, RunKind, RunRef, RunSpec, ToolCall, ToolOutcome};
use quell_flow::Emit;
use quell_http::{NATIVE, Principal, Service, Start, View, Wait};
use serde_json::json;

use crate::support::{Witness, service, service_with, soon};

fn view(service: &Service) -> View {
    service.view(NATIVE, Principal::anonymous())
}

async fn started(view: &View, component: &str, input: Payload) -> RunRef {
    let component = view.find_component(component).unwrap();
    view.start(Start::new(component, input)).await.unwrap().run
}

#[tokio::test]
async fn text_outlives_the_ring_of_the_log() {
    let mut limits = Limits::default();
    limits.events_per_root_max = 32;
    let service = service_with(EngineConfig::new().limits(limits), &Witness::default());
    let view = view(&service);
    let run = started(&view, "talker", json!(500).into()).await;
    Wait::terminal().of(&run).await;
    let transcript = view.transcript(&run);
    let expected: Vec<_> = (0..500).map(|word| format!("{word} ")).collect();
    assert_eq!(transcript.text, expected.concat());
    assert!(!transcript.is_cut && transcript.first_text_at.is_some());
    assert_eq!(
        (transcript.run, transcript.kind, &*transcript.name),
        (run.id(), RunKind::Agent, "talker")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_are_never_behind_the_log() {
    let service = service();
    let view = view(&service);
    for _ in 0..200 {
        let run = started(&view, "talker", json!(5).into()).await;
        Wait::terminal().of(&run).await;
        assert_eq!(view.transcript(&run).text, "0 1 2 3 4 ");
    }
}

#[tokio::test]
async fn what_is_missing_is_said_to_be() {
    let mut limits = Limits::default();
    limits.events_per_root_max = 4;
    let service = service_with(EngineConfig::new().limits(limits), &Witness::default());
    let run = service.engine().submit(RunSpec::agent("loud"), async |ctx| {
        for word in 0..100 {
            Emit::content(format!("{word} ")).send(&ctx);
        }
        Ok(())
    });
    let run = run.unwrap().into_ref();
    run.ended().await;
    let transcript = view(&service).transcript(&run);
    assert!(transcript.is_cut, "nobody followed it: {}", transcript.text);
}

#[tokio::test]
async fn a_tree_has_notes_of_every_run_in_it() {
    let service = service();
    let view = view(&service);
    let run = service.engine().submit(RunSpec::team("team"), async |ctx| {
        let call = ToolCall::new("c1", "search", Payload::from("rust"));
        ctx.tool(call, async { Ok(Payload::from("found")) }).await?;
        let open = ToolCall::new("c2", "sleep", Payload::from("long"));
        let member = ctx.spawn(RunSpec::agent("member"), async |ctx| {
            let (model, provider) = ("m".to_owned(), "p".to_owned());
            Emit::ModelStarted { model: model.clone(), provider: provider.clone() }.send(&ctx);
            Emit::content("hi").send(&ctx);
            let ended = Emit::ModelEnded { model, provider, input_tokens: 3, output_tokens: 4 };
            ended.send(&ctx);
            ended.send(&ctx);
            Emit::Values { values: json!({ "log": [1] }).into() }.send(&ctx);
            Emit::Values { values: json!({ "log": [1, 2] }).into() }.send(&ctx);
            ctx.progress(0.5);
            Ok(())
        });
        member.await?;
        ctx.tool(open, std::future::pending()).await?;
        Ok(())
    });
    let run = run.unwrap().into_ref();
    soon("the second call is open", || view.transcript(&run).tools.len() == 2).await;
    let tree = view.tree_transcripts(&run);
    let names: Vec<_> = tree.iter().map(|transcript| transcript.name.to_string()).collect();
    assert_eq!(names, ["team", "member"]);
    let [team, member] = &tree[..] else { unreachable!("two were named") };
    assert_eq!(member.parent, Some(run.id()));
    assert_eq!((member.text.as_str(), team.text.as_str()), ("hi", ""));
    let model = member.model.as_ref().unwrap();
    assert_eq!((model.model.as_str(), model.input_tokens, model.output_tokens), ("m", 6, 8));
    assert_eq!(member.values, Some(json!({ "log": [1, 2] }).into()));
    assert_eq!((member.progress, view.progress(&run)), (Some(0.5), None));
    assert_eq!(team.tools[0].outcome, Some(ToolOutcome::Result(Some(Payload::from("found")))));
    assert_eq!(team.tools[1].outcome, None);

    run.cancel(quell::CancelRequest::because("enough"));
    run.ended().await;
    let tools = view.transcript(&run).tools;
    assert_eq!(tools[1].outcome, Some(ToolOutcome::Cancelled));
    assert!(tools[1].ended_at.is_some());
}

#[tokio::test]
async fn partial_text_is_there_while_the_run_goes_on() {
    let service = service();
    let view = view(&service);
    let run = started(&view, "steps", Payload::from("x")).await;
    soon("the step has spoken", || {
        view.tree_transcripts(&run)
            .last()
            .is_some_and(|transcript| transcript.text == "from the step")
    })
    .await;
    let step = run.children().remove(0);
    assert_eq!(view.transcript(&step).text, "from the step");
    let cancelled = view.cancel(
        &run,
        quell::CancelRequest::because("enough"),
        Wait::terminal().at_most(Duration::from_secs(10)),
    );
    assert!(cancelled.await.is_reached);
    assert_eq!(view.transcript(&step).text, "from the step", "and after its end");
}

// I39: what follows a run ends with it.
#[tokio::test]
async fn nothing_is_left_running_when_all_runs_have_ended() {
    let service = service();
    let view = view(&service);
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    for round in 0..50 {
        let name = if round % 2 == 0 { "sleeper" } else { "echo" };
        let run = started(&view, name, Payload::from("x")).await;
        drop(service.events(&run, 0));
        view.cancel(&run, quell::CancelRequest::because("enough"), Wait::none()).await;
    }
    soon("every task has ended", || metrics.num_alive_tasks() == before).await;
}
