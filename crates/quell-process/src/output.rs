//! What a process left behind.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quell::{Payload, limits};
use serde::Serialize;

use crate::account::Content;

/// How a process ended, and what it wrote.
///
/// As JSON it is the output of the run, or its partial output.
///
/// # Examples
///
/// ```
/// use quell::{Engine, Outcome, RunSpec};
/// use quell_process::{Encoding, Process};
///
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::step("hi"), |ctx| Process::new("echo").arg("hi").run(ctx));
/// let Outcome::Completed(output) = run.unwrap().outcome().await else { panic!("echo failed") };
/// assert_eq!((output.exit_code, output.signal), (Some(0), None));
/// assert_eq!((output.stdout.as_str(), output.encoding), ("hi\n", Encoding::Utf8));
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProcessOutput {
    /// The exit code. None if a signal ended the process, or if it had not ended yet.
    pub exit_code: Option<i32>,
    /// The number of the signal that ended the process.
    pub signal: Option<i32>,
    /// What it wrote on stdout without the lines that are events, byte for byte up to the bound,
    /// encoded as `encoding` says.
    pub stdout: String,
    /// How `stdout` is encoded.
    pub encoding: Encoding,
    /// How many bytes it wrote on stdout without the lines that are events, kept or not.
    pub stdout_bytes: u64,
    /// Whether it wrote more on stdout than was kept.
    pub stdout_truncated: bool,
    /// The last lines that it wrote on stderr, at most 1,000 and 256 KiB. Bytes that are not UTF-8
    /// are replaced by `U+FFFD`.
    pub stderr_tail: String,
    /// How many bytes it wrote on stderr, kept or not.
    pub stderr_bytes: u64,
    /// Whether it wrote more lines on stderr than were kept.
    pub stderr_truncated: bool,
    /// What it said last is its output, with an event `result`. None if it said none, or if the
    /// last one was too long to be read; then it is left out in JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Payload>,
    /// The texts of its events `content`, joined, up to the bound of stdout. It is left out in JSON
    /// if it is empty or cut, or if the JSON would be too long for an output: the events of the run
    /// have all of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// How many bytes the texts of its events `content` had, kept or not. It is not in the JSON.
    #[serde(skip)]
    pub content_bytes: u64,
}

impl ProcessOutput {
    /// Yields what the process wrote on stdout as bytes, whatever the encoding.
    ///
    /// None if `stdout` was changed by hand to something that is not in its encoding.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell::{Engine, Outcome, RunSpec};
    /// use quell_process::{Encoding, Process};
    ///
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
    /// let engine = Engine::new();
    /// let run = engine.submit(RunSpec::step("binary"), |ctx| {
    ///     Process::new("printf").arg(r"\377\376").run(ctx)
    /// });
    /// let Outcome::Completed(output) = run.unwrap().outcome().await else { panic!("it failed") };
    /// assert_eq!((output.stdout.as_str(), output.encoding), ("//4=", Encoding::Base64));
    /// assert_eq!(output.into_stdout_bytes().unwrap(), [0xff, 0xfe]);
    /// # });
    /// ```
    pub fn into_stdout_bytes(self) -> Option<Vec<u8>> {
        match self.encoding {
            Encoding::Utf8 => Some(self.stdout.into_bytes()),
            Encoding::Base64 => STANDARD.decode(self.stdout).ok(),
        }
    }

    /// Puts together what is known, as a value and as the payload of the same.
    pub(crate) fn new(
        status: Option<ExitStatus>,
        written: &Written<'_>,
    ) -> (Self, Option<Payload>) {
        let (stdout, encoding) = encode(written.stdout, written.stdout_truncated());
        let mut output = Self {
            exit_code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            stdout,
            encoding,
            stdout_bytes: written.stdout_bytes,
            stdout_truncated: written.stdout_truncated(),
            stderr_tail: written.stderr_tail.clone(),
            stderr_bytes: written.stderr_bytes,
            stderr_truncated: written.stderr_truncated,
            result: written.result.clone(),
            content: written.content.text.clone(),
            content_bytes: written.content.bytes,
        };
        let is_cut = output.content_bytes > output.content.len() as u64;
        let mut payload =
            if is_cut { output.without_content() } else { Payload::json(&output).ok() };
        if payload.as_ref().is_some_and(|payload| payload.len() > limits::PAYLOAD_BYTES_MAX) {
            // Control characters grow sixfold in JSON; base64 always fits.
            output.stdout = STANDARD.encode(output.stdout);
            output.encoding = Encoding::Base64;
            payload = if is_cut { output.without_content() } else { Payload::json(&output).ok() };
        }
        if payload.as_ref().is_some_and(|payload| payload.len() > limits::PAYLOAD_BYTES_MAX) {
            payload = output.without_content();
        }
        (output, payload)
    }

