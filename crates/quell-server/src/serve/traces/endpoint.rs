//! [`endpoint`]: whether the environment names a collector.

use std::env;

/// Yields the variable that names a collector, if one does, the more specific one first. None if
/// all of OpenTelemetry is switched off.
pub(super) fn endpoint() -> Option<&'static str> {
    let is_set = |key: &&str| env::var_os(key).is_some_and(|value| !value.is_empty());
    let is_off = env::var("OTEL_SDK_DISABLED").is_ok_and(|it| it.eq_ignore_ascii_case("true"));
    ENDPOINTS.into_iter().find(is_set).filter(|_| !is_off)
}

/// The variables that name a collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
