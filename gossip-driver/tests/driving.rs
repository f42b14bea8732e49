//! The loop, over a network and a clock that the test moves by hand.

mod support;

use core::future::poll_fn;
use core::panic::AssertUnwindSafe;
use core::task::Poll;
use core::time::Duration;
use std::io;
use std::panic::catch_unwind;

use gossip_driver::gossip_proto::wire::layers::Compression;
use gossip_driver::gossip_proto::{Bytes, ChangeKind, Name, Status, TransmitFailure};
use gossip_driver::{
    EndReason, Error, JoinErrorKind, Notice, Options, Runtime, Stream, Subscription, TransportEvent,
};

use support::net::Net;
use support::{World, addr, node, node_with};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn two_nodes_find_each_other_and_say_good_bye() {
    let (world, net) = (World::default(), Net::default());
    let (a, b) = (node(&world, &net, 1), node(&world, &net, 2));
    let mut news = world.wait(a.subscribe());
    assert_eq!(news.members.len(), 1);
    assert!(news.members[0].local);

    let report = world.wait(a.join(&["10.0.0.2"])).unwrap();
    assert_eq!((report.contacted, report.failed.len()), (1, 0));
    let Some(Notice::Change { member, kind, .. }) = world.wait(news.recv()) else { panic!() };
    assert_eq!((member.name, kind), (Name::from("n2"), ChangeKind::Joined));
    assert_eq!(world.wait(b.members()).len(), 2);

    let rtt = world.wait(a.ping(&Name::from("n2"))).unwrap();
    assert!(rtt.is_some());
    assert!(world.wait(a.leave()).unwrap());
    let left = world.wait(b.members()).into_iter().find(|member| member.name == "n1").unwrap();
    assert_eq!(left.status, Status::Left);
}

