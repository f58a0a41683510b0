//! What a plan hides is said by no message, also not by one about another place; and what messages
//! say themselves stays.

use quell_flow::PlanFormat;

use crate::support::*;

/// What no message may have.
const SECRET: &str = "hush-2hUsh";

/// Steps of YAML with a fault or a warning, whose message could name a secret.
const STEPS: [&str; 58] = [
    // Names of several lines, and below a key that no plan has.
    "- name: a\n    K=SECRET\n  run: [x]\n  parallel: {}",
    "- name: a\n    K=SECRET\n  run: [x]\n- name: b\n  run: ['{{ steps.c.output }}']",
    "- name: >-\n    K=SECRET\n  cwd: /\n  parallel: {}",
    "- name: r\n  route: input\n  routes:\n  - name: a\n      K=SECRET\n    run: [x]\n  \
     otherwise: c",
    "- name: p\n  parallel: {}\n  branches:\n  - name: a\n      K=SECRET\n    run: [x]\n  \
     - { name: b, needs: [c], run: [x] }",
    "- name: a\n  component: \"agent/x\n    SECRET\"",
    "- { name: b, iff: x, on_stpo: [{ name: SECRET, run: [x], parallel: {} }] }",
    "- { name: b, setps: [{ name: SECRET, run: [x], branches: [] }] }",
    "- { name: b, sequnce: [{ name: SECRET, run: [x] }, { name: c, run: ['{{ steps.d }}'] }] }",
    "- { name: b, sequnce: [{ name: SECRET, sequence: [{ name: d, run: [x] }] }, \
     { name: c, run: ['{{ steps.d.output }}'] }] }",
    "- { name: b, sequnce: [{ name: 'SECRET', run: [x] }, \
     { name: c, run: ['{{ steps.SECRET.output }}'] }] }",
    "- { name: p, parallel: {}, brnches: [{ name: SECRET, needs: [b], run: [x] }, \
     { name: b, needs: [SECRET], run: [x] }] }",
    "- { name: a, rtry: { attempts: 2, backof: 2hUsh } }",
    // Keys behind a step inside of another one.
    "- { name: p, parallel: {}, branches: [{ name: b, run: [x] }] }\n- { name: a, run: [x], \
     env: { A: '{{ steps.b.output.hush }}', B: '{{ b.hush }}' } }",
    "- { name: p, sequence: [{ name: b-c, run: [x] }] }\n- { name: a, component: c, \
     input: { A: '{{ steps.b-c.output.hush }}', B: '{{ steps.c.output.hush }}' } }",
    // Words of a command that set a value.
    "- { name: a, run: ['~/A=SECRET', x] }",
    "- { name: a, run: ['$HOME/A=SECRET', x] }",
    "- { name: a, run: [env, API_KEY=SECRET, x, true] }",
    "- { name: a, run: [docker, run, -e, API_KEY=SECRET, x, '|', y] }",
    "- { name: a, run: [x, --api-key=SECRET, true] }",
    "- { name: a, run: [curl, -H, 'Authorization: SECRET', true] }",
    "- { name: a, run: [curl, -u, 'ann:SECRET', true] }",
    "- { name: a, run: [sh, -c, 'API_KEY=SECRET x {{ input }}'] }",
    "- { name: a, run: x --api-key=SECRET }",
    "- { name: a, run: 'curl -u ann:SECRET x' }",
    // A component, an input or a folder that was meant for another key.
    "- { name: a, component: 'https://u:SECRET@h/x' }",
    "- { name: a, component: 'curl -u a:SECRET h' }",
    "- { name: a, component: 'API_KEY=SECRET make' }",
    "- { name: a, run: [x], input: 'password=SECRET {{ input.x | uper }}' }",
    "- { name: a, run: [x], cwd: '/K=SECRET/{{ input.x | uper }}' }",
    "- { name: a, component: c, input: 'password=SECRET {{ input.x | uper }}' }",
    // Other words of a command.
    "- { name: a, run: [curl, 'https://h/T0/B0/SECRET', true] }",
    "- { name: a, run: [curl, 'https://h/x?access_token=SECRET', '|', y] }",
    "- { name: a, run: [psql, 'postgres:///d?password=SECRET', '{{ inptu.x }}'] }",
    "- { name: a, run: [sh, -c, 'curl h/x?key=SECRET {{ input.x }}'] }",
    "- { name: a, run: [sh, -c, 'x u:SECRET@h $K=SECRET {{ input.x | uper }}'] }",
    "- { name: a, run: [x, -pSECRET, --token, SECRET, true] }",
    "- { name: a, run: 'curl https://h/x#SECRET' }",
    "- { name: a, run: 'x -ua:SECRET u:SECRET@h git@h:SECRET -HX-Key:SECRET' }",
    "- { name: a, run: 'x pass:SECRET $K=SECRET K:=SECRET K+=SECRET --k:SECRET' }",
    "- { name: a, run: 'x SECRET== --token SECRET' }",
    "- { name: a, run: ['-p2hUsh', x, true] }",
    // Times, counts and words that were meant for another key.
    "- { name: a, run: [x], timeout: 'curl -u ann:SECRET h' }",
    "- { name: a, run: [x], grace: '2hUsh', idel: 3 }",
    "- { name: a, run: [x], timeout: 2hUshM }",
    "- { name: a, run: [x], env_clear: 'https://u:SECRET@h' }",
    "- { name: a, run: [x], retry: { attempts: 'SECRET', backoff: 'ann:SECRET' } }",
    "- { name: a, parallel: { policy: 'x --token SECRET' }, branches: [{ name: b, run: [x] }] }",
    "- { name: a, parallel: { on_loser: 'A=SECRET' }, branches: [{ name: b, run: [x] }] }",
    "- { name: a, team: { mode: 'Bearer SECRET' }, members: [{ name: b, component: x }] }",
    "- { name: a, loop: { count: 'SECRET' }, steps: [{ name: b, run: [x] }] }",
    // Expressions, and names of other steps.
    "- { name: a, if: 'curl -u ann:SECRET h', then: [{ name: b, run: [x] }] }",
    "- { name: a, if: \"input.x == '2hUsh' andd y\", then: [{ name: b, run: [x] }] }",
    "- { name: a, if: 'input.x == ''2hUsh'' andd y', then: [{ name: b, run: [x] }] }",
    "- { name: a, route: '2hUsh', routes: [{ name: b, run: [x] }] }",
    "- { name: a, loop: { max: 2, until: \"input.token == 'hush'\" }, idel: 3 }",
    "- { name: a, parallel: {}, branches: [{ name: b, needs: ['ann:SECRET'], run: [x] }] }",
    // Quotes that end those of a message.
    "- { name: a, run: [x], idel: 'a` b `SECRET` c' }",
];

