//! Where a check runs: endpoints, time, and what two peers do to see that all is well.

use core::cell::Cell;
use core::future::{Future, poll_fn};
use core::net::SocketAddr;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use super::endpoint::{Bytes, Endpoint, accept, close, open, read_exact, write_all};
use super::{Capabilities, Factory, Outcome, ensure};
use crate::runtime::Runtime;
use crate::transport::{Stream, Transport};

pub(super) struct Lab<'f, F: Factory> {
    pub(super) factory: &'f F,
    pub(super) runtime: F::Runtime,
    pub(super) can: Capabilities,
}

impl<'f, F: Factory> Lab<'f, F> {
    pub(super) fn new(factory: &'f F) -> Self {
        Self { factory, runtime: factory.runtime(), can: factory.capabilities() }
    }

    pub(super) fn endpoint(&self) -> Outcome<Endpoint<F::Transport>> {
        match self.factory.endpoint(None) {
            Ok(transport) => Ok(Endpoint::new(transport)),
            Err(error) => Err(format!("no endpoint could be made: {error}")),
        }
    }

    pub(super) fn pair(&self) -> Outcome<Pair<F>> {
        Ok((self.endpoint()?, self.endpoint()?))
    }

    /// An endpoint where another one was; the system may need a moment to give its address back.
    pub(super) async fn endpoint_at(&self, at: SocketAddr) -> Outcome<Endpoint<F::Transport>> {
        let bind = async {
            loop {
                match self.factory.endpoint(Some(at)) {
                    Ok(transport) => return Endpoint::new(transport),
                    Err(_) => self.pause(Duration::from_millis(10)).await,
                }
            }
        };
        let endpoint = self.within("an address does not become free again", bind).await?;
        ensure!(endpoint.addr == at, "an endpoint at {at} was asked for, and one at {} made", endpoint.addr);
        Ok(endpoint)
    }

    /// An address where nobody is.
    pub(super) fn vacant(&self) -> Outcome<SocketAddr> {
        Ok(self.endpoint()?.addr)
    }

    pub(super) async fn pause(&self, span: Duration) {
        self.runtime.sleep_until(self.runtime.now() + span).await;
    }

    /// What the future gives, unless that takes so long that it hangs.
    pub(super) async fn within<A>(&self, else_what: &str, future: impl Future<Output = A>) -> Outcome<A> {
        let found = self.until(self.factory.patience(), future).await;
        found.ok_or_else(|| format!("{else_what} (waited {:?})", self.factory.patience()))
    }

    /// As [`Lab::within`], but anew with each step that is counted: much work on a slow machine takes long without hanging.
    pub(super) async fn within_each<A>(
        &self,
        else_what: &str,
        steps: &Cell<usize>,
        future: impl Future<Output = A>,
    ) -> Outcome<A> {
        let mut future = pin!(future);
        loop {
            let before = steps.get();
            if let Some(found) = self.until(self.factory.patience(), future.as_mut()).await {
                return Ok(found);
            }
            let (now, patience) = (steps.get(), self.factory.patience());
            ensure!(now > before, "{else_what} (after {now} steps, none in {patience:?})");
        }
    }