#[test]
fn streams_survive_the_smallest_pieces() {
    let (world, net) = (World::default(), Net::default());
    let (a, b) = (node(&world, &net, 1), node(&world, &net, 2));
    net.port(addr(1), |port| port.chunk = 3);
    net.port(addr(2), |port| port.chunk = 1);
    assert_eq!(world.wait(a.join(&["n2/10.0.0.2:7946"])).unwrap().contacted, 1);
    let mut news = world.wait(b.subscribe());
    // Hard to compress, so that the stream is long.
    let payload: Bytes =
        (0..70_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    net.port(addr(1), |port| port.chunk = 1000);
    net.port(addr(2), |port| port.chunk = 999);
    world.wait(a.send_reliable(&Name::from("n2"), payload.clone())).unwrap();
    loop {
        match world.wait(news.recv()) {
            Some(Notice::Message { reliable: true, payload: received, .. }) => {
                assert_eq!(received, payload);
                break;
            }
            Some(_) => {}
            None => panic!("the message never came"),
        }
    }
    world.pass(ms(10));
    let ends = |number| net.port(addr(number), |port| (port.closed, port.aborted));
    assert_eq!((ends(1).1, ends(2).1), (0, 0), "every stream is closed in good order");
    assert!(ends(1).0 >= 2 && ends(2).0 >= 2);
}

#[test]
fn nothing_is_composed_for_a_full_socket() {
    let (world, net) = (World::default(), Net::default());
    let (a, _b) = (node(&world, &net, 1), node(&world, &net, 2));
    world.wait(a.join(&["10.0.0.2"])).unwrap();
    world.pass(ms(2000));
    net.port(addr(1), |port| port.room = Some(0));
    let before = world.wait(a.stats()).datagrams_sent;
    let sent = net.port(addr(1), |port| port.sent);
    world.pass(ms(2500));
    assert_eq!(world.wait(a.stats()).datagrams_sent, before, "composed although nothing could be sent");
    net.port(addr(1), |port| port.make_room(None));
    world.pass(ms(2000));
    assert!(world.wait(a.stats()).datagrams_sent > before);
    assert!(net.port(addr(1), |port| port.sent) > sent);
}

#[test]
fn what_goes_to_one_member_can_leave_in_one_call() {
    let (world, net) = (World::default(), Net::default());
    let (a, b) = (node(&world, &net, 1), node(&world, &net, 2));
    world.wait(a.join(&["10.0.0.2"])).unwrap();
    world.pass(ms(3000));
    let mut news = world.wait(b.subscribe());
    net.port(addr(1), |port| port.room = Some(0));
    let name = Name::from("n2");
    for len in [500, 500, 500, 200, 500, 500, 900] {
        world.wait(a.send(&name, vec![0; len].into())).unwrap();
    }
    net.port(addr(1), |port| {
        port.runs.clear();
        port.make_room(None);
    });
    world.run();
    let runs = net.port(addr(1), |port| core::mem::take(&mut port.runs));
    let counts: Vec<_> = runs.iter().map(|run| run.0).collect();
    assert_eq!(counts, [4, 2, 1], "a shorter one ends a run, and a longer one begins the next: {runs:?}");
    assert_eq!(messages(&mut news), [500, 500, 500, 200, 500, 500, 900]);
}

#[test]
fn a_stream_without_memory_waits_for_another_to_end() {
    let (world, net) = (World::default(), Net::default());
    let quiet = |number, bytes| {
        node_with(&world, &net, number, Options::default(), |config| {
            config.max_exchange_bytes(bytes).compression(Compression::Off);
        })
    };
    let (a, b) = (quiet(1, 100_000), quiet(2, 64 << 20));
    world.wait(b.join(&["10.0.0.1"])).unwrap();
    let mut news = world.wait(a.subscribe());
    // A stranger begins a message of 80,000 bytes and falls silent after 60,000.
    let mut hog = net.dial(addr(1), addr(66));
    let mut rest = b"\x08\x81\xaaUserMsgLen\xce\x00\x01\x38\x80".to_vec();
    rest.resize(60_000, 0);
    while !rest.is_empty() {
        let len = world.wait(poll_fn(|cx| hog.poll_write(cx, &rest))).unwrap();
        rest.drain(..len);
        world.run();
    }
    let name = Name::from("n1");
    world.wait(b.send_reliable(&name, vec![2; 80_000].into())).unwrap();
    world.pass(ms(300));
    assert!(world.wait(a.stats()).exchange_memory_full > 0, "both fitted, and nothing was tested");
    assert_eq!(messages(&mut news), [0; 0]);
    drop(hog);
    world.pass(ms(300));
    assert_eq!(messages(&mut news), [80_000]);
}

#[test]
fn what_was_said_last_has_the_time_of_its_stream() {
    let (world, net) = (World::default(), Net::default());
    let patient = |number| {
        node_with(&world, &net, number, Options::default(), |config| _ = config.stream_timeout(ms(10_000)))
    };
    let (a, b) = (patient(1), patient(2));
    world.wait(a.join(&["10.0.0.2"])).unwrap();
    world.pass(ms(1000));
    let mut news = world.wait(b.subscribe());
    net.port(addr(1), |port| (port.stuck, port.aborted) = (true, 0));
    world.wait(a.send_reliable(&Name::from("n2"), vec![1; 100].into())).unwrap();
    world.pass(ms(4000));
    net.port(addr(1), |port| port.unstick());
    world.pass(ms(100));
    assert_eq!(messages(&mut news), [100]);
    assert_eq!(net.port(addr(1), |port| port.aborted), 0);

    // The time is not without end.
    net.port(addr(1), |port| port.stuck = true);
    world.wait(a.send_reliable(&Name::from("n2"), vec![1; 100].into())).unwrap();
    world.pass(ms(11_000));
    assert!(net.port(addr(1), |port| port.aborted) > 0);
}

#[test]
fn what_was_sent_gets_out_before_the_node_ends() {
    let (world, net) = (World::default(), Net::default());
    let (a, b) = (node(&world, &net, 1), node(&world, &net, 2));
    world.wait(a.join(&["10.0.0.2"])).unwrap();
    world.pass(ms(1000));
    let mut news = world.wait(b.subscribe());
    net.port(addr(1), |port| port.stuck = true);
    world.wait(a.send_reliable(&Name::from("n2"), vec![1; 100].into())).unwrap();
    let mut shutdown = Box::pin(a.shutdown());
    assert!(world.wait(poll_fn(|cx| Poll::Ready(shutdown.as_mut().poll(cx)))).is_pending());
    world.pass(ms(500));
    net.port(addr(1), |port| port.unstick());
    let unstuck = world.now();
    world.wait(shutdown);
    assert_eq!(world.now(), unstuck, "nothing more to wait for");
    world.pass(ms(100));
    assert_eq!(messages(&mut news), [100]);
}

#[test]
fn a_stream_that_cannot_be_written_holds_up_the_end_for_a_while_only() {
    let (world, net) = (World::default(), Net::default());
    let (a, b) = (node(&world, &net, 1), node(&world, &net, 2));
    world.wait(a.join(&["10.0.0.2"])).unwrap();
    world.pass(ms(1000));
    net.port(addr(1), |port| port.stuck = true);
    world.wait(a.send_reliable(&Name::from("n2"), vec![1; 100].into())).unwrap();
    let begun = world.now();
    world.wait(a.shutdown());
    assert!(world.now() - begun <= ms(2000));
    drop(b);
}

#[test]
fn who_does_not_read_its_answer_gives_way_to_newcomers() {
    let (world, net) = (World::default(), Net::default());
    let options = Options { max_streams: 8, ..Options::default() };
    let _a = node_with(&world, &net, 1, options, |config| {
        config.compression(Compression::Off).stream_timeout(ms(10_000));
    });
    world.run();
    net.port(addr(1), |port| port.stuck = true);
    let dial = |port| {
        let mut stream = net.dial(addr(1), ([10, 0, 0, 66], port).into());
        // A sealed frame, which a node without keys answers with an error.
        world.wait(poll_fn(|cx| stream.poll_write(cx, &[10; 64]))).unwrap();
        world.run();
        stream
    };
    let mut lazy: Vec<_> = (0..5).map(dial).collect();
    world.pass(ms(1500));
    assert_eq!(net.port(addr(1), |port| (port.accepted, port.aborted)), (5, 0), "there is room");
    lazy.extend((5..7).map(dial));
    world.pass(ms(100));
    assert_eq!(net.port(addr(1), |port| (port.accepted, port.aborted)), (7, 5), "there is none");
}

/// The lengths of the messages heard.
fn messages(news: &mut Subscription) -> Vec<usize> {
    let heard = core::iter::from_fn(|| news.try_recv());
    heard
        .filter_map(|notice| match notice {
            Notice::Message { payload, .. } => Some(payload.len()),
            _ => None,
        })
        .collect()
}

#[test]
fn an_answer_that_has_arrived_is_heard_before_anybody_is_accused() {
    let (world, net) = (World::default(), Net::default());
    let (a, b) = (node(&world, &net, 1), node(&world, &net, 2));
    world.wait(a.join(&["10.0.0.2"])).unwrap();
    world.pass(ms(3000));
    net.port(addr(1), |port| port.hold = true);
    let probes = world.wait(a.stats()).probes;
    while world.wait(a.stats()).probes == probes {
        world.pass(ms(10));
    }
    world.pass(ms(170));
    let streams = net.port(addr(2), |port| port.accepted);
    // The answer is there, but the process was stopped for a moment: its timers fire before anything tells it of the
    // socket. The moment is too short for the machine to see from the clock that it was stopped.
    net.port(addr(1), |port| {
        assert!(!port.held.is_empty(), "the other node has answered");
        port.hold = false;
        port.release(false);
    });
    world.skip(ms(60));
    world.run();
    let stats = world.wait(a.stats());
    assert_eq!((stats.stalls, stats.probes_failed), (0, 0));
    assert_eq!(
        net.port(addr(2), |port| port.accepted),
        streams,
        "the answer was there, and a stream ping was tried"
    );
    drop(b);
}

#[test]
fn a_flood_stops_neither_the_clock_nor_commands() {
    let (world, net) = (World::default(), Net::default());
    let (a, _b) = (node(&world, &net, 1), node(&world, &net, 2));
    world.wait(a.join(&["10.0.0.2"])).unwrap();
    world.pass(ms(3000));
    let probes = world.wait(a.stats()).probes;
    for _ in 0..5000 {
        net.inject(addr(1), addr(66), &[0xff; 1000]);
    }
    world.skip(ms(1500));
    let inbox = || net.port(addr(1), |port| port.inbox.len());
    let mut answer = Box::pin(a.stats());
    let mut stats = None;
    let deadline = world.now();
    while stats.is_none() {
        world.step();
        let polled = world.wait(poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))));
        if let Poll::Ready(answered) = polled {
            stats = Some(answered);
        }
    }
    assert!(inbox() > 3000, "the command waited for the flood: {} left", inbox());
    let judged = loop {
        world.step();
        let stats = world.wait(a.stats());
        if stats.probes > probes {
            break inbox();
        }
        assert!(inbox() > 0, "the timer waited for the flood");
    };
    assert!(judged > 3000, "the timer waited too long: {judged} left");
    assert_eq!(world.now(), deadline, "no time passed");
}

