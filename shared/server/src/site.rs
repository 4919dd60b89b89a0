//! What the read side needs to know of the process it serves: implemented once by the node and once by the hub.

use liandong_core::{
    city::Gate,
    id::{DistrictCode, FeedId, Hash, RecordId},
};
use liandong_store::{Answer, Entry, Query, Store, StoreError};
use serde::{Deserialize, Serialize};

/// Which side of the federation a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A district's node.
    Node,
    /// The municipal hub.
    Hub,
}

/// How current the city's picture of a district is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Node and hub hold the same, and their roots were compared.
    InSync,
    /// Connected and catching up.
    Behind,
    /// Not connected; what is shown is as old as the last contact.
    Offline,
    /// Enrolment has begun, the node has not joined or never connected.
    Waiting,
    /// Suspended by the hub.
    Suspended,
    /// The node is behind what it had sent: restored from a backup.
    Rollback,
    /// The node's history diverges from what it had sent.
    Fork,
    /// A change of many records waits for a person at the hub.
    Held,
    /// Both folded the same ops into different catalogues.
    Diverged,
    /// The journal here is damaged and waits for the other side.
    Damaged,
    /// The other side refuses the connection.
    Refused,
    /// The district ended in another one; what its node still holds goes there.
    Merged,
}

impl State {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Behind => "behind",
            Self::Offline => "offline",
            Self::Waiting => "waiting",
            Self::Suspended => "suspended",
            Self::Rollback => "rollback",
            Self::Fork => "fork",
            Self::Held => "held",
            Self::Diverged => "diverged",
            Self::Damaged => "damaged",
            Self::Refused => "refused",
            Self::Merged => "merged",
        }
    }

    /// The word for people, Chinese and English.
    pub const fn label(self) -> (&'static str, &'static str) {
        match self {
            Self::InSync => ("已同步", "in sync"),
            Self::Behind => ("追赶中", "catching up"),
            Self::Offline => ("离线", "offline"),
            Self::Waiting => ("待接入", "not joined yet"),
            Self::Suspended => ("已暂停", "suspended"),
            Self::Rollback => ("已冻结：节点回退", "frozen: rolled back"),
            Self::Fork => ("已冻结：历史分叉", "frozen: forked"),
            Self::Held => ("大批变更待确认", "a mass change waits"),
            Self::Diverged => ("摘要不一致", "roots differ"),
            Self::Damaged => ("日志损坏", "journal damaged"),
            Self::Refused => ("被拒绝", "refused"),
            Self::Merged => ("已并入他区", "merged into another"),
        }
    }
}

/// A district as readers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistrictView {
    /// Area code of today.
    pub code: DistrictCode,
    /// Codes by which it, or a district merged into it, is still found.
    pub former: Vec<DistrictCode>,
    /// Name for people.
    pub name: String,
    /// Its feed, once its node has joined.
    pub feed: Option<FeedId>,
    /// How current it is.
    pub state: State,
    /// The moment what is shown was last known to be current, milliseconds since 1970.
    pub as_of_ms: Option<i64>,
    /// Live records shown.
    pub records: u64,
    /// Ops the node has that are not shown yet.
    pub lag_records: u64,
}

impl DistrictView {
    /// Whether a code of any time means this district.
    pub fn answers_to(&self, code: &DistrictCode) -> bool {
        self.code == *code || self.former.contains(code)
    }
}

/// A process whose catalogue can be read.
pub trait Site: Send + Sync + 'static {
    /// Node or hub.
    fn role(&self) -> Role;
    /// Name of the district or the city, for people.
    fn name(&self) -> String;
    /// Where the catalogue is kept.
    fn store(&self) -> &Store;
    /// The document of `/api/v1/status`.
    fn status(&self) -> Status;
    /// Districts whose records may appear, in the order of their codes.
    fn districts(&self) -> Vec<DistrictView>;

    /// At a node: how current the whole city is here. A hub's catalogue is the city.
    fn replica(&self) -> Option<CityStatus> {
        None
    }

    /// Districts of the whole city.
    fn city_districts(&self) -> Vec<DistrictView> {
        self.districts()
    }

    /// Searches the whole city.
    ///
    /// # Errors
    /// `Index`, `View`.
    fn city_search(&self, query: &Query) -> Result<Answer, StoreError> {
        self.store().search(query)
    }

    /// What was perhaps meant by a text that nothing in the whole city matches.
    ///
    /// # Errors
    /// `Index`, `View`, `Io`, `Damaged`.
    fn city_hint(&self, query: &Query) -> Result<Option<String>, StoreError> {
        self.store().hint(query)
    }

    /// What in the whole city begins as a text does that is still being typed.
    ///
    /// # Errors
    /// `Index`, `View`.
    fn city_typed(&self, query: &Query) -> Result<Answer, StoreError> {
        self.store().typed(query)
    }

    /// A record of the whole city.
    ///
    /// # Errors
    /// `View`, `Io`, `Damaged`.
    fn city_entry(&self, id: RecordId) -> Result<Option<Entry>, StoreError> {
        self.store().entry(id)
    }
}

