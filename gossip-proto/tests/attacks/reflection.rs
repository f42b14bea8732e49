//! A node as a means to flood somebody else (memberlist#371): who has not shown that it is at its address gets at most three
//! times what it sent, in one answer, with nothing in it that is for members.

use super::*;
use crate::bounds::{Datagram, Victim};
use gossip_proto::wire::field::{List, Raw};
use gossip_proto::wire::lzw::Deflater;
use gossip_proto::wire::message::*;
use gossip_proto::wire::msgpack::DecodeError;
use gossip_proto::wire::serf::*;
use std::borrow::Cow;

const STRANGER: u8 = 200;

/// A victim that has a lot to tell, and a place to tell of with its acks.
fn talkative() -> Victim {
    let mut victim = Victim::new(|_, _| {});
    for n in 10..100 {
        victim.hear(&serf_alive(&format!("member{n}"), n, 1));
    }
    victim
}

/// Where the answers to a datagram go, and what is in them.
fn answers(victim: &mut Victim, from: SocketAddr, datagram: &[u8]) -> Vec<Datagram> {
    victim.datagram(from, &mut datagram.to_vec());
    victim.sent()
}

#[test]
fn a_compound_of_255_pings_comes_back_as_one_bare_ack() {
    let mut victim = talkative();
    let stranger = addr(STRANGER);
    let pings: Vec<_> = (0..255).map(|seq| ping(seq, "self", "x", stranger)).collect();
    let answers = answers(&mut victim, stranger, &compound(&pings));
    let [(to, len, messages)] = answers.as_slice() else { panic!("{} answers", answers.len()) };
    assert_eq!((*to, messages.len()), (stranger, 1), "and no rumor in it");
    let (ack, _) = Ack::decode(&messages[0][1..]).expect("an ack");
    assert!(ack.payload.is_empty() && *len < 40, "no payload either");
    assert_eq!(victim.stats().ack_suppressed, 254);
    // A member gets both.
    let answers = self::answers(&mut victim, addr(2), &ping(9, "self", "b", addr(2)));
    assert!(answers[0].2.len() > 10 && answers[0].1 > 1000);
    let (ack, _) = Ack::decode(&answers[0].2[0][1..]).expect("an ack");
    assert!(PingPayload::decode(&ack.payload).is_ok(), "{ack:?}");
}

/// The shortest pings that are understood at all leave out what every node sends; an ack is longer than they are.
#[test]
fn no_ping_of_a_stranger_comes_back_more_than_three_times_as_long() {
    let stranger = addr(STRANGER);
    let short: [&[u8]; 6] = [
        &[0, 0x80],
        &[0, 0xc0],
        b"\x00\x81\xa5SeqNo\x01",
        b"\x00\x81\xa5SeqNo\xce\xff\xff\xff\xff",
        b"\x00\x82\xa5SeqNo\x01\xa4Node\xa4self",
        &ping(7, "self", "x", stranger),
    ];
    let mut answered = 0;
    for datagram in short {
        let mut victim = talkative();
        let answers = answers(&mut victim, stranger, datagram);
        let bytes: usize = answers.iter().map(|(_, len, _)| len).sum();
        assert!(answers.len() <= 1 && bytes <= 3 * datagram.len(), "{bytes} for {datagram:?}");
        answered += answers.len();
        // A member with that address would be answered, however little it says.
        let mut victim = talkative();
        assert_eq!(self::answers(&mut victim, addr(2), datagram).len(), 1, "{datagram:?}");
    }
    assert!((1..short.len()).contains(&answered), "some are, the shortest are not: {answered}");
}

/// Where an answer is to go is believed of the address that sent the ping, and of the member that the ping says it is from.
#[test]
fn an_answer_goes_to_the_sender_or_to_the_member_it_names() {
    let mut victim = talkative();
    let stranger = addr(STRANGER);
    let to = |victim: &mut Victim, name: &str, claimed: SocketAddr| {
        let answers = answers(victim, stranger, &ping(1, "self", name, claimed));
        answers.iter().map(|(to, ..)| *to).collect::<Vec<_>>()
    };
    assert_eq!(to(&mut victim, "x", stranger), [stranger]);
    assert_eq!(to(&mut victim, "x", addr(201)), [stranger], "a third party");
    assert_eq!(to(&mut victim, "x", addr(2)), [stranger], "a member, and not the one named");
    assert_eq!(to(&mut victim, "member10", addr(2)), [stranger], "another member than the one named");
    assert_eq!(to(&mut victim, "", addr(2)), [stranger], "no name");
    assert_eq!(to(&mut victim, "b", addr(2)), [addr(2)], "b behind two addresses");
    assert_eq!(victim.stats().ping_source_ignored, 4);
    // And once for a datagram, or strangers could have a member flooded with what we gossip.
    let pings: Vec<_> = (0..255).map(|seq| ping(seq, "self", "b", addr(2))).collect();
    assert_eq!(answers(&mut victim, stranger, &compound(&pings)).len(), 1);
}

