//! What runs beside a session's requests: event streams and the monitor.

use tokio::task::JoinHandle;

use super::places::Busy;
use super::records;
use super::session::Outbox;
use crate::feed::Listener;
use crate::journal;
use crate::log::Level;
use crate::rpc::{LogRecord, Value as _};

/// A task that ends with whoever asked for it.
#[derive(Debug)]
pub(super) struct Task(JoinHandle<()>);

impl Task {
    pub(super) fn spawn(run: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(run))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends events until the node or the client has gone. While the client does not read they wait in the feed, which drops
/// them when they are too many.
pub(super) async fn events(mut listener: Listener, seq: u64, outbox: Outbox, busy: Busy) {
    while let Some(batch) = listener.recv().await {
        if let Some(record) = records::event(&batch)
            && !outbox.record(seq, &record).await
        {
            break;
        }
    }
    drop(busy);
}

/// Sends the log, from its oldest line. A client that does not keep up hears how many lines it missed.
pub(super) async fn log(mut lines: journal::Reader, level: Level, seq: u64, outbox: Outbox, busy: Busy) {
    loop {
        let (lost, lines) = lines.next().await;
        let lost =
            (lost > 0).then(|| format!("[WARN] agent.ipc: Dropping logs to this monitor: {lost} lines"));
        let lines = lines.iter().filter(|line| line.level >= level).map(|line| line.text.clone());
        for line in lost.into_iter().chain(lines) {
            let mut record = Vec::new();
            LogRecord { line: line.into() }.write(&mut record);
            if !outbox.record(seq, &record).await {
                return drop(busy);
            }
        }
    }
}
