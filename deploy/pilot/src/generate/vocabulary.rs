//! The words, read once from the tables that are compiled in.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::District;

/// Area code of the district whose bureaus serve as the pattern for made-up districts.
const PATTERN_DISTRICT: &str = "310101";

/// Items that any sheet may have.
const COMMON_FIELDS: [&str; 6] = ["更新时间", "数据来源", "是否有效", "所属区县", "序号", "备注"];

/// A base title with what belongs to it.
#[derive(Debug, Default)]
pub(super) struct Title {
    pub(super) theme: String,
    pub(super) theme_code: String,
    pub(super) words: String,
    pub(super) bureau: String,
    pub(super) bureau_number: usize,
    pub(super) cycle: String,
    pub(super) open: String,
    pub(super) share: String,
    pub(super) service: bool,
    /// Indices into `Vocabulary::fields`, the telling ones first.
    pub(super) fields: Vec<usize>,
}

/// An information item.
#[derive(Debug, Default)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) column: String,
    pub(super) data_type: &'static str,
    pub(super) length: u32,
    /// The kind of personal data, which is also the name of the rule that masks it.
    pub(super) personal: Option<String>,
}

/// A bureau of a district.
#[derive(Debug, Default)]
pub(super) struct Bureau {
    pub(super) name: String,
    pub(super) uscc: String,
}

/// All tables.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    pub(super) districts: Vec<District>,
    pub(super) titles: Vec<Title>,
    pub(super) fields: Vec<Field>,
    /// Indices of the fields that any sheet may have.
    pub(super) common_fields: Vec<usize>,
    pub(super) heads: Vec<String>,
    pub(super) tails: Vec<String>,
    purposes: HashMap<String, Vec<String>>,
    bureaus: HashMap<(String, String), Bureau>,
}

/// The tables.
pub(super) static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::load);

impl Vocabulary {
    fn load() -> Self {
        let mut words = Self::default();
        for row in table(include_str!("../../data/districts.csv")) {
            if row.at("in_force_now") == "yes" {
                let district = District { code: row.owned("code"), name: row.owned("name") };
                words.districts.push(district);
            }
        }
        words.districts.sort();
        words.fields = table(include_str!("../../data/fields.csv")).iter().map(field).collect();
        let position = |name| words.fields.iter().position(|field| field.name == name);
        words.common_fields = COMMON_FIELDS.into_iter().filter_map(position).collect();
        for row in table(include_str!("../../data/places.csv")) {
            words.heads.push(row.owned("head"));
            words.tails.push(row.owned("tail"));
        }
        words.tails.retain(|tail| !tail.is_empty());
        for row in table(include_str!("../../data/purposes.csv")) {
            words.purposes.entry(row.owned("theme")).or_default().push(row.owned("purpose"));
        }
        let mut numbers = HashMap::new();
        for row in table(include_str!("../../data/district_bureaus.csv")) {
            let key = row.owned("bureau_key");
            let next = numbers.len() + 1;
            numbers.entry(key.clone()).or_insert(next);
            // The entry for streets and towns says "(several)": one office stands for them.
            let name =
                row.at("bureau_name").replace("街道办事处/镇人民政府(多个)", "街镇工作办公室");
            let bureau = Bureau { name, uscc: row.owned("synthetic_uscc") };
            words.bureaus.insert((row.owned("district_code"), key), bureau);
        }
        words.titles = words.load_titles(&numbers);
        words
    }

