//! The schemas of answers.

use quell_http::described::schema::{
    self, list, list_of, named, number, object, or_null, problem, run_state, text, time, whole,
    with,
};
use serde_json::{Map, Value, json};

use crate::wire::status::status;

/// Makes the schemas of answers, by their names.
pub(super) fn schemas() -> Map<String, Value> {
    let all = of_errors()
        .into_iter()
        .chain(of_server())
        .chain(of_nothing())
        .chain(of_runs())
        .chain(of_sessions());
    all.map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn of_errors() -> [(&'static str, Value); 3] {
    let code = json!({ "error_code": text() });
    let fault = json!({ "type": text(), "loc": list_of(json!({})), "msg": text(), "input": {} });
    let detail = json!({ "anyOf": [text(), list_of(whole(fault))] });
    [
        ("ErrorResponse", with(whole(json!({ "detail": text() })), &code)),
        ("ValidationErrorResponse", with(whole(json!({ "detail": detail })), &code)),
        ("Problem", problem()),
    ]
}

fn of_server() -> [(&'static str, Value); 6] {
    let component = whole(json!({ "id": text(), "name": text(), "db_id": text() }));
    let model = whole(json!({ "name": text(), "model": text(), "provider": text() }));
    let member = whole(json!({ "id": text(), "name": text() }));
    let shown = json!({
        "description": text(),
        "model": model,
        "mode": mode(),
        "members": list_of(member),
        "steps": list_of(object()),
    });
    let summary = json!({ "description": text(), "model": model_id(), "mode": mode() });
    let config = json!({
        "os_id": text(),
        "name": text(),
        "available_models": list_of(model_id()),
        "os_database": text(),
        "databases": list_of(text()),
        "session": object(),
        "memory": object(),
        "learning": object(),
        "knowledge": object(),
        "evals": object(),
        "metrics": object(),
        "traces": object(),
        "agents": list("Summary"),
        "teams": list("Summary"),
        "workflows": list("Summary"),
        "interfaces": list_of(object()),
    });
    let config = with(whole(config), &json!({ "description": text() }));
    let info = json!({
        "os_id": text(),
        "name": text(),
        "os_version": text(),
        "agno_version": text(),
        "agent_count": number(),
        "team_count": number(),
        "workflow_count": number(),
        "mcp": object(),
        "auth_mode": { "enum": ["none", "security_key", "jwt"] },
        "user_isolation": { "type": "boolean" },
    });
    let health = json!({ "status": { "const": "ok" }, "instantiated_at": time() });
    [
        ("Health", whole(health)),
        ("Info", whole(info)),
        ("Home", whole(json!({ "name": text(), "health": text(), "info": text() }))),
        ("Config", config),
        ("Summary", with(component.clone(), &summary)),
        ("Component", with(component, &shown)),
    ]
}

fn model_id() -> Value {
    whole(json!({ "id": text(), "provider": text() }))
}

fn mode() -> Value {
    json!({ "enum": ["broadcast", "route", "coordinate"] })
}

fn of_nothing() -> [(&'static str, Value); 3] {
    let refresh = json!({
        "status": text(),
        "started_at": or_null(time()),
        "finished_at": or_null(time()),
        "error": or_null(text()),
    });
    let metrics = json!({ "metrics": list_of(object()), "updated_at": or_null(time()) });
    [
        ("Metrics", whole(metrics)),
        ("MetricsRefresh", whole(refresh)),
        ("NoRows", whole(json!({ "data": list_of(object()), "meta": named("Page") }))),
    ]
}

fn of_runs() -> [(&'static str, Value); 3] {
    let row = whole(json!({
        "run_id": text(),
        "session_id": text(),
        "status": statuses(),
        "created_at": { "type": "integer" },
        "metrics": object(),
        "quell": run_state(),
    }));
    // What stands there follows from the kind of the component, and from what has come of the run.
    let more = with(
        ids(),
        &json!({
            "parent_run_id": text(),
            "user_id": text(),
            "cancellation_stage": stages(),
            "content": text(),
            "content_type": text(),
            "input": {},
            "events": list_of(object()),
            "model": text(),
            "model_provider": text(),
            "messages": list_of(object()),
            "session_state": {},
            "tools": list_of(object()),
            "requirements": list_of(object()),
            "step_requirements": list_of(object()),
            "request": {},
            "member_responses": list_of(object()),
            "metadata": object(),
            "step_results": list_of(object()),
            "step_executor_runs": list_of(object()),
            "workflow_step_id": text(),
        }),
    );
    let accepted = json!({ "run_id": text(), "session_id": text(), "status": statuses() });
    let event = whole(json!({ "event": text(), "data": text() }));
    [("Run", with(row, &more["properties"])), ("RunAccepted", whole(accepted)), ("Event", event)]
}

fn of_sessions() -> [(&'static str, Value); 5] {
    let row = || {
        let row = json!({
            "session_id": text(),
            "session_name": text(),
            "session_state": object(),
            "created_at": time(),
            "updated_at": time(),
        });
        with(whole(row), &ids()["properties"])
    };
    let more = json!({
        "user_id": text(),
        "session_type": { "enum": ["agent", "team", "workflow"] },
        "metrics": object(),
        "agent_session_id": text(),
        "chat_history": list_of(object()),
        "session_data": object(),
    });
    let run = json!({
        "run_id": text(),
        "status": statuses(),
        "run_input": text(),
        "content": text(),
        "created_at": time(),
        "events": list_of(object()),
        "metrics": object(),
        "quell": run_state(),
    });
    let of_run = with(
        ids(),
        &json!({
            "parent_run_id": text(),
            "user_id": or_null(text()),
            "cancellation_stage": or_null(stages()),
            "messages": or_null(list_of(object())),
            "tools": list_of(object()),
            "session_state": {},
            "content_type": text(),
            "step_results": list_of(object()),
            "step_executor_runs": list_of(object()),
            "step_requirements": or_null(list_of(object())),
        }),
    );
    // What upstream has besides is there in some form, and empty.
    let of_run = EMPTY.iter().fold(of_run, |all, key| with(all, &json!({ *key: {} })));
    let page = json!({
        "page": number(),
        "limit": number(),
        "total_pages": number(),
        "total_count": number(),
        "search_time_ms": { "type": "number" },
    });
    [
        ("Session", with(row(), &more)),
        ("SessionRun", with(whole(run), &of_run["properties"])),
        ("SessionRunPreview", preview()),
        ("Sessions", whole(json!({ "data": list("Session"), "meta": named("Page") }))),
        ("Page", whole(page)),
    ]
}

/// A run of a session in short.
fn preview() -> Value {
    let preview = json!({
        "run_id": text(),
        "status": statuses(),
        "run_input": text(),
        "content_preview": text(),
        "created_at": time(),
    });
    let of_preview = json!({
        "agent_id": text(),
        "team_id": text(),
        "workflow_id": text(),
        "parent_run_id": text(),
        "user_id": text(),
    });
    with(whole(preview), &of_preview)
}

/// Keys of a run of a session that say nothing.
const EMPTY: [&str; 22] = [
    "audio",
    "citations",
    "files",
    "followups",
    "forked_from_message_index",
    "forked_from_run_id",
    "forked_from_session_id",
    "images",
    "input_media",
    "last_checkpoint_at_message_index",
    "metadata",
    "pause_kind",
    "paused_step_index",
    "paused_step_name",
    "reasoning_content",
    "reasoning_messages",
    "reasoning_steps",
    "references",
    "regenerated_from",
    "response_audio",
    "run_response_format",
    "videos",
];

/// The id of the component, and its name, by its kind.
fn ids() -> Value {
    json!({ "properties": {
        "agent_id": text(),
        "agent_name": text(),
        "team_id": text(),
        "team_name": text(),
        "workflow_id": text(),
        "workflow_name": text(),
    } })
}

fn stages() -> Value {
    json!({ "enum": ["PENDING", "EXECUTING", "PAUSED"] })
}

fn statuses() -> Value {
    schema::statuses(status)
}
