//! What handlers take besides headers and body.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};

use crate::app::App;

pub(super) type Shared = State<Arc<App>>;

/// The texts of a path.
pub(super) type Texts<T> = Result<Path<T>, PathRejection>;