    /// Yields the JSON of all but the content.
    fn without_content(&mut self) -> Option<Payload> {
        let content = std::mem::take(&mut self.content);
        let payload = Payload::json(self).ok();
        self.content = content;
        payload
    }
}

/// How bytes are written as text.
///
/// # Examples
///
/// ```
/// use quell_process::Encoding;
///
/// assert_eq!(Encoding::Utf8.as_str(), "utf-8");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum Encoding {
    /// The bytes are UTF-8 and stand for themselves.
    #[serde(rename = "utf-8")]
    Utf8,
    /// The bytes are not UTF-8, or would be too long when escaped; they are written as base64 with
    /// padding.
    #[serde(rename = "base64")]
    Base64,
}

impl Encoding {
    /// Yields the name on the wire.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(quell_process::Encoding::Base64.as_str(), "base64");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Base64 => "base64",
        }
    }
}

/// What a process has written so far.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    pub(crate) stdout: &'a [u8],
    pub(crate) stdout_bytes: u64,
    pub(crate) stderr_tail: String,
    pub(crate) stderr_bytes: u64,
    pub(crate) stderr_truncated: bool,
    pub(crate) result: Option<Payload>,
    pub(crate) content: Content,
}

impl Written<'_> {
    fn stdout_truncated(&self) -> bool {
        self.stdout_bytes > self.stdout.len() as u64
    }
}

fn encode(bytes: &[u8], truncated: bool) -> (String, Encoding) {
    match str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), Encoding::Utf8),
        // The bound fell into the middle of a character: text stays text.
        Err(error) if truncated && error.error_len().is_none() => {
            let text = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            (text.into_owned(), Encoding::Utf8)
        }
        Err(_) => (STANDARD.encode(bytes), Encoding::Base64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(stdout: &[u8], stdout_bytes: u64) -> Written<'_> {
        Written {
            stdout,
            stdout_bytes,
            stderr_tail: String::new(),
            stderr_bytes: 0,
            stderr_truncated: false,
            result: None,
            content: Content::up_to(0),
        }
    }

    #[test]
    fn text_stays_text() {
        let (output, payload) = ProcessOutput::new(None, &written("grüße".as_bytes(), 7));
        assert_eq!((output.stdout.as_str(), output.encoding), ("grüße", Encoding::Utf8));
        assert!(!output.stdout_truncated);
        assert!(payload.unwrap().as_json().contains(r#""stdout":"grüße","encoding":"utf-8""#));
    }

    #[test]
    fn text_cut_within_a_character_stays_text() {
        let (output, _) = ProcessOutput::new(None, &written(&"ü".as_bytes()[..1], 2));
        assert_eq!((output.stdout.as_str(), output.encoding), ("", Encoding::Utf8));
        assert!(output.stdout_truncated);
    }

    #[test]
    fn a_character_that_was_half_written_is_kept_as_bytes() {
        let (output, _) = ProcessOutput::new(None, &written(&[b'a', 0xc3], 2));
        assert_eq!(output.encoding, Encoding::Base64);
        assert_eq!(output.into_stdout_bytes().unwrap(), [b'a', 0xc3]);
    }

    #[test]
    fn a_text_with_which_the_json_would_be_too_long_is_left_out_of_it() {
        let mut written = written(b"out", 3);
        written.content.text = "text".into();
        let (_, payload) = ProcessOutput::new(None, &written);
        assert!(payload.unwrap().as_json().contains(r#""content":"text""#));
        written.content.text = "\u{1}".repeat(4 << 20);
        let (output, payload) = ProcessOutput::new(None, &written);
        let payload = payload.unwrap();
        assert!(payload.len() <= limits::PAYLOAD_BYTES_MAX && !payload.as_json().contains("text"));
        assert_eq!(output.content.len(), 4 << 20);
    }

    #[test]
    fn a_text_that_was_cut_does_not_pass_for_all_of_it() {
        let mut written = written(b"out", 3);
        (written.content.text, written.content.bytes) = ("text".into(), 5);
        let (output, payload) = ProcessOutput::new(None, &written);
        assert!(!payload.unwrap().as_json().contains("content"));
        assert_eq!((output.content.as_str(), output.content_bytes), ("text", 5));
    }

    #[test]
    fn what_grows_over_the_bound_in_json_is_written_as_base64() {
        let zeros = vec![0; 8 << 20];
        let (output, payload) = ProcessOutput::new(None, &written(&zeros, 8 << 20));
        assert!(payload.unwrap().len() <= limits::PAYLOAD_BYTES_MAX);
        assert_eq!(output.encoding, Encoding::Base64);
        assert_eq!(output.into_stdout_bytes().unwrap(), zeros);
    }
}
