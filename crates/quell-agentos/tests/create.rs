//! What starts a run, streams it and reads it.

use axum::body::Body;
use axum::http::Request;
use quell::{Payload, RunContext, RunSpec, ToolCall};
use quell_flow::Component;
use quell_test_support::Writers;
use serde_json::{Value, json};

use crate::support::Site;
use crate::support::http::{Events, names, read, start};

#[tokio::test]
async fn a_short_agent_is_streamed_in_the_order_of_the_contract() {
    let site = Site::open();
    let answer = site.create("/agents/short-agent/runs", &[("message", "hi")]).await;
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-cache");
    let events = answer.events();
    let expected = [
        "RunStarted",
        "ModelRequestStarted",
        "RunContent",
        "RunContent",
        "RunContent",
        "ModelRequestCompleted",
        "RunContentCompleted",
        "RunCompleted",
    ];
    assert_eq!(names(&events), expected);
    for event in &events {
        assert_eq!(
            (&event["agent_id"], &event["nested_depth"]),
            (&json!("short-agent"), &json!(0))
        );
        assert!(event["run_id"].is_string() && event["session_id"].is_string());
        assert_eq!(event.get("event_index"), None);
    }
    assert_eq!(events[0]["model"], "tick-model");
    assert_eq!(events[7]["content"], "t0 t1 t2 ");
    assert_eq!(events[7]["quell"]["status"], "completed");
}

#[tokio::test]
async fn a_waited_for_run_is_the_json_of_the_contract() {
    let site = Site::open();
    let fields = [("message", "hi"), ("stream", "false"), ("session_id", "s"), ("user_id", "u")];
    let run = site.create("/agents/short-agent/runs", &fields).await.json();
    assert_eq!((&run["status"], &run["content"]), (&json!("COMPLETED"), &json!("t0 t1 t2 ")));
    assert_eq!((&run["session_id"], &run["user_id"]), (&json!("s"), &json!("u")));
    assert_eq!(run["input"], json!({ "input_content": "hi" }));
    let roles: Vec<_> = run["messages"].as_array().unwrap().iter().map(|m| &m["role"]).collect();
    assert_eq!(roles, ["user", "assistant"]);
    let metrics = [0, 1].map(|nth| run["messages"][nth].get("metrics"));
    assert_eq!(metrics, [None, Some(&json!({}))]);
    let again = read(&site, "/agents/short-agent", run["run_id"].as_str().unwrap(), "s").await;
    assert_eq!(again, run);
    let fields = [("message", "ticks=1 tick_ms=1"), ("stream", "false")];
    let team = site.create("/teams/slow-team/runs", &fields).await.json();
    assert_eq!(team["content"], "done");
    assert_eq!(team["member_responses"].as_array().unwrap().len(), 3);
    assert_eq!(team["member_responses"][1]["parent_run_id"], team["run_id"]);
    assert_eq!(team["tools"][0]["tool_args"], json!({ "task": "ticks=1 tick_ms=1" }));
    let flow = site.create("/workflows/slow-workflow/runs", &fields).await.json();
    assert_eq!(flow["input"], "ticks=1 tick_ms=1");
    assert_eq!(flow["step_executor_runs"].as_array().unwrap().len(), 4);
    assert_eq!(flow["step_results"][0]["steps"][3]["executor_name"], "step-agent-4");
    assert_eq!(flow["step_results"][0]["steps"][3]["content"], "t0 ");
}

#[tokio::test]
async fn members_and_agents_of_steps_start_with_the_model_that_they_ask() {
    let site = Site::open();
    for (path, count) in [("/teams/slow-team", 3), ("/workflows/slow-workflow", 4)] {
        let fields = [("message", "ticks=1 tick_ms=0")];
        let events = site.create(&format!("{path}/runs"), &fields).await.events();
        let begun: Vec<_> = events.iter().filter(|it| it["event"] == "RunStarted").collect();
        assert_eq!(begun.len(), count);
        for event in begun {
            let model = (&event["model"], &event["model_provider"]);
            assert_eq!(model, (&json!("tick-model"), &json!("Fake")), "{event}");
        }
    }
}

#[tokio::test]
async fn a_function_step_tells_its_output_only_outside_of_a_parallel() {
    let site = Site::open();
    let answer = site.create("/workflows/short-workflow/runs", &[("message", "m")]).await;
    let expected =
        ["WorkflowStarted", "StepStarted", "StepOutput", "StepCompleted", "WorkflowCompleted"];
    assert_eq!(names(&answer.events()), expected);
    let answer = site.create("/workflows/fn-workflow/runs", &[("message", "ticks=2 tick_ms=0")]);
    let events = answer.await.events();
    let mut seen = names(&events);
    assert_eq!((seen.remove(0), seen.remove(0)), ("WorkflowStarted", "ParallelExecutionStarted"));
    assert_eq!(
        (seen.pop(), seen.pop()),
        (Some("WorkflowCompleted"), Some("ParallelExecutionCompleted"))
    );
    seen.sort_unstable();
    assert_eq!(seen, [["StepCompleted"; 4], ["StepStarted"; 4]].concat());
}

