//! Events, the log and queries, as they come.

use crate::log::Level;

use super::*;

// upstream: TestRPCClientUserEvent, TestRPCClientStream_User, TestIPCEventStream
#[tokio::test]
async fn user_events_come_to_the_streams_that_want_them() {
    let served = Served::start("foo", "").await;
    let mut connection = served.connect().await;
    let event = |name: &str, coalesce| EventRequest {
        coalesce,
        name: name.into(),
        payload: Blob(Some(b"bar".to_vec())),
    };
    let refused = connection.tell(Command::Stream, &StreamRequest { filter: "bogus".into() }).await;
    assert_eq!(why(refused), "Invalid event filter");
    let stream = connection.send(Command::Stream, &StreamRequest { filter: "user:foobar".into() }).await;
    let stream = stream.unwrap();
    assert!(within(connection.header()).await.unwrap().error.is_empty());

    let mut sender = served.connect().await;
    sender.tell(Command::Event, &event("other", false)).await.unwrap();
    sender.tell(Command::Event, &event("foobar", false)).await.unwrap();
    let heard: UserRecord = record(&mut connection, stream).await;
    assert_eq!(heard.name, "foobar".into());
    assert_eq!((heard.event, heard.coalesce, heard.ltime), ("user".into(), false, 2));
    assert_eq!(heard.payload.as_bytes(), b"bar");

    let long = EventRequest { payload: Blob(Some(vec![0; 600])), ..event("foobar", false) };
    let error = why(sender.tell(Command::Event, &long).await);
    assert!(error.contains("512"), "{error}");

    connection.tell(Command::Stop, &StopRequest { seq: stream }).await.unwrap();
    sender.tell(Command::Event, &event("foobar", false)).await.unwrap();
    // A record would come before the answer to the next request.
    connection.tell(Command::Stop, &StopRequest { seq: 12345 }).await.unwrap();
}

// upstream: TestRPCClientStream_Member, TestRPCClientUpdateTags
#[tokio::test]
async fn changes_of_members_come_to_a_stream() {
    let served = Served::start("foo", "").await;
    let mut connection = served.connect().await;
    let filter = StreamRequest { filter: "member-update,member-leave".into() };
    let stream = connection.send(Command::Stream, &filter).await.unwrap();
    assert!(within(connection.header()).await.unwrap().error.is_empty());
    let tags =
        TagsRequest { delete: Some(vec!["none".into()]), set: [("dc", "east".into())].into_iter().collect() };
    served.connect().await.tell(Command::Tags, &tags).await.unwrap();
    let heard: MemberRecord = record(&mut connection, stream).await;
    assert_eq!(heard.event, "member-update".into());
    let members = heard.members.unwrap();
    assert_eq!((members.len(), members[0].name.to_string()), (1, "foo".into()));
    assert_eq!(members[0].tags.get("dc"), Some(&"east".into()));
}

// upstream: TestRPCClientMonitor, TestIPCLogStream
#[tokio::test]
async fn the_log_is_shown_from_what_is_kept_on() {
    let served = Served::start("foo", "").await;
    served.journal.add(Level::Debug, "before, debug".into());
    served.journal.add(Level::Warn, "before".into());
    let mut connection = served.connect().await;
    let monitor = |level: &str| MonitorRequest { level: level.into() };
    assert_eq!(why(connection.tell(Command::Monitor, &monitor("loud")).await), "Unknown log level: LOUD");
    let logs = connection.send(Command::Monitor, &monitor("info")).await.unwrap();
    assert!(within(connection.header()).await.unwrap().error.is_empty());
    let heard: LogRecord = record(&mut connection, logs).await;
    assert_eq!(heard.line, "before".into());
    served.journal.add(Level::Debug, "then, debug".into());
    served.journal.add(Level::Info, "then".into());
    let heard: LogRecord = record(&mut connection, logs).await;
    assert_eq!(heard.line, "then".into());
    assert_eq!(why(connection.tell(Command::Monitor, &monitor("info")).await), "Monitor already exists");
    connection.tell(Command::Stop, &StopRequest { seq: logs }).await.unwrap();
    connection.tell(Command::Monitor, &monitor("err")).await.unwrap();
}

