//! The log to standard error, from a thread of its own. Who reads it may stop: a terminal with Ctrl-S in it, a pager, a
//! pipe that nobody empties. That costs lines of the log; the node, which writes most of them, never waits.

use core::time::Duration;
use std::collections::VecDeque;
use std::io::{self, Write, stderr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tracing_subscriber::fmt::MakeWriter;

/// Takes lines; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Vec<u8>>,
    /// Lines for which there was no room since some were written last.
    lost: u64,
    /// Lines were taken out, and are not written yet.
    writing: bool,
}

impl Lines {
    /// Starts writing to standard error.
    pub(crate) fn start() -> io::Result<Self> {
        Self::start_to(stderr())
    }

    fn start_to(mut output: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self::default();
        let queue = lines.clone();
        thread::Builder::new().name("log".into()).spawn(move || {
            loop {
                let text = queue.take();
                // Who closed it has no use for the next lines either, and there is no other place to say so.
                let _ = output.write_all(&text);
            }
        })?;
        Ok(lines)
    }

    /// Waits until all is written, if somebody reads it.
    pub(crate) fn finish(&self, patience: Duration) {
        let unwritten = |queue: &mut Queue| queue.writing || !queue.waiting.is_empty();
        drop(self.shared.changed.wait_timeout_while(self.queue(), patience, unwritten));
    }

    fn add(&self, line: &[u8]) {
        let mut queue = self.queue();
        if queue.waiting.len() < WAITING {
            queue.waiting.push_back(line.into());
        } else {
            queue.lost += 1;
        }
        drop(queue);
        self.shared.changed.notify_all();
    }

    /// What waits, as soon as something does. What was taken before is written by then.
    fn take(&self) -> Vec<u8> {
        let mut queue = self.queue();
        queue.writing = false;
        self.shared.changed.notify_all();
        while queue.waiting.is_empty() {
            queue = self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.writing = true;
        let mut text = queue.waiting.drain(..).collect::<Vec<_>>().concat();
        if queue.lost > 0 {
            let lost = core::mem::take(&mut queue.lost);
            text.extend(
                format!("[WARN] agent: {lost} lines are missing here: the log was not read\n").bytes(),
            );
        }
        text
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one line at a time, each in one piece.
#[derive(Debug)]
pub(crate) struct Line<'a>(&'a Lines);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Lines that may wait for the reader.
const WAITING: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Writes when it is let.
    struct Slow {
        may: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _ = self.may.recv();
            let _ = self.written.send(text.into());
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_does_not_read_loses_lines_and_holds_nobody_up() {
        let ((let_write, may), (written, texts)) = (channel(), channel());
        let lines = Lines::start_to(Slow { may, written }).unwrap();
        let line = |number: usize| format!("{number}\n");
        lines.add(line(0).as_bytes());
        // Taken out, and stuck from here on.
        while !lines.queue().writing {
            thread::yield_now();
        }
        for number in 1..=WAITING + 3 {
            lines.add(line(number).as_bytes());
        }
        lines.finish(Duration::from_millis(1));
        assert!(texts.try_recv().is_err());
        let_write.send(()).unwrap();
        let_write.send(()).unwrap();
        lines.finish(Duration::from_secs(30));
        assert_eq!(texts.recv().unwrap(), b"0\n");
        let kept: String = (1..=WAITING).map(line).collect();
        let lost = "[WARN] agent: 3 lines are missing here: the log was not read\n";
        assert_eq!(String::from_utf8(texts.recv().unwrap()).unwrap(), kept + lost);
    }
}
