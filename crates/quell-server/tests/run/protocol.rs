//! What programs say of themselves, as a caller of the native API sees it.

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Scratch, wait_until};

/// Serves one component, `agents.it`, which is a program in Python with these further options.
fn site(program: &str, options: &str) -> Site {
    let scratch = Scratch::new();
    scratch.write("it.py", program);
    let file = format!("[agents.it]\nrun = [\"python3\", \"it.py\"]\n{options}\n");
    scratch.write("quell.toml", &file);
    Site::with(scratch, &["--config", "quell.toml"])
}

/// Starts a run of the component and waits for its end.
fn run_of(site: &Site, id: &str) -> Value {
    let body = json!({ "component": { "kind": "agent", "id": "it" }, "input": null, "id": id });
    assert_eq!(site.post("/v1/runs", &body).0, 201);
    let mut run = Value::Null;
    wait_until("the run has ended", || {
        run = site.get(&format!("/v1/runs/{id}")).1;
        !matches!(run["status"].as_str(), Some("queued" | "running" | "stopping"))
    });
    run
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
    let site = site(program, "idle = \"4s\"");
    let run = run_of(&site, "one");
    assert_eq!(run["status"], "timed-out", "{run}");
    assert_eq!(run["cause"]["kind"], "idle-timeout", "{run}");
    assert_eq!(site.scratch.read("spoken"), b"yes", "{run}");
}
