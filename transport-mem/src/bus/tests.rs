use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::{Context, Waker};
use core::time::Duration;

use gossip_driver::{ReceiveBatch, Runtime, Stream, Transport};
use gossip_proto::{Instant, Seed, StreamFailure};

use super::*;
use crate::{Conditions, VirtualRuntime};

const LATENCY: Duration = Duration::from_millis(10);

fn addr(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 7946))
}

fn world() -> (VirtualRuntime, Bus, MemTransport, MemTransport) {
    let runtime = VirtualRuntime::new();
    let bus = Bus::with_runtime(&runtime, Seed::from_u64(1));
    bus.set_conditions(Conditions::PERFECT.delay(LATENCY, Duration::ZERO));
    let (a, b) = (bus.bind(addr(1)).unwrap(), bus.bind(addr(2)).unwrap());
    (runtime, bus, a, b)
}

fn send(bus: &Bus, from: &MemTransport, to: SocketAddr, bytes: &[u8]) {
    bus.shared.with(|state| state.send(from.number, to, bytes));
}

fn received(transport: &mut MemTransport) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut batch = ReceiveBatch::new(4096);
    let _ = transport.poll_receive(&mut Context::from_waker(Waker::noop()), &mut batch);
    core::iter::from_fn(|| batch.pop().map(|(source, bytes)| (source.addr, bytes.to_vec()))).collect()
}

async fn accept(transport: &mut MemTransport) -> MemStream {
    poll_fn(|cx| transport.poll_accept(cx)).await.0
}

async fn open(stream: &mut MemStream) -> Result<(), StreamFailure> {
    poll_fn(|cx| stream.poll_open(cx)).await
}

async fn write_all(stream: &mut MemStream, mut bytes: &[u8]) -> Result<(), StreamFailure> {
    while !bytes.is_empty() {
        let taken = poll_fn(|cx| stream.poll_write(cx, bytes)).await?;
        bytes = &bytes[taken..];
    }
    Ok(())
}

async fn read_all(stream: &mut MemStream) -> Result<Vec<u8>, StreamFailure> {
    let (mut all, mut buf) = (Vec::new(), [0; 1000]);
    loop {
        match poll_fn(|cx| stream.poll_read(cx, &mut buf)).await? {
            0 => return Ok(all),
            len => all.extend_from_slice(&buf[..len]),
        }
    }
}

#[test]
fn datagrams_take_the_time_of_the_link_and_wake_the_receiver() {
    let (runtime, bus, a, mut b) = world();
    send(&bus, &a, addr(2), b"one");
    send(&bus, &a, addr(2), b"two");
    send(&bus, &a, addr(9), b"to nobody");
    assert_eq!(received(&mut b), []);
    let mut batch = ReceiveBatch::new(4096);
    runtime.block_on(poll_fn(|cx| b.poll_receive(cx, &mut batch)));
    assert_eq!((runtime.now(), batch.len()), (Instant::ORIGIN + LATENCY, 2));
    assert_eq!(bus.census(), (2, 0, 0));
}

#[test]
fn a_batch_takes_what_fits_and_leaves_the_rest() {
    let (runtime, bus, a, mut b) = world();
    for _ in 0..5 {
        send(&bus, &a, addr(2), &[7; 1500]);
    }
    runtime.run_for(LATENCY);
    assert_eq!([received(&mut b).len(), received(&mut b).len(), received(&mut b).len()], [2, 2, 1]);
}

#[test]
fn an_endpoint_that_does_not_receive_holds_a_bounded_amount() {
    let (runtime, bus, a, mut b) = world();
    bus.set_socket_buffer(1000);
    for _ in 0..50 {
        send(&bus, &a, addr(2), &[7; 100]);
    }
    runtime.run_for(LATENCY);
    assert_eq!(received(&mut b).len(), 10);
    assert_eq!(bus.census().2, 0);
}

#[test]
fn a_stream_carries_both_ways_beyond_the_window_and_closes_in_order() {
    let (runtime, bus, mut a, mut b) = world();
    bus.set_max_segment(1000);
    let payload: Vec<u8> = (0..500_000u32).map(|i| (i ^ (i >> 9)) as u8).collect();
    let sent = payload.clone();
    runtime.spawn(async move {
        let mut stream = a.open(addr(2), None);
        open(&mut stream).await.unwrap();
        write_all(&mut stream, &sent).await.unwrap();
        poll_fn(|cx| stream.poll_close(cx)).await;
    });
    let read = runtime.block_on(async {
        let mut stream = accept(&mut b).await;
        let read = read_all(&mut stream).await.unwrap();
        poll_fn(|cx| stream.poll_close(cx)).await;
        read
    });
    assert!(read == payload);
    runtime.run_for(Duration::from_secs(1));
    assert_eq!(bus.census(), (1, 0, 0));
}

