//! Values of `env` may be secrets: no message about a plan shows one.

use quell_flow::{PlanError, PlanFormat};

/// What no message may have.
const SECRET: &str = "hush-2hUsh";

/// All that people see of faults and warnings.
fn shown(faults: &[PlanError]) -> String {
    let shown = |fault: &PlanError| format!("{fault}\n{}\n", fault.snippet().unwrap_or_default());
    faults.iter().map(shown).collect()
}

#[test]
fn a_message_shows_its_line_without_the_values_of_env() {
    let text = "name: p\nsteps:\n- { name: a, run: x, env: { A: 'hush', B: [1] }, idle: 0s } # b\n";
    let faults = PlanFormat::Yaml.read(text).unwrap_err();
    let line = "3 | - { name: a, run: x, env: { A: '****', B: [*] }, idle: 0s } # *";
    let snippet = faults[0].snippet().unwrap();
    assert!(snippet.contains(line), "{snippet}");
    let caret = |fault: &PlanError| fault.snippet().unwrap().lines().last().unwrap().len();
    let columns: Vec<_> = faults.iter().map(|fault| fault.column().unwrap()).collect();
    assert_eq!(columns, [19, 43, 56], "{faults:?}");
    assert!(faults.iter().zip(columns).all(|(fault, column)| caret(fault) == column + 4));
}

