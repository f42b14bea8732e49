//! Packets and streams against the recorded bytes of memberlist: layers off and layers on.
use crate::support;

use gossip_proto::wire::compound::{Packer, Parts, write_header};
use gossip_proto::wire::keyring::{Key, Keyring, NONCE_LEN};
use gossip_proto::wire::label::{Found, Label};
use gossip_proto::wire::layers::{Compression, Layers};
use gossip_proto::wire::lzw::{Deflater, Inflater};
use gossip_proto::wire::message::{Compressed, ErrorReply, MessageType};
use gossip_proto::wire::packet::{self, Envelope, PacketError, Scratch, UnpackLimits, Unpacked};
use gossip_proto::wire::seal::{self, OpenError, SEAL_HEADER, SealVersion};
use gossip_proto::wire::stream::{
    Side, StreamLimits, StreamMessage, StreamReadError, StreamReader, write_stream_with,
};
use serde_json::Value;
use support::{Case, Tally, hex, is_frame, memberlist_cases, unhex};

type Outcome = Result<(), String>;

#[test]
fn frames() {
    let mut tally = Tally::new("frames");
    for case in memberlist_cases("vectors").iter().filter(|case| is_frame(&case.name)) {
        let wire = case.bytes("hex");
        let fields = Fields(&case.value["fields"]);
        tally.judge(case, &[], "", run(case, &fields, &wire));
    }
    tally.finish();
}

/// What the layers make of whole packets; what a node makes of the messages inside is not looked at here.
#[test]
fn packet_cases() {
    let mut tally = Tally::new("packet_cases.frames");
    for case in memberlist_cases("packet_cases") {
        let outcome = packet_case(&case);
        tally.judge(&case, &[], "", outcome);
    }
    tally.finish();
}

/// What the layers make of whole streams, and the bytes of error replies.
#[test]
fn stream_cases() {
    let mut tally = Tally::new("stream_cases.frames");
    for case in memberlist_cases("stream_cases") {
        let outcome = stream_case(&case);
        tally.judge(&case, &[], "", outcome);
    }
    tally.finish();
}

fn packet_case(case: &Case) -> Outcome {
    let layers = configured(&case.value["config"])?;
    let mut wire = case.bytes("hex");
    let result = packet::open(&layers, &mut wire);
    let found = match &result {
        Ok(body) => packet::unpack(body, &mut Scratch::new(), &UnpackLimits::default(), &mut |_| {}),
        Err(_) => Unpacked::default(),
    };
    let is = |error: PacketError| result.as_ref().err() == Some(&error);
    let recorded = case.text("outcome");
    let dropped = recorded.strip_prefix("drop").and_then(|why| why.split_once(": "));
    let agrees = match dropped.map(|(_, why)| why) {
        None => found.messages > 0,
        Some("CRC mismatch") => is(PacketError::Checksum),
        Some("zero-length label") => is(PacketError::LabelEmpty),
        Some("label truncated") => is(PacketError::LabelTruncated),
        Some("label present although skip-check is on") => is(PacketError::LabelUnexpected),
        Some("encryption version unknown") => matches!(result, Err(PacketError::Seal(OpenError::Version(_)))),
        Some("no key decrypts") => is(PacketError::Seal(OpenError::NoKey)),
        Some("too short for an encrypted payload") => {
            matches!(result, Err(PacketError::Seal(OpenError::TooShort(_))))
        }
        Some("unknown or not allowed type at this place") => found.misplaced > 0 && found.messages == 0,
        Some(text) if text.starts_with("compound") => found.bad_compound == 1 && found.messages == 0,
        Some(text) if text.starts_with("label") => is(PacketError::LabelMismatch),
        // For reasons that lie in the message itself.
        Some(_) => case.value["sent"].as_array().is_none_or(Vec::is_empty),
    };
    if agrees { Ok(()) } else { Err(format!("'{recorded}' gave {result:?}, {found:?}")) }
}

