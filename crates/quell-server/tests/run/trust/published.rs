//! Keys that an issuer of tokens publishes at an address.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use super::{AGENT, log, renewed, site, told};
use crate::services::tls;
use crate::support::{Scratch, wait_until};

/// An issuer, which answers every request with the same.
struct Issuer {
    address: SocketAddr,
    answer: Arc<Mutex<(String, usize)>>,
}

impl Issuer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let answer = Arc::new(Mutex::new((String::new(), 0)));
        let says = Arc::clone(&answer);
        thread::spawn(move || {
            for mut socket in listener.incoming().map_while(Result::ok) {
                let _ = socket.read(&mut [0; 4096]);
                let mut says = says.lock().expect("nobody panics");
                says.1 += 1;
                let text = says.0.clone();
                drop(says);
                let _ = socket.write_all(text.as_bytes());
            }
        });
        Self { address, answer }
    }

    /// Answers with this from now on.
    fn says(&self, text: String) {
        self.answer.lock().expect("nobody panics").0 = text;
    }

    fn publishes(&self, keys: &[Value]) {
        self.says(body(&json!({ "keys": keys }).to_string()));
    }

    fn asked(&self) -> usize {
        self.answer.lock().expect("nobody panics").1
    }

    fn entry(&self) -> String {
        let from = format!("jwks_url = \"http://{}/keys\"", self.address);
        format!("{AGENT}[[tokens]]\n{from}\n{CLAIMS}")
    }
}

const CLAIMS: &str = "issuer = \"https://one\"\naudiences = [\"quell\"]\n\
                      default_scopes = [\"*:read\"]\n";