// upstream: TestRPCClientQuery, TestRPCClientStream_Query, TestRPCClientStream_Query_Respond
#[tokio::test]
async fn a_query_is_heard_answered_and_over() {
    let served = Served::start("foo", "").await;
    let mut listener = served.connect().await;
    // Each stream has a number of its own for the query.
    let first =
        listener.send(Command::Stream, &StreamRequest { filter: "query:deploy".into() }).await.unwrap();
    assert!(within(listener.header()).await.unwrap().error.is_empty());
    let second = listener.send(Command::Stream, &StreamRequest { filter: "query".into() }).await.unwrap();
    assert!(within(listener.header()).await.unwrap().error.is_empty());

    let mut asker = served.connect().await;
    let query = QueryRequest {
        name: "deploy".into(),
        payload: Blob(Some(b"42".to_vec())),
        ack: true,
        timeout: 2_000_000_000,
        ..QueryRequest::default()
    };
    let asked = asker.send(Command::Query, &query).await.unwrap();
    assert!(within(asker.header()).await.unwrap().error.is_empty());
    let ack: AnswerRecord = record(&mut asker, asked).await;
    assert_eq!((ack.kind, ack.from, ack.payload), ("ack".into(), "foo".into(), Blob(None)));

    let mut heard = Vec::new();
    for _ in 0..2 {
        let header = within(listener.header()).await.unwrap();
        let query: QueryRecord = within(listener.body()).await.unwrap().unwrap();
        assert_eq!((query.event, query.name, query.ltime), ("query".into(), "deploy".into(), 1));
        assert_eq!(query.payload.as_bytes(), b"42");
        heard.push((header.seq, query.id));
    }
    heard.sort_unstable_by_key(|(_, id)| *id);
    assert_eq!(heard.iter().map(|(_, id)| *id).collect::<Vec<_>>(), [1, 2]);
    assert!(heard.iter().any(|(seq, _)| *seq == first) && heard.iter().any(|(seq, _)| *seq == second));

    let respond = |id, payload: &[u8]| RespondRequest { id, payload: Blob(Some(payload.into())) };
    let unknown = why(listener.tell(Command::Respond, &respond(3, b"no")).await);
    assert_eq!(unknown, "No pending queries matching ID");
    let long = why(listener.tell(Command::Respond, &respond(1, &[b'x'; 2000])).await);
    assert!(long.contains("1024"), "{long}");
    listener.tell(Command::Respond, &respond(1, b"there!")).await.unwrap();
    let again = why(listener.tell(Command::Respond, &respond(1, b"there!")).await);
    assert_eq!(again, "response already sent");

    let response: AnswerRecord = record(&mut asker, asked).await;
    assert_eq!((response.kind, response.from), ("response".into(), "foo".into()));
    assert_eq!(response.payload.as_bytes(), b"there!");
    let done: AnswerRecord = record(&mut asker, asked).await;
    assert_eq!(done, AnswerRecord { kind: "done".into(), ..AnswerRecord::default() });
    let late = why(listener.tell(Command::Respond, &respond(2, b"late")).await);
    assert_eq!(late, "response already sent", "another number of the same query");
}

// upstream: TestAgentQuery_BadPrefix
#[tokio::test]
async fn serfs_own_queries_cannot_be_asked_but_for_the_ping() {
    let served = Served::start("foo", "").await;
    let mut connection = served.connect().await;
    let query = |name: &str, payload: Option<&[u8]>| QueryRequest {
        name: name.into(),
        payload: Blob(payload.map(Into::into)),
        timeout: 100_000_000,
        ..QueryRequest::default()
    };
    for query in [query("_serf_conflict", None), query("_serf_ping", Some(b"x")), query("_serf_", None)] {
        let error = why(connection.tell(Command::Query, &query).await);
        assert_eq!(error, "Queries cannot contain the '_serf_' prefix");
    }
    connection.tell(Command::Query, &query("_serf_ping", None)).await.unwrap();
    let tags = [("a", "(".into())].into_iter().collect();
    let invalid = QueryRequest { tags, ..query("ask", None) };
    let mut connection = served.connect().await;
    assert!(!why(connection.tell(Command::Query, &invalid).await).is_empty());
}
