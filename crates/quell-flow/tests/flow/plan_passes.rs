//! A fault of one kind hides none of another: all that is wrong is told at once.

use quell_flow::PlanFormat;

/// The messages of a plan with these steps.
#[track_caller]
fn told(steps: &str) -> Vec<String> {
    let text = format!("name: x\nsteps:\n{steps}");
    let faults = PlanFormat::Yaml.read(&text).expect_err(steps);
    faults.iter().map(|fault| fault.message().to_owned()).collect()
}

#[track_caller]
fn assert_told(steps: &str, right: &[&str]) {
    let told = told(steps);
    let is_right = told.len() == right.len()
        && told.iter().zip(right).all(|(message, begin)| message.starts_with(begin));
    assert!(is_right, "{steps}: {told:#?}");
}

#[test]
fn a_step_that_may_not_wait_is_told_of_beside_other_faults() {
    let branch = "- { name: p, parallel: {}, branches: [{ name: w, wait: ok }] }\n";
    let member = "- { name: t, team: { mode: broadcast }, members: [{ name: w, wait: ok }] }\n";
    let cleanup = "- { name: c, run: [sh], on_stop: [{ name: w, wait: ok }] }\n";
    let timed = "- { name: w, wait: ok, timeout: 5s }\n";
    for (fault, says) in [
        ("- { name: a, run: [sh], retry: 3 }\n", "`retry`: "),
        ("- { name: a, run: make }\n", "`run`: "),
        ("- { name: a, run: [sh], timeout: 5 }\n", "`timeout`: "),
        (
            "- { name: q, parallel: { policy: any }, branches: [{ name: a, run: [sh] }] }\n",
            "unknown policy",
        ),
        ("- { name: a, run: [sh], tiemout: 5s }\n", "unknown key"),
    ] {
        let waits = "step `w` waits for an answer, which ";
        for wrong in [branch, member, cleanup] {
            assert_told(&format!("{fault}{wrong}"), &[says, waits]);
        }
        assert_told(&format!("{fault}{timed}"), &[says, "`timeout` does not go with `wait`"]);
    }
}

#[test]
fn each_option_that_a_team_lacks_is_told_of_and_so_are_the_faults_of_its_members() {
    let lacks = ["mode `coordinate` has no `leader`", "mode `coordinate` has no `max`"];
    let team = |options: &str, run: &str| {
        format!("- {{ name: a, team: {{ {options} }}, members: [{{ name: m, run: {run} }}] }}\n")
    };
    assert_told(&team("mode: coordinate", "[sh]"), &lacks);
    assert_told(&team("mode: coordinate", "make"), &[lacks[0], lacks[1], "`run`: "]);
    assert_told(&team("mode: braodcast", "make"), &["unknown mode", "`run`: "]);
    let strays = "mode: broadcast, max: 2, leader: m, on_member_failed: x";
    let told =
        ["`max` goes with mode", "`leader` goes with mode", "`on_member_failed`: ", "`run`: "];
    assert_told(&team(strays, "make"), &told);
    let wrong = "- { name: a, team: { mode: broadcast }, input: '{{ zz }}', \
                 members: [{ name: m, run: make }] }\n";
    assert_told(wrong, &["`input`: unknown name", "`run`: "]);
}

#[test]
fn the_steps_of_a_loop_whose_table_is_none_are_read() {
    let wrong = "- { name: a, loop: 3, steps: [{ name: m, run: make }] }\n";
    assert_told(wrong, &["`loop`: ", "`run`: "]);
}
