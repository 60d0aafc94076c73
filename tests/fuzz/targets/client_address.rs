#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| auth_fuzz::client_address(input));