#[test]
fn an_opener_waits_a_round_trip_and_is_refused_where_nobody_is() {
    let (runtime, _bus, mut a, _b) = world();
    runtime.block_on(async {
        open(&mut a.open(addr(2), None)).await.unwrap();
        assert_eq!(runtime.now(), Instant::ORIGIN + LATENCY * 2);
        assert_eq!(open(&mut a.open(addr(9), None)).await, Err(StreamFailure::Unreachable));
    });
}

#[test]
fn a_dropped_stream_is_reset_and_a_closed_one_is_not() {
    let (runtime, bus, mut a, mut b) = world();
    for closed in [true, false] {
        let result = runtime.block_on(async {
            let mut opened = a.open(addr(2), None);
            open(&mut opened).await.unwrap();
            write_all(&mut opened, b"hello").await.unwrap();
            if closed {
                poll_fn(|cx| opened.poll_close(cx)).await;
            }
            drop(opened);
            read_all(&mut accept(&mut b).await).await
        });
        assert_eq!(result, if closed { Ok(b"hello".to_vec()) } else { Err(StreamFailure::Reset) });
        runtime.run_for(Duration::from_secs(1));
        assert_eq!(bus.census().1, 0);
    }
}

#[test]
fn streams_that_wait_to_be_accepted_end_with_their_endpoint() {
    let (runtime, bus, mut a, b) = world();
    let mut stream = a.open(addr(2), None);
    runtime.block_on(open(&mut stream)).unwrap();
    drop(b);
    assert_eq!(runtime.block_on(read_all(&mut stream)), Err(StreamFailure::Reset));
    drop(stream);
    assert_eq!(bus.census(), (1, 0, 0));
}

#[test]
fn a_cut_holds_streams_up_until_it_is_healed() {
    let (runtime, bus, mut a, mut b) = world();
    let mut stream = a.open(addr(2), None);
    runtime.block_on(open(&mut stream)).unwrap();
    let mut accepted = runtime.block_on(accept(&mut b));
    bus.cut(addr(1), addr(2), true);
    runtime.block_on(write_all(&mut stream, b"late")).unwrap();
    send(&bus, &a, addr(2), b"lost");
    runtime.run_for(Duration::from_secs(60));
    let mut buf = [0; 10];
    let mut cx = Context::from_waker(Waker::noop());
    assert!(accepted.poll_read(&mut cx, &mut buf).is_pending());
    bus.heal();
    let len = runtime.block_on(poll_fn(|cx| accepted.poll_read(cx, &mut buf))).unwrap();
    assert!(b"late".starts_with(&buf[..len]) && len > 0);
    assert_eq!(received(&mut b), []);
}

#[test]
fn the_courier_ends_with_the_bus() {
    let (runtime, bus, a, b) = world();
    runtime.run_for(LATENCY);
    assert_eq!(runtime.tasks(), 1);
    drop((bus, a, b));
    runtime.run_for(LATENCY);
    assert_eq!((runtime.tasks(), runtime.timers()), (0, 0));
}

#[test]
fn a_lost_segment_holds_nothing_up_where_there_is_no_clock() {
    let bus = Bus::new();
    bus.set_conditions(Conditions::PERFECT.loss(0.5));
    let (mut a, mut b) = (bus.bind(addr(1)).unwrap(), bus.bind(addr(2)).unwrap());
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..20 {
        let mut stream = a.open(addr(2), None);
        let Poll::Ready((mut accepted, _)) = b.poll_accept(&mut cx) else { panic!("the request is held up") };
        assert!(stream.poll_open(&mut cx).is_ready(), "the answer is held up");
        assert!(matches!(stream.poll_write(&mut cx, b"hello"), Poll::Ready(Ok(5))));
        let mut buf = [0; 10];
        assert!(matches!(accepted.poll_read(&mut cx, &mut buf), Poll::Ready(Ok(5))), "the bytes are held up");
        assert!(stream.poll_close(&mut cx).is_ready());
        assert!(matches!(accepted.poll_read(&mut cx, &mut buf), Poll::Ready(Ok(0))), "the end is held up");
    }
}
