//! A hub and its nodes in one temporary directory.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Mutex,
};

use liandong_hub::command::{Command, DistrictAdded};
use liandong_server::{
    admin::AdminError,
    site::{DistrictStatus, State},
};
use rand::Rng as _;
use tempfile::TempDir;

use crate::{
    member::{Member, Role},
    wait::wait_until,
};

/// Ports that are given out lie below those that systems use for outgoing connections: a stopped process must find its
/// port free when it starts again.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A hub, and the place where its nodes are.
#[derive(Debug)]
pub struct City {
    /// The hub.
    pub hub: Member,
    program: PathBuf,
    // Dropped last, when the hub has ended.
    root: TempDir,
}

impl City {
    /// A new city whose hub runs. `program` is `liandong-process`.
    ///
    /// # Panics
    /// The hub does not start.
    pub async fn start(program: impl AsRef<Path>) -> Self {
        let mut city = Self::prepare(program).await;
        city.hub.start().await;
        city
    }

    /// A new city whose hub has its keys and configuration and is still to be started.
    ///
    /// # Panics
    /// The hub cannot be made.
    pub async fn prepare(program: impl AsRef<Path>) -> Self {
        let program = program.as_ref().to_owned();
        let root = TempDir::with_prefix("liandong-city-").expect("a temporary directory");
        let hub = Member::new(Role::Hub, "hub", &program, root.path(), [free_port(), free_port()]);
        let [http, grpc] = hub.listen();
        let url = hub.grpc_url();
        let args =
            ["init", "--city", "测试市", "--http", &http, "--grpc", &grpc, "--public-url", &url];
        let _made = hub.cli(&args).await.exits(0);
        Self { hub, program, root }
    }

    /// Lets every mass change through, for tests that make many and are not about that.
    ///
    /// # Panics
    /// The hub refuses.
    pub async fn let_all_pass(&self) {
        let args = ["policy", "set", "--mass-records", "1000000", "--mass-percent", "100"];
        let _set = self.hub.cli(&args).await.exits(0);
    }

    /// The temporary directory, for files of the test.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// A node with ports of its own that has not joined. Its pauses between attempts are short.
    pub fn node(&self, name: &str) -> Member {
        let ports = [free_port(), free_port()];
        let mut node = Member::new(Role::Node, name, &self.program, self.root(), ports);
        node.set_env("LIANDONG_RETRY__FIRST_MS", "50");
        node.set_env("LIANDONG_RETRY__LONGEST_MS", "500");
        node
    }

    /// Adds a district, or makes another token for one that has not joined.
    ///
    /// # Errors
    /// The hub's refusal.
    pub async fn add(
        &self,
        code: &str,
        name: &str,
        token_ttl_secs: u64,
    ) -> Result<DistrictAdded, AdminError> {
        let code = code.parse().expect("an area code");
        let name = Some(name.to_owned());
        self.hub.command_call(&Command::DistrictAdd { code, name, token_ttl_secs }).await
    }

    /// Adds a district and starts its node. The node's directory has the name of the code.
    ///
    /// # Panics
    /// It cannot join or start.
    pub async fn join(&self, code: &str, name: &str) -> Member {
        let mut node = self.enrol(code, name).await;
        node.start().await;
        node
    }

    /// Adds a district and lets its node join without starting it.
    ///
    /// # Panics
    /// It cannot join.
    pub async fn enrol(&self, code: &str, name: &str) -> Member {
        let added = self.add(code, name, 3600).await.expect("a token");
        let node = self.node(code);
        let [http, grpc] = node.listen();
        let args = ["init", "--join", &added.token, "--http", &http, "--grpc", &grpc];
        let _joined = node.cli(&args).await.exits(0);
        node
    }

    /// What the hub knows of a district.
    ///
    /// # Panics
    /// There is no such district.
    pub async fn district(&self, code: &str) -> DistrictStatus {
        let districts = self.hub.status().await.districts.expect("a hub");
        let found = districts.into_iter().find(|district| district.code.as_str() == code);
        found.unwrap_or_else(|| panic!("no district {code}"))
    }

    /// Waits until the hub has everything of a node, folded and searchable, and both have compared their roots.
    ///
    /// # Panics
    /// It does not within the deadline.
    pub async fn level(&self, node: &Member) {
        let what = format!("hub and {} are level", node.dir().display());
        wait_until(&what, async || {
            let (local, city) = (node.status().await, self.hub.status().await);
            let found = city.districts.iter().flatten().find(|district| {
                district.seq == local.feed.seq && district.hash == local.feed.hash
            });
            let seen = || format!("node {local:#?}\nhub {city:#?}");
            let district = found.ok_or_else(seen)?;
            let link = local.hub.as_ref().ok_or_else(seen)?;
            let level = district.state == State::InSync
                && link.state == State::InSync
                && district.view_root == local.view.root
                && district.records == local.view.records
                && local.index.applied_seq == local.feed.seq
                && city.index.applied_seq == city.view.applied_seq;
            level.then_some(()).ok_or_else(seen)
        })
        .await;
    }
}

/// A port that nobody listens on and that this process has not given out before.
///
/// # Panics
/// There is none.
fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().expect("a lock");
    for _ in 0..1_000 {
        let port = rand::rng().random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && given.insert(port) {
            return port;
        }
    }
    panic!("no free port")
}
