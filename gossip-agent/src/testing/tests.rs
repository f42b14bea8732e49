//! Runs the bodies over the stored seeds, over damaged forms of them and over random bytes, on the stable compiler.

#[path = "../../../fuzz/stored.rs"]
mod stored;

use super::{OBJECTS, TEXTS, fuzz_config, fuzz_mdns, fuzz_rpc};
use crate::mdns::{Answerer, Service};
use crate::rpc::tally::serf_cases;
use crate::rpc::{Command, Reader, RequestHeader, Value as _};

const TARGETS: [(&str, stored::Body); 3] = [("rpc", fuzz_rpc), ("config", fuzz_config), ("mdns", fuzz_mdns)];

#[test]
fn the_stored_inputs_pass() {
    stored::pass_as_stored(&TARGETS);
}

#[test]
fn seeds_pass_cut_at_every_length_and_with_every_byte_changed() {
    stored::pass_damaged(TARGETS, usize::MAX);
}

#[test]
fn random_bytes_pass() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let len = random.usize(0..300);
        let input: Vec<u8> = core::iter::repeat_with(|| random.u8(..)).take(len).collect();
        for (_, body) in TARGETS {
            body(&input);
        }
    }
}

/// `WRITE_SEEDS=1` writes them anew: of RPC and files what was recorded, of the rest what our own side makes.
#[test]
fn the_seeds_are_up_to_date() {
    for (target, seeds) in [("rpc", rpc_seeds()), ("config", config_seeds()), ("mdns", mdns_seeds())] {
        stored::seeds_are(target, seeds);
    }
}

/// One session of each command and side: a header, and the body after it.
fn rpc_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds: Vec<(String, Vec<u8>)> = Vec::new();
    for case in serf_cases("ipc").iter().filter(|case| case.name.starts_with("ipc.head.")) {
        let parts: Vec<&str> = case.name.split('.').collect();
        let Some(command) = Command::parse(parts[2].as_bytes()) else { continue };
        let body = body_of(command, parts[4], parts.len() > 5);
        let kind = OBJECTS.iter().position(|object| *object == body).unwrap();
        let name = format!("{}-{}", parts[2], parts[4..].join("-"));
        if !seeds.iter().any(|(known, _)| *known == name) {
            let bytes = case.bytes("hex");
            let mut reader = Reader::new(&bytes);
            assert!(RequestHeader::read(&mut reader).is_ok(), "{}: no header", case.name);
            seeds.push((name, [&[0xff, kind as u8][..], &bytes].concat()));
        }
    }
    assert!(seeds.len() > 20, "{} seeds", seeds.len());
    seeds
}

/// Which object follows the header.
fn body_of(command: Command, side: &str, record: bool) -> &'static str {
    use Command::*;
    match (command, side == "request", record) {
        (Handshake, true, _) => "HandshakeRequest",
        (Auth, true, _) => "AuthRequest",
        (Event, true, _) => "EventRequest",
        (ForceLeave, true, _) => "ForceLeaveRequest",
        (Join, true, _) => "JoinRequest",
        (Join, false, _) => "JoinResponse",
        (MembersFiltered, true, _) => "MembersFilteredRequest",
        (Members | MembersFiltered, false, _) => "MembersResponse",
        (Tags, true, _) => "TagsRequest",
        (Stream, true, _) => "StreamRequest",
        (Stream, false, true) => "MemberRecord",
        (Monitor, true, _) => "MonitorRequest",
        (Monitor, false, true) => "LogRecord",
        (Stop, true, _) => "StopRequest",
        (Query, true, _) => "QueryRequest",
        (Query, false, true) => "AnswerRecord",
        (Respond, true, _) => "RespondRequest",
        (InstallKey | UseKey | RemoveKey, true, _) => "KeyRequest",
        (InstallKey | UseKey | RemoveKey | ListKeys, false, _) => "KeyResponse",
        (Stats, false, _) => "Stats",
        (GetCoordinate, true, _) => "CoordinateRequest",
        (GetCoordinate, false, _) => "CoordinateResponse",
        _ => "ResponseHeader",
    }
}

fn config_seeds() -> Vec<(String, Vec<u8>)> {
    let file = |name: &str| {
        String::from_utf8(serf_cases("file").iter().find(|case| case.name == name).unwrap().bytes("hex"))
            .unwrap()
    };
    let every_key = r#"{"node_name": "n", "role": "web", "bind": "10.0.0.1:7000", "advertise": "10.0.0.2", "label": "blue",
        "rpc_addr": "127.0.0.1:7373", "rpc_auth": "s", "encrypt_key": "AAAAAAAAAAAAAAAAAAAAAA==", "profile": "wan", "protocol": 5,
        "compression": "all", "start_join": ["10.0.0.3"], "retry_join": ["10.0.0.4:1"], "retry_interval": "30s",
        "retry_max_attempts": 3, "event_handlers": ["user:deploy=cat"], "mdns": {"disable_ipv4": true}, "discover": "blue",
        "query_size_limit": 1024, "leave_on_terminate": true, "log_level": "debug", "metrics_addr": "127.0.0.1:9100"}"#;
    let texts: [(&str, &str, String); 8] = [
        ("file", "every-key", every_key.into()),
        ("file", "tags", r#"{"tags": {"dc": "east", "role": "db"}, "Node_Name": "n"}"#.into()),
        ("keyring", "recorded-keyring", file("file.keyring")),
        ("key", "key", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".into()),
        ("tags", "recorded-tags", file("file.tags")),
        ("filter", "filter", "member-join,member-failed,user:deploy,query:load,query,user,*".into()),
        ("handler", "handler", "member-leave,user:a=sh -c 'x=1; echo $x'".into()),
        ("duration", "duration", "1h2m3.5s4ms5us6ns".into()),
    ];
    let seed = |kind: &str, text: &str| {
        let kind = TEXTS.iter().position(|known| *known == kind).unwrap();
        [&[kind as u8], text.as_bytes()].concat()
    };
    texts.iter().map(|(kind, name, text)| ((*name).into(), seed(kind, text))).collect()
}

fn mdns_seeds() -> Vec<(String, Vec<u8>)> {
    let service = Service::new("blue").unwrap();
    let question = service.question();
    let answer = |addr: &str| {
        let answerer = Answerer::new(service.clone(), b"web-1", "host.example", addr.parse().unwrap());
        answerer.answer(&question).unwrap()
    };
    vec![
        ("answer-ipv4".into(), answer("10.0.0.7:7946")),
        ("answer-ipv6".into(), answer("[fd00::7]:7946")),
        ("question".into(), question.clone()),
    ]
}
