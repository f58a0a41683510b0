//! `quell pause` and `quell resume`.

use crate::services::{Answers, Peer};
use crate::support::Scratch;

#[test]
fn what_is_asked_and_answered_is_sent_byte_for_byte_as_it_was_typed() {
    let peer = Peer::start(|answers: &mut Answers<'_>| {
        answers.answer("200 OK", "application/json", r#"{"status":"queued","attempt":2}"#);
    });
    for typed in ["1E400", "12345678901234567890123.10", r#"{"k":1,"k":2,"a":-0}"#, "\"text\""] {
        let (scratch, server) = (Scratch::new(), peer.url(""));
        scratch.run(&["resume", "r", typed, "--server", &server]).assert_code(0);
        scratch.run(&["pause", "r", "--request", typed, "--server", &server]).assert_code(0);
        let bodies: Vec<_> = peer.seen().into_iter().map(|asked| asked.body).collect();
        let right = [format!("{{\"answer\":{typed}}}"), format!("{{\"request\":{typed}}}")];
        assert_eq!(bodies[bodies.len() - 2..], right);
    }
    Scratch::new().run(&["resume", "r", "no \"JSON\"", "--server", &peer.url("")]).assert_code(0);
    let last = peer.seen().pop().expect("a request").body;
    assert_eq!(last, r#"{"answer":"no \"JSON\""}"#);
}
