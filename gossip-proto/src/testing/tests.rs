//! Runs the bodies over the stored seeds, over damaged forms of them and over random bytes, on the stable compiler.

#[path = "../../../fuzz/stored.rs"]
mod stored;

use std::path::Path;
use std::prelude::rust_2024::*;
use std::{format, fs, vec};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::wire::message::Compressed;

/// These run for a while on each input; most of it is for the fuzzer.
const MACHINES: [&str; 3] = ["cluster", "node_ops", "pair"];

/// How many seeds of one kind of message are kept; more would not show a fuzzer anything new.
const SEEDS_PER_KIND: usize = 3;

#[test]
fn the_stored_inputs_pass() {
    stored::pass_as_stored(&TARGETS);
}

#[test]
fn seeds_pass_cut_at_every_length_and_with_every_byte_changed() {
    let quick = TARGETS.into_iter().filter(|(target, _)| !MACHINES.contains(target));
    stored::pass_damaged(quick, 192);
}

proptest! {
    #[test]
    fn random_bytes_pass(input in prop::collection::vec(any::<u8>(), 0..300)) {
        for (_, body) in TARGETS.into_iter().filter(|(target, _)| !MACHINES.contains(target)) {
            body(&input);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 16, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_pass(input in prop::collection::vec(any::<u8>(), 0..200)) {
        for (_, body) in TARGETS.into_iter().filter(|(target, _)| MACHINES.contains(target)) {
            body(&input);
        }
    }
}

/// The seeds, apart from those of whole machines, are the recorded messages of other implementations in the form that the
/// bodies take, and codes that fill the table of `lzw`.
/// `WRITE_SEEDS=1` writes them anew.
#[test]
fn the_seeds_are_those_of_the_vectors() {
    for (target, seeds) in [
        ("claims", claims_seeds()),
        ("decode", decode_seeds()),
        ("differential", differential_seeds()),
        ("lzw", lzw_seeds()),
        ("packet", packet_seeds()),
        ("seal", seal_seeds()),
        ("snapshot", snapshot_seeds()),
        ("stream", stream_seeds()),
    ] {
        stored::seeds_are(target, seeds);
    }
}

fn decode_seeds() -> Vec<(String, Vec<u8>)> {
    // By the beginning of the vector's name: the kind, and how many bytes come before its body.
    const MEMBERLIST: [(&str, &str, usize); 13] = [
        ("ping_", "Ping", 1),
        ("ack_", "Ack", 1),
        ("nack", "Nack", 1),
        ("err", "ErrorReply", 1),
        ("indirect_ping_", "IndirectPing", 1),
        ("dead", "Accusation", 1),
        ("suspect_", "Accusation", 1),
        ("alive_", "Alive", 1),
        ("compress_struct", "Compressed", 1),
        ("pushpull_header_", "PushPullHeader", 1),
        ("usermsg_header_", "UserHeader", 1),
        ("pushnodestate_", "NodeState", 0),
        ("compress_one", "Compressed", 1),
    ];
    const SERF: [(&str, &str, usize); 12] = [
        ("gossip.meta.", "Tags", 0),
        ("gossip.intent.join.", "JoinIntent", 1),
        ("gossip.intent.leave", "LeaveIntent", 1),
        ("gossip.event.", "UserEvent", 1),
        ("gossip.filter.", "Filter", 0),
        ("gossip.query.", "Query", 1),
        ("gossip.conflict.", "ConflictResponse", 1),
        ("gossip.key.request", "KeyRequest", 1),
        ("gossip.key.response", "KeyResponse", 1),
        ("gossip.relay.", "Relay", 1),
        ("gossip.ping.", "PingPayload", 0),
        ("decode.pp_", "PushPull", 1),
    ];
    let memberlist = vectors("memberlist-vectors.json");
    let serf = vectors("serf-vectors.json");
    let mut seeds = Vec::new();
    for (table, cases) in [(&MEMBERLIST[..], &memberlist["vectors"]), (&SERF[..], &serf)] {
        for (prefix, kind, skip) in table {
            let selector = KINDS.iter().position(|known| known == kind).expect("a known kind");
            let matching = array(cases).iter().filter(|case| text(case, "name").starts_with(prefix));
            let before = seeds.len();
            for case in matching.take(SEEDS_PER_KIND) {
                let mut seed = vec![u8::try_from(selector).expect("few kinds")];
                seed.extend(bytes(case, "hex").get(*skip..).unwrap_or_default());
                seeds.push((file_name(text(case, "name")), seed));
            }
            assert!(seeds.len() > before, "no vector is called {prefix}*");
        }
    }
    let selector = |kind| KINDS.iter().position(|known| *known == kind).expect("a known kind") as u8;
    for (name, expression, value) in [
        ("expression-anchors", "^web-[0-9]+$", "web-17"),
        ("expression-classes", r"(?i)\pL+[[:^alpha:]]\d{1,3}", "Zürich_12"),
        ("expression-alternatives", "db|(?:c.*e)?", "cache"),
    ] {
        let front = [selector("Expression"), expression.len() as u8];
        seeds.push((name.into(), [&front, expression.as_bytes(), value.as_bytes()].concat()));
    }
    seeds.push(("duration".into(), [&[selector("Duration")], &b"1h15m30.918ms"[..]].concat()));
    seeds
}

fn packet_seeds() -> Vec<(String, Vec<u8>)> {
    let vectors = vectors("memberlist-vectors.json");
    let cases = array(&vectors["packet_cases"]).iter();
    cases
        .map(|case| {
            let seed = [vec![selector(&case["config"])], bytes(case, "hex")].concat();
            (file_name(text(case, "name")), seed)
        })
        .collect()
}

fn stream_seeds() -> Vec<(String, Vec<u8>)> {
    let vectors = vectors("memberlist-vectors.json");
    let mut seeds = Vec::new();
    for case in array(&vectors["stream_cases"]) {
        for (side, (key, suffix)) in [("in_hex", "request"), ("out_hex", "reply")].into_iter().enumerate() {
            let data = bytes(case, key);
            if !data.is_empty() {
                let front = vec![selector(&case["config"]), u8::try_from(side).expect("two sides"), 7];
                seeds.push((file_name(&format!("{}-{suffix}", text(case, "name"))), [front, data].concat()));
            }
        }
    }
    seeds
}

/// The recorded scenarios in short: news, old news and no news; suspicion, death and a farewell, each answered; another
/// address; a claim about the node itself; and the ends of the range.
fn claims_seeds() -> Vec<(String, Vec<u8>)> {
    let seed = |name: &str, claims: &[[u8; 4]]| (name.to_owned(), claims.concat());
    [
        seed("newer-equal-older", &[[0, 1, 3, 0], [0, 1, 4, 0], [0, 1, 4, 0], [0, 1, 2, 0]]),
        seed("accused-and-answered", &[[0, 1, 3, 0], [2, 1, 3, 2], [3, 1, 3, 2], [0, 1, 3, 0], [0, 1, 4, 0]]),
        seed("left-and-taken-over", &[[0, 1, 3, 0], [3, 1, 3, 1], [4, 1, 1, 5], [0, 1, 9, 0], [2, 1, 1, 2]]),
        seed("about-itself", &[[2, 0, 5, 1], [3, 0, 9, 1], [0, 0, 12, 0], [16, 0, 13, 4], [4, 0, 14, 2]]),
        seed(
            "the-ends",
            &[
                [0, 1, 0xaf, 0],
                [2, 1, 0xb1, 0],
                [0, 2, 0xc0, 0],
                [2, 0, 0xc2, 1],
                [0, 3, 1, 0],
                [2, 3, 0x89, 0],
            ],
        ),
    ]
    .into()
}

/// The seeds of single messages, without what selects their kind.
fn differential_seeds() -> Vec<(String, Vec<u8>)> {
    decode_seeds().into_iter().map(|(name, seed)| (name, seed[1..].to_vec())).collect()
}

/// What was compressed and what came of it, each with room enough.
fn lzw_seeds() -> Vec<(String, Vec<u8>)> {
    let vectors = vectors("memberlist-vectors.json");
    let mut seeds = Vec::new();
    for case in array(&vectors["vectors"]).iter().filter(|case| text(case, "name").starts_with("compress_")) {
        let packed = bytes(case, "hex");
        let Some(input) = case["fields"].get("input_hex").filter(|_| packed.len() <= 512) else { continue };
        let name = file_name(text(case, "name"));
        let front = [0xff, 0xff, 16];
        seeds.push((
            format!("{name}-input"),
            [&front[..], &unhex(input.as_str().expect("a string"))].concat(),
        ));
        // The data of a compressed message begins behind the type, the names of the fields, and its own length.
        let (compressed, _) = Compressed::decode(&packed[1..]).expect("a recorded message");
        seeds.push((name, [&front[..], &compressed.buf].concat()));
    }
    assert!(seeds.len() >= 6, "{} seeds", seeds.len());
    assert_eq!(plain_lzw(&full_table(), 0xffff).1, Ok(()));
    seeds.push(("full-table".into(), [&[0xff, 0xff, 16], &full_table()[..]].concat()));
    seeds
}

/// Codes that fill the table, go on with it as it is, and clear it later than they must. No fuzzer finds so many soon.
fn full_table() -> Vec<u8> {
    const CLEAR: u32 = 256;
    const END: u32 = 257;
    let mut state = 1u32;
    let mut below = |most: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % most
    };
    let (mut bits, mut width, mut since_clear) = (Vec::new(), 9, 0);
    for at in 0..4400 {
        let code = match at {
            4300 => CLEAR,
            4399 => END,
            // The table is full by then.
            4000.. if since_clear >= 4000 => 258 + below(4096 - 258),
            _ => below(256),
        };
        bits.extend((0..width).map(|bit| (code >> bit & 1) as u8));
        since_clear = if code == CLEAR { 0 } else { since_clear + 1 };
        // The first code after a clear adds no entry, and the width follows one code late.
        width = (9..12).find(|width| 257 + since_clear < 1 << width).unwrap_or(12);
    }
    bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |sum, bit| sum << 1 | bit)).collect()
}

