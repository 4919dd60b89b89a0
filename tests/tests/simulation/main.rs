//! The replication of a whole city in one thread: real authors, journals, senders and receivers over simulated
//! disks and
//! a simulated network, all drawn from a seed.
//!
//! A failure prints its seed and scenario; the same code and seed repeat it. `LIANDONG_SIM_SEEDS=10000` runs more seeds
//! than the default, `LIANDONG_SIM_SEED=42` one. The mutants are worlds with one thing broken: each must be caught.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod hub;
mod model;
mod node;
mod world;

use liandong_core::wire::Verdict;
use model::{Mutant, Rng, Violation, everything};
use world::World;

/// Seeds of an ordinary run.
const SEEDS: u64 = 16;
/// Seeds within which every mutant must be caught.
const MUTANT_SEEDS: u64 = 40;

type Scenario = fn(&mut World, &mut Rng) -> Result<(), Violation>;

/// Name, nodes, what happens.
const SCENARIOS: [(&str, u8, Scenario); 5] = [
    ("a harsh day", 4, a_harsh_day),
    ("a long backlog", 1, a_long_backlog),
    ("an old backup, idle", 2, an_old_backup_idle),
    ("an old backup, then edits", 2, an_old_backup_then_edits),
    ("a clone", 1, a_clone),
];

/// Every fault at once while people edit; then the network heals.
fn a_harsh_day(world: &mut World, _rng: &mut Rng) -> Result<(), Violation> {
    world.run(900)?;
    world.heal()?;
    world.run(300)?;
    world.heal()
}

/// More ops than the credit covers wait at a node that comes back.
fn a_long_backlog(world: &mut World, rng: &mut Rng) -> Result<(), Violation> {
    for _ in 0..600 + rng.below(200) {
        world.edit(0);
    }
    world.sync_node(0)?;
    world.idle = vec![0];
    world.run(200)?;
    world.heal()
}

/// Restores node 0 from a backup that is some ops behind what the hub has acknowledged; returns how many.
fn restore_old_backup(world: &mut World, rng: &mut Rng) -> Result<usize, Violation> {
    world.run(200)?;
    world.heal()?;
    let backup = world.nodes[0].backup();
    let lost = 1 + rng.below(8);
    for _ in 0..lost {
        world.edit(0);
    }
    world.heal()?;
    world.nodes[0].restore(backup)?;
    world.idle = vec![0];
    Ok(lost)
}

/// The mirror of node 0's feed stays as it is and the node stays frozen with one of these verdicts, whatever happens.
fn stays_frozen(world: &mut World, verdicts: &[Verdict]) -> Result<(), Violation> {
    let mirror = world.hub.mirror(world.nodes[0].feed);
    let own = world.nodes[0].journal.as_ref().map(everything).unwrap_or_default();
    world.heal()?;
    world.run(300)?;
    world.heal()?;
    let node = &world.nodes[0];
    if world.hub.mirror(node.feed) != mirror {
        return Err("I6: the mirror changed".to_owned());
    }
    if node.journal.as_ref().map(everything) != Some(own) {
        return Err("I6: what the node holds changed".to_owned());
    }
    match node.frozen {
        Some(verdict) if verdicts.contains(&verdict) => Ok(()),
        other => Err(format!("I6: frozen by {other:?}, one of {verdicts:?} was due")),
    }
}

/// F7.
fn an_old_backup_idle(world: &mut World, rng: &mut Rng) -> Result<(), Violation> {
    restore_old_backup(world, rng)?;
    stays_frozen(world, &[Verdict::Rollback])?;
    let alarmed = world.hub.alarms.contains(&Verdict::Rollback);
    if alarmed { Ok(()) } else { Err("I6: the hub raised no alarm".to_owned()) }
}

/// F8: fewer, as many and more new ops than were lost.
fn an_old_backup_then_edits(world: &mut World, rng: &mut Rng) -> Result<(), Violation> {
    let lost = restore_old_backup(world, rng)?;
    for _ in 0..=rng.below(2 * lost) {
        world.edit(0);
    }
    world.sync_node(0)?;
    stays_frozen(world, &[Verdict::Fork])
}

/// F9: both copies are edited, both connect; one wins and the other waits for a person.
fn a_clone(world: &mut World, _rng: &mut Rng) -> Result<(), Violation> {
    world.run(200)?;
    world.heal()?;
    let clone = world.nodes[0].cloned()?;
    world.nodes.push(clone);
    for node in [0, 1] {
        world.edit(node);
        world.sync_node(node)?;
    }
    world.run(600)?;
    world.heal()?;
    world.run(300)?;
    world.heal()?;
    let frozen: Vec<_> = world.nodes.iter().map(|node| node.frozen).collect();
    match frozen.iter().flatten().count() {
        1 => Ok(()),
        _ => Err(format!("I6: of two clones exactly one goes on, not {frozen:?}")),
    }
}

fn run(
    seed: u64,
    (name, nodes, scenario): (&str, u8, Scenario),
    mutant: Mutant,
) -> Result<(), String> {
    let mut world = World::new(seed, nodes, mutant)?;
    scenario(&mut world, &mut Rng(seed ^ 0x5eed)).map_err(|violation| {
        format!("seed {seed}, {name}, {mutant:?}: {violation}\n  {}", world.trace())
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn the_city_keeps_its_invariants_through_every_fault() {
    let seeds = match number("LIANDONG_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LIANDONG_SIM_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        for scenario in SCENARIOS {
            if let Err(violation) = run(seed, scenario, Mutant::None) {
                panic!("{violation}");
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let heads = |seed| {
        let mut world = World::new(seed, 3, Mutant::None).unwrap();
        world.run(700).unwrap();
        (world.trace(), world.nodes.iter().map(node::Node::head).collect::<Vec<_>>())
    };
    assert_eq!(heads(7), heads(7));
    assert_ne!(heads(7), heads(8));
}

#[test]
fn every_mutant_is_caught() {
    let mutants =
        [Mutant::AckBeforeFsync, Mutant::SeqOnlyCursor, Mutant::SenderCursor, Mutant::PoisonStop];
    for mutant in mutants {
        let caught = (0..MUTANT_SEEDS).find_map(|seed| {
            SCENARIOS.iter().find_map(|scenario| run(seed, *scenario, mutant).err())
        });
        let caught = caught.unwrap_or_else(|| panic!("{mutant:?} survived {MUTANT_SEEDS} seeds"));
        println!("{}", caught.lines().next().unwrap_or_default());
    }
}
