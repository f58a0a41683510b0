//! [`Cron`]: a run that is made again and again (contract, section 5).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use quell::Payload;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::wire::asked::micros;
use crate::wire::create::{Create, choice, given, object, typed};
use crate::wire::exact::{Keys, with_all, written};
use crate::wire::refusal::Refusal;
use crate::wire::rows::time;
use crate::wire::schedule::{Schedule, instant};

/// A run that is made again and again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cron {
    version: u32,
    assistant: String,
    /// It is none of the system.
    has_own_assistant: bool,
    thread: Option<String>,
    /// An object: the body of each run, and what else was asked for.
    payload: Payload,
    metadata: Payload,
    schedule: String,
    timezone: Option<String>,
    end_time: Option<String>,
    on_run_completed: Option<String>,
    is_enabled: bool,
    /// What whoever made it may do; everything if none is here.
    pub(crate) scopes: Option<Vec<String>>,
    created_us: u64,
    updated_us: u64,
    next_us: Option<u64>,
}

impl Cron {
    /// Reads the body of a request to make one of an assistant.
    pub(crate) fn read(
        body: &Keys,
        id: Uuid,
        (assistant, is_own): (Uuid, bool),
        thread: Option<Uuid>,
        (now, pause): (SystemTime, Duration),
    ) -> Result<Self, Refusal> {
        let schedule: Option<String> = typed(body, "schedule", "must be text")?;
        let schedule = schedule.ok_or_else(|| Refusal::invalid("schedule: field required"))?;
        let us = micros(now).unwrap_or_default();
        let mut payload = body.clone();
        payload.insert("assistant_id".into(), assistant.to_string().into());
        payload.remove("thread_id");
        let mut cron = Self {
            version: FORM,
            assistant: assistant.to_string(),
            has_own_assistant: is_own,
            thread: thread.map(|thread| thread.to_string()),
            payload: written(&payload),
            metadata: written(&Keys::new()),
            schedule,
            timezone: None,
            end_time: None,
            on_run_completed: None,
            is_enabled: true,
            scopes: None,
            created_us: us,
            updated_us: us,
            next_us: None,
        };
        let completed = choice(body, "on_run_completed", ["delete", "keep"])?;
        cron.on_run_completed = thread.is_none().then(|| completed.to_owned());
        cron.take(body, id, (now, pause))?;
        if cron.next_us.is_none() {
            // Upstream keeps one that never makes a run.
            let text = "end_time: must not be before the first time of the schedule";
            return Err(Refusal::invalid(text.to_owned()));
        }
        Ok(cron)
    }

    /// Reads what is kept of one; none of a later form.
    pub(crate) fn of(body: &Payload) -> Option<Self> {
        body.parse().ok().filter(|cron: &Self| cron.version == FORM)
    }

