//! Made-up catalogues that look like a district's own sheet, for the pilot and for load tests.
//!
//! Everything follows from the district's code and a seed: row `n` is the same however many rows
//! are asked for. The words come from tables under `data/`; no row describes a real person, and
//! telephone numbers and credit codes are synthetic.

mod compose;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value};

use compose::Scene;
use vocabulary::{Bureau, Title, VOCABULARY};

/// Streets and towns made up for each district.
const AREAS: usize = 12;
/// First year a generated entry can speak of.
const YEAR_FIRST: u32 = 2016;
/// Years a generated entry can speak of.
const YEARS: usize = 10;
/// Quarters of a year.
const QUARTERS: usize = 4;

/// A district of the pilot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct District {
    /// Six-digit area code.
    pub code: String,
    /// Name as used in titles.
    pub name: String,
}

/// The `n` districts of Shanghai in force now in order of their codes, then made-up ones (`试点区17`,
/// code `310917` …).
pub fn districts(n: usize) -> Vec<District> {
    let real = VOCABULARY.districts.iter().cloned();
    let invented = (VOCABULARY.districts.len() + 1..).map(|number| District {
        // The block 3109xx belongs to nobody; beyond 99 districts the next free block goes on.
        code: if number < 100 {
            format!("3109{number:02}")
        } else {
            (311_000 + number).to_string()
        },
        name: format!("试点区{number}"),
    });
    real.chain(invented).take(n).collect()
}

/// Rows for one district, the same for the same district and seed.
///
/// Each has its own 信息资源代码 and its own title and provider. The first rows are about the district as
/// a whole; later ones about its streets and towns, then about single years and quarters.
pub fn rows(
    district: &District,
    count: usize,
    seed: u64,
) -> impl Iterator<Item = Map<String, Value>> + use<> {
    let plan = Plan::new(district, seed);
    (0..count).map(move |index| plan.row(index))
}

/// Writes rows as JSON, one a line.
///
/// # Errors
/// When the file cannot be written.
pub fn write_jsonl(
    path: &Path,
    district: &District,
    count: usize,
    seed: u64,
) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for row in rows(district, count, seed) {
        serde_json::to_writer(&mut file, &row)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// What is fixed for a district and a seed.
struct Plan {
    district: District,
    seed: u64,
    areas: Vec<String>,
    titles: Vec<(&'static Title, Bureau)>,
}

impl Plan {
    fn new(district: &District, seed: u64) -> Self {
        // Streets keep their names whatever the seed: a second catalogue is about the same
        // district.
        let mut random = StdRng::seed_from_u64(mix(&district.code, 0, 0));
        let mut stems: Vec<String> = Vec::new();
        for head in &VOCABULARY.heads {
            stems.extend(VOCABULARY.tails.iter().map(|tail| format!("{head}{tail}")));
        }
        stems.shuffle(&mut random);
        // Inner districts have streets only; outer ones have towns as well.
        let inner = district.code.as_str() < "310112";
        let areas = stems
            .into_iter()
            .take(AREAS)
            .map(|stem| stem + if inner || random.random_bool(0.4) { "街道" } else { "镇" })
            .collect();
        let with_bureau = |title| (title, VOCABULARY.bureau(district, title));
        let mut titles: Vec<_> = VOCABULARY.titles.iter().map(with_bureau).collect();
        titles.shuffle(&mut StdRng::seed_from_u64(mix(&district.code, seed, 0)));
        Self { district: district.clone(), seed, areas, titles }
    }

    fn row(&self, index: usize) -> Map<String, Value> {
        let slot = index / self.titles.len();
        let mut random = StdRng::seed_from_u64(mix(&self.district.code, self.seed, index + 1));
        let scene = self.scene(slot, index);
        compose::row(&scene, &mut random)
    }

    /// What the row is about. Slots go from the whole district through its parts to parts of single
    /// years.
    fn scene(&self, slot: usize, index: usize) -> Scene<'_> {
        let (title, bureau) = &self.titles[index % self.titles.len()];
        let parts = self.areas.len() + 1;
        let by_year = slot.checked_sub(parts);
        let by_quarter = by_year.and_then(|slot| slot.checked_sub(parts * YEARS));
        let (place, year, quarter, edition) = match (by_year, by_quarter) {
            (None, _) => (slot, None, None, None),
            (Some(slot), None) => (slot / YEARS, Some(slot % YEARS), None, None),
            (_, Some(slot)) => {
                let period = slot % (YEARS * QUARTERS);
                let round = slot / (YEARS * QUARTERS);
                let edition = (round >= parts).then_some(round / parts + 1);
                (round % parts, Some(period / QUARTERS), Some(period % QUARTERS), edition)
            }
        };
        Scene {
            district: &self.district,
            area: place.checked_sub(1).map(|area| self.areas[area].as_str()),
            title,
            bureau,
            year: year.map(|year| YEAR_FIRST + u32::try_from(year).unwrap_or(0)),
            quarter,
            edition,
            index,
        }
    }
}

/// One number from a code and two others, spread over all bits (FNV-1a, then the finaliser of
/// `SplitMix64`).
fn mix(code: &str, seed: u64, index: usize) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    let number = index as u64;
    for byte in code.bytes().chain(seed.to_le_bytes()).chain(number.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}
