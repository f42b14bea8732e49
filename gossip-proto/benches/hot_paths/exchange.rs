//! One push/pull of a whole state, by stream.

use core::net::SocketAddr;
use core::time::Duration;

use cpu_time::ThreadTime;
use gossip_proto::{Instant, Machine, Membership, Source, StreamAction};

/// What a driver reads from a socket at a time.
pub(crate) const PIECE: usize = 64 * 1024;

/// What a peer sends, and how it went.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Both sides know all members already.
    request: Vec<u8>,
    from: SocketAddr,
    longest: Duration,
}

impl Exchange {
    /// Keeps what `peer` says when it joins.
    pub(crate) fn record(mut peer: Membership, to: SocketAddr) -> Self {
        let now = Instant::ORIGIN;
        let from = peer.local().addr;
        peer.join(now, &[to.into()]).expect("a join");
        let Some(StreamAction::Open { id, .. }) = peer.poll_stream() else { panic!("it connects") };
        peer.handle_stream_opened(now, id);
        let (mut request, mut piece) = (Vec::new(), vec![0; PIECE]);
        loop {
            let written = peer.poll_stream_data(now, id, &mut piece);
            request.extend_from_slice(&piece[..written.len]);
            if written.len == 0 {
                if peer.poll_timeout().is_none_or(|due| due > now) {
                    break;
                }
                peer.handle_timeout(now);
            }
        }
        Self { request, from, longest: Duration::ZERO }
    }

    pub(crate) fn longest_call(&self) -> Duration {
        self.longest
    }

    pub(crate) fn bytes(&self) -> usize {
        self.request.len()
    }

    /// The peer connects and sends its state, which is merged; the own one is sent.
    #[inline(never)]
    pub(crate) fn measured(&mut self, machine: &mut Membership, now: Instant, output: &mut [u8]) {
        let id = machine.accept_stream(now, Source::unauthenticated(self.from)).expect("a place is free");
        let mut longest = Duration::ZERO;
        let mut time = |began: ThreadTime| longest = longest.max(began.elapsed());
        for piece in self.request.chunks(PIECE) {
            let mut rest = piece;
            while !rest.is_empty() {
                let began = ThreadTime::now();
                let taken = machine.handle_stream_data(now, id, rest, false).expect("a good state");
                time(began);
                rest = &rest[taken..];
                if taken == 0 {
                    machine.handle_timeout(now);
                }
            }
        }
        let mut sent = 0;
        loop {
            let began = ThreadTime::now();
            let written = machine.poll_stream_data(now, id, output);
            time(began);
            sent += written.len;
            if written.len == 0 {
                if machine.poll_timeout().is_none_or(|due| due > now) {
                    break;
                }
                let began = ThreadTime::now();
                machine.handle_timeout(now);
                time(began);
            }
        }
        while machine.poll_stream().is_some() {}
        while machine.poll_membership().is_some() {}
        // The peer has all it wants.
        let _ = machine.handle_stream_data(now, id, &[], true);
        while machine.poll_stream().is_some() {}
        assert!(
            sent * 10 > self.request.len() * 9,
            "both sides know the same: {sent} of {}",
            self.request.len()
        );
        self.longest = if self.longest.is_zero() { longest } else { self.longest.min(longest) };
    }
}
