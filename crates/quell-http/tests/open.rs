use axum::http::StatusCode;
use quell_http::{Access, Key, router};

use crate::support::{Headers, JSON, send, service};

const ECHO: &str = r#"{"component": {"kind": "agent", "id": "echo"}}"#;

#[tokio::test]
async fn open_access_serves_this_machine_and_its_own_pages() {
    let access = Access::open().trust_host("box.lan").trust_origin("http://ui.example");
    let app = router(service().access(access));
    let (own, page) = ("127.0.0.1:7777", "http://127.0.0.1:7777");
    for (headers, read, written) in [
        (&[][..], 200, 201),
        (&[("host", own)], 200, 201),
        (&[("host", "LocalHost")], 200, 201),
        (&[("host", "[::1]:7777")], 200, 201),
        (&[("host", "[::ffff:127.0.0.1]")], 200, 201),
        (&[("host", "box.lan:80")], 200, 201),
        (&[("host", own), ("origin", page)], 200, 201),
        (&[("host", own), ("origin", "http://ui.example")], 200, 201),
        (&[("host", own), ("origin", "http://evil.example")], 200, 403),
        (&[("host", own), ("origin", "http://127.0.0.1:1")], 200, 403),
        (&[("host", own), ("origin", "null")], 200, 403),
        (&[("host", own), ("origin", page), ("origin", "null")], 200, 403),
        (&[("host", "evil.example:7777"), ("origin", "http://evil.example:7777")], 403, 403),
        (&[("host", "localhost.evil.example")], 403, 403),
        (&[("host", "127.0.0.1.evil.example")], 403, 403),
        (&[("host", "127.0.0.1:1@evil.example")], 403, 403),
        (&[("host", "localhost:80")], 200, 201),
        (&[("host", "0.0.0.0:7777")], 403, 403),
        (&[("host", "10.0.0.1")], 403, 403),
        (&[("host", own), ("host", "evil.example")], 403, 403),
        (&[("host", "")], 403, 403),
    ] {
        let headers: Headers<'_> = headers;
        let answer = send(&app, "GET", "/v1/runs", headers, "").await;
        assert_eq!(answer.status, read, "{headers:?}: {}", answer.text);
        let answer = send(&app, "POST", "/v1/runs", &[headers, &[JSON]].concat(), ECHO).await;
        assert_eq!(answer.status, written, "{headers:?}: {}", answer.text);
    }
    let text = [("host", own), ("content-type", "text/plain")];
    let answer = send(&app, "POST", "/v1/runs", &text, ECHO).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{}", answer.text);
    let answer = send(&app, "GET", "http://evil.example/v1/runs", &[("host", own)], "").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
    assert_eq!(answer.json()["type"], "urn:quell:problem:foreign-host");
}

#[tokio::test]
async fn with_a_key_every_host_and_origin_is_served() {
    let access = Access::open().key(Key::new("ada", "secret"));
    let app = router(service().access(access));
    let foreign = [("host", "agents.example"), ("origin", "http://evil.example"), JSON];
    let answer = send(&app, "POST", "/v1/runs", &foreign, ECHO).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let with_key = [&foreign[..], &[("x-api-key", "secret")]].concat();
    assert_eq!(send(&app, "POST", "/v1/runs", &with_key, ECHO).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_page_of_another_origin_stops_no_run_by_reading_and_leaving() {
    let app = router(service().access(Access::open().trust_origin("http://ui.example")));
    let foreign = ("origin", "http://evil.example");
    let elsewhere = ("sec-fetch-site", "cross-site");
    for (headers, query, is_refused) in [
        (&[][..], "on_disconnect=cancel", false),
        (&[foreign], "on_disconnect=continue", false),
        (&[foreign], "on_disconnect=cancel", true),
        (&[foreign], "after=1&on%5Fdisconnect=cancel", true),
        (&[foreign], "cancel_on_disconnect=0", false),
        (&[foreign], "cancel_on_disconnect=1", true),
        (&[foreign], "cancel_on_disconnect=True", true),
        (&[elsewhere], "on_disconnect=continue", false),
        (&[elsewhere], "on_disconnect=cancel", true),
        (&[("sec-fetch-site", "same-site")], "on_disconnect=cancel", true),
        (&[("sec-fetch-site", "same-origin")], "on_disconnect=cancel", false),
        (&[("sec-fetch-site", "none")], "on_disconnect=cancel", false),
        (&[elsewhere, ("origin", "http://ui.example")], "on_disconnect=cancel", false),
    ] {
        let headers: Headers<'_> = headers;
        let path = format!("/v1/runs/r/events?{query}");
        let answer = send(&app, "GET", &path, headers, "").await;
        // A caller who is let through learns that there is no such run.
        let was_refused = answer.status == StatusCode::FORBIDDEN;
        assert_eq!(was_refused, is_refused, "{headers:?} {query}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_page_of_another_origin_gets_no_other_protocol() {
    let app = router(service().access(Access::open().trust_origin("http://ui.example")));
    let (host, asks) = (("host", "127.0.0.1:7777"), ("upgrade", "websocket"));
    for (headers, is_refused) in [
        (&[][..], false),
        (&[("origin", "http://127.0.0.1:7777")], false),
        (&[("origin", "http://ui.example")], false),
        (&[("origin", "http://evil.example")], true),
        (&[("origin", "null")], true),
        (&[("sec-fetch-site", "cross-site")], true),
    ] {
        let headers: Headers<'_> = headers;
        for (headers, is_refused) in
            [([headers, &[host, asks]].concat(), is_refused), ([headers, &[host]].concat(), false)]
        {
            let answer = send(&app, "GET", "/v1/runs", &headers, "").await;
            let was_refused = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(was_refused, is_refused, "{headers:?}: {}", answer.text);
        }
    }
}
