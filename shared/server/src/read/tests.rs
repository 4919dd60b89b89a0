//! The read side through its router, over a real store.

mod api;
mod feed;
mod fixture;
mod page;
mod probe;

pub(crate) use fixture::{Answer, City, OPEN, RESTRICTED, WITHDRAWN, id};