/// Steps of YAML with a variable that no message may show, each with a fault or a warning.
const YAML: [&str; 130] = [
    "- name: a\n  run: [x]\n  env: # API_KEY=SECRET\n  - b",
    "- name: a\n  run: [x]\n  env: # it's API_KEY=SECRET",
    "- name: a\n  component: c\n  env: # API_KEY=SECRET\n    A: b",
    "- { name: a, run: x } # SECRET",
    "- { name: a, idle: 3,# SECRET\n run: [x] }",
    "- { name: a, run: ['x'], 'idle': '3'# SECRET\n }",
    "- { name: a, run: [x], variables: { A: SECRET } }",
    "- { name: a, run: [x], vars: { A: SECRET } }",
    "- { name: a, run: [x], secrets: [A=SECRET] }",
    "- name: a\n  run: [x]\n  VARS:\n    A: SECRET: b",
    "- { name: a, run: [x], secrets: \"{{ 'SECRET' | int }}\" }",
    "- { name: a, run: x, env: { A: SECRET } }",
    "- { name: a, run: [x], env: { A: 'SECRET {{ input. }}' } }",
    "- { name: a, run: [x], env: { A: 'SECRET {{ steps.b.output }} {{ inptu }}' } }",
    "- { name: a, run: [x], env: { A: \"SECRET\\0\" } }",
    "- { name: a, run: [x], environment: { A: SECRET } }",
    "- { name: a, run: [x], evn: { A: SECRET } }",
    "- { name: a, run: [x], env: SECRET }",
    "- { name: a, run: [x], env: [SECRET] }",
    "- { name: a, run: [x], env: { A: { B: SECRET } } }",
    "- { name: a, env: { A: SECRET }, run: [x, {{ input }}] }",
    "- { name: a, env: { A: SECRET, A: SECRET }, run: [x] }",
    "- { name: a, env: { A: 'it's SECRET' }, run: [x] }",
    "- name: a\n  run: [x]\n  env:\n    A: SECRET\n   B: SECRET\n",
    "- name: a\n  run: [x]\n  env:\n    A: |\n      SECRET\n  idle: 3",
    "- { name: a, component: nobody, input: { env: { A: SECRET } }, idle: 3 }",
    "- { name: a, component: c, input: { env: { A: SECRET } } }",
    "- { name: a, run: [sh, -c, '{{ input }}'], env: { A: SECRET } }",
    "- { name: a, run: [x], env: { A=SECRET } }",
    "- { name: a, run: [x], env: { A:SECRET } }",
    "- { name: a, run: [x], env: { A SECRET } }",
    "- { name: a, run: [x], env: { 'A=SECRET': 1 } }",
    "- { name: a, run: [x], env: { A: { SECRET: 1 } } }",
    "- { name: a, run: [x], env: [{ A: { SECRET: 1 } }] }",
    "- { name: a, run: [x], environment variables: { A: SECRET } }",
    "- { name: a, run: [x], environment variables: { A: SECRET } ]",
    "- name: a\n  run: [x]\n  env:\n  A: SECRET\n",
    "- name: a\n  run: [x]\n  env:\n  A: SECRET: b\n",
    "- name: a\n  run: [x]\n  env:\n A: SECRET: b\n",
    "- name: a\n  run: [x]\n  env:\n  - A=b\n  - SECRET: [\n",
    "- name: a\n  run: [x]\n  ? env\n  : A: SECRET: b\n",
    "- name: a\n  run: [x]\n  \"\\x65nv\": { A: SECRET } }\n",
    "- { name: a, run: [x], env: { A: '}',\nB: SECRET } ]\n} }",
    "- { name: a, run: [x], env: { A=SECRET: y, B: 'x' } }",
    "- { name: a, run: [x], env: { A=SECRET, A=SECRET } }",
    "- name: a\n  run: [x]\n  env:\n    ? A=SECRET\n    ? B=SECRET",
    "- name: a\n  run: [x]\n  env:\n  A: SECRET\n  idle: 3",
    "- { name: a, run: [x], env: { A: {{ input.x or 'SECRET' }} } }",
    "- { name: a, run: [x], env: { A: \"{{ 'SECRET' | int }}\" } }",
    "- { name: a, run: [x], env: { A: \"{{ 'SECRET' * 2 }}\" } }",
    "- { name: a, run: [x], env: { A: \"{{ {'a': 1}['SECRET'] }}\" } }",
    "- { name: a, run: [x], env: { A: \"{{ 'SECRET' | nope('SECRET') }}\" } }",
    "- { name: a, run: [x], env: { A: \"{{ 'SECRET' 'SECRET' }}\" } }",
    "- { name: a, run: [x], env: { A: \"{{ input.x == 'SECRET }}\" } }",
    "- { name: a, run: [x], env: { A: \"{{ [1] | join('SECRET', 2, 'SECRET') }}\" } }",
    "- { name: b, run: [x] }\n- { name: a, run: [x], env: { A: \"{{ 'SECRET' if \
     steps.b.output.stdout == 'SECRET' else 1 }}\" } }",
    "- { name: b, run: [x] }\n- { name: a, run: [x], env: { A: \"{{ 'SECRET' ~ \
     steps.b.output.stdin }}\" } }",
    "- { name: a, run: [x], env: { A:SECRET: 1, A:SECRET: 2 } }",
    "- { name: a, run: [x], env: { 'A SECRET': 1, 'A SECRET': 2 } }",
    "- name: a\n  run: [x]\n  env:\n    A:SECRET: b\n    A:SECRET: c",
    "- name: a\n  run: [x]\n  env:\n    A-SECRET: b\n    A-SECRET: c",
    "- { name: a, run: [x], env: { A-SECRET: { b: 1 } } }",
    "- name: a\n  run: [x]\n  env:\n    A: |\n-----BEGIN PRIVATE KEY-----\nSECRET",
    "- name: a\n  run: [x]\n  env:\n    A: |\n      b\nSECRET\n- name: c\n",
    "- name: a\n  run: [x]\n  env:\n    A: \"x\"\n\tB: SECRET",
    "- name: a\n  run: [x]\n  env:\n    A: \"x\"\n\tname: SECRET",
    "- name: a\n  run: [x]\n  env:\n    A: x\n B: SECRET",
    "- name: a\n  run: [x]\n  env:\n    A: x\n  B: SECRET",
    "- name: a\n  run: [x]\n  env:\n    A: >-\n  SECRET with: b",
    "- name: a\n  run: [x]\n  env:\n    A: >-\nSECRET with: b",
    "- name: a\n  run: [x]\n  env:\n    A: >-\n  b: SECRET",
    "- name: a\n  run: [x]\n  env:\n    A: >-\n  b: [{ SECRET: 1 }, SECRET]",
    "- name: a\n  run: [x]\n  env: { A: x }\n- name: b\n  sequence:\n  - { name: c, B: SECRET }",
    "- { name: a, run: [x], env: { 'SECRET x': 1, 'SECRET x': 2 } }",
    "- name: a\n  run: [x]\n  env:{API_KEY:SECRET, MODE: prod}",
    "- {name: a, run: [x], env:{API_KEY:SECRET, MODE: prod}}",
    "- {name: a, run: [x], env:API_KEY:SECRET}",
    "- {name: a, run: [x], env API_KEY=SECRET}",
    "- name: a\n  run: [x]\n  env:API_KEY=SECRET: prod",
    "- name: a\n  run: [x]\n  evn:API_KEY=SECRET: prod",
    "- name: a\n  run: [x]\n  steps.env.API_KEY=SECRET: prod",
    "- name: a\n  run: [x]\n  env.API_KEY=SECRET: 1",
    "- { name: a, run: [x], 'env API_KEY=SECRET': 1 }",
    "- name: a\n  run: [x]\n  env\n    A: SECRET\n",
    "- env\n    A: SECRET: b\n  name: a\n",
    "- { name: a, env\n  : { A: SECRET }, run: [x ]",
    "- { name: a, run: [x] env\n    A: SECRET: b }",
    "- name: a\n  # env: b\n  environment:\n    name: SECRET: b\n",
    "- name: a\n  # env:\n  #   A: SECRET\n  evn: x\n  # B: SECRET: b\n\tc: d\n  A: SECRET: b",
    "- env: >-\n  run: SECRET: b\n",
    "- name: a\n  run: [x]\n    env: { A: b }\n  evn:\n    name: SECRET: b\n",
    "- name: a\n  run: [x]\n  env: { A: b }\n  retry:\n    attempts: 2\n    API_KEY: SECRET",
    "- name: a\n  run: [x]\n  env: { A: b }\n  retry:\n  - API_KEY=SECRET",
    "- name: a\n  env: { A: b }\n  loop:\n    count: 2\n    API_KEY: SECRET\n  \
     steps:\n  - { name: b, run: [x] }",
    "- name: a\n  loop: { count: 2 }\n  tasks:\n  - { name: b, run: [x], API_KEY: SECRET }",
    "- name: a\n  parallel:\n  - { name: b, run: [x], API_KEY: SECRET }",
    "- name: a\n  run: [x]\n  env:\n- API_KEY=SECRET",
    "- name: a\n  run: [x]\n  env:\n  - A=b\n- API_KEY: SECRET",
    "- { name: a, run: [x], extra_env: { TOKEN: SECRET } }",
    "- { name: a, run: [x], dotenv: [TOKEN=SECRET] }",
    "- { name: a, run: [x], with: { TOKEN: SECRET } }",
    "- { name: a, run: [x], API_KEY: SECRET }",
    "- { name: a, run: [x], timout: SECRET }",
    "- { nam: SECRET, run: [x], needs: b }",
    "- { name: a, iff: \"{{ SECRET }}\", then: [{ name: b, run: [x] }] }",
    "- { name: a, run: [x], needs: { A: SECRET }, idle: { A: SECRET } }",
    "- { name: a, run: [API_KEY=SECRET, make, \"&&\", y] }",
    "- { name: a, run: [\"API_KEY=SECRET{{ nope }}\", make] }",
    "- { name: a, run: [A=1, API_KEY=SECRET, make, \"&&\", y] }",
    "- { name: a, command: [API_KEY=SECRET, make] }",
    "- { name: a, run: API_KEY=SECRET make }",
    "- { name: a, run: cd x && API_KEY=SECRET make }",
    "- name: a\n  run: [x]\n  timeout: |\n    1m\n    env:\n      A: SECRET",
    "- name: |\n    a\n    env: SECRET\n  idel: 3",
    "- name: a\n  if: |\n    input.\n    env: SECRET\n  then: [{ name: b, run: [x] }]",
    "- name: a\n  parallel:\n    policy: |\n      al\n      env: SECRET\n  branches: [{ name: b }]",
    "- name: a\n  run: [x]\n  env:\n  timeout: SECRET",
    "- name: a\n  run: [x]\n  env:\n    A: | # SECRET\n      # SECRET\n      SECRET\n  idle: 3",
    "- name: a\n  run: [x]\n  env:\n    A: >- # SECRET\n      b # SECRET\n      c\n  idle: 3",
    "- { name: a, run: [x], env: { B, \"hush\" }, idle: 3 }",
    "- { name: a, run: [x], env: { B, hush, C } }",
    "- { name: a, run: [x], env: [{ B, hush }] }",
    "- { name: a, run: [x], env: { B: \"{{ input | hush }}\" } }",
    "- { name: a, run: [x], env: { B: \"{{ hush }}\" } }",
    "- { name: a, run: [x], env: { B: \"{{ steps.hush.output }}\" } }",
    "- { name: b, run: [x] }\n- { name: a, run: [x], env: { B: \"{{ steps.b.hush }}\" } }",
    "- { name: a, component: c, input: { B: \"{{ hush }}\" } }",
    "- { name: a, run: [x], timeout: \"\n    A=SECRET\" }",
    "- { name: a, run: [x], timeout: 3x\n    A=SECRET }",
    "- { name: a, run: [A:SECRET, make, \"&&\", y] }",
];

