//! [`show`]: what the runs of a caller do, in numbers (contract, section 2).

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use quell::{RunFilter, RunRef, RunStatus, Scope};
use quell_http::{SESSION, View};
use serde_json::{Value, json};

use crate::app::App;
use crate::routes::caller::Caller;
use crate::routes::response::json as respond;
use crate::wire::asked::Asked;
use crate::wire::query::Pairs;

pub(super) async fn show(State(app): State<App>, Caller(view): Caller, query: Pairs) -> Response {
    let numbers = Numbers::of(&app, &view);
    if query.get("format") == Some("json") {
        return respond(&numbers.json());
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], numbers.text()).into_response()
}

/// The numbers of one node.
#[derive(Debug, Default)]
struct Numbers {
    running: usize,
    /// How long each run waits that does not run yet; none of one that is not due.
    waits: Vec<Duration>,
    pending: usize,
    /// The longest of those that no run of their thread keeps from running.
    unblocked: Option<Duration>,
    /// Runs of which something executes.
    active: usize,
    max: Option<usize>,
}

impl Numbers {
    fn of(app: &App, view: &View) -> Self {
        let max = app.engine().limit(&Scope::All).running_max;
        let mut numbers = Self { max, ..Self::default() };
        let now = SystemTime::now();
        let (mut busy, mut waiting) = (HashSet::new(), Vec::new());
        for run in view.runs(&RunFilter::new().roots()) {
            let Some(asked) = Asked::of(&(&run).into()) else { continue };
            let row = run.row();
            let is_running = matches!(row.status, RunStatus::Running | RunStatus::Stopping);
            numbers.active += usize::from(is_running || row.status.is_terminal() && !row.quiescent);
            numbers.running += usize::from(is_running);
            if is_running {
                busy.extend(run.label(SESSION).map(str::to_owned));
            } else if row.status == RunStatus::Queued {
                waiting.push((run, asked.due().unwrap_or(row.queued_at)));
            }
        }
        numbers.pending = waiting.len();
        let is_free = |run: &RunRef| run.label(SESSION).is_none_or(|it| !busy.contains(it));
        for (run, due) in waiting {
            let Ok(wait) = now.duration_since(due) else { continue };
            numbers.unblocked = numbers.unblocked.max(Some(wait).filter(|_| is_free(&run)));
            numbers.waits.push(wait);
        }
        numbers.waits.sort();
        numbers
    }

    /// The longest wait, and the one in the middle.
    fn longest(&self) -> Option<f64> {
        self.waits.last().map(Duration::as_secs_f64)
    }

    fn median(&self) -> Option<f64> {
        let half = self.waits.len() / 2;
        let upper = self.waits.get(half)?.as_secs_f64();
        let lower = self.waits.get((self.waits.len() - 1) / 2)?.as_secs_f64();
        Some(f64::midpoint(lower, upper))
    }

    fn longest_unblocked(&self) -> Option<f64> {
        self.unblocked.as_ref().map(Duration::as_secs_f64)
    }

    fn available(&self) -> Option<usize> {
        self.max.map(|max| max.saturating_sub(self.active))
    }

    fn json(&self) -> Value {
        json!({
            "queue": {
                "n_pending": self.pending,
                "n_running": self.running,
                "pending_runs_wait_time_max_secs": self.longest(),
                "pending_runs_wait_time_med_secs": self.median(),
                "pending_unblocked_runs_wait_time_max_secs": self.longest_unblocked(),
            },
            "api": {},
            "workers": { "max": self.max, "active": self.active, "available": self.available() },
        })
    }

    /// Writes them as Prometheus reads them, under the names of upstream.
    fn text(&self) -> String {
        let count = |count: usize| Some(count.to_string());
        let secs = |secs: Option<f64>| Some(secs.unwrap_or(0.0).to_string());
        let rows = [
            ("num_pending_runs", count(self.pending)),
            ("num_running_runs", count(self.running)),
            ("pending_runs_wait_time_max", secs(self.longest())),
            ("pending_runs_wait_time_med", secs(self.median())),
            ("pending_unblocked_runs_wait_time_max", secs(self.longest_unblocked())),
            ("workers_max", self.max.and_then(count)),
            ("workers_active", count(self.active)),
            ("workers_available", self.available().and_then(count)),
        ];
        let rows = rows.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let lines = rows.flat_map(|(name, value)| {
            [format!("# TYPE lg_api_{name} gauge\n"), format!("lg_api_{name} {value}\n")]
        });
        lines.collect()
    }
}