#[tokio::test]
async fn multipart_is_read_as_agent_ui_sends_it() {
    let site = Site::open();
    let part = |name: &str, value: &str| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let file = "--b\r\ncontent-disposition: form-data; name=\"files\"; filename=\"a.txt\"\r\n\
                content-type: text/plain\r\n\r\nhello\r\n";
    let parts = [part("message", "hi"), part("stream", "false"), part("session_id", "")];
    let body = format!("{}{file}--b--\r\n", parts.concat());
    let request = Request::post("/agents/short-agent/runs")
        .header("content-type", "multipart/form-data; boundary=b")
        .body(Body::from(body))
        .unwrap();
    let answer = site.send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let run = answer.json();
    assert_eq!(run["input"], json!({ "input_content": "hi" }));
    let session = uuid::Uuid::parse_str(run["session_id"].as_str().unwrap()).unwrap();
    assert_eq!(session.get_version_num(), 4, "it does not tell when it was made");
}

#[tokio::test]
async fn a_deadline_of_the_form_ends_the_run_as_an_error() {
    let site = Site::open();
    let fields = [("message", "m"), ("quell_timeout_ms", "40"), ("run_id", "r")];
    let events = site.create("/agents/slow-agent/runs", &fields).await.events();
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["error_type"]), (&json!("RunError"), &json!("timeout")));
    assert_eq!(last["content"], "Run r timed out after 40 ms");
    assert_eq!(last["quell"]["status"], "timed-out");
    let fields = [("message", "m"), ("quell_timeout_ms", "40"), ("stream", "false")];
    let run = site.create("/workflows/fn-workflow/runs", &fields).await.json();
    assert_eq!(run["status"], "ERROR");
}