#[test]
fn no_message_about_another_place_says_what_is_hidden() {
    for step in STEPS {
        let text = format!("name: p\nsteps:\n{step}\n").replace("SECRET", SECRET);
        let faults = match PlanFormat::Yaml.read(&text) {
            Err(faults) => faults,
            Ok(plan) => {
                let linked = plan.clone().link(&quell_flow::Catalog::new());
                [plan.warnings(), &linked.err().unwrap_or_default()].concat()
            }
        };
        assert!(!faults.is_empty(), "{text}");
        for fault in faults {
            let shown = format!("{fault}\n{}", fault.snippet().unwrap_or_default());
            assert!(!shown.contains("hush") && !shown.contains("2hUsh"), "{text}\n{shown}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_expression_that_fails_is_quoted_without_what_may_be_a_secret() {
    let plan = "name = 'p'\n[[steps]]\nname = 'a'\nif = \"'SECRET' and input.x.y\"\n\
                then = [{ name = 'b', run = ['say'] }]\n";
    let error = run_plan(&plan.replace("SECRET", SECRET)).await.0.unwrap_err();
    let says = "expression `'…' and input.x.y`: `input` has no `x`";
    assert!(error.contains(says) && !error.contains("hush"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_template_that_fails_is_named_by_its_key_and_not_quoted() {
    for (step, key) in [
        ("run = ['say']\nenv = { KEY = 'SECRET{{ input.x }}' }", "env.KEY"),
        ("run = ['say', 'SECRET {{ input.x }}']", "run"),
        ("run = ['say']\ncwd = 'SECRET/{{ input.x }}'", "cwd"),
        ("run = ['say']\ninput = 'SECRET {{ input.x }}'", "input"),
        ("workflow = W\ninput = 'SECRET {{ input.x }}'", "input"),
        ("workflow = W\ninput = { a = ['SECRET {{ input.x }}'] }", "input.a"),
        ("workflow = W\ninput = { a = { b = \"{{ input.x or 'SECRET' }}\" } }", "input.a.b"),
        ("workflow = W\ninput = { 'a=SECRET' = '{{ input.x }}' }", "input"),
    ] {
        let inner = "{ name = 'q', steps = [{ name = 'b', run = ['say'] }] }";
        let step = step.replace("SECRET", SECRET).replace('W', inner);
        let plan = format!("name = 'p'\n[[steps]]\nname = 'a'\n{step}\n");
        let error = run_plan(&plan).await.0.unwrap_err();
        let says =
            format!("step `a` failed: template of `{key}`: `input` has no `x`: the input is null");
        assert!(error.contains(&says) && !error.contains("hush"), "{error}");
    }
}

/// Yields the messages about a step of YAML.
fn messages(step: &str) -> Vec<String> {
    let text = format!("name: p\nsteps:\n- name: b\n  run: [x]\n{step}\n");
    assert_own_words_stay(PlanFormat::Yaml, &text);
    let faults = PlanFormat::Yaml.read(&text).expect_err(&text);
    faults.iter().map(|fault| fault.message().to_owned()).collect()
}

#[test]
fn of_a_template_that_may_be_a_secret_the_sort_of_fault_is_said() {
    for (template, says) in [
        ("{{ hush }}", "unknown name `…` in `…`; expected one of `input`, `steps`"),
        ("{{ input | hush }}", "bad template `…`: unknown filter; expected one of `abs`, `bool`"),
        ("{{ input is hush }}", "bad template `…`: unknown test; expected one of `boolean`"),
        ("{{ hush() }}", "bad template `…`: unknown function; there are none"),
        ("{{ input.hush", "bad template `…`: unexpected end of input, expected `}}`"),
        ("{{ input hush }}", "bad template `…`: unexpected input after "),
        ("{{ 'hush' * 2 }}", "bad template `…`: it has no value"),
        ("{{ input.hush = 1 }}", "; expected `==`, which compares"),
    ] {
        let found = messages(&format!("- {{ name: a, run: [x], env: {{ A: \"{template}\" }} }}"));
        assert!(found[0].starts_with("`env.A`: ") && found[0].contains(says), "{found:?}");
        assert!(!found[0].contains("hush"), "{found:?}");
    }
}

/// What is right instead of a wrong time.
const TIME: &str = "expected a time above zero such as \"30s\" or \"500ms\"";

/// What may be wrong with a text that is no word.
const FOLDED: &str = "it has several lines: check its quotes and the indentation";

#[test]
fn of_a_message_that_may_not_quote_its_value_our_own_words_stay() {
    let attempts = "`attempts`: found a string; expected a whole number above 0 such as `3`";
    let backoff = "`backoff`: found a number without a unit; expected a time such as \"…\" or \
                   \"500ms\"";
    let env = "`env`: found null: no variable is indented below it; expected a table such as \
               `{ NAME: \"value\" }`";
    let run = "`run`: found a string; expected a list such as `[\"make\", \"all\"]`";
    let time_of = |example| {
        format!(
            "`timeout`: found a number without a unit; expected a time such as \"{example}\" or \
             \"500ms\""
        )
    };
    for (step, says) in [
        ("run: [x]\n  idel: hush", format!("`idle`: invalid time `…`; {TIME}")),
        ("run: [x]\n  rtry: { attempts: hush }", attempts.to_owned()),
        ("run: [x]\n  rtry: { attempts: 2, backof: 99887766 }", backoff.to_owned()),
        ("run: [x]\n  vars:", env.to_owned()),
        ("run: [x]\n  env:", env.to_owned()),
        (
            "run: [x]\n  timeout: 3s\n    hush",
            format!("`timeout`: invalid time `…`; {TIME}; {FOLDED}"),
        ),
        (
            "run: [x]\n  timeout: >\n    hush",
            format!("`timeout`: invalid time `…`; {TIME}; {FOLDED}"),
        ),
        ("run: >\n    make\n    hush", format!("{run}; {FOLDED}")),
        ("run: API_KEY=hush make", run.to_owned()),
        // What the plan hides are words of the example.
        ("run: [x]\n  timeot: 30s\n  timeout: 30\n  idel: 500ms", time_of("30s")),
        ("run: [x]\n  timeot: 600s\n  timeout: 600", time_of("600s")),
    ] {
        let found = messages(&format!("- name: a\n  {step}"));
        assert!(found.contains(&says), "{found:?}");
    }
    let found = messages("- { name: a, prallel: { policy: hush }, branches: [] }");
    assert!(found.iter().any(|found| found.contains("`…`; expected one of `all`, ")), "{found:?}");
}

#[test]
fn a_key_behind_a_step_inside_of_another_one_is_left_out_and_its_path_is_said() {
    let found = messages(
        "- { name: p, sequence: [{ name: c, run: [x] }] }\n\
         - { name: a, run: [x], env: { A: '{{ steps.c.output.hush }}' } }",
    );
    let says = "`env.A`: unknown step `…` in `…`; `c` is a step of `p`; \
                did you mean `steps.p.output.c`?";
    assert_eq!(found, [says]);
}
