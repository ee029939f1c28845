//! Packs the texts that are served as they stand: as they are they'd be a sixth of the .wasm. src/http/packed.rs unpacks them.

use std::path::{Path, PathBuf};
use std::{env, fs};

const TEXTS: [&str; 3] = [
    "openapi.json",
    "src/http/docs.html",
    "src/http/performance.html",
];
/// The most compression there is: it's done once a build.
const LEVEL: u8 = 10;

fn main() {
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder"));
    for text in TEXTS {
        println!("cargo::rerun-if-changed={text}");
        let content = fs::read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let name = Path::new(text).file_name().expect("it's a file's path");
        let packed = miniz_oxide::deflate::compress_to_vec(&content, LEVEL);
        fs::write(folder.join(name), packed).expect("cargo's folder can be written");
    }
}