#[tokio::test]
async fn background_streams_are_numbered_from_zero() {
    let site = Site::open();
    let fields = [("message", "m"), ("background", "true")];
    let events = site.create("/agents/short-agent/runs", &fields).await.events();
    let numbers: Vec<_> = events.iter().map(|event| event["event_index"].as_u64()).collect();
    assert_eq!(numbers, (0..8).map(Some).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_there_is_is_listed() {
    let site = Site::open();
    let list = site.get("/agents/").await.json();
    let ids: Vec<_> = list.as_array().unwrap().iter().map(|agent| &agent["id"]).collect();
    assert_eq!(ids, ["short-agent", "silent-agent", "slow-agent"]);
    let config = site.get("/config").await.json();
    assert_eq!(config["os_id"], "quell");
    assert_eq!(config["workflows"].as_array().unwrap().len(), 4);
    let flow = site.get("/workflows/slow-workflow").await.json();
    assert_eq!(flow["steps"][0]["type"], "Parallel");
    assert_eq!(flow["steps"][0]["steps"][2]["agent"]["id"], "step-agent-3");
    assert_eq!(site.get("/health").await.json()["status"], "ok");
}

#[tokio::test]
async fn no_digit_of_a_number_is_lost() {
    let site = Site::of(Component::agent("same", async |_ctx, input: Payload| Ok(input)));
    let exact = r#"{"n":123456789012345678901234567890,"x":[0.1000,-18446744073709551617]}"#;
    let fields = [("message", "hi"), ("session_state", exact), ("stream", "false")];
    let run = site.create("/agents/same/runs", &fields).await.json();
    let content = format!(r#"{{"message":"hi","session_state":{exact}}}"#);
    assert_eq!(run["content"], content);
    let fields = [("message", "hi"), ("session_state", exact), ("stream", "true")];
    let events = site.create("/agents/same/runs", &fields).await.events();
    assert_eq!(events.last().unwrap()["content"], content);
    // A message is text, whatever it looks like.
    let run = site.create("/agents/same/runs", &[("message", exact), ("stream", "false")]).await;
    let run = run.json();
    assert_eq!((&run["content"], &run["input"]["input_content"]), (&json!(exact), &json!(exact)));
}

#[tokio::test]
async fn a_number_of_any_length_is_kept_as_it_was_spelt() {
    let site = Site::of(Component::agent("same", async |_ctx, input: Payload| Ok(input)));
    let long = "1234567890".repeat(40);
    let exact = format!(r#"{{"n":{long},"x":[1e400,-1E+999,0.1000]}}"#);
    let list = format!("[{exact}]");
    let fields = |is_stream| {
        [("message", "hi"), ("session_state", &*exact), ("metadata", &list), ("stream", is_stream)]
    };
    let input = format!(r#"{{"message":"hi","metadata":{list},"session_state":{exact}}}"#);
    let content = format!(r#""content":{},"content_type""#, Value::from(input));
    let state = format!(r#""session_state":{exact}"#);
    for is_stream in ["false", "true"] {
        let answer = site.create("/agents/same/runs", &fields(is_stream)).await;
        assert!(answer.text.contains(&content), "{}", answer.text);
        assert!(answer.text.contains(&state), "{}", answer.text);
    }
    // What a component reads as values of Rust, it cannot read, and says so.
    let reader = Component::agent("reader", async |_ctx, input: Payload| {
        input.parse::<Value>()?;
        Ok(input)
    });
    let answer = Site::of(reader).create("/agents/reader/runs", &fields("false")).await;
    assert!(answer.text.contains(r#""status":"ERROR""#), "{}", answer.text);
    assert!(answer.text.contains(&state), "{}", answer.text);
}

/// A team that hands its input on to tools, as it is and within a list, and to its one member.
fn teller() -> Component {
    Component::team("teller", async |ctx: RunContext, input: Payload| {
        let list = Payload::from_json_text(&format!("[{input}]"))?;
        for (call, input) in [("c1", input.clone()), ("c2", list)] {
            let done = async { Ok(Payload::from("done")) };
            ctx.tool(ToolCall::new(call, "t", input), done).await?;
        }
        let member = RunSpec::agent("member").input(input);
        ctx.spawn(member, async |_ctx| Ok(Payload::from("ok"))).await?;
        Ok(Payload::from("done"))
    })
}

#[tokio::test]
async fn no_digit_of_a_session_state_or_of_the_input_of_a_tool_is_lost() {
    let site = Site::of(teller());
    let exact = r#"{"n":123456789012345678901234567890,"x":[0.1000,-18446744073709551617]}"#;
    let input = format!(r#"{{"message":"hi","session_state":{exact}}}"#);
    let (of_object, of_list) =
        (format!(r#""tool_args":{input}"#), format!(r#""tool_args":{{"input":[{input}]}}"#));
    let state = format!(r#""session_state":{exact}"#);
    let states_of = |text: &str| text.matches(&state).count() - text.matches(&input).count();
    let fields = |is_stream| [("message", "hi"), ("session_state", exact), ("stream", is_stream)];
    let run = site.create("/teams/teller/runs", &fields("false")).await;
    let told = run.json();
    let ids = ["run_id", "session_id"].map(|key| told[key].as_str().unwrap());
    let again = format!("/teams/teller/runs/{}?session_id={}", ids[0], ids[1]);
    let again = site.get(&again).await;
    for answer in [run, again] {
        assert_eq!(states_of(&answer.text), 2, "of the team and its member: {}", answer.text);
        for args in [&of_object, &of_list] {
            assert_eq!(answer.text.matches(args).count(), 1, "{args}: {}", answer.text);
        }
    }
    let stream = site.create("/teams/teller/runs", &fields("true")).await;
    // Where the member ends, and where the team does with it.
    assert_eq!(states_of(&stream.text), 3, "{}", stream.text);
    for args in [&of_object, &of_list] {
        assert_eq!(stream.text.matches(args).count(), 2, "{args}: {}", stream.text);
    }
    // Text of several lines is told in one.
    let lines = exact.replace(',', ",\r\n");
    let fields = [("message", "hi"), ("session_state", lines.as_str())];
    let events = site.create("/teams/teller/runs", &fields).await;
    assert_eq!(states_of(&events.text), 3, "{}", events.text);
}

#[tokio::test]
async fn a_large_answer_is_written_on_another_thread() {
    let writers = Writers::default();
    let its = writers.clone();
    let site = Site::of(Component::agent("large", move |_ctx, _input| {
        let output = its.output();
        async move { Ok(output) }
    }));
    let waited = [("message", "m"), ("stream", "false"), ("session_id", "s")];
    let streamed = [("message", "m"), ("stream", "true"), ("session_id", "s")];
    for fields in [waited, streamed] {
        let answer = site.create("/agents/large/runs", &fields).await;
        assert!(answer.text.contains("xxx"), "{}", answer.text);
    }
    let run = start(&site, "/agents/large", "m", "s").await;
    let run = read(&site, "/agents/large", &run, "s").await;
    assert_eq!(run["status"], "COMPLETED");
    writers.assert_elsewhere(3);
}
