//! What the transport, its streams and its tasks share.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use gossip_driver::gossip_proto::{IdentityId, StreamFailure};
use gossip_tls::{Credentials, Fingerprint};
use quinn::{Connection, ConnectionError, Endpoint, VarInt};

use crate::limits::Limits;
use crate::refusal::{SHUTDOWN, refusal, stream_failure};
use crate::state::{Found, SWEEP, State};
use crate::stream::Open;
use crate::{dial, link};

/// The endpoint and the state of all connections.
pub(crate) struct Shared {
    pub(crate) endpoint: Endpoint,
    pub(crate) runtime: Arc<dyn quinn::Runtime>,
    pub(crate) credentials: Credentials,
    pub(crate) limits: Limits,
    /// Numbers identities; nobody outside can aim for the number of another key.
    identity_key: ring::hmac::Key,
    pub(crate) closed: AtomicBool,
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn new(
        endpoint: Endpoint,
        runtime: Arc<dyn quinn::Runtime>,
        credentials: Credentials,
        limits: Limits,
        identity_secret: &[u8; 32],
    ) -> Arc<Self> {
        let state = Mutex::new(State::new(limits.clone()));
        let identity_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, identity_secret);
        let closed = AtomicBool::new(false);
        Arc::new(Self { endpoint, runtime, credentials, limits, identity_key, closed, state })
    }

    /// Works on the state, and wakes whom that concerns once the lock is released.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let (result, wakes) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.now = self.runtime.now();
            let result = act(&mut state);
            (result, core::mem::take(&mut state.wakes))
        };
        for waker in wakes {
            waker.wake();
        }
        result
    }

    pub(crate) fn identity(&self, fingerprint: &Fingerprint) -> IdentityId {
        let tag = ring::hmac::sign(&self.identity_key, fingerprint.as_bytes());
        let mut number = [0; 8];
        number.copy_from_slice(&tag.as_ref()[..8]);
        IdentityId(u64::from_le_bytes(number))
    }

    /// Runs a task until the endpoint is closed, or its work is done.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(Box::pin(task));
    }

    /// The open connection to an address; one is opened if there is none.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        to: SocketAddr,
    ) -> Result<(Connection, Held), StreamFailure> {
        let mut asked = false;
        core::future::poll_fn(|cx| self.poll_connected(to, &mut asked, cx)).await
    }

    fn poll_connected(
        self: &Arc<Self>,
        to: SocketAddr,
        asked: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Connection, Held), StreamFailure>> {
        if self.closed.load(Ordering::Acquire) {
            return Poll::Ready(Err(StreamFailure::Local));
        }
        let dial = match self.with(|state| state.find(to, !*asked, Some(cx.waker()))) {
            Found::Open(found) => return Poll::Ready(Ok(found)),
            Found::Opening => None,
            Found::Begun(attempt) => Some(attempt),
            Found::Full => return Poll::Ready(Err(StreamFailure::Local)),
            Found::Failed => return Poll::Ready(Err(StreamFailure::Unreachable)),
        };
        *asked = true;
        if let Some(attempt) = dial {
            dial::begin(self, to, attempt);
        }
        Poll::Pending
    }

    /// A stream to an address.
    pub(crate) async fn open(self: Arc<Self>, to: SocketAddr) -> Result<Open, StreamFailure> {
        let (connection, held) = self.connect(to).await?;
        match connection.open_bi().await {
            Ok(halves) => Ok(Open::new(halves, held, Arc::downgrade(&self))),
            Err(error) => Err(self.stream_lost(held.link, &error)),
        }
    }

    /// Why a stream failed whose connection is over. If the peer refused, that is noted before the stream is told, or a join
    /// would end before there is a reason to give: the task that reads from the connection may get to it later.
    pub(crate) fn stream_lost(&self, link: u64, error: &ConnectionError) -> StreamFailure {
        if refusal(error).is_some() {
            self.with(|state| state.lost(link, Some(error)));
        }
        stream_failure(error)
    }

    /// No connection any more; tasks end by themselves.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.endpoint.close(VarInt::from_u32(SHUTDOWN), b"");
        self.with(|state| state.close());
    }
}

/// Looks after connections once a second: gives up the silent, closes the superfluous, asks again whether certificates are
/// good: of all when those of this node were read anew, otherwise of a part, so that each has its turn in so many `rounds`.
pub(crate) async fn sweep(shared: Weak<Shared>, runtime: Arc<dyn quinn::Runtime>, rounds: u64) {
    let mut round = 0;
    let mut generation = shared.upgrade().map(|shared| shared.credentials.generation());
    let mut timer = runtime.new_timer(runtime.now() + SWEEP);
    loop {
        let over = core::future::poll_fn(|cx| {
            let Some(shared) = shared.upgrade() else { return Poll::Ready(true) };
            shared.with(|state| state.sweeper = Some(cx.waker().clone()));
            if shared.closed.load(Ordering::Acquire) {
                return Poll::Ready(true);
            }
            timer.as_mut().poll(cx).map(|()| false)
        })
        .await;
        let Some(shared) = shared.upgrade().filter(|_| !over) else { return };
        shared.with(State::sweep);
        let now = shared.credentials.generation();
        let is_changed = generation.replace(now) != Some(now);
        link::check_all(&shared, |id| is_changed || id % rounds == round);
        round = (round + 1) % rounds;
        timer.as_mut().reset(runtime.now() + SWEEP);
    }
}

/// A place in a connection's count of streams.
#[derive(Debug)]
pub(crate) struct Held {
    /// The number of the connection.
    pub(crate) link: u64,
    count: Arc<AtomicUsize>,
}

impl Held {
    pub(crate) fn new(link: u64, count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self { link, count: count.clone() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Remembers a waker, once.
pub(crate) fn remember(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|known| known.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}

/// Certificates run out. To verify those of a thousand peers at once would take long, and in a minute it is soon enough.
pub(crate) const ROUNDS: u64 = 60;
