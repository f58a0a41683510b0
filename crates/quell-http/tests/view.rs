use std::time::Duration;

use quell::{CancelRequest, Disposition, EngineConfig, Payload, RunFilter, RunSpec};
use quell_flow::{ComponentKind, Contract};
use quell_http::{
    NATIVE, OnDisconnect, Principal, SESSION, Service, Start, StartError, View, Wait,
    disposition_name, external_id, parse_id, same_id,
};

use crate::support::{Witness, service, service_with, soon};

async fn start(view: &View, component: &str, id: &str) -> Result<quell::RunRef, StartError> {
    let component = view.find_component(component).unwrap();
    let start = Start::new(component, Payload::from("x")).id(id).session("team-1");
    view.start(start).await.map(|started| started.run)
}

fn open(service: &Service, contract: Contract) -> View {
    service.view(contract, Principal::anonymous())
}

#[tokio::test]
async fn any_text_is_an_id_and_comes_back_as_it_was() {
    let service = service();
    let view = open(&service, NATIVE);
    for text in [
        "my-run",
        "ABCDEF00-0000-4000-8000-00000000000A",
        "abcdef0000004000800000000000000b",
        "Größe 7 / ☃",
        "../../etc/passwd",
        "x",
    ] {
        let run = start(&view, "sleeper", text).await.unwrap();
        assert_eq!(external_id(&run), text);
        assert_eq!(view.run(text), Some(run.clone()));
        assert_eq!(view.run(&run.id().to_string()), Some(run.clone()));
        assert_eq!(service.external_id(run.id()), text);
    }
    let plain = "abcdef00-0000-4000-8000-00000000000c";
    let run = start(&view, "sleeper", plain).await.unwrap();
    assert_eq!((external_id(&run), run.label("external_id")), (plain.into(), None));
    // The same UUID spelt otherwise is the same id.
    let upper = plain.to_uppercase();
    let error = start(&view, "sleeper", &upper).await.unwrap_err();
    assert_eq!(error, StartError::IdInUse(upper.clone()));
    assert!(same_id(plain, &upper) && !same_id(plain, "x") && same_id("x", "x"));
    for bad in ["", ".", "..", " ", " a", "a ", "a\nb", "\u{7f}", &"x".repeat(129)] {
        assert!(parse_id(bad).is_err(), "{bad:?}");
        assert_eq!(view.run(bad), None);
        assert!(matches!(start(&view, "sleeper", bad).await, Err(StartError::BadId(_))));
    }
}

#[tokio::test]
async fn a_contract_sees_the_components_it_exposes_and_their_runs() {
    let service = service();
    let (native, agentos) = (open(&service, NATIVE), open(&service, Contract::named("agentos")));
    assert!(native.component(ComponentKind::Team, "hidden").is_none());
    assert!(native.find_component("hidden").is_none());
    assert!(!native.components().any(|component| component.id() == "hidden"));
    let hidden = agentos.component(ComponentKind::Team, "hidden").unwrap();
    let run = agentos.start(Start::new(hidden, Payload::from("x")).id("h")).await.unwrap().run;
    assert_eq!(agentos.run("h"), Some(run.clone()));
    assert_eq!(native.run("h"), None);
    assert!(!native.runs(&RunFilter::new()).contains(&run));

    let everywhere = start(&native, "sleeper", "e").await.unwrap();
    assert_eq!(agentos.run("e"), Some(everywhere.clone()));
    let cancelled =
        agentos.cancel(&everywhere, CancelRequest::because("there"), Wait::terminal()).await;
    assert!(matches!(cancelled.disposition, Disposition::Accepted { .. }));
    assert_eq!(native.state(&everywhere).status, "cancelled", "one engine, one truth");

    let foreign = service.engine().submit(RunSpec::agent("mine"), async |_ctx| Ok(())).unwrap();
    assert!(native.run_by_id(foreign.id()).is_some(), "an embedder's run has no component");
    assert!(agentos.run_by_id(foreign.id()).is_none());
}

#[tokio::test]
async fn members_and_steps_belong_to_the_component_of_their_root() {
    let service = service();
    let view = open(&service, Contract::named("agentos"));
    let run = start(&view, "steps", "flow").await.unwrap();
    soon("the step runs", || run.children().len() == 1).await;
    let step = run.children().remove(0);
    let steps = view.component(ComponentKind::Workflow, "steps").unwrap();
    let echo = view.component(ComponentKind::Agent, "echo").unwrap();
    let id = step.id().to_string();
    assert_eq!(view.run_of(steps, &id), Some(step.clone()));
    assert_eq!(view.run_of(echo, &id), None);
    assert_eq!(view.run_of(steps, "flow"), Some(run));
    assert_eq!(view.component_of(&step).unwrap().id(), "steps");
}

