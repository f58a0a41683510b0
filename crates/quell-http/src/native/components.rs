//! [`list_components`]: the handler that tells what there is to start.

use std::sync::Arc;

use crate::native::extract::{Caller, NoQuery};
use crate::native::problems::PROBLEM;
use crate::native::routes::Answer;
use crate::native::wire::{ComponentList, component_bytes};
use crate::problem::Problem;

/// Lists the components that the caller may start, or whose runs the caller may read.
///
/// An input is any JSON: components do not declare what they take.
#[utoipa::path(
    get, path = "/v1/components", operation_id = "list_components", tag = "runs",
    responses(
        (status = 200, description = "The components", body = ComponentList),
        (status = 401, description = "Nobody", body = Problem, content_type = PROBLEM),
        (status = 422, description = "A parameter", body = Problem, content_type = PROBLEM),
        (status = 429, description = "No room for a large answer", body = Problem,
            content_type = PROBLEM),
    )
)]
pub(crate) async fn list_components(Caller(view): Caller, _: NoQuery) -> Answer {
    let caller = view.principal().clone();
    let may_use = |it: &Arc<_>| caller.may_run(it) || caller.may_read(it);
    let found: Vec<_> = view.components().filter(|it| may_use(it)).map(Arc::clone).collect();
    let about = found.iter().map(|it| component_bytes(it)).sum();
    let list = move || ComponentList::new(found.iter().map(AsRef::as_ref), &caller);
    Ok(view.json_response(about, list).await?)
}
