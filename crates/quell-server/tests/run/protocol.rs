//! What programs say of themselves, as a caller of the native API sees it.

use std::fs;

use serde_json::{Value, json};

use crate::site::{Site, begin, end_of, run_of};
use crate::support::{Scratch, repository, run_beyond_the_start, wait_until};

/// Serves one component, `agents.it`, which is a program in Python with these further options.
fn site(program: &str, options: &str) -> Site {
    let scratch = Scratch::new();
    scratch.write("it.py", program);
    let file = format!("[agents.it]\nrun = [\"python3\", \"it.py\"]\n{options}\n");
    scratch.write("quell.toml", &file);
    Site::with(scratch, &["--config", "quell.toml"])
}

#[test]
fn a_silent_program_is_stopped_at_its_idle_limit_and_one_that_says_something_is_not() {
    // It speaks for longer than the limit, says so in a file, and is silent then.
    let program = "import time\n\
                   for nth in range(10):\n    \
                   print('{\"event\":\"mine\"}' if nth % 2 else 'a line')\n    \
                   time.sleep(0.5)\n\
                   open('spoken', 'w').write('yes')\n\
                   time.sleep(300)";
    // On a busy machine it may say nothing for longer than it sleeps.
    let has_spoken = ["4s", "20s"].into_iter().any(|idle| {
        let site = site(program, &format!("idle = \"{idle}\""));
        let run = run_of(&site, "one", &Value::Null);
        assert_eq!(run["status"], "timed-out", "{run}");
        assert_eq!(run["cause"]["kind"], "idle-timeout", "{run}");
        site.scratch.read("spoken") == b"yes"
    });
    assert!(has_spoken, "it was stopped although it said something");
}

/// Yields the data of the events of a name, in order.
fn named<'a>(log: &'a [(String, Value)], name: &str) -> Vec<&'a Value> {
    let of_name = log.iter().filter(|(event, _)| event == name);
    of_name.map(|(_, event)| &event["data"]).collect()
}

