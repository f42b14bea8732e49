//! What runs beside a session's requests: event streams and the monitor.

use tokio::task::JoinHandle;
use transport_tokio::{Answer, Answers};

use super::asked::Asked;
use super::places::Busy;
use super::records;
use super::session::Outbox;
use crate::feed::Listener;
use crate::journal;
use crate::log::Level;
use crate::rpc::{AnswerRecord, Blob, LogRecord, Value as _};

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
pub(super) async fn events(mut listener: Listener, asked: Asked, seq: u64, outbox: Outbox, busy: Busy) {
    while let Some(batch) = listener.recv().await {
        let mut message = Vec::new();
        let mut next = Some(batch);
        // What is there goes out together: one system call for many events.
        while let Some(batch) = next {
            if let Some(record) = records::event(&batch, &asked) {
                Outbox::frame(&mut message, seq, "", &record);
            }
            next = if message.len() < TOGETHER { listener.try_recv() } else { None };
        }
        if !message.is_empty() && !outbox.framed(message).await {
            break;
        }
    }
    drop(busy);
}

/// Bytes in one message beyond which the next event waits for its own.
const TOGETHER: usize = 16 * 1024;

/// Sends what comes back of a query, and that it is over.
pub(super) async fn answers(mut answers: Answers, seq: u64, outbox: Outbox, busy: Busy) {
    loop {
        let answer = answers.recv().await;
        let over = answer.is_none();
        let record = match answer {
            Some(Answer::Ack { from }) => {
                AnswerRecord { from: from.as_bytes().into(), payload: Blob(None), kind: "ack".into() }
            }
            Some(Answer::Response { from, payload }) => AnswerRecord {
                from: from.as_bytes().into(),
                payload: Blob::payload(&payload),
                kind: "response".into(),
            },
            None => AnswerRecord { kind: "done".into(), ..AnswerRecord::default() },
            Some(_) => continue,
        };
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        if !outbox.record(seq, &bytes).await || over {
            return drop(busy);
        }
    }
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