/// The same of TOML.
const TOML: [&str; 39] = [
    "run = 'x' # SECRET",
    "run = 'x'# it's SECRET",
    "run = ['x']\nenv = 3 # { A = SECRET }",
    "run = ['x']\nvars = { A = 'SECRET' }",
    "run = 'x'\nenv = { A = 'SECRET' }",
    "run = ['x']\nenv = { A = 'SECRET', A = 'SECRET' }",
    "run = ['x']\nenv.A = SECRET",
    "run = ['x']\n[steps.env]\nA = 'SECRET'\nB = SECRET",
    "run = ['x']\n[steps.env]\nA = 'SECRET'\n[steps.retry]\nattempts = 0",
    "run = ['x']\nenv.'A=SECRET' = 1",
    "run = ['x']\nenv = { A = { SECRET = 1 } }",
    "run = ['x']\n\"\\u0065nv\".A = 'SECRET' b",
    "run = ['x']\nenv = { A = \"\"\"\n[b]\nSECRET\"\"\" c }",
    "run = ['x']\n[steps.env]\nA = '''\n[b]\nSECRET''' c",
    "run = ['x']\n[steps.env]\nA = [\n  ['b'],\n  'SECRET', c\n]",
    "run = ['x']\n[steps.env]\nA = \"\"\"b\"\"\"\"\nB = \"\"\"\n[b]\nSECRET\"\"\" c",
    "run = ['x']\n[steps.env]\nA = \"\"\"b\"\"\"\"\nB = \"\"\"\n[b]\nSECRET \\q\"\"\"",
    "run = ['x']\n[steps.env]\nA = 'b'# it's\nB = '''\n[b]\nSECRET''' c",
    "run = ['x']\n[steps.env]# it's\nB = '''\n[b]\nSECRET''' c",
    "run = ['x']\nenv.A = 1#\"\nenv.B = \"\"\"\n[b]\nSECRET\"\"\" c",
    "run = ['x', \"env='\"]\nenv.B = '''\n[b]\nSECRET''' c",
    "run = ['x', '[env=']\nenv = { A = 'b', B = [\n[1],\n'SECRET' c",
    "run = ['x']\nenv.A = '''\n[[b]]\n[c]\n\nSECRET\n''' c\nenv.B = 'SECRET' d",
    "run = ['x']\nenv.A = 'b'\nB = 'SECRET'",
    "run = ['x']\n[steps.env]\nA = \"\n[SECRET]\n",
    "run = ['x']\n[steps.env]\nA = \"\n[b]\nSECRET = ]",
    "run = ['x']\n[steps.env\nA = 'SECRET'",
    "run = ['x']\nenv\n= { A = 'SECRET' }",
    "run = ['x']\n\"env A=SECRET\" = 1",
    "run = ['x']\nenv = { A = 'b' }\n\"evn A=SECRET\" = 1",
    "run = ['x']\n# env: b\nevn { A = 'SECRET' }\nenv = { A = 'SECRET",
    "run = ['x']\n[steps.env]\nA = 'b'\n[steps.retry]\nattempts = 2\nAPI_KEY = 'SECRET'",
    "run = ['x']\nidle = \"\"\"3s\nenv.API_KEY = 'SECRET'\ninput = \"\"\"",
    "run = ['''a\nenv.API_KEY = \"SECRET\"\ncwd = ''', '&&', 'x']",
    "API_KEY = 'SECRET'\nrun = ['x']",
    "run = ['x']\n[x]\nb.SECRET = 1\nb.'SECRET' = { c = 1 }\n[x.b.'SECRET'.d]",
    "run = ['x']\nenv.A = 'b'\n[[x]]\n[x.SECRET]\nb = 1\n[x.SECRET.c]\nd = 1",
    "run = ['x']\nidle = \"\"\"\nenv.API_KEY = 'SECRET'\ninput = \"\"\"",
    "run = ['x']\nidle = \"\"\"\\\n  API_KEY = 'SECRET'\n\"\"\"",
];

