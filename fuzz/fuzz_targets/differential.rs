#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gossip_proto::testing::fuzz_differential(input));
