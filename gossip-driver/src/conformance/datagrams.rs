//! Datagrams: whole, apart, bounded.

use core::time::Duration;
use std::collections::BTreeSet;

use gossip_proto::TransmitFailure;

use super::endpoint::Bytes;
use super::lab::Lab;
use super::{Factory, Outcome, ensure};

pub(super) async fn arrive_whole<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    let largest = lab.can.max_datagram;
    for len in [1, 2, 7, 8, 9, 100, 512, 1024, 1400, largest - 1, largest] {
        if len <= largest {
            lab.deliver(&mut a, &mut b, len).await?;
            lab.deliver(&mut b, &mut a, len).await?;
        }
    }
    ensure!(a.failed.is_empty() || b.failed.is_empty(), "datagrams within the limit are said to have failed");
    Ok(())
}

pub(super) async fn batches_stay_apart<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let mut sender = lab.endpoint()?;
    let mut receivers = [lab.endpoint()?, lab.endpoint()?];
    for receiver in &mut receivers {
        lab.deliver(&mut sender, receiver, 32).await?;
    }
    // Runs to one destination, of one length and with a shorter one at their end, and others.
    let lengths = [300, 300, 300, 120, 300, 8, 9, 10, 500, 500, 500, 500, 499, 1, 64, 64];
    let mut missing: Vec<(usize, Vec<u8>)> = Vec::new();
    for (run, to) in [0, 1, 0, 0, 1, 1, 0, 1].into_iter().enumerate() {
        for len in lengths.iter().cycle().skip(run * 3).take(16) {
            // The short ones could not be told from each other.
            missing.push((to, sender.datagram((*len).clamp(8, lab.can.max_datagram))));
        }
    }
    let all: Vec<_> = missing.clone();
    let mut seen = BTreeSet::new();
    let exchange = async {
        // Each time those that were lost, as datagrams may be.
        while !missing.is_empty() {
            let batch: Vec<_> =
                missing.iter().map(|(to, bytes)| (receivers[*to].addr, bytes.as_slice())).collect();
            sender.send_all(&batch).await?;
            let mut arrived = BTreeSet::new();
            for (number, receiver) in receivers.iter_mut().enumerate() {
                while let Some((source, bytes)) = lab.until(QUIET, receiver.receive()).await {
                    Bytes::verify_datagram(&bytes)?;
                    let Some(index) = all.iter().position(|(to, sent)| *to == number && *sent == bytes)
                    else {
                        let strayed = all.iter().any(|(_, sent)| *sent == bytes);
                        ensure!(!strayed, "a datagram arrived at somebody it was not sent to");
                        continue;
                    };
                    ensure!(
                        source.addr == sender.addr,
                        "a datagram of a batch is said to be from {}",
                        source.addr
                    );
                    ensure!(arrived.insert(index), "a datagram that was sent once arrived twice");
                }
            }
            seen.extend(arrived);
            missing = all
                .iter()
                .enumerate()
                .filter(|(index, _)| !seen.contains(index))
                .map(|(_, d)| d.clone())
                .collect();
        }
        Ok(())
    };
    lab.within("datagrams of a batch do not arrive", exchange).await?
}

pub(super) async fn oversize_is_reported<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let Some(size) = lab.can.oversize else { return Ok(()) };
    let (mut a, mut b) = lab.pair()?;
    lab.all_is_well(&mut a, &mut b).await?;
    let small = [a.datagram(40), a.datagram(50)];
    let large = a.datagram(size);
    let batch = [(b.addr, &small[0]), (b.addr, &large), (b.addr, &small[1])];
    let ids = lab.within("a datagram that is too large is never taken", a.send_all(&batch)).await??;
    let why = lab.within("a datagram that is too large is not reported", a.failure_of(ids[1])).await??;
    let TransmitFailure::TooBig(limit) = why else {
        return Err(format!("a datagram that is too large fails as {why:?}, not as TooBig"));
    };
    ensure!(
        (lab.can.max_datagram..size).contains(&limit),
        "the limit is said to be {limit}: {} bytes arrive, {size} do not",
        lab.can.max_datagram
    );
    for id in [ids[0], ids[2]] {
        ensure!(
            a.failed.iter().all(|(failed, _)| *failed != id),
            "a datagram fails because the one beside it is too large"
        );
    }
    while let Some((_, bytes)) = lab.until(QUIET, b.receive()).await {
        ensure!(
            bytes.len() <= limit,
            "a datagram of {} bytes arrived, over the limit of {limit}",
            bytes.len()
        );
        Bytes::verify_datagram(&bytes)?;
    }
    lab.deliver(&mut a, &mut b, lab.can.max_datagram).await
}

pub(super) async fn flood_is_bounded<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    lab.all_is_well(&mut a, &mut b).await?;
    let len = lab.can.max_datagram.min(1000);
    let most = lab.can.datagram_buffer;
    // Half as much again as may wait, in pieces, so that the check itself needs little memory.
    for _ in 0..(most + most / 2).div_ceil(len * 256) {
        let piece: Vec<_> = (0..256).map(|_| (b.addr, a.datagram(len))).collect();
        let taken = lab.within("a peer that does not receive stops the sender for good", a.send_all(&piece));
        taken.await??;
    }
    // What is under way does not wait yet.
    lab.pause(QUIET).await;
    let mut received = 0;
    let mut seen = BTreeSet::new();
    while let Some((_, bytes)) = lab.until(QUIET, b.receive()).await {
        Bytes::verify_datagram(&bytes)?;
        received += bytes.len();
        ensure!(seen.insert(bytes), "a datagram that was sent once arrived twice");
    }
    ensure!(received <= most, "{received} bytes of datagrams waited at an endpoint, more than {most}");
    lab.all_is_well(&mut a, &mut b).await
}

pub(super) async fn to_nobody<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let vacant = lab.vacant()?;
    let (mut a, mut b) = lab.pair()?;
    let mut lost = Vec::new();
    for _ in 0..20 {
        let datagram = a.datagram(100);
        let sent = lab.within("a datagram to nobody stops the sender", a.send(vacant, &datagram)).await??;
        lost.push(sent);
        lab.deliver(&mut a, &mut b, 100).await?;
        lab.deliver(&mut b, &mut a, 100).await?;
    }
    for (id, why) in &a.failed {
        ensure!(lost.contains(id), "a datagram to a peer that is there is said to have failed: {why:?}");
        ensure!(!matches!(why, TransmitFailure::TooBig(_)), "a datagram to nobody fails as {why:?}");
    }
    lab.all_is_well(&mut a, &mut b).await
}

/// Nothing arrives for this long: nothing is under way any more.
const QUIET: Duration = Duration::from_millis(100);