fn stream_case(case: &Case) -> Outcome {
    let layers = configured(&case.value["config"])?;
    let reply = case.bytes("out_hex");
    let nonce = unhex("a0a1a2a3a4a5a6a7a8a9aaab").try_into().expect("12 bytes");
    match read(&layers, Side::Accepting, &case.bytes("in_hex")) {
        Err(error) if error.is_answered() => {
            let mut message = vec![MessageType::Error.byte()];
            let text = error.to_string();
            let body = ErrorReply { text: text.as_bytes().into() };
            body.encode(&mut message).map_err(|error| error.to_string())?;
            let mut ours = Vec::new();
            write_stream_with(&layers, false, &[&message], &nonce, &mut Deflater::new(), &mut ours)
                .map_err(|error| error.to_string())?;
            match error {
                // The text is that of another decoder.
                StreamReadError::BadCompressed(_) if !reply.is_empty() => Ok(()),
                _ => same(&text, &ours, &reply),
            }
        }
        Err(error) => same(&error.to_string(), &[], &reply),
        Ok(_) if reply.is_empty() => Ok(()),
        Ok(_) => {
            let answer = read(&layers, Side::Opening, &reply).map_err(|error| error.to_string())?;
            match answer.message() {
                Some(StreamMessage::Ack(_) | StreamMessage::PushPull { .. }) => Ok(()),
                other => Err(format!("taken here, but answered there with {other:?}")),
            }
        }
    }
}

/// The layers of a node with this configuration.
fn configured(config: &Value) -> Result<Layers, String> {
    let config = Fields(config);
    let flag = |key: &str, default: bool| config.0[key].as_bool().unwrap_or(default);
    let label = Label::new(config.text("Label").unwrap_or_default()).map_err(|error| error.to_string())?;
    let keyring = match config.bytes("key") {
        Some(key) => {
            let key = Key::new(&key).map_err(|error| error.to_string())?;
            Some(Keyring::new(key, []).map_err(|error| error.to_string())?)
        }
        None => None,
    };
    Ok(Layers {
        label,
        keyring,
        skip_inbound_label_check: flag("SkipInboundLabelCheck", false),
        verify_incoming: flag("GossipVerifyIncoming", true),
        verify_outgoing: flag("GossipVerifyOutgoing", true),
        ..Layers::default()
    })
}

/// By what the case contains rather than by its name, so that cases not seen yet find their way too.
fn run(case: &Case, fields: &Fields<'_>, wire: &[u8]) -> Outcome {
    if fields.0.get("parts").is_some() || fields.0.get("parts_count").is_some() {
        compound(fields, wire)
    } else if fields.0.get("input_len").is_some() {
        compressed(fields, wire)
    } else if case.name.starts_with("stream_") || wire.first() == Some(&10) {
        stream(fields, wire)
    } else if case.name.starts_with("encrypt") {
        sealed(fields, wire)
    } else {
        packet(fields, wire)
    }
}

fn compound(fields: &Fields<'_>, wire: &[u8]) -> Outcome {
    let wanted: Vec<Vec<u8>> = match fields.0["parts"].as_array() {
        Some(parts) => parts.iter().map(|part| unhex(part.as_str().expect("hex"))).collect(),
        None => (0..fields.0["parts_count"].as_u64().expect("a count")).map(|i| vec![8, i as u8]).collect(),
    };
    let mut parts = Parts::new(&wire[1..]).map_err(|error| format!("{error:?}"))?;
    equal("parts", &parts.by_ref().collect::<Vec<_>>(), &wanted)?;
    equal("truncated", &parts.truncated(), &0)?;
    let mut ours = vec![0; wire.len()];
    let at = write_header(&mut ours, wanted.iter().map(Vec::len)).map_err(|error| error.to_string())?;
    ours.truncate(at);
    ours.extend(wanted.concat());
    same("encoded", &ours, wire)?;
    if wanted.len() > 1 {
        let mut ours = vec![0; wire.len()];
        let mut packer = Packer::new(&mut ours);
        wanted.iter().try_for_each(|part| packer.push(part)).map_err(|error| error.to_string())?;
        let len = packer.finish();
        same("packed", &ours[..len], wire)?;
    }
    Ok(())
}

