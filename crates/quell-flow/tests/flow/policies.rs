//! The policies as pure functions, against random histories: when each decides, and what.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use quell::CauseKind;
use quell_flow::{Decision, End, Ended, Policy, SoFar, Verdict};

/// Random ends in a random order of branches.
fn histories() -> impl Strategy<Value = Vec<Ended<u32>>> {
    let end = prop_oneof![
        3 => any::<u32>().prop_map(End::Ok),
        1 => "[a-z]{1,8}".prop_map(|words| End::Failed(words.into())),
        1 => Just(End::Skipped),
    ];
    prop::collection::vec(end, 0..12)
        .prop_map(|ends| (0..ends.len()).zip(ends).collect::<Vec<_>>())
        .prop_shuffle()
        .prop_map(|ends| {
            ends.into_iter()
                .map(|(branch, end)| Ended::new(branch, format!("b{branch}"), end))
                .collect()
        })
}

/// Asks a policy as a parallel step does: after nothing, then after each end, until it decides.
fn first_decision(policy: &Policy<u32>, history: &[Ended<u32>]) -> Option<(usize, Decision)> {
    (0..=history.len()).find_map(|ended| {
        let so_far = SoFar::new(history.len(), &history[..ended]);
        policy.decide(&so_far).map(|decision| (ended, decision))
    })
}

fn place_of(history: &[Ended<u32>], want: impl Fn(&End<u32>) -> bool) -> Option<usize> {
    history.iter().position(|ended| want(&ended.end))
}

/// Every policy, with a quorum, a minimum and a predicate that depend on a number.
fn policies(n: usize) -> Vec<Policy<u32>> {
    vec![
        Policy::all(),
        Policy::settle(),
        Policy::first_success(),
        Policy::first_settled(),
        Policy::quorum(n),
        Policy::until(move |so_far| so_far.ok > n),
        Policy::best_effort(Duration::from_secs(1), n),
        Policy::hedge(Duration::from_secs(1)),
    ]
}

fn is_ok(ended: &Ended<u32>) -> bool {
    matches!(ended.end, End::Ok(_))
}

/// The place of the nth branch of a sort, from 1.
fn nth(history: &[Ended<u32>], nth: usize, want: impl Fn(&Ended<u32>) -> bool) -> Option<usize> {
    let mut places = history.iter().enumerate().filter(|(_, ended)| want(ended));
    places.nth(nth.checked_sub(1)?).map(|(place, _)| place)
}