#[test]
fn a_subscriber_that_never_reads_holds_up_nobody() {
    let (world, net) = (World::default(), Net::default());
    let options = Options { event_buffer: 4, ..Options::default() };
    let (a, b) = (node(&world, &net, 1), node_with(&world, &net, 2, options, |_| {}));
    world.wait(a.join(&["10.0.0.2"])).unwrap();
    let mut lazy = world.wait(b.subscribe());
    let mut keen = world.wait(b.subscribe());
    let mut heard = 0;
    for number in 0..20_u8 {
        world.wait(a.send(&Name::from("n2"), vec![number].into())).unwrap();
        world.pass(ms(1));
        while let Some(notice) = keen.try_recv() {
            heard += u32::from(matches!(notice, Notice::Message { .. }));
        }
    }
    assert_eq!(heard, 20);
    let mut kept = Vec::new();
    let mut lost = 0;
    while let Some(notice) = lazy.try_recv() {
        match notice {
            Notice::Lagged { lost: more } => lost += more,
            Notice::Message { payload, .. } => kept.push(payload[0]),
            _ => {}
        }
    }
    assert_eq!((kept, lost), (vec![16, 17, 18, 19], 16));
}

#[test]
fn shutdown_leaves_nothing_behind() {
    let (world, net) = (World::default(), Net::default());
    let (a, b) = (node(&world, &net, 1), node(&world, &net, 2));
    world.wait(a.join(&["10.0.0.2"])).unwrap();
    let mut news = world.wait(a.subscribe());
    let closed = a.closed();
    let other = a.clone();
    world.wait(a.shutdown());
    assert!(net.port(addr(1), |port| port.gone), "the transport is dropped when shutdown returns");
    assert_eq!(world.wait(closed), EndReason::Shutdown);
    assert_eq!(world.wait(other.leave()), Err(Error::Closed));
    assert_eq!(world.wait(other.members()).len(), 2, "what was known last can still be read");
    assert_eq!(world.wait(other.local()).name, Name::from("n1"));
    while let Some(notice) = world.wait(news.recv()) {
        assert!(matches!(notice, Notice::Change { .. }));
    }
    world.wait(other.shutdown());

    assert_eq!(world.tasks(), 1);
    drop(b);
    world.run();
    assert_eq!(world.tasks(), 0, "the loop ends with its last handle");
    assert!(net.port(addr(2), |port| port.gone));
}

