//! Many worlds, summed up.

use std::{
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

use super::{Done, Failure, Fault, Plan, run};
use crate::bench::Watch;

/// What many seeds did.
#[derive(Debug, Default)]
pub struct Report {
    /// Seeds that were run.
    pub seeds: u64,
    /// Sums over them.
    pub total: Done,
    /// The first seed that broke an invariant.
    pub failure: Option<Failure>,
    /// Time it took, seconds.
    pub seconds: f64,
}

/// Runs seeds on all cores until one breaks an invariant. `told` hears from time to time how many are done.
pub fn run_all(seeds: std::ops::Range<u64>, plan: &Plan, told: impl Fn(u64) + Sync) -> Report {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let report = Mutex::new(Report::default());
    let watch = Watch::start();
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let ran = run(seed, plan);
            let Ok(mut report) = report.lock() else { return };
            match ran {
                Ok(done) => report.add(&done),
                Err(failure) => {
                    stop.store(true, Ordering::Relaxed);
                    // The smallest of those that were under way.
                    if report.failure.as_ref().is_none_or(|known| known.seed > failure.seed) {
                        report.failure = Some(failure);
                    }
                }
            }
            if report.seeds % 1_000 == 0 {
                told(report.seeds);
            }
        }
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut report = report.into_inner().unwrap_or_default();
    report.seconds = watch.elapsed().as_secs_f64();
    report
}

impl Report {
    fn add(&mut self, done: &Done) {
        self.seeds += 1;
        self.total.steps += done.steps;
        self.total.ops += done.ops;
        self.total.districts += done.districts;
        for (sum, count) in self.total.faults.iter_mut().zip(done.faults) {
            *sum += count;
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let Self { seeds, total, seconds, .. } = self;
        let mut text = format!(
            "{seeds} seeds, {} districts, {} steps, {} ops, {} violations, {seconds:.1} s\n",
            total.districts,
            total.steps,
            total.ops,
            u8::from(self.failure.is_some()),
        );
        for (fault, count) in Fault::ALL.iter().zip(total.faults) {
            // Writing to a string does not fail.
            let _infallible = writeln!(text, "  {:<12}{count:>12}", fault.name());
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let faults = Fault::ALL.iter().zip(self.total.faults);
        let faults: serde_json::Map<String, Value> =
            faults.map(|(fault, count)| (fault.name().to_owned(), json!(count))).collect();
        json!({
            "seeds": self.seeds,
            "districts": self.total.districts,
            "steps": self.total.steps,
            "ops": self.total.ops,
            "faults": faults,
            "violations": u8::from(self.failure.is_some()),
            "violation": self.failure.as_ref().map(|failure| json!({
                "seed": failure.seed,
                "step": failure.step,
                "invariant": failure.violation.invariant,
                "what": failure.violation.what,
            })),
            "seconds": self.seconds,
        })
    }
}
