//! Expressions that would take the stack or the memory of a server: refused, or bounded.

use std::thread;

use quell::Payload;
use quell_flow::{PlanFormat, limits};

use crate::support::*;

/// Says why a plan with an expression is refused, on a stack as small as a worker's.
fn refusal(expression: &str) -> Option<String> {
    let step = serde_json::json!({ "name": "a", "if": expression,
        "then": [{ "name": "b", "run": ["say", "x"] }] });
    let plan = serde_json::json!({ "name": "p", "steps": [step] }).to_string();
    let read = move || PlanFormat::Json.read(&plan).err().map(|faults| faults[0].to_string());
    thread::Builder::new().stack_size(WORKER_STACK).spawn(read).unwrap().join().unwrap()
}

/// Evaluates a template over an input, on a stack as small as a worker's.
fn made(template: &str, input: &serde_json::Value) -> Result<String, String> {
    let step = serde_json::json!({ "name": "a", "run": ["say", template] });
    let plan = serde_json::json!({ "name": "p", "steps": [step] }).to_string();
    let input = Payload::json(input).unwrap();
    let run = move || {
        let plan = PlanFormat::Json.read(&plan).map_err(|faults| faults[0].to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let engine = engine();
            let spec = plan.spec().input(input);
            let run = engine.submit(spec, move |ctx| plan.run(ctx, Script::default())).unwrap();
            run.await.map(|output| output.as_json().to_owned()).map_err(|e| e.to_string())
        })
    };
    thread::Builder::new().stack_size(WORKER_STACK).spawn(run).unwrap().join().unwrap()
}

#[test]
fn an_expression_of_too_many_operators_is_refused_before_the_parser_recurses() {
    for many in [
        "-".repeat(30_000) + "1",
        "not ".repeat(15_000) + "true",
        "1".to_owned() + &" + 1".repeat(15_000),
        "input".to_owned() + &".x".repeat(30_000),
        "input".to_owned() + &"[0]".repeat(20_000),
        "input".to_owned() + &"|upper".repeat(9_000),
        "2".to_owned() + &"**2".repeat(20_000),
        "1 if ".to_owned() + &"true else 1 if ".repeat(4_000) + "true",
        "input".to_owned() + &" is defined".repeat(5_000),
    ] {
        let words = refusal(&many).unwrap_or_default();
        assert!(words.contains("too many operators; expected at most 400"), "{words}");
        let words = made(&format!("{{{{ {many} }}}}"), &().into()).unwrap_err();
        assert!(words.contains("too many operators"), "{words}");
    }
    for (open, close) in [("(", ")"), ("[", "]"), ("input[", "]")] {
        let deep = open.repeat(100) + "1" + &close.repeat(100);
        let words = refusal(&deep).unwrap_or_default();
        assert!(words.contains("brackets nest too deep; expected at most 32 levels"), "{words}");
    }
}

