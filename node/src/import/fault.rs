//! Why a file could not be read, and what to do about it.

use super::read::{CELL_BYTES_MAX, CELLS_MAX, COLUMNS_MAX, FILE_BYTES_MAX, ROWS_MAX};

/// Bytes in one `MiB`, for messages.
const MIB: u64 = 1024 * 1024;

/// Why a file could not be read as a table.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("cannot read {name}")]
    Io {
        /// The file as it was named.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Larger than `FILE_BYTES_MAX`.
    #[error("the file has more than {FILE_BYTES_MAX} bytes")]
    FileTooLarge,
    /// More rows than `ROWS_MAX`.
    #[error("row {row} is beyond the limit of {ROWS_MAX} rows")]
    TooManyRows {
        /// The first row that is too many.
        row: u64,
    },
    /// A row has more cells than `COLUMNS_MAX`.
    #[error("row {row} has {columns} columns, the limit is {COLUMNS_MAX}")]
    TooManyColumns {
        /// The row.
        row: u64,
        /// Its cells, or the first that is too many.
        columns: usize,
    },
    /// More cells in all than `CELLS_MAX`.
    #[error("the table has more than {CELLS_MAX} cells at row {row}")]
    TooManyCells {
        /// The row at which the limit was reached.
        row: u64,
    },
    /// A cell is larger than `CELL_BYTES_MAX`.
    #[error(
        "a cell in row {row}, column {column} has {bytes} bytes, the limit is {CELL_BYTES_MAX}"
    )]
    CellTooLarge {
        /// The row.
        row: u64,
        /// The column's number from 1, or its label.
        column: String,
        /// The size found, bytes.
        bytes: usize,
    },
    /// There is no row with data.
    #[error("no data rows")]
    Empty,
    /// The encoding asked for is not known.
    #[error("unknown encoding {0}")]
    UnknownEncoding(String),
    /// The format asked for is not known.
    #[error("unknown format {0}")]
    UnknownFormat(String),
    /// The bytes are not text in the encoding that was asked for or announced.
    #[error("not {encoding} text at byte {offset}")]
    NotText {
        /// The encoding tried.
        encoding: String,
        /// The first byte that does not belong to it.
        offset: u64,
    },
    /// The bytes are text in none of the encodings tried.
    #[error("neither UTF-8 (byte {utf8}) nor GB18030 (byte {gb18030})")]
    NoEncodingFits {
        /// The first byte that is not UTF-8.
        utf8: u64,
        /// The first byte that is not GB18030.
        gb18030: u64,
    },
    /// There is a zero byte: not text, or UTF-16 without a mark.
    #[error("zero byte at {offset}")]
    Binary {
        /// Where it is in the decoded text, bytes.
        offset: u64,
    },
    /// A web page under the name of a table.
    #[error("the file is a web page or XML, not a table")]
    Markup,
    /// The workbook is damaged or of a kind we do not read.
    #[error("cannot read the workbook: {detail}")]
    Workbook {
        /// What the reader of workbooks said.
        detail: String,
    },
    /// The workbook is protected by a password.
    #[error("the workbook is encrypted")]
    Encrypted,
    /// The sheet, or the key of a JSON object, that was asked for is not there.
    #[error("no sheet or key {asked}; there are: {}", .available.join(", "))]
    NoSuchSheet {
        /// What was asked for.
        asked: String,
        /// What there is.
        available: Vec<String>,
    },
    /// The header row asked for is blank or not there.
    #[error("row {row} cannot be the header")]
    NoHeader {
        /// The row asked for.
        row: u64,
    },
    /// Not JSON.
    #[error("not JSON at line {line}, column {column}: {detail}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser said.
        detail: String,
    },
    /// JSON, but no list of objects in it, or several.
    #[error("cannot tell which key holds the rows: {}", .keys.join(", "))]
    NoRowsInJson {
        /// The keys there are; those that hold a list of objects when there are several.
        keys: Vec<String>,
    },
    /// The text cannot be split into cells.
    #[error("cannot split line {line} into cells: {detail}")]
    Delimited {
        /// Line, from 1.
        line: u64,
        /// What the parser said.
        detail: String,
    },
}

impl ReadError {
    /// What is wrong and what to do, in Chinese and in English.
    pub fn text(&self) -> (String, String) {
        match self {
            Self::Io { .. }
            | Self::FileTooLarge
            | Self::TooManyRows { .. }
            | Self::TooManyColumns { .. }
            | Self::TooManyCells { .. }
            | Self::CellTooLarge { .. }
            | Self::Empty => self.about_size(),
            Self::UnknownEncoding(_)
            | Self::UnknownFormat(_)
            | Self::NotText { .. }
            | Self::NoEncodingFits { .. }
            | Self::Binary { .. } => self.about_encoding(),
            _ => self.about_content(),
        }
    }

