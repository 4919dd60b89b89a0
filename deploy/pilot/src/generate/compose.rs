//! One row, from what it is about and a source of chance.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Map, Value};

use super::District;
use super::vocabulary::{Bureau, Field, Title, VOCABULARY};

/// Days from 1970 to 2016-05-20, when the plan had just been issued.
const FIRST_DAY: i64 = 16_941;
/// Days from 1970 to 2026-10-31: no generated date is later.
const LAST_DAY: i64 = 20_757;
/// Fewest and most information items of an entry.
const ITEMS: std::ops::RangeInclusive<usize> = 4..=14;
/// Size a row is filled up to with information items, bytes of JSON.
const ROW_BYTES: std::ops::Range<usize> = 1_650..2_300;
/// A row is not filled beyond this, bytes of JSON.
const ROW_BYTES_MAX: usize = 2_500;
/// Bytes of JSON that quotes, colon and comma add to a value and its label.
const PAIR_BYTES: usize = 6;

const OFFICES: [&str; 10] = [
    "办公室",
    "综合科",
    "信息科",
    "行政审批科",
    "监督管理科",
    "规划发展科",
    "公共服务科",
    "政策法规科",
    "统计科",
    "应急管理科",
];
const SHARE_CONDITIONS: [&str; 4] = [
    "本市各级行政机关因履行职责需要，经书面申请并说明用途后提供，不得转作他用",
    "仅限与本事项有业务协同关系的部门申请，须注明使用系统、使用期限和责任人",
    "经区大数据管理部门审核同意后，通过共享平台接口提供，按需核验，不批量导出",
    "用于行政审批、监管执法和统计分析，申请单位须签订数据安全承诺书",
];
const SHARE_REASONS: [&str; 3] = [
    "涉及个人隐私，依据个人信息保护有关规定不予共享",
    "涉及执法办案工作秘密，依据行业管理规定不予共享",
    "涉及公民医疗健康信息，依据卫生行业管理规定不予共享",
];
const OPEN_CONDITIONS: [&str; 4] = [
    "申请人须为依法成立的法人或其他组织，说明用途并签订数据利用协议",
    "用于科学研究或公益服务，成果须注明数据来源，不得还原个人信息",
    "具备相应数据安全管理能力，通过专用接口定向开放，按年度复核",
    "经提供部门与相关部门联合审核申请人资质和使用范围后开放",
];
const OPEN_REASONS: [&str; 3] = [
    "涉及个人隐私，公开可能损害第三方合法权益",
    "属内部管理信息，依据政府信息公开条例不予公开",
    "涉及公共安全，依据行业管理规定不予公开",
];
const QUARTERS: [&str; 4] = ["第一季度", "第二季度", "第三季度", "第四季度"];
/// Days from new year to the end of each quarter, leap days aside.
const QUARTER_ENDS: [i64; 4] = [90, 181, 273, 365];
/// Days from new year to the end of the year.
const YEAR_DAYS: i64 = 365;
/// The column of services and files; the label table knows no Chinese name for a list of them.
const DELIVERY_LABEL: &str = "distributions";
/// What people search for is shorter than a title.
const SHORT_WORDS: [&str; 14] = [
    "公交",
    "停车",
    "图书馆",
    "博物馆",
    "藏品",
    "养老",
    "学校",
    "食品",
    "空气质量",
    "河道",
    "许可",
    "处罚",
    "统计",
    "企业",
];

/// What a row is about.
pub(super) struct Scene<'a> {
    pub(super) district: &'a District,
    pub(super) area: Option<&'a str>,
    pub(super) title: &'static Title,
    pub(super) bureau: &'a Bureau,
    pub(super) year: Option<u32>,
    pub(super) quarter: Option<usize>,
    pub(super) edition: Option<usize>,
    pub(super) index: usize,
}

/// Collects labelled values and about how many bytes they take as JSON.
struct Sheet {
    cells: Map<String, Value>,
    bytes: usize,
}

