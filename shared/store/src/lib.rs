//! Where things are kept: the journal (truth), the view and the search index (projections of it).
//!
//! [`Store`] owns three threads in a row. The writer appends ops and answers when they are durable; the projector folds
//! what the journal holds into the view; the indexer brings the search index up to the view. The last two only ever
//! read the journal from their own watermark on, so nothing queues up in memory and a projection can be deleted at any
//! time.

pub mod backup;
mod city_log;
pub mod disk;
mod error;
mod index;
pub mod journal;
mod own;
mod priority;
mod projector;
mod query;
mod replica;
mod shown;
mod store;
mod view;

pub use city_log::{CityDigest, Epoch};
pub use error::StoreError;
pub use index::Stamps;
pub use own::{OwnFeed, Turn, WriteError};
pub use priority::give_way;
pub use query::{
    Answer, Clause, Cursor, Entry, Facet, Filter, Hit, NoCursor, Query, Sort, SortBy, SortKey,
    Understood,
};
pub use replica::{Put, Replica, ReplicaOptions, ReplicaState};
pub use shown::{ShownChange, ShownPage};
pub use store::{
    Appended, CityPage, FeedProgress, Options, Progress, Store, VerifyReport, swap_journals,
};
pub use view::EngineKind;
