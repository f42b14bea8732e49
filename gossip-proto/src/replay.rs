//! Replaying: each recorded call is made again.

use crate::machine::{Machine, ReplayError, Replayed};
use crate::output::{RequestId, StreamId, TransmitId};
use crate::swim::{Swim, Upper};
use crate::tap::{Entry, Input};

/// What replaying needs of a machine besides the contract.
pub(crate) trait Parts: Machine {
    type Upper: Upper;

    fn parts(&mut self) -> (&mut Swim, &mut Self::Upper);
    /// Makes a call that only this kind of machine has.
    fn own_call(&mut self, input: Input<'_>) -> Result<(), ReplayError>;
}

/// The largest datagram buffer that makes a difference.
pub(crate) const MAX_BUFFER: usize = 65_536;

/// What a call handed out, before it is lent to the caller.
enum Given {
    Nothing,
    Event,
    Other(Replayed<'static>),
    Datagram(crate::Transmit),
    Written(StreamId, bool),
}

/// See [`Machine::replay`].
pub(crate) fn replay<'m, M: Parts>(machine: &'m mut M, frame: &[u8]) -> Result<Replayed<'m>, ReplayError> {
    let (swim, upper) = machine.parts();
    let Some(body) = swim.take_frame(upper, frame)? else { return Ok(Replayed::Nothing) };
    // It was read before it was let through.
    let Some(Entry { input, trail }) = Entry::read(&body) else { return Err(ReplayError::Damaged) };
    let given = match input {
        Input::Datagram { now, source } => {
            swim.advance(now);
            swim.opened_again(upper, source, &trail);
            swim.settle(upper);
            Given::Nothing
        }
        Input::StreamData { now, id, len, fin } => {
            swim.advance(now);
            let _ = swim.stream_bytes_came(upper, id, len, &[], fin);
            swim.work_now(upper);
            Given::Nothing
        }
        Input::Check { now, state, outputs } => {
            swim.advance(now);
            if (swim.state_hash(upper), swim.replayed_outputs()) != (state, outputs) {
                return Err(ReplayError::Diverged);
            }
            Given::Nothing
        }
        Input::Stop { now, state, outputs } => {
            swim.advance(now);
            if (swim.state_hash(upper), swim.replayed_outputs()) != (state, outputs) {
                return Err(ReplayError::Diverged);
            }
            Given::Other(Replayed::Stopped { full: false })
        }
        Input::Full {} => Given::Other(Replayed::Stopped { full: true }),
        other => call(machine, other)?,
    };
    // An event is polled when it is handed out, and compared then.
    let given_event = matches!(given, Given::Event);
    if !given_event && machine.parts().0.has_diverged() {
        return Err(ReplayError::Diverged);
    }
    Ok(match given {
        Given::Nothing => Replayed::Nothing,
        Given::Other(replayed) => replayed,
        Given::Event => machine.poll_event().map_or(Replayed::Nothing, Replayed::Event),
        Given::Datagram(transmit) => Replayed::Transmit { transmit, datagram: machine.parts().0.replayed() },
        Given::Written(id, fin) => Replayed::StreamData { id, bytes: machine.parts().0.replayed(), fin },
    })
}

/// Makes a call of the contract. That it fails is no error: it did so when it was recorded.
fn call<M: Parts>(machine: &mut M, input: Input<'_>) -> Result<Given, ReplayError> {
    match input {
        Input::Timeout { now } => machine.handle_timeout(now),
        Input::TransmitFailed { now, id, why } => machine.handle_transmit_failed(now, TransmitId(id), why),
        Input::TransmitDelayed { now, id } => machine.handle_transmit_delayed(now, TransmitId(id)),
        Input::Path { now, to, max_datagram } => machine.handle_path(now, to, max_datagram),
        Input::AcceptStream { now, source } => drop(machine.accept_stream(now, source)),
        Input::StreamOpened { now, id } => machine.handle_stream_opened(now, StreamId(id)),
        Input::StreamFailed { now, id, why } => machine.handle_stream_failed(now, StreamId(id), why),
        Input::Join { now, targets } => drop(machine.join(now, &targets)),
        Input::Leave { now } => drop(machine.leave(now)),
        Input::Send { now, to, payload } => drop(machine.send(now, to, payload.0.to_vec().into())),
        Input::SendReliable { now, to, payload } => {
            drop(machine.send_reliable(now, to, payload.0.to_vec().into()));
        }
        Input::Ping { now, to } => drop(machine.ping(now, to)),
        Input::Accept { now, id } => drop(machine.accept(now, RequestId(id))),
        Input::Refuse { now, id } => drop(machine.refuse(now, RequestId(id))),
        Input::InstallKey { now, key } => drop(machine.install_key(now, key.0)),
        Input::UseKey { now, key } => drop(machine.use_key(now, key.0)),
        Input::RemoveKey { now, key } => drop(machine.remove_key(now, key.0)),
        Input::PersistKeyring { on } => machine.persist_keyring(on),
        Input::KeyringStored { now, id, failed } => {
            let text = |failed| alloc::string::String::from_utf8_lossy(failed).into_owned();
            drop(machine.keyring_stored(
                now,
                RequestId(id),
                failed.map_or(Ok(()), |failed| Err(text(failed))),
            ));
        }
        Input::SetSeeds { now, seeds } => machine.set_seeds(now, &seeds),
        Input::Know { now, members } => {
            let _ = machine.know(now, &members);
        }
        Input::PollTransmit { now, len } => {
            let mut out = machine.parts().0.replay_buffer(len.min(MAX_BUFFER));
            let transmit = machine.poll_transmit(now, &mut out);
            machine.parts().0.keep_replayed(out, transmit.map_or(0, |transmit| transmit.len));
            return Ok(transmit.map_or(Given::Nothing, Given::Datagram));
        }
        Input::PollStreamData { now, id, len } => {
            let swim = machine.parts().0;
            let len = swim.stream_room(id, len);
            let mut out = swim.replay_buffer(len);
            let written = machine.poll_stream_data(now, StreamId(id), &mut out);
            machine.parts().0.keep_replayed(out, written.len);
            return Ok(Given::Written(StreamId(id), written.fin));
        }
        Input::PollStream {} => return given(machine.poll_stream().map(Replayed::Stream)),
        Input::PollCompletion {} => return given(machine.poll_completion().map(Replayed::Completion)),
        // Looking for more may only let go of what was shown last.
        Input::PollMembership {} => {
            let change = machine.poll_membership();
            return Ok(change.map_or(Given::Nothing, |change| Given::Other(Replayed::Membership(change))));
        }
        Input::PollEvent {} => return Ok(Given::Event),
        other => machine.own_call(other)?,
    }
    Ok(Given::Nothing)
}

/// Something that was there when the call was recorded.
fn given(replayed: Option<Replayed<'static>>) -> Result<Given, ReplayError> {
    replayed.map(Given::Other).ok_or(ReplayError::Diverged)
}
