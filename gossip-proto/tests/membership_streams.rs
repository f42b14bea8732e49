//! Exchanges and their bounds: slices of work, memory, deadlines, pieces (spec 1.4, 1.11, 4.10).
use crate::support;

use core::net::SocketAddr;
use core::time::Duration;
use gossip_proto::wire::layers::Compression;
use gossip_proto::wire::layers::Layers;
use gossip_proto::wire::lzw::Deflater;
use gossip_proto::wire::message::*;
use gossip_proto::wire::stream::{Side, StreamLimits, StreamMessage, StreamReader, write_stream_with};
use gossip_proto::*;
use std::borrow::Cow;
use support::node::*;
use support::pair::{Net, Note};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A push/pull with this many alive members.
fn state(members: u32, join: bool, user_state: &[u8], compression: Compression) -> Vec<u8> {
    let header = PushPullHeader { nodes: i64::from(members), user_state_len: user_state.len() as i64, join };
    let mut body = message(MessageType::PushPull, |bytes| header.encode(bytes));
    for n in 0..members {
        let name = format!("n{n}");
        let addr = [10, 1, (n >> 8) as u8, n as u8];
        let state = NodeState {
            name: Cow::Borrowed(name.as_bytes()),
            addr: addr.as_slice().into(),
            port: 7946,
            incarnation: 1,
            vsn: VSN.as_slice().into(),
            ..NodeState::default()
        };
        state.encode(&mut body).unwrap();
    }
    body.extend_from_slice(user_state);
    let mut bytes = Vec::new();
    let layers = Layers { compression, ..Layers::default() };
    write_stream_with(&layers, true, &[&body], &[0; 12], &mut Deflater::new(), &mut bytes).unwrap();
    bytes
}

fn node(configure: impl FnOnce(&mut Config)) -> Script {
    Script::new(|config| {
        config.probe_interval(Duration::ZERO).compression(Compression::Off);
        configure(config);
    })
}

fn accept(script: &mut Script) -> StreamId {
    script.machine.accept_stream(script.now, Source::unauthenticated(addr(2))).unwrap()
}

/// What is written on a stream, and whether it was closed.
fn written(script: &mut Script, id: StreamId) -> (Vec<u8>, bool) {
    let (mut bytes, mut closed) = (Vec::new(), false);
    let mut buf = [0; 1000];
    while let Some(action) = script.machine.poll_stream() {
        match action {
            StreamAction::Writable { id: of } if of == id => loop {
                let written = script.machine.poll_stream_data(script.now, id, &mut buf);
                bytes.extend(&buf[..written.len]);
                if written.len == 0 || written.fin {
                    break;
                }
            },
            StreamAction::Close { id: of } if of == id => closed = true,
            _ => {}
        }
    }
    (bytes, closed)
}

// upstream: TestHandleConn_NilConnAfterRemoveLabelHeaderFromStream
#[test]
fn a_stream_that_breaks_off_within_its_label_is_closed() {
    for bytes in [&[][..], &[0xf4], &[0xf4, 5, b'b', b'l']] {
        let mut script = node(|config| {
            config.label(b"blue".as_slice().into());
        });
        let id = accept(&mut script);
        if !bytes.is_empty() {
            assert_eq!(script.machine.handle_stream_data(script.now, id, bytes, false), Ok(bytes.len()));
        }
        let _ = script.machine.handle_stream_data(script.now, id, &[], true);
        assert_eq!(written(&mut script, id), (vec![], true), "{bytes:?}");
        assert_eq!(script.machine.handle_stream_data(script.now, id, b"x", false), Err(StreamError::Unknown));
    }
}

