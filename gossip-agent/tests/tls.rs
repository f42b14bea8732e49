//! TLS on TCP between agents: who has a certificate of the authority gets streams, and nobody else.
#![cfg(unix)]

mod support;

use core::time::Duration;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;
use transport_tokio::gossip_tls::Authority;

use support::{Agent, gossip, refused};

/// A directory with certificates.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Written beside it and renamed, as who renews certificates should: an agent may be reading.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), &path).unwrap();
        path.to_str().unwrap().into()
    }

    /// The options of a node whose certificate is that authority's, and who lets in those of the others.
    fn options(&self, name: &str, authority: &Authority, trusted: &[&Authority]) -> Vec<String> {
        let node = authority.issue(name).unwrap();
        let trusted: String = trusted.iter().map(|authority| authority.certificate_pem()).collect();
        let files = [
            ("-tls-cert", self.write(&format!("{name}.pem"), &node.certificate_pem())),
            ("-tls-key", self.write(&format!("{name}.key"), &node.key_pem())),
            ("-tls-ca", self.write(&format!("{name}.ca.pem"), &trusted)),
        ];
        files.into_iter().flat_map(|(option, file)| [option.into(), file]).collect()
    }
}

fn texts(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

/// Runs an agent that must fail to join.
fn cannot_join(name: &str, to: &str, more: &[&str]) -> String {
    let common = ["agent", "-node", name, "-bind", "127.0.0.1:0", "-rpc-addr", "off", "-profile", "local"];
    let Output { status, stderr, .. } = gossip(&[&common, &["-join", to][..], more].concat());
    let log = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{name} joined:\n{log}");
    assert!(log.contains("start_join (--join) failed"), "{log}");
    log
}

/// Waits until a log has that many lines with the text.
#[track_caller]
fn wait_for_log(path: &PathBuf, text: &str, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let log = fs::read_to_string(path).unwrap_or_default();
        if log.lines().filter(|line| line.contains(text)).count() >= count {
            return;
        }
        assert!(Instant::now() < deadline, "{text:?} is not {count} times in the log:\n{log}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_has_no_certificate_of_the_authority_gets_in_nowhere() {
    let files = Files::new();
    let (ours, theirs) = (Authority::new("ours").unwrap(), Authority::new("theirs").unwrap());
    let a = files.options("a", &ours, &[&ours]);
    let log = files.path("a.log");
    let mut a = Agent::start_with("a", &texts(&a), File::create(&log).unwrap().into());
    assert_eq!(a.ready["tls"], true);
    let b = files.options("b", &ours, &[&ours]);
    let mut b = Agent::start("b", &[&["-join", &a.addr][..], &texts(&b)].concat());
    a.wait_change("joined", "b");
    b.wait_change("joined", "a");

    // Of another authority: it is told why, and so is who refused it.
    let stranger = files.options("stranger", &theirs, &[&theirs, &ours]);
    let told = cannot_join("stranger", &a.addr, &texts(&stranger));
    assert!(told.contains("TLS refused with=") && told.contains("authority"), "{told}");
    wait_for_log(&log, "TLS refused with=", 1);
    // Without TLS at all. The peer says nothing that such a one would understand.
    cannot_join("plain", &a.addr, &[]);
    wait_for_log(&log, "TLS refused with=", 2);

    // And there is no way back to plaintext in the other direction.
    let plain = Agent::start("open", &[]);
    let d = files.options("d", &ours, &[&ours]);
    let told = cannot_join("d", &plain.addr, &texts(&d));
    assert!(told.contains("TLS refused with="), "{told}");
    a.say(r#"{"id": 1, "members": true}"#);
    let members = a.wait("the members", |line| line["id"] == 1);
    assert_eq!(members["members"].as_array().map(Vec::len), Some(2), "{members}");
}

#[test]
fn a_hangup_reads_the_certificates_again_and_what_is_wrong_changes_nothing() {
    let files = Files::new();
    let (old, new) = (Authority::new("old").unwrap(), Authority::new("new").unwrap());
    let log = files.path("a.log");
    let a = files.options("a", &old, &[&old]);
    let mut a = Agent::start_with("a", &texts(&a), File::create(&log).unwrap().into());
    let b = files.options("b", &new, &[&new, &old]);
    cannot_join("b", &a.addr, &texts(&b));

    files.write("a.ca.pem", "not a certificate");
    a.signal("HUP");
    wait_for_log(&log, "Failed to reload configs: tls_ca (--tls-ca): ", 1);

    files.write("a.ca.pem", &[old.certificate_pem(), new.certificate_pem()].concat());
    a.signal("HUP");
    wait_for_log(&log, "Reloaded certificates", 1);
    let mut b = Agent::start("b", &[&["-join", &a.addr][..], &texts(&b)].concat());
    a.wait_change("joined", "b");

    // The other way round: a new certificate for the one that runs, and the old authority is trusted no more.
    let renewed = files.options("a", &new, &[&new]);
    assert!(renewed.iter().any(|option| option.ends_with("a.key")));
    a.signal("HUP");
    wait_for_log(&log, "Reloaded certificates", 2);
    let c = files.options("c", &new, &[&new]);
    let _c = Agent::start("c", &[&["-join", &a.addr][..], &texts(&c)].concat());
    a.wait_change("joined", "c");
    b.wait_change("joined", "c");
    let d = files.options("d", &old, &[&old, &new]);
    cannot_join("d", &a.addr, &texts(&d));
}

#[test]
fn what_is_wrong_is_said_before_anything_is_bound() {
    let files = Files::new();
    let authority = Authority::new("ours").unwrap();
    let options = files.options("a", &authority, &[&authority]);
    let agent = ["agent", "-node", "a", "-bind", "127.0.0.1:0", "-rpc-addr", "off"];
    refused(
        &[&agent, &texts(&options[..2])[..]].concat(),
        &["--tls-cert", "without", "--tls-key", "--tls-ca"],
    );
    let other = files.write("a.key", &authority.issue("b").unwrap().key_pem());
    refused(&[&agent, &texts(&options)[..]].concat(), &["--tls-key", "does not belong to the certificate"]);
    fs::remove_file(other).unwrap();
    refused(&[&agent, &texts(&options)[..]].concat(), &["--tls-key", "a.key", "No such file"]);
}

#[test]
fn who_has_tls_and_no_key_is_warned() {
    let files = Files::new();
    let authority = Authority::new("ours").unwrap();
    let options = files.options("a", &authority, &[&authority]);
    let log = files.path("a.log");
    let _a = Agent::start_with("a", &texts(&options), Stdio::from(File::create(&log).unwrap()));
    wait_for_log(&log, "TLS protects streams only", 1);
}

#[test]
fn over_quic_everything_needs_a_certificate() {
    let files = Files::new();
    let (ours, theirs) = (Authority::new("ours").unwrap(), Authority::new("theirs").unwrap());
    let quic = |options: &[String]| -> Vec<String> {
        ["-transport".to_owned(), "quic".to_owned()].into_iter().chain(options.iter().cloned()).collect()
    };
    let a = quic(&files.options("a", &ours, &[&ours]));
    let mut a = Agent::start("a", &texts(&a));
    assert_eq!(a.ready["transport"], "quic");
    let b = quic(&files.options("b", &ours, &[&ours]));
    let mut b = Agent::start("b", &[&["-join", &a.addr][..], &texts(&b)].concat());
    a.wait_change("joined", "b");
    b.say(r#"{"event": "deploy", "payload": "42"}"#);
    a.wait("the event", |line| line["type"] == "user" && line["name"] == "deploy");
    let stranger = quic(&files.options("stranger", &theirs, &[&theirs, &ours]));
    cannot_join("stranger", &a.addr, &texts(&stranger));
    cannot_join("plain", &a.addr, &[]);
    b.child.0.kill().unwrap();
    a.wait_change("failed", "b");
    refused(
        &["agent", "-rpc-addr", "off", "-transport", "quic"],
        &["transport (--transport) quic", "--tls-cert"],
    );
}

/// The others know a node by its key: one that comes back with another has to be told why they no longer listen to it.
#[cfg(unix)]
#[test]
fn over_quic_a_reload_with_another_key_is_warned_of() {
    let files = Files::new();
    let ours = Authority::new("ours").unwrap();
    let log = files.path("a.log");
    let options = [vec!["-transport".into(), "quic".into()], files.options("a", &ours, &[&ours])].concat();
    let a = Agent::start_with("a", &texts(&options), Stdio::from(File::create(&log).unwrap()));
    // The same files, with another key and a certificate for it.
    files.options("a", &ours, &[&ours]);
    a.signal("HUP");
    wait_for_log(&log, "Reloaded certificates, with another key", 1);
}

#[test]
fn the_demo_runs_over_quic() {
    let output = gossip(&["demo", "--transport", "quic", "--nodes", "3", "--speed", "3"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("Agreement") && text.contains("Farewell"), "{text}");
    refused(&["demo", "--transport", "tcp"], &["tcp", "udp, quic"]);
}
