//! The path of a request.

/// The parts of a path.
pub(super) type Parts<T> = Result<axum::extract::Path<T>, axum::extract::rejection::PathRejection>;

/// Yields the parts of a path. One that is no text is empty, and so no id.
pub(super) fn parts<T: Default>(path: Parts<T>) -> T {
    path.map(|axum::extract::Path(parts)| parts).unwrap_or_default()
}
