//! Those who do not speak the transport's protocol.

use core::any::Any;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};

use super::endpoint::{Bytes, accept};
use super::lab::Lab;
use super::{Factory, Outcome, ensure};

/// What a stranger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mischief {
    /// Connects and says nothing.
    Silence,
    /// Connects and sends bytes that mean nothing.
    Nonsense,
    /// Connects, sends a little, and shuts down its sending side.
    HalfClose,
    /// Sends datagrams that mean nothing.
    Datagrams,
}

/// A stranger who connects by TCP.
pub fn tcp_stranger(to: SocketAddr, mischief: Mischief) -> io::Result<Option<Box<dyn Any>>> {
    if mischief == Mischief::Datagrams {
        return Ok(None);
    }
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    match mischief {
        Mischief::Nonsense => {
            // Who is refused may be cut off in the middle of it.
            let _ = stream.write_all(&Bytes::new(77).take(2000));
        }
        Mischief::HalfClose => {
            let _ =
                stream.write_all(&Bytes::new(78).take(10)).and_then(|()| stream.shutdown(Shutdown::Write));
        }
        _ => {}
    }
    Ok(Some(Box::new(stream)))
}

/// A stranger who sends UDP datagrams.
pub fn udp_stranger(to: SocketAddr, mischief: Mischief) -> io::Result<Option<Box<dyn Any>>> {
    if mischief != Mischief::Datagrams {
        return Ok(None);
    }
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    for len in [1, 8, 100, 1200, 1400] {
        socket.send_to(&nonsense(len), to)?;
    }
    Ok(Some(Box::new(socket)))
}

/// A datagram that no endpoint of the suite sends.
fn nonsense(len: usize) -> Vec<u8> {
    vec![NONSENSE; len]
}

pub(super) async fn hurt_nobody<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    let mut strangers = Vec::new();
    for mischief in [Mischief::Silence, Mischief::Nonsense, Mischief::HalfClose, Mischief::Datagrams] {
        for _ in 0..EACH {
            let stranger = lab.factory.stranger(b.addr, mischief);
            let stranger =
                stranger.map_err(|error| format!("a stranger ({mischief:?}) has no access: {error}"))?;
            strangers.extend(stranger);
        }
    }
    if strangers.is_empty() {
        return Ok(());
    }
    if lab.can.authenticates_datagrams {
        while let Some((_, bytes)) = lab.until(AWHILE, b.receive()).await {
            ensure!(
                bytes.iter().any(|byte| *byte != NONSENSE),
                "a datagram of somebody who is not known was received"
            );
        }
    }
    if lab.can.authenticates_streams {
        let admitted = lab.until(AWHILE, accept(&mut b.transport)).await;
        ensure!(admitted.is_none(), "a stream of somebody who is not known was accepted");
    } else {
        // They are accepted like anybody, and the machine sees that they talk nonsense. Here they are in the way only.
        let mut streams = Vec::new();
        while let Some(accepted) = lab.until(AWHILE, accept(&mut b.transport)).await {
            streams.push(accepted);
        }
        lab.exchange(&mut a, &mut b).await?;
    }
    lab.exchange(&mut a, &mut b).await?;
    lab.exchange(&mut b, &mut a).await?;
    // Datagrams of strangers may be in the queue before those that count.
    while lab.until(AWHILE, b.receive()).await.is_some() {}
    lab.all_is_well(&mut a, &mut b).await
}

const EACH: usize = 20;
const NONSENSE: u8 = 0xee;
const AWHILE: Duration = Duration::from_millis(200);
