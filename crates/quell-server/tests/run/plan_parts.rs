//! Parts of plans, and the reports that they take their outputs from.

use std::fs::File;

use serde_json::{Value, json};

use crate::support::{Scratch, row};

#[test]
fn a_part_of_a_plan_runs_with_the_outputs_of_a_report() {
    let scratch = Scratch::new();
    scratch.write(
        "plan.yaml",
        "name: p\nsteps:\n- { name: build, run: [sh, -c, 'echo built >> built; echo box'] }\n\
         - { name: send, run: [test, -e, ready] }\n\
         - { name: tell, run: [echo, 'sent {{ steps.build.output.stdout }}'] }\n",
    );
    scratch.run(&["run", "plan.yaml", "--report", "first.json"]).assert_code(1);
    scratch.write("ready", "");
    let from = ["run", "plan.yaml", "--from", "send", "--report", "second.json"];
    let refused = scratch.run(&from);
    refused.assert_code(2);
    let says = "step `tell` reads the output of `build`, which neither runs nor is given; \
                `--outputs FILE` gives";
    assert!(refused.stderr.contains(says), "{refused:?}");
    scratch.run(&[&from[..], &["--outputs", "first.json"]].concat()).assert_code(0);
    let report = scratch.json("second.json");
    assert_eq!(row(&report, "tell")["output"]["stdout"], "sent box\n\n");
    assert_eq!(scratch.read("built"), b"built\n");
    scratch.run(&["run", "plan.yaml", "--only", "build"]).assert_code(0);
    assert_eq!(scratch.read("built"), b"built\nbuilt\n");
    // What did not complete has no output.
    let only = ["run", "plan.yaml", "--only", "tell", "--outputs"];
    scratch.run(&[&only[..], &["first.json"]].concat()).assert_code(0);
    scratch.run(&["run", "--only", "x", "--from", "y", "plan.yaml"]).assert_code(2);
    scratch.run(&["run", "--outputs", "first.json", "plan.yaml"]).assert_code(2);
}

const STEPS: &str = "name: p\nsteps:\n- { name: a b, run: [echo, one] }\n\
                     - { name: none, if: 'false', then: [{ name: t, run: [x] }] }\n\
                     - { name: slow, run: [sleep, 600], timeout: 50ms }\n\
                     - { name: end, run: [echo, LAST] }\n";

/// A report of the plan `p`, or of another, with these rows below the first one.
fn report(plan: &str, rows: &[Value]) -> String {
    let own = json!({ "name": plan, "depth": 0, "status": "failed", "output": null });
    let rows = [&[own][..], rows].concat();
    json!({ "rows": rows }).to_string()
}

fn row_of(name: &str, status: &str, output: &Value) -> Value {
    json!({ "name": name, "depth": 1, "status": status, "output": output })
}

