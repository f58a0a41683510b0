//! Random plans, made from plain numbers so that they shrink by leaving things out.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Strategy;
use quell::{StopDelivery, StopMode};

use super::plan::{Cleanup, Command, End, Hook, Keep, Plan, Request, RunPlan, Step};

/// Plans of up to eight runs and eight commands; at the end everything is cancelled.
pub(crate) fn plans() -> impl Strategy<Value = Plan> {
    let runs = vec((any::<[u8; 4]>(), any::<[u16; 10]>(), vec(any::<[u16; 2]>(), 0..5)), 1..9);
    let commands = vec((any::<u16>(), any::<[u8; 3]>(), any::<[u16; 2]>()), 0..9);
    (any::<[u8; 3]>(), runs, commands).prop_map(|([grace, wait, keeps], runs, commands)| {
        let mut plan = Plan {
            grace: [400, 50, 1_500, 400, 50, 1_500, 0][usize::from(grace % 7)],
            wait: [100, 2, 20, 600][usize::from(wait % 4)],
            keeps: keeps % 3 != 2,
            runs: Vec::new(),
            commands: Vec::new(),
        };
        for (place, spec, steps) in runs {
            add_run(&mut plan, place, spec, &steps);
        }
        let count = plan.runs.len();
        plan.commands.extend(
            commands
                .into_iter()
                .map(|(at, what, request)| (time(at) + 1, command_of(what, request, count))),
        );
        plan.commands.sort_by_key(|(at, _)| *at);
        let close = plan.commands.last().map_or(0, |(at, _)| *at) + CLOSE_AFTER;
        let cancel = |run| (close, Command::Cancel(run, Request::COOPERATIVE));
        plan.commands.extend((0..count).map(cancel));
        plan
    })
}

/// Adds a root, or a child somewhere in the script of an earlier run.
fn add_run(plan: &mut Plan, place: [u8; 4], spec: [u16; 10], steps: &[[u16; 2]]) {
    let [parent, position, keep, cleanup] = place.map(usize::from);
    let number = plan.runs.len();
    plan.runs.push(run_of(spec, steps));
    if number == 0 || parent % 5 == 4 {
        let at = if number == 0 { 0 } else { time(spec[9]) };
        plan.commands.push((at, Command::Submit(number)));
        return;
    }
    let above = &mut plan.runs[parent / 5 % number];
    if let Some(way) = &mut above.gives_way
        && cleanup % 4 == 3
        && way.child.is_none()
        && above.stop_delivery != StopDelivery::Drop
    {
        way.child = Some(number);
        return;
    }
    let keep = match keep % 4 {
        0 | 1 => Keep::Held,
        2 => Keep::Dropped,
        _ => Keep::Reference,
    };
    let joins = above.steps.last() == Some(&Step::Join);
    let places = above.steps.len() + usize::from(!joins);
    above.steps.insert(position % places, Step::Spawn(number, keep));
}

fn run_of(spec: [u16; 10], steps: &[[u16; 2]]) -> RunPlan {
    let [timeout, start_within, idle, grace, delivery, manners, way, cleanup, end, _] = spec;
    let mut run = RunPlan {
        timeout: (timeout % 6 == 5).then(|| time(timeout / 6)),
        start_within: (start_within % 16 == 15).then(|| time(start_within / 16)),
        idle: (idle % 8 == 7).then(|| time(idle / 8)),
        grace: (grace % 5 == 4).then(|| time(grace / 5)),
        stop_delivery: match delivery % 6 {
            0..=3 => StopDelivery::Auto,
            4 => StopDelivery::Signal,
            _ => StopDelivery::Drop,
        },
        listens: manners % 4 == 3,
        steps: steps.iter().map(|[kind, word]| step_of(*kind, *word)).collect(),
        gives_way: (way % 2 == 0).then(|| {
            let shielded = way % 4 == 2;
            Cleanup { takes: time(cleanup), shielded, child: None }
        }),
        end: match end % 8 {
            0..=2 => End::Ok,
            3 | 4 => End::Never,
            5 | 6 => End::Err,
            _ => End::Panic,
        },
    };
    if manners % 8 > 3 {
        run.steps.push(Step::Join);
    }
    run
}

fn step_of(kind: u16, word: u16) -> Step {
    match kind % 16 {
        0..=5 => Step::Sleep(time(word)),
        6 => Step::Emit,
        7 => Step::SetOutput,
        8..=10 => {
            let (panics, at_end) = (kind / 16 % 4 == 3, kind / 64 % 2 == 1);
            Step::Hook(Hook { takes: time(word), panics, at_end })
        }
        11 | 12 => Step::Hold(time(word).max(1)),
        13 | 14 => Step::Checkpoint,
        _ => Step::Shield(time(word)),
    }
}

fn command_of(what: [u8; 3], request: [u16; 2], runs: usize) -> Command {
    let [kind, target, mode] = what;
    let run = usize::from(target) % runs;
    let [grace, escalate] = request;
    match kind % 13 {
        0..=6 => {
            let request = Request {
                mode: match mode % 6 {
                    0..=2 => StopMode::Cooperative,
                    3 | 4 => StopMode::AfterStep,
                    _ => StopMode::Abort,
                },
                grace: (grace % 2 == 1).then(|| time(grace / 2)),
                escalate: time(escalate),
                remembered: mode / 6 % 4 == 3,
            };
            Command::Cancel(run, request)
        }
        7 | 8 => Command::Detach(run),
        9 => Command::Read(run),
        _ => Command::Watch(run, u64::from(grace) % 30 * u64::from(escalate % 2)),
    }
}

/// Now and then nothing, now and then little, mostly something that nobody else takes.
fn time(word: u16) -> u64 {
    let word = u64::from(word);
    match word % 16 {
        0 => 0,
        1 | 2 => 1 + word / 16 % 20,
        _ => 1 + word / 16 % 2_500,
    }
}

/// When everything is cancelled after the last command.
const CLOSE_AFTER: u64 = 2_777;
