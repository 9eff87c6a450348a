#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| limitry_fuzz::import_line(data));