fn compressed(fields: &Fields<'_>, wire: &[u8]) -> Outcome {
    let text = expand(wire)?;
    let len = fields.0["input_len"].as_u64().expect("a length");
    equal("length", &(text.len() as u64), &len)?;
    if let Some(input) = fields.bytes("input_hex") {
        same("decompressed", &text, &input)?;
    }
    if let Some(digest) = fields.text("input_sha256") {
        equal("digest", &hex(&sha256(&text)).as_str(), &digest)?;
    }
    let mut ours = Vec::new();
    Deflater::new().append_message(&[&text], &mut ours);
    same("compressed and decompressed", &expand(&ours)?, &text)
}

fn sealed(fields: &Fields<'_>, wire: &[u8]) -> Outcome {
    let key = Key::new(&fields.bytes("key").expect("a key")).map_err(|error| error.to_string())?;
    let (aad, text) = (fields.bytes("aad").unwrap_or_default(), fields.bytes("plaintext").expect("a text"));
    let version = version(wire)?;
    let mut ours = vec![0; version.sealed_len(text.len())];
    ours[SEAL_HEADER..][..text.len()].copy_from_slice(&text);
    let len = seal::seal(&key, version, &fields.nonce(), &aad, &mut ours, text.len());
    equal("sealed length", &len, &Some(wire.len()))?;
    same("sealed", &ours, wire)?;
    let ring = Keyring::new(key, []).map_err(|error| error.to_string())?;
    let mut copy = wire.to_vec();
    let opened = seal::open(&ring, &aad, true, &mut copy).map_err(|error| error.to_string())?;
    same("opened", opened, &text)
}

fn packet(fields: &Fields<'_>, wire: &[u8]) -> Outcome {
    let layers = fields.layers(wire)?;
    let inside = fields.bytes("plaintext").unwrap_or_else(|| wire[layers.label.header_len()..].to_vec());
    let crc = inside.first() == Some(&12);
    let wanted = if crc { &inside[5..] } else { &inside[..] };
    if let Some(inner) = fields.bytes("inner") {
        same("recorded inner", wanted, &inner)?;
    }

    let mut copy = wire.to_vec();
    let body = packet::open(&layers, &mut copy).map_err(|error| error.to_string())?;
    same("opened", body, wanted)?;
    let found = leaves(body);
    if let Some(compound) = fields.bytes("compound") {
        equal("messages", &found, &leaves(&compound))?;
        let mut ours = compound.clone();
        let len = Deflater::new().shrink(&mut ours, compound.len());
        if fields.0["smaller"] == true && len >= compound.len() {
            return Err("did not become smaller".into());
        }
        equal("messages of our own", &leaves(&ours[..len]), &found)?;
    } else if found.is_empty() {
        return Err("no message was found".into());
    }

    let mut ours = vec![0; wire.len()];
    let mut envelope = Envelope::new(&layers, &mut ours, wire.len(), crc).ok_or("no room")?;
    envelope.body().get_mut(..body.len()).ok_or("the body does not fit")?.copy_from_slice(body);
    let len = envelope
        .finish_with(body.len(), &fields.nonce(), &mut Deflater::new())
        .map_err(|error| error.to_string())?;
    same("composed", &ours[..len], wire)
}

fn stream(fields: &Fields<'_>, wire: &[u8]) -> Outcome {
    let layers = fields.layers(wire)?;
    let inner = fields.bytes("plaintext").unwrap_or_else(|| wire[label_len(wire)..].to_vec());
    let wanted = match fields.bytes("plain") {
        Some(plain) => plain,
        None if inner.first() == Some(&9) => expand(&inner)?,
        None => inner.clone(),
    };

    // Which side reads it follows from the message, so one of the two must take it.
    let reader = match read(&layers, Side::Accepting, wire) {
        Err(StreamReadError::UnexpectedType(_) | StreamReadError::LabelMismatch) => {
            read(&layers, Side::Opening, wire)
        }
        result => result,
    }
    .map_err(|error| error.to_string())?;
    let opened = reader.opened().ok_or("the message is not complete")?;
    same("opened", opened, &wanted)?;
    content(fields, &reader)?;

    let mut ours = Vec::new();
    let opener = label_len(wire) > 0;
    write_stream_with(&layers, opener, &[&inner], &fields.nonce(), &mut Deflater::new(), &mut ours)
        .map_err(|error| error.to_string())?;
    same("written", &ours, wire)?;
    if inner.first() == Some(&9) {
        let layers = Layers { compression: Compression::Streams, ..layers };
        ours.clear();
        write_stream_with(&layers, opener, &[&wanted], &fields.nonce(), &mut Deflater::new(), &mut ours)
            .map_err(|error| error.to_string())?;
        let side = if matches!(wanted.first(), Some(0 | 6 | 8)) { Side::Accepting } else { Side::Opening };
        let layers = if opener || side == Side::Opening {
            layers
        } else {
            Layers { label: Label::default(), ..layers }
        };
        let reader = read(&layers, side, &ours).map_err(|error| error.to_string())?;
        same("compressed and read", reader.opened().unwrap_or_default(), &wanted)?;
    }
    Ok(())
}

