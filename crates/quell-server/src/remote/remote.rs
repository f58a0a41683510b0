//! [`Remote`]: a component that is a service.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::{Response, Uri};
use quell::{Failure, Payload, RunContext, Work};
use quell_process::EventLines;

use super::about::About;
use super::address::shown;
use super::answer::{Answer, KEPT_MAX, form_of, has_end, is_at_end, next};
use super::asked::{Asked, Stop};
use super::caller::Caller;
use super::cancel::Cancel;
use super::chat::Chat;
use super::retry::{Tries, WAIT_MAX, asked_wait};

/// A component that is a service: the input of a run is posted to it as JSON, and what it answers
/// is the output, or says it in the events of programs.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) url: Uri,
    pub(crate) caller: Arc<Caller>,
    /// Where the service is told to stop; none if there is only the end of the request.
    pub(crate) cancel: Option<Cancel>,
    /// How often a request is sent again.
    pub(crate) retries: u32,
    /// How long the service is in doubt after the end of a run if it does not confirm.
    pub(crate) confirm: Duration,
    /// The model that it is, if it is one; others speak the protocol of services.
    pub(crate) chat: Option<Chat>,
}

impl Remote {
    /// Runs it.
    ///
    /// # Errors
    ///
    /// Fails if the service cannot be reached, refuses, or does not answer as it should. Yields
    /// [`Stopped`](quell::Stopped) after a stop, unless the service had said its result.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the request. The run is then not quiescent, and names the service,
    /// until that confirms a cancel.
    pub(crate) async fn run(&self, ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
        let about = Arc::new(About::of(&ctx));
        let stop = Stop {
            cancel: self.cancel.clone(),
            caller: Arc::clone(&self.caller),
            about: Arc::clone(&about),
            confirm: self.confirm,
        };
        let mut lines = EventLines::new(ctx.clone(), "answer", Work::Remote, KEPT_MAX);
        let mut asked = Asked::new(&ctx, &shown(&self.url), stop).await?;
        let body = match &self.chat {
            Some(chat) => chat.request(&input).map_err(|failure| self.in_words(&failure))?,
            None => input.as_json().to_owned(),
        };
        let body = Bytes::from(body);
        let talk = self.talk(body, &about, &mut asked, &mut lines);
        // A stop drops the request here, before the service is told.
        let talked = ctx.run_until_stopped(talk).await;
        if talked.is_err() {
            asked.stop().await;
        }
        lines.end_calls(!asked.is_in_doubt());
        match (talked, lines.result()) {
            (Ok(output), _) => output.map_err(|failure| self.in_words(&failure)),
            (Err(_), Ok(Some(result))) => Ok(result.clone()),
            (Err(stopped), _) => Err(stopped.into()),
        }
    }

    async fn talk(
        &self,
        body: Bytes,
        about: &About,
        asked: &mut Asked,
        lines: &mut EventLines,
    ) -> Result<Payload, Failure> {
        let response = self.answer(body, about, asked).await?;
        let form = if self.chat.is_some() {
            Chat::form_of(response.headers())
        } else {
            form_of(response.headers())
        };
        let form = match form {
            Ok(form) => form,
            Err(refused) => {
                let has_end = has_end(response.status(), response.headers());
                if has_end && is_at_end(response.into_body()).await {
                    asked.answered();
                }
                return Err(refused);
            }
        };
        if self.chat.is_some() {
            let said = Chat::read(response, form, lines).await?;
            asked.answered();
            return said.output(lines);
        }
        let answer = Answer::read(response, form, lines).await?;
        asked.answered();
        answer.output(lines)
    }

    /// Sends the request until it is answered with success.
    async fn answer(
        &self,
        body: Bytes,
        about: &About,
        asked: &mut Asked,
    ) -> Result<Response<Incoming>, Failure> {
        let mut tries = Tries::new(self.retries);
        loop {
            let mut request = self.caller.post(&self.url, &about.headers, body.clone());
            asked.sends(&mut request).await;
            let (failure, pause) = match self.caller.send(request).await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    // The head of a refusal ends what the service does for it.
                    asked.refused();
                    let wait = asked_wait(response.status(), response.headers());
                    // Models are asked again as their own clients do.
                    let is_broken = self.chat.is_some() && Chat::is_asked_again(response.status());
                    let is_again = wait.map_or(is_broken, |wait| wait <= WAIT_MAX);
                    let failure = self.refusal(response, wait).await;
                    (failure, if is_again { tries.next(wait) } else { None })
                }
                Err(lost) => {
                    // What was begun to be answered was begun to be carried out.
                    let pause = if lost.has_begun { None } else { tries.next(None) };
                    (Failure::new(words_of(&lost.words)), pause)
                }
            };
            let Some(pause) = pause else { return Err(failure) };
            // In quotes: the service may have written some of it.
            let (failure, service) = (self.caller.hide(&failure.to_string()), shown(&self.url));
            tracing::info!(?failure, service, run = about.run(), ?pause, "request is sent again");
            asked.rests();
            tokio::time::sleep(pause).await;
        }
    }

    /// Says how the service refuses, with the begin of its words.
    async fn refusal(&self, response: Response<Incoming>, wait: Option<Duration>) -> Failure {
        let status = response.status();
        let mut body = response.into_body();
        let mut said = Vec::new();
        let read = async {
            while said.len() < WORDS_BYTES
                && let Ok(Some(data)) = next(&mut body).await
            {
                said.extend_from_slice(&data);
            }
        };
        // What is there by then counts.
        let _ = tokio::time::timeout(WORDS_TIME, read).await;
        let said = String::from_utf8_lossy(&said[..said.len().min(WORDS_BYTES)]);
        // Its end may be the begin of a secret.
        let said = self.caller.hide_cut(said.trim());
        let said: String = said.chars().take(WORDS_CHARS).collect();
        let words = if said.is_empty() { String::new() } else { format!(": {said}") };
        let asks = wait.map(|wait| format!(", and asks to wait {} s", wait.as_secs()));
        let redirects = if status.is_redirection() { ", which is not followed" } else { "" };
        Failure::new(format!("it answers {status}{redirects}{}{words}", asks.unwrap_or_default()))
    }

    /// Puts the name of the service before the words of a failure, without its secrets.
    fn in_words(&self, failure: &Failure) -> Failure {
        let words = self.caller.hide(&failure.to_string());
        Failure::new(format!("service {}: {words}", shown(&self.url)))
    }
}

/// Says what is to be done about errors whose words do not say it.
fn words_of(error: &str) -> String {
    let hint = if error.contains("InvalidContentType") {
        "; it does not speak https there: expected an address with http://, or another port"
    } else if error.contains("UnknownIssuer") || error.contains("CaUsedAsEndEntity") {
        "; the file of certificates that SSL_CERT_FILE names is trusted instead of the system's"
    } else {
        ""
    };
    format!("{error}{hint}")
}

/// How much of a refusal is read, for how long, and how much of it is in the message.
const WORDS_BYTES: usize = 8 << 10;
const WORDS_TIME: Duration = Duration::from_secs(2);
const WORDS_CHARS: usize = 500;