#[test]
fn no_fault_of_a_plan_shows_a_value_of_env() {
    let texts = YAML.map(|step| (PlanFormat::Yaml, format!("name: p\nsteps:\n{step}\n")));
    let table = |step| (PlanFormat::Toml, format!("name = 'p'\n[[steps]]\nname = 'a'\n{step}\n"));
    let json = "{\"name\":\"p\",\"steps\":[{\"name\":\"a\",\"run\":3,\"env\":{\"A\":\"SECRET\"}}]}";
    let json = [json.to_owned(), json.replace("}}", "}")].map(|text| (PlanFormat::Json, text));
    let step = |step| format!("{{\"name\":\"p\",\"steps\":[{{\"name\":\"a\",{step}}}]}}");
    let steps = [
        "\"run\":[\"x\"],\"env\":{\"A=SECRET\":1}",
        "\"env\":{\"A\":\"}\",\n\"B\":\"SECRET\" c}",
        "\"env\":{\"A\":\"\\\"}\",\n\"B\":\"SECRET\" c}",
        "\"env\"\n:\n{\"A\":\"b\",\n\"B\":\"SECRET\" c}",
        "\"\\u0065nv\":{\"A\":\"b\",\n\"B\":\"SECRET\" c}",
        "\"run\":[\"x\"],\"env\":{\"A:SECRET\":\"1\",\"A:SECRET\":\"2\"}",
        "\"run\":[\"x\"],\"env:A=SECRET\":1",
        "\"env\"\n{\"A\":\"b\",\n\"B\":\"SECRET\"}",
        "\"env\":{\"A\":\"b\"}c\",\n\"B\":\"SECRET\"}",
    ];
    let json = json.into_iter().chain(steps.map(|text| (PlanFormat::Json, step(text))));
    for (format, text) in texts.into_iter().chain(TOML.map(table)).chain(json) {
        let text = text.replace("SECRET", SECRET);
        let shown = match format.read(&text) {
            Err(faults) => shown(&faults),
            Ok(plan) => {
                let fault = !plan.components().is_empty();
                let linked = plan.clone().link(&quell_flow::Catalog::new());
                let of_command = plan.commands().first().map(|command| command.fault("no"));
                assert_eq!(fault, linked.is_err());
                let of_command: Vec<_> = of_command.into_iter().collect();
                let faults = [plan.warnings(), &linked.err().unwrap_or_default(), &of_command];
                shown(&faults.concat())
            }
        };
        assert!(!shown.contains("hush") && !shown.contains("2hUsh"), "{text}\n{shown}");
        assert!(shown.contains(" | "), "{text}\n{shown}");
    }
}

