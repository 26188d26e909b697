//! Messages of P4Info and P4Runtime (P4Runtime specification 1.5.0), with P4Info's text form.
//!
//! The .proto files say with the published names and numbers what existing controllers speak. The compiler writes P4Info,
//! control serves it; with the feature `grpc` the service comes along.

#![forbid(unsafe_code)]

pub mod text;

/// Protocol buffers that are not P4's own.
pub mod google {
    /// `google.rpc`.
    #[allow(missing_docs, unreachable_pub)]
    pub mod rpc {
        include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
    }
}

/// P4Runtime and P4Info, in the packages' places.
pub mod p4 {
    /// What a controller has to know about a program.
    pub mod config {
        /// `p4.config.v1`: P4Info (§6).
        #[allow(missing_docs, unreachable_pub, clippy::all)]
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/p4.config.v1.rs"));
        }
    }
    /// `p4.v1`: P4Runtime (§9 to §17).
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/p4.v1.rs"));
    }
}

/// `gantry.p4runtime`: what P4Runtime leaves to the device.
#[allow(missing_docs, unreachable_pub)]
pub mod role {
    include!(concat!(env!("OUT_DIR"), "/gantry.p4runtime.rs"));
}

pub use google::rpc::Status;
pub use p4::config::v1 as config;
pub use p4::config::v1::P4Info;
pub use p4::v1 as runtime;
pub use prost::Message;
pub use prost_types::Any;
pub use role::RoleConfig;