/// What the case says about the message itself.
fn content(fields: &Fields<'_>, reader: &StreamReader) -> Outcome {
    match reader.message().ok_or("no message")? {
        StreamMessage::PushPull { join, nodes } => {
            if let Some(wanted) = fields.0["join"].as_bool() {
                equal("join", &join, &wanted)?;
            }
            if let Some(wanted) = fields.0["nodes"].as_array() {
                equal("nodes", &nodes, &wanted.len())?;
            }
            let mut exchange = StreamReader::new(Side::Accepting, StreamLimits::default());
            exchange
                .feed_opened(&Layers::default(), reader.opened().unwrap_or_default())
                .map_err(|error| error.to_string())?;
            let mut exchange = exchange.take_push_pull().ok_or("no push/pull")?;
            let mut names = Vec::new();
            while let Some(state) = exchange.next_node() {
                let state = state.map_err(|error| error.to_string())?;
                names.push(Value::from(String::from_utf8_lossy(&state.name)));
            }
            match fields.0.get("nodes") {
                Some(Value::Array(wanted)) if wanted.iter().all(Value::is_string) => {
                    equal("names", &names, wanted)?;
                }
                _ => {}
            }
            match fields.bytes("user_state") {
                Some(wanted) => same("user state", exchange.user_state(), &wanted),
                None => Ok(()),
            }
        }
        StreamMessage::Ping(ping) => sequence(fields, ping.seq),
        StreamMessage::Ack(ack) => sequence(fields, ack.seq),
        StreamMessage::Error(_) | StreamMessage::User(_) => Ok(()),
    }
}

fn sequence(fields: &Fields<'_>, seq: u32) -> Outcome {
    match fields.0["SeqNo"].as_u64() {
        Some(wanted) => equal("SeqNo", &u64::from(seq), &wanted),
        None => Ok(()),
    }
}

/// Reads a stream whole and byte by byte, which must come to the same.
fn read(layers: &Layers, side: Side, wire: &[u8]) -> Result<StreamReader, StreamReadError> {
    let feed = |piece: usize| {
        let mut reader = StreamReader::new(side, StreamLimits::default());
        for piece in wire.chunks(piece) {
            reader.feed(layers, piece, usize::MAX)?;
        }
        reader.finish().map(|()| reader)
    };
    let (whole, dribbled) = (feed(wire.len()), feed(1));
    match (&whole, &dribbled) {
        (Ok(whole), Ok(dribbled)) => assert_eq!(whole.opened(), dribbled.opened()),
        (Err(whole), Err(dribbled)) => assert_eq!(whole, dribbled),
        _ => panic!("the outcome depends on how the bytes arrive"),
    }
    whole
}

fn leaves(body: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    packet::unpack(body, &mut Scratch::new(), &UnpackLimits::default(), &mut |message| {
        found.push(message.to_vec());
    });
    found
}

fn expand(message: &[u8]) -> Result<Vec<u8>, String> {
    let body = message.strip_prefix(&[9]).ok_or("not a compressed message")?;
    let (Compressed { buf, .. }, _) = Compressed::decode(body).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    Inflater::new().inflate(&buf, &mut text, 1 << 20).map_err(|error| error.to_string())?;
    Ok(text)
}

/// What a case says besides its bytes.
struct Fields<'c>(&'c Value);