impl Sheet {
    fn text(&mut self, label: &str, value: impl Into<String>) {
        let value = value.into();
        self.bytes += label.len() + value.len() + PAIR_BYTES;
        self.cells.insert(label.to_owned(), Value::String(value));
    }
}

/// Composes the row.
pub(super) fn row(scene: &Scene<'_>, random: &mut StdRng) -> Map<String, Value> {
    let title = scene.title;
    let bureau = scene.bureau;
    let office = pick(&OFFICES, random);
    let fields = choose_fields(title, random);
    let mut sheet = Sheet { cells: Map::with_capacity(28), bytes: 0 };
    sheet.text("信息资源名称", scene.name());
    sheet.text("信息资源代码", scene.code());
    sheet.text("信息资源提供方", bureau.name.as_str());
    sheet.text("信息资源提供方代码", bureau.uscc.as_str());
    sheet.text("内设机构", office);
    sheet.text("信息资源摘要", summary(scene, &bureau.name, office, &fields, random));
    sheet.text("关键字", keywords(scene));
    sheet.text("主题", title.theme.as_str());
    access(&mut sheet, title, random);
    dates(&mut sheet, scene, random);
    sheet.text("联系电话", format!("021-5{:07}", random.random_range(0..10_000_000_u32)));
    let formats = if title.service {
        ["json", "json、xml", "json、csv"]
    } else {
        ["csv", "xls、csv", "xlsx"]
    };
    sheet.text("数据格式", pick(&formats, random));
    sheet.text("字符集", "UTF-8");
    delivery(&mut sheet, scene, &fields, random);
    let order = random.random_range(2..7);
    let rows = random.random_range(1..10_u64) * 10_u64.pow(order) + random.random_range(0..100);
    sheet.cells.insert("数据量".to_owned(), Value::from(rows));
    let items = items(title, &fields, &sheet, random);
    sheet.cells.insert("信息项".to_owned(), Value::Array(items));
    sheet.cells
}

impl Scene<'_> {
    fn place(&self) -> String {
        format!("{}{}", self.district.name, self.area.unwrap_or_default())
    }

    fn name(&self) -> String {
        let words = &self.title.words;
        let Some(year) = self.year else { return format!("{}{words}", self.place()) };
        // What is renewed all the time is, for a year that is over, an archive.
        let archive = if self.title.cycle == "实时" { "历史数据" } else { "" };
        let quarter = self.quarter.map(|quarter| QUARTERS[quarter % 4]).unwrap_or_default();
        let edition = self.edition.map(|n| format!("第{n}版")).unwrap_or_default();
        format!("{}{words}{archive}（{year}年{quarter}{edition}）", self.place())
    }

    fn code(&self) -> String {
        let Title { theme_code, bureau_number, .. } = self.title;
        format!("3{theme_code}{bureau_number:03}/{}{:06}", self.district.code, self.index + 1)
    }

    /// What speaks of a period that is over is not renewed any more.
    fn cycle(&self) -> &str {
        if self.year.is_some() { "静态" } else { &self.title.cycle }
    }
}

/// The items to list, the telling ones first; how many of them fit is decided by size.
fn choose_fields(title: &Title, random: &mut StdRng) -> Vec<&'static Field> {
    let mut chosen = title.fields.clone();
    // Two sheets of the same kind are never filled in by the same hand: one or two columns are
    // missing.
    for _ in 0..random.random_range(0..3) {
        if chosen.len() > *ITEMS.start() + 2 {
            chosen.remove(random.random_range(2..chosen.len()));
        }
    }
    for at in &VOCABULARY.common_fields {
        let wanted = chosen.len() < *ITEMS.start() || random.random_bool(0.6);
        if wanted && !chosen.contains(at) {
            chosen.push(*at);
        }
    }
    chosen.truncate(*ITEMS.end());
    chosen.iter().map(|at| &VOCABULARY.fields[*at]).collect()
}

