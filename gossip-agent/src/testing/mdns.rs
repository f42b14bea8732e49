//! What neighbours on a network say: any bytes are an answer, a question, or nothing.

use core::net::{IpAddr, SocketAddr};

use crate::mdns::{Answerer, Service};

/// A DNS message, taken for a question and for an answer.
pub fn fuzz_mdns(input: &[u8]) {
    let service = Service::new("blue").expect("a service");
    if let Some(found) = service.found(input) {
        // Each takes a record of its own.
        assert!(found.len() <= input.len() / 10, "{} addresses in {} bytes", found.len(), input.len());
        let one_node = |ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast();
        assert!(found.iter().all(|addr| addr.port() != 0 && one_node(addr.ip())), "{found:?}");
    }
    for addr in
        [SocketAddr::from(([10, 0, 0, 7], 7946)), SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 7], 7946))]
    {
        let answerer = Answerer::new(service.clone(), b"web-1", "host.example", addr);
        if let Some(answer) = answerer.answer(input) {
            assert!(
                answer.len() <= 512,
                "an answer of {} bytes to a question of {}",
                answer.len(),
                input.len()
            );
            assert!(answerer.answer(&answer).is_none(), "an answer is answered: two nodes would never stop");
            assert!(service.found(&answer).is_some(), "its own answer cannot be read");
        }
    }
}
