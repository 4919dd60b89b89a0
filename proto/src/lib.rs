//! Wire messages and gRPC stubs of the federation, generated from `proto/`.
//!
//! Holds no logic. The features `client` and `server` add the gRPC halves; without them only messages are built.

#![allow(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    clippy::str_to_string,
    missing_debug_implementations,
    unused_qualifications,
    unreachable_pub,
    reason = "generated code"
)]

/// Federation: feeds, receipts, enrolment.
pub mod sync {
    include!(concat!(env!("OUT_DIR"), "/liandong.sync.v1.rs"));
}

/// Records and search for programs.
pub mod catalog {
    include!(concat!(env!("OUT_DIR"), "/liandong.catalog.v1.rs"));
}

/// The curators' desk for programs.
pub mod desk {
    include!(concat!(env!("OUT_DIR"), "/liandong.desk.v1.rs"));
}

/// Encoded file descriptors of everything above, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/liandong.bin"));
