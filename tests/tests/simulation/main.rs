//! The simulated city, for a fixed set of seeds; `cargo simulate --seeds 100000` runs more.
//!
//! A seed that ever failed stays in `golden/seeds.txt`. The mutants are single faults in production code: each must be
//! noticed, and the table says by which invariant.

#![expect(clippy::panic, reason = "helpers of tests fail as tests do")]

mod turmoil;

use liandong_core::mutant::{Mutant, with};
use liandong_tests::simulation::{Fault, Faults, Partition, Plan, part, run};

/// Seeds of an ordinary run.
const SEEDS: u64 = 150;
/// Seeds within which every mutant must be caught.
const MUTANT_SEEDS: u64 = 400;

/// Each fault in production code, and what has to happen for it to show.
const MUTANTS: [(Mutant, &[Fault]); 17] = [
    (Mutant::SeqOnlyCursor, &[Fault::Restore, Fault::Clone]),
    (Mutant::SenderCursor, &[Fault::Cut]),
    (Mutant::AckBeforeFsync, &[]),
    (Mutant::LwwByClock, &[Fault::Clock]),
    (Mutant::PoisonStop, &[Fault::Unknown]),
    (Mutant::ReencodePayload, &[Fault::Unknown]),
    (Mutant::NoArchiveOnFork, &[Fault::Restore, Fault::Clone]),
    (Mutant::AcceptGap, &[Fault::Hostile]),
    (Mutant::SkipSignature, &[Fault::Hostile]),
    (Mutant::BelieveRevoked, &[Fault::Revoke]),
    (Mutant::PostSeal, &[Fault::Transfer]),
    (Mutant::Resurrect, &[]),
    (Mutant::LeakRestricted, &[]),
    (Mutant::LeafWithoutContent, &[]),
    (Mutant::AnswerTwice, &[]),
    (Mutant::CutDamage, &[Fault::Flip]),
    (Mutant::StaleRules, &[Fault::Revoke, Fault::Transfer]),
];

/// What goes wrong in weeks of work and does not ask for a person.
const AT_WORK: [Fault; 9] = [
    Fault::Delay,
    Fault::Cut,
    Fault::HalfOpen,
    Fault::Kill,
    Fault::Power,
    Fault::Disk,
    Fault::Clock,
    Fault::Curate,
    Fault::Unknown,
];

fn lives(seed: u64, faults: Faults) {
    if let Err(failure) = run(seed, &Plan::with(faults)) {
        panic!("{failure}\nagain: cargo simulate --seed {seed} --faults {faults} --trace");
    }
}

#[test]
fn the_city_keeps_its_invariants_through_every_fault() {
    for seed in 0..SEEDS {
        lives(seed, Faults::ALL);
    }
}

#[test]
fn a_city_keeps_its_invariants_under_each_fault_alone() {
    lives(1, Faults::NONE);
    for fault in Fault::ALL {
        for seed in 0..3 {
            lives(seed, Faults::of(&[fault]));
        }
    }
}

#[test]
fn a_seed_that_ever_failed_fails_no_longer() {
    for line in include_str!("../../golden/seeds.txt").lines() {
        let Some((seed, faults)) = line.split('#').next().unwrap_or("").trim().split_once(' ')
        else {
            continue;
        };
        lives(seed.parse().unwrap(), faults.trim().parse().unwrap());
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let plan = Plan { trace: true, ..Plan::with(Faults::ALL) };
    let life = |seed| run(seed, &plan).unwrap();
    assert_eq!(life(7), life(7));
    assert_ne!(life(7).trace, life(8).trace);
}

#[test]
fn a_district_works_apart_for_sixty_days_and_ten_thousand_edits_and_comes_back_whole() {
    let faults = Faults::of(&AT_WORK);
    let partition = Partition { days: 60, edits_a_day: 170, faults };
    let apart = part(0, &partition).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{apart:?}");
    assert!(apart.days >= 60 && apart.edits >= 10_000, "{apart:?}");
    assert!(apart.elsewhere > 0, "the other districts went on meanwhile: {apart:?}");
    assert!(apart.backlog >= 9_000, "what was saved has arrived: {apart:?}");
}

#[test]
fn every_mutant_is_caught() {
    let mut survivors = Vec::new();
    println!("{:<20}{:<12}seed", "mutant", "invariant");
    for (mutant, faults) in MUTANTS {
        let plan = Plan::with(Faults::of(faults));
        let caught = with(mutant, || (0..MUTANT_SEEDS).find_map(|seed| run(seed, &plan).err()));
        match caught {
            Some(failure) => {
                let name = format!("{mutant:?}");
                println!("{name:<20}{:<12}{}", failure.violation.invariant, failure.seed);
            }
            None => survivors.push(mutant),
        }
    }
    assert!(survivors.is_empty(), "survived {MUTANT_SEEDS} seeds: {survivors:?}");
}
