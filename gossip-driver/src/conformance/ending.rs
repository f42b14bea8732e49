//! What is left of an endpoint that is gone: nothing.

use core::future::poll_fn;
use core::time::Duration;

use super::endpoint::{Bytes, accept, open, try_read, write_all};
use super::lab::{Lab, both};
use super::streams::fill;
use super::{Factory, Outcome};
use crate::transport::Transport;

pub(super) async fn in_good_order<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    leaves_nothing(lab, true).await
}

pub(super) async fn abruptly<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    leaves_nothing(lab, false).await
}

async fn leaves_nothing<F: Factory>(lab: &Lab<'_, F>, good_order: bool) -> Outcome {
    // Whatever a runtime makes once, for the first endpoint, is made.
    {
        let (mut a, mut b) = lab.pair()?;
        lab.all_is_well(&mut a, &mut b).await?;
    }
    settle(lab, lab.factory.tasks(), lab.factory.files()).await;
    let (tasks, files) = (lab.factory.tasks(), lab.factory.files());
    let mut addresses = Vec::new();
    for round in 0..3 {
        let (mut a, mut b) = lab.pair()?;
        let vacant = lab.vacant()?;
        lab.all_is_well(&mut a, &mut b).await?;
        // One that waits for its peer to read, some that nobody accepts, some that lead nowhere.
        let mut stream = a.transport.open(b.addr, None);
        let begin = async {
            open(&mut stream).await?;
            write_all(&mut stream, &Bytes::new(round).take(1000)).await
        };
        let begun = both(begin, async { Ok(accept(&mut b.transport).await) });
        let (mut accepted, _) = lab.within("a stream does not come about", begun).await??;
        fill(lab, &mut stream, &mut Bytes::new(round)).await?;
        let mut others: Vec<_> = (0..10).map(|_| a.transport.open(b.addr, None)).collect();
        others.extend((0..3).map(|_| a.transport.open(vacant, None)));
        for stream in &mut others {
            let _ = lab.until(Duration::from_millis(2), open(stream)).await;
        }
        let datagram = a.datagram(100);
        a.send(b.addr, &datagram).await?;
        addresses.extend([a.addr, b.addr]);

        if good_order {
            drop((stream, others));
            let close = poll_fn(|cx| a.transport.poll_close(cx));
            lab.within("poll_close does not end", close).await?;
            drop(a);
        } else {
            drop(a);
            drop((stream, others));
        }
        // The peer of what was dropped sees it end, on what it holds as well.
        let mut buf = vec![0; 64 << 10];
        let end = async { while let Ok(1..) = try_read(&mut accepted, &mut buf).await {} };
        lab.within("the streams of an endpoint that is gone stay open", end).await?;
        drop(accepted);
        if good_order {
            lab.within("poll_close does not end", poll_fn(|cx| b.transport.poll_close(cx))).await?;
        }
    }
    for addr in addresses {
        drop(lab.endpoint_at(addr).await?);
    }
    if !settle(lab, tasks, files).await {
        let what = format!(
            "tasks before and after: {}, {}; open files before and after: {}, {}",
            shown(tasks),
            shown(lab.factory.tasks()),
            shown(files),
            shown(lab.factory.files())
        );
        return Err(format!("something is left of endpoints that are gone. {what}"));
    }
    Ok(())
}

fn shown(count: Option<usize>) -> String {
    count.map_or_else(|| "not known".into(), |count| count.to_string())
}

/// Waits until no more than that is there; whether it came to that.
async fn settle<F: Factory>(lab: &Lab<'_, F>, tasks: Option<usize>, files: Option<usize>) -> bool {
    let settled = async {
        let more =
            |now: Option<usize>, before: Option<usize>| matches!((now, before), (Some(a), Some(b)) if a > b);
        while more(lab.factory.tasks(), tasks) || more(lab.factory.files(), files) {
            lab.pause(Duration::from_millis(10)).await;
        }
    };
    lab.within("", settled).await.is_ok()
}
