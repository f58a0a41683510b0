//! What expressions read of steps inside of others, and of outputs whose keys are known.

use quell_flow::{PlanError, PlanFormat};

use crate::support::*;

/// Steps with others inside, of which each name is used once.
const STEPS: &str = "
- name: all
  parallel: {}
  branches:
  - { name: build, run: [x] }
  - { name: deep, sequence: [{ name: compile, run: [x] }, { name: a b, component: agent/c }] }
- { name: again, loop: { count: 2 }, steps: [{ name: ask, run: [x] }] }
- { name: choice, if: input.x, then: [{ name: yes, run: [x] }], else: [{ name: no, run: [x] }] }
- { name: way, route: input.x, routes: [{ name: left, run: [x] }, { name: right, run: [x] }] }
- { name: plan, workflow: { name: w, steps: [{ name: nested, run: [x] }] } }
- { name: crew, team: { mode: broadcast }, members: [{ name: ada, run: [x] }] }
- name: kept
  parallel: { on_branch_timeout: { default: { note: none } } }
  branches: [{ name: slow, run: [x] }]
- { name: version, run: [x] }
";

/// A plan with these steps, and one behind them that reads an expression.
fn plan(expression: &str) -> String {
    let quoted = serde_json::Value::from(format!("{{{{ {expression} }}}}"));
    format!("name: p\nsteps:{STEPS}- {{ name: reader, run: [x, {quoted}] }}\n")
}

fn faults(text: &str) -> Vec<PlanError> {
    assert_own_words_stay(PlanFormat::Yaml, text);
    PlanFormat::Yaml.read(text).err().unwrap_or_default()
}

