//! Peers that stay silent, stand still, or are not there, and those that must not notice.

use core::time::Duration;

use super::endpoint::{Bytes, accept, close, open, read_exact, try_read, write_all};
use super::lab::{Lab, both};
use super::streams::fill;
use super::{Factory, Outcome, ensure};
use crate::transport::Transport;

use gossip_proto::StreamFailure;

pub(super) async fn sources_say_who_it_is<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    lab.all_is_well(&mut a, &mut b).await?;
    let datagram = a.datagram(32);
    let hear = async {
        loop {
            a.send(b.addr, &datagram).await?;
            if let Some((source, _)) = lab.until(AWHILE, b.receive()).await {
                return Ok::<_, String>(source);
            }
        }
    };
    let by_datagram = lab.within("no datagram arrives", hear).await??;
    let mut stream = a.transport.open(b.addr, None);
    let begin = async {
        open(&mut stream).await?;
        write_all(&mut stream, &[1; 8]).await
    };
    let begun = both(begin, async { Ok(accept(&mut b.transport).await) });
    let (_accepted, by_stream) = lab.within("a stream does not come about", begun).await??;
    let proven = lab.can.authenticates_datagrams && lab.can.authenticates_streams;
    for (what, source) in [("datagram", by_datagram), ("stream", by_stream)] {
        match source.identity {
            None => ensure!(!proven, "the source of a {what} does not say who the peer is"),
            Some(_) => ensure!(
                proven,
                "the source of a {what} says who the peer is, and not both datagrams and streams are authenticated"
            ),
        }
    }
    ensure!(
        by_datagram.identity == by_stream.identity,
        "one peer is {:?} by datagram and {:?} by stream",
        by_datagram.identity,
        by_stream.identity
    );
    Ok(())
}

pub(super) async fn half_open<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    let mut deaf = lab.endpoint()?;
    // Some that nobody accepts, some that were accepted and then say nothing.
    let mut open_ended: Vec<_> = (0..SILENT).map(|_| a.transport.open(deaf.addr, None)).collect();
    for stream in &mut open_ended {
        let begin = async {
            open(stream).await?;
            write_all(stream, &[1]).await
        };
        // Whether that succeeds as long as nobody accepts is the transport's affair.
        if let Some(begun) = lab.until(Duration::from_millis(5), begin).await {
            begun?;
        }
    }
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        let mut stream = a.transport.open(b.addr, None);
        let begin = async {
            open(&mut stream).await?;
            write_all(&mut stream, &[1]).await
        };
        let begun = both(begin, async { Ok(accept(&mut b.transport).await) });
        let (accepted, _) = lab.within("silent streams keep another from coming about", begun).await??;
        silent.push((stream, accepted));
    }
    lab.all_is_well(&mut a, &mut b).await?;
    // Who was deaf begins to listen.
    drop(open_ended);
    lab.all_is_well_in_the_end(&mut a, &mut deaf).await?;
    drop(silent);
    lab.all_is_well(&mut a, &mut b).await
}

pub(super) async fn stalled<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    let mut stalled = Vec::new();
    for key in 0..3 {
        let mut stream = a.transport.open(b.addr, None);
        let begin = async {
            open(&mut stream).await?;
            write_all(&mut stream, &[1]).await
        };
        let begun = both(begin, async { Ok(accept(&mut b.transport).await) });
        let (accepted, _) =
            lab.within("a stream that stands still keeps another from coming about", begun).await??;
        fill(lab, &mut stream, &mut Bytes::new(key)).await?;
        stalled.push((stream, accepted));
    }
    lab.all_is_well(&mut a, &mut b).await
}

pub(super) async fn nobody_listens<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let vacant = lab.vacant()?;
    let (mut a, mut b) = lab.pair()?;
    let mut stream = a.transport.open(vacant, None);
    // A transport that waits for an answer may wait longer than this; a driver gives up by itself.
    let opened = lab.until(
        Duration::from_secs(1),
        core::future::poll_fn(|cx| crate::transport::Stream::poll_open(&mut stream, cx)),
    );
    match opened.await {
        Some(Ok(())) => return Err("a stream opens to an address where nobody is".into()),
        Some(Err(StreamFailure::Local)) => {
            return Err("that nobody is there is said to be a local failure".into());
        }
        Some(Err(_)) | None => {}
    }
    drop(stream);
    lab.all_is_well(&mut a, &mut b).await
}

pub(super) async fn dropped_while_opening<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    for _ in 0..SILENT {
        let mut stream = a.transport.open(b.addr, None);
        // Begun, but not waited for.
        core::future::poll_fn(|cx| {
            let _ = crate::transport::Stream::poll_open(&mut stream, cx);
            core::task::Poll::Ready(())
        })
        .await;
    }
    let mut buf = [0; 16];
    // Those of them that the peer sees at all it sees end.
    while let Some((mut stream, _)) = lab.until(AWHILE, accept(&mut b.transport)).await {
        let end = try_read(&mut stream, &mut buf);
        match lab.within("a stream that was dropped while it opened leaves the peer waiting", end).await? {
            Ok(0) | Err(_) => close(&mut stream).await,
            Ok(_) => return Err("a stream that was dropped before anything was written brings bytes".into()),
        }
    }
    // And they have taken nothing away from those that follow.
    let mut stream = a.transport.open(b.addr, None);
    let write = async {
        open(&mut stream).await?;
        write_all(&mut stream, &Bytes::new(1).take(100)).await
    };
    let read = async {
        let (mut stream, _) = accept(&mut b.transport).await;
        let mut received = [0; 100];
        read_exact(&mut stream, &mut received).await?;
        Bytes::new(1).verify(&received)
    };
    lab.within("a stream does not come about after others were dropped", both(write, read)).await??;
    lab.all_is_well(&mut a, &mut b).await
}

const SILENT: usize = 30;
const AWHILE: Duration = Duration::from_millis(100);
