//! The one vocabulary of errors that people and programs outside see.

use serde::{Deserialize, Serialize};

/// What kind of failure this is. Mapped once to gRPC, HTTP and exit codes by the server crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request itself is wrong.
    BadRequest,
    /// The content breaks a rule; the faults say which.
    Invalid,
    /// No identity, or one we do not know.
    Unauthenticated,
    /// The identity is known and may not do this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// It was there and was withdrawn.
    Gone,
    /// Somebody else changed it first, or the state does not allow it.
    Conflict,
    /// Larger than the limit named.
    TooLarge,
    /// Too much at once; try later.
    Busy,
    /// The other side cannot be reached.
    Unreachable,
    /// Our own failure.
    Internal,
}

impl Code {
    /// The name used in JSON, logs and the manual.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Unreachable => "unreachable",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status.
    pub const fn http(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Invalid => 422,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Gone => 410,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Busy | Self::Unreachable => 503,
            Self::Internal => 500,
        }
    }

    /// The gRPC status code's number.
    pub const fn grpc(self) -> i32 {
        match self {
            Self::BadRequest | Self::Invalid => 3,
            Self::Unauthenticated => 16,
            Self::Forbidden => 7,
            Self::NotFound | Self::Gone => 5,
            Self::Conflict => 9,
            Self::TooLarge => 11,
            Self::Busy => 8,
            Self::Unreachable => 14,
            Self::Internal => 13,
        }
    }

    /// The exit status of a command that ends with it.
    pub const fn exit(self) -> u8 {
        match self {
            Self::BadRequest => 2,
            Self::Invalid => 3,
            Self::Conflict => 4,
            Self::Unreachable => 5,
            _ => 1,
        }
    }
}
