//! Changes of the keyring, and the file that must follow before anybody is told of them.

use alloc::string::String;

use super::{Swim, Upper};
use crate::error::{CommandError, ConfigError};
use crate::output::{Completion, RequestId};
use crate::wire::keyring::{Key, Keyring};

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyChange {
    Install,
    Use,
    Remove,
}

/// A change that is in effect and not yet in the file.
#[derive(Debug)]
pub(crate) struct Storing {
    id: u64,
    before: Keyring,
}

impl Swim {
    /// Changes the keyring. If there is a file, the number under which [`Upper::keyring_stored`] says when it has the
    /// change; one at a time, or a failed write could not be taken back without the ones after it.
    pub(crate) fn change_keyring(
        &mut self,
        change: KeyChange,
        key: &[u8],
    ) -> Result<Option<u64>, CommandError> {
        let key = Key::new(key).map_err(|_| ConfigError::KeyLength { len: key.len() })?;
        let Some(ring) = self.layers.keyring.as_mut().filter(|ring| !ring.is_empty()) else {
            return Err(CommandError::NotSealed);
        };
        if self.storing.is_some() {
            return Err(CommandError::KeyringBusy);
        }
        let before = self.persists_keyring.then(|| ring.clone());
        match change {
            KeyChange::Install => ring.add(key),
            KeyChange::Use => ring.use_key(&key),
            KeyChange::Remove => ring.remove(&key),
        }
        .map_err(CommandError::Keyring)?;
        let Some(before) = before else { return Ok(None) };
        let (id, keyring) = (self.stored, ring.clone());
        self.stored += 1;
        self.storing = Some(Storing { id, before });
        // Also without a difference: a file that somebody has lost or spoilt meanwhile is whole again.
        self.completions.push_back(Completion::KeyringChanged { id: RequestId(id), keyring });
        Ok(Some(id))
    }

    /// The file has the change, or it could not be written: then the ring goes back, since a restart would (Q37).
    pub(crate) fn keyring_stored<U: Upper>(
        &mut self,
        upper: &mut U,
        id: RequestId,
        result: Result<(), String>,
    ) -> Result<(), CommandError> {
        let Some(Storing { id, before }) = self.storing.take_if(|storing| storing.id == id.0) else {
            return Err(CommandError::UnknownRequest);
        };
        if result.is_err() {
            self.stats.keyring_unstored += 1;
            self.layers.keyring = Some(before);
        }
        upper.keyring_stored(self, id, result);
        Ok(())
    }

    pub(crate) fn is_storing_keyring(&self) -> bool {
        self.storing.is_some()
    }

    /// The keyring; `None` if the cluster is not sealed.
    pub(crate) fn keyring(&self) -> Option<&Keyring> {
        self.layers.keyring.as_ref().filter(|ring| !ring.is_empty())
    }

    /// What traffic is wrapped in.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn layers(&self) -> &crate::wire::layers::Layers {
        &self.layers
    }

    /// Whether changes wait for a file from now on.
    pub(crate) fn persist_keyring(&mut self, on: bool) {
        self.persists_keyring = on;
    }
}

/// Numbers of questions of membership's own begin at 0, those of queries at 2^52.
pub(super) const FIRST_STORED: u64 = 1 << 62;
