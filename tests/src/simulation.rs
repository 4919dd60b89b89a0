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
mod partition;
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

/// A district that the hub does not hear for a while.
#[derive(Debug, Clone, Copy)]
pub struct Partition {
    /// Virtual days.
    pub days: u32,
    /// What the district's people write every day.
    pub edits_a_day: u32,
    /// What goes wrong meanwhile, there and elsewhere.
    pub faults: Faults,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apart {
    /// Virtual days until everything agreed again.
    pub days: i64,
    /// Districts of the city.
    pub districts: usize,
    /// Steps of everybody else in that time.
    pub steps: u64,
    /// Ops that the district wrote while it was cut off.
    pub edits: u64,
    /// Ops that the other districts wrote in that time.
    pub elsewhere: u64,
    /// Ops that the hub lacked and has now.
    pub backlog: u64,
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
    world.live(plan).map_err(|violation| failure(seed, violation, &mut world))?;
    Ok(world.done())
}

/// Lets a world live in which one district is cut off for long.
///
/// # Errors
/// The first invariant that did not hold.
pub fn part(seed: u64, partition: &Partition) -> Result<Apart, Failure> {
    let mut world = World::new(seed, &Plan::with(partition.faults));
    let apart = world.live_apart(partition);
    apart.map_err(|violation| failure(seed, violation, &mut world))
}

fn failure(seed: u64, violation: Violation, world: &mut World) -> Failure {
    Failure { seed, step: world.steps(), violation, trace: world.take_trace() }
}