fn summary(
    scene: &Scene<'_>,
    bureau: &str,
    office: &str,
    fields: &[&Field],
    random: &mut StdRng,
) -> String {
    let names: Vec<&str> = fields.iter().take(4).map(|field| field.name.as_str()).collect();
    let (items, place) = (names.join("、"), scene.place());
    let period = match (scene.year, scene.quarter) {
        (Some(year), Some(quarter)) => format!("{year}年{}", QUARTERS[quarter % 4]),
        (Some(year), None) => format!("{year}年度"),
        _ if scene.title.cycle == "实时" => "当前".to_owned(),
        _ => "历年".to_owned(),
    };
    let purpose = pick(VOCABULARY.purposes(&scene.title.theme), random);
    let renewal = match scene.year {
        Some(_) => "不再更新".to_owned(),
        None => format!("{}更新", scene.title.cycle),
    };
    match random.random_range(0..5) {
        0 => format!(
            "记录{place}{period}的{items}等内容，由{bureau}{office}负责采集和维护，{renewal}，用于{purpose}。"
        ),
        1 => format!(
            "由{bureau}在日常业务中形成，反映{place}{period}的情况，包含{items}等信息项，可用于{purpose}。"
        ),
        2 => format!(
            "汇总{place}范围内{period}的业务数据，主要字段为{items}，经{office}核对后发布，便于{purpose}。"
        ),
        3 => format!(
            "面向{purpose}的需要，整理{place}{period}相关数据，逐条列明{items}，{renewal}。"
        ),
        _ => format!(
            "本资源来自{bureau}业务系统，覆盖{place}{period}，提供{items}等明细，数据经去重与校验，支持用于{purpose}。"
        ),
    }
}

fn keywords(scene: &Scene<'_>) -> String {
    let words = &scene.title.words;
    let mut list: Vec<&str> = SHORT_WORDS.into_iter().filter(|word| words.contains(word)).collect();
    list.push(words.trim_end_matches("信息").trim_end_matches("(脱敏)"));
    list.extend([scene.title.theme.as_str(), &scene.district.name]);
    list.extend(scene.area);
    list.join("、")
}

fn access(sheet: &mut Sheet, title: &Title, random: &mut StdRng) {
    sheet.text("共享类型", title.share.as_str());
    match title.share.as_str() {
        "按需共享" => sheet.text("共享条件", pick(&SHARE_CONDITIONS, random)),
        "不共享" => sheet.text("不予共享理由", pick(&SHARE_REASONS, random)),
        _ => {}
    }
    sheet.text("开放类型", title.open.as_str());
    match title.open.as_str() {
        "依申请公开" => sheet.text("开放条件", pick(&OPEN_CONDITIONS, random)),
        "不公开" => sheet.text("不予公开理由", pick(&OPEN_REASONS, random)),
        _ => {}
    }
}

/// Where the data are to be had. A few open entries have no service or file yet, as in real
/// catalogues.
fn delivery(sheet: &mut Sheet, scene: &Scene<'_>, fields: &[&Field], random: &mut StdRng) {
    let (form, mode, media_type) = if scene.title.service {
        ("api", "接口", "application/json")
    } else {
        ("file", "文件", "text/csv")
    };
    let address = format!("https://data.example.sh.cn/{form}/{}", scene.code());
    sheet.text("访问地址", address.as_str());
    if scene.title.open == "不公开" || random.random_bool(0.05) {
        return;
    }
    let mut form = Sheet { cells: Map::with_capacity(5), bytes: DELIVERY_LABEL.len() + PAIR_BYTES };
    form.text("方式", mode);
    form.text("地址", address);
    form.text("格式", media_type);
    form.text("字符集", "UTF-8");
    if fields.iter().any(|field| field.personal.is_some()) {
        form.text("脱敏", "是");
    }
    sheet.bytes += form.bytes;
    let list = Value::Array(vec![Value::Object(form.cells)]);
    sheet.cells.insert(DELIVERY_LABEL.to_owned(), list);
}

