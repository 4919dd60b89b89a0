//! Whether hub and nodes hold the same, and the document that says so.

use liandong_node::import::plan::{Rejected, Report};
use liandong_server::{
    clock,
    output::Failure,
    site::{DistrictStatus, State, Status},
};
use serde::{Deserialize, Serialize};

use crate::{city::City, source::Share};

/// The document of `--once --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Document {
    /// Whether every root is equal.
    pub equal: bool,
    /// Where they are not.
    pub differences: Vec<Difference>,
    /// The hub's status.
    pub hub: Status,
    /// The nodes.
    pub nodes: Vec<NodeReport>,
}

/// Something that node and hub say differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The district; empty for the city as a whole.
    pub code: String,
    /// What differs.
    pub what: String,
    /// What the node says.
    pub node: String,
    /// What the hub says.
    pub hub: String,
}

/// One node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeReport {
    /// Area code.
    pub code: String,
    /// Name.
    pub name: String,
    /// Address of its pages.
    pub http: String,
    /// Its status.
    pub status: Status,
    /// What was imported.
    pub import: Option<Imported>,
}

/// What an import did, as far as a comparison needs it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    /// Rows read.
    pub read: usize,
    /// Rows that became new records.
    pub new: usize,
    /// Rows that changed a record.
    pub changed: usize,
    /// Rows whose record is as they say.
    pub unchanged: usize,
    /// Rows that repeat an earlier row word for word.
    pub duplicates: usize,
    /// Rows not taken; `row` is the row of the file that was given.
    pub rejected: Vec<Rejected>,
}

impl Imported {
    /// An import's report with the rows of the original file.
    pub fn of(report: Report, share: &Share) -> Self {
        let original = |row: u64| {
            let index = usize::try_from(row).ok().and_then(|row| row.checked_sub(1));
            let rows = share.rows.as_ref();
            index.and_then(|index| rows?.get(index).copied()).unwrap_or(row)
        };
        let rejected = report
            .rejected
            .into_iter()
            .map(|rejected| Rejected { row: original(rejected.row), ..rejected })
            .collect();
        Self {
            read: report.read,
            new: report.new,
            changed: report.changed,
            unchanged: report.unchanged,
            duplicates: report.duplicates,
            rejected,
        }
    }
}

/// The state of a whole city at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The hub's status.
    pub hub: Status,
    /// The nodes' statuses, in their order.
    pub nodes: Vec<Status>,
}

impl Snapshot {
    /// Asks everyone.
    ///
    /// # Errors
    /// Somebody does not answer.
    pub async fn of(city: &City) -> Result<Self, Failure> {
        let mut nodes = Vec::with_capacity(city.nodes.len());
        for node in &city.nodes {
            nodes.push(node.member.status().await?);
        }
        Ok(Self { hub: city.hub.status().await?, nodes })
    }

    /// The hub's picture of a district.
    pub fn district(&self, code: &str) -> Option<&DistrictStatus> {
        self.hub.districts.iter().flatten().find(|district| district.code.as_str() == code)
    }

    /// Everything that hub and nodes do not say alike.
    pub fn differences(&self, city: &City) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut differ = |code: &str, what: &str, node: String, hub: String| {
            if node != hub {
                let (code, what) = (code.to_owned(), what.to_owned());
                found.push(Difference { code, what, node, hub });
            }
        };
        for (node, status) in city.nodes.iter().zip(&self.nodes) {
            let code = node.district.code.as_str();
            let Some(district) = self.district(code) else {
                differ(code, "district", "joined".to_owned(), "unknown".to_owned());
                continue;
            };
            differ(code, "root", status.view.root.to_string(), district.view_root.to_string());
            differ(code, "records", status.view.records.to_string(), district.records.to_string());
            differ(code, "seq", status.feed.seq.to_string(), district.seq.to_string());
            differ(code, "hash", status.feed.hash.to_string(), district.hash.to_string());
            differ(
                code,
                "state",
                State::InSync.name().to_owned(),
                district.state.name().to_owned(),
            );
            let folded = status.feed.seq == status.view.applied_seq;
            differ(code, "folded", folded.to_string(), true.to_string());
        }
        let sum = |count: fn(&Status) -> u64| self.nodes.iter().map(count).sum::<u64>().to_string();
        differ("", "records", sum(|node| node.view.records), self.hub.view.records.to_string());
        differ(
            "",
            "documents",
            sum(|node| node.view.records),
            self.hub.index.documents.to_string(),
        );
        found
    }

    /// The live table for people.
    pub fn rows(&self, city: &City) -> Vec<Vec<String>> {
        city.nodes
            .iter()
            .zip(&self.nodes)
            .map(|(node, status)| {
                let district = self.district(&node.district.code);
                let equal = district.is_some_and(|district| district.view_root == status.view.root);
                let state = district.map_or(State::Waiting, |district| district.state);
                let seen = district.and_then(|district| district.last_contact);
                vec![
                    format!("{} {}", node.district.code, node.district.name),
                    status.view.records.to_string(),
                    format!("{}@{}", status.feed.seq, status.feed.hash.short()),
                    (status.feed.seq - district.map_or(0, |district| district.seq)).to_string(),
                    district.and_then(|district| district.verdict.clone()).unwrap_or_default(),
                    format!("{} {}", state.label().0, state.label().1),
                    if equal { "✓".to_owned() } else { "…".to_owned() },
                    seen.map_or_else(String::new, |at| clock::ago(clock::now_ms(), at).0),
                    node.member.http.clone(),
                ]
            })
            .collect()
    }
}

/// Heads of the live table.
pub const HEADER: [&str; 9] = [
    "区 District",
    "目录 Records",
    "序号 Head",
    "待传 Lag",
    "判定 Verdict",
    "状态 State",
    "根 Root",
    "联系 Contact",
    "地址 Address",
];
