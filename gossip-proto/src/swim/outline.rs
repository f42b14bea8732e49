//! Hashes of what a machine hands out, before it is sealed, so that a replay can be compared call by call. What may hold
//! keys, or what stands for them in a recording, counts by its length.

use core::fmt::{self, Debug, Write};
use core::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::Swim;
use crate::output::{Completion, Event, Outcome, Transmit};
use crate::wire::compound::Parts;
use crate::wire::message::MessageType;

struct Text(SipHasher13);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

fn hash(write: impl FnOnce(&mut Text) -> fmt::Result) -> u32 {
    let mut text = Text(SipHasher13::new());
    // Hashing cannot fail.
    let _ = write(&mut text);
    text.0.finish() as u32
}

/// What has no bytes of others in it.
pub(crate) fn text(value: &impl Debug) -> u32 {
    hash(|text| write!(text, "{value:?}"))
}

/// The messages of a packet.
pub(crate) fn messages(body: &[u8]) -> u32 {
    hash(|text| {
        let mut message = |message: &[u8]| match message.split_first() {
            Some((&kind, _)) if kind == MessageType::User.byte() => write!(text, "{kind} {}", message.len()),
            _ => {
                text.0.write(message);
                Ok(())
            }
        };
        match body.split_first() {
            Some((&kind, parts)) if kind == MessageType::Compound.byte() => {
                Parts::new(parts).into_iter().flatten().try_for_each(message)
            }
            _ => message(body),
        }
    })
}

pub(crate) fn completion(completion: &Completion) -> u32 {
    match completion {
        Completion::Ended { operation, outcome: Outcome::Keys(report) } => {
            hash(|text| write!(text, "{operation:?} {} {}", report.responses, report.errors))
        }
        Completion::KeyringChanged { id, .. } => text(id),
        other => text(other),
    }
}

pub(crate) fn event(event: Option<&Event<'_>>) -> u32 {
    match event {
        Some(Event::Message { from, reliable, payload }) => {
            hash(|text| write!(text, "{from:?} {reliable} {}", payload.len()))
        }
        Some(Event::QueryResponse { operation, from, payload }) => {
            hash(|text| write!(text, "{operation:?} {from:?} {}", payload.len()))
        }
        other => text(&other),
    }
}

impl Swim {
    /// Notes the packet that was composed, or that there is none. Its length is left out: keys compress otherwise than what
    /// stands for them in a recording.
    #[inline]
    pub(crate) fn record_transmit(&mut self, transmit: Option<&Transmit>) {
        let composed = self.composed;
        let outline = transmit.map(|&Transmit { id, to, peer, kind, len: _ }| (id, to, peer, kind));
        self.record_output(|| hash(|text| write!(text, "{outline:?} {composed}")));
    }
}
