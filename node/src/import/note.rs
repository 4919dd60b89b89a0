//! What was odd about a file and was put up with.

use serde::Serialize;

/// Row numbers kept as examples in one note.
const EXAMPLES_MAX: usize = 5;

/// One kind of oddity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// The file begins with a byte order mark.
    ByteOrderMark,
    /// The file is not UTF-8 and was read as GB18030.
    EncodingGuessed,
    /// It reads as GB18030, yet looks more like another encoding.
    EncodingDoubtful,
    /// The content is of another format than the name says.
    FormatDiffers,
    /// Rows above the header were left out.
    AboveHeader,
    /// Blank rows were left out.
    BlankRows,
    /// Rows have more cells than the header.
    ExtraCells,
    /// Rows have fewer cells than the header.
    MissingCells,
    /// A label stands in the header more than once.
    DuplicateLabel,
    /// A column has no label.
    EmptyLabel,
    /// Merged cells were filled with the value they show.
    MergedCells,
    /// A number has more digits than a spreadsheet keeps.
    LongNumber,
    /// A formula shows an error.
    FormulaError,
    /// A cell runs over very many lines, as after a quote left open.
    LongCell,
    /// The workbook has other sheets that were not read.
    OtherSheets,
    /// The rows were found under this key.
    RowsUnderKey,
    /// The file holds one object, read as one row.
    SingleObject,
    /// Elements or lines that are not an object were left out.
    NotAnObject,
}

/// An oddity, how often it occurred and where it did first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What was odd.
    pub kind: NoteKind,
    /// How often; 1 for what concerns the whole file.
    pub count: u64,
    /// The first rows concerned, numbered as a person sees them.
    pub rows: Vec<u64>,
    /// A name, label or guess that belongs to it; may be empty.
    pub detail: String,
}

impl Note {
    /// The note in Chinese and in English.
    pub fn text(&self) -> (String, String) {
        let (count, detail) = (self.count, self.detail.as_str());
        let (zh, en) = match self.kind {
            NoteKind::ByteOrderMark | NoteKind::EncodingGuessed | NoteKind::EncodingDoubtful => {
                self.about_encoding()
            }
            NoteKind::OtherSheets
            | NoteKind::RowsUnderKey
            | NoteKind::SingleObject
            | NoteKind::NotAnObject
            | NoteKind::FormatDiffers => self.about_container(),
            NoteKind::AboveHeader => (
                format!("表头上方有 {count} 行（如标题），未作为数据读取"),
                format!("{count} row(s) above the header, such as a title, were not read as data"),
            ),
            NoteKind::BlankRows => {
                (format!("跳过 {count} 个空行"), format!("{count} blank row(s) were skipped"))
            }
            NoteKind::ExtraCells => (
                format!("{count} 行的单元格多于表头，多出的列记为“列N”"),
                format!("{count} row(s) have more cells than the header; they are kept as 列N"),
            ),
            NoteKind::MissingCells => (
                format!("{count} 行的单元格少于表头，缺少的按空值读取"),
                format!("{count} row(s) have fewer cells than the header; the rest is empty"),
            ),
            NoteKind::DuplicateLabel => (
                format!("表头中有重复的列名，已加序号区分：{detail}"),
                format!("labels occur twice in the header and were numbered: {detail}"),
            ),
            NoteKind::EmptyLabel => (
                format!("有列没有列名，记为：{detail}"),
                format!("columns without a label were named: {detail}"),
            ),
            NoteKind::MergedCells => (
                format!("{count} 个合并单元格已按所显示的值填充"),
                format!("{count} merged cell(s) were filled with the value they show"),
            ),
            NoteKind::LongNumber => (
                format!(
                    "{count} 个数字超过 15 位，表格软件可能已丢失末位；请将该列设为文本后重新填写"
                ),
                format!(
                    "{count} number(s) exceed 15 digits and may have lost some; use text cells"
                ),
            ),
            NoteKind::FormulaError => (
                format!("{count} 个公式结果为错误值"),
                format!("{count} formula(s) show an error value"),
            ),
            NoteKind::LongCell => (
                format!("{count} 个单元格跨越很多行，可能缺少一个结束引号"),
                format!("{count} cell(s) run over very many lines; a closing quote may be missing"),
            ),
        };
        self.with_rows(zh, en)
    }