#[test]
fn a_duplicate_key_is_named_if_it_is_one_of_plans() {
    for (step, says) in [
        ("env: { AKIA2HUSH: x, AKIA2HUSH: y }", "line 3, column 35: duplicate key"),
        ("env: { A:B: x, A:B: y }", "duplicate key"),
        ("component: c, input: { a:b: x, a:b: y }", "duplicate key"),
        ("run: [x], run: [y]", "duplicate key `run`"),
    ] {
        let text = format!("name: p\nsteps:\n- {{ name: a, {step} }}\n");
        let faults = PlanFormat::Yaml.read(&text).unwrap_err();
        assert!(faults[0].to_string().ends_with(says), "{faults:?}");
        assert!(!shown(&faults).contains("HUSH"), "{}", shown(&faults));
    }
}

#[test]
fn behind_an_env_that_was_read_to_its_end_mistakes_are_shown_as_elsewhere() {
    let text = "name: p\nsteps:\n- name: a\n  env:\n    A: b\n  run: [x\n- name: c\n  run: [y]\n";
    let faults = PlanFormat::Yaml.read(text).unwrap_err();
    assert!(shown(&faults).contains("- name: …"), "{}", shown(&faults));
    let text = "name: p\nsteps:\n- name: a\n  env: { A: b }\n  idel: 3s\n- name: c\n  idle: 3\n";
    let found = shown(&PlanFormat::Yaml.read(text).unwrap_err());
    assert!(found.contains("unknown key `idel`; did you mean `idle`?"), "{found}");
    assert!(found.contains(" |   idel: **\n") && found.contains(" |   idle: 3\n"), "{found}");
}