impl Fields<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        self.text(key).map(unhex)
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        self.bytes("nonce").map_or([0; NONCE_LEN], |nonce| nonce.try_into().expect("12 bytes"))
    }

    fn layers(&self, wire: &[u8]) -> Result<Layers, String> {
        let label = match (self.text("label"), Label::find(wire)) {
            (Some(label), _) => label.as_bytes(),
            (None, Ok(Found::Header(label))) => label,
            (None, _) => &[],
        };
        let label = Label::new(label).map_err(|error| error.to_string())?;
        let mut layers = Layers { label, ..Layers::default() };
        if let Some(key) = self.bytes("key") {
            let key = Key::new(&key).map_err(|error| error.to_string())?;
            layers.keyring = Some(Keyring::new(key, []).map_err(|error| error.to_string())?);
            let inside = &wire[label_len(wire)..];
            layers.seal_version = version(inside.get(5..).filter(|_| inside[0] == 10).unwrap_or(inside))?;
        }
        Ok(layers)
    }
}

fn label_len(wire: &[u8]) -> usize {
    match Label::find(wire) {
        Ok(Found::Header(label)) => 2 + label.len(),
        _ => 0,
    }
}

fn version(sealed: &[u8]) -> Result<SealVersion, String> {
    match sealed.first() {
        Some(0) => Ok(SealVersion::Padded),
        Some(1) => Ok(SealVersion::Plain),
        other => Err(format!("seal version {other:?}")),
    }
}

fn same(what: &str, ours: &[u8], wanted: &[u8]) -> Outcome {
    if ours == wanted { Ok(()) } else { Err(format!("{what}: {} instead of {}", hex(ours), hex(wanted))) }
}

fn equal<A: PartialEq<B> + core::fmt::Debug, B: core::fmt::Debug>(
    what: &str,
    ours: &A,
    wanted: &B,
) -> Outcome {
    if ours == wanted { Ok(()) } else { Err(format!("{what}: {ours:?} instead of {wanted:?}")) }
}

/// FIPS 180-4, for the cases that give a long input by its digest only.
fn sha256(data: &[u8]) -> [u8; 32] {
    let primes: Vec<u64> = (2u64..312).filter(|n| (2..*n).all(|d| n % d != 0)).collect();
    // The first 32 bits of the fractional parts of square and cube roots, by integer search.
    let root = |prime: u64, power: u32| {
        let (mut low, mut high) = (0u128, 1 << 36);
        while low + 1 < high {
            let middle = (low + high) / 2;
            let fits = middle.pow(power) <= u128::from(prime) << (32 * power);
            (low, high) = if fits { (middle, high) } else { (low, middle) };
        }
        low as u32
    };
    let mut state: Vec<u32> = primes[..8].iter().map(|prime| root(*prime, 2)).collect();
    let constants: Vec<u32> = primes[..64].iter().map(|prime| root(*prime, 3)).collect();
    let mut padded = data.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(data.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks(64) {
        let mut w: Vec<u32> =
            block.chunks(4).map(|word| u32::from_be_bytes(word.try_into().expect("4 bytes"))).collect();
        for i in 16..64 {
            let (a, b) = (w[i - 15], w[i - 2]);
            let low = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
            let high = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
            w.push(w[i - 16].wrapping_add(low).wrapping_add(w[i - 7]).wrapping_add(high));
        }
        let mut s = state.clone();
        for i in 0..64 {
            let e = s[4].rotate_right(6) ^ s[4].rotate_right(11) ^ s[4].rotate_right(25);
            let choice = (s[4] & s[5]) ^ (!s[4] & s[6]);
            let first =
                s[7].wrapping_add(e).wrapping_add(choice).wrapping_add(constants[i]).wrapping_add(w[i]);
            let a = s[0].rotate_right(2) ^ s[0].rotate_right(13) ^ s[0].rotate_right(22);
            let majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
            s.rotate_right(1);
            s[4] = s[4].wrapping_add(first);
            s[0] = first.wrapping_add(a).wrapping_add(majority);
        }
        state.iter_mut().zip(s).for_each(|(sum, value)| *sum = sum.wrapping_add(value));
    }
    let bytes: Vec<u8> = state.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.try_into().expect("32 bytes")
}

#[test]
fn the_digest_is_right() {
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hex(&sha256(b"abc")), digest);
    assert_eq!(hex(&sha256(&[b'a'; 57])), "f13b2d724659eb3bf47f2dd6af1accc87b81f09f59f2b75e5c0bed6589dfe8c6");
}