fn body(text: &str) -> String {
    let head = "HTTP/1.1 200 OK\r\nconnection: close";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

/// A key of an issuer.
struct SigningKey(EncodingKey, &'static str);

impl SigningKey {
    fn new(id: &'static str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self(EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).expect("a key"), id)
    }

    fn published(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.0, Algorithm::ES256).expect("a key");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = self.1.into();
        jwk
    }

    fn token(&self, more: &Value) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
        let mut claims = json!({ "sub": "ada", "iss": "https://one", "aud": "quell" });
        claims["exp"] = json!(since.as_secs() + 3_600);
        for (key, value) in more.as_object().expect("an object") {
            claims[key] = value.clone();
        }
        let header = Header { kid: Some(self.1.into()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, &self.0).expect("a token")
    }
}

#[test]
fn a_token_is_taken_whose_key_is_published_and_one_of_a_new_key_at_its_first_request() {
    let (issuer, scratch) = (Issuer::start(), Scratch::new());
    let [one, two, three] = ["one", "two", "three"].map(SigningKey::new);
    issuer.publishes(&[one.published()]);
    scratch.write("quell.toml", &issuer.entry());
    let site = site(scratch, &[]);
    let plain = json!({});
    assert_eq!(told(&site, &one.token(&plain)), 200);
    for wrong in [json!({ "exp": 1 }), json!({ "aud": "x" }), json!({ "iss": "https://two" })] {
        assert_eq!(told(&site, &one.token(&wrong)), 401, "{wrong}");
    }
    assert_eq!(told(&site, &SigningKey::new("one").token(&plain)), 401, "another key");
    assert_eq!(issuer.asked(), 1, "no key was looked for");
    issuer.publishes(&[one.published(), two.published()]);
    assert_eq!(told(&site, &two.token(&plain)), 200);
    assert_eq!(issuer.asked(), 2);
    // It was asked just now: whoever makes ids up cannot have it asked again and again.
    issuer.publishes(&[two.published(), three.published()]);
    for _ in 0..20 {
        assert_eq!(told(&site, &three.token(&plain)), 401);
    }
    assert_eq!((issuer.asked(), told(&site, &one.token(&plain))), (2, 200));
    renewed(&site, 1, "keys were read again");
    let all = [&one, &two, &three].map(|key| told(&site, &key.token(&plain)));
    assert_eq!(all, [401, 200, 200]);
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn of_an_issuer_that_does_not_answer_as_it_should_the_former_keys_stay() {
    let (issuer, scratch) = (Issuer::start(), Scratch::new());
    let [one, two] = ["one", "two"].map(SigningKey::new);
    // Nothing is read before the server listens, and that ends nothing.
    issuer.says("HTTP/1.1 500 Oh\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".into());
    scratch.write("quell.toml", &issuer.entry());
    let site = site(scratch, &[]);
    assert!(log(&site).contains("it answers 500"), "{}", log(&site));
    assert!(log(&site).contains("none are known") && !log(&site).contains("former"));
    issuer.publishes(&[one.published()]);
    assert_eq!(told(&site, &one.token(&json!({}))), 200, "it is found at the first request");
    let many: Vec<_> = (0..65).map(|_| two.published()).collect();
    let giant = " ".repeat(1 << 20) + &json!({ "keys": [two.published()] }).to_string();
    let endless = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned() + &" ".repeat(1 << 20);
    let moved = "HTTP/1.1 302 Found\r\nconnection: close\r\ncontent-length: 0\r\n\
                 location: http://127.0.0.1/hush\r\n\r\n";
    let bad = [
        (moved.to_owned(), "it answers 302"),
        (body(&giant), "length limit exceeded"),
        (endless, "length limit exceeded"),
        (body("hush"), "no set of keys"),
        (body(&json!({ "keys": many }).to_string()), "more than 64 keys"),
        (String::new(), "connection closed"),
    ];
    for (at, (answer, says)) in bad.into_iter().enumerate() {
        issuer.says(answer);
        renewed(&site, at + 1, "keys were read again");
        assert!(log(&site).contains(says), "{says}: {}", log(&site));
        let told = [&one, &two].map(|key| told(&site, &key.token(&json!({}))));
        assert_eq!(told, [200, 401], "{says}");
    }
    assert!(!log(&site).contains("hush"), "{}", log(&site));
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn an_issuer_is_asked_through_tls_if_its_certificate_is_trusted_and_a_file_is_as_good() {
    let one = SigningKey::new("one");
    let set = json!({ "keys": [one.published()] }).to_string();
    let scratch = Scratch::new();
    scratch.write("keys.json", &set);
    scratch.write("quell.toml", &format!("{AGENT}[[tokens]]\njwks_file = \"keys.json\"\n{CLAIMS}"));
    let (ours, theirs) = (tls::authority("ours"), tls::authority("theirs"));
    let path = scratch.write("authority.pem", &ours.pem());
    let env = [("SSL_CERT_FILE", path.to_str().expect("UTF-8")), ("SSL_CERT_DIR", "")];
    let site = site(scratch, &env);
    assert_eq!(told(&site, &one.token(&json!({}))), 200);
    let two = SigningKey::new("two");
    let next = json!({ "keys": [two.published()] }).to_string();
    for (authority, says, status) in
        [(&theirs, "keys stay as they were", 401), (&ours, "keys were read again", 200)]
    {
        let address = tls::saying(authority, "127.0.0.1", &next);
        let from = format!("jwks_url = \"https://{address}/keys\"");
        site.scratch.write("quell.toml", &format!("{AGENT}[[tokens]]\n{from}\n{CLAIMS}"));
        renewed(&site, 1, says);
        assert_eq!(told(&site, &two.token(&json!({}))), status);
    }
    wait_until("it says why", || log(&site).contains("UnknownIssuer"));
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn an_issuer_that_is_new_and_has_no_keys_leaves_all_as_it_was() {
    let (issuer, other, scratch) = (Issuer::start(), Issuer::start(), Scratch::new());
    let [one, two] = ["one", "two"].map(SigningKey::new);
    issuer.publishes(&[one.published()]);
    let keys = "[[keys]]\nsubject = \"ada\"\nsecret_file = \"ada.key\"\n";
    scratch.write("ada.key", "hush-ada");
    scratch.write("quell.toml", &format!("{}{keys}", issuer.entry()));
    let site = site(scratch, &[]);
    site.scratch.write("ada.key", "hush-next");
    // The address is that of somebody else now.
    site.scratch.write("quell.toml", &format!("{}{keys}", other.entry()));
    let nothing = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for (at, (answer, says)) in [
        (nothing.to_owned(), "it answers 404"),
        (body("<html>"), "no set of keys"),
        (body(r#"{"keys": []}"#), "publishes no key for"),
    ]
    .into_iter()
    .enumerate()
    {
        other.says(answer);
        renewed(&site, at + 1, "keys stay as they were");
        assert!(log(&site).contains(says), "{says}: {}", log(&site));
        let all = [told(&site, &one.token(&json!({}))), told(&site, "hush-ada")];
        assert_eq!((all, told(&site, "hush-next")), ([200, 200], 401), "{says}");
    }
    assert!(!log(&site).contains("keys were read again"), "{}", log(&site));
    other.publishes(&[two.published()]);
    renewed(&site, 1, "keys were read again");
    let all = [&one, &two].map(|key| told(&site, &key.token(&json!({}))));
    assert_eq!((all, told(&site, "hush-next")), ([401, 200], 200));
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn an_issuer_that_withdraws_all_its_keys_is_believed_and_one_that_hangs_holds_no_key_back() {
    let (issuer, scratch) = (Issuer::start(), Scratch::new());
    let one = SigningKey::new("one");
    issuer.publishes(&[one.published()]);
    scratch.write("ada.key", "hush-ada");
    let keys = "[[keys]]\nsubject = \"ada\"\nsecret_file = \"ada.key\"\n";
    scratch.write("quell.toml", &format!("{}{keys}", issuer.entry()));
    let site = site(scratch, &[]);
    assert_eq!(told(&site, &one.token(&json!({}))), 200);
    issuer.says(body(r#"{"keys": []}"#));
    renewed(&site, 1, "keys were read again");
    assert_eq!(told(&site, &one.token(&json!({}))), 401);
    let text = log(&site);
    let said = text.lines().find(|line| line.contains("publishes no key")).expect("it is said");
    assert!(said.contains("\"level\":\"WARN\""), "{said}");
    // Its next answer waits for this lock; the key that is exchanged does not wait for the answer.
    let hanging = issuer.answer.lock().expect("nobody panics");
    site.scratch.write("ada.key", "hush-next");
    site.signal("HUP");
    wait_until("the key is exchanged", || told(&site, "hush-ada") == 401);
    assert_eq!(log(&site).matches("keys were read again").count(), 1, "the issuer is asked");
    drop(hanging);
    assert_eq!(told(&site, "hush-next"), 200);
    site.signal("TERM");
    site.ended().0.assert_code(0);
}