/// Recorded sealed texts, in the place of the text.
fn seal_seeds() -> Vec<(String, Vec<u8>)> {
    let vectors = vectors("memberlist-vectors.json");
    let cases = array(&vectors["vectors"]).iter();
    cases
        .filter(|case| text(case, "name").starts_with("encrypt_"))
        .map(|case| {
            let aad = bytes(&case["fields"], "aad");
            let padded = u8::from(case["fields"]["version"] == 0);
            let front =
                [vec![padded, 0, 20, 1], vec![7; 12], vec![u8::try_from(aad.len()).expect("short")], aad];
            (file_name(text(case, "name")), [front.concat(), bytes(case, "hex")].concat())
        })
        .collect()
}

/// Files that real agents wrote, with a life of a node behind them.
fn snapshot_seeds() -> Vec<(String, Vec<u8>)> {
    const LIFE: [u8; 18] = [0, 9, 0, 17, 1, 9, 2, 33, 3, 2, 8, 25, 7, 40, 5, 0, 4, 0];
    let vectors = vectors("serf-vectors.json");
    let cases = array(&vectors).iter().filter(|case| text(case, "name").starts_with("file.snapshot."));
    let front = |life: &[u8]| [&[0, u8::try_from(life.len()).expect("short")], life].concat();
    let mut seeds: Vec<_> = cases
        .map(|case| (file_name(text(case, "name")), [front(&LIFE), bytes(case, "hex")].concat()))
        .collect();
    let learnt = b"alive: a 10.0.0.1:1\n# learnt: 9999999999 b c 10.0.0.2:1\n# forgotten: x\n# note\nleave\nclock: 7\nclo";
    seeds.push(("learnt".into(), [front(&LIFE), learnt.to_vec()].concat()));
    seeds
}

/// The byte by which the bodies choose these layers.
fn selector(config: &Value) -> u8 {
    let set = |key: &str| config.get(key).is_some_and(|value| *value != Value::Bool(false));
    let unset = |key: &str| config.get(key) == Some(&Value::Bool(false));
    u8::from(set("Label"))
        | u8::from(set("SkipInboundLabelCheck")) << 1
        | u8::from(set("key")) << 2
        | u8::from(!unset("GossipVerifyIncoming")) << 3
        | 1 << 4
}

fn vectors(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors").join(file);
    serde_json::from_str(&fs::read_to_string(path).expect("the vectors")).expect("JSON")
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn text<'v>(case: &'v Value, key: &str) -> &'v str {
    case[key].as_str().expect("a string")
}

fn bytes(case: &Value, key: &str) -> Vec<u8> {
    unhex(text(case, key))
}

fn unhex(hex: &str) -> Vec<u8> {
    let hex = hex.as_bytes();
    hex.chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal digits"))
        .collect()
}

fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}
