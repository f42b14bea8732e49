//! The keyring file that the driver keeps: written before anybody is told, and what happens if it cannot be.

use core::net::SocketAddr;
use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};

use gossip_driver::{Options, Runtime as _, Transport as _};
use gossip_proto::wire::keyring::{Key, Keyring};
use gossip_proto::{Config, KeyCommand, Node, Seed, ServiceConfig};
use transport_mem::{Bus, Cluster, VirtualRuntime};

fn key(byte: u8) -> Key {
    Key::new(&[byte; 16]).unwrap()
}

fn node(bus: &Bus, runtime: &VirtualRuntime, number: u8, file: Option<PathBuf>) -> Cluster<Node> {
    let transport = bus.bind(SocketAddr::from(([10, 0, 0, number], 7946))).unwrap();
    let mut config = Config::lan(format!("n{number}").as_str(), transport.local_addr());
    config.keyring(Some(Keyring::new(key(1), []).unwrap()));
    let (seed, nonces) = bus.seeds();
    let node = Node::new(runtime.now(), config, ServiceConfig::default(), seed, nonces).unwrap();
    let options = Options { keyring_file: file, ..Options::default() };
    gossip_driver::start(node, transport, runtime.clone(), options)
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn files_follow_the_keyring_and_a_node_whose_file_cannot_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let runtime = VirtualRuntime::new();
    let bus = Bus::with_runtime(&runtime, Seed::from_u64(1));
    let nodes = [
        node(&bus, &runtime, 1, Some(path("one"))),
        node(&bus, &runtime, 2, None),
        node(&bus, &runtime, 3, Some(path("three"))),
    ];
    runtime.block_on(async {
        for node in &nodes[1..] {
            node.join(&["10.0.0.1"]).await.unwrap();
        }
        runtime.sleep_until(runtime.now() + Duration::from_secs(5)).await;
        let report = nodes[1].keys(KeyCommand::Install(key(2))).await.unwrap();
        assert_eq!((report.nodes, report.failure()), (3, None));
        // A line each for two keys and for the brackets.
        assert_eq!([lines(&path("one")), lines(&path("three"))], [4, 4]);

        fs::remove_file(path("three")).unwrap();
        fs::create_dir(path("three")).unwrap();
        let report = nodes[0].keys(KeyCommand::Use(key(2))).await.unwrap();
        assert_eq!(report.failure().unwrap().to_string(), "1/3 nodes reported failure");
        let [(name, text)] = &report.messages[..] else { panic!("{report:?}") };
        assert!(*name == "n3" && text.contains("three cannot be written"), "{text}");
        assert_eq!(nodes[2].stats().await.keyring_unstored, 1);

        // It still has both keys, the old one first, so that all understand each other; done once more it is done.
        let report = nodes[2].keys(KeyCommand::List).await.unwrap();
        assert_eq!(report.keys, [(key(1), 3), (key(2), 3)]);
        assert_eq!(report.primary_keys, [(key(1), 1), (key(2), 2)]);
        fs::remove_dir(path("three")).unwrap();
        for command in [KeyCommand::Use(key(2)), KeyCommand::Remove(key(1))] {
            assert_eq!(nodes[2].keys(command).await.unwrap().failure(), None);
        }
        assert_eq!([lines(&path("one")), lines(&path("three"))], [3, 3]);
        // Local changes are stored as well.
        nodes[0].install_key(key(3).as_bytes()).await.unwrap();
        runtime.sleep_until(runtime.now() + Duration::from_secs(1)).await;
        assert_eq!([lines(&path("one")), lines(&path("three"))], [4, 3]);
    });
}
