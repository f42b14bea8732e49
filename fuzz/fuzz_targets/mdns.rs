#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gossip_agent::testing::fuzz_mdns(input));
