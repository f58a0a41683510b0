//! [`Collector`]: what spans are exported to, on this machine.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// Takes connections, each for one batch.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    connections: Vec<TcpStream>,
    received: Vec<Received>,
}

/// A batch, and how it came.
#[derive(Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) resource: Vec<KeyValue>,
    pub(crate) spans: Vec<Span>,
}

impl Collector {
    /// Reads what it is sent, and answers.
    pub(crate) fn reading() -> Self {
        Self::new(|stream, seen| {
            let received = read(stream).expect("a request of OTLP");
            seen.lock().expect("no panic").received.push(received);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            (&*stream).write_all(answer).expect("the server reads");
        })
    }

    /// Takes connections, and nothing else.
    pub(crate) fn silent() -> Self {
        Self::new(|_, _| {})
    }

    fn new(serve: fn(&TcpStream, &Mutex<Seen>)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(&stream, &shared);
                // Kept open.
                shared.lock().expect("no panic").connections.push(stream);
            }
        });
        Self { address, seen }
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().expect("no panic").connections.len()
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.seen.lock().expect("no panic").received.clone()
    }
}

fn read(stream: &TcpStream) -> io::Result<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let mut body = vec![0; headers["content-length"].parse().expect("a number")];
    reader.read_exact(&mut body)?;
    let batch = ExportTraceServiceRequest::decode(&*body).map_err(io::Error::other)?;
    let mut received = Received {
        path,
        authorization: headers.remove("authorization").unwrap_or_default(),
        resource: Vec::new(),
        spans: Vec::new(),
    };
    for all in batch.resource_spans {
        received.resource.extend(all.resource.into_iter().flat_map(|it| it.attributes));
        received.spans.extend(all.scope_spans.into_iter().flat_map(|it| it.spans));
    }
    Ok(received)
}

/// Yields the texts among attributes.
pub(crate) fn texts(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |it: &KeyValue| match it.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some((it.key.clone(), text.clone())),
        _ => None,
    };
    all.iter().filter_map(text).collect()
}

/// Yields a port on which nobody listens.
pub(crate) fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
