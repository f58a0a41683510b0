//! Which server is asked, with which key, and what is said if it is not there.

use std::net::TcpListener;

use crate::services::tls::{authority, service};
use crate::site::Site;
use crate::support::{Ended, Running, Scratch};

const KEYS: &str = "[[keys]]\nsubject = \"ops\"\nsecret_env = \"OPS_KEY\"\n\
                    scopes = [\"agent_os:admin\"]\n[agents.a]\nrun = [\"true\"]\n";

/// Lists the nodes, which takes the key of an administrator.
fn nodes(site: &Site, args: &[&str], env: &[(&str, &str)]) -> Ended {
    let mut command = site.scratch.quell(&[&["nodes"], args].concat());
    command.env("XDG_CONFIG_HOME", site.scratch.path("config")).envs(env.iter().copied());
    Running::start(command).ended()
}

#[test]
fn a_key_comes_from_the_environment_and_goes_to_the_server_of_its_profile_alone() {
    let (scratch, secret) = (Scratch::new(), "a-hUsh-key-of-ops");
    scratch.write("quell.toml", KEYS);
    let site = Site::with_env(scratch, &["--config", "quell.toml"], &[("OPS_KEY", secret)]);
    let url = format!("http://{}", site.address());
    std::fs::create_dir_all(site.scratch.path("config/quell")).expect("a folder");
    let file = format!(
        "[default]\nserver = '{url}'\nkey_env = 'MINE'\n[other]\nserver = 'http://127.0.0.1:1'\n"
    );
    site.scratch.write("config/quell/profile.toml", &file);
    let mine = ("MINE", secret);
    for (args, env) in [
        (&[][..], &[mine][..]),
        (&["--profile", "default"], &[mine, ("QUELL_SERVER", "http://127.0.0.1:1")]),
        (&["--server", &url, "--key-env", "MINE"], &[mine]),
        (&["--key-env", "MINE"], &[mine, ("QUELL_SERVER", &url)]),
    ] {
        let listed = nodes(&site, args, env);
        assert!(listed.assert_code(0).stdout.starts_with("(alone)"), "{args:?}: {listed:?}");
    }
    for (args, env, says) in [
        (&["--server", &url][..], &[mine][..], "`--key-env NAME` names the environment variable"),
        (&[], &[("QUELL_SERVER", &*url), mine], "`--key-env NAME` names the environment variable"),
        (&["--key-env", "MINE"], &[("MINE", "wrong")], "the server does not know this key (401)"),
        (&["--key-env", "MINE"], &[], "MINE is not set"),
        (&["--key-env", secret], &[], "the environment variable of `--key-env` is not set"),
        (&["--profile", "none"], &[], "no profile `none`"),
        (&["--profile", "other"], &[], "http://127.0.0.1:1: no answer: "),
        (&["--profile", "other", "--server", &url], &[], "cannot be used with"),
    ] {
        let refused = nodes(&site, args, env);
        refused.assert_code(2);
        assert_eq!(refused.stdout, "", "{args:?}");
        let says = says.replace(" (401)", "");
        assert!(refused.stderr.contains(&says), "{args:?}: {}", refused.stderr);
        assert!(!refused.stderr.contains(secret), "{args:?}: {}", refused.stderr);
    }
}

#[test]
fn what_is_not_there_or_no_quell_is_told_with_what_to_do() {
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let free = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    for (url, says) in [
        (&*free, "`quell serve` starts a server, `--server URL` names another one"),
        ("127.0.0.1:7777", "no scheme and host"),
        ("http://a/x?y=1", "a query in the address of a server"),
        ("http://ann:hush@a", "user and password in an address"),
    ] {
        let ended = scratch.run(&["ps", "--server", url]);
        ended.assert_code(2);
        assert!(ended.stderr.contains(says) && !ended.stderr.contains("hush"), "{ended:?}");
    }
    let site = Site::demo(&[]);
    let elsewhere = format!("http://{}/nowhere", site.address());
    let ended = site.scratch.run(&["ps", "--server", &elsewhere]);
    assert!(ended.assert_code(2).stderr.contains("no `quell serve`, or one of another path"));
}

#[test]
fn a_server_behind_https_is_asked_if_its_certificate_is_trusted() {
    let (scratch, known) = (Scratch::new(), authority("known"));
    let (site, other) = (service(&known, "localhost"), service(&authority("other"), "localhost"));
    scratch.write("roots.pem", &known.pem());
    let cancel = |port: u16| {
        let server = format!("https://localhost:{port}");
        let mut command = scratch.quell(&["cancel", "a", "--server", &server, "--key-env", "K"]);
        command.env("SSL_CERT_FILE", scratch.path("roots.pem")).env("K", "hUsh-key");
        Running::start(command).ended()
    };
    // It answers what it was asked.
    let asked = cancel(site.port());
    assert!(asked.assert_code(2).stderr.contains("its answer cannot be read"), "{asked:?}");
    let refused = cancel(other.port());
    assert!(refused.assert_code(2).stderr.contains("no answer: "), "{refused:?}");
    assert!(refused.stderr.contains("certificate"), "{refused:?}");
}
