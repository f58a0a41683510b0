//! [`run_response`]: the answer with one run, for the caller who starts or reads it.

use axum::response::Response;
use quell::{RunRef, RunStatus};

use crate::native::wire::{Detail, PauseObject, QueuePlace, RunObject, RunSummary, Tool};
use crate::problem::Problem;
use crate::run_view::RunView;
use crate::service::{Reading, View};

/// Yields a run without its values: small enough to be answered without room.
pub(crate) fn without_values(view: &View, run: &RunRef) -> RunSummary {
    let mut row = run.row();
    (row.output, row.partial) = (None, None);
    let state = view.state_of_row(&row);
    RunSummary::new(&RunView::Live(run.clone()), row, state)
}

/// Answers with the whole run, if there is room for it.
pub(crate) async fn run_response(reading: Reading) -> Result<Response, Problem> {
    let pause = reading.run().pause_state();
    let asks = pause.as_ref().map_or(0, |pause| pause.request.bytes_max());
    let node = reading.view().node_of(reading.run()).await;
    let (about, view) = (reading.weight() + asks, reading.view().clone());
    let object = move || {
        let (state, transcript) = (reading.state(), reading.transcript());
        let (run, report) = (reading.run(), reading.report());
        // The pause was looked at after the report: it may have come in between.
        let run_is_paused = report.own_row().status == RunStatus::Paused;
        let mut rows = report.rows.clone();
        for row in &mut rows {
            row.quiescent = row.executes_nothing();
        }
        let detail = Detail {
            input: run.input().cloned(),
            text: transcript.text,
            tools: transcript.tools.iter().map(Tool::of).collect(),
            usage: report.own_row().usage,
            progress: transcript.progress,
            pause: pause.filter(|_| run_is_paused).map(PauseObject::of),
            node,
            queue: run.queue_position().map(QueuePlace::of),
            rows,
            omitted: report.omitted,
        };
        let summary = RunSummary::new(run, report.own_row().clone(), state);
        RunObject { summary, detail }
    };
    Ok(view.json_response(about, object).await?)
}