#[tokio::test]
async fn an_owner_sees_their_own_a_team_its_own_and_an_admin_all() {
    let service = service();
    let of = |principal| service.view(Contract::named("playbook3d"), principal);
    let ada = of(Principal::named("ada").in_teams(["team-1"]));
    let bob = of(Principal::named("bob").in_teams(["team-1"]));
    let eve = of(Principal::named("eve").in_teams(["team-2"]));
    let run = start(&ada, "sleeper", "r").await.unwrap();
    assert_eq!((run.owner(), run.label(SESSION)), (Some("ada"), Some("team-1")));
    assert!(ada.sees(&run) && !bob.sees(&run) && !eve.sees(&run));
    assert!(of(Principal::named("root").admin()).sees(&run));
    assert!(of(Principal::anonymous()).sees(&run));
    assert!(bob.clone().by_team().sees(&run), "the team's, whoever started it");
    assert!(!eve.clone().by_team().sees(&run));
    assert!(
        !of(Principal::named("ada")).by_team().sees(&run),
        "owners see by team what is their team's"
    );
    assert_eq!(bob.by_team().runs(&RunFilter::new()), [run]);
}

#[tokio::test]
async fn a_run_is_of_a_team_only_if_whoever_started_it_is_a_member() {
    let service = service();
    let of = |principal| service.view(Contract::named("playbook3d"), principal);
    let bob = of(Principal::named("bob").in_teams(["team-1"])).by_team();
    let starters = [
        (Principal::named("ada"), false),
        (Principal::named("eve").in_teams(["team-2"]), false),
        (Principal::named("ada").in_teams(["team-1"]), true),
        (Principal::named("root").admin(), true),
        (Principal::anonymous(), true),
    ];
    for (starter, is_of_team) in starters {
        let view = of(starter.clone());
        let echo = view.component(ComponentKind::Agent, "echo").unwrap();
        // Nobody talks themselves into a team by its label.
        let start = Start::new(echo, "x".into()).session("team-1").label("quell.team", "team-1");
        let run = view.start(start).await.unwrap().run;
        assert_eq!(bob.sees(&run), is_of_team, "{starter:?}");
        assert!(view.sees(&run), "it is theirs all the same: {starter:?}");
    }
    // One who starts a run for another puts it into a team of their own.
    let lent = Principal::named("root").admin().in_the_name_of(Some("ada"));
    let run = start(&of(lent), "echo", "lent").await.unwrap();
    assert_eq!((run.owner(), bob.sees(&run)), (Some("ada"), true));
}

#[test]
fn a_team_is_the_same_in_whichever_way_its_id_is_spelt() {
    let team = "aaaaaaaa-0000-4000-8000-000000000001";
    let ada = Principal::named("ada").in_teams([team]);
    assert!(ada.is_member_of(team) && ada.is_member_of(&team.to_uppercase()));
    assert!(!ada.is_member_of("aaaaaaaa-0000-4000-8000-000000000002") && !ada.is_member_of(""));
}

#[tokio::test]
async fn a_run_that_was_deleted_is_gone_for_every_contract() {
    let service = service();
    let view = open(&service, Contract::named("langgraph"));
    let run = start(&view, "steps", "r").await.unwrap();
    soon("the step runs", || run.children().len() == 1).await;
    let step = run.children().remove(0);
    assert!(!view.forget(&run), "it is live");
    assert!(view.sees(&run));
    view.cancel(&run, CancelRequest::because("rollback"), Wait::quiescent()).await;
    assert!(view.forget(&run) && view.run("r").is_none());
    assert!(!view.sees(&step) && open(&service, NATIVE).run("r").is_none());
    assert!(view.runs(&RunFilter::new()).is_empty());
    let again = start(&view, "steps", "r").await.unwrap();
    assert!(view.forget(&run), "it is deleted already");
    assert_eq!(view.run("r").map(|run| run.status()), Some(again.status()));
    assert!(view.sees(&again) && !view.sees(&run) && !again.is_forgotten());
}

