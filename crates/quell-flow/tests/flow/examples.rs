//! The examples do what they say.

#[expect(dead_code, reason = "here nobody calls its `main`")]
#[path = "../../examples/hedged_request.rs"]
mod hedged_request;
#[expect(dead_code, reason = "here nobody calls its `main`")]
#[path = "../../examples/own_policy.rs"]
mod own_policy;
#[expect(dead_code, reason = "here nobody calls its `main`")]
#[path = "../../examples/team_quorum.rs"]
mod team_quorum;

use quell::RunStatus;
use quell_flow::CountedAs;

use crate::support::millis;

#[tokio::test]
async fn a_team_of_three_has_its_quorum_with_a_partial_answer() {
    let settled = team_quorum::poll().await.unwrap();
    let chatty = settled.row("chatty").unwrap();
    assert_eq!((chatty.status, chatty.counted_as), (RunStatus::TimedOut, CountedAs::Partial));
    assert_eq!(settled.row("down").unwrap().counted_as, CountedAs::Failed);
    assert_eq!(settled.decided_by, Some(1));
    let values = settled.into_values();
    assert_eq!(values[0], "once upon ");
    assert!(values[1].starts_with("once upon a time once"), "{values:?}");
}

#[tokio::test]
async fn a_hedged_request_is_answered_by_the_second_server() {
    let settled = hedged_request::fetch(millis(50)).await.unwrap();
    assert_eq!(settled.row("near").unwrap().status, RunStatus::Cancelled);
    assert_eq!(settled.row("spare").unwrap().run, None, "it was not needed");
    assert_eq!(settled.into_first(), Some("from afar"));
}

#[tokio::test]
async fn a_policy_of_ones_own_decides_as_it_says() {
    let settled = own_policy::auction(100, [30, 80, 5]).await.unwrap();
    assert_eq!((settled.decided_by, &*settled.policy), (Some(1), "reaches(100)"));
    assert_eq!(settled.into_values(), [30, 80]);
    let error = own_policy::auction(200, [30, 80, 5]).await.unwrap_err().to_string();
    assert!(error.contains("all bids are 115, less than 200"), "{error}");
}
