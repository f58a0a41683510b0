//! What a program learns from its environment, and that what it prints is seen at once.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Running, Scratch, row, wait_until};

/// Prepares `quell` as one that nobody has started with variables of a run.
fn quell(scratch: &Scratch, args: &[&str]) -> Command {
    let mut command = scratch.quell(args);
    command.env_remove("PYTHONUNBUFFERED");
    command
}

/// Reads what `env` has printed.
fn variables(printed: &Value) -> HashMap<&str, &str> {
    let text = printed.as_str().expect("text is kept as text");
    text.lines().filter_map(|line| line.split_once('=')).collect()
}

/// Runs `env` in a shell to its end, and yields the report.
fn env_of(scratch: &Scratch, env: &[(&str, &str)]) -> Value {
    let args = ["run", "--timeout", "1h", "--report", "report.json", "--", "sh", "-c", "env"];
    let mut command = quell(scratch, &args);
    command.envs(env.iter().copied());
    Running::start(command).ended().assert_code(0);
    scratch.json("report.json")
}

#[test]
fn what_python_prints_is_seen_before_it_ends() {
    let scratch = Scratch::new();
    // Without a reader that has seen the first line it gives up, and fails.
    let program = "import os, sys, time\n\
                   print('begun')\n\
                   for _ in range(600):\n    \
                   if os.path.exists('seen'): sys.exit(0)\n    \
                   time.sleep(0.05)\n\
                   sys.exit(1)";
    let mut command = quell(&scratch, &["run", "--json", "--", "python3", "-c", program]);
    let (reader, stdout) = std::io::pipe().expect("a pipe can be made");
    command.stdout(stdout);
    let running = Running::start(command);
    for line in BufReader::new(reader).lines() {
        let event: Value = line.expect("text").parse().expect("every line is JSON");
        if event["data"]["line"] == "begun" && event["event"] == "emitted" {
            scratch.write("seen", "");
        }
    }
    running.ended().assert_code(0);
}

#[test]
fn a_command_knows_its_run_and_its_deadline_and_nothing_of_another_run() {
    let scratch = Scratch::new();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    let stale = [("QUELL_SESSION", "old"), ("QUELL_LABEL_OLD", "old"), ("QUELL_RUN_ID", "old")];
    let report = env_of(&scratch, &stale);
    let seen = variables(&report["output"]["stdout"]);
    assert_eq!(report["run"], seen["QUELL_RUN_ID"], "{seen:?}");
    assert_eq!((seen["QUELL_ATTEMPT"], seen["PYTHONUNBUFFERED"]), ("1", "1"));
    let deadline: u64 = seen["QUELL_DEADLINE_MS"].parse().expect("a number");
    let left = Duration::from_millis(deadline).saturating_sub(now);
    let (least, most) = (Duration::from_mins(59), Duration::from_hours(2));
    assert!(left > least && left < most, "{left:?} are left");
    assert!(!seen.contains_key("QUELL_SESSION") && !seen.contains_key("QUELL_LABEL_OLD"));
}

#[test]
fn python_buffers_if_the_user_says_so() {
    let scratch = Scratch::new();
    let report = env_of(&scratch, &[("PYTHONUNBUFFERED", "")]);
    assert_eq!(variables(&report["output"]["stdout"])["PYTHONUNBUFFERED"], "");
}

#[test]
fn a_command_of_a_plan_knows_which_attempt_it_is_and_has_no_deadline_where_there_is_none() {
    let scratch = Scratch::new();
    let program = "env; [ $QUELL_ATTEMPT = 3 ]";
    let step = json!({
        "name": "flaky", "run": ["sh", "-c", program], "env": { "QUELL_LABEL_MINE": "mine" },
        "retry": { "attempts": 4, "backoff": "1ms" },
    });
    scratch.write("plan.json", &json!({ "name": "plan", "steps": [step] }).to_string());
    let stale = [("QUELL_DEADLINE_MS", "1"), ("QUELL_ATTEMPT", "9")];
    let mut command = quell(&scratch, &["run", "plan.json", "--report", "report.json"]);
    command.envs(stale);
    Running::start(command).ended().assert_code(0);
    let report = scratch.json("report.json");
    let seen = variables(&report["output"]["flaky"]["stdout"]);
    assert_eq!((seen["QUELL_ATTEMPT"], seen["QUELL_LABEL_MINE"]), ("3", "mine"));
    assert!(!seen.contains_key("QUELL_DEADLINE_MS"), "{seen:?}");
    assert_eq!(row(&report, "attempt 3")["run"], seen["QUELL_RUN_ID"], "{seen:?}");
}