/// The document of `/api/v1/status` and of `status --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Node or hub.
    pub role: Role,
    /// Name and version of the software.
    pub software: String,
    /// The process's own feed.
    pub feed: FeedStatus,
    /// The fold of everything it holds.
    pub view: ViewStatus,
    /// The search index.
    pub index: IndexStatus,
    /// At the hub: every district.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub districts: Option<Vec<DistrictStatus>>,
    /// At a node: its link to the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubStatus>,
    /// At a node: its replica of the city.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<CityStatus>,
    /// At a hub that takes its own feed back from the nodes: how far it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<String>,
    /// Backups; absent where there were none and none are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupStatus>,
}

/// A feed's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedStatus {
    /// The feed.
    pub id: FeedId,
    /// Position of the last op.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// What cannot be read of it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// The view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewStatus {
    /// Root over all records.
    pub root: Hash,
    /// Live records.
    pub records: u64,
    /// Ops folded, over all feeds with records.
    pub applied_seq: u64,
}

/// The index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexStatus {
    /// Ops searchable, over all feeds with records.
    pub applied_seq: u64,
    /// Documents.
    pub documents: u64,
}

/// A district at the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DistrictStatus {
    /// Area code.
    pub code: DistrictCode,
    /// Name for people.
    pub name: String,
    /// How current it is.
    pub state: State,
    /// Last verdict of a handshake, for example `IN_SYNC`; absent before the first.
    pub verdict: Option<String>,
    /// What the hub found, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<String>,
    /// Durable position of the mirror.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// Root of the district's records.
    pub view_root: Hash,
    /// Live records.
    pub records: u64,
    /// Ops that did not take effect.
    pub quarantined: u64,
    /// A change of many records that waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Gate>,
    /// Ops the node has that are not shown yet.
    pub lag_records: u64,
    /// Seconds since the mirror was last known to be current; absent before that.
    pub lag_seconds: Option<u64>,
    /// Last message of the node, milliseconds since 1970.
    pub last_contact: Option<i64>,
    /// End of the node's certificate, milliseconds since 1970.
    pub certificate_expires: Option<i64>,
}

/// A node's link to its hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubStatus {
    /// Where the hub is.
    pub url: String,
    /// How current the hub's picture of this district is.
    pub state: State,
    /// Last verdict of a handshake.
    pub verdict: Option<String>,
    /// The hub's incarnation: more than 1 when it was rebuilt from its nodes.
    #[serde(default)]
    pub incarnation: u32,
    /// What the hub said, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<String>,
    /// Position of the last receipt.
    pub acked_seq: u64,
    /// Its hash.
    pub acked_hash: Hash,
    /// Last message of the hub, milliseconds since 1970.
    pub last_contact: Option<i64>,
    /// End of this node's certificate, milliseconds since 1970.
    pub certificate_expires: Option<i64>,
    /// Ops the hub kept without effect.
    pub quarantined: u64,
    /// Records that this node and the hub's copy both changed, and that wait for a person here.
    #[serde(default)]
    pub conflicts: u64,
    /// Receipts of the hub for ops that neither side holds.
    #[serde(default)]
    pub lost_receipts: u64,
}

/// A node's replica of the city.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CityStatus {
    /// Position in the city's stream.
    pub seq: u64,
    /// Root of the replica.
    pub root: Hash,
    /// Live records.
    pub records: u64,
    /// Moment it was last known to be current.
    pub as_of: Option<i64>,
    /// Whether the root equals the hub's signed one.
    pub complete: bool,
    /// Whether the hub's word for it is missing or too old.
    pub stale: bool,
    /// Until when the hub's word holds.
    pub expires: Option<i64>,
    /// Position of the hub's own feed as it is mirrored here.
    pub hub_seq: u64,
    /// What the hub sent that was not believed.
    pub refused: u64,
    /// Rows received since the replica was begun.
    pub received: u64,
    /// Why it is not complete or not current, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<String>,
}

/// Backups of the process. One counts when it was restored and checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// Hours between two; absent when none are made by the process itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_hours: Option<u32>,
    /// The last one that was restored and checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<BackupVerified>,
    /// What went wrong since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<BackupFailed>,
    /// Whether the last verified one is older than it should be.
    pub overdue: bool,
}

/// A backup that was restored and checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupVerified {
    /// When its journals were cut, milliseconds since 1970.
    pub at_ms: i64,
    /// The file.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Ops in it.
    pub ops: u64,
    /// Live records in it.
    pub records: u64,
    /// How long making, restoring and checking took, milliseconds.
    pub took_ms: u64,
    /// Whether the keys are in it.
    pub keys: bool,
}

/// A backup that cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFailed {
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Why, for people.
    pub explain: String,
}
