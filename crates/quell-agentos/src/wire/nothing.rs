//! [`metrics`], [`refresh`] and [`of_knowledge`]: what is said of what there is none of (contract,
//! section 10).

use serde_json::{Value, json};

/// Yields what `/metrics` answers: nothing is counted by day.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_agentos::metrics()["metrics"], serde_json::json!([]));
/// ```
pub fn metrics() -> Value {
    json!({ "metrics": [], "updated_at": null })
}

/// Yields what is said of the last count: there was none.
pub(crate) fn refresh() -> Value {
    json!({ "status": "idle", "started_at": null, "finished_at": null, "error": null })
}

/// Yields how knowledge is taken in: by nothing.
pub(crate) fn of_knowledge() -> Value {
    json!({
        "readers": {}, "readersForType": {}, "chunkers": {}, "filters": [], "vector_dbs": []
    })
}
