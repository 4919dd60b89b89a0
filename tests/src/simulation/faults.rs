//! What can go wrong, by name.

use std::str::FromStr;

/// A kind of fault. Some are accidents; some are things that people and later software rightly do, at bad moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A connection stands still for a while.
    Delay,
    /// A connection is cut at any byte.
    Cut,
    /// A second connection for a feed that has one.
    Duplicate,
    /// One end believes that the connection stands.
    HalfOpen,
    /// A process is killed.
    Kill,
    /// The power goes, and with it what was not synced, in any order of sectors.
    Power,
    /// A sync or a write fails.
    Disk,
    /// A bit flips in a journal.
    Flip,
    /// A clock jumps, stands or is years off.
    Clock,
    /// A node goes on from an older copy of its disk.
    Restore,
    /// A node's disk runs a second time.
    Clone,
    /// The hub goes on from an older copy of its disk.
    HubRestore,
    /// The hub's disk is gone.
    HubWipe,
    /// Keys are rotated.
    Rotate,
    /// Keys are revoked.
    Revoke,
    /// Records go to another district.
    Transfer,
    /// Curators and districts disagree.
    Curate,
    /// Withdrawals go before their turn.
    Urgent,
    /// Mass changes are held back and let through.
    Gate,
    /// Ops of later versions.
    Unknown,
    /// A stranger speaks with a stolen certificate.
    Hostile,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 21] = [
        Self::Delay,
        Self::Cut,
        Self::Duplicate,
        Self::HalfOpen,
        Self::Kill,
        Self::Power,
        Self::Disk,
        Self::Flip,
        Self::Clock,
        Self::Restore,
        Self::Clone,
        Self::HubRestore,
        Self::HubWipe,
        Self::Rotate,
        Self::Revoke,
        Self::Transfer,
        Self::Curate,
        Self::Urgent,
        Self::Gate,
        Self::Unknown,
        Self::Hostile,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Cut => "cut",
            Self::Duplicate => "duplicate",
            Self::HalfOpen => "half-open",
            Self::Kill => "kill",
            Self::Power => "power",
            Self::Disk => "disk",
            Self::Flip => "flip",
            Self::Clock => "clock",
            Self::Restore => "restore",
            Self::Clone => "clone",
            Self::HubRestore => "hub-restore",
            Self::HubWipe => "hub-wipe",
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
            Self::Transfer => "transfer",
            Self::Curate => "curate",
            Self::Urgent => "urgent",
            Self::Gate => "gate",
            Self::Unknown => "unknown",
            Self::Hostile => "hostile",
        }
    }
}

/// A set of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults(u32);

impl Faults {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every one.
    pub const ALL: Self = Self((1 << Fault::ALL.len()) - 1);

    /// These.
    pub const fn of(faults: &[Fault]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < faults.len() {
            set |= 1 << faults[at] as u32;
            at += 1;
        }
        Self(set)
    }

    /// Whether the fault may strike.
    pub const fn has(self, fault: Fault) -> bool {
        self.0 >> fault as u32 & 1 == 1
    }

    /// The faults.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.has(*fault))
    }
}

impl FromStr for Faults {
    type Err = String;

    /// `all`, `none`, or names with commas between them.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => return Ok(Self::ALL),
            "none" => return Ok(Self::NONE),
            _ => {}
        }
        let mut set = Self::NONE;
        for name in text.split(',') {
            let found = Fault::ALL.into_iter().find(|fault| fault.name() == name.trim());
            let fault = found.ok_or_else(|| {
                let known: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
                format!("没有故障 {name} / no fault {name}; all, none, or: {}", known.join(", "))
            })?;
            set.0 |= 1 << fault as u32;
        }
        Ok(set)
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        let names: Vec<_> = self.iter().map(Fault::name).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(","))
    }
}