/// Who asks and goes away, again and again, must not pile up questions that wait for their answer.
#[test]
fn questions_to_the_application_are_bounded() {
    let mut script = node(|config| {
        config.ask_before_merge(true).max_streams(8);
    });
    let request = state(1, true, b"", Compression::Off);
    for _ in 0..20 {
        let id = accept(&mut script);
        script.machine.handle_stream_data(script.now, id, &request, false).unwrap();
        script.machine.handle_stream_failed(script.now, id, StreamFailure::Reset);
        written(&mut script, id);
    }
    let asked = script.events().iter().filter(|event| event.contains("MergeRequested")).count();
    let stats = script.machine.stats();
    assert_eq!((asked, stats.merges_unasked, stats.merges_refused), (8, 12, 12));
    // Once these have had their default answer there is room again.
    script.at_ms(5000);
    assert_eq!(script.machine.stats().merges_refused, 20);
    let id = accept(&mut script);
    script.machine.handle_stream_data(script.now, id, &request, false).unwrap();
    assert_eq!(script.machine.stats().merges_unasked, 12);
}

#[test]
fn a_large_state_is_merged_in_slices_that_timer_calls_settle() {
    for compression in [Compression::Off, Compression::All] {
        let mut script = node(|_| {});
        let id = accept(&mut script);
        let request = state(5000, true, b"user", compression);
        for piece in request.chunks(16 * 1024) {
            assert_eq!(script.machine.handle_stream_data(script.now, id, piece, false), Ok(piece.len()));
        }
        // The peer is done writing before we are done reading; a transport may say so apart from the last bytes.
        assert_eq!(script.machine.handle_stream_data(script.now, id, &[], true), Ok(0));
        assert!(script.machine.num_alive() < 1000, "not all at once");
        let mut calls = 0;
        while script.machine.poll_timeout().is_some_and(|at| at <= script.now) {
            let before = script.machine.members().count();
            script.machine.handle_timeout(script.now);
            calls += 1;
            assert!(script.machine.members().count() - before <= 256, "work_per_call");
            assert!(calls < 1000, "never settles");
        }
        assert!(calls >= 20);
        assert_eq!(script.machine.num_alive(), 5001);
        assert!(script.events().iter().any(|event| event.contains("UserState")));
        let (reply, closed) = written(&mut script, id);
        assert!(closed);
        let mut reader = StreamReader::new(Side::Opening, StreamLimits::default());
        reader.feed(&Layers::default(), &reply, usize::MAX).unwrap();
        // Ours goes out before theirs is merged.
        assert_eq!(reader.message(), Some(StreamMessage::PushPull { join: true, nodes: 1 }));
    }
}

/// A peer that has written its reply closes; that the merge still goes on does not make the exchange fail.
#[test]
fn a_join_to_a_large_cluster_succeeds_although_the_peer_closes_first() {
    let mut net = Net::new([membership("a", 1), membership("b", 2)]);
    let source = Source::unauthenticated(addr(3));
    let id = net.host(0).machine.accept_stream(Instant::ORIGIN, source).unwrap();
    let request = state(3000, false, b"", Compression::Off);
    assert_eq!(
        net.host(0).machine.handle_stream_data(Instant::ORIGIN, id, &request, true),
        Ok(request.len())
    );
    while net.hosts[0].machine.num_alive() < 3001 {
        net.host(0).machine.handle_timeout(Instant::ORIGIN);
    }
    assert_eq!(net.join(1, 0), Outcome::Joined { contacted: 1, failed: vec![] });
    assert_eq!(net.hosts[1].machine.num_alive(), 3002);
    assert_eq!(net.hosts[1].machine.stats().exchanges_failed, 0);
}

// upstream: TestReadRemoteState_Limits, TestReadUserMsg_Limit
#[test]
fn absurd_headers_are_refused_without_a_reply() {
    let header = |nodes, user_state_len| {
        message(MessageType::PushPull, |bytes| {
            PushPullHeader { nodes, user_state_len, join: false }.encode(bytes)
        })
    };
    let user = |len| message(MessageType::User, |bytes| UserHeader { len }.encode(bytes));
    for request in [
        header(10_000_000, 0),
        header(-1, 0),
        header(0, 30_000_000),
        header(0, -1),
        user(30_000_000),
        user(-1),
    ] {
        let mut script = node(|_| {});
        let id = accept(&mut script);
        assert_eq!(
            script.machine.handle_stream_data(script.now, id, &request, false),
            Err(StreamError::Refused)
        );
        assert_eq!(written(&mut script, id), (vec![], true));
        assert_eq!(script.machine.stats().streams_malformed, 1);
        let again = script.machine.handle_stream_data(script.now, id, b"x", false);
        assert_eq!(again, Err(StreamError::Unknown));
    }
}

