//! A whole city in one thread, drawn from one number: real authors, journals, senders, receivers and folds over a
//! simulated network, simulated clocks and simulated disks.
//!
//! [`run`] makes a world from a seed, lets it go wrong, heals it, and holds the invariants of `FEDERATION.md` 4 against
//! it after every step. The same code, seed and [`Plan`] repeat every step. `cargo simulate --seed 42 --trace` shows
//! one world; [`report`] sums up many.
//!
//! What stands here is the surroundings: everything that decides something is production code.

mod clock;
mod desk;
mod disk;
mod editor;
mod faults;
mod fold;
mod heal;
mod hub;
pub mod invariants;
mod ledger;
mod network;
mod node;
pub mod reference;
pub mod report;
mod rng;
mod world;
mod wreck;

pub use faults::{Fault, Faults};
pub use fold::Fold;
pub use invariants::Violation;
pub use rng::Rng;
use world::World;

/// What a run is made of besides its seed.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// What may go wrong.
    pub faults: Faults,
    /// Steps between two healings; drawn from the seed when absent.
    pub steps: Option<usize>,
    /// Whether every step is kept for a person to read, not only the last ones.
    pub trace: bool,
}

impl Plan {
    /// A run with these faults, everything else drawn.
    pub const fn with(faults: Faults) -> Self {
        Self { faults, steps: None, trace: false }
    }
}

/// What a run that went well did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Steps taken.
    pub steps: u64,
    /// Districts of the city.
    pub districts: usize,
    /// Ops that were written.
    pub ops: u64,
    /// How often each fault struck, in the order of [`Fault::ALL`].
    pub faults: [u64; Fault::ALL.len()],
    /// What happened, when it was to be kept.
    pub trace: Vec<String>,
}

/// A run that broke an invariant.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What to repeat it with.
    pub seed: u64,
    /// The step that broke it.
    pub step: u64,
    /// What was broken.
    pub violation: Violation,
    /// What happened before, oldest first.
    pub trace: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, step, violation, trace } = self;
        write!(f, "seed {seed}, step {step}: {violation}")?;
        trace.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Lets one world live.
///
/// # Errors
/// The first invariant that did not hold.
pub fn run(seed: u64, plan: &Plan) -> Result<Done, Failure> {
    let mut world = World::new(seed, plan);
    match world.live(plan) {
        Ok(()) => Ok(world.done()),
        Err(violation) => {
            let (step, trace) = (world.steps(), world.take_trace());
            Err(Failure { seed, step, violation, trace })
        }
    }
}
