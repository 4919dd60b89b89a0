//! Which territory a record is about, read from its title and the name of its provider.

use std::collections::BTreeMap;

use super::Agreement;
use super::word::fold;

/// Rank of a territory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// 全国.
    Nation,
    /// 省, 自治区.
    Province,
    /// 市, 自治州, 地区, 盟.
    City,
    /// 区, 县, 旗.
    County,
    /// 镇, 乡, 街道.
    Town,
}

/// What follows the stem of a name and tells its rank, the longest first.
const SUFFIXES: [(&str, Level); 19] = [
    ("维吾尔自治区", Level::Province),
    ("回族自治区", Level::Province),
    ("壮族自治区", Level::Province),
    ("自治区", Level::Province),
    ("自治州", Level::City),
    ("自治县", Level::County),
    ("自治旗", Level::County),
    ("新区", Level::County),
    ("街道", Level::Town),
    ("地区", Level::City),
    ("省", Level::Province),
    ("市", Level::City),
    ("盟", Level::City),
    ("州", Level::City),
    ("区", Level::County),
    ("县", Level::County),
    ("旗", Level::County),
    ("镇", Level::Town),
    ("乡", Level::Town),
];

/// Characters before 市, 区 or 县 that make another word of it: 城市, 园区, 小区 …
const NO_STEM_ENDS: &str = "城超园小社景校片辖灾库牧林农山老新各全我本镇乡县区市政省发工";
/// Characters before 镇, 乡 or 街道 that do: 城镇, 村镇, 各乡 …
const NO_TOWN_ENDS: &str = "城乡村集各全我本市县区";
/// Characters behind it that do: 市场, 区域, 乡村, 县级 …
const NO_NAME_FOLLOWS: &str = "场域村级划间镇民直属容别";
/// Words for the own territory, which say no more than the provider does. 全区 may be a district or an
/// autonomous region.
const OWN: [&str; 7] = ["全区", "本市", "本区", "本县", "我市", "我区", "我县"];
/// Words for the whole of a territory of a rank.
const WHOLE: [(&str, Level); 3] =
    [("全省", Level::Province), ("全市", Level::City), ("全县", Level::County)];

/// A territory, by rank and stem of its name; without a name it is any of its rank.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    level: Level,
    stem: Option<Box<str>>,
}

impl Place {
    fn named(level: Level, stem: &[char]) -> Self {
        let stem: String = stem.iter().collect();
        Self { level, stem: Some(stem.into()) }
    }

    /// The place of a name such as 银川市; a name without a known suffix is a district.
    fn parse(name: &str) -> Self {
        let name = fold(name);
        match suffix_of(&name) {
            Some((length, level)) => Self::named(level, &name[..name.len() - length]),
            None => Self::named(Level::County, &name),
        }
    }

    /// A town of this name in the upper territory; names above that of towns stand for themselves.
    fn within(mut self, upper: &Self) -> Self {
        if let (Level::Town, Some(stem)) = (self.level, &self.stem) {
            let upper = upper.stem.as_deref().unwrap_or_default();
            self.stem = Some(format!("{upper}/{stem}").into());
        }
        self
    }

    fn may_be(&self, other: &Self) -> bool {
        let names = [&self.stem, &other.stem];
        self.level == other.level && (names.contains(&&None) || self.stem == other.stem)
    }
}

/// The territories a record is about: the one, or several where a title names several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Territory(Vec<Place>);

impl Territory {
    pub(super) fn of(places: impl IntoIterator<Item = Place>) -> Self {
        let mut places: Vec<Place> = places.into_iter().collect();
        places.sort();
        places.dedup();
        Self(places)
    }

    /// Same when one names nothing that the other leaves out.
    pub(super) fn agrees(&self, other: &Self) -> Agreement {
        let within =
            |a: &Self, b: &Self| a.0.iter().all(|one| b.0.iter().any(|two| one.may_be(two)));
        if !within(self, other) && !within(other, self) {
            return Agreement::Different;
        }
        let unnamed = |territory: &Self| territory.0.iter().any(|place| place.stem.is_none());
        if unnamed(self) || unnamed(other) { Agreement::Unknown } else { Agreement::Same }
    }