#[test]
fn the_example_of_the_page_says_everything_that_a_program_can_say() {
    let page = repository().join("crates/quell-server/src/process.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, program) = page.split_once("```python\n").expect("an example");
    let (program, _) = program.split_once("```\n").expect("its end");
    assert!(program.lines().count() <= 34, "it is short");
    let site = site(program, "");
    let run = run_of(&site, "one", &json!({ "topic": "tea" }));
    assert_eq!((&run["status"], &run["output"]), (&"completed".into(), &answer()), "{run}");
    assert_eq!(run["rows"][0]["usage"], usage(), "{run}");
    let log = site.log("one");
    assert_eq!(named(&log, "progress"), [&json!(0.0), &json!(1.0)]);
    assert_eq!(named(&log, "used"), [&usage()]);
    let call = json!({ "call": "1", "name": "read", "input": { "file": "notes.txt" } });
    assert_eq!(named(&log, "tool-started"), [&call]);
    let error = json!({ "error": "No such file or directory" });
    assert_eq!(named(&log, "tool-ended"), [&json!({ "call": "1", "outcome": error })]);
    let said = named(&log, "emitted");
    let kinds: Vec<_> = said.iter().map(|said| said["event"].as_str().expect("a kind")).collect();
    let words = ["content"; 3];
    let kinds_before = ["reasoning", "updates"];
    assert_eq!(kinds, [&kinds_before[..], &words, &["values", "custom", "result"]].concat());
    // A text is what AgentOS sends, and an object where there is more.
    let more = json!({ "message": "tea", "history": [] });
    for (id, input) in [("text", &"tea".into()), ("more", &more)] {
        let run = run_of(&site, id, input);
        assert_eq!((&run["status"], &run["output"]), (&"completed".into(), &answer()), "{run}");
    }
    // The program finds its notes: the call has a result, of which nothing is changed.
    site.scratch.write("notes.txt", "green\n");
    run_of(&site, "two", &json!({ "topic": "tea" }));
    let output = json!({ "call": "1", "outcome": { "result": "green\n" } });
    assert_eq!(named(&site.log("two"), "tool-ended"), [&output]);
}

fn answer() -> Value {
    json!({ "text": "All about tea" })
}

fn usage() -> Value {
    json!({ "input_tokens": 12, "output_tokens": 3, "cost_micros": 40 })
}

#[test]
fn i18_a_call_that_is_open_when_the_run_is_cancelled_has_one_outcome() {
    let program = "import json, signal, sys, time\n\
                   def stop(*_):\n    \
                   print('{\"event\":\"result\",\"output\":\"half\"}')\n    \
                   sys.exit(0)\n\
                   signal.signal(signal.SIGTERM, stop)\n\
                   print('{\"event\":\"tool.started\",\"id\":\"1\",\"name\":\"slow\"}')\n\
                   print('{\"event\":\"content\",\"text\":\"begun\"}')\n\
                   time.sleep(300)";
    let site = site(program, "");
    begin(&site, "one", &Value::Null);
    wait_until("the call has begun", || site.get("/v1/runs/one").1["text"] == "begun");
    let cancel = json!({ "wait": "quiescent" });
    assert_eq!(site.post("/v1/runs/one/cancel", &cancel).0, 200);
    let run = end_of(&site, "one");
    assert_eq!(run["status"], "cancelled", "{run}");
    assert_eq!(run["partial"]["result"], "half", "{run}");
    let log = site.log("one");
    assert_eq!(named(&log, "tool-started").len(), 1);
    let outcome = json!({ "call": "1", "outcome": "cancelled" });
    assert_eq!(named(&log, "tool-ended"), [&outcome]);
}

#[test]
fn without_a_result_the_output_of_a_component_is_what_it_printed_but_for_events() {
    let program = "print('{\"event\":\"content\",\"text\":\"a\"}')\n\
                   print('{\"n\":')\n\
                   print('{\"event\":\"mine\"}')\n\
                   print('1}')";
    let site = site(program, "");
    let run = run_of(&site, "one", &Value::Null);
    assert_eq!(run["output"], json!({ "n": 1 }), "{run}");
}

#[test]
fn without_any_output_the_output_of_a_component_is_its_text_also_for_other_contracts() {
    let program = "print('{\"event\":\"content\",\"text\":\"All about \"}')\n\
                   print('{\"event\":\"tool.started\",\"id\":\"1\",\"name\":\"look\"}')\n\
                   print('{\"event\":\"tool.ended\",\"id\":\"1\",\"output\":7}')\n\
                   print('{\"event\":\"usage\",\"input_tokens\":5,\"output_tokens\":2}')\n\
                   print('{\"event\":\"content\",\"text\":\"tea\"}')";
    let site = site(program, "");
    let run = run_of(&site, "one", &Value::Null);
    let text = json!("All about tea");
    assert_eq!((&run["output"], &run["text"]), (&text, &text), "{run}");
    let call = json!({ "call": "1", "name": "look", "input": null, "outcome": { "result": 7 } });
    assert_eq!((&run["tools"], &run["usage"]["input_tokens"]), (&json!([call]), &5.into()));
    let (_, run) = site.form("/agents/it/runs", &[("message", "hi"), ("stream", "false")]);
    assert_eq!((&run["content"], &run["tools"][0]["result"]), (&text, &"7".into()), "{run}");
    assert_eq!(run["metrics"]["total_tokens"], 7, "{run}");
    let body = json!({ "assistant_id": "it", "input": {} });
    let (_, values) = site.post("/runs/wait", &body);
    assert_eq!((&values["output"], &values["messages"][2]["content"]), (&text, &text), "{values}");
    assert_eq!(values["messages"][1]["content"], "7", "what the tool gave");
}

#[test]
fn a_result_that_is_cut_fails_a_component_and_what_is_printed_besides_does_not() {
    let program = "import json, sys\n\
                   size = json.load(sys.stdin)\n\
                   print('x' * (5 << 20))\n\
                   print(json.dumps({'event': 'result', 'output': 'x' * size}))";
    let site = site(program, "");
    let run = run_of(&site, "long", &json!(256 << 10));
    assert_eq!(run["status"], "failed", "{run}");
    let error = run["error"].as_str().expect("an error");
    assert!(error.contains("its `result` is cut"), "{error}");
    let run = run_of(&site, "short", &json!(3));
    assert_eq!((&run["status"], &run["output"]), (&"completed".into(), &"xxx".into()), "{run}");
}

#[test]
fn a_plan_reads_the_result_of_a_command_and_what_it_printed_without_events() {
    let scratch = Scratch::new();
    let says = "echo one; echo '{\"event\":\"result\",\"output\":{\"n\":7}}'; echo two";
    let reads = "{{ steps.says.output.result.n }} {{ steps.says.output.stdout }}";
    let plan = json!({ "name": "plan", "steps": [
        { "name": "says", "run": ["sh", "-c", says] },
        { "name": "reads", "run": ["printf", "%s", reads] },
    ] });
    scratch.write("plan.json", &plan.to_string());
    scratch.run(&["run", "plan.json", "--report", "report.json"]).assert_code(0);
    let output = &scratch.json("report.json")["output"];
    assert_eq!(output["reads"]["stdout"], "7 one\ntwo\n");
    assert_eq!(
        (&output["says"]["result"], &output["says"]["stdout_bytes"]),
        (&json!({ "n": 7 }), &8.into())
    );
}

#[test]
fn what_a_program_hands_over_when_it_is_stopped_is_shown_by_quell_run() {
    let program = "import json, os, signal, sys, time\n\
                   def stop(*_):\n    \
                   print(json.dumps({'event': 'result', 'output': OUTPUT}), flush=True)\n    \
                   sys.exit(0)\n\
                   signal.signal(signal.SIGTERM, stop)\n\
                   open('pid', 'w').write(str(os.getpid()))\n\
                   TEXT\n\
                   time.sleep(300)";
    let said = "print(json.dumps({'event': 'content', 'text': 'hello '}), flush=True)";
    let long = "'\\x1b[2J' + 'x' * 100_000";
    for (output, text, right) in [
        ("{'saved': 3}", "pass", "{\"saved\":3}"),
        ("{'saved': 3}", said, "{\"saved\":3}"),
        ("'half'", "pass", "half"),
        (long, "pass", "\\u{1b}[2Jxx"),
        ("None", said, "hello"),
    ] {
        let (_scratch, ended) = run_beyond_the_start(1, |scratch, timeout| {
            scratch.write("it.py", &program.replace("OUTPUT", output).replace("TEXT", text));
            let file = "[agents.it]\nrun = ['python3', 'it.py']\n";
            scratch.write("quell.toml", file);
            scratch.run(&["run", "it", "--timeout", timeout])
        });
        let line = ended.stdout.lines().any(|line| line.starts_with(right));
        assert!(line && !ended.stdout.contains('\u{1b}'), "{output}: {ended:?}");
        assert!(ended.stdout.len() < 50_000, "{output}: {} bytes", ended.stdout.len());
    }
}
