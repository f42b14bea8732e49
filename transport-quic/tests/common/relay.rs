//! A relay on the path to a node: it records what passes, stops when it is told to, and changes the address that it sends
//! from, as a router does that has forgotten a flow.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Packets go from its clients to a node and back, each client by a socket of its own.
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    target: Mutex<Option<SocketAddr>>,
    seen: Mutex<Vec<Vec<u8>>>,
    over: AtomicBool,
    cut: AtomicBool,
    /// The sockets towards the node are to be replaced.
    forget: AtomicBool,
}

impl Relay {
    pub(crate) fn new() -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        front.set_nonblocking(true).unwrap();
        let addr = front.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: Mutex::default(),
            seen: Mutex::default(),
            over: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            forget: AtomicBool::new(false),
        });
        let work = shared.clone();
        let thread = Some(std::thread::spawn(move || run(&front, &work)));
        Self { addr, shared, thread }
    }

    /// Where packets go.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = Some(target);
    }

    /// All packets that passed, either way.
    pub(crate) fn seen(&self) -> Vec<Vec<u8>> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Lets nothing pass, or lets it pass again.
    pub(crate) fn cut(&self, cut: bool) {
        self.shared.cut.store(cut, Ordering::SeqCst);
    }

    /// From now on the node sees its peers at other addresses; the old ones are dead.
    pub(crate) fn change_addresses(&self) {
        self.shared.forget.store(true, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn run(front: &UdpSocket, shared: &Shared) {
    let mut flows: Vec<(SocketAddr, UdpSocket)> = Vec::new();
    let mut buf = [0; 65_536];
    while !shared.over.load(Ordering::SeqCst) {
        let mut idle = true;
        if shared.forget.swap(false, Ordering::SeqCst) {
            for (_, socket) in &mut flows {
                *socket = back();
            }
        }
        let cut = shared.cut.load(Ordering::SeqCst);
        while let Some((len, client)) = receive(front, &mut buf) {
            idle = false;
            let Some(target) = *shared.target.lock().unwrap() else { continue };
            if !flows.iter().any(|(known, _)| *known == client) {
                flows.push((client, back()));
            }
            let (_, socket) = flows.iter().find(|(known, _)| *known == client).unwrap();
            if !cut {
                shared.seen.lock().unwrap().push(buf[..len].to_vec());
                let _ = socket.send_to(&buf[..len], target);
            }
        }
        for (client, socket) in &flows {
            while let Some((len, _)) = receive(socket, &mut buf) {
                idle = false;
                if !cut {
                    shared.seen.lock().unwrap().push(buf[..len].to_vec());
                    let _ = front.send_to(&buf[..len], client);
                }
            }
        }
        if idle {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

fn back() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn receive(socket: &UdpSocket, buf: &mut [u8]) -> Option<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(buf) {
            Ok(received) => return Some(received),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            // An ICMP message about somebody who is gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => panic!("the relay cannot receive: {error}"),
        }
    }
}
