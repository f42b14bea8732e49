//! The last lines of the log, for who comes later (`monitor`, serf.md 9.4): those of all levels, whatever is printed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::log::Level;

/// Keeps lines; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Lines>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<Arc<Line>>,
    /// How many there ever were.
    count: u64,
}

/// One line as it is printed, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) text: String,
}

/// Reads the lines in their order, from the oldest that is kept.
#[derive(Debug)]
pub(crate) struct Reader {
    journal: Journal,
    /// Number of the next line to read.
    next: u64,
}

impl Journal {
    pub(crate) fn add(&self, level: Level, text: String) {
        let mut lines = self.lines();
        if lines.kept.len() == KEPT {
            lines.kept.pop_front();
        }
        lines.kept.push_back(Arc::new(Line { level, text }));
        lines.count += 1;
        drop(lines);
        self.shared.news.notify_waiters();
    }

    pub(crate) fn read(&self) -> Reader {
        Reader { journal: self.clone(), next: 0 }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Waits for lines, and says how many came and went since the last call; none are lost before the first. Safe to
    /// cancel.
    pub(crate) async fn next(&mut self) -> (u64, Vec<Arc<Line>>) {
        let shared = self.journal.shared.clone();
        loop {
            let news = shared.news.notified();
            tokio::pin!(news);
            // What is added from here on wakes this.
            news.as_mut().enable();
            let read = self.take();
            if !read.1.is_empty() {
                return read;
            }
            news.await;
        }
    }

    fn take(&mut self) -> (u64, Vec<Arc<Line>>) {
        let lines = self.journal.lines();
        let oldest = lines.count - lines.kept.len() as u64;
        let lost = if self.next == 0 { 0 } else { oldest.saturating_sub(self.next) };
        let skip = self.next.saturating_sub(oldest) as usize;
        self.next = lines.count;
        (lost, lines.kept.iter().skip(skip).cloned().collect())
    }
}

/// Lines that are kept, as many as in Serf.
const KEPT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[Arc<Line>]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    // upstream: TestLogWriter
    #[tokio::test]
    async fn a_reader_hears_what_was_and_what_comes() {
        let journal = Journal::default();
        journal.add(Level::Info, "a".into());
        journal.add(Level::Debug, "b".into());
        let mut reader = journal.read();
        let (lost, lines) = reader.next().await;
        assert_eq!((lost, texts(&lines)), (0, vec!["a", "b"]));
        assert_eq!(lines[1].level, Level::Debug);
        let (read, ()) = tokio::join!(reader.next(), async { journal.add(Level::Warn, "c".into()) });
        assert_eq!((read.0, texts(&read.1)), (0, vec!["c"]));
    }

    #[tokio::test]
    async fn the_oldest_go_and_a_slow_reader_is_told() {
        let journal = Journal::default();
        let mut reader = journal.read();
        for number in 0..=KEPT {
            journal.add(Level::Info, number.to_string());
        }
        let (lost, lines) = reader.next().await;
        assert_eq!((lost, lines.len(), texts(&lines)[0]), (0, KEPT, "1"), "what was before is no loss");
        for number in 0..KEPT + 3 {
            journal.add(Level::Info, number.to_string());
        }
        let (lost, lines) = reader.next().await;
        assert_eq!((lost, lines.len(), texts(&lines)[0]), (3, KEPT, "3"));
    }
}
