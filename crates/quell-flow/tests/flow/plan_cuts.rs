//! Output of a command that was not kept whole: what reads it fails, unless it asks for the head.

use quell::{Failure, Payload, RunContext};
use quell_flow::{CommandStep, Plan, Runner, limits};

use crate::support::*;

/// A plan whose first step has an output of so many bytes on stdout, of which `kept` is left, and
/// whose other steps are these.
fn plan(bytes: usize, steps: &str) -> String {
    let is_cut = bytes > "kept".len();
    format!(
        r#"
        name = "p"
        [[steps]]
        name = "make it"
        run = ["json", '{{"exit_code":0,"stdout":"kept","encoding":"utf-8",{}}}']
        {steps}
        "#,
        format_args!(r#""stdout_bytes":{bytes},"stdout_truncated": {is_cut}"#)
    )
}

/// Runs one more step and yields the output of the plan, or its error.
async fn after(bytes: usize, step: &str) -> Result<String, String> {
    run_plan(&plan(bytes, &format!("[[steps]]\nname = \"use\"\n{step}"))).await.0
}

const MESSAGE: &str = "`steps[\"make it\"].output.stdout` is cut: the step wrote 9 bytes on \
                       stdout, of which the first 4 are kept; read \
                       `steps[\"make it\"].output.stdout_head` if these are enough, or let \
                       the step write less, or into a file";

#[tokio::test(start_paused = true)]
async fn a_step_that_reads_what_was_cut_fails_with_the_sizes_and_what_to_do() {
    for reader in [
        r#"run = ["say", '{{ steps["make it"].output.stdout | trim }}']"#,
        r#"run = ["say", '{{ steps["make it"].output }}']"#,
        r#"run = ["say", '{{ steps["make it"].output | tojson }}']"#,
        r#"run = ["say", '{{ steps["make it"].output["stdout"] | default("x") }}']"#,
        "if = 'steps[\"make it\"].output.stdout == \"x\"'\nthen = [{ name = 'x', run = ['y'] }]",
        "workflow = { name = 'w', steps = [{ name = 'x', run = ['y'] }] }\n\
         input = { all = '{{ steps[\"make it\"].output }}' }",
    ] {
        let error = after(9, reader).await.unwrap_err();
        assert!(error.contains("step `use` failed"), "{reader}: {error}");
        assert!(error.contains(MESSAGE), "{reader}: {error}");
        assert!(!error.contains("invalid value"), "no words of the language: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_is_read_as_the_head_and_all_else_of_the_output_is_as_it_was() {
    let head = r#"{{ steps["make it"].output.stdout_head }}"#;
    let code = r#"{{ steps["make it"].output.exit_code }}"#;
    let read = format!("run = ['say', '{head}, {code}']");
    for bytes in [4, 9] {
        let output = after(bytes, &read).await.unwrap();
        assert!(output.ends_with(r#""use":"kept, 0"}"#), "{output}");
    }
    let whole = r#"run = ["say", '{{ steps["make it"].output.stdout }}']"#;
    assert!(after(4, whole).await.unwrap().ends_with(r#""use":"kept"}"#));
    // The whole of it has no key more than what the command left.
    let whole = r#"run = ["say", '{{ steps["make it"].output | length }}']"#;
    assert!(after(4, whole).await.unwrap().ends_with(r#""use":"5"}"#));
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_within_the_output_of_other_steps_is_named_by_its_path() {
    let inner = r#"{"stdout":"aGk=","encoding":"base64","stdout_bytes":7,"stdout_truncated":true}"#;
    let plan = format!(
        r#"
        name = "p"
        [[steps]]
        name = "round"
        loop = {{ until = "output.a.b.stdout == 'x'", max = 2 }}
        steps = [{{ name = "a", sequence = [{{ name = "b", run = ["json", '{inner}'] }}] }}]
        "#
    );
    let error = run_plan(&plan).await.0.unwrap_err();
    assert!(error.contains("`output.a.b.stdout` is cut: the step wrote 7 bytes"), "{error}");
    assert!(error.contains("of which the first 2 are kept"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_text_that_was_left_out_is_not_taken_for_none() {
    let run = async |rest: &str, reads: &str| {
        let plan = format!(
            r#"
            name = "p"
            [[steps]]
            name = "a"
            run = ["json", '{{"stdout":"","stdout_bytes":0,"stdout_truncated":false{rest}}}']
            [[steps]]
            name = "b"
            run = ["say", "{{{{ steps.a.output{reads} }}}}"]
            "#
        );
        run_plan(&plan).await.0
    };
    for reads in [".content", ".content | default('x')", "['content'] | length"] {
        let error = run(r#","content_bytes":9"#, reads).await.unwrap_err();
        let says = "`steps.a.output.content` is not kept: the events `content` of the step have 9 \
                    bytes of text";
        assert!(error.contains(says), "{reads}: {error}");
    }
    for (rest, reads, right) in [
        (r#","content_bytes":9"#, ".content_bytes", "9"),
        (r#","content":"hi""#, ".content", "hi"),
        ("", ".content | default('x')", "x"),
    ] {
        let output = run(rest, reads).await.unwrap();
        assert!(output.ends_with(&format!(r#""b":"{right}"}}"#)), "{reads}: {output}");
    }
}

/// A runner whose one command leaves more than a template may make, as base64 or as text.
#[derive(Clone)]
struct Large(&'static str);

impl Runner for Large {
    async fn run(&self, _: RunContext, step: CommandStep) -> Result<Payload, Failure> {
        if let ["say", words] = &*step.command.iter().map(String::as_str).collect::<Vec<_>>() {
            return Ok(Payload::from(words.len()));
        }
        let stdout = self.0.repeat(limits::TEMPLATE_BYTES_MAX / 12 + 1).repeat(4);
        let output = serde_json::json!({
            "stdout": stdout, "encoding": "base64", "stdout_bytes": 9, "stdout_truncated": true,
        });
        Ok(output.into())
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_of_an_output_that_is_no_text_is_within_the_limit_of_texts() {
    for (unit, expected) in [("AAAA", limits::TEMPLATE_BYTES_MAX), ("€", 4_194_303)] {
        let text = "name: p\nsteps:\n- { name: make, run: [x] }\n\
                    - { name: use, run: [say, '{{ steps.make.output.stdout_head }}'] }\n";
        let plan = Plan::from_yaml(text).unwrap();
        let engine = engine();
        let run = engine.submit(plan.spec(), move |ctx| plan.run(ctx, Large(unit))).unwrap();
        let output: serde_json::Value = run.await.unwrap().parse().unwrap();
        assert_eq!(output["use"], expected, "{unit}");
    }
}
