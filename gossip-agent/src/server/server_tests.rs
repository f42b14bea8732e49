use core::future::pending;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use transport_tokio::gossip_proto::Expression;
use transport_tokio::gossip_proto::wire::keyring::{Key, Keyring};
use transport_tokio::{Bind, Cluster, Config, Node, ServiceConfig, start_node};

use super::*;
use crate::client::connection::Connection;
use crate::client::{AgentAddress, Failure};
use crate::feed::Feed;
use crate::log::Level;
use crate::rpc::tally::{Tally as Recorded, serf_cases, unhex};
use crate::rpc::*;
use crate::tags::Tags;
use crate::tally::Tally;

/// A node with its RPC, on loopback. The agent's part of a leave is played by `leaver`.
struct Served {
    cluster: Cluster<Node>,
    journal: Journal,
    address: AgentAddress,
    leaver: JoinHandle<()>,
}

impl Served {
    async fn start(name: &str, secret: &str) -> Self {
        Self::start_with(name, secret, |_| ()).await
    }

    async fn start_with(name: &str, secret: &str, change: impl FnOnce(&mut Config)) -> Self {
        let bind = Bind::from("127.0.0.1:0".parse::<SocketAddr>().unwrap());
        let configure = |advertise| {
            let mut config = Config::local(name, advertise);
            change(&mut config);
            (config, ServiceConfig::default())
        };
        let cluster = start_node(bind, configure).await.unwrap();
        let door = Door::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let address =
            AgentAddress { rpc_addr: door.addr().unwrap().to_string(), rpc_auth: secret.to_owned() };
        let local = Local {
            cluster: cluster.clone(),
            feed: Feed::start(&cluster).await,
            tags: Tags::new(cluster.clone(), None, Default::default(), Default::default()),
            tally: Tally::default(),
            replay_on_join: false,
        };
        let (leaving, mut asked) = mpsc::channel::<Leave>(1);
        let node = cluster.clone();
        let leaver = tokio::spawn(async move {
            let Some(Leave { done, told }) = asked.recv().await else { return pending().await };
            let left = node.leave().await.map(drop).map_err(|error| error.to_string());
            done.send(left).unwrap();
            told.await.unwrap();
        });
        let journal = Journal::default();
        let shared = Shared {
            local,
            journal: journal.clone(),
            secret: (!secret.is_empty()).then(|| secret.to_owned()),
            handlers: watch::channel(vec![Spec::parse("user:deploy=make").unwrap()]).1,
            encrypted: false,
            listing: Mutex::default(),
            leaving,
        };
        start(door, shared).unwrap();
        Self { cluster, journal, address, leaver }
    }

    async fn connect(&self) -> Connection {
        Connection::open(&self.address).await.unwrap()
    }

    /// Without any manners.
    async fn raw(&self) -> (Objects<OwnedReadHalf>, OwnedWriteHalf) {
        let stream = TcpStream::connect(&self.address.rpc_addr).await.unwrap();
        let (input, output) = stream.into_split();
        (Objects::new(input, 1 << 20), output)
    }

    async fn names(&self) -> Vec<String> {
        let MembersResponse { members } = self.connect().await.ask(Command::Members, &()).await.unwrap();
        let mut names: Vec<String> = members.unwrap().iter().map(|member| member.name.to_string()).collect();
        names.sort();
        names
    }
}

fn request(command: &str, seq: u64, body: &impl Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    RequestHeader { command: command.into(), seq }.write(&mut bytes);
    body.write(&mut bytes);
    bytes
}

fn hello() -> Vec<u8> {
    request("handshake", 1, &HandshakeRequest { version: 1 })
}

async fn header(objects: &mut Objects<OwnedReadHalf>) -> (u64, String) {
    let bytes = within(objects.next()).await.unwrap().expect("an answer");
    let header = ResponseHeader::decode(&bytes).unwrap();
    (header.seq, header.error.to_string())
}