    /// Takes in what a body says; what it does not say stays.
    pub(crate) fn change(
        &mut self,
        body: &Keys,
        id: Uuid,
        (now, pause): (SystemTime, Duration),
    ) -> Result<(), Refusal> {
        if body.is_empty() {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "Request body cannot be empty"));
        }
        let at_us = micros(now).unwrap_or_default();
        let times = (self.schedule.clone(), self.timezone.clone());
        let is_due = self.due_us().filter(|at| *at <= at_us);
        let mut payload = self.payload();
        let of_run =
            body.iter().filter(|(key, _)| !matches!(&***key, "assistant_id" | "thread_id"));
        payload.extend(of_run.map(|(key, value)| (key.clone(), value.clone())));
        self.payload = written(&payload);
        self.schedule = typed(body, "schedule", "must be text")?.unwrap_or(self.schedule.clone());
        if given(body, "on_run_completed").is_some() && self.thread.is_none() {
            let completed = choice(body, "on_run_completed", ["delete", "keep"])?;
            self.on_run_completed = Some(completed.to_owned());
        }
        self.updated_us = at_us;
        self.take(body, id, (now, pause))?;
        // Whoever changes something else does not come before its run.
        let is_same = (&self.schedule, &self.timezone) == (&times.0, &times.1);
        if is_same && is_due.is_some() && self.within(now).is_some() {
            self.next_us = is_due;
        }
        Ok(())
    }

    /// Tells whether the body of a change says that no runs are made any more, and nothing else.
    pub(crate) fn is_switched_off(body: &Keys) -> bool {
        body.len() == 1 && body.get("enabled").is_some_and(|it| it.as_json() == "false")
    }

    /// Tells whether the body of a change says something of the runs, and not of when they are made
    /// alone: one whose runs are refused by now can be switched off.
    pub(crate) fn changes_runs(body: &Keys) -> bool {
        const OF_CRON: [&str; 6] =
            ["schedule", "timezone", "enabled", "end_time", "metadata", "on_run_completed"];
        body.keys().any(|key| !OF_CRON.contains(&&**key))
    }

    fn take(
        &mut self,
        body: &Keys,
        id: Uuid,
        (now, pause): (SystemTime, Duration),
    ) -> Result<(), Refusal> {
        let mut metadata: Keys = self.metadata.parse().unwrap_or_default();
        metadata.extend(object(body, "metadata")?);
        self.metadata = written(&metadata);
        self.is_enabled = typed(body, "enabled", "must be a boolean")?.unwrap_or(self.is_enabled);
        let zone: Option<String> = typed(body, "timezone", "must be text")?;
        self.timezone = zone.or(self.timezone.take());
        if body.contains_key("end_time") {
            self.end_time = typed(body, "end_time", END)?;
        }
        let end = self
            .end_time
            .as_deref()
            .map(|end| instant(end).ok_or_else(|| Refusal::invalid(format!("end_time: {END}"))));
        end.transpose()?;
        self.payload = written(&marked(self.payload(), id)?);
        self.create(id, now)?;
        self.next_us = None;
        let schedule = Schedule::read(&self.schedule, self.timezone.as_deref(), now)?;
        // One that is more frequent than may be by now can be switched off.
        if ["schedule", "timezone"].iter().any(|key| body.contains_key(*key)) {
            schedule.check_pause(now, pause)?;
        }
        self.next_us = self.within(schedule.after(now)?);
        Ok(())
    }

    /// Yields a time, unless the cron is over by then.
    fn within(&self, at: SystemTime) -> Option<u64> {
        let end = self.end_time.as_deref().and_then(instant);
        end.is_none_or(|end| at <= end).then(|| micros(at)).flatten()
    }

    /// Goes on to the first time that is to come, and not sooner behind the last one than may be.
    pub(crate) fn go_on(&mut self, last: SystemTime, (now, pause): (SystemTime, Duration)) {
        let soonest = last.checked_add(pause.saturating_sub(Duration::from_nanos(1)));
        let behind = soonest.unwrap_or(now).max(now);
        let schedule = Schedule::read(&self.schedule, self.timezone.as_deref(), now);
        let next = schedule.and_then(|schedule| schedule.after(behind)).ok();
        self.next_us = next.and_then(|at| self.within(at));
    }

    /// Tells whether its next time is later than any that it may have gone on to from now: the
    /// clock was set forward when it did.
    pub(crate) fn is_ahead(&self, (now, pause): (SystemTime, Duration)) -> bool {
        let Some(due) = self.due().filter(|due| *due > now) else { return false };
        let latest = now.checked_add(pause).unwrap_or(now);
        let schedule = Schedule::read(&self.schedule, self.timezone.as_deref(), now);
        let latest = schedule.and_then(|schedule| schedule.after(latest));
        latest.is_ok_and(|latest| due > latest)
    }

    /// Tells whether its time is over. A time within it that is late, since there is much to do,
    /// is not.
    pub(crate) fn is_over(&self, now: SystemTime) -> bool {
        let end = self.end_time.as_deref().and_then(instant);
        end.and_then(|end| end.checked_add(LATE)).is_some_and(|end| end < now)
    }

    fn payload(&self) -> Keys {
        self.payload.parse().unwrap_or_default()
    }

    /// Makes the request for the run of a time.
    pub(crate) fn create(&self, id: Uuid, at: SystemTime) -> Result<Create, Refusal> {
        let mut body = self.payload();
        // A run of a cron answers nobody, and makes no thread that was deleted anew.
        body.retain(|key, _| !matches!(&**key, "command" | "if_not_exists" | "after_seconds"));
        let completion = self.on_run_completed.as_deref().unwrap_or("delete");
        body.insert("on_completion".into(), completion.into());
        let mut metadata = self.metadata();
        metadata.extend(object(&body, "metadata")?);
        metadata.insert("cron_id".into(), id.to_string().into());
        metadata.insert("cron_time".into(), time(at).into());
        body.insert("metadata".into(), written(&metadata));
        Create::read(&body)
    }

    /// Yields the next time; none if it has none, or is not to be.
    pub(crate) fn due(&self) -> Option<SystemTime> {
        Some(UNIX_EPOCH + Duration::from_micros(self.due_us()?))
    }

    /// As [`Cron::due`], in microseconds.
    pub(crate) fn due_us(&self) -> Option<u64> {
        self.next_us.filter(|_| self.is_enabled)
    }

    pub(crate) fn assistant(&self) -> Option<Uuid> {
        Uuid::try_parse(&self.assistant).ok()
    }

    /// Yields its assistant, if that is not the system's.
    pub(crate) fn own_assistant(&self) -> Option<Uuid> {
        self.assistant().filter(|_| self.has_own_assistant)
    }

    pub(crate) fn thread(&self) -> Option<Uuid> {
        Uuid::try_parse(self.thread.as_deref()?).ok()
    }

    pub(crate) const fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    pub(crate) fn metadata(&self) -> Keys {
        self.metadata.parse().unwrap_or_default()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.payload.len() + self.metadata.len()
    }

    pub(crate) fn names_assistant(&self) -> &str {
        &self.assistant
    }

    /// Yields its place in a list that is sorted by a key.
    pub(crate) fn place(&self, id: Uuid, by: &str) -> (String, u64, Uuid) {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        match by {
            "cron_id" => (String::new(), 0, id),
            "assistant_id" => (self.assistant.clone(), self.created_us, id),
            "thread_id" => (text(&self.thread), self.created_us, id),
            "end_time" => (text(&self.end_time), self.created_us, id),
            "updated_at" => (String::new(), self.updated_us, id),
            "next_run_date" => (String::new(), self.next_us.unwrap_or(u64::MAX), id),
            _ => (String::new(), self.created_us, id),
        }
    }

    /// Writes its row.
    pub(crate) fn row(&self, id: Uuid, owner: Option<&str>) -> Payload {
        let at = |us| time(UNIX_EPOCH + Duration::from_micros(us));
        let row = json!({
            "cron_id": id.to_string(),
            "assistant_id": self.assistant,
            "thread_id": self.thread,
            "user_id": owner.unwrap_or_default(),
            "end_time": self.end_time,
            "schedule": self.schedule,
            "timezone": self.timezone,
            "next_run_date": self.next_us.map(at),
            "on_run_completed": self.on_run_completed,
            "enabled": self.is_enabled,
            "created_at": at(self.created_us),
            "updated_at": at(self.updated_us),
        });
        let spelt = [("payload", &self.payload), ("metadata", &self.metadata)];
        let spelt = spelt.map(|(key, value)| (key.to_owned(), value.clone()));
        with_all(row, Keys::from(spelt))
    }
}