#[test]
fn the_report_of_a_part_is_enough_to_go_on_from() {
    let scratch = Scratch::new();
    let plan = "name: p\nsteps:\n- { name: a, run: [echo, one] }\n\
                - { name: b, run: [echo, '{{ steps.a.output.stdout | trim }} two'] }\n\
                - { name: c, run: [test, -e, ready] }\n\
                - { name: d, run: [echo, '{{ steps.a.output.stdout | trim }}, \
                {{ steps.b.output.stdout | trim }}'] }\n";
    scratch.write("plan.yaml", plan);
    scratch.run(&["run", "plan.yaml", "--only", "a", "--report", "a.json"]).assert_code(0);
    assert_eq!(scratch.json("a.json").get("given"), None);
    let part = |step: &str, outputs: &str, report: &str| {
        let args = ["run", "plan.yaml", "--from", step, "--outputs", outputs, "--report", report];
        scratch.run(&args)
    };
    part("b", "a.json", "b.json").assert_code(1);
    assert_eq!(scratch.json("b.json")["given"]["a"]["stdout"], "one\n");
    scratch.write("ready", "");
    part("c", "b.json", "c.json").assert_code(0);
    part("d", "c.json", "d.json").assert_code(0);
    assert_eq!(row(&scratch.json("d.json"), "d")["output"]["stdout"], "one, one two\n");
    let given = scratch.json("d.json")["given"].clone();
    assert_eq!(given.as_object().expect("a table").keys().collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn an_output_that_is_missing_is_told_with_how_its_step_ended() {
    let scratch = Scratch::new();
    let reads = "{{ steps[\"a b\"].output.stdout | trim }} {{ steps.none.output is none }} \
                 {{ steps.slow.output.stdout }}";
    scratch.write("plan.yaml", &STEPS.replace("LAST", &format!("'{reads}'")));
    scratch.run(&["run", "plan.yaml", "--report", "first.json"]).assert_code(1);
    let end = |file: &str| {
        let ended = scratch.run(&["run", "plan.yaml", "--from", "end", "--outputs", file]);
        ended.assert_code(2);
        ended.stderr
    };
    let says = |how: &str, file: &str| {
        format!("error: step `end` reads the output of `slow`, which {how} in {file}\n")
    };
    assert_eq!(end("first.json"), says("timed out", "first.json"));
    let (one, none) =
        (row_of("a b", "completed", &json!({})), row_of("none", "completed", &json!(null)));
    for (status, how) in
        [("failed", "failed"), ("cancelled", "was cancelled"), ("running", "did not end")]
    {
        let slow = row_of("slow", status, &Value::Null);
        scratch.write("other.json", &report("p", &[one.clone(), none.clone(), slow]));
        assert_eq!(end("other.json"), says(how, "other.json"));
    }
    scratch.write("other.json", &report("p", &[one, none]));
    assert_eq!(end("other.json"), says("was not started, or has no row,", "other.json"));
}

#[test]
fn an_output_that_is_null_is_one() {
    let scratch = Scratch::new();
    let reads = "'{{ steps.none.output is none }}'";
    scratch.write("plan.yaml", &STEPS.replace("LAST", reads));
    scratch.run(&["run", "plan.yaml", "--report", "first.json"]).assert_code(1);
    let from = ["run", "plan.yaml", "--from", "end", "--outputs", "first.json"];
    let ended = scratch.run(&[&from[..], &["--report", "end.json"]].concat());
    ended.assert_code(0);
    assert_eq!(row(&scratch.json("end.json"), "end")["output"]["stdout"], "true\n");
}

#[test]
fn what_is_no_report_of_the_plan_is_refused_and_nothing_runs() {
    let scratch = Scratch::new();
    scratch.write("plan.yaml", &STEPS.replace("LAST", "x"));
    let twice = [row_of("slow", "completed", &json!(1)), row_of("slow", "completed", &json!(2))];
    let cleanup =
        [row_of("on_failure", "failed", &json!(1)), row_of("on_failure", "failed", &json!(2))];
    scratch.write("other.json", &report("q", &[]));
    scratch.write("twice.json", &report("p", &twice));
    scratch.write("cleanup.json", &report("p", &cleanup));
    scratch.write("empty.json", "{\"rows\": []}");
    scratch.write("plan.json", "{\"name\": \"p\"}");
    let file = File::create(scratch.path("long.json")).expect("a file can be made");
    file.set_len((2 << 30) + 1).expect("it has room");
    let right = "; expected a report, as `quell run PLAN --report FILE` writes it\n";
    for (file, words) in [
        ("other.json", "the report of `q`; expected one of the plan `p`\n".to_owned()),
        ("twice.json", "two runs of a step `slow`; expected one\n".to_owned()),
        ("empty.json", format!("a report without a run{right}")),
        ("plan.json", format!("missing field `rows` at line 1 column 13{right}")),
        ("long.json", format!("over 2 GiB{right}")),
        ("gone.json", "No such file or directory (os error 2)\n".to_owned()),
    ] {
        let ended = scratch.run(&["run", "plan.yaml", "--from", "end", "--outputs", file]);
        ended.assert_code(2);
        assert_eq!(ended.stderr, format!("error: {file}: {words}"));
        assert_eq!(ended.stdout, "");
    }
    scratch.run(&["run", "plan.yaml", "--from", "end", "--outputs", "cleanup.json"]).assert_code(0);
}
