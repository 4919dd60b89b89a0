//! A district that the hub does not hear for weeks, while everybody goes on working (F6, I9).

use liandong_core::id::Head;

use super::{
    Apart, Partition,
    invariants::{self, Violation, broken},
    world::World,
};

/// The district that is cut off.
const CUT_OFF: usize = 0;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// Edits between two moments at which a person is told that they are saved.
const EDITS_A_SAVE: usize = 16;
/// Steps of the others between two of those moments.
const STEPS_A_SAVE: usize = 3;

impl World {
    /// A city is founded, one district is cut off for days and works on, and everything is joined again.
    pub(super) fn live_apart(&mut self, partition: &Partition) -> Result<Apart, Violation> {
        self.found()?;
        self.heal()?;
        let (began, before, there) = (self.scene.now_ms, self.scene.ops, self.mirrored());
        self.lose_hub(CUT_OFF);
        let mut edits = 0;
        for day in 1..=i64::from(partition.days) {
            while edits < u64::from(partition.edits_a_day) * day.unsigned_abs() {
                edits += self.work_apart()?;
                for _ in 0..STEPS_A_SAVE {
                    self.step()?;
                }
            }
            self.scene.now_ms = self.scene.now_ms.max(began + day * DAY_MS);
            self.note(|| format!("day {day}"));
        }
        if self.hub.is_up() && self.mirrored() != there {
            return Err(broken("I9", "the hub heard a district that was cut off"));
        }
        let elsewhere = self.scene.ops - before - edits;
        self.nodes[CUT_OFF].apart = false;
        let apart = self.steps();
        self.heal()?;
        Ok(Apart {
            days: (self.scene.now_ms - began) / DAY_MS,
            districts: self.nodes.len(),
            steps: apart,
            edits,
            elsewhere,
            backlog: self.mirrored().seq - there.seq,
        })
    }

    /// What the hub has of the district.
    fn mirrored(&self) -> Head {
        let feed = self.nodes[CUT_OFF].feed;
        let mirrors = self.hub.process.as_ref().map(|process| &process.mirrors);
        let mirror = mirrors.and_then(|mirrors| mirrors.get(&feed));
        mirror.map_or(Head::EMPTY, |mirror| mirror.journal.head())
    }

    fn lose_hub(&mut self, node: usize) {
        self.note(|| format!("{node} is cut off"));
        let one = &mut self.nodes[node];
        one.apart = true;
        if let Some(process) = &mut one.process {
            (process.push, process.follow) = (None, None);
        }
        self.lose_node_ends(node);
    }

    /// Some edits at the district that is cut off, saved and in effect there. Returns how many were written.
    fn work_apart(&mut self) -> Result<u64, Violation> {
        self.start_node(CUT_OFF)?;
        let (node, scene) = (&mut self.nodes[CUT_OFF], &mut self.scene);
        let before = scene.ops;
        for _ in 0..EDITS_A_SAVE {
            node.edit(scene);
        }
        let nothing_to_send = node.sync()?;
        if !nothing_to_send.is_empty() {
            return Err(broken("I9", "a district that is cut off sends something"));
        }
        invariants::i09_autonomy(node)?;
        Ok(self.scene.ops - before)
    }
}