    /// Under which keys the record is looked for; see [`Self::sought`].
    pub(super) fn posted(&self) -> impl Iterator<Item = Block> {
        self.0.iter().flat_map(|place| {
            let any = place.stem.is_some().then_some(Block::AnyNamed(place.level));
            [Some(Block::One(place.clone())), any].into_iter().flatten()
        })
    }

    /// The keys under which every record lies whose territory may agree.
    pub(super) fn sought(&self) -> impl Iterator<Item = Block> {
        self.0.iter().flat_map(|place| {
            let unnamed = Block::One(Place { level: place.level, stem: None });
            let named = match &place.stem {
                Some(_) => Block::One(place.clone()),
                None => Block::AnyNamed(place.level),
            };
            [named, unnamed]
        })
    }
}

/// A part of all records by territory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Block {
    /// Those about this place; without a name, those that only tell the rank.
    One(Place),
    /// All that name a place of this rank.
    AnyNamed(Level),
}

/// The names of territories that the records of a federation may speak of: its districts, its city,
/// the region above. Names that are not told are still recognised where they lead a title with their
/// suffix, e.g. 永宁县.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Stems by their first character, the longest first.
    stems: BTreeMap<char, Vec<(Vec<char>, Level)>>,
}

impl Places {
    /// Takes full names such as 上海市 or 浦东新区, of any rank.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut stems: BTreeMap<char, Vec<(Vec<char>, Level)>> = BTreeMap::new();
        for name in names {
            let Place { level, stem: Some(stem) } = Place::parse(name) else { continue };
            let stem: Vec<char> = stem.chars().collect();
            if let Some(first) = stem.first() {
                stems.entry(*first).or_default().push((stem, level));
            }
        }
        for known in stems.values_mut() {
            known.sort_by(|(a, x), (b, y)| (b.len(), a, x).cmp(&(a.len(), b, y)));
            known.dedup();
        }
        Self { stems }
    }

    /// The places a folded title names, and the title without them. Of a chain such as 泸州市泸县 only
    /// the last counts; towns are told apart by the district they lie in, which is the keeper's when
    /// the title does not say.
    pub(super) fn take_from_title(
        &self,
        title: &[char],
        keeper: &Place,
    ) -> (Vec<Place>, Vec<char>) {
        let (mut places, mut rest, mut at) = (Vec::<Place>::new(), Vec::new(), 0);
        let mut chained = false;
        while at < title.len() {
            let leads = rest.is_empty();
            if let Some((length, place)) = self.place_at(&title[at..], leads) {
                let upper = places.pop_if(|upper| chained && upper.level < place.level);
                places.push(place.within(upper.as_ref().unwrap_or(keeper)));
                chained = true;
                at += length;
                continue;
            }
            chained = false;
            let rank = || (leads && at == 0).then(|| leading_rank(title)).flatten();
            if let Some((length, level)) = whole_at(&title[at..]).or_else(rank) {
                // The own territory is the provider's; one above it is another.
                if level < keeper.level {
                    places.push(Place { level, stem: None });
                }
                at += length;
            } else if OWN.iter().any(|word| starts_with(&title[at..], word)) {
                at += 2;
            } else {
                rest.push(title[at]);
                at += 1;
            }
        }
        (places, rest)
    }

    /// The territory of a provider of a district, and the folded name without it.
    pub(super) fn take_from_provider(&self, name: &[char], district: &str) -> (Place, Vec<char>) {
        let own = Place::parse(district);
        let (mut found, mut rest, mut at) = (Vec::new(), Vec::new(), 0);
        while at < name.len() {
            let known = self.known_at(&name[at..], rest.is_empty());
            let rank = || (at == 0).then(|| leading_rank(name)).flatten();
            if let Some((length, place)) = known {
                found.push(place);
                at += length;
            } else if let Some((length, level)) = rank() {
                let is_own = own.level == level;
                found.push(if is_own { own.clone() } else { Place { level, stem: None } });
                at += length;
            } else {
                rest.push(name[at]);
                at += 1;
            }
        }
        // 市自然资源局江阳区分局 belongs to 江阳区.
        let deepest = found.into_iter().max_by_key(|place| (place.level, place.stem.is_some()));
        (deepest.unwrap_or(own), rest)
    }

    fn place_at(&self, text: &[char], leads: bool) -> Option<(usize, Place)> {
        if starts_with(text, "全国") {
            return Some((2, Place { level: Level::Nation, stem: None }));
        }
        if let Some(known) = self.known_at(text, leads) {
            return Some(known);
        }
        if starts_with(text, "自治区") && text.get(3) != Some(&'级') {
            return Some((3, Place { level: Level::Province, stem: None }));
        }
        leads.then(|| guessed_at(text)).flatten()
    }

    /// A known name that begins here: with its suffix anywhere, its stem alone only where it leads.
    fn known_at(&self, text: &[char], leads: bool) -> Option<(usize, Place)> {
        let known = self.stems.get(text.first()?)?;
        known.iter().filter(|(stem, _)| text.starts_with(stem)).find_map(|(stem, level)| {
            let behind = &text[stem.len()..];
            // 银川地区内 speaks of an area, not of a prefecture.
            let fits = |(suffix, of): &&(&str, Level)| {
                of == level && *suffix != "地区" && starts_with(behind, suffix)
            };
            let suffix = SUFFIXES.iter().find(fits);
            let length = match suffix {
                Some((suffix, _)) => stem.len() + suffix.chars().count(),
                None if leads && stem.len() > 1 => stem.len(),
                None => return None,
            };
            Some((length, Place::named(*level, stem)))
        })
    }
}

