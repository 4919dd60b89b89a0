//! Why the store cannot do something.

use std::{io, path::PathBuf};

use liandong_core::id::{FeedId, Head};

/// Why the store cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// A journal is damaged in the middle: ops after the damage exist, so nothing may be cut off.
    #[error(
        "日志段损坏：{path} 偏移 {offset}（第 {seq} 条起）：{reason}。请勿删除该文件；另存后从对端恢复 / \
         journal segment {path} is damaged at byte {offset}, from op {seq} on: {reason}; \
         keep the file and restore it from the other side"
    )]
    Damaged {
        /// Segment file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// First op that cannot be read.
        seq: u64,
        /// What is wrong.
        reason: String,
    },
    /// Compare-and-append failed: somebody else extended the feed.
    #[error("feed {feed} is at {head}, not where the append expected it")]
    Moved {
        /// The feed.
        feed: FeedId,
        /// Where it is.
        head: Head,
    },
    /// The view's engine failed.
    #[error("view: {0}")]
    View(String),
    /// The search index failed.
    #[error("search index: {0}")]
    Index(String),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Wraps an IO error with its path.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.into(), source }
    }

    pub(crate) fn view(error: impl std::fmt::Display) -> Self {
        Self::View(error.to_string())
    }

    pub(crate) fn index(error: impl std::fmt::Display) -> Self {
        Self::Index(error.to_string())
    }
}
