//! How many datagrams two nodes exchange over UDP and over QUIC, and what processor time one takes: driver, machine, adapter and
//! kernel, on both sides, loopback. Memory stands beside them for what is neither socket nor seal.
//!
//! ```text
//! cargo run --release -p transport-quic --example throughput
//! cargo run --release -p transport-quic --example throughput -- 10
//! ```
use core::error::Error;
use core::net::SocketAddr;
use core::time::Duration;
use std::time::Instant;

use transport_mem::Bus;
use transport_quic::{Authority, Bind, Cluster, Config, Membership, Seed, TokioRuntime};

/// Who sends at the same time.
const SENDERS: u64 = 16;
/// Datagrams on their way before a sender waits for the other node to have heard some of them. A socket's buffer takes
/// them all, so that hardly any is lost.
const WINDOW: u64 = 512;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    println!(
        "{:8} {:>6} {:>12} {:>22} {:>8}",
        "", "bytes", "datagrams/s", "µs of CPU per datagram", "arrived"
    );
    for payload in [100, 1000] {
        for transport in ["udp", "quic", "mem"] {
            let [from, to] = pair(transport).await?;
            let measured = measure(&from, &to, payload, Duration::from_secs(seconds)).await?;
            println!(
                "{transport:8} {payload:6} {:12.0} {:22.2} {:7.2}%",
                measured.heard as f64 / measured.elapsed,
                measured.cpu * 1e6 / measured.heard as f64,
                measured.heard as f64 * 100.0 / measured.sent as f64
            );
            from.shutdown().await;
            to.shutdown().await;
        }
    }
    Ok(())
}

/// Two nodes that know each other.
async fn pair(transport: &str) -> Result<[Cluster<Membership>; 2], Box<dyn Error>> {
    let authority = Authority::new("throughput")?;
    let runtime = TokioRuntime::current()?;
    let bus = Bus::with_runtime(&runtime, Seed::from_u64(1));
    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut nodes = Vec::new();
    for name in ["from", "to"] {
        let configure = |advertise| Config::lan(name, advertise);
        nodes.push(match transport {
            "udp" => transport_tokio::start_membership(addr.into(), configure).await?,
            "quic" => {
                transport_quic::start_membership(Bind::at(addr, authority.member(name)?), configure).await?
            }
            _ => transport_mem::start_membership(&bus, &runtime, addr, configure)?,
        });
    }
    let [from, to] = nodes.try_into().map_err(|_| "two nodes")?;
    from.join(&[to.local_addr().to_string()]).await?;
    Ok([from, to])
}

struct Measured {
    sent: u64,
    heard: u64,
    elapsed: f64,
    cpu: f64,
}

async fn measure(
    from: &Cluster<Membership>,
    to: &Cluster<Membership>,
    payload: usize,
    period: Duration,
) -> Result<Measured, Box<dyn Error>> {
    // The path's limit is found out by then, and the code is warm.
    flood(from, to, payload, Duration::from_secs(1)).await?;
    let (begun, cpu_before, heard_before) = (Instant::now(), cpu(), heard(to).await);
    let sent = flood(from, to, payload, period).await?;
    Ok(Measured {
        sent,
        heard: heard(to).await - heard_before,
        elapsed: begun.elapsed().as_secs_f64(),
        cpu: cpu() - cpu_before,
    })
}

/// Sends as fast as the other node hears, and says how many were sent.
async fn flood(
    from: &Cluster<Membership>,
    to: &Cluster<Membership>,
    payload: usize,
    period: Duration,
) -> Result<u64, Box<dyn Error>> {
    let until = Instant::now() + period;
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..SENDERS {
        let (from, to) = (from.clone(), to.clone());
        senders.spawn(async move {
            let mut sent = 0;
            while Instant::now() < until {
                let before = heard(&to).await;
                for _ in 0..WINDOW / SENDERS {
                    // Refused when the machine's own queue is full: then it is the socket that is slow.
                    match from.send(&"to".into(), vec![7; payload].into()).await {
                        Ok(()) => sent += 1,
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
                // What was lost must not be waited for.
                for _ in 0..50 {
                    if heard(&to).await > before {
                        break;
                    }
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
            sent
        });
    }
    let sent = senders.join_all().await.into_iter().sum();
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(sent)
}

async fn heard(node: &Cluster<Membership>) -> u64 {
    node.stats().await.user_messages
}

/// Seconds of processor time of this process (Linux counts them in hundredths).
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
