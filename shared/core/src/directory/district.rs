//! A district in time: codes and names change and districts are merged; feeds and the ids of records never change.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{Directory, Refusal, Token};
use crate::{
    city::change,
    id::{DistrictCode, FeedId},
    op::{Change, OpType},
};

/// Whether a district takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Its node may push.
    Active,
    /// Its node is refused; what the city has of it stays as it is.
    Suspended,
}

/// Payload of `dir.district.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct District {
    /// Area code at the time; may change, the feed does not.
    pub code: DistrictCode,
    /// Name for people.
    pub name: String,
    /// Active or suspended.
    pub standing: Standing,
    /// Why it was suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// While suspended its records are hidden in the city, not only frozen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// First day under this code and name; none: since ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Date>,
    /// First day on which it is no longer; none: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<Date>,
    /// The district that goes on as this one: its feed is this one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<DistrictCode>,
    /// The district that this one goes on as, or was merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<DistrictCode>,
}

impl District {
    /// A district since ever.
    pub fn new(code: DistrictCode, name: &str) -> Self {
        Self {
            code,
            name: name.to_owned(),
            standing: Standing::Active,
            reason: None,
            hidden: false,
            valid_from: None,
            valid_to: None,
            predecessor: None,
            successor: None,
        }
    }

    fn put(&self) -> Vec<Change> {
        vec![change(OpType::DirDistrict, self.code.as_str().as_bytes(), self)]
    }
}

impl Directory {
    /// Takes a district as it is from here on. One that goes on from another takes its feed along.
    pub(super) fn put_district(&mut self, district: District) {
        if let Some(before) = &district.predecessor {
            if let Some(old) = self.districts.get_mut(before) {
                old.valid_to = district.valid_from;
                old.successor = Some(district.code.clone());
            }
            for entry in self.feeds.values_mut().filter(|entry| entry.code == *before) {
                entry.code = district.code.clone();
            }
        }
        self.districts.insert(district.code.clone(), district);
    }

    /// Ends a district whose records all went to another one.
    pub(crate) fn end_district(&mut self, feed: FeedId, into: &DistrictCode, effective: Date) {
        let Some(code) = self.feeds.get(&feed).map(|entry| entry.code.clone()) else { return };
        if let Some(old) = self.districts.get_mut(&code).filter(|old| old.successor.is_none()) {
            old.valid_to = Some(effective);
            old.successor = Some(into.clone());
        }
    }

    /// The district that was in force on a day where this code's district was before or is now.
    pub fn at(&self, code: &DistrictCode, date: Date) -> Option<&District> {
        let mut district = self.districts.get(code)?;
        // Each step goes one way along the line; its length bounds a line that a foreign hub bent into a ring.
        for _ in 0..self.districts.len() {
            let next = if district.valid_to.is_some_and(|end| end <= date) {
                &district.successor
            } else if district.valid_from.is_some_and(|begin| begin > date) {
                &district.predecessor
            } else {
                break;
            };
            let Some(next) = next.as_ref().and_then(|code| self.districts.get(code)) else { break };
            district = next;
        }
        Some(district)
    }

    /// Its name on a day.
    pub fn name_at(&self, code: &DistrictCode, date: Date) -> Option<&str> {
        self.at(code, date).map(|district| district.name.as_str())
    }

    /// The district that a code of any time means today.
    pub fn current(&self, code: &DistrictCode) -> Option<&District> {
        self.at(code, Date::MAX)
    }

    /// Codes that a district or those merged into it had before.
    pub fn former(&self, code: &DistrictCode) -> Vec<DistrictCode> {
        let goes_on =
            |other: &DistrictCode| self.current(other).is_some_and(|now| now.code == *code);
        self.districts.keys().filter(|other| *other != code && goes_on(other)).cloned().collect()
    }

    /// A district that commands may change: one that nothing succeeded.
    fn living(&self, code: &DistrictCode) -> Result<&District, Refusal> {
        let known = self.districts.get(code).ok_or_else(|| Refusal::NoDistrict(code.clone()))?;
        match &known.successor {
            Some(successor) => Err(Refusal::Succeeded(code.clone(), successor.clone())),
            None => Ok(known),
        }
    }