/// Steps of a plan whose container is misspelt, or of another tool.
#[test]
fn below_a_key_that_no_plan_has_no_value_is_shown() {
    for key in ["tasks", "setps", "jobs", "x"] {
        let text = format!(
            "name: p\n{key}:\n- name: a\n  run: [x]\n  env: {{ A: {SECRET} }}\n  KEY: {SECRET}\n  \
             idle: {SECRET}\n- {SECRET}\n"
        );
        let found = shown(&PlanFormat::Yaml.read(&text).unwrap_err());
        assert!(!found.contains("hush") && !found.contains("2hUsh"), "{found}");
        assert!(found.contains(&format!("unknown key `{key}`")), "{found}");
    }
}

#[test]
fn a_key_that_may_have_a_value_in_it_is_not_named() {
    let text = "name: p\nA=hush: 1\n'A hush': 1\nA:hush: 1\nA_KEY: 1\nruns-on: 1\nsteps: []\n";
    let found = shown(&PlanFormat::Yaml.read(text).unwrap_err());
    assert!(!found.contains("hush"), "{found}");
    assert!(found.contains("unknown key `A_KEY`") && found.contains("`runs-on`"), "{found}");
}

/// Each would be looked at to the end of its line.
#[test]
fn a_text_with_very_many_words_env_is_refused_in_one_walk() {
    for words in ["env ".repeat(240_000), "env\n".repeat(240_000), "env . ".repeat(160_000)] {
        let text = format!("name: p\nsteps:\n# {words}\n- name: a\n   run: [x]\n");
        assert!(PlanFormat::Yaml.read(&text).is_err());
    }
}

