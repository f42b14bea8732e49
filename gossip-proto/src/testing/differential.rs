//! The decoder against another one: `rmpv`, which shares no code with it.

use alloc::vec::Vec;

use rmpv::Value;

use crate::wire::message::{Alive, Ping};
use crate::wire::msgpack::Reader;

/// Values nested deeper than this are left to our own decoder, which has no limit; the other one recurses.
const MAX_DEPTH: usize = 64;

/// One value, taken for whatever it may be, and for two messages.
pub fn fuzz_differential(input: &[u8]) {
    let mut rest = input;
    let theirs = rmpv::decode::read_value_with_max_depth(&mut rest, MAX_DEPTH);
    let len = input.len() - rest.len();
    let mut reader = Reader::new(input);
    let ours = reader.skip_value();
    let Ok(value) = theirs else {
        // The other one refuses depth, and takes the byte that was never assigned for nil; apart from these both refuse.
        if ours.is_ok() {
            let deep = matches!(theirs, Err(rmpv::decode::Error::DepthLimitExceeded));
            assert!(deep, "only we take it: {theirs:?}");
        }
        return;
    };
    match ours {
        Ok(()) => assert_eq!(reader.position(), len, "values of different lengths"),
        // 0xc1 stands for nothing, and we say so.
        Err(error) => {
            assert!(input[..len].contains(&0xc1), "only they take it: {error}");
            return;
        }
    }
    let mut reader = Reader::new(&input[..len]);
    same(&value, &mut reader);
    assert!(reader.rest().is_empty(), "values of different lengths");
    messages(&value, &input[..len]);
}

/// The value that the reader is at, read as everything that it can be.
fn same(value: &Value, reader: &mut Reader<'_>) {
    let at = reader.clone();
    match value {
        Value::Nil => assert!(reader.take_nil(), "nil is something else"),
        Value::Boolean(set) => assert_eq!(reader.bool(), Ok(*set)),
        Value::Integer(number) => {
            assert_eq!(at.clone().u64().ok(), number.as_u64(), "as an unsigned number");
            // A number that no signed one holds wraps, as it does in Go.
            let signed = number.as_i64().or_else(|| number.as_u64().map(u64::cast_signed));
            assert_eq!(at.clone().u32().ok(), number.as_u64().and_then(|number| u32::try_from(number).ok()));
            assert_eq!(at.clone().u8().ok(), number.as_u64().and_then(|number| u8::try_from(number).ok()));
            assert_eq!(reader.i64().ok(), signed, "as a signed number");
        }
        Value::F32(number) => assert_eq!(reader.f64().map(f64::to_bits), Ok(f64::from(*number).to_bits())),
        Value::F64(number) => assert_eq!(reader.f64().map(f64::to_bits), Ok(number.to_bits())),
        Value::String(text) => string(text.as_bytes(), reader),
        Value::Binary(bytes) => string(bytes, reader),
        Value::Array(items) => {
            assert_eq!(reader.list(), Ok(Some(items.len())), "an array of another length");
            items.iter().for_each(|item| same(item, reader));
        }
        Value::Map(pairs) => {
            assert_eq!(reader.map(), Ok(Some(pairs.len())), "a map of another length");
            for (key, value) in pairs {
                same(key, reader);
                same(value, reader);
            }
        }
        Value::Ext(..) => {
            let (mut bytes, mut number) = (at.clone(), at);
            assert!(bytes.bytes().is_err() && number.u64().is_err(), "an extension is taken for something");
            assert!(reader.skip_value().is_ok());
        }
    }
}

fn string(bytes: &[u8], reader: &mut Reader<'_>) {
    let text = reader.clone().text();
    assert_eq!(text.as_deref(), Ok(bytes), "another text");
    assert_eq!(reader.bytes().ok().flatten().as_deref(), Some(bytes), "other bytes");
}

/// What the other decoder finds in the fields of a message.
struct Fields<'v>(&'v [(Value, Value)]);

impl<'v> Fields<'v> {
    /// The last value under a name; `None` if it is of a kind that takes more than this to compare.
    fn get(&self, name: &str) -> Option<Option<&'v Value>> {
        let plain = self.0.iter().all(|(key, _)| matches!(key, Value::String(_) | Value::Binary(_)));
        let is = |key: &Value| key.as_slice() == Some(name.as_bytes());
        plain.then(|| self.0.iter().rev().find(|(key, _)| is(key)).map(|(_, value)| value))
    }

    /// As a number below a limit; nothing is 0.
    fn number(&self, name: &str, limit: u64) -> Option<u64> {
        match self.get(name)? {
            None | Some(Value::Nil) => Some(0),
            Some(value) => value.as_u64().filter(|&number| number <= limit),
        }
    }

    /// As bytes; nothing is empty.
    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        match self.get(name)? {
            None | Some(Value::Nil) => Some(Vec::new()),
            Some(value) => value.as_slice().map(Into::into),
        }
    }
}

/// Where all fields are of the kinds that are sent, both find the same in them.
fn messages(value: &Value, bytes: &[u8]) {
    let Value::Map(pairs) = value else { return };
    let fields = Fields(pairs);
    // A field that comes twice may be no good the first time.
    let twice =
        |name: &str| pairs.iter().filter(|(key, _)| key.as_slice() == Some(name.as_bytes())).count() > 1;
    let names = [
        "Incarnation",
        "Node",
        "Addr",
        "Port",
        "Meta",
        "Vsn",
        "SeqNo",
        "SourceAddr",
        "SourcePort",
        "SourceNode",
    ];
    if names.into_iter().any(twice) {
        return;
    }
    let alive = (|| {
        let numbers =
            (fields.number("Incarnation", u32::MAX.into())?, fields.number("Port", u16::MAX.into())?);
        Some((
            numbers,
            [fields.bytes("Node")?, fields.bytes("Addr")?, fields.bytes("Meta")?, fields.bytes("Vsn")?],
        ))
    })();
    if let Some(((incarnation, port), [node, addr, meta, vsn])) = alive {
        let (ours, consumed) = Alive::decode(bytes).expect("fields of the right kinds");
        assert_eq!(consumed, bytes.len());
        assert_eq!((u64::from(ours.incarnation), u64::from(ours.port)), (incarnation, port));
        assert_eq!((&*ours.node, &*ours.addr, &*ours.meta, &*ours.vsn), (&*node, &*addr, &*meta, &*vsn));
    }
    let ping = (|| {
        let numbers =
            (fields.number("SeqNo", u32::MAX.into())?, fields.number("SourcePort", u16::MAX.into())?);
        Some((numbers, [fields.bytes("Node")?, fields.bytes("SourceAddr")?, fields.bytes("SourceNode")?]))
    })();
    if let Some(((seq, port), [node, addr, source])) = ping {
        let (ours, _) = Ping::decode(bytes).expect("fields of the right kinds");
        assert_eq!((u64::from(ours.seq), u64::from(ours.source_port)), (seq, port));
        assert_eq!((&*ours.node, &*ours.source_addr, &*ours.source_node), (&*node, &*addr, &*source));
    }
}
