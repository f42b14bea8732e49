//! Peers whose address changes, and addresses whose peer does.

use super::endpoint::{Bytes, accept, close, open, read_to_end, write_all};
use super::lab::{Lab, both};
use super::{Factory, Outcome, ensure};
use crate::transport::Transport;

pub(super) async fn elsewhere<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    lab.all_is_well(&mut a, &mut b).await?;
    let before = b.addr;
    // The new one first, so that it cannot get the old address.
    let mut moved = lab.endpoint()?;
    ensure!(moved.addr != before, "two endpoints have the address {before}");
    drop(b);
    lab.all_is_well(&mut moved, &mut a).await?;
    lab.all_is_well(&mut a, &mut moved).await
}

pub(super) async fn in_place<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    for _ in 0..2 {
        lab.all_is_well(&mut a, &mut b).await?;
        let at = b.addr;
        // As a process that is killed: no good-bye, and what others know of the old one is not true of the new one.
        drop(b);
        b = lab.endpoint_at(at).await?;
        lab.all_is_well_in_the_end(&mut a, &mut b).await?;
    }
    Ok(())
}

pub(super) async fn in_use<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    lab.all_is_well(&mut a, &mut b).await?;
    let mut stream = a.transport.open(b.addr, None);
    let mut out = Bytes::new(1);
    let half = out.take(30_000);
    let begin = async {
        open(&mut stream).await?;
        write_all(&mut stream, &half).await
    };
    let begun = both(begin, async { Ok(accept(&mut b.transport).await) });
    let (mut accepted, _) = lab.within("a stream does not come about", begun).await??;
    match lab.factory.relocate(&mut a.transport) {
        None => return Ok(()),
        Some(Err(error)) => return Err(format!("the endpoint could not be moved: {error}")),
        Some(Ok(())) => {}
    }
    let before = a.moved();
    ensure!(a.addr != before, "an endpoint that was moved says that it is still at {before}");
    let rest = out.take(30_000);
    let write = async {
        write_all(&mut stream, &rest).await?;
        close(&mut stream).await;
        Ok(())
    };
    let read = async {
        let read = read_to_end(&mut accepted, &mut Bytes::new(1)).await?;
        ensure!(read == 60_000, "{read} of 60000 bytes arrived on a stream whose peer was moved");
        close(&mut accepted).await;
        Ok(())
    };
    lab.within("a stream does not survive a change of address", both(write, read)).await??;
    lab.all_is_well_in_the_end(&mut a, &mut b).await
}
