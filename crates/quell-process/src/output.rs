//! What a process left behind.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quell::{Payload, limits};
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub result: Option<Payload>,
    /// The texts of its events `content`, joined, up to the bound of stdout. It is left out in JSON
    /// if it is empty or cut, or if the JSON would be too long for an output: the events of the run
    /// have all of it.
    pub content: String,
    /// How many bytes the texts of its events `content` had, kept or not. It is in the JSON only if
    /// they had some and `content` is not.
    pub content_bytes: u64,
    /// Whether the JSON would be too long with the content.
    is_content_too_long: bool,
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
            is_content_too_long: false,
        };
        let mut payload = Payload::json(&output).ok();
        let is_too_long = |payload: &Option<Payload>| {
            payload.as_ref().is_some_and(|payload| payload.len() > limits::PAYLOAD_BYTES_MAX)
        };
        if is_too_long(&payload) {
            // Control characters grow sixfold in JSON; base64 always fits.
            output.stdout = STANDARD.encode(output.stdout);
            output.encoding = Encoding::Base64;
            payload = Payload::json(&output).ok();
        }
        if is_too_long(&payload) {
            output.is_content_too_long = true;
            payload = Payload::json(&output).ok();
        }
        (output, payload)
    }

    /// Yields the content that the JSON has: all of it, or none.
    fn whole_content(&self) -> Option<&str> {
        let is_cut = self.content_bytes > self.content.len() as u64;
        let is_there = !(self.content.is_empty() || is_cut || self.is_content_too_long);
        is_there.then_some(&*self.content)
    }
}

impl Serialize for ProcessOutput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let content = self.whole_content();
        let lost = (content.is_none() && self.content_bytes > 0).then_some(self.content_bytes);
        let optional = [self.result.is_some(), content.is_some(), lost.is_some()];
        let len = 9 + optional.iter().filter(|is_there| **is_there).count();
        let mut all = serializer.serialize_struct("ProcessOutput", len)?;
        all.serialize_field("exit_code", &self.exit_code)?;
        all.serialize_field("signal", &self.signal)?;
        all.serialize_field("stdout", &self.stdout)?;
        all.serialize_field("encoding", &self.encoding)?;
        all.serialize_field("stdout_bytes", &self.stdout_bytes)?;
        all.serialize_field("stdout_truncated", &self.stdout_truncated)?;
        all.serialize_field("stderr_tail", &self.stderr_tail)?;
        all.serialize_field("stderr_bytes", &self.stderr_bytes)?;
        all.serialize_field("stderr_truncated", &self.stderr_truncated)?;
        if let Some(result) = &self.result {
            all.serialize_field("result", result)?;
        }
        if let Some(content) = content {
            all.serialize_field("content", content)?;
        }
        if let Some(bytes) = lost {
            all.serialize_field("content_bytes", &bytes)?;
        }
        all.end()
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
        written.content.bytes = 4;
        let (_, payload) = ProcessOutput::new(None, &written);
        assert!(payload.unwrap().as_json().contains(r#""content":"text""#));
        (written.content.text, written.content.bytes) = ("\u{1}".repeat(4 << 20), 4 << 20);
        let (output, payload) = ProcessOutput::new(None, &written);
        let payload = payload.unwrap();
        assert!(payload.len() <= limits::PAYLOAD_BYTES_MAX);
        assert!(payload.as_json().ends_with(r#","content_bytes":4194304}"#));
        // What an embedder makes of the value is the same.
        assert!(Payload::json(&output).unwrap().as_json() == payload.as_json());
        assert_eq!(output.content.len(), 4 << 20);
    }

    #[test]
    fn a_text_that_was_cut_does_not_pass_for_all_of_it() {
        let mut written = written(b"out", 3);
        (written.content.text, written.content.bytes) = ("text".into(), 5);
        let (output, payload) = ProcessOutput::new(None, &written);
        let payload = payload.unwrap();
        assert!(payload.as_json().ends_with(r#","content_bytes":5}"#));
        assert!(!payload.as_json().contains("text"));
        assert_eq!(Payload::json(&output).unwrap().as_json(), payload.as_json());
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