/// What is probed for a stranger is a member, and once.
#[test]
fn indirect_pings_of_a_stranger_are_carried_out_once() {
    let mut victim = talkative();
    let stranger = addr(STRANGER);
    let indirect = message(MessageType::IndirectPing, |bytes| {
        IndirectPing {
            seq: 1,
            target: [10, 0, 0, 2].as_slice().into(),
            port: 7946,
            node: Cow::Borrowed(b"b"),
            nack: true,
            ..IndirectPing::default()
        }
        .encode(bytes)
    });
    let sent = answers(&mut victim, stranger, &compound(&vec![indirect.clone(); 255]));
    assert_eq!(sent.iter().map(|(to, ..)| *to).collect::<Vec<_>>(), [addr(2)]);
    assert_eq!((victim.stats().relays, victim.stats().ack_suppressed), (1, 254));
    let mut nacks = victim.sent_within(Duration::from_millis(450));
    nacks.retain(|(to, ..)| *to == stranger);
    assert_eq!(nacks.iter().map(|(to, len, _)| (*to, *len)).collect::<Vec<_>>(), [(stranger, 9)]);
    assert!(nacks[0].1 + 24 <= 3 * indirect.len(), "with the ack that may still follow");
}

fn query<'a>(ltime: u64, ip: &'a [u8; 4], flags: u32, name: &'a [u8]) -> Query<'a> {
    Query {
        ltime,
        id: ltime as u32,
        addr: Raw::from(&ip[..]),
        port: 7946,
        source_node: Cow::Borrowed(b"b"),
        filters: List::Nil,
        flags,
        relay_factor: 5,
        timeout: 60_000_000_000,
        name: Cow::Borrowed(name),
        payload: Raw::from(&b"b"[..]),
    }
}

fn asks(query: &Query<'_>) -> Vec<u8> {
    message(MessageType::User, |bytes| {
        bytes.push(SerfType::Query.byte());
        query.encode(bytes)
    })
}

fn conflict_query(ltime: u64, host: u8, flags: u32) -> Vec<u8> {
    asks(&query(ltime, &[10, 0, 0, host], flags, b"_serf_conflict"))
}

/// Answers go to the member that a query names, wherever it came from: a datagram of hundreds would have it flooded.
#[test]
fn a_compound_of_255_queries_in_a_members_name_is_answered_a_few_times() {
    let mut victim = talkative();
    let asked: Vec<_> = (1..256)
        .map(|ltime| asks(&query(ltime, &[10, 0, 0, 50], Query::ACK | Query::NO_BROADCAST, b"load")))
        .collect();
    let answers = answers(&mut victim, addr(STRANGER), &compound(&asked));
    let acks = answers.iter().filter(|(to, ..)| *to == addr(50)).count();
    assert_eq!(acks, 32);
    assert!(answers.len() <= 32 * (1 + 8), "{} with those by other members", answers.len());
    assert_eq!(victim.stats().queries_refused, 255 - 32);
}

/// Who shares a member's name has no other way to hear the votes on it; but it is a stranger, and hears no more than that.
#[test]
fn a_strangers_query_is_answered_in_three_times_its_length() -> Result<(), DecodeError> {
    let mut victim = talkative();
    // The tags {"role": 400 times r}.
    let meta = [b"\xff\x81\xa4role\xda\x01\x90".as_slice(), &[b'r'; 400]].concat();
    let told =
        AliveOf { name: "b", incarnation: 2, addr: &[10, 0, 0, 2], port: 7946, meta: &meta, vsn: &SERF_VSN };
    victim.hear(&told.encode());
    let stranger = addr(STRANGER);
    let asked = conflict_query(1, STRANGER, Query::ACK);
    let answers = answers(&mut victim, stranger, &asked);
    let bytes: usize = answers.iter().map(|(_, len, _)| len).sum();
    assert!(answers.iter().all(|(to, ..)| *to == stranger) && bytes <= 3 * asked.len(), "{bytes}");
    let [_, (_, _, messages)] = answers.as_slice() else { panic!("{} answers", answers.len()) };
    let response = QueryResponse::decode(&messages[0][2..])?.0;
    let (ConflictResponse(member), _) = ConflictResponse::decode(&response.payload[1..])?;
    let member = member.expect("it is known");
    assert_eq!((&*member.addr, member.tags.iter().count()), ([10, 0, 0, 2].as_slice(), 0));
    // Asked again and again, within one datagram and in more.
    let again: Vec<_> =
        (0..20).map(|_| conflict_query(1, STRANGER, Query::ACK | Query::NO_BROADCAST)).collect();
    let datagram = compound(&again);
    let repeated: usize = self::answers(&mut victim, stranger, &datagram).iter().map(|(_, len, _)| len).sum();
    assert!(repeated <= 3 * datagram.len(), "{repeated}");
    // Padding that compresses to nothing, in the query and beside it, does not buy an answer of the application's.
    let zeros = [0; 512];
    let padded = asks(&Query {
        payload: Raw::from(&zeros[..]),
        ..query(3, &[10, 0, 0, STRANGER], Query::ACK, b"load")
    });
    let filler = [&[MessageType::User.byte()][..], &[200; 900]].concat();
    let mut packed = Vec::new();
    Deflater::new().append_message(&[&compound(&[filler.clone(), padded, filler])], &mut packed);
    let mut answers = self::answers(&mut victim, stranger, &packed);
    let mut id = None;
    while let Some(event) = victim.node.poll_event() {
        if let Event::Query { id: asked, .. } = event {
            id = Some(asked);
        }
    }
    victim.node.respond(victim.now, id.expect("a query"), &[b'r'; 900]).expect("an answer");
    answers.extend(victim.sent());
    let told: usize = answers.iter().map(|(_, len, _)| len).sum();
    assert!(told > 0 && told <= 3 * packed.len() && packed.len() < 300, "{told} for {}", packed.len());
    // A member gets the tags as well.
    let answers = self::answers(&mut victim, addr(2), &conflict_query(2, 2, 0));
    assert!(answers[0].1 > 400);
    Ok(())
}