async fn record<T: Value>(connection: &mut Connection, seq: u64) -> T {
    let header = within(connection.header()).await.unwrap();
    assert_eq!((header.seq, header.error.is_empty()), (seq, true), "{header:?}");
    within(connection.body()).await.unwrap().unwrap()
}

fn why<T: core::fmt::Debug>(result: Result<T, Failure>) -> String {
    match result {
        Err(Failure::Because(why)) => why,
        other => panic!("{other:?}"),
    }
}

async fn within<T>(run: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), run).await.expect("in time")
}

// upstream: TestRPCClientMembers, TestRPCClientMembersFiltered
#[tokio::test]
async fn members_are_listed_and_filtered() {
    let served = Served::start("foo", "").await;
    let mut connection = served.connect().await;
    let tags = TagsRequest {
        delete: None,
        set: [("tag1", "val1".into()), ("tag2", "val2".into())].into_iter().collect(),
    };
    connection.tell(Command::Tags, &tags).await.unwrap();
    let addr = served.cluster.local().await.addr;
    let MembersResponse { members } = connection.ask(Command::Members, &()).await.unwrap();
    let members = members.unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!((members[0].name.to_string(), members[0].port), ("foo".into(), addr.port()));
    assert_eq!(members[0].addr.as_bytes(), [127, 0, 0, 1]);
    assert_eq!((members[0].delegate_min, members[0].delegate_max, members[0].delegate_cur), (2, 5, 5));
    assert_eq!(members[0].tags.get("tag1"), Some(&"val1".into()));

    let filtered = async |connection: &mut Connection, tags: &[(&str, &str)], status: &str, name: &str| {
        let tags = tags.iter().map(|&(key, value)| (key, value.into())).collect();
        let filter = MembersFilteredRequest { name: name.into(), status: status.into(), tags };
        let answer: Result<MembersResponse, _> = connection.ask(Command::MembersFiltered, &filter).await;
        answer.map(|answer| answer.members.unwrap().len())
    };
    for (tags, status, name, found) in [
        (&[("tag1", "val1")][..], "", "", 1),
        (&[("tag1", "val1"), ("tag2", "val.")], "alive", "fo+", 1),
        (&[("tag1", "val")], "", "", 0),
        (&[("tag1", "val1"), ("tag3", "val3")], "", "", 0),
        (&[("tag3", "")], "", "", 1),
        (&[], "alive", "", 1),
        (&[], "failed|left", "", 0),
        (&[], "", "bar|fo", 0),
        (&[], "", "bar|foo", 1),
    ] {
        let answer = filtered(&mut connection, tags, status, name).await;
        assert_eq!(answer.unwrap(), found, "{tags:?} {status} {name}");
    }
    let error = why(filtered(&mut connection, &[], "", "(").await);
    assert!(error.starts_with("Invalid expression \"(\": "), "{error}");
    assert_eq!(filtered(&mut connection, &[], "", "foo").await.unwrap(), 1, "the connection goes on");
}