    fn about_size(&self) -> (String, String) {
        match self {
            Self::Io { name, source } => (
                format!("无法读取文件 {name}：{source}。请检查路径与读取权限"),
                format!(
                    "Cannot read {name}: {source}. Check the path and the permission to read it"
                ),
            ),
            Self::FileTooLarge => (
                format!("文件超过 {} MiB。请拆分为多个文件分批导入", FILE_BYTES_MAX / MIB),
                format!(
                    "The file exceeds {} MiB. Split it and import the parts",
                    FILE_BYTES_MAX / MIB
                ),
            ),
            Self::TooManyRows { row } => (
                format!("第 {row} 行超出上限（{ROWS_MAX} 行）。请拆分为多个文件分批导入"),
                format!("Row {row} is beyond the limit of {ROWS_MAX} rows. Split the file"),
            ),
            Self::TooManyColumns { row, columns } => (
                format!(
                    "第 {row} 行有 {columns} 列，上限为 {COLUMNS_MAX} 列。请检查分隔符或删除多余的列"
                ),
                format!(
                    "Row {row} has {columns} columns, the limit is {COLUMNS_MAX}. \
                     Check the separator or remove columns"
                ),
            ),
            Self::TooManyCells { row } => (
                format!("读到第 {row} 行时单元格总数超过 {CELLS_MAX}。请拆分文件或删除无用的列"),
                format!(
                    "More than {CELLS_MAX} cells at row {row}. Split the file or remove columns"
                ),
            ),
            Self::CellTooLarge { row, column, bytes } => (
                format!(
                    "第 {row} 行“{column}”列的内容有 {bytes} 字节，上限为 {CELL_BYTES_MAX} 字节。\
                     请缩短内容；CSV 文件请检查引号是否成对"
                ),
                format!(
                    "The cell in row {row}, column '{column}' has {bytes} bytes, the limit is \
                     {CELL_BYTES_MAX}. Shorten it; in CSV check that quotes are closed"
                ),
            ),
            _ => (
                "文件中没有数据行。请确认表头下方至少有一行数据，或指定正确的工作表".to_owned(),
                "There are no data rows. Put at least one row below the header, or name the sheet"
                    .to_owned(),
            ),
        }
    }

    fn about_encoding(&self) -> (String, String) {
        match self {
            Self::UnknownEncoding(label) => (
                format!(
                    "不认识的编码“{label}”。可用：utf-8、gb18030、gbk、big5、utf-16le、utf-16be"
                ),
                format!("Unknown encoding '{label}'. Use utf-8, gb18030, gbk, big5 or utf-16le"),
            ),
            Self::UnknownFormat(label) => (
                format!("不认识的格式“{label}”。可用：csv、tsv、xlsx、xls、ods、json、jsonl"),
                format!("Unknown format '{label}'. Use csv, tsv, xlsx, xls, ods, json or jsonl"),
            ),
            Self::NotText { encoding, offset } => (
                format!(
                    "从第 {offset} 字节起不是 {encoding} 文本。请指定正确的编码，或另存为 UTF-8"
                ),
                format!(
                    "Byte {offset} is not {encoding} text. Name the right encoding or save as UTF-8"
                ),
            ),
            Self::NoEncodingFits { utf8, gb18030 } => (
                format!(
                    "无法识别文字编码：第 {utf8} 字节不符合 UTF-8，第 {gb18030} 字节不符合 GB18030。\
                     请指定编码，或在表格软件中另存为“CSV UTF-8”"
                ),
                format!(
                    "Cannot tell the encoding: byte {utf8} is not UTF-8 and byte {gb18030} is not \
                     GB18030. Name the encoding, or save the table as 'CSV UTF-8'"
                ),
            ),
            Self::Binary { offset } => (
                format!(
                    "第 {offset} 字节是零字节，不是文本表格。若为无标记的 UTF-16，请指定编码 utf-16le；\
                     否则请另存为 xlsx 或“CSV UTF-8”"
                ),
                format!(
                    "There is a zero byte at {offset}: this is no text table. Name the encoding \
                     utf-16le if it is UTF-16 without a mark; else save it as xlsx or 'CSV UTF-8'"
                ),
            ),
            _ => self.about_content(),
        }
    }

    fn about_content(&self) -> (String, String) {
        match self {
            Self::Markup => (
                "文件内容是网页或 XML，不是表格。请用表格软件打开后另存为 xlsx".to_owned(),
                "The file is a web page or XML. Open it in a spreadsheet and save it as xlsx"
                    .to_owned(),
            ),
            Self::Workbook { detail } => (
                format!("无法读取工作簿（{detail}）。请用表格软件打开并另存为 xlsx 后重试"),
                format!("Cannot read the workbook ({detail}). Open it and save it as xlsx again"),
            ),
            Self::Encrypted => (
                "工作簿有密码保护。请取消密码后重新保存".to_owned(),
                "The workbook is protected by a password. Remove it and save again".to_owned(),
            ),
            Self::NoSuchSheet { asked, available } => (
                format!("没有名为“{asked}”的工作表或键。现有：{}", available.join("、")),
                format!("There is no sheet or key '{asked}'. There are: {}", available.join(", ")),
            ),
            Self::NoHeader { row } => (
                format!("第 {row} 行为空或不存在，不能作为表头。请指定列名所在的行号"),
                format!("Row {row} is blank or missing. Name the row that holds the labels"),
            ),
            Self::Json { line, column, detail } => (
                format!("第 {line} 行第 {column} 列不是合法的 JSON（{detail}）。请修正后重试"),
                format!(
                    "Not JSON at line {line}, column {column} ({detail}). Correct it and try again"
                ),
            ),
            Self::NoRowsInJson { keys } => (
                format!(
                    "无法确定 JSON 中哪个键是数据行（{}）。请提供对象数组，或用工作表选项指定键名",
                    keys.join("、")
                ),
                format!(
                    "Cannot tell which key of the JSON holds the rows ({}). Give a list, \
                     or name the key as the sheet",
                    keys.join(", ")
                ),
            ),
            Self::Delimited { line, detail } => (
                format!("第 {line} 行无法按列拆分（{detail}）。请检查引号与分隔符"),
                format!(
                    "Line {line} cannot be split into cells ({detail}). Check quotes and separators"
                ),
            ),
            // Every other case has its words in the two functions above.
            _ => (self.to_string(), self.to_string()),
        }
    }
}