#[test]
fn a_word_env_that_is_no_key_hides_nothing() {
    let yaml = [
        "# Prepares the build environment\nname: p\nsteps:\n- name: a\n   run: [x]\n",
        "# env: of production\nname: p\nsteps:\n- name: a\n   run: [x]\n",
        "name: p\ndescription: prepares the environment\nsteps:\n- name: a\n   run: [x]\n",
        "name: p\ndescription: prepares the environment.\nsteps:\n- name: a\n   run: [x]\n",
        "name: env\nsteps:\n- name: a\n   run: [x]\n",
        "name: p\nsteps:\n- name: run tests in the staging environment\n   run: [x]\n",
        "name: p\nsteps:\n- name: a\n  run: [make]  # needs env\n- name: b\n   run: [x]\n",
        "name: p\nsteps:\n- name: a\n  run:\n  - env\n  - A\n- name: b\n   run: [x]\n",
    ];
    for text in yaml {
        let found = shown(&PlanFormat::Yaml.read(text).unwrap_err());
        assert!(found.contains(" run: […]\n"), "{text}\n{found}");
    }
    for line in ["\"description\": \"the environment\"", "\"description\": \"env\""] {
        let text = format!("{{\n  {line}\n  \"name\": \"p\"\n}}\n");
        let found = shown(&PlanFormat::Json.read(&text).unwrap_err());
        assert!(found.contains("\"name\": \"…\""), "{text}\n{found}");
    }
    for line in ["# sets the environment", "description = 'the environment'"] {
        let text = format!("{line}\nname = p\n");
        let found = shown(&PlanFormat::Toml.read(&text).unwrap_err());
        assert!(found.contains("name = …"), "{text}\n{found}");
    }
}

#[test]
fn behind_an_env_that_is_over_the_other_keys_and_steps_are_shown() {
    let step = |name: &str, more: &str| {
        format!("    {{\n      \"name\": \"{name}\",\n{more}      \"run\": [\"x\"]\n    }}")
    };
    for env in ["{\n        \"A\": \"b\"\n      }", "{ \"A\": \"}\" }", "\"b\""] {
        let first = step("a", &format!("      \"env\": {env},\n"));
        let steps = [first, step("b", ""), step("c", "      \"idle\": 3 s,\n")].join(",\n");
        let text = format!("{{\n  \"name\": \"p\",\n  \"steps\": [\n{steps}\n  ]\n}}\n");
        let found = shown(&PlanFormat::Json.read(&text).unwrap_err());
        assert!(found.contains("\"idle\": … …"), "{text}\n{found}");
    }
    for env in ["{ A: b }", "\n    A: b"] {
        let text = format!("name: p\nsteps:\n- env: {env}\n  name: a\n  run: [x]\n  idle: 3: s\n");
        let found = shown(&PlanFormat::Yaml.read(&text).unwrap_err());
        assert!(found.contains("idle: …: …"), "{text}\n{found}");
    }
}

#[test]
fn what_other_tools_call_env_has_the_key_that_is_meant() {
    for key in ["variables", "vars", "secrets", "environment"] {
        let text = format!("name: p\nsteps:\n- {{ name: a, run: [x], {key}: {{ A: b }} }}\n");
        let found = shown(&PlanFormat::Yaml.read(&text).unwrap_err());
        assert!(found.contains(&format!("unknown key `{key}`; did you mean `env`?")), "{found}");
        assert!(found.contains(&format!("{key}: {{ A: * }} }}")), "{found}");
    }
}

#[test]
fn keys_of_other_tools_are_named_behind_an_env() {
    for key in ["timeout-minutes", "continue-on-error", "runs-on", "on-failure", "env-clear"] {
        let text =
            format!("name: p\nsteps:\n- {{ name: a, env: {{ A: b }}, run: [x], {key}: 3 }}\n");
        let found = shown(&PlanFormat::Yaml.read(&text).unwrap_err());
        assert!(found.contains(&format!("`{key}`")), "{found}");
    }
}
