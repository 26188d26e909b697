//! Compiles the .proto files beside it: messages, their descriptors, and with the feature `grpc` the service.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;

const FILES: [&str; 3] = ["p4/config/v1/p4info.proto", "p4/v1/p4runtime.proto", "gantry/p4runtime/role.proto"];

fn main() {
    println!("cargo:rerun-if-changed=p4");
    println!("cargo:rerun-if-changed=google");
    println!("cargo:rerun-if-changed=gantry");
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let descriptors = match protox::compile(FILES, [root]) {
        Ok(descriptors) => descriptors,
        Err(error) => panic!("{error:?}"),
    };

    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec()).expect("the build's own folder");

    let mut config = prost_build::Config::new();
    // Ordered maps, so that the same message always has the same bytes.
    config.btree_map(["."]);
    #[cfg(feature = "grpc")]
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config).expect("descriptors that compiled");
    #[cfg(not(feature = "grpc"))]
    config.compile_fds(descriptors).expect("descriptors that compiled");
}