#[test]
fn streams_are_bounded_and_time_out() {
    let mut script = node(|config| {
        config.max_streams(4);
    });
    let ids: Vec<_> = (0..3).map(|_| accept(&mut script)).collect();
    let source = Source::unauthenticated(addr(2));
    assert_eq!(script.machine.accept_stream(script.now, source), Err(Refused::TooMany));
    // Our own are counted apart: who holds streams open cannot keep us from joining.
    assert!(script.machine.join(script.now, &[addr(3).into()]).is_ok());
    assert!(matches!(script.machine.poll_stream(), Some(StreamAction::Open { .. })));
    script.fires_at_ms(10_000);
    let closed: Vec<_> = core::iter::from_fn(|| script.machine.poll_stream()).collect();
    assert_eq!(closed[..3], [0, 1, 2].map(|n| StreamAction::Close { id: ids[n] }));
    assert_eq!((script.machine.stats().streams_timed_out, script.machine.stats().streams_refused), (4, 1));
    accept(&mut script);
}

/// The streams that a join has asked for since the last look.
fn opened(script: &mut Script) -> Vec<(StreamId, SocketAddr)> {
    let open = |action| match action {
        StreamAction::Open { id, to, .. } => Some((id, to)),
        _ => None,
    };
    core::iter::from_fn(|| script.machine.poll_stream()).filter_map(open).collect()
}

#[test]
fn a_join_through_many_addresses_leaves_streams_to_others() {
    let mut script = node(|_| {});
    let targets: Vec<SocketAddr> =
        (0..300_u16).map(|n| ([10, 2, (n >> 8) as u8, n as u8], 7946).into()).collect();
    let join: Vec<JoinTarget> = targets.iter().map(|&addr| addr.into()).collect();
    let operation = script.machine.join(script.now, &join).unwrap();
    let mut asked = Vec::new();
    let mut open = opened(&mut script);
    assert_eq!(open.len(), 64, "half of max_streams");
    while let Some((id, to)) = open.pop() {
        assert!(open.len() < 64);
        asked.push(to);
        if to == targets[299] {
            script.machine.handle_stream_opened(script.now, id);
            let state = state(1, true, b"", Compression::Off);
            assert_eq!(script.machine.handle_stream_data(script.now, id, &state, true), Ok(state.len()));
        } else {
            script.machine.handle_stream_failed(script.now, id, StreamFailure::Unreachable);
        }
        open.extend(opened(&mut script));
    }
    asked.sort_unstable();
    assert_eq!(asked, targets, "each once");
    let Some(Completion::Ended { operation: ended, outcome: Outcome::Joined { contacted, failed } }) =
        script.machine.poll_completion()
    else {
        panic!("the join has not ended");
    };
    assert_eq!((ended, contacted, failed.len()), (operation, 1, 299));
    assert!(failed.iter().all(|(_, why)| *why == JoinFailure::Stream(StreamFailure::Unreachable)));
    assert_eq!(script.machine.stats().exchanges_begun, 300);
}