#[test]
fn an_expression_within_its_bounds_needs_no_more_than_a_worker_has() {
    let max = limits::EXPRESSION_OPERATORS_MAX;
    let levels = limits::EXPRESSION_NESTING_MAX;
    for most in [
        "-".repeat(max) + "1",
        "not ".repeat(max) + "true",
        "1".to_owned() + &" + 1".repeat(max),
        "input".to_owned() + &".x".repeat(max),
        "'a'".to_owned() + &"|upper".repeat(max),
        "1 if ".to_owned() + &"true else 1 if ".repeat(max / 2 - 1) + "true",
        "(".repeat(levels) + "-1" + &")".repeat(levels),
        "[".repeat(levels) + "1" + &"]".repeat(levels),
        "{1:".repeat(levels) + "1" + &"}".repeat(levels),
    ] {
        assert_eq!(refusal(&most), None, "{most}");
    }
    let list = format!("1 in [{}]", "0, ".repeat(9_000));
    assert_eq!(refusal(&list), None);
    let sum = "1".to_owned() + &" + 1".repeat(max);
    assert_eq!(made(&format!("{{{{ {sum} }}}}"), &().into()).unwrap(), r#"{"a":"401"}"#);
}

#[test]
fn no_expression_makes_much_out_of_little() {
    let text = "a".repeat(100_000);
    let input = serde_json::json!({ "text": text, "n": 100_000_000, "list": vec![0; 10_000] });
    for template in [
        "{{ input.text|replace('a', input.text)|length }}",
        "{{ input.text|replace('', input.text)|length }}",
        "{{ input.list|join(input.text)|length }}",
        "{{ input.text|list|join(input.text)|length }}",
        "{{ input.text|list|sum(start='')|length }}",
        "{{ input.list|tojson(indent=input.n)|length }}",
        "{{ input.text|trim(input.text ~ 'b')|length }}",
        "{{ (input.text ~ input.text ~ input.text ~ input.text)|list|sort|unique|length }}",
        "{{ input.list|unique(attribute=input.text)|length }}",
        "{{ input.list|map('x', input.text) }}",
    ] {
        let words = made(template, &input).unwrap_err();
        let is_bounded = words.contains("it takes more than its limit of 100000 operations and");
        assert!(is_bounded || words.contains("unknown filter"), "{template}: {words}");
    }
    for template in ["{{ 'ab' * input.n }}", "{{ input.n * input.list }}", "{{ [[0] * 9] * 9 }}"] {
        let words = made(template, &input).unwrap_err();
        assert!(words.contains("`*` takes numbers, got "), "{template}: {words}");
    }
    // A list that holds the same list ten times, and so on.
    let tens = (0..9).fold("input.list".to_owned(), |list, _| {
        format!("[{}]", vec![list; 10].join(", ")).chars().take(60_000).collect()
    });
    assert!(made(&format!("{{{{ {tens}|length }}}}"), &input).is_err());
}

#[test]
fn an_input_is_parsed_once_and_only_if_it_is_within_the_bound() {
    let many = serde_json::Value::from(vec![0; 2_000_000]);
    let words = made("{{ input|length }}", &many).unwrap_err();
    assert!(words.contains("bytes read, made and compared"), "{words}");
    // Twenty times would be over the bound.
    let some = serde_json::Value::from(vec![0; 100_000]);
    let twenty = format!("{{{{ [{}]|length }}}}", "input[0], ".repeat(20));
    assert_eq!(made(&twenty, &some).unwrap(), r#"{"a":"20"}"#);
}

#[test]
fn what_a_test_or_a_slice_makes_of_much_is_bounded() {
    let input = serde_json::json!({ "text": "a".repeat(1_000_000), "list": vec![0; 10_000] });
    let many = |item: &str, count| vec![item; count].join(", ");
    let mut unbounded = vec![];
    for template in [
        // The test reads a list as its text.
        format!("{{{{ [{}] is startingwith 'b' }}}}", many("input.text", 100)),
        format!("{{{{ 'b' is endingwith [{}] }}}}", many("input.text", 100)),
        format!("{{{{ {{1: [{}]}} is endingwith 'b' }}}}", many("input.list[1:]", 130)),
        // Each slice of a text is a copy.
        format!("{{{{ [{}] is defined }}}}", many("input.text[0:]", 100)),
        format!("{{{{ 1 if {{1: [{}]}} else 2 }}}}", many("input.text[0:]", 100)),
        format!("{{{{ [{}] is defined }}}}", many("(input.text)[:-1]", 80)),
    ] {
        let made = made(&template, &input).map(|made| format!("{} bytes", made.len()));
        let words = made.as_ref().err().map_or("", |words| words);
        if !words.contains("it takes more than its limit") {
            unbounded.push((template[..40].to_owned(), made));
        }
    }
    assert!(unbounded.is_empty(), "{unbounded:#?}");
    for (template, expected) in [
        ("{{ input.text is startingwith 'aa' }}", "true"),
        ("{{ 12 is endingwith 2 }}", "true"),
        ("{{ [1, 2] is startingwith '[1' }}", "true"),
        ("{{ input.text[:2] ~ 'b' is endingwith 'b' }}", "aaTrue"),
    ] {
        assert_eq!(made(template, &input).unwrap(), format!(r#"{{"a":"{expected}"}}"#));
    }
    for undefined in ["input.none is startingwith 'a'", "'a' is startingwith input.none"] {
        let words = made(&format!("{{{{ {undefined} }}}}"), &input).unwrap_err();
        assert!(words.contains("`input` has no `none`"), "{words}");
    }
}

/// What tokio gives a worker.
const WORKER_STACK: usize = 2 << 20;

#[test]
fn a_slice_that_goes_backwards_is_refused_or_fails_and_never_panics() {
    for backwards in ["[][::-1]", "''[::-1] == 1", "'abc'[0:2:-1]", "[1][::0]", "[1][::1 - 2]"] {
        let words = refusal(backwards).unwrap_or_default();
        assert!(words.contains("the step of a slice is at least 1"), "{backwards}: {words}");
    }
    // What is read is not known yet.
    for backwards in ["input.x[::-1][::-1] == 1 or input", "input[::input.n] == 1"] {
        assert_eq!(refusal(backwards), None);
    }
    let input = serde_json::json!({ "list": [], "text": "", "n": -1 });
    for backwards in ["input.list[::-1]", "input.text[::input.n]", "(input.list[::-1])|first"] {
        let words = made(&format!("{{{{ {backwards} }}}}"), &input).unwrap_err();
        assert!(words.contains("the step of a slice is at least 1"), "{backwards}: {words}");
    }
}

#[test]
fn a_slice_reads_what_it_slices() {
    let input = serde_json::json!({ "list": [1, 2, 3, 4], "text": "abc", "n": 2 });
    for (slice, expected) in [
        ("input.list[1:]", "[2,3,4]"),
        ("input.list[:input.n]", "[1,2]"),
        ("input.list[::input.n]", "[1,3]"),
        ("input.text[0:2][1:]", "b"),
        ("input.list[1:]|length + input.n", "5"),
    ] {
        let made = made(&format!("{{{{ {slice} }}}} "), &input).unwrap();
        assert!(made.contains(expected), "{slice}: {made}");
    }
    for unknown in ["inputs[1:]", "steps.none.output[::2]", "[1][0:inputs]", "(input)[nope[1:]:]"] {
        let words = refusal(unknown).unwrap_or_default();
        assert!(words.contains("unknown "), "{unknown}: {words}");
    }
    assert_eq!(refusal("input[1:] == [2]"), None);
}
