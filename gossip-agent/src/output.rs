//! Lines to standard output from a thread of their own: whoever reads them slowly, or not at all, holds up only those
//! who wait to write, and never the node.

use core::time::Duration;
use std::io::{Write as _, stdout};
use std::sync::mpsc;
use std::thread;

use serde_json::{Map, Value};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Hands lines over; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Output(Sender<String>);

/// The thread that writes.
pub(crate) struct Writing {
    done: mpsc::Receiver<()>,
}

/// Starts writing.
pub(crate) fn start() -> (Output, Writing) {
    let (sender, lines) = channel(WAITING);
    let (finished, done) = mpsc::channel();
    thread::spawn(move || {
        write(lines);
        // Fails only if nobody waits for the end.
        let _ = finished.send(());
    });
    (Output(sender), Writing { done })
}

fn write(mut lines: Receiver<String>) {
    let mut stdout = stdout();
    while let Some(line) = lines.blocking_recv() {
        // Flushed when nothing more waits: single lines appear at once, floods in large writes.
        let written = stdout.write_all(line.as_bytes()).and_then(|()| match lines.is_empty() {
            true => stdout.flush(),
            false => Ok(()),
        });
        if let Err(error) = written {
            tracing::warn!("agent: standard output cannot be written any more: {error}");
            return;
        }
    }
    let _ = stdout.flush();
}

impl Output {
    /// Writes one object on a line of its own; says whether anybody still reads.
    pub(crate) async fn send(&self, object: Map<String, Value>) -> bool {
        self.print(format!("{}\n", Value::Object(object))).await
    }

    /// Writes whole lines of text.
    pub(crate) async fn print(&self, text: String) -> bool {
        self.0.send(text).await.is_ok()
    }
}

impl Writing {
    /// Waits until all is written, if somebody reads it; all [`Output`]s must be gone.
    pub(crate) fn finish(self, patience: Duration) {
        let _ = self.done.recv_timeout(patience);
    }
}

/// Lines that may wait for the reader.
const WAITING: usize = 256;
