//! One program over any transport: three nodes meet, an event goes over, one dies and is missed. What the transport is, only the
//! function `start` knows. Ends with `any_transport ok`.
//!
//! ```text
//! cargo run -p transport-quic --example any_transport -- --transport udp
//! cargo run -p transport-quic --example any_transport -- --transport quic
//! cargo run -p transport-quic --example any_transport -- --transport mem
//! ```
use core::error::Error;
use core::net::SocketAddr;
use core::time::Duration;

use transport_mem::Bus;
use transport_quic::gossip_driver::Subscription;
use transport_quic::{
    Authority, ChangeKind, Cluster, Config, Node, Notice, Seed, ServiceConfig, TokioRuntime,
};

enum Transport {
    Udp,
    /// With certificates of this authority.
    Quic(Box<Authority>),
    /// On a network in memory, with the clock of this runtime.
    Mem(Bus, TokioRuntime),
}

impl Transport {
    fn named(name: &str) -> Result<Self, Box<dyn Error>> {
        Ok(match name {
            "udp" => Self::Udp,
            "quic" => Self::Quic(Box::new(Authority::new("any_transport")?)),
            "mem" => {
                let runtime = TokioRuntime::current()?;
                Self::Mem(Bus::with_runtime(&runtime, Seed::from_u64(1)), runtime)
            }
            other => return Err(format!("--transport {other:?}: give udp, quic or mem").into()),
        })
    }

    async fn start(&self, name: &str) -> Result<Cluster<Node>, Box<dyn Error>> {
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let configure = |advertise| (Config::local(name, advertise), ServiceConfig::default());
        Ok(match self {
            Self::Udp => transport_tokio::start_node(addr.into(), configure).await?,
            Self::Quic(authority) => {
                let bind = transport_quic::Bind::at(addr, authority.member(name)?);
                transport_quic::start_node(bind, configure).await?
            }
            Self::Mem(bus, runtime) => transport_mem::start_node(bus, runtime, addr, configure)?,
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [option, name] = arguments.as_slice() else {
        return Err("usage: any_transport --transport udp|quic|mem".into());
    };
    if option != "--transport" {
        return Err(format!("{option:?} is unknown; give --transport udp|quic|mem").into());
    }
    let transport = Transport::named(name)?;

    let alder = transport.start("alder").await?;
    let (birch, cedar) = (transport.start("birch").await?, transport.start("cedar").await?);
    let mut news = alder.subscribe().await;
    let seed = [alder.local_addr().to_string()];
    birch.join(&seed).await?;
    cedar.join(&seed).await?;
    hears(&mut news, "birch has joined", |notice| is_change(notice, "birch", ChangeKind::Joined)).await?;
    hears(&mut news, "cedar has joined", |notice| is_change(notice, "cedar", ChangeKind::Joined)).await?;

    birch.user_event("deploy", "42", false).await?;
    hears(&mut news, "birch's event", |notice| {
        matches!(notice, Notice::UserEvent { name, payload, .. } if **name == *b"deploy" && **payload == *b"42")
    })
    .await?;

    // Without a farewell.
    cedar.shutdown().await;
    hears(&mut news, "cedar is dead", |notice| is_change(notice, "cedar", ChangeKind::Failed)).await?;

    birch.leave().await?;
    hears(&mut news, "birch has left", |notice| is_change(notice, "birch", ChangeKind::Left)).await?;
    println!("any_transport ok");
    Ok(())
}

fn is_change(notice: &Notice, name: &str, what: ChangeKind) -> bool {
    matches!(notice, Notice::Change { member, kind, .. } if member.name.as_bytes() == name.as_bytes() && *kind == what)
}

/// Waits until the node says that, and prints what it says meanwhile.
async fn hears(
    news: &mut Subscription,
    what: &str,
    is_it: impl Fn(&Notice) -> bool,
) -> Result<(), Box<dyn Error>> {
    let heard = async {
        while let Some(notice) = news.recv().await {
            if let Notice::Change { member, kind, .. } = &notice {
                println!("{} {kind:?}", member.name);
            }
            if is_it(&notice) {
                return Ok(());
            }
        }
        Err(format!("the node ended before it said that {what}").into())
    };
    let late = tokio::time::timeout(Duration::from_secs(60), heard).await;
    late.map_err(|_| format!("nobody said within a minute that {what}"))?
}
