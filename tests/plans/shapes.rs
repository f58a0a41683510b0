//! Random plans of up to sixty steps, most of them small.

use fastrand::Rng;
use serde_json::{Value, json};

/// A plan as JSON.
pub(super) fn plan(rng: &mut Rng) -> String {
    let most = match rng.u8(0..40) {
        0 => 60,
        1..=5 => 20,
        _ => 7,
    };
    let common = if rng.bool() { OPTIONS[rng.usize(0..OPTIONS.len())] } else { "" };
    let mut shapes = Shapes { rng, left: most, common };
    let mut plan = json!({ "name": "plan", "steps": shapes.steps(0, 1) });
    if shapes.has("timeout", 8) {
        plan["timeout"] = shapes.time(60);
    }
    shapes.cleanup(&mut plan, 3);
    plan.to_string()
}

/// What half of the plans have much of, one thing each: rare things seldom meet otherwise.
const OPTIONS: [&str; 14] = [
    "timeout",
    "grace",
    "idle",
    "retry",
    "on_failure",
    "on_stop",
    "on_branch_timeout",
    "on_branch_cancelled",
    "on_loser",
    "start_next",
    "branch_timeout",
    "branch_grace",
    "branch_idle",
    "limit",
];

struct Shapes<'a> {
    rng: &'a mut Rng,
    left: usize,
    /// The option that is drawn every other time.
    common: &'static str,
}

impl Shapes<'_> {
    fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(0..n) == 0
    }

    fn has(&mut self, option: &str, one_in: u32) -> bool {
        self.one_in(if option == self.common { 2 } else { one_in })
    }

    fn time(&mut self, most: u64) -> Value {
        format!("{}ms", self.rng.u64(1..=most)).into()
    }

    /// Steps that follow each other, at least one.
    fn steps(&mut self, depth: usize, most: usize) -> Value {
        let mut steps = Vec::new();
        let count = self.rng.usize(1..=most + 2);
        for at in 0..count {
            if at > 0 && self.left == 0 {
                break;
            }
            steps.push(self.step(at, depth));
        }
        steps.into()
    }

    fn step(&mut self, at: usize, depth: usize) -> Value {
        self.left = self.left.saturating_sub(1);
        let mut step = match self.rng.u8(0..12) {
            _ if self.left == 0 || depth > 4 => self.command(),
            0 => json!({ "sequence": self.steps(depth + 1, 2) }),
            1..=3 => self.parallel(depth),
            4 => json!({ "loop": self.rounds(), "steps": self.steps(depth + 1, 1) }),
            5 => self.condition(depth),
            6 => self.route(depth),
            7 => json!({ "workflow": { "name": "inner", "steps": self.steps(depth + 1, 1) } }),
            8 => json!({ "team": self.mode(), "members": self.steps(depth + 1, 1) }),
            _ => self.command(),
        };
        step["name"] = format!("s{at}").into();
        for (key, most) in [("timeout", 30), ("grace", 15), ("idle", 30)] {
            if self.has(key, 9) {
                step[key] = self.time(most);
            }
        }
        if step["parallel"]["start_next"] != "decided" {
            if self.has("retry", 8) {
                step["retry"] = json!({ "attempts": self.rng.u8(1..4), "backoff": "2ms" });
            }
            self.cleanup(&mut step, 6);
        }
        step
    }

    fn command(&mut self) -> Value {
        let how = match self.rng.u8(0..20) {
            0..=8 => "ok",
            9..=10 => "fail",
            11 => "panic",
            12..=13 => "deaf",
            14 => "ignorant",
            15 => "naive",
            16..=17 => "tidy",
            _ => "half",
        };
        json!({ "run": ["do", how, self.rng.u64(0..25).to_string()] })
    }

    fn cleanup(&mut self, owner: &mut Value, one_in: u32) {
        for key in ["on_failure", "on_stop"] {
            if self.has(key, one_in) {
                let how = ["ok", "ok", "ok", "fail", "deaf", "panic", "naive"];
                let how = how[self.rng.usize(0..how.len())];
                let time = self.rng.u64(0..9).to_string();
                owner[key] = json!([
                    { "name": "c0", "run": ["clean", how, time] },
                    { "name": "c1", "run": ["clean", "ok", "1"] },
                ]);
            }
        }
    }

    fn parallel(&mut self, depth: usize) -> Value {
        let branches = self.steps(depth + 1, 3);
        let count = branches.as_array().map_or(1, Vec::len);
        let mut options = match self.rng.u8(0..8) {
            0 | 1 => json!({ "policy": "all" }),
            2 => json!({ "policy": "settle" }),
            3 => json!({ "policy": "first_success" }),
            4 => json!({ "policy": "first_settled" }),
            5 => json!({ "policy": "quorum", "quorum": self.rng.usize(1..=count) }),
            6 if self.rng.bool() => json!({ "policy": "hedge", "delay": self.time(9) }),
            6 => json!({ "policy": "until", "until": "ok + failed >= 2" }),
            _ => json!({ "policy": "best_effort", "deadline": self.time(20), "min": 0 }),
        };
        for (key, words) in [
            ("on_branch_timeout", ["skip", "partial"]),
            ("on_branch_cancelled", ["skip", "partial"]),
            ("on_loser", ["let_finish", "detach"]),
            ("start_next", ["decided", "decided"]),
        ] {
            if self.has(key, 5) {
                options[key] = words[self.rng.usize(0..2)].into();
            }
        }
        for key in ["branch_timeout", "branch_grace", "branch_idle"] {
            if self.has(key, 6) {
                options[key] = self.time(25);
            }
        }
        if self.has("limit", 4) {
            options["limit"] = self.rng.u8(1..3).into();
        }
        json!({ "parallel": options, "branches": branches })
    }

    fn rounds(&mut self) -> Value {
        if self.rng.bool() {
            json!({ "count": self.rng.u8(1..4) })
        } else {
            json!({ "until": "index > 1", "max": self.rng.u8(1..4) })
        }
    }

    fn condition(&mut self, depth: usize) -> Value {
        let holds = ["1 > 0", "1 < 0", "input", "input.gone"][self.rng.usize(0..4)];
        let mut step = json!({ "if": holds, "then": self.steps(depth + 1, 1) });
        if self.rng.bool() {
            step["else"] = self.steps(depth + 1, 1);
        }
        step
    }

    fn route(&mut self, depth: usize) -> Value {
        let routes = self.steps(depth + 1, 2);
        json!({ "route": "input or 's9'", "routes": routes, "otherwise": "s0" })
    }

    fn mode(&mut self) -> Value {
        if self.rng.bool() { json!({ "mode": "broadcast" }) } else { json!({ "mode": "sequence" }) }
    }
}