#[test]
fn a_command_that_comes_too_late_is_answered() {
    let (world, net) = (World::default(), Net::default());
    let a = node(&world, &net, 1);
    world.run();
    net.port(addr(1), |port| port.lingers = true);
    let other = a.clone();
    let mut shutdown = Box::pin(a.shutdown());
    assert!(world.wait(poll_fn(|cx| Poll::Ready(shutdown.as_mut().poll(cx)))).is_pending());
    world.run();
    // The loop is over, the transport not yet closed.
    assert_eq!(world.wait(other.members()).len(), 1);
    assert_eq!(world.wait(other.leave()), Err(Error::Closed));
    world.wait(shutdown);
}

#[test]
fn commands_behind_one_that_panics_are_answered() {
    let (world, net) = (World::default(), Net::default());
    let a = node(&world, &net, 1);
    world.run();
    let mut bad = Box::pin(a.inspect(|_, _| panic!("the user's closure")));
    let (mut leave, mut members) = (Box::pin(a.leave()), Box::pin(a.members()));
    world.wait(poll_fn(|cx| {
        assert!(bad.as_mut().poll(cx).is_pending());
        assert!(leave.as_mut().poll(cx).is_pending() && members.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    }));
    assert!(catch_unwind(AssertUnwindSafe(|| world.run())).is_err());
    assert_eq!(world.wait(bad), Err::<(), _>(Error::Closed));
    assert_eq!(world.wait(leave), Err(Error::Closed));
    assert_eq!(world.wait(members).len(), 1, "what was known last");
    assert_eq!(world.wait(a.closed()), EndReason::Cancelled);
}

#[test]
fn a_broken_transport_ends_the_node_and_says_why() {
    let (world, net) = (World::default(), Net::default());
    let a = node(&world, &net, 1);
    world.run();
    let closed = a.closed();
    net.port(addr(1), |port| port.fail_with(io::Error::other("cable cut")));
    assert_eq!(world.wait(closed), EndReason::Transport("cable cut".into()));
    assert_eq!(world.tasks(), 0);
}

#[test]
fn a_future_that_is_dropped_takes_only_its_answer_along() {
    let (world, net) = (World::default(), Net::default());
    let (a, b) = (
        node_with(&world, &net, 1, Options::default(), |config| _ = config.max_operations(2)),
        node(&world, &net, 2),
    );
    world.wait(a.join(&["10.0.0.2"])).unwrap();
    let name = Name::from("n2");
    for _ in 0..10 {
        {
            let mut ping = Box::pin(a.ping(&name));
            assert!(world.wait(poll_fn(|cx| Poll::Ready(ping.as_mut().poll(cx)))).is_pending());
        }
        world.pass(ms(1000));
    }
    assert!(world.wait(a.ping(&Name::from("n2"))).is_ok(), "abandoned operations do not pile up");
    drop(b);
}

#[test]
fn joining_says_of_each_address_why_not() {
    let (world, net) = (World::default(), Net::default());
    let (a, _b, _deaf) = (node(&world, &net, 1), node(&world, &net, 2), node(&world, &net, 3));
    net.port(addr(3), |port| port.deaf = true);
    let targets = ["10.0.0.9:1", "nowhere.test", "empty.test", "slow.test", "10.0.0.3", "host:port", "/x"];
    let started = world.now();
    let Err(Error::Join(errors)) = world.wait(a.join(&targets)) else { panic!("none of them can be joined") };
    let text = Error::Join(errors.clone()).to_string();
    assert_eq!(errors.len(), targets.len(), "{text}");
    for part in [
        "10.0.0.9:1: connection refused",
        "nowhere.test: no such host",
        "empty.test: the host has no address",
        "slow.test: the name server did not answer in time",
        "10.0.0.3 (10.0.0.3:7946): timed out",
        "address \"host:port\"",
        "address \"/x\"",
    ] {
        assert!(text.contains(part), "{part:?} is missing in {text:?}");
    }
    assert!(world.now() - started < ms(20_000));

    let report = world.wait(a.join(&["two.test", "nowhere.test", "b.test"])).unwrap();
    assert_eq!(report.contacted, 1, "an address that two names share is tried once");
    assert_eq!(report.failed.len(), 2);
    assert!(report.failed.iter().any(|error| matches!(&error.why, JoinErrorKind::Resolve(_))));
    assert_eq!(world.wait(a.join::<&str>(&[])), Err(Error::Join(Vec::new())));
    let unknown = world.wait(a.ping(&Name::from("ghost"))).unwrap_err();
    assert_eq!(unknown.to_string(), "no member is named \"ghost\"");
}

#[test]
fn strangers_cannot_take_every_stream() {
    let (world, net) = (World::default(), Net::default());
    let options = Options { max_streams: 8, ..Options::default() };
    let (a, _b) = (node_with(&world, &net, 1, options, |_| {}), node(&world, &net, 2));
    world.run();
    let idle: Vec<_> = (0..20).map(|port| net.dial(addr(1), ([10, 0, 0, 66], port).into())).collect();
    world.run();
    assert_eq!(net.port(addr(1), |port| port.accepted), 6, "a quarter is kept for the node's own");
    assert_eq!(world.wait(a.join(&["10.0.0.2"])).unwrap().contacted, 1);
    // Idle strangers are thrown out by the machine's deadline, and those in the queue get their chance.
    world.pass(ms(5000));
    assert_eq!(net.port(addr(1), |port| port.accepted), 20);
    drop(idle);
}

#[test]
fn an_error_reply_reaches_a_peer_that_still_talks() {
    let (world, net) = (World::default(), Net::default());
    let _a =
        node_with(&world, &net, 1, Options::default(), |config| _ = config.compression(Compression::Off));
    world.run();
    net.port(addr(1), |port| port.chunk = 5);
    let mut stream = net.dial(addr(1), addr(66));
    // A sealed frame, which a node without keys answers with an error.
    world.wait(poll_fn(|cx| stream.poll_write(cx, &[10; 64]))).unwrap();
    let mut reply = Vec::new();
    loop {
        let mut buf = [0; 256];
        match world.wait(poll_fn(|cx| stream.poll_read(cx, &mut buf))) {
            Ok(0) => break,
            Ok(len) => reply.extend_from_slice(&buf[..len]),
            Err(why) => panic!("the answer was lost: {why:?}"),
        }
    }
    assert_eq!(net.port(addr(1), |port| (port.closed, port.aborted)), (1, 0));
    assert_eq!(reply.first(), Some(&13), "an error reply is of type 13");
    assert!(String::from_utf8_lossy(&reply).contains("encrypted"));
}

#[test]
fn failed_datagrams_and_path_limits_reach_the_machine() {
    let (world, net) = (World::default(), Net::default());
    let (a, _b) = (node(&world, &net, 1), node(&world, &net, 2));
    world.wait(a.join(&["10.0.0.2"])).unwrap();
    world.pass(ms(1000));
    net.port(addr(1), |port| port.fail = Some(TransmitFailure::Local));
    world.pass(ms(1500));
    assert!(world.wait(a.stats()).transmit_failed > 0);
    net.port(addr(1), |port| {
        port.fail = None;
        port.emit(TransportEvent::PathMtu { to: addr(2), max_datagram: 600 });
    });
    world.run();
    let error = world.wait(a.send(&Name::from("n2"), vec![0; 1000].into())).unwrap_err();
    assert!(matches!(error, Error::Command(_)), "{error}");
    assert_eq!(world.wait(a.send(&Name::from("n2"), vec![0; 300].into())), Ok(()));
}