fn warnings(text: &str) -> Vec<String> {
    assert_own_words_stay(PlanFormat::Yaml, text);
    let plan = PlanFormat::Yaml.read(text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    plan.warnings().iter().map(|warning| warning.message().to_owned()).collect()
}

#[test]
fn a_step_inside_of_another_is_shown_with_the_path_that_leads_to_its_output() {
    for (expression, right) in [
        (
            "steps.build.output",
            "`build` is a branch of `all`; did you mean `steps.all.output.build`?",
        ),
        (
            "steps.build.output.stdout",
            "`build` is a branch of `all`; did you mean `steps.all.output.build.stdout`?",
        ),
        (
            "steps.build.stdout",
            "`build` is a branch of `all`; did you mean `steps.all.output.build.stdout`?",
        ),
        (
            "build.output.exit_code",
            "`build` is a branch of `all`; did you mean `steps.all.output.build.exit_code`?",
        ),
        ("steps.biuld.output", "did you mean `steps.all.output.build`?"),
        (
            "steps.compile.output.stdout",
            "`compile` is a step of `deep`; did you mean `steps.all.output.deep.compile.stdout`?",
        ),
        ("steps[\"a b\"].output", "did you mean `steps.all.output.deep[\"a b\"]`?"),
        ("steps.ask.output", "`ask` is a step of `again`; did you mean `steps.again.output.ask`?"),
        ("steps.no.output", "`no` is a step of `choice`; did you mean `steps.choice.output.no`?"),
        (
            "steps.left.output.stdout",
            "`left` is a route of `way`; did you mean `steps.way.output.stdout`?",
        ),
        ("steps.nested.output", "did you mean `steps.plan.output.nested`?"),
        ("steps.ada.output", "`ada` is a member of `crew`; did you mean `steps.crew.output.ada`?"),
    ] {
        let found = faults(&plan(expression));
        let ends = found.len() == 1 && found[0].message().ends_with(right);
        assert!(ends && found[0].message().contains("unknown"), "{expression}: {found:?}");
    }
}

#[test]
fn a_name_that_is_not_inside_of_a_step_is_refused_with_those_that_are() {
    for (expression, right) in [
        (
            "steps.all.output.biuld.stdout",
            "`steps.all.output` has no `biuld` in `{{ steps.all.output.biuld.stdout }}`; did you \
             mean `build`?",
        ),
        ("steps.all.output.stdout", "it has `build`, `deep`"),
        ("steps.all.output.deep.compil", "`steps.all.output.deep` has no `compil` in"),
        ("steps.again.output.stdout", "it has `ask`"),
        ("steps.choice.output.maybe", "it has `no`, `yes`"),
    ] {
        let found = faults(&plan(expression));
        assert!(found.len() == 1 && found[0].message().contains(right), "{expression}: {found:?}");
    }
    for right in [
        "steps.all.output.deep.compile.stdout",
        "steps.all.output.deep[\"a b\"].anything",
        "steps.choice.output.yes is defined",
        "steps.way.output.left",
        "steps.crew.output.ada.error",
        "steps.kept.output.slow.note",
        "steps.all.output | first",
    ] {
        assert_eq!(faults(&plan(right)).len(), 0, "{right}");
        assert_eq!(warnings(&plan(right)), [""; 0], "{right}");
    }
}

#[test]
fn a_key_that_the_output_of_a_command_does_not_have_is_warned_of() {
    for (expression, says) in [
        (
            "steps.version.output.sdtout",
            "`steps.version.output` of a command has no `sdtout` in \
             `{{ steps.version.output.sdtout }}`; did you mean `stdout`?",
        ),
        ("steps.all.output.build.exitcode", "did you mean `exit_code`?"),
        ("steps.all.output.deep.compile.stderr", "did you mean `stderr_tail`?"),
        ("steps.version.output.tag", "; it has `content`, `content_bytes`, `encoding`, "),
    ] {
        let found = warnings(&plan(expression));
        assert!(found.len() == 1 && found[0].contains(says), "{expression}: {found:?}");
    }
    for right in ["stdout_head", "result.any.thing", "stderr_tail", "content"] {
        assert_eq!(warnings(&plan(&format!("steps.version.output.{right}"))), [""; 0], "{right}");
    }
    let branch = "- { name: c, needs: [b], run: [x, '{{ steps.b.output.stdot }}'] }";
    let text = format!(
        "name: p\nsteps:\n- name: a\n  parallel: {{}}\n  branches:\n  {branch}\n  \
         - {{ name: b, run: [x] }}\n"
    );
    assert!(warnings(&text)[0].ends_with("did you mean `stdout`?"));
}

#[test]
fn a_comparison_with_the_newline_of_a_command_is_warned_of() {
    let (begin, end) = ("steps.version.output.stdout", " | trim == 'x'");
    let compared = format!(
        "`{begin} == 'x'` compares `{begin}` with the newline that most programs write at its \
         end; expected `{begin}{end}`"
    );
    assert_eq!(warnings(&plan(&format!("{begin} == 'x'"))), [compared]);
    for (expression, right) in [
        ("'x' != steps.all.output.build.stdout", "'x' != steps.all.output.build.stdout | trim"),
        ("(steps[\"version\"].output.stdout == 'x') | string", "stdout | trim == 'x'"),
    ] {
        let found = warnings(&plan(expression));
        let is_right = found.len() == 1 && found[0].contains(&format!("{right}`"));
        assert!(is_right, "{expression}: {found:?}");
    }
    for right in [
        "steps.version.output.stdout | trim == 'x'",
        "steps.version.output.stdout == 'x\\n'",
        "steps.version.output.stdout == ''",
        "steps.version.output.stdout == input",
        "steps.version.output.encoding == 'utf-8'",
        "steps.way.output.stdout == 'x'",
    ] {
        assert_eq!(warnings(&plan(right)), [""; 0], "{right}");
    }
}

#[test]
fn a_choice_by_what_a_command_wrote_is_warned_of() {
    let step = |kind: &str| {
        format!("name: p\nsteps:\n- {{ name: ask, run: [x] }}\n- {{ name: go, {kind} }}\n")
    };
    let one = "[{ name: left, run: [x] }]";
    for (key, rest) in
        [("route: WHAT", "routes"), ("team: { mode: route, choose: WHAT }", "members")]
    {
        let of = |what: &str| step(&format!("{}, {rest}: {one}", key.replace("WHAT", what)));
        let found = warnings(&of("steps.ask.output.stdout"));
        let says = "`steps.ask.output.stdout` ends with the newline that most programs write; \
                    expected `steps.ask.output.stdout | trim`";
        assert_eq!(found, [says], "{key}");
        assert_eq!(warnings(&of("steps.ask.output.stdout | trim")), [""; 0], "{key}");
    }
}

#[test]
fn guesses_about_very_many_steps_are_made_for_the_first_faults_only() {
    let step =
        |n: u32| format!("- {{ name: outer{n}, sequence: [{{ name: inner{n}, run: [x] }}] }}\n");
    let reader =
        |n: u32| format!("- {{ name: r{n}, run: [x, '{{{{ steps.innre{n}0.output }}}}'] }}\n");
    let steps: String = (1_000..5_000).map(step).collect();
    let readers: String = (100..200).map(reader).collect();
    let found = faults(&format!("name: p\nsteps:\n{steps}{readers}"));
    let is_guess = |fault: &PlanError| fault.message().contains("did you mean");
    assert_eq!(found.len(), quell_flow::limits::PLAN_FAULTS_MAX);
    assert!(found[..5].iter().all(is_guess), "{:?}", found[0]);
    assert!(!found[50..].iter().any(is_guess), "{:?}", found[50]);
}

#[test]
fn steps_alone_is_no_value() {
    let right = "is no value; expected an output, such as `steps.";
    for expression in ["steps", "steps | tojson", "[steps]", "'a' if steps else 'b'"] {
        let found = faults(&plan(expression));
        let says = format!("`steps` alone in `{{{{ {expression} }}}}` {right}");
        assert!(found.len() == 1 && found[0].message().contains(&says), "{found:?}");
    }
    let text = "name: p\nsteps:\n- { name: a, component: agent/b, input: { x: '{{ steps }}' } }\n\
                - { name: c, if: steps == input, then: [{ name: d, run: [x] }] }\n";
    let found = faults(text);
    let says = "`steps` alone in `…` is no value; expected the output of a step, and none comes \
                before";
    assert!(found.len() == 2 && found[0].message().contains(says), "{found:?}");
    assert!(found[1].message().contains("such as `steps.a.output`"), "{found:?}");
    for expression in [
        "steps.version | tojson",
        "'version' in steps",
        "steps[input.x].output",
        "(steps).version.output",
        "steps is defined",
        "'steps'",
    ] {
        assert!(faults(&plan(expression)).is_empty(), "{expression}");
    }
}