    fn load_titles(&self, numbers: &HashMap<String, usize>) -> Vec<Title> {
        let themes: HashMap<String, String> = table(include_str!("../../data/themes.csv"))
            .iter()
            .map(|row| (row.owned("theme"), row.owned("code")))
            .collect();
        let groups = table(include_str!("../../data/item_groups.csv"));
        let by_name: HashMap<&str, usize> =
            self.fields.iter().enumerate().map(|(at, field)| (field.name.as_str(), at)).collect();
        let mut rows = table(include_str!("../../data/dataset_titles.csv"));
        rows.extend(table(include_str!("../../data/extra_titles.csv")));
        let titles = rows.iter().filter_map(|row| {
            // A title without a bureau is kept by the city only.
            let bureau_number = *numbers.get(row.at("district_bureau_key"))?;
            let words = row.at("title");
            let group = groups.iter().find(|g| g.at("match").split('|').any(|w| words.contains(w)));
            let names = group.map(|group| group.at("fields")).unwrap_or_default();
            Some(Title {
                theme: row.owned("theme"),
                theme_code: themes.get(row.at("theme"))?.clone(),
                // The district's name stands before it anyway.
                words: words.strip_prefix('区').unwrap_or(words).to_owned(),
                bureau: row.owned("district_bureau_key"),
                bureau_number,
                cycle: row.owned("update_cycle"),
                open: row.owned("open_2016"),
                share: row.owned("share_2016"),
                service: row.at("delivery_form") == "接口",
                fields: names.split('|').filter_map(|name| by_name.get(name).copied()).collect(),
            })
        });
        titles.collect()
    }

    /// What data of this theme are used for.
    pub(super) fn purposes(&self, theme: &str) -> &[String] {
        self.purposes.get(theme).map(Vec::as_slice).unwrap_or_default()
    }

    /// The bureau of a district; made-up districts have the bureaus of a real one under their own
    /// name.
    pub(super) fn bureau(&self, district: &District, title: &Title) -> Bureau {
        let find = |code: &str| self.bureaus.get(&(code.to_owned(), title.bureau.clone()));
        if let Some(own) = find(&district.code) {
            return Bureau { name: own.name.clone(), uscc: own.uscc.clone() };
        }
        let pattern = find(PATTERN_DISTRICT).map(|b| b.name.as_str()).unwrap_or_default();
        let name = pattern.replace("黄浦区", &district.name).replace("黄浦", &district.name);
        Bureau { name, uscc: credit_code(&district.code, title.bureau_number) }
    }
}

fn field(row: &Row) -> Field {
    let data_type = match row.at("type_code") {
        "N" => "数值型",
        "Y" => "货币型",
        "D" => "日期型",
        "T" => "日期时间型",
        "L" => "逻辑型",
        "M" => "备注型",
        "I" => "整型",
        _ => "字符型",
    };
    let kind = row.at("sensitivity_kind");
    Field {
        name: row.owned("name_zh"),
        column: row.owned("column"),
        data_type,
        // A decimal has its length before the comma and its places after it.
        length: row.at("length").split(',').next().and_then(|n| n.parse().ok()).unwrap_or(0),
        personal: (!matches!(kind, "none" | "geo" | "text" | "")).then(|| kind.to_owned()),
    }
}

/// A synthetic unified social credit code with both its check characters.
///
/// Source: GB 32100-2015 and GB 11714.
fn credit_code(area: &str, number: usize) -> String {
    const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
    const INNER_WEIGHTS: [usize; 8] = [3, 7, 9, 10, 5, 8, 4, 2];
    // Eight digits that look like nothing in particular; the factor has no divisor in common with
    // 10^8.
    let organisation = format!("{:08}", (number + 1) * 7_654_321 % 100_000_000);
    let sum: usize = organisation
        .bytes()
        .zip(INNER_WEIGHTS)
        .map(|(b, weight)| usize::from(b - b'0') * weight)
        .sum();
    let inner = match 11 - sum % 11 {
        10 => 'X',
        11 => '0',
        digit => char::from(b'0' + u8::try_from(digit).unwrap_or(0)),
    };
    let mut code = format!("11{area}{organisation}{inner}");
    let mut weight = 1;
    let mut sum = 0;
    for byte in code.bytes() {
        sum += ALPHABET.iter().position(|c| *c == byte).unwrap_or(0) * weight;
        weight = weight * 3 % 31;
    }
    code.push(char::from(ALPHABET[(31 - sum % 31) % 31]));
    code
}

/// A row of a table, by column name.
struct Row(HashMap<String, String>);

impl Row {
    fn at(&self, column: &str) -> &str {
        self.0.get(column).map(String::as_str).unwrap_or_default()
    }

    fn owned(&self, column: &str) -> String {
        self.at(column).to_owned()
    }
}

/// The tables are part of the program and a test checks that they are whole, so a bad line is only
/// left out here.
fn table(text: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().filter_map(Result::ok).map(Row).collect()
}