/// Has runs tell of which cron they are, where graphs look for it.
fn marked(mut payload: Keys, id: Uuid) -> Result<Keys, Refusal> {
    let (mut config, mut context) = (object(&payload, "config")?, object(&payload, "context")?);
    let inner = object(&config, "configurable")?;
    let is_own = inner.keys().all(|key| key == "cron_id");
    if context.is_empty() || !is_own {
        let mut inner = inner;
        inner.insert("cron_id".into(), id.to_string().into());
        config.insert("configurable".into(), written(&inner));
    } else {
        config.remove("configurable");
        context.insert("cron_id".into(), id.to_string().into());
        payload.insert("context".into(), written(&context));
    }
    payload.insert("config".into(), written(&config));
    Ok(payload)
}

/// How late a run may be made behind the end of its cron.
const LATE: Duration = Duration::from_mins(1);

const END: &str = "must be a date and time";

/// Counted up when the form changes so that this reader would misread it.
const FORM: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cron_is_ahead_if_its_time_is_none_that_comes_next() {
        let keys = |value: serde_json::Value| -> Keys { Payload::from(value).parse().unwrap() };
        let (id, pause) = (Uuid::nil(), Duration::from_mins(5));
        let now = UNIX_EPOCH + Duration::from_hours(1);
        for schedule in ["*/5 * * * *", "@daily", "@yearly"] {
            let body = keys(json!({"assistant_id": "a", "schedule": schedule}));
            let cron = Cron::read(&body, id, (id, false), None, (now, pause)).unwrap();
            assert!(!cron.is_ahead((now, pause)), "{schedule}");
            let mut gone_on = cron.clone();
            gone_on.go_on(now, (now, pause));
            assert!(!gone_on.is_ahead((now, pause)), "{schedule}");
            gone_on.go_on(now, (now + Duration::from_hours(10_000), pause));
            assert!(gone_on.is_ahead((now, pause)), "{schedule}");
        }
    }

    #[test]
    fn a_change_of_something_else_leaves_the_time_that_is_due() {
        let keys = |value: serde_json::Value| -> Keys { Payload::from(value).parse().unwrap() };
        let (id, pause) = (Uuid::nil(), Duration::from_mins(1));
        let past = UNIX_EPOCH + Duration::from_hours(1);
        let (at, now) = (past + Duration::from_mins(1), past + Duration::from_mins(5));
        let body = keys(json!({"assistant_id": "a", "schedule": "* * * * *"}));
        let made = Cron::read(&body, id, (id, false), None, (past, pause)).unwrap();
        assert_eq!(made.due(), Some(at));
        for (body, is_left) in [
            (json!({"metadata": {"a": 1}}), true),
            (json!({"input": {"a": 1}, "schedule": "* * * * *", "enabled": true}), true),
            (json!({"end_time": "1970-01-01T02:00:00Z"}), true),
            (json!({"end_time": "1970-01-01T01:03:00Z"}), false),
            (json!({"schedule": "*/2 * * * *"}), false),
            (json!({"timezone": "Asia/Tokyo"}), false),
            (json!({"enabled": false}), false),
        ] {
            let mut cron = made.clone();
            cron.change(&keys(body.clone()), id, (now, pause)).unwrap();
            assert_eq!(cron.due() == Some(at), is_left, "{body}");
        }
        let mut cron = made;
        for on in [false, true] {
            cron.change(&keys(json!({ "enabled": on })), id, (now, pause)).unwrap();
        }
        assert!(cron.due().unwrap() > now, "nothing is made of what was missed while it was off");
    }
}