    /// What the future gives if it does so in that time.
    pub(super) async fn until<A>(&self, span: Duration, future: impl Future<Output = A>) -> Option<A> {
        let mut future = pin!(future);
        let mut sleep = self.runtime.sleep_until(self.runtime.now() + span);
        poll_fn(move |cx| {
            if let Poll::Ready(found) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(found));
            }
            pin!(&mut sleep).poll(cx).map(|()| None)
        })
        .await
    }

    /// Sends datagrams of that length until one has arrived. A datagram may be lost, but it may not be changed.
    pub(super) async fn deliver(
        &self,
        from: &mut Endpoint<F::Transport>,
        to: &mut Endpoint<F::Transport>,
        len: usize,
    ) -> Outcome {
        let deliver = async {
            let mut sent = Vec::new();
            loop {
                let datagram = from.datagram(len);
                from.send(to.addr, &datagram).await?;
                sent.push(datagram);
                let Some((source, received)) = self.until(RESEND, to.receive()).await else { continue };
                if sent.contains(&received) {
                    ensure!(
                        from.is(source.addr),
                        "a datagram from {} is said to be from {}",
                        from.addr,
                        source.addr
                    );
                    return Ok(());
                }
                // What others sent before may still be in the queue; it is whole as well.
                Bytes::verify_datagram(&received)?;
            }
        };
        self.within(&format!("no datagram of {len} bytes arrives"), deliver).await?
    }

    /// A request of `from` that `to` answers, on a stream of their own. Other streams that `to` accepts are passed over.
    pub(super) async fn exchange(
        &self,
        from: &mut Endpoint<F::Transport>,
        to: &mut Endpoint<F::Transport>,
    ) -> Outcome {
        self.within("a request is not answered", self.try_exchange(from, to)).await?
    }

    async fn try_exchange(
        &self,
        from: &mut Endpoint<F::Transport>,
        to: &mut Endpoint<F::Transport>,
    ) -> Outcome {
        let mark = from.mark();
        let request = Bytes::new(mark).take(REQUEST);
        let reply = Bytes::new(mark + 1).take(REQUEST);
        let mut stream = from.transport.open(to.addr, None);
        let ask = async {
            open(&mut stream).await?;
            write_all(&mut stream, &request).await?;
            stream.finish();
            let mut received = vec![0; REQUEST];
            read_exact(&mut stream, &mut received).await?;
            ensure!(received == reply, "a reply arrived changed");
            close(&mut stream).await;
            Ok(())
        };
        let answer = async {
            let mut others = Vec::new();
            loop {
                let (mut accepted, source) = accept(&mut to.transport).await;
                let mut received = vec![0; REQUEST];
                // Somebody else's stream may stay silent for ever.
                let read = self.until(OTHERS, read_exact(&mut accepted, &mut received)).await;
                if !matches!(read, Some(Ok(()))) || received != request {
                    others.push(accepted);
                    continue;
                }
                write_all(&mut accepted, &reply).await?;
                close(&mut accepted).await;
                return Ok(source);
            }
        };
        let source = both(ask, answer).await?;
        ensure!(
            source.addr.ip() == from.addr.ip(),
            "a stream from {} is said to be from {}",
            from.addr,
            source.addr
        );
        Ok(())
    }

    /// Datagrams and streams, both ways.
    pub(super) async fn all_is_well(
        &self,
        a: &mut Endpoint<F::Transport>,
        b: &mut Endpoint<F::Transport>,
    ) -> Outcome {
        self.deliver(a, b, 64).await?;
        self.deliver(b, a, 64).await?;
        self.exchange(a, b).await?;
        self.exchange(b, a).await
    }

    /// As [`Lab::all_is_well`], for peers that have first to find out that what they knew of each other holds no more: until
    /// then streams may fail.
    pub(super) async fn all_is_well_in_the_end(
        &self,
        a: &mut Endpoint<F::Transport>,
        b: &mut Endpoint<F::Transport>,
    ) -> Outcome {
        self.deliver(a, b, 64).await?;
        self.deliver(b, a, 64).await?;
        for _ in 0..2 {
            let retry = async {
                while !matches!(self.until(RETRY, self.try_exchange(a, b)).await, Some(Ok(()))) {
                    self.pause(RESEND).await;
                }
            };
            self.within("no request is answered, however often it is asked", retry).await?;
            core::mem::swap(a, b);
        }
        Ok(())
    }
}

/// Two endpoints.
type Pair<F> = (Endpoint<<F as Factory>::Transport>, Endpoint<<F as Factory>::Transport>);

/// Runs both; gives what the second one found. The first failure ends them.
pub(super) async fn both<A>(
    first: impl Future<Output = Outcome>,
    second: impl Future<Output = Outcome<A>>,
) -> Outcome<A> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut first_done, mut second_done) = (false, None);
    poll_fn(move |cx| {
        if !first_done && let Poll::Ready(outcome) = first.as_mut().poll(cx) {
            if let Err(what) = outcome {
                return Poll::Ready(Err(what));
            }
            first_done = true;
        }
        if second_done.is_none()
            && let Poll::Ready(outcome) = second.as_mut().poll(cx)
        {
            match outcome {
                Ok(found) => second_done = Some(found),
                Err(what) => return Poll::Ready(Err(what)),
            }
        }
        match second_done.take() {
            Some(found) if first_done => Poll::Ready(Ok(found)),
            found => {
                second_done = found;
                Poll::Pending
            }
        }
    })
    .await
}

/// Runs both until the second one has found something. A failure ends them as well.
pub(super) async fn beside<A>(
    first: impl Future<Output = Outcome>,
    second: impl Future<Output = Outcome<A>>,
) -> Outcome<A> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let mut first_done = false;
    poll_fn(move |cx| {
        if !first_done && let Poll::Ready(outcome) = first.as_mut().poll(cx) {
            if let Err(what) = outcome {
                return Poll::Ready(Err(what));
            }
            first_done = true;
        }
        second.as_mut().poll(cx)
    })
    .await
}

/// Bytes of a request, and of its reply.
pub(super) const REQUEST: usize = 64;
/// When a datagram that has not arrived is sent again.
const RESEND: Duration = Duration::from_millis(100);
/// How long the first bytes of a stream are waited for that may be a stranger's.
const OTHERS: Duration = Duration::from_millis(500);
/// When a request that is not answered is asked again.
const RETRY: Duration = Duration::from_secs(2);