#[test]
fn a_component_knows_its_session_its_labels_and_its_id_as_the_caller_wrote_it() {
    let scratch = Scratch::new();
    let file = "[agents.env]\nrun = [\"sh\", \"-c\", \"env\"]\n\
                env = { QUELL_LABEL_SET = \"by the file\", PYTHONUNBUFFERED = \"x\" }\n";
    scratch.write("quell.toml", file);
    let site = Site::with(scratch, &["--config", "quell.toml"]);
    let labels = json!({ "customer-no": "7", "set": "by the caller", "nul": "a\u{0}b" });
    let body = json!({
        "component": { "kind": "agent", "id": "env" }, "input": null, "id": "first",
        "session": "s 1", "labels": labels, "timeout_ms": 3_600_000,
    });
    assert_eq!(site.post("/v1/runs", &body).0, 201);
    let mut run = Value::Null;
    wait_until("the program has ended", || {
        run = site.get("/v1/runs/first").1;
        run["status"] == "completed"
    });
    let seen = variables(&run["output"]);
    assert_eq!((seen["QUELL_RUN_ID"], seen["QUELL_SESSION"]), ("first", "s 1"), "{run}");
    assert_eq!((seen["QUELL_LABEL_CUSTOMER_NO"], seen["QUELL_LABEL_COMPONENT"]), ("7", "env"));
    assert_eq!((seen["QUELL_LABEL_SET"], seen["PYTHONUNBUFFERED"]), ("by the file", "x"));
    assert!(seen.contains_key("QUELL_DEADLINE_MS") && !seen.contains_key("QUELL_LABEL_NUL"));
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn a_program_with_a_clear_environment_has_nothing_of_that_of_quell_but_path() {
    let scratch = Scratch::new();
    let plan = "name: p\nsteps:\n\
                - { name: all, run: [env] }\n\
                - { name: clear, run: [env], env_clear: true, env: { MINE: a } }\n\
                - { name: agent, component: clear }\n";
    scratch.write("plan.yaml", plan);
    scratch.write("quell.toml", "[agents.clear]\nrun = ['env']\nenv_clear = true\n");
    let mut command = quell(&scratch, &["run", "plan.yaml", "--report", "report.json"]);
    command.env("QUELL_TEST_SECRET", "s");
    Running::start(command).ended().assert_code(0);
    let report = scratch.json("report.json");
    let all = variables(&report["output"]["all"]["stdout"]);
    assert_eq!(all["QUELL_TEST_SECRET"], "s");
    let path = all["PATH"];
    for (printed, mine) in
        [(&report["output"]["clear"]["stdout"], Some(&"a")), (&report["output"]["agent"], None)]
    {
        let seen = variables(printed);
        assert_eq!((seen.get("MINE"), seen["PATH"]), (mine, path));
        let of_quell = |key: &&&str| key.starts_with("QUELL_") || **key == "PYTHONUNBUFFERED";
        let others: Vec<_> = seen.keys().filter(|key| !of_quell(key)).collect();
        assert!(others.iter().all(|key| ["MINE", "PATH", "PWD", "SHLVL", "_"].contains(key)));
        assert!(!seen.contains_key("QUELL_TEST_SECRET"), "{seen:?}");
    }
}

#[test]
fn a_plan_without_components_gets_no_secret_of_a_configuration_that_is_named() {
    let scratch = Scratch::new();
    let file = "[agents.a]\nurl = 'http://127.0.0.1:9/run'\nkey_env = 'QUELL_TEST_KEY'\n\
                [[keys]]\nsubject = 'ops'\nsecret_env = 'QUELL_TEST_OPS'\n";
    scratch.write("own.toml", file);
    scratch.write("faulty.toml", "[agents.a]\nrun = 1\n");
    let steps = "steps:\n- { name: a, run: [env] }\n- { name: b, run: [env] }\n";
    scratch.write("plan.yaml", &format!("name: p\n{steps}"));
    let seen = |args: &[&str]| {
        let args = [&["run", "plan.yaml", "--report", "report.json"], args].concat();
        let mut command = quell(&scratch, &args);
        command.env("QUELL_TEST_KEY", "k").env("QUELL_TEST_OPS", "o");
        Running::start(command).ended().assert_code(0);
        let report = scratch.json("report.json");
        let seen = variables(&report["output"]["b"]["stdout"]);
        ["QUELL_TEST_KEY", "QUELL_TEST_OPS"].map(|name| seen.contains_key(name))
    };
    assert_eq!(seen(&[]), [true, true]);
    assert_eq!(seen(&["--config", "own.toml"]), [false, false]);
    assert_eq!(seen(&["--config", "own.toml", "--only", "b"]), [false, false]);
    for file in ["faulty.toml", "gone.toml"] {
        for command in [&["run"][..], &["plan", "check"]] {
            let ended = scratch.run(&[command, &["plan.yaml", "--config", file]].concat());
            ended.assert_code(2);
            assert!(ended.stderr.contains(file), "{ended:?}");
        }
    }
}
