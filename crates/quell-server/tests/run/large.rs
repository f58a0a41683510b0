//! Requests that are refused while their clients are still sending them, or before.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::site::Site;

#[test]
fn a_client_that_reads_nothing_before_all_is_sent_reads_why_it_was_too_large() {
    let site = Site::demo(&[]);
    let piece = vec![b' '; 1 << 20];
    for (megabytes, framing) in
        [(17, "content-length"), (128, "content-length"), (128, "transfer-encoding")]
    {
        let mut client = TcpStream::connect(site.address()).expect("it listens");
        let framed = match framing {
            "content-length" => format!("{framing}: {}", megabytes << 20),
            _ => format!("{framing}: chunked"),
        };
        let head = format!(
            "POST /v1/runs HTTP/1.1\r\nhost: {}\r\n{framed}\r\n\
             content-type: application/json\r\n\r\n",
            site.address()
        );
        client.write_all(head.as_bytes()).expect("the head is sent");
        for nth in 0..megabytes {
            let sent = if framing == "content-length" {
                client.write_all(&piece)
            } else {
                let head = format!("{:x}\r\n", piece.len());
                client.write_all(&[head.as_bytes(), &piece, b"\r\n"].concat())
            };
            assert!(sent.is_ok(), "megabyte {nth} of {megabytes}: {sent:?}");
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer, and no reset");
        assert!(answer.starts_with("HTTP/1.1 413 "), "{framed}: {answer}");
        assert!(answer.contains("body-too-large"), "{framed}: {answer}");
    }
}

#[test]
fn a_client_that_waits_to_be_told_to_send_is_told_so_unless_it_is_refused() {
    let site = Site::demo(&[]);
    for (agent, first) in [("short-agent", "HTTP/1.1 100 "), ("nobody", "HTTP/1.1 404 ")] {
        let mut client = TcpStream::connect(site.address()).expect("it listens");
        let head = format!(
            "POST /agents/{agent}/runs HTTP/1.1\r\nhost: {}\r\nexpect: 100-continue\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: 10\r\n\r\n",
            site.address()
        );
        client.write_all(head.as_bytes()).expect("the head is sent");
        let mut said = vec![0; first.len()];
        client.read_exact(&mut said).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&said), first);
    }
}