proptest! {
    #[test]
    fn every_policy_has_decided_when_every_branch_has_ended(
        history in histories(),
        n in 0..13_usize,
    ) {
        for policy in policies(n) {
            prop_assert!(first_decision(&policy, &history).is_some(), "{}", policy.name());
        }
    }

    #[test]
    fn all_is_decided_at_the_first_failure_or_when_all_are_ok(history in histories()) {
        let (ended, decision) = first_decision(&Policy::all(), &history).unwrap();
        prop_assert_eq!(decision.losers, CauseKind::SiblingFailed);
        if let Some(place) = place_of(&history, |end| matches!(end, End::Failed(_))) {
            prop_assert_eq!(ended, place + 1);
            prop_assert_eq!(decision.by, Some(history[place].branch));
            let End::Failed(words) = &history[place].end else { unreachable!() };
            let message = format!("branch `{}` failed: {words}", history[place].name);
            prop_assert_eq!(decision.verdict, Verdict::Failed(message.into()));
        } else {
            prop_assert_eq!(ended, history.len());
            prop_assert_eq!(decision.by, history.last().map(|last| last.branch));
            prop_assert_eq!(decision.verdict, Verdict::Values);
        }
    }

    #[test]
    fn settle_is_decided_when_all_have_ended_and_never_fails(history in histories()) {
        let (ended, decision) = first_decision(&Policy::settle(), &history).unwrap();
        prop_assert_eq!(ended, history.len());
        prop_assert_eq!(decision.verdict, Verdict::Values);
    }

    #[test]
    fn first_success_is_decided_at_the_first_ok_or_when_none_is_left(history in histories()) {
        let (ended, decision) = first_decision(&Policy::first_success(), &history).unwrap();
        prop_assert_eq!(decision.losers, CauseKind::RaceLost);
        if let Some(place) = place_of(&history, |end| matches!(end, End::Ok(_))) {
            prop_assert_eq!(ended, place + 1);
            prop_assert_eq!(decision.by, Some(history[place].branch));
            prop_assert_eq!(decision.verdict, Verdict::Values);
        } else {
            prop_assert_eq!(ended, history.len());
            prop_assert!(matches!(decision.verdict, Verdict::Failed(_)));
        }
    }

    #[test]
    fn a_decision_depends_on_nothing_but_what_has_ended(
        history in histories(),
        n in 0..13_usize,
    ) {
        for policy in policies(n) {
            for ended in 0..=history.len() {
                let so_far = SoFar::new(history.len(), &history[..ended]);
                prop_assert_eq!(policy.decide(&so_far), policy.clone().decide(&so_far));
            }
        }
    }

    #[test]
    fn a_policy_that_is_asked_only_at_the_end_decides_the_same(
        history in histories(),
        n in 0..13_usize,
    ) {
        for policy in policies(n) {
            let (_, decision) = first_decision(&policy, &history).unwrap();
            let late = policy.decide(&SoFar::new(history.len(), &history)).unwrap();
            let sort = |decision: &Decision| std::mem::discriminant(&decision.verdict);
            prop_assert_eq!((sort(&late), late.losers), (sort(&decision), decision.losers));
            if policy.name() != "until" {
                prop_assert_eq!(late.by, decision.by, "{}", policy.name());
            }
        }
    }

    #[test]
    fn first_settled_is_decided_by_the_first_that_was_not_skipped(history in histories()) {
        let (ended, decision) = first_decision(&Policy::first_settled(), &history).unwrap();
        prop_assert_eq!(decision.losers, CauseKind::RaceLost);
        if let Some(place) = place_of(&history, |end| !matches!(end, End::Skipped)) {
            prop_assert_eq!((ended, decision.by), (place + 1, Some(history[place].branch)));
            prop_assert_eq!(decision.verdict == Verdict::Values, is_ok(&history[place]));
        } else {
            prop_assert_eq!(ended, history.len());
            prop_assert!(matches!(decision.verdict, Verdict::Failed(_)));
        }
    }

    #[test]
    fn a_quorum_is_decided_when_it_is_reached_or_has_become_impossible(
        history in histories(),
        wanted in 0..13_usize,
    ) {
        let (ended, decision) = first_decision(&Policy::quorum(wanted), &history).unwrap();
        let reached = nth(&history, wanted, is_ok);
        let lost = (history.len() + 1).saturating_sub(wanted);
        let impossible = nth(&history, lost, |ended| !is_ok(ended));
        match (reached, impossible) {
            _ if wanted == 0 => prop_assert_eq!((ended, decision.verdict), (0, Verdict::Values)),
            _ if wanted > history.len() => {
                prop_assert_eq!(ended, 0);
                prop_assert!(matches!(decision.verdict, Verdict::Unreachable(_)));
            }
            (Some(place), None) => {
                prop_assert_eq!((ended, decision.verdict), (place + 1, Verdict::Values));
                prop_assert_eq!(decision.by, Some(history[place].branch));
                prop_assert_eq!(decision.losers, CauseKind::QuorumReached);
            }
            (None, Some(place)) => {
                prop_assert_eq!((ended, decision.by), (place + 1, Some(history[place].branch)));
                let Verdict::Unreachable(why) = decision.verdict else { panic!("a failure") };
                prop_assert!(why.ok + why.open < wanted, "{}", why);
                prop_assert!(why.ok + why.open + 1 >= wanted, "decided too late: {}", why);
                prop_assert_eq!(decision.losers, CauseKind::SiblingFailed);
            }
            other => panic!("both or neither: {other:?}"),
        }
    }

    #[test]
    fn until_is_decided_as_soon_as_its_predicate_is_true(history in histories(), n in 1..6_usize) {
        let policy = Policy::until(move |so_far: &SoFar<'_, u32>| so_far.values().count() >= n);
        let (ended, decision) = first_decision(&policy, &history).unwrap();
        if let Some(place) = nth(&history, n, is_ok) {
            prop_assert_eq!((ended, decision.verdict), (place + 1, Verdict::Values));
            prop_assert_eq!(decision.by, Some(history[place].branch));
        } else {
            prop_assert_eq!(ended, history.len());
            prop_assert!(matches!(decision.verdict, Verdict::Failed(_)));
        }
    }

    #[test]
    fn best_effort_waits_for_all_or_its_deadline_and_fails_below_its_minimum(
        history in histories(),
        at in 0..13_usize,
        min in 0..13_usize,
    ) {
        let policy = Policy::best_effort(Duration::from_secs(1), min);
        let ended = &history[..at.min(history.len())];
        let so_far = SoFar::new(history.len(), ended);
        prop_assert_eq!(policy.decide(&so_far).is_some(), so_far.all_ended());
        let decision = policy.decide(&so_far.at_deadline()).unwrap();
        let enough = ended.iter().filter(|ended| is_ok(ended)).count() >= min;
        prop_assert_eq!(decision.verdict == Verdict::Values, enough);
        prop_assert_eq!(decision.losers, CauseKind::Deadline);
    }
}

#[test]
fn a_policy_says_its_name_with_its_numbers_and_when_it_wants_to_be_asked() {
    let times = |policy: Policy<u32>| {
        let name = policy.name().to_owned();
        (name, policy.deadline_after(), policy.staggered_by())
    };
    let second = Duration::from_secs(1);
    assert_eq!(times(Policy::quorum(2)), ("quorum(2)".into(), None, None));
    assert_eq!(times(Policy::hedge(second)), ("hedge(1s)".into(), None, Some(second)));
    let best_effort = Policy::best_effort(second, 3);
    assert_eq!(times(best_effort), ("best_effort(1s, 3)".into(), Some(second), None));
}

#[test]
fn an_aggregate_quotes_the_failures_in_the_order_of_declaration() {
    let ended = [
        Ended::new(1, "b", End::Failed("no route".into())),
        Ended::new(2, "c", End::Skipped),
        Ended::<u32>::new(0, "a", End::Failed("refused".into())),
    ];
    let decision = Policy::first_success().decide(&SoFar::new(3, &ended)).unwrap();
    let Verdict::Failed(message) = decision.verdict else { panic!("expected a failure") };
    assert_eq!(&*message, "none of 3 branches succeeded: `a`: refused; `b`: no route");
}

#[test]
fn an_aggregate_beyond_its_bound_counts_the_rest() {
    let ended: Vec<Ended<u32>> = (0..20)
        .map(|branch| Ended::new(branch, format!("b{branch}"), End::Failed(Arc::from("no"))))
        .collect();
    let decision = Policy::first_success().decide(&SoFar::new(20, &ended)).unwrap();
    let Verdict::Failed(message) = decision.verdict else { panic!("expected a failure") };
    assert!(message.ends_with("`b7`: no; and 12 more"), "{message}");
}

#[test]
fn what_can_cross_threads_does() {
    const fn crosses<T: Send + Sync>() {}
    const fn moves<T: Send>() {}
    crosses::<Policy<u32>>();
    crosses::<Decision>();
    crosses::<quell_flow::Settled<u32>>();
    crosses::<quell_flow::Plan>();
    crosses::<quell_flow::PlanError>();
    crosses::<quell_flow::Retry>();
    crosses::<quell_flow::RetryAfter>();
    moves::<quell_flow::Parallel<u32>>();
    moves::<quell_flow::Branch<u32>>();
}

#[test]
fn without_branches_all_and_settle_have_no_values_and_first_success_fails() {
    let nothing = SoFar::<u32>::new(0, &[]);
    assert_eq!(Policy::all().decide(&nothing).unwrap().verdict, Verdict::Values);
    assert_eq!(Policy::settle().decide(&nothing).unwrap().verdict, Verdict::Values);
    let decision = Policy::first_success().decide(&nothing).unwrap();
    assert_eq!(decision.verdict, Verdict::Failed("none of 0 branches succeeded".into()));
}