    fn about_encoding(&self) -> (String, String) {
        let detail = &self.detail;
        match self.kind {
            NoteKind::ByteOrderMark => (
                format!("文件带有 {detail} 字节顺序标记，已去除"),
                format!("the file begins with a {detail} byte order mark, which was removed"),
            ),
            NoteKind::EncodingGuessed => (
                "文件不是 UTF-8，已按 GB18030（含 GBK）读取".to_owned(),
                "the file is not UTF-8 and was read as GB18030 (which includes GBK)".to_owned(),
            ),
            _ => (
                format!("文字更像 {detail} 编码；如显示乱码，请指定编码后重新读取"),
                format!("the text looks more like {detail}; name the encoding if it is garbled"),
            ),
        }
    }

    fn about_container(&self) -> (String, String) {
        let (count, detail) = (self.count, &self.detail);
        match self.kind {
            NoteKind::OtherSheets => (
                format!("工作簿中还有未读取的工作表：{detail}"),
                format!("the workbook has other sheets that were not read: {detail}"),
            ),
            NoteKind::RowsUnderKey => (
                format!("数据行取自键“{detail}”"),
                format!("the rows were taken from the key '{detail}'"),
            ),
            NoteKind::SingleObject => (
                "文件中只有一个对象，按一行读取".to_owned(),
                "the file holds a single object, read as one row".to_owned(),
            ),
            NoteKind::NotAnObject => (
                format!("{count} 项不是完整的 JSON 对象，未读取（首例：{detail}）"),
                format!(
                    "{count} item(s) are not a JSON object and were not read (first: {detail})"
                ),
            ),
            _ => (
                format!("文件内容是 {detail}，与扩展名不符；已按内容读取"),
                format!("the content is {detail}, unlike the file name; it was read as such"),
            ),
        }
    }

    fn with_rows(&self, zh: String, en: String) -> (String, String) {
        if self.rows.is_empty() {
            return (zh, en);
        }
        let rows: Vec<String> = self.rows.iter().map(u64::to_string).collect();
        let more = if self.count > self.rows.len() as u64 { " …" } else { "" };
        (
            format!("{zh}（第 {} 行{more}）", rows.join("、")),
            format!("{en} (row {}{more})", rows.join(", ")),
        )
    }
}

/// Collects notes; the same kind twice is one note with a count.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Note>);

impl Notes {
    /// Notes something about the whole file.
    pub(super) fn file(&mut self, kind: NoteKind, detail: impl Into<String>) {
        self.0.push(Note { kind, count: 1, rows: Vec::new(), detail: detail.into() });
    }

    /// Notes something that occurred `count` times at no row in particular.
    pub(super) fn times(&mut self, kind: NoteKind, count: u64) {
        if count > 0 {
            self.0.push(Note { kind, count, rows: Vec::new(), detail: String::new() });
        }
    }

    /// Notes one more occurrence at a row.
    pub(super) fn at(&mut self, kind: NoteKind, row: u64) {
        self.at_with(kind, row, String::new);
    }

    /// Notes one more occurrence at a row; the detail of the first one is kept.
    pub(super) fn at_with(&mut self, kind: NoteKind, row: u64, detail: impl FnOnce() -> String) {
        if let Some(note) = self.0.iter_mut().find(|note| note.kind == kind) {
            note.count += 1;
            if note.rows.len() < EXAMPLES_MAX && note.rows.last() != Some(&row) {
                note.rows.push(row);
            }
        } else {
            self.0.push(Note { kind, count: 1, rows: vec![row], detail: detail() });
        }
    }

    /// The notes, in order of first occurrence.
    pub(super) fn into_vec(self) -> Vec<Note> {
        self.0
    }
}
