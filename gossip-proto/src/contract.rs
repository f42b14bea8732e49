//! The contract, carried out: the same for every machine, whatever layer sits on membership.

/// Implements [`crate::Machine`] for a type with the fields `swim` and `upper`.
macro_rules! machine {
    ($type:ty) => {
        const _: () = {
            use core::net::SocketAddr;

            use bytes::Bytes;

            use $crate::config::Answer;
            use $crate::error::{CommandError, PacketError, Refused, StreamError};
            use $crate::machine::{JoinTarget, Machine, ReplayError, sealed};
            use $crate::output::*;
            use $crate::roster::LOCAL;
            use $crate::{Config, Instant, Member, Members, Stats};

            impl sealed::Sealed for $type {}

            impl Machine for $type {
                fn handle_datagram(
                    &mut self,
                    now: Instant,
                    source: Source,
                    datagram: &mut [u8],
                ) -> Result<(), PacketError> {
                    self.swim.advance(now);
                    let body = self.swim.open(datagram)?;
                    self.swim.opened(&mut self.upper, source, body);
                    self.swim.settle(&mut self.upper);
                    Ok(())
                }

                fn handle_timeout(&mut self, now: Instant) {
                    self.swim.timeout(&mut self.upper, now);
                    self.swim.settle(&mut self.upper);
                }

                fn handle_transmit_failed(&mut self, now: Instant, id: TransmitId, why: TransmitFailure) {
                    self.swim.advance(now);
                    self.swim.transmit_failed(id, why);
                }

                fn handle_transmit_delayed(&mut self, now: Instant, id: TransmitId) {
                    self.swim.advance(now);
                    self.swim.probe_transmit_delayed(id);
                }

                fn handle_path(&mut self, now: Instant, to: SocketAddr, max_datagram: usize) {
                    self.swim.advance(now);
                    self.swim.path(to, max_datagram);
                }

                fn accept_stream(&mut self, now: Instant, source: Source) -> Result<StreamId, Refused> {
                    self.swim.advance(now);
                    self.swim.accept_stream(source)
                }

                fn handle_stream_opened(&mut self, now: Instant, id: StreamId) {
                    self.swim.advance(now);
                    self.swim.stream_opened(id.0);
                    self.swim.work_now(&mut self.upper);
                }

                fn handle_stream_failed(&mut self, now: Instant, id: StreamId, why: StreamFailure) {
                    self.swim.advance(now);
                    self.swim.stream_failed(id.0, why);
                    self.swim.settle(&mut self.upper);
                }

                fn handle_stream_data(
                    &mut self,
                    now: Instant,
                    id: StreamId,
                    data: &[u8],
                    fin: bool,
                ) -> Result<usize, StreamError> {
                    self.swim.advance(now);
                    let taken = self.swim.stream_data(&mut self.upper, id.0, data, fin);
                    self.swim.work_now(&mut self.upper);
                    taken
                }

                fn join(&mut self, now: Instant, targets: &[JoinTarget]) -> Result<OperationId, CommandError> {
                    self.swim.advance(now);
                    let operation = self.swim.join(targets)?;
                    self.swim.settle(&mut self.upper);
                    Ok(operation)
                }

                fn leave(&mut self, now: Instant) -> Result<OperationId, CommandError> {
                    self.swim.advance(now);
                    self.leave_cluster()
                }

                fn send(&mut self, now: Instant, to: MemberKey, payload: Bytes) -> Result<(), CommandError> {
                    self.swim.advance(now);
                    self.swim.send(to, payload)
                }

                fn send_reliable(
                    &mut self,
                    now: Instant,
                    to: MemberKey,
                    payload: Bytes,
                ) -> Result<OperationId, CommandError> {
                    self.swim.advance(now);
                    self.swim.send_reliable(to, payload)
                }

                fn ping(&mut self, now: Instant, to: MemberKey) -> Result<OperationId, CommandError> {
                    self.swim.advance(now);
                    self.swim.ping(to)
                }

                fn accept(&mut self, now: Instant, id: RequestId) -> Result<(), CommandError> {
                    self.swim.advance(now);
                    self.swim.answer_merge(id, Answer::Accept)
                }

                fn refuse(&mut self, now: Instant, id: RequestId) -> Result<(), CommandError> {
                    self.swim.advance(now);
                    self.swim.answer_merge(id, Answer::Refuse)?;
                    self.swim.settle(&mut self.upper);
                    Ok(())
                }

                fn install_key(&mut self, now: Instant, key: &[u8]) -> Result<(), CommandError> {
                    self.swim.advance(now);
                    self.swim.install_key(key)
                }

                fn use_key(&mut self, now: Instant, key: &[u8]) -> Result<(), CommandError> {
                    self.swim.advance(now);
                    self.swim.use_key(key)
                }

                fn remove_key(&mut self, now: Instant, key: &[u8]) -> Result<(), CommandError> {
                    self.swim.advance(now);
                    self.swim.remove_key(key)
                }

                fn start_recording(&mut self, _now: Instant, _buffer: usize, _salt: [u8; 16]) {}

                fn stop_recording(&mut self, _now: Instant) {}

                fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<Transmit> {
                    self.swim.advance(now);
                    let transmit = self.swim.poll_transmit(&self.upper, buf);
                    self.swim.settle(&mut self.upper);
                    transmit
                }

                fn poll_stream(&mut self) -> Option<StreamAction> {
                    self.swim.poll_stream()
                }

                fn poll_stream_data(&mut self, now: Instant, id: StreamId, buf: &mut [u8]) -> Written {
                    self.swim.advance(now);
                    self.swim.poll_stream_data(id.0, buf)
                }

                fn poll_membership(&mut self) -> Option<MembershipChange> {
                    self.swim.poll_membership()
                }

                fn poll_completion(&mut self) -> Option<Completion> {
                    self.swim.poll_completion()
                }

                fn poll_event(&mut self) -> Option<Event<'_>> {
                    let swim = &mut self.swim;
                    swim.events.poll(&mut swim.buffers)
                }

                fn poll_tap(&mut self, _buf: &mut [u8]) -> usize {
                    0
                }

                fn replay(&mut self, _entry: &[u8]) -> Result<(), ReplayError> {
                    Err(ReplayError)
                }

                fn poll_timeout(&self) -> Option<Instant> {
                    self.swim.poll_timeout()
                }

                fn config(&self) -> &Config {
                    &self.swim.config
                }

                fn local(&self) -> Member<'_> {
                    Member::new(&self.swim.roster, LOCAL)
                }

                fn members(&self) -> Members<'_> {
                    Members::new(&self.swim.roster)
                }

                fn member(&self, key: MemberKey) -> Option<Member<'_>> {
                    self.swim.roster.resolve(key).map(|slot| Member::new(&self.swim.roster, slot))
                }

                fn find(&self, name: &[u8]) -> Option<Member<'_>> {
                    let roster = &self.swim.roster;
                    let slot = roster.find(name).filter(|&slot| roster.lists(roster.get(slot)))?;
                    Some(Member::new(roster, slot))
                }

                fn num_alive(&self) -> usize {
                    self.swim.roster.num_members()
                }

                fn stats(&self) -> &Stats {
                    &self.swim.stats
                }

                fn health(&self) -> u32 {
                    self.swim.health()
                }

                fn next_wakeup(&self) -> Option<(Wakeup, Instant)> {
                    self.swim.next_wakeup()
                }

                fn memory(&self) -> usize {
                    self.swim.memory()
                }

                fn state_hash(&self) -> u64 {
                    self.swim.state_hash()
                }
            }
        };
    };
}

pub(crate) use machine;
