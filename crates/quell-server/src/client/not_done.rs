//! [`NotDone`]: why a server has not done what it was asked, in one line with what to do.

use hyper::StatusCode;
use quell_report::text::{cut, printable};
use serde::Deserialize;

use crate::out::Fault;

/// Why a server has not done what it was asked.
#[derive(Debug)]
pub(crate) enum NotDone {
    /// It has refused: asking again changes nothing.
    Refused(String),
    /// There is no answer, or it has broken off, or there will be another one later.
    Lost(String),
}

impl NotDone {
    /// Reads the answer of a refusal: a problem document, or whatever else answers there.
    pub(super) fn read(status: StatusCode, body: &[u8], has_key: bool) -> Self {
        let problem = serde_json::from_slice::<Problem>(body).ok();
        let problem = problem.filter(|it| it.kind.starts_with(PROBLEMS));
        let Some(Problem { kind, detail }) = problem else {
            let words = foreign(status, body);
            return if status.is_server_error() { Self::Lost(words) } else { Self::Refused(words) };
        };
        let detail = cut(&printable(&detail), DETAIL_CHARS_MAX);
        let hint = match (status, kind.strip_prefix(PROBLEMS).unwrap_or_default()) {
            (StatusCode::UNAUTHORIZED, _) if has_key => "the server does not know this key",
            (StatusCode::UNAUTHORIZED, _) => {
                "`--key-env NAME` names the environment variable that has the key"
            }
            (_, "unknown-run") => "`quell ps --all` lists the runs",
            (_, "unknown-path") => {
                "the server is of a release that does not have this, or its address has a path too \
                 much: it is that of its root, such as `http://127.0.0.1:7777`"
            }
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _)
                if !detail.contains("ask again") =>
            {
                "ask again"
            }
            _ => "",
        };
        let hint = if hint.is_empty() { String::new() } else { format!("; {hint}") };
        let words = format!("{detail} ({}){hint}", status.as_u16());
        let is_busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        if is_busy { Self::Lost(words) } else { Self::Refused(words) }
    }

    /// Says of which server it is.
    pub(super) fn at(self, server: &str) -> Self {
        match self {
            Self::Refused(words) => Self::Refused(format!("{server}: {words}")),
            Self::Lost(words) => Self::Lost(format!("{server}: {words}")),
        }
    }

    pub(super) fn words(self) -> String {
        match self {
            Self::Refused(words) | Self::Lost(words) => words,
        }
    }
}

impl From<NotDone> for Fault {
    fn from(not_done: NotDone) -> Self {
        Self::Refused(not_done.words())
    }
}

/// Says what answers that is no quell, or one through whose port something else is spoken.
fn foreign(status: StatusCode, body: &[u8]) -> String {
    let status = status.as_u16();
    let text = str::from_utf8(body).unwrap_or_default().trim();
    let is_line = text.len() <= LINE_BYTES_MAX && !text.contains(['\n', '<', '{']);
    match Some(printable(text)).filter(|_| is_line && !text.is_empty()) {
        Some(line) if line.contains("TLS") || line.contains("HTTPS") => {
            format!("{line} ({status}); `--server https://…` does")
        }
        Some(line) => format!("{status}: {NO_QUELL}; it says: {line}"),
        None => format!("{status}: {NO_QUELL}"),
    }
}

/// A problem document, as far as it is read.
#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    detail: String,
}

const PROBLEMS: &str = "urn:quell:problem:";

const NO_QUELL: &str = "what answers there is no `quell serve`, or one of another path; `--server \
                        URL` names it";

/// The longest line that is shown of what is no quell.
const LINE_BYTES_MAX: usize = 200;

/// The most that is shown of what a server says.
const DETAIL_CHARS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_with_what_to_do() {
        let document = |name: &str, detail: &str| {
            serde_json::json!({ "type": format!("urn:quell:problem:{name}"), "detail": detail })
                .to_string()
        };
        let read = |status: u16, body: &str, has_key| {
            let status = StatusCode::from_u16(status).expect("a status");
            NotDone::read(status, body.as_bytes(), has_key).words()
        };
        for (status, body, has_key, right) in [
            (
                404,
                document("unknown-run", "no"),
                false,
                "no (404); `quell ps --all` lists the runs",
            ),
            (401, document("nobody", "no"), true, "no (401); the server does not know this key"),
            (409, document("not-paused", "it is \u{1b}[1m"), false, "it is \\u{1b}[1m (409)"),
            (503, document("x", "no; ask again"), false, "no; ask again (503)"),
            (429, document("x", "no"), false, "no (429); ask again"),
        ] {
            assert_eq!(read(status, &body, has_key), right);
        }
        assert!(read(401, &document("x", "no"), false).contains("--key-env NAME"));
        for body in ["<html>", "{}", r#"{"type":"other","detail":"\u001b"}"#] {
            assert_eq!(read(404, body, false), format!("404: {NO_QUELL}"));
        }
        let line = read(404, "404 page not found\n", false);
        assert_eq!(line, format!("404: {NO_QUELL}; it says: 404 page not found"));
        let tls = read(400, "this port speaks TLS: use an address of https://\n", true);
        assert!(tls.starts_with("this port speaks TLS: use an address of https:// (400)"), "{tls}");
    }
}