#[test]
fn a_join_waits_while_others_have_the_streams_and_ends_when_the_node_leaves() {
    let mut script = node(|config| {
        config.max_streams(4);
    });
    for host in 2..5 {
        script.machine.join(script.now, &[addr(host).into()]).unwrap();
    }
    let others = opened(&mut script);
    let join: Vec<JoinTarget> = (10..14).map(|host| addr(host).into()).collect();
    let operation = script.machine.join(script.now, &join).unwrap();
    let [(first, to)] = opened(&mut script)[..] else { panic!("one stream was left") };
    assert_eq!(to, addr(10));
    script.machine.handle_stream_failed(script.now, others[0].0, StreamFailure::TimedOut);
    assert_eq!(opened(&mut script), [], "only the end of its own is when it looks again");
    script.machine.handle_stream_failed(script.now, first, StreamFailure::TimedOut);
    let [(second, to)] = opened(&mut script)[..] else { panic!("the next one") };
    assert_eq!(to, addr(11));
    script.machine.leave(script.now).unwrap();
    script.machine.handle_stream_failed(script.now, second, StreamFailure::Reset);
    assert_eq!(opened(&mut script), [], "who leaves joins nobody");
    let failed =
        core::iter::from_fn(|| script.machine.poll_completion()).find_map(|completion| match completion {
            Completion::Ended { operation: ended, outcome: Outcome::Joined { failed, .. } }
                if ended == operation =>
            {
                Some(failed)
            }
            _ => None,
        });
    let failed = failed.expect("the join has ended");
    assert_eq!(failed.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [10, 11, 12, 13].map(addr));
}

#[test]
fn over_the_memory_for_exchanges_nothing_is_consumed() {
    let mut script = node(|config| {
        config.max_exchange_bytes(250_000);
    });
    let whole = |len: usize| {
        let mut bytes = message(MessageType::User, |bytes| UserHeader { len: len as i64 }.encode(bytes));
        bytes.resize(bytes.len() + len, 7);
        bytes
    };
    let (first, second) = (accept(&mut script), accept(&mut script));
    let request = whole(200_000);
    let half = &request[..150_000];
    assert_eq!(script.machine.handle_stream_data(script.now, first, half, false), Ok(150_000));
    let mut taken = script.machine.handle_stream_data(script.now, second, half, false).unwrap();
    assert!(taken < 150_000 && script.machine.stats().exchange_memory_full > 0);
    assert!(script.machine.memory() < 260_000);
    // The other one gives up.
    script.machine.handle_stream_failed(script.now, first, StreamFailure::Reset);
    while taken < request.len() {
        let more = script.machine.handle_stream_data(script.now, second, &request[taken..], false).unwrap();
        assert!(more > 0, "stuck at {taken}");
        taken += more;
    }
    assert!(script.events().iter().any(|event| event.contains("reliable: true")));
    assert!(script.machine.memory() < 20_000, "{}", script.machine.memory());
}

#[test]
fn memory_given_back_wakes_who_waits_for_it() {
    // Both decompress; there is room for one at a time.
    let request = state(2500, false, b"", Compression::All);
    let mut script = node(|config| {
        config.max_exchange_bytes(360_000);
    });
    let ids = [accept(&mut script), accept(&mut script), accept(&mut script)];
    let mut offset = [0; 3];
    for _ in 0..2000 {
        for (id, at) in ids.iter().zip(&mut offset) {
            if let Ok(taken) = script.machine.handle_stream_data(script.now, *id, &request[*at..], false) {
                *at += taken;
            }
        }
        script.machine.handle_timeout(script.now);
        while script.machine.poll_stream().is_some_and(|action| {
            if let StreamAction::Writable { id } = action {
                let mut buf = vec![0; 1 << 20];
                script.machine.poll_stream_data(script.now, id, &mut buf);
            }
            true
        }) {}
    }
    assert_eq!(script.machine.stats().exchanges_answered, 3, "{offset:?} of {}", request.len());
}

// upstream: TestTransport_Send
#[test]
fn an_empty_user_message_is_not_delivered_by_stream() {
    let mut script = node(|_| {});
    let id = accept(&mut script);
    let empty = message(MessageType::User, |bytes| UserHeader { len: 0 }.encode(bytes));
    script.machine.handle_stream_data(script.now, id, &empty, true).unwrap();
    assert!(script.events().is_empty());
    assert!(written(&mut script, id).1);
    // But by datagram it is.
    script.hear(&[8]);
    assert_eq!(script.events().len(), 1);
}