fn dates(sheet: &mut Sheet, scene: &Scene<'_>, random: &mut StdRng) {
    let (published, updated) = if let Some(year) = scene.year {
        // A period is written up in the months after it ends.
        let end = scene.quarter.map_or(YEAR_DAYS, |quarter| QUARTER_ENDS[quarter % 4]);
        let end = days_to_new_year(i64::from(year)) + end;
        let published = random.random_range(end + 5..end + 90).clamp(FIRST_DAY, LAST_DAY);
        (published, random.random_range(published..=LAST_DAY.min(published + 300)))
    } else {
        let published = random.random_range(FIRST_DAY..=LAST_DAY - 30);
        let age = max_age(&scene.title.cycle);
        // Most are renewed in time; every tenth is not, as in real catalogues.
        let late = if random.random_bool(0.1) { age + 30..age + 400 } else { 0..age };
        (published, (LAST_DAY - random.random_range(late)).max(published))
    };
    sheet.text("更新周期", scene.cycle());
    sheet.text("发布日期", iso(published));
    sheet.text("更新日期", iso(updated));
}

/// Days after which data of this cycle are out of date.
fn max_age(cycle: &str) -> i64 {
    match cycle {
        "实时" | "每日" => 1,
        "每周" => 7,
        "每旬" => 10,
        "每月" => 31,
        "每季度" => 92,
        "每半年" => 184,
        _ => 366,
    }
}

fn items(title: &Title, fields: &[&Field], sheet: &Sheet, random: &mut StdRng) -> Vec<Value> {
    let wanted = random.random_range(ROW_BYTES);
    let mut bytes = sheet.bytes;
    let mut items = Vec::with_capacity(fields.len());
    for field in fields {
        let (item, size) = item(title, field);
        let enough = bytes >= wanted || bytes + size > ROW_BYTES_MAX;
        if enough && items.len() >= *ITEMS.start() {
            break;
        }
        bytes += size;
        items.push(item);
    }
    items
}

fn item(title: &Title, field: &Field) -> (Value, usize) {
    let mut cells = Sheet { cells: Map::with_capacity(8), bytes: 20 };
    cells.text("name", field.name.as_str());
    cells.text("column", field.column.as_str());
    cells.text("data_type", field.data_type);
    cells.cells.insert("length".to_owned(), Value::from(field.length));
    cells.text("share", title.share.as_str());
    if title.share == "不共享" {
        cells.text("share_reason", "随资源");
    }
    // On request, the person behind a row stays closed; in the open, he is masked or he would not
    // be listed.
    let closed = title.open == "不公开" || (title.open != "公开" && field.personal.is_some());
    if closed {
        cells.text("open", "不公开");
        cells.text("open_reason", if field.personal.is_some() { "涉及个人信息" } else { "随资源" });
    } else {
        cells.text("open", title.open.as_str());
        if let Some(rule) = &field.personal {
            cells.text("mask_rule", rule.as_str());
        }
    }
    (Value::Object(cells.cells), cells.bytes)
}

fn pick<'a, T: AsRef<str>>(from: &'a [T], random: &mut StdRng) -> &'a str {
    from.choose(random).map(AsRef::as_ref).unwrap_or_default()
}

fn days_to_new_year(year: i64) -> i64 {
    let before = year - 1;
    (year - 1970) * 365 + (before / 4 - before / 100 + before / 400)
        - (1969 / 4 - 1969 / 100 + 1969 / 400)
}

/// A day counted from 1970 as year, month and day.
fn iso(day: i64) -> String {
    let mut year = 1970 + day / 366;
    while days_to_new_year(year + 1) <= day {
        year += 1;
    }
    let leap = i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    let mut left = day - days_to_new_year(year);
    let mut month = 1;
    for length in [31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", left + 1)
}
