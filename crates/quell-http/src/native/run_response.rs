//! [`run_response`]: the answer with one run, for the caller who starts or reads it.

use axum::response::Response;
use quell::{RunRef, RunRow, RunStatus};

use crate::native::wire::{Detail, PauseObject, QueuePlace, RunObject, RunSummary, Tool};
use crate::problem::Problem;
use crate::run_view::RunView;
use crate::service::{Reading, View};

/// Yields a run without its values: small enough to be answered without room.
pub(crate) fn without_values(view: &View, run: &RunRef) -> RunSummary {
    let row = without_output(run.row());
    let state = view.state_of_row(&row);
    RunSummary::new(&RunView::Live(run.clone()), row, state)
}

pub(crate) fn without_output(mut row: RunRow) -> RunRow {
    (row.output, row.partial) = (None, None);
    row
}

/// Answers with the run, if there is room for it: the whole of it, or without its values and its
/// tree.
pub(crate) async fn run_response(reading: Reading, has_values: bool) -> Result<Response, Problem> {
    let pause = reading.run().pause_state();
    let asks = pause.as_ref().map_or(0, |pause| pause.request.bytes_max());
    let node = reading.view().node_of(reading.run()).await;
    let weight = if has_values { reading.weight() } else { 0 };
    let (about, view) = (weight + asks, reading.view().clone());
    let object = move || {
        let (state, transcript) = (reading.state(), reading.transcript());
        let (run, report) = (reading.run(), reading.report());
        // The pause was looked at after the report: it may have come in between.
        let run_is_paused = report.own_row().status == RunStatus::Paused;
        let mut rows = if has_values { report.rows.clone() } else { Vec::new() };
        for row in &mut rows {
            row.quiescent = row.executes_nothing();
        }
        let detail = Detail {
            input: run.input().filter(|_| has_values).cloned(),
            text: if has_values { transcript.text } else { String::new() },
            tools: transcript.tools.iter().map(Tool::of).collect(),
            usage: report.own_row().usage,
            progress: transcript.progress,
            pause: pause.filter(|_| run_is_paused).map(PauseObject::of),
            node,
            queue: run.queue_position().map(QueuePlace::of),
            rows,
            omitted: report.omitted,
        };
        let row = report.own_row().clone();
        let row = if has_values { row } else { without_output(row) };
        let summary = RunSummary::new(run, row, state);
        RunObject { summary, detail }
    };
    Ok(view.json_response(about, object).await?)
}
