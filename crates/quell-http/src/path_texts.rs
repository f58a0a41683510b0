//! [`PathTexts`]: the parameters in the path of a request.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

/// The parameters in the path of a request, by the names that its route gives them.
///
/// It never rejects: each contract has its own answer to a missing parameter. A path that is not
/// UTF-8 once it is decoded has no parameters.
///
/// # Examples
///
/// ```
/// use axum::Router;
/// use axum::http::StatusCode;
/// use axum::routing::get;
/// use quell_http::PathTexts;
///
/// let read = async |path: PathTexts| match path.get("run") {
///     Some(run) => Ok(format!("run {run}")),
///     None => Err(StatusCode::NOT_FOUND),
/// };
/// let app: Router = Router::new().route("/runs/{run}", get(read));
/// # drop(app);
/// ```
#[derive(Debug)]
pub struct PathTexts(Option<RawPathParams>);

impl PathTexts {
    /// Yields a parameter, decoded; `None` if the route has none of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().flatten().find(|(known, _)| *known == name).map(|(_, text)| text)
    }
}

impl<S: Sync> FromRequestParts<S> for PathTexts {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(RawPathParams::from_request_parts(parts, &()).await.ok()))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::Request;
    use axum::routing::get;
    use quell_test_support::send;

    use super::*;

    #[tokio::test]
    async fn a_path_that_is_no_utf_8_once_it_is_decoded_has_no_texts() {
        let read = async |path: PathTexts| path.get("run").unwrap_or("none").to_owned();
        let app = Router::new().route("/teams/{team}/runs/{run}", get(read));
        for (path, text) in [
            ("/teams/t/runs/a%20b", "a b"),
            ("/teams/t/runs/%FF", "none"),
            ("/teams/%FF/runs/r", "none"),
        ] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            assert_eq!(send(&app, request).await.text, text, "{path}");
        }
    }
}