#[test]
fn what_follows_a_message_on_its_stream_is_ignored() {
    let mut script = node(|_| {});
    let id = accept(&mut script);
    let request = ping(3, "self", "b", addr(2));
    assert_eq!(script.machine.handle_stream_data(script.now, id, &request, false), Ok(request.len()));
    assert_eq!(script.machine.handle_stream_data(script.now, id, b"\x06garbage", false), Ok(8));
    assert_eq!(script.machine.handle_stream_data(script.now, id, b"", true), Ok(0));
    assert_eq!(written(&mut script, id), (ack(3), true));
    assert_eq!(script.machine.stats().streams_malformed, 0);
}

#[test]
fn exchanges_are_scheduled_from_the_end_of_the_last_one() {
    let mut script = node(|config| {
        config.push_pull_interval(ms(30_000));
    });
    script.hear(&plain_alive("b", 2, 1));
    script.drain(addr(2));
    let begun = script.next();
    assert!((Instant::from_millis(30_000)..Instant::from_millis(60_000)).contains(&begun));
    let Some(StreamAction::Open { id, to, .. }) = script.machine.poll_stream() else { panic!("no stream") };
    assert_eq!(to, addr(2));
    script.now += ms(2000);
    script.machine.handle_stream_failed(script.now, id, StreamFailure::Unreachable);
    assert_eq!(script.machine.next_wakeup(), Some((Wakeup::Exchange, begun + ms(32_000))));
    assert_eq!(script.machine.stats().exchanges_failed, 1);
}

#[test]
fn a_message_that_cannot_be_delivered_says_so() {
    let mut net = Net::new([membership("a", 1), membership("b", 2)]);
    net.join(1, 0);
    net.no_streams.push(addr(1));
    let to = net.hosts[1].machine.find(b"a").unwrap().key;
    let now = net.now;
    let operation = net.host(1).machine.send_reliable(now, to, "x".into()).unwrap();
    net.settle();
    assert_eq!(net.outcome(1, operation), Some(&Outcome::Sent(Err(StreamFailure::Unreachable))));
    net.no_streams.clear();
    net.black_holes.push(addr(1));
    let operation = net.host(1).machine.send_reliable(now, to, "x".into()).unwrap();
    net.run_ms(10_000);
    assert_eq!(net.outcome(1, operation), Some(&Outcome::Sent(Err(StreamFailure::TimedOut))));
    assert!(!net.notes(0).iter().any(|note| matches!(note, Note::Message { .. })));
}

// upstream: TestMemberList_Ping
#[test]
fn a_ping_without_answer_ends_after_its_timeout() {
    let mut script = node(|_| {});
    script.hear(&plain_alive("b", 2, 1));
    script.drain(addr(2));
    let key = script.key("b");
    let operation = script.machine.ping(script.now, key).unwrap();
    script.now += ms(100);
    let seq = script.one().unwrap().ping().seq;
    // It waited 100 ms for the socket; its time counts from then.
    script.fires_at_ms(600);
    assert_eq!(
        script.machine.poll_completion(),
        Some(Completion::Ended { operation, outcome: Outcome::Ping { rtt: None } })
    );
    script.datagram(addr(2), &ack(seq)).unwrap();
    assert_eq!(script.machine.poll_completion(), None);
    // never negative, also when the answer comes at the very instant.
    let operation = script.machine.ping(script.now, key).unwrap();
    let seq = script.one().unwrap().ping().seq;
    script.datagram(addr(2), &ack(seq)).unwrap();
    let outcome = Outcome::Ping { rtt: Some(Duration::ZERO) };
    assert_eq!(script.machine.poll_completion(), Some(Completion::Ended { operation, outcome }));
}

#[test]
fn open_operations_are_bounded_until_they_are_polled() {
    let mut script = node(|config| {
        config.max_operations(4);
    });
    for _ in 0..4 {
        script.machine.set_metadata(script.now, "x".into()).unwrap();
    }
    assert_eq!(script.machine.set_metadata(script.now, "y".into()), Err(CommandError::TooManyOperations));
    assert_eq!(script.machine.local().metadata, b"x", "a refused command changes nothing");
    while script.machine.poll_completion().is_some() {}
    assert!(script.machine.set_metadata(script.now, "y".into()).is_ok());
}
