//! Commands that are answered at once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use transport_tokio::gossip_proto::wire::keyring::{Key, Keyring};

use super::*;

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

#[tokio::test]
async fn what_was_not_gossiped_in_time_is_told_in_serfs_words() {
    let one = Served::start_with("one", "", |config| {
        // Nothing gets out.
        config.gossip_interval(Duration::ZERO).broadcast_timeout(Duration::from_millis(1));
    })
    .await;
    let other = Served::start("other", "").await;
    one.cluster.join(&[other.cluster.local_addr().to_string()]).await.unwrap();
    let mut connection = one.connect().await;
    let removal = ForceLeaveRequest { node: "other".into(), prune: false };
    let error = why(within(connection.tell(Command::ForceLeave, &removal)).await);
    assert_eq!(error, "timed out broadcasting node removal");
    let tags = TagsRequest { delete: None, set: [("dc", "east".into())].into_iter().collect() };
    let error = why(within(connection.tell(Command::Tags, &tags)).await);
    assert_eq!(error, "timeout waiting for update broadcast");
    assert_eq!(one.cluster.local().await.tag("dc").map(|dc| &dc[..]), Some(&b"east"[..]));
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
        ("foo", "illegal base64 data at input byte 0"),
        ("AAAAA", "illegal base64 data at input byte 4"),
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
    for told in [stranger.tell(Command::Event, &event).await, stranger.tell(Command::Leave, &()).await] {
        let why = why(told);
        assert!(why.starts_with("Authentication required; give ") && why.contains("--rpc-auth"), "{why}");
    }
    // The body of the refused event was no header: this is still understood.
    let key = AuthRequest { key: "s3cret".into() };
    stranger.tell(Command::Auth, &key).await.unwrap();
    let MembersResponse { members } = stranger.ask(Command::Members, &()).await.unwrap();
    assert_eq!(members.map(|members| members.len()), Some(1));
    assert_eq!(served.cluster.clocks().await.unwrap().event, 1, "no event was sent");
}
