//! The contract, carried out: the same for every machine, whatever layer sits on membership.

/// Implements [`crate::Machine`] for a type with the fields `swim` and `upper`. Every call that may change state is
/// recorded before it takes effect.
macro_rules! machine {
    ($type:ty, $upper:ty) => {
        const _: () = {
            use core::net::SocketAddr;

            use alloc::string::String;
            use bytes::Bytes;

            use $crate::config::Answer;
            use $crate::error::{CommandError, PacketError, Refused, StreamError};
            use $crate::machine::{JoinTarget, Machine, ReplayError, Replayed, sealed};
            use $crate::output::*;
            use $crate::replay::{MAX_BUFFER, Parts, replay};
            use $crate::roster::LOCAL;
            use $crate::swim::outline;
            use $crate::swim::{KeyChange, Swim};
            use $crate::tap::{Input, Key, Payload};
            use $crate::{Config, Instant, KnownMember, Member, Members, MergeMember, Stats};

            impl sealed::Sealed for $type {}

            impl Parts for $type {
                type Upper = $upper;

                fn parts(&mut self) -> (&mut Swim, &mut $upper) {
                    (&mut self.swim, &mut self.upper)
                }

                fn own_call(&mut self, input: Input<'_>) -> Result<(), ReplayError> {
                    self.replay_own(input)
                }
            }

            impl Machine for $type {
                fn handle_datagram(
                    &mut self,
                    now: Instant,
                    source: Source,
                    datagram: &mut [u8],
                ) -> Result<(), PacketError> {
                    self.swim.advance(now);
                    let body = self.swim.open(datagram)?;
                    self.swim.record(|now| Input::Datagram { now, source });
                    self.swim.opened(&mut self.upper, source, body);
                    self.swim.settle(&mut self.upper);
                    Ok(())
                }

                fn handle_timeout(&mut self, now: Instant) {
                    self.swim.record_check(&self.upper, now);
                    self.swim.record(|before| Input::Timeout { now: now.max(before) });
                    self.swim.timeout(&mut self.upper, now);
                    self.swim.settle(&mut self.upper);
                }

                fn handle_transmit_failed(&mut self, now: Instant, id: TransmitId, why: TransmitFailure) {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::TransmitFailed { now, id: id.0, why });
                    self.swim.transmit_failed(id, why);
                }

                fn handle_transmit_delayed(&mut self, now: Instant, id: TransmitId) {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::TransmitDelayed { now, id: id.0 });
                    self.swim.probe_transmit_delayed(id);
                }

                fn handle_path(&mut self, now: Instant, to: SocketAddr, max_datagram: usize) {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::Path { now, to, max_datagram });
                    self.swim.path(to, max_datagram);
                }

                fn accept_stream(&mut self, now: Instant, source: Source) -> Result<StreamId, Refused> {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::AcceptStream { now, source });
                    self.swim.accept_stream(source)
                }

                fn handle_stream_opened(&mut self, now: Instant, id: StreamId) {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::StreamOpened { now, id: id.0 });
                    self.swim.stream_opened(id.0);
                    self.swim.work_now(&mut self.upper);
                }

                fn handle_stream_failed(&mut self, now: Instant, id: StreamId, why: StreamFailure) {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::StreamFailed { now, id: id.0, why });
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
                    self.swim.record_stream_data(id, data.len(), fin);
                    let taken = self.swim.stream_data(&mut self.upper, id.0, data, fin);
                    self.swim.work_now(&mut self.upper);
                    taken
                }

                fn join(
                    &mut self,
                    now: Instant,
                    targets: &[JoinTarget],
                ) -> Result<OperationId, CommandError> {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::Join { now, targets: targets.into() });
                    let operation = self.swim.join(targets)?;
                    self.swim.settle(&mut self.upper);
                    Ok(operation)
                }

                fn leave(&mut self, now: Instant) -> Result<OperationId, CommandError> {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::Leave { now });
                    self.leave_cluster()
                }

                fn send(&mut self, now: Instant, to: MemberKey, payload: Bytes) -> Result<(), CommandError> {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::Send { now, to, payload: Payload(&payload) });
                    self.swim.send(to, payload)
                }

                fn send_reliable(
                    &mut self,
                    now: Instant,
                    to: MemberKey,
                    payload: Bytes,
                ) -> Result<OperationId, CommandError> {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::SendReliable { now, to, payload: Payload(&payload) });
                    self.swim.send_reliable(to, payload)
                }

                fn ping(&mut self, now: Instant, to: MemberKey) -> Result<OperationId, CommandError> {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::Ping { now, to });
                    self.swim.ping(to)
                }

                fn set_seeds(&mut self, now: Instant, seeds: &[SocketAddr]) {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::SetSeeds { now, seeds: seeds.into() });
                    self.swim.set_seeds(seeds);
                }

                fn know(&mut self, now: Instant, members: &[KnownMember]) -> usize {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::Know { now, members: members.into() });
                    let known = self.swim.know(&mut self.upper, members);
                    self.swim.settle(&mut self.upper);
                    known
                }

                fn accept(&mut self, now: Instant, id: RequestId) -> Result<(), CommandError> {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::Accept { now, id: id.0 });
                    self.swim.answer_merge(id, Answer::Accept)
                }

                fn refuse(&mut self, now: Instant, id: RequestId) -> Result<(), CommandError> {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::Refuse { now, id: id.0 });
                    self.swim.answer_merge(id, Answer::Refuse)?;
                    self.swim.settle(&mut self.upper);
                    Ok(())
                }

                fn install_key(&mut self, now: Instant, key: &[u8]) -> Result<(), CommandError> {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::InstallKey { now, key: Key(key) });
                    self.swim.change_keyring(KeyChange::Install, key).map(drop)
                }

                fn use_key(&mut self, now: Instant, key: &[u8]) -> Result<(), CommandError> {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::UseKey { now, key: Key(key) });
                    self.swim.change_keyring(KeyChange::Use, key).map(drop)
                }

                fn remove_key(&mut self, now: Instant, key: &[u8]) -> Result<(), CommandError> {
                    self.swim.advance(now);
                    self.swim.record(|now| Input::RemoveKey { now, key: Key(key) });
                    self.swim.change_keyring(KeyChange::Remove, key).map(drop)
                }

                fn persist_keyring(&mut self, on: bool) {
                    self.swim.record(|_| Input::PersistKeyring { on });
                    self.swim.persist_keyring(on);
                }

                fn keyring_stored(
                    &mut self,
                    now: Instant,
                    id: RequestId,
                    result: Result<(), String>,
                ) -> Result<(), CommandError> {
                    self.swim.advance(now);
                    let failed = result.as_ref().err().map(String::as_bytes);
                    self.swim.record(|now| Input::KeyringStored { now, id: id.0, failed });
                    self.swim.keyring_stored(&mut self.upper, id, result)
                }

                fn start_recording(&mut self, now: Instant, buffer: usize, salt: [u8; 16]) {
                    self.swim.advance(now);
                    self.swim.start_recording(&self.upper, buffer, salt);
                }

                fn limit_recording(&mut self, total: u64) {
                    self.swim.limit_recording(total);
                }

                fn stop_recording(&mut self, now: Instant) {
                    self.swim.advance(now);
                    self.swim.stop_recording(&self.upper);
                }

                fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<Transmit> {
                    self.swim.advance(now);
                    if !self.swim.may_transmit() {
                        return None;
                    }
                    self.swim.record(|now| Input::PollTransmit { now, len: buf.len().min(MAX_BUFFER) });
                    let transmit = self.swim.poll_transmit(&self.upper, buf);
                    self.swim.record_transmit(transmit.as_ref());
                    self.swim.settle(&mut self.upper);
                    transmit
                }

                fn poll_stream(&mut self) -> Option<StreamAction> {
                    if self.swim.may_tell_stream() {
                        self.swim.record(|_| Input::PollStream {});
                    }
                    let action = self.swim.poll_stream();
                    if let Some(action) = &action {
                        self.swim.record_output(|| outline::text(action));
                    }
                    action
                }

                fn poll_stream_data(&mut self, now: Instant, id: StreamId, buf: &mut [u8]) -> Written {
                    self.swim.advance(now);
                    let len = self.swim.stream_room(id.0, buf.len());
                    self.swim.record(|now| Input::PollStreamData { now, id: id.0, len });
                    let written = self.swim.poll_stream_data(id.0, buf);
                    self.swim.record_output(|| outline::text(&written));
                    written
                }

                fn poll_membership(&mut self) -> Option<MembershipChange> {
                    let stirred = self.swim.may_tell_change();
                    if stirred {
                        self.swim.record(|_| Input::PollMembership {});
                    }
                    let change = self.swim.poll_membership();
                    if stirred {
                        self.swim.record_output(|| outline::text(&change));
                    }
                    change
                }

                fn poll_completion(&mut self) -> Option<Completion> {
                    if self.swim.may_complete() {
                        self.swim.record(|_| Input::PollCompletion {});
                    }
                    let completion = self.swim.poll_completion();
                    if let Some(completion) = &completion {
                        self.swim.record_output(|| outline::completion(completion));
                    }
                    completion
                }

                fn poll_event(&mut self) -> Option<Event<'_>> {
                    let swim = &mut self.swim;
                    if swim.events.is_stirred() {
                        swim.record(|_| Input::PollEvent {});
                    }
                    swim.poll_event()
                }

                fn poll_tap(&mut self, buf: &mut [u8]) -> usize {
                    self.swim.poll_tap(buf)
                }

                fn replay(&mut self, entry: &[u8]) -> Result<Replayed<'_>, ReplayError> {
                    replay(self, entry)
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

                fn merge_members(&self, id: RequestId) -> impl Iterator<Item = MergeMember> {
                    self.swim.merge_members(id)
                }

                fn num_alive(&self) -> usize {
                    $crate::swim::Upper::num_alive(&self.upper, &self.swim)
                }

                fn stats(&self) -> &Stats {
                    &self.swim.stats
                }

                fn health(&self) -> u32 {
                    self.swim.health()
                }

                fn may_accept_stream(&self) -> bool {
                    self.swim.may_accept_stream()
                }

                fn next_wakeup(&self) -> Option<(Wakeup, Instant)> {
                    self.swim.next_wakeup()
                }

                fn depths(&self) -> [Depth; 12] {
                    self.swim.depths()
                }

                fn memory(&self) -> usize {
                    self.swim.memory()
                }

                fn state_hash(&self) -> u64 {
                    self.swim.state_hash(&self.upper)
                }
            }
        };
    };
}

pub(crate) use machine;
