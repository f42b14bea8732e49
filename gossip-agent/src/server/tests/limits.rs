//! What clients do that they should not.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::rpc::tally::serf_cases;

#[tokio::test]
async fn requests_may_come_in_pieces_and_many_at_once() {
    let served = Served::start("foo", "").await;
    let (mut objects, mut output) = served.raw().await;
    let all = [hello(), request("members", 2, &()), request("stats", 3, &())].concat();
    for piece in all.chunks(7) {
        output.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(header(&mut objects).await, (1, String::new()));
    for seq in [2, 3] {
        assert_eq!(header(&mut objects).await, (seq, String::new()));
        assert!(within(objects.next()).await.unwrap().is_some(), "the body");
    }
}

#[tokio::test]
async fn what_makes_no_sense_ends_the_connection_and_no_other() {
    let served = Served::start("foo", "").await;
    let mut witness = served.connect().await;
    for bytes in [
        &b"\xc1"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        &request("event", 2, &5u8),
        &request("event", 2, &Some(vec![true; 200_000])),
        &request("nope", 2, &()),
        b"",
    ] {
        let (mut objects, mut output) = served.raw().await;
        output.write_all(&hello()).await.unwrap();
        assert_eq!(header(&mut objects).await, (1, String::new()));
        // It may be closed before all is written.
        let _ = output.write_all(bytes).await;
        drop(output);
        let rest = within(async {
            let mut rest = Vec::new();
            while let Ok(Some(object)) = objects.next().await {
                rest.push(object);
            }
            rest
        });
        assert!(rest.await.len() <= 1, "{bytes:x?}");
    }
    let _: MembersResponse = witness.ask(Command::Members, &()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let served = Served::start("foo", "").await;
    let (_objects, mut output) = served.raw().await;
    output.write_all(&hello()).await.unwrap();
    output.write_all(&request("stream", 2, &StreamRequest { filter: "*".into() })).await.unwrap();
    // As many as the socket's buffers and its own places hold; then the session stands still.
    let flood: Vec<u8> = (3..2000).flat_map(|seq| request("stats", seq, &())).collect();
    let _ = timeout(Duration::from_secs(1), output.write_all(&flood)).await;

    let mut other = served.connect().await;
    let event = EventRequest { name: "x".into(), payload: Blob(Some(vec![b'p'; 400])), coalesce: false };
    for _ in 0..300 {
        within(other.tell(Command::Event, &event)).await.unwrap();
    }
    assert_eq!(served.names().await, ["foo"]);
}

#[tokio::test]
async fn streams_of_a_client_are_bounded() {
    let served = Served::start("foo", "").await;
    let mut connection = served.connect().await;
    let filter = StreamRequest { filter: "member-reap".into() };
    for _ in 0..session::MAX_STREAMS {
        connection.tell(Command::Stream, &filter).await.unwrap();
    }
    assert_eq!(why(connection.tell(Command::Stream, &filter).await), "Too many streams");

    let (mut objects, mut output) = served.raw().await;
    output.write_all(&hello()).await.unwrap();
    header(&mut objects).await;
    for expected in ["", "Stream with given sequence exists"] {
        output.write_all(&request("stream", 7, &filter)).await.unwrap();
        assert_eq!(header(&mut objects).await, (7, expected.to_owned()));
    }
}

#[tokio::test]
async fn connections_are_bounded_and_idle_ones_make_room() {
    let served = Served::start("foo", "").await;
    let mut all = Vec::new();
    for _ in 0..places::MAX + 3 {
        all.push(served.connect().await);
    }
    for connection in &mut all[..3] {
        assert!(within(connection.header()).await.is_err(), "the oldest have lost their places");
    }
    assert_eq!(served.names().await, ["foo"]);
    // Whoever listens is not idle.
    let mut all = Vec::new();
    for _ in 0..places::MAX {
        let mut connection = served.connect().await;
        connection.tell(Command::Stream, &StreamRequest { filter: "*".into() }).await.unwrap();
        all.push(connection);
    }
    assert!(Connection::open(&served.address).await.is_err());
    drop(all.pop());
    within(async {
        while Connection::open(&served.address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Time flies while everybody waits.
#[tokio::test(start_paused = true)]
async fn who_does_not_present_itself_in_time_is_sent_away() {
    let served = Served::start("foo", "s3cret").await;
    let wrong = request("auth", 2, &AuthRequest { key: "wrong".into() });
    let begun = tokio::time::Instant::now();
    let mut strangers = Vec::new();
    for sent in [
        Vec::new(),
        hello(),
        hello()[..1].to_vec(),
        [hello(), wrong.clone()].concat(),
        [hello(), wrong[..1].to_vec()].concat(),
    ] {
        let mut stranger = TcpStream::connect(&served.address.rpc_addr).await.unwrap();
        stranger.write_all(&sent).await.unwrap();
        strangers.push(stranger);
    }
    for mut stranger in strangers {
        let mut rest = Vec::new();
        timeout(session::GREETING * 10, stranger.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stranger_that_does_not_read_is_given_no_more_time() {
    let served = Served::start("foo", "s3cret").await;
    let (_objects, mut output) = served.raw().await;
    output.write_all(&hello()).await.unwrap();
    let wrong = request("auth", 2, &AuthRequest { key: "wrong".into() }).repeat(10_000);
    let begun = tokio::time::Instant::now();
    while output.write_all(&wrong).await.is_ok() {
        assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
    }
    assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn strangers_keep_nobody_out_who_knows_the_secret() {
    let served = Served::start("foo", "s3cret").await;
    let mut known = served.connect().await;
    let mut strangers = Vec::new();
    for number in 0..2 * places::MAX {
        let (mut objects, mut output) = served.raw().await;
        // Each is in the middle of a request, its first or its second.
        let sent = [hello(), hello()].concat();
        let whole = number % 2 * hello().len();
        let _ = output.write_all(&sent[..whole + 1]).await;
        if whole > 0 {
            let _ = within(objects.next()).await;
        }
        strangers.push((objects, output));
    }
    for _ in 0..3 {
        assert_eq!(served.names().await, ["foo"]);
    }
    let _: MembersResponse = known.ask(Command::Members, &()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_sent_away_in_time() {
    let served = Served::start("foo", "").await;
    let (_objects, mut output) = served.raw().await;
    output.write_all(&hello()).await.unwrap();
    let flood: Vec<u8> = (2..100_000).flat_map(|seq| request("stats", seq, &())).collect();
    let begun = tokio::time::Instant::now();
    // The answers fill all buffers, then the requests do, and then everything stands still.
    let mut rounds = 0..100;
    let refused = loop {
        match rounds.next() {
            Some(_) if output.write_all(&flood).await.is_ok() => {}
            rounds => break rounds.is_some(),
        }
    };
    assert!(refused, "the server reads on and on");
    assert!(begun.elapsed() >= session::WRITE, "{:?}", begun.elapsed());
    assert_eq!(served.names().await, ["foo"]);
}

/// Recorded sessions with mistakes in them.
#[tokio::test]
async fn whatever_is_sent_the_agent_goes_on() {
    let served = Served::start("foo", "").await;
    let cases = serf_cases("ipc");
    let sessions: Vec<Vec<u8>> = cases
        .iter()
        .filter(|case| case.name.starts_with("ipc.errors."))
        .map(|case| case.bytes("hex"))
        .collect();
    // Where a changed address would lead to nobody knows.
    let harmless = |name: &str| name.ends_with(".request") && !name.contains(".join.");
    let bodies: Vec<Vec<u8>> =
        cases.iter().filter(|case| harmless(&case.name)).map(|case| case.bytes("hex")).collect();
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..150 {
        let mut sent = hello();
        sent.extend(&sessions[random.usize(..sessions.len())]);
        sent.extend(&bodies[random.usize(..bodies.len())]);
        for _ in 0..random.usize(..3) {
            let at = random.usize(hello().len()..sent.len());
            sent[at] = random.u8(..);
        }
        let mut stream = TcpStream::connect(&served.address.rpc_addr).await.unwrap();
        let _ = stream.write_all(&sent).await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = timeout(Duration::from_millis(300), stream.read_to_end(&mut rest)).await;
    }
    // One of them had it leave.
    assert_eq!(served.names().await, ["foo"]);
}

/// When a stranger has gone. At each step over a socket the clock may jump to the node's next timer.
const IN_TIME: Duration = session::GREETING.saturating_mul(2);
