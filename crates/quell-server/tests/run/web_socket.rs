//! Web sockets of a server that ends.

use std::io::{Read, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::site::Site;
use crate::support::PATIENCE;

/// Opens a web socket.
fn opened(site: &Site) -> TcpStream {
    let mut socket = TcpStream::connect(site.address()).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    let host = site.address();
    let head = format!(
        "GET /workflows/ws HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let [byte] = taken(&mut socket);
        head.push(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    socket
}

fn taken<const N: usize>(socket: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    socket.read_exact(&mut bytes).expect("there is more");
    bytes
}

/// Reads a frame: what it is, and what is in it.
fn frame(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let [kind, len] = taken(socket);
    let len = match len {
        126 => u64::from(u16::from_be_bytes(taken(socket))),
        127 => u64::from_be_bytes(taken(socket)),
        len => len.into(),
    };
    let mut bytes = Vec::new();
    socket.take(len).read_to_end(&mut bytes).expect("all of it comes");
    (kind & 0xf, bytes)
}

#[test]
fn a_socket_has_the_end_of_its_run_and_then_says_that_the_server_ends() {
    let site = Site::demo(&[]);
    let (mut idle, mut socket) = (opened(&site), opened(&site));
    let asked = json!({
        "action": "start-workflow", "workflow_id": "fn-workflow", "message": "probe=ws",
    });
    let asked = asked.to_string();
    // A text that is masked by nothing.
    let head = [0x81, 0x80 | 0x7e, 0, asked.len().try_into().expect("it is short"), 0, 0, 0, 0];
    socket.write_all(&[&head, asked.as_bytes()].concat()).expect("it reads");
    site.wait_for("ws", 4);
    site.signal("TERM");
    for (socket, last_text) in [(&mut idle, "connected"), (&mut socket, "WorkflowCancelled")] {
        let mut texts = Vec::new();
        let close = loop {
            let (kind, bytes) = frame(socket);
            if kind == 8 {
                break bytes;
            }
            assert_eq!(kind, 1, "a text: {bytes:?}");
            texts.push(String::from_utf8(bytes).expect("text"));
        };
        let last = texts.last().expect("it said something");
        assert!(last.contains(&format!("\"event\":\"{last_text}\"")), "{last}");
        assert_eq!(close, [&1012_u16.to_be_bytes(), &b"Server is shutting down"[..]].concat());
    }
    site.ended().0.assert_code(0);
}