// upstream: TestRPCClientJoin, TestRPCClientForceLeave, TestRPCClientForceLeave_prune
#[tokio::test]
async fn a_node_joins_and_a_member_is_forced_out() {
    let (one, other) = (Served::start("one", "").await, Served::start("other", "").await);
    let mut connection = one.connect().await;
    let to = other.cluster.local_addr().to_string();
    let join = JoinRequest { existing: Some(vec![to.into()]), replay: false };
    let joined: JoinResponse = connection.ask(Command::Join, &join).await.unwrap();
    assert_eq!(joined.num, 1);
    assert_eq!(one.names().await, ["one", "other"]);

    let nowhere = JoinRequest { existing: Some(vec!["127.0.0.1:1".into()]), replay: false };
    let (error, answer) = connection.ask_despite(Command::Join, &nowhere).await.unwrap();
    assert!(!error.is_empty(), "{error}");
    assert_eq!(answer, Some(JoinResponse { num: 0 }));

    other.cluster.shutdown().await;
    let status = async || {
        let members = one.cluster.members().await;
        members.iter().find(|member| member.name.as_bytes() == b"other").map(|member| member.status.as_str())
    };
    within(async {
        while status().await != Some("failed") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for (prune, then) in [(false, Some("left")), (true, None)] {
        connection
            .tell(Command::ForceLeave, &ForceLeaveRequest { node: "other".into(), prune })
            .await
            .unwrap();
        within(async {
            while status().await != then {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

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
    let second = listener.send(Command::Stream, &StreamRequest { filter: "*".into() }).await.unwrap();
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

// upstream: TestRPCClientKeys_EncryptionDisabledError
#[tokio::test]
async fn without_encryption_there_are_no_keys() {
    let served = Served::start("foo", "").await;
    let mut connection = served.connect().await;
    let key = KeyRequest { key: "AAECAwQFBgcICQoLDA0ODw==".into() };
    for command in [Command::InstallKey, Command::UseKey, Command::RemoveKey] {
        let (error, answer) = connection.ask_despite(command, &key).await.unwrap();
        assert_eq!(error.to_string(), "1/1 nodes reported failure", "{command:?}");
        let answer: KeyResponse = answer.unwrap();
        assert_eq!((answer.errors, answer.nodes, answer.responses), (1, 1, 1));
        let wanted = "No keyring to modify (encryption not enabled)";
        assert_eq!(answer.messages.get("foo"), Some(&wanted.into()));
        assert_eq!(answer.keys, Map(None));
    }
    for (text, wanted) in [
        ("not base64!", "illegal base64 data at input byte 3"),
        ("AAAA", "key size must be 16, 24 or 32 bytes"),
    ] {
        let wrong = KeyRequest { key: text.into() };
        let (error, answer) = connection.ask_despite(Command::InstallKey, &wrong).await.unwrap();
        assert_eq!(error.to_string(), wanted);
        assert_eq!(answer, Some(KeyResponse { messages: Map(Some(vec![])), ..KeyResponse::default() }));
    }
}

// upstream: TestRPCClientKeys
#[tokio::test]
async fn keys_are_listed_installed_used_and_removed() {
    let (old, new) = ("AAECAwQFBgcICQoLDA0ODw==", "Dw4NDAsKCQgHBgUEAwIBAA==");
    let served = Served::start_with("foo", "", |config| {
        config.keyring(Some(Keyring::new(Key::new(&STANDARD.decode(old).unwrap()).unwrap(), []).unwrap()));
    })
    .await;
    let mut connection = served.connect().await;
    let listed = async |connection: &mut Connection| {
        let answer: KeyResponse = connection.ask(Command::ListKeys, &()).await.unwrap();
        let mut keys: Vec<(String, i64)> =
            answer.keys.iter().map(|(key, count)| (key.to_string(), *count)).collect();
        keys.sort();
        keys
    };
    let change = async |connection: &mut Connection, command, key: &str| {
        let request = KeyRequest { key: key.into() };
        let (error, answer) = connection.ask_despite::<KeyResponse>(command, &request).await.unwrap();
        (error.to_string(), answer.unwrap().messages.get("foo").map(ToString::to_string))
    };
    assert_eq!(listed(&mut connection).await, [(old.into(), 1)]);
    let (error, message) = change(&mut connection, Command::UseKey, new).await;
    assert_eq!(error, "1/1 nodes reported failure");
    assert!(message.is_some_and(|message| message.contains("not in the keyring")));
    let fine = (String::new(), None);
    assert_eq!(change(&mut connection, Command::InstallKey, new).await, fine);
    assert_eq!(listed(&mut connection).await, [(old.into(), 1), (new.into(), 1)]);
    let (error, _) = change(&mut connection, Command::RemoveKey, old).await;
    assert_eq!(error, "1/1 nodes reported failure");
    assert_eq!(change(&mut connection, Command::UseKey, new).await, fine);
    assert_eq!(change(&mut connection, Command::RemoveKey, old).await, fine);
    assert_eq!(listed(&mut connection).await, [(new.into(), 1)]);
}

// upstream: TestRPCClientLeave
#[tokio::test]
async fn a_leave_is_answered_and_then_the_connection_ends() {
    let served = Served::start("foo", "").await;
    let mut connection = served.connect().await;
    within(connection.tell(Command::Leave, &())).await.unwrap();
    assert!(within(connection.header()).await.is_err(), "closed");
    within(served.leaver).await.unwrap();
}

// upstream: TestRPCClientStats, TestRPCClientGetCoordinate
#[tokio::test]
async fn figures_and_coordinates_are_told() {
    let served = Served::start("foo", "").await;
    let mut connection = served.connect().await;
    let stats: Stats = connection.ask(Command::Stats, &()).await.unwrap();
    let sections: Vec<String> = stats.sorted().keys().map(ToString::to_string).collect();
    assert_eq!(sections, ["agent", "event_handlers", "runtime", "serf", "tags"]);
    assert_eq!(stats.get("agent").unwrap().get("name"), Some(&"foo".into()));
    assert_eq!(stats.get("event_handlers").unwrap().get("user:deploy"), Some(&"make".into()));
    let serf = stats.get("serf").unwrap();
    for (key, value) in [
        ("members", "1"),
        ("failed", "0"),
        ("left", "0"),
        ("health_score", "0"),
        ("member_time", "1"),
        ("event_time", "1"),
        ("query_time", "1"),
        ("event_queue", "0"),
        ("intent_queue", "0"),
        ("query_queue", "0"),
        ("encrypted", "false"),
        ("coordinate_resets", "0"),
    ] {
        assert_eq!(serf.get(key), Some(&value.into()), "{key}");
    }
    for key in ["os", "arch", "version", "max_procs", "goroutines", "cpu_count"] {
        assert!(stats.get("runtime").unwrap().get(key).is_some_and(|value| !value.is_empty()), "{key}");
    }

    let ask = |node: &str| CoordinateRequest { node: node.into() };
    let known: CoordinateResponse = connection.ask(Command::GetCoordinate, &ask("foo")).await.unwrap();
    assert!(known.ok && known.coordinate.vec.is_some_and(|vec| vec.len() == 8));
    let unknown: CoordinateResponse = connection.ask(Command::GetCoordinate, &ask("nobody")).await.unwrap();
    assert_eq!(unknown, CoordinateResponse::default());
}

// upstream: TestRPCClientAuth
#[tokio::test]
async fn who_does_not_know_the_secret_is_told_so_and_nothing_else() {
    let served = Served::start("foo", "s3cret").await;
    assert_eq!(served.names().await, ["foo"]);
    let with = |secret: &str| AgentAddress { rpc_auth: secret.into(), ..served.address.clone() };
    let error = why(Connection::open(&with("wrong")).await);
    assert!(error.contains("Invalid authentication token"), "{error}");
    let mut stranger = Connection::open(&with("")).await.unwrap();
    let event = EventRequest { name: "x".into(), ..EventRequest::default() };
    assert_eq!(why(stranger.tell(Command::Event, &event).await), "Authentication required");
    assert_eq!(why(stranger.tell(Command::Leave, &()).await), "Authentication required");
    // The body of the refused event was no header: this is still understood.
    let key = AuthRequest { key: "s3cret".into() };
    stranger.tell(Command::Auth, &key).await.unwrap();
    let MembersResponse { members } = stranger.ask(Command::Members, &()).await.unwrap();
    assert_eq!(members.map(|members| members.len()), Some(1));
    assert_eq!(served.cluster.clocks().await.unwrap().event, 1, "no event was sent");
}

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
    let mut silent = TcpStream::connect(&served.address.rpc_addr).await.unwrap();
    let mut stranger = TcpStream::connect(&served.address.rpc_addr).await.unwrap();
    stranger.write_all(&hello()).await.unwrap();
    let mut halfway = TcpStream::connect(&served.address.rpc_addr).await.unwrap();
    halfway.write_all(&hello()[..5]).await.unwrap();
    for stream in [&mut silent, &mut stranger, &mut halfway] {
        let mut rest = Vec::new();
        timeout(session::GREETING * 10, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
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

/// The recorded error paths of a serf agent, sent to ours.
#[tokio::test]
async fn error_transcripts() {
    let mut tally = Recorded::new("serf.ipc.errors");
    for case in serf_cases("ipc").iter().filter(|case| case.name.starts_with("ipc.errors.")) {
        let sent = case.bytes("hex");
        let fields = &case.value["fields"];
        let wanted = unhex(fields["rx"].as_str().unwrap());
        let wanted_end = fields["closed_by_agent"].as_bool().unwrap();
        let facts = facts(&sent);
        // The recorded agent had a secret where it asked for one: the last that a client presents.
        let secret = wanted.windows(23).any(|window| window == b"Authentication required");
        let secret = secret.then(|| facts.secret.clone().unwrap_or_else(|| "s3cret".into()));
        let name = fields["rx_decoded"].as_array().unwrap().iter().find_map(|object| {
            object["Messages"].as_object().and_then(|messages| messages.keys().next().cloned())
        });
        let served = Served::start(name.as_deref().unwrap_or("foo"), &secret.unwrap_or_default()).await;
        let mut stream = TcpStream::connect(&served.address.rpc_addr).await.unwrap();
        stream.write_all(&sent).await.unwrap();
        let (received, ended) = transcript(&mut stream, wanted.len()).await;
        let matches = match received == wanted && ended == wanted_end {
            true => Ok(()),
            false => Err(format!("received {}, ended: {ended}", String::from_utf8_lossy(&received))),
        };
        let text = String::from_utf8_lossy(&received);
        let ours = match &matches {
            Ok(()) => "",
            Err(_) if text.contains("Invalid expression") && !ended => "answered",
            Err(_) if text.contains("Unsupported command") && ended => "unsupported command",
            Err(_) if text.matches("Authentication required").count() == 1 && !ended => "one answer",
            Err(_) => "other",
        };
        tally.judge(case, &[("request", facts.request)], ours, matches);
    }
    tally.finish();
}

/// What is peculiar about what a client sends.
struct Facts {
    request: &'static str,
    secret: Option<String>,
}

fn facts(sent: &[u8]) -> Facts {
    let mut facts = Facts { request: "", secret: None };
    let mut reader = Reader::new(sent);
    let mut trusted = false;
    while !reader.rest().is_empty() {
        let Ok(RequestHeader { command, .. }) = RequestHeader::read(&mut reader) else { break };
        let Some(command) = Command::parse(command.as_bytes()) else {
            if command.is_empty() {
                facts.request = "without a command";
            }
            break;
        };
        let mut body = reader.clone();
        if command.has_request_body() {
            reader.skip_value().unwrap();
        }
        match command {
            Command::Auth => {
                facts.secret = Some(AuthRequest::read(&mut body).unwrap().key.to_string());
                trusted = true;
            }
            Command::MembersFiltered => {
                let filter = MembersFilteredRequest::read(&mut body).unwrap();
                let expressions = filter.tags.iter().map(|(_, expression)| expression);
                let mut all = expressions.chain([&filter.name, &filter.status]);
                if all.any(|expression| Expression::new(expression.as_bytes()).is_none()) {
                    facts.request = "with an invalid expression";
                }
            }
            Command::Event if !trusted => facts.request = "with a body before authentication",
            _ => {}
        }
    }
    facts
}

/// What comes within a while, and whether the connection ends then; `enough` bytes are not waited beyond for long.
async fn transcript(stream: &mut TcpStream, enough: usize) -> (Vec<u8>, bool) {
    let mut received = Vec::new();
    loop {
        let patience = if received.len() < enough { PATIENT } else { HASTY };
        match timeout(patience, stream.read_buf(&mut received)).await {
            Ok(Ok(0) | Err(_)) => return (received, true),
            Ok(Ok(_)) => {}
            Err(_) => return (received, false),
        }
    }
}

const PATIENT: Duration = Duration::from_secs(2);
const HASTY: Duration = Duration::from_millis(200);
