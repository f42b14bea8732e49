//! Snapshot files: any file can be read, and what is written says what is meant, through restarts, torn ends and rewriting.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use super::arguments::Arguments;
use crate::Name;
use crate::config::Restore;
use crate::output::Clocks;
use crate::service::Snapshot;

/// Ordinary names, and those that would forge lines, or hide where they end.
const NAMES: [&[u8]; 8] =
    [b"web-1", b"web 2", b" ", b"", b"a\nalive: b 10.0.0.1:1", b"\xff\xfe", b"web-1 10.0.0.1:1", b"#"];

/// The name of whoever reads the file.
const OWN: &[u8] = b"web-1";

/// A program with its length in front, and the file that it begins with. The program makes members come and go, clocks
/// move, the node leave, and restarts it with a file that may have been torn.
pub fn fuzz_snapshot(input: &[u8]) {
    let mut arguments = Arguments::new(input);
    let flags = arguments.byte();
    let rejoin = flags & 1 == 1;
    let mut program = Arguments::new(arguments.bytes());
    let file = arguments.rest();

    let (mut snapshot, whole) = Snapshot::replay(file, rejoin);
    snapshot.min_rewrite(0);
    assert!(
        whole <= file.len() && file[whole..].iter().all(|&byte| byte != b'\n'),
        "a whole line is cut off"
    );
    let _ = Snapshot::may_be_one(file);
    let mut bench = Bench {
        rejoin,
        snapshot,
        file: file[..whole].to_vec(),
        now: 1 << 30,
        left: false,
        appended: 0,
        rewritten: 0,
    };
    bench.check();
    while let Some(call) = program.next() {
        bench.call(call, &mut program);
        bench.check();
        if flags & 2 != 0 {
            bench.rewrite_if_wanted();
        }
    }
}

struct Bench {
    rejoin: bool,
    snapshot: Snapshot,
    file: Vec<u8>,
    /// Seconds of the Unix epoch.
    now: u64,
    left: bool,
    /// Bytes of lines, and of files in the place of another; since the last restart, or file that nobody had to write.
    appended: usize,
    rewritten: usize,
}

impl Bench {
    fn call(&mut self, call: u8, program: &mut Arguments<'_>) {
        let which = program.byte();
        let before = self.file.len();
        let (snapshot, file) = (&mut self.snapshot, &mut self.file);
        match call % 8 {
            0 => snapshot.joined(&name(which), address(which), file),
            1 => snapshot.gone(&name(which), file),
            2 => {
                let last = snapshot.last();
                let raise = |time: u64, by: u8| time.saturating_add(1).saturating_add(1 << (by % 65).min(63));
                let clocks = Clocks {
                    member: raise(last.member, which),
                    event: raise(last.event, which >> 2),
                    query: raise(last.query, which >> 4),
                };
                snapshot.clocks(clocks, file);
            }
            3 => {
                let learnt: Vec<_> = (0..which % 4)
                    .map(|_| program.byte())
                    .map(|which| (name(which), address(which), Duration::from_secs(u64::from(which) << 8)))
                    .collect();
                let learnt = learnt.iter().map(|(name, addr, left)| (name, *addr, *left));
                snapshot.learnt(learnt, self.now, file);
            }
            4 => {
                snapshot.leave(file);
                self.left = true;
            }
            5 => {
                self.rewrite();
                (self.appended, self.rewritten) = (0, 0);
                return;
            }
            6 => self.now += u64::from(which) << 4,
            _ => {
                // A crash leaves any beginning of what was written last.
                let torn = self.file.len().saturating_sub(usize::from(which));
                let (mut snapshot, whole) = Snapshot::replay(&self.file[..torn], self.rejoin);
                snapshot.min_rewrite(0);
                self.file.truncate(whole);
                (self.snapshot, self.left) = (snapshot, false);
                (self.appended, self.rewritten) = (0, 0);
                return;
            }
        }
        self.appended += self.file.len() - before;
    }

    /// As the driver does. Over all lines of a life that is no more work than to append them was, apart from one file.
    fn rewrite_if_wanted(&mut self) {
        if self.snapshot.wants_rewrite() {
            assert!(self.rewritten <= self.appended, "it is written anew too often");
            self.rewrite();
            self.rewritten += self.file.len();
        }
    }

    /// The file in its place says the same.
    fn rewrite(&mut self) {
        let before = self.read();
        self.file.clear();
        self.snapshot.rewrite(&mut self.file);
        assert!(!self.snapshot.wants_rewrite(), "a new file is too long already");
        assert_eq!(self.read(), before, "rewriting changes what the file says");
        assert!(Snapshot::may_be_one(&self.file), "its own file is taken for something else");
    }

    fn read(&self) -> Restore {
        let (read, whole) = Snapshot::replay(&self.file, self.rejoin);
        assert_eq!(whole, self.file.len(), "it does not end its lines");
        read.restore(&Name::new(OWN), self.now)
    }

    /// The file says what the snapshot stands for. After a farewell it says less, which is the point of it.
    fn check(&self) {
        let read = self.read();
        let held = self.snapshot.restore(&Name::new(OWN), self.now);
        if !self.left {
            assert_eq!(read, held, "the file says something else");
        }
        assert!(held.alive.iter().all(|(name, _)| name.as_bytes() != OWN), "a node would join itself");
    }
}

fn name(which: u8) -> Name {
    Name::new(NAMES[usize::from(which) % NAMES.len()])
}

fn address(which: u8) -> SocketAddr {
    match which >> 3 & 3 {
        0 => SocketAddr::from((Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(which)), 7946)),
        port => SocketAddr::from((Ipv4Addr::new(10, 0, 0, which >> 5), 7945 + u16::from(port))),
    }
}
