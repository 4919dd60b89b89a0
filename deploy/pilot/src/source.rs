//! Who the districts are and what each imports.

use std::{
    collections::HashMap,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use liandong_node::import;
use liandong_server::output::{Exit, Failure};
use serde_json::{Map, Value};

use crate::generate::{self, District};

/// Seed of the generated catalogue.
const SEED: u64 = 20_160_511;

/// Where the records come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// So many generated records for each of so many districts.
    Generated {
        /// Districts.
        districts: usize,
        /// Records a district.
        records: usize,
    },
    /// One file, split by a partition file.
    Partitioned {
        /// The catalogue.
        file: PathBuf,
        /// CSV `seq,node_code,node,department`; `seq` counts rows from 0.
        partition: PathBuf,
    },
    /// One file a district, named after the file.
    Files(Vec<PathBuf>),
}

/// What one district imports.
#[derive(Debug, Clone)]
pub struct Share {
    /// The district.
    pub district: District,
    /// The file its node imports.
    pub file: PathBuf,
    /// For each line of `file` the row of the original file, where it was split.
    pub rows: Option<Vec<u64>>,
}

fn bad(zh: impl Into<String>, en: impl Into<String>) -> Failure {
    Failure::new("bad_source", Exit::Validation, zh, en)
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| bad(format!("{path}：{error}"), format!("{path}: {error}"))
}

impl Source {
    /// The districts with their shares; files that are made stand in `dir`.
    ///
    /// # Errors
    /// A file cannot be read, or the partition does not fit it.
    pub fn shares(&self, dir: &Path) -> Result<Vec<Share>, Failure> {
        std::fs::create_dir_all(dir).map_err(io(dir))?;
        match self {
            Self::Generated { districts, records } => generate::districts(*districts)
                .into_iter()
                .map(|district| {
                    let file = dir.join(format!("{}.jsonl", district.code));
                    generate::write_jsonl(&file, &district, *records, SEED).map_err(io(&file))?;
                    Ok(Share { district, file, rows: None })
                })
                .collect(),
            Self::Files(files) => files
                .iter()
                .zip(1_usize..)
                .map(|(file, number)| {
                    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("file");
                    let name: String =
                        stem.chars().filter(|c| c.is_alphanumeric()).take(12).collect();
                    let district =
                        District { code: format!("{number:02}{name}"), name: stem.to_owned() };
                    let file = std::path::absolute(file).map_err(io(file))?;
                    Ok(Share { district, file, rows: None })
                })
                .collect(),
            Self::Partitioned { file, partition } => split(file, partition, dir),
        }
    }
}

/// Splits a catalogue into one file a district, in the order in which the districts first appear.
fn split(file: &Path, partition: &Path, dir: &Path) -> Result<Vec<Share>, Failure> {
    let table = import::read(file, &import::ReadOptions::default()).map_err(|error| {
        let (zh, en) = error.text();
        bad(zh, en)
    })?;
    let places = read_partition(partition)?;
    let mut shares: Vec<(Share, BufWriter<std::fs::File>)> = Vec::new();
    let mut by_code: HashMap<String, usize> = HashMap::new();
    for (seq, row) in table.rows.iter().enumerate() {
        let district = places.get(&(seq as u64)).ok_or_else(|| {
            bad(
                format!("分区文件没有第 {seq} 行（seq）的归属"),
                format!("the partition file does not say whose row (seq) {seq} is"),
            )
        })?;
        let at = if let Some(at) = by_code.get(&district.code) {
            *at
        } else {
            let path = dir.join(format!("{}.jsonl", district.code));
            let out = BufWriter::new(std::fs::File::create(&path).map_err(io(&path))?);
            let share = Share { district: district.clone(), file: path, rows: Some(Vec::new()) };
            shares.push((share, out));
            by_code.insert(district.code.clone(), shares.len() - 1);
            shares.len() - 1
        };
        let (share, out) = &mut shares[at];
        let cells: Map<String, Value> = row.cells.iter().cloned().collect();
        let mut line = serde_json::to_vec(&cells).unwrap_or_default();
        line.push(b'\n');
        out.write_all(&line).map_err(io(&share.file))?;
        share.rows.get_or_insert_default().push(row.row);
    }
    shares
        .into_iter()
        .map(|(share, mut out)| {
            out.flush().map_err(io(&share.file))?;
            Ok(share)
        })
        .collect()
}

fn read_partition(path: &Path) -> Result<HashMap<u64, District>, Failure> {
    let table = import::read(path, &import::ReadOptions::default()).map_err(|error| {
        let (zh, en) = error.text();
        bad(zh, en)
    })?;
    table
        .rows
        .iter()
        .map(|row| {
            let cell = |label: &str| {
                let found = row.cells.iter().find(|(own, _)| own == label);
                found.and_then(|(_, value)| value.as_str()).unwrap_or_default().trim().to_owned()
            };
            let seq = cell("seq").parse().map_err(|_number| {
                bad(
                    format!("分区文件第 {} 行的 seq 不是数字", row.row),
                    format!("row {} of the partition file has no seq", row.row),
                )
            })?;
            Ok((seq, District { code: cell("node_code"), name: cell("node") }))
        })
        .collect()
}