    /// A new district with its first token.
    ///
    /// # Errors
    /// `DistrictExists`.
    pub fn add_district(&self, name: &str, token: &Token) -> Result<Vec<Change>, Refusal> {
        if self.districts.contains_key(&token.code) {
            return Err(Refusal::DistrictExists(token.code.clone()));
        }
        let mut changes = District::new(token.code.clone(), name).put();
        changes.push(change(OpType::DirToken, token.code.as_str().as_bytes(), token));
        Ok(changes)
    }

    /// Another token for a district whose node has not joined yet, or for a new node in the place of the one that
    /// wrote `token.feed`.
    ///
    /// # Errors
    /// `NoDistrict`, `Succeeded`, `HasFeed`, `NoFeed`.
    pub fn add_token(&self, token: &Token) -> Result<Vec<Change>, Refusal> {
        self.living(&token.code)?;
        match (self.feed_of(&token.code), token.feed) {
            (Some(_), None) => return Err(Refusal::HasFeed(token.code.clone())),
            (known, Some(feed)) if known != Some(feed) => {
                return Err(Refusal::NoFeed(token.code.clone()));
            }
            _ => {}
        }
        Ok(vec![change(OpType::DirToken, token.code.as_str().as_bytes(), token)])
    }

    /// Suspends a district: its node is refused, and its records stay as they are or are hidden.
    ///
    /// # Errors
    /// `NoDistrict`, `Succeeded`, `NoChange`.
    pub fn suspend(
        &self,
        code: &DistrictCode,
        reason: String,
        hidden: bool,
    ) -> Result<Vec<Change>, Refusal> {
        let known = self.living(code)?;
        if known.standing == Standing::Suspended && known.hidden == hidden {
            return Err(Refusal::NoChange(code.clone()));
        }
        let (standing, reason) = (Standing::Suspended, Some(reason));
        Ok(District { standing, reason, hidden, ..known.clone() }.put())
    }

    /// Lets a suspended district take part again.
    ///
    /// # Errors
    /// `NoDistrict`, `Succeeded`, `NoChange`.
    pub fn resume(&self, code: &DistrictCode) -> Result<Vec<Change>, Refusal> {
        let known = self.living(code)?;
        if known.standing == Standing::Active {
            return Err(Refusal::NoChange(code.clone()));
        }
        let (standing, reason) = (Standing::Active, None);
        Ok(District { standing, reason, hidden: false, ..known.clone() }.put())
    }

    /// A district goes on under another code, another name, or both; its feed goes with it.
    ///
    /// # Errors
    /// `NoDistrict`, `Succeeded`, `DistrictExists`.
    pub fn rename(
        &self,
        code: &DistrictCode,
        new: &DistrictCode,
        name: &str,
        effective: Date,
    ) -> Result<Vec<Change>, Refusal> {
        let known = self.living(code)?;
        if self.districts.contains_key(new) {
            return Err(Refusal::DistrictExists(new.clone()));
        }
        let renamed = District {
            code: new.clone(),
            name: name.to_owned(),
            valid_from: Some(effective),
            predecessor: Some(code.clone()),
            ..known.clone()
        };
        Ok(renamed.put())
    }

    /// A district ends in another one. What becomes of its records is the matter of a transfer.
    ///
    /// # Errors
    /// `NoDistrict`, `Succeeded`; `NoChange` for a district into itself.
    pub fn merge(
        &self,
        code: &DistrictCode,
        into: &DistrictCode,
        effective: Date,
    ) -> Result<Vec<Change>, Refusal> {
        let (known, into) = (self.living(code)?, self.living(into)?);
        if known.code == into.code {
            return Err(Refusal::NoChange(code.clone()));
        }
        let successor = Some(into.code.clone());
        Ok(District { valid_to: Some(effective), successor, ..known.clone() }.put())
    }
}