fn whole_at(text: &[char]) -> Option<(usize, Level)> {
    WHOLE.iter().find(|(word, _)| starts_with(text, word)).map(|(_, level)| (2, *level))
}

/// A name of two or three characters with a suffix, nobody having told it.
fn guessed_at(text: &[char]) -> Option<(usize, Place)> {
    [2, 3].into_iter().find_map(|stem| {
        let (level, suffix) =
            ["市", "县", "区", "镇", "乡", "街道"].into_iter().find_map(|suffix| {
                let (_, level) = SUFFIXES.iter().find(|(known, _)| *known == suffix)?;
                text.get(stem..)
                    .filter(|behind| starts_with(behind, suffix))
                    .map(|_| (*level, suffix))
            })?;
        let end = stem + suffix.chars().count();
        let (no_ends, no_follows) = match level {
            Level::Town => (NO_TOWN_ENDS, "级村"),
            _ => (NO_STEM_ENDS, NO_NAME_FOLLOWS),
        };
        let another_word = no_ends.contains(text[stem - 1])
            || text.get(end).is_none_or(|next| no_follows.contains(*next));
        (!another_word).then(|| (end, Place::named(level, &text[..stem])))
    })
}

/// A rank without a name at the beginning, as in 市司法局 or 自治区财政厅.
fn leading_rank(text: &[char]) -> Option<(usize, Level)> {
    let ranks = ["自治区", "省", "市", "州", "区", "县"];
    let suffix = ranks.into_iter().find(|suffix| starts_with(text, suffix))?;
    let length = suffix.chars().count();
    let next = text.get(length)?;
    // 市场监督管理局, 市政管理局, 区外单位, 市县区司法局 name no rank.
    let another_word = NO_NAME_FOLLOWS.contains(*next)
        || "外内县区".contains(*next)
        || (*next == '政' && text.get(length + 1) != Some(&'府'));
    let level = SUFFIXES.iter().find(|(known, _)| *known == suffix)?.1;
    (!another_word).then_some((length, level))
}

fn suffix_of(name: &[char]) -> Option<(usize, Level)> {
    SUFFIXES.iter().find_map(|(suffix, level)| {
        let suffix: Vec<char> = suffix.chars().collect();
        (name.len() > suffix.len() && name.ends_with(&suffix)).then_some((suffix.len(), *level))
    })
}

fn starts_with(text: &[char], word: &str) -> bool {
    let mut text = text.iter();
    word.chars().all(|c| text.next() == Some(&c))
}
