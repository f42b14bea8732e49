//! The agent's side of the RPC, over real sockets on loopback.

mod commands;
mod limits;
mod streams;
mod transcripts;

use core::future::pending;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use transport_tokio::{Bind, Cluster, Config, Node, ServiceConfig, start_node};

use super::*;
use crate::client::connection::Connection;
use crate::client::{AgentAddress, Failure};
use crate::feed::Feed;
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
