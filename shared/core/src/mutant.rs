//! Faults put into the code on purpose, to see that the tests notice them.
//!
//! Each stands where it would be made by mistake. Without the feature `mutants`, which only the tests ask for, the
//! question is answered `false` at compile time and nothing of them is left.

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mutant {
    /// A position is only a number; its hash is not compared.
    SeqOnlyCursor,
    /// The node goes on from its own head, not from the hub's.
    SenderCursor,
    /// What is written counts as durable before the sync.
    AckBeforeFsync,
    /// The later clock wins.
    LwwByClock,
    /// An op that makes no sense holds up those behind it.
    PoisonStop,
    /// An op is encoded again on its way; fields of later versions get lost.
    ReencodePayload,
    /// What a node wrote apart is dropped when it joins again.
    NoArchiveOnFork,
    /// An op may leave out numbers.
    AcceptGap,
    /// A signature is not looked at.
    SkipSignature,
    /// A revoked key is believed.
    BelieveRevoked,
    /// What a feed writes after it gave records away still counts.
    PostSeal,
    /// A put makes a withdrawn record live again.
    Resurrect,
    /// Everyone sees restricted records.
    LeakRestricted,
    /// The digest does not say what a record says.
    LeafWithoutContent,
    /// The hub forgets what it has answered.
    AnswerTwice,
    /// Damage in a journal is taken for an unfinished write and cut off.
    CutDamage,
    /// Folded ops keep their effect when the hub changes what holds for them.
    StaleRules,
    /// No fault: a version of this software that does not know revivals yet.
    OlderVersion,
}

/// Whether a fault is in force.
#[cfg(not(feature = "mutants"))]
pub const fn active(_mutant: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use chosen::{active, with};

#[cfg(feature = "mutants")]
mod chosen {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether a fault is in force on this thread.
    pub fn active(mutant: Mutant) -> bool {
        CHOSEN.get() == Some(mutant)
    }

    /// Does something on this thread with a fault in force.
    pub fn with<T>(mutant: Mutant, act: impl FnOnce() -> T) -> T {
        struct Restore(Option<Mutant>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CHOSEN.set(self.0);
            }
        }
        let _restore = Restore(CHOSEN.replace(Some(mutant)));
        act()
    }
}
