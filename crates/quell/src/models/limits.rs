//! Slots that come free while others ask for them, and a limit that comes meanwhile. A run that
//! comes with its limit is in a map that is not modelled.

use loom::thread;
use quell_core::lifecycle::{BodyEnd, Input};
use quell_core::{RunId, RunKind};

use super::{Arc, EngineConfig, end_body, engine_of, explore, started_root};
use crate::node::flags;
use crate::queue::{RunLimits, Scope};
use crate::spec::RunSpec;
use crate::step::StopOrigin;
use crate::testing;

const AGENTS: Scope = Scope::Kind(RunKind::Agent);

#[test]
fn i21_a_slot_that_comes_free_while_a_run_comes_is_not_lost() {
    explore("an end against a submit under a limit", Some(3), 2, |seen| {
        let limits = RunLimits::new().running_max(1);
        let engine = engine_of(EngineConfig::new().limit(AGENTS, limits));
        let root = started_root(&engine);
        let other = thread::spawn({
            let root = Arc::clone(&root);
            move || end_body(&root, BodyEnd::Ok)
        });
        let next = engine.shared().accept_root(agent("next")).expect("a root is accepted");
        let waits = || next.flags() & flags::AWAITS_ADMISSION != 0;
        seen.note(usize::from(waits()));
        other.join().unwrap();
        assert!(!waits(), "nobody released it");
        next.apply(Input::Started, StopOrigin::default(), |_, _| {});
        end_body(&next, BodyEnd::Ok);
        assert_eq!(testing::held(&engine).admission, 0);
    });
}

#[test]
fn i39_a_run_that_ends_while_its_limit_comes_keeps_no_slot() {
    explore("an end against the first limit of its kind", Some(3), 0, |_| {
        let engine = engine_of(EngineConfig::new());
        let root = started_root(&engine);
        let other = thread::spawn({
            let engine = engine.clone();
            move || engine.set_limit(AGENTS, RunLimits::new().running_max(1))
        });
        end_body(&root, BodyEnd::Ok);
        other.join().unwrap();
        assert_eq!(testing::held(&engine).admission, 0, "the run that ended is not counted");
    });
}

fn agent(name: &str) -> RunSpec {
    RunSpec::agent(name).id(RunId::from_text(name))
}