#[tokio::test]
async fn all_are_signalled_before_any_is_waited_for() {
    let witness = Witness::default();
    let config = EngineConfig::new().grace(Duration::from_secs(2));
    let service = service_with(config, &witness);
    let view = open(&service, Contract::named("langgraph"));
    let mut runs = Vec::new();
    for id in 0..50 {
        runs.push(start(&view, "stubborn", &format!("r{id}")).await.unwrap());
    }
    soon("all are at work", || witness.inside() == 50).await;
    let began = tokio::time::Instant::now();
    let answers = view.cancel_all(&runs, CancelRequest::because("all"), Wait::terminal()).await;
    assert!(began.elapsed() < Duration::from_mins(1), "one grace, not fifty");
    assert_eq!(witness.inside(), 0);
    for answer in &answers {
        assert_eq!(disposition_name(&answer.disposition), "accepted");
        assert_eq!(answer.quiescent, Some(true));
    }
    let again = view.cancel_all(&runs, CancelRequest::because("all"), Wait::none()).await;
    assert!(again.iter().all(|it| disposition_name(&it.disposition) == "already-terminal"));
    assert!(again.iter().all(|it| it.quiescent.is_none()));
}

#[tokio::test]
async fn a_lane_is_its_owners() {
    let service = service();
    let of = |who: &str| service.view(NATIVE, Principal::named(who));
    let (ada, bob) = (of("ada"), of("bob"));
    let lane = |view: &View| {
        let component = view.find_component("sleeper").unwrap();
        Start::new(component, Payload::from("x")).lane("main", quell::OnBusy::Reject)
    };
    let run = ada.start(lane(&ada)).await.unwrap().run;
    let busy = StartError::LaneBusy { run: Some(run.id().to_string()) };
    assert_eq!(ada.start(lane(&ada)).await.unwrap_err(), busy);
    bob.start(lane(&bob)).await.unwrap();
}

#[tokio::test]
async fn what_is_known_of_a_deleted_run_is_not_said_of_the_next_one_of_its_id() {
    let service = service();
    let view = open(&service, NATIVE);
    let keyed = || {
        let echo = view.find_component("echo").unwrap();
        let start = Start::new(echo, Payload::from("x")).id("r");
        view.start(start.once(quell::IdempotencyKey::new("key", ["/"])))
    };
    let first = keyed().await.unwrap().run;
    let watched = service.guard(&first, OnDisconnect::Cancel);
    first.quiescent().await;
    assert!(keyed().await.unwrap().is_replay);
    assert!(view.forget(&first));
    assert_eq!(keyed().await.unwrap_err(), StartError::KeyForgotten);
    let next = start(&view, "sleeper", "r").await.unwrap();
    assert_eq!(keyed().await.unwrap_err(), StartError::KeyForgotten, "another run has the id");
    drop(service.guard(&next, OnDisconnect::Cancel));
    assert!(next.status().is_terminal() || next.row().stopped_at.is_some(), "its last client left");
    drop(watched);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_runs_of_one_id_there_is_one_in_every_state() {
    let service = service();
    let view = open(&service, NATIVE);
    for round in 0..50 {
        let id = format!("r{round}");
        let all = async || {
            let calls = (0..8).map(|_| {
                let (view, id) = (view.clone(), id.clone());
                tokio::spawn(async move { start(&view, "sleeper", &id).await })
            });
            let answers = futures::future::join_all(calls).await;
            answers.into_iter().filter_map(|answer| answer.unwrap().ok()).collect::<Vec<_>>()
        };
        let made = all().await;
        assert_eq!(made.len(), 1, "at the same instant");
        assert!(all().await.is_empty(), "live");
        view.cancel(&made[0], CancelRequest::because("enough"), Wait::quiescent()).await;
        assert!(all().await.is_empty(), "ended");
        assert!(view.forget(&made[0]));
        let again = all().await;
        assert_eq!(again.len(), 1, "deleted");
        assert!(view.sees(&again[0]) && !view.sees(&made[0]));
        view.cancel(&again[0], CancelRequest::because("enough"), Wait::quiescent()).await;
    }
}

#[tokio::test]
async fn notes_of_a_deleted_run_are_not_those_of_the_next_with_its_id() {
    let service = service();
    let of = |who: &str| service.view(NATIVE, Principal::named(who.to_owned()));
    let (ada, ben) = (of("ada"), of("ben"));
    let say = async |view: &View, text: &str| {
        let echo = view.find_component("echo").unwrap();
        let start = Start::new(echo, Payload::from(text)).id("x");
        let run = view.start(start).await.unwrap().run;
        run.quiescent().await;
        run
    };
    let old = say(&ada, "adas secret").await;
    let first = ada.transcript(&old).text;
    assert!(ada.forget(&old));
    let sleeper = ben.find_component("sleeper").unwrap();
    let new = ben.start(Start::new(sleeper, Payload::from("x")).id("x")).await.unwrap().run;
    let seen_by_ada = ada.transcript(&old);
    let seen_by_ben = ben.transcript(&new);
    assert_eq!(seen_by_ben.text, "", "ben reads what ada's run said");
    assert_eq!((&*seen_by_ada.name, seen_by_ada.text), ("echo", first));
}
