//! Writing the catalogue to a file that imports again.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use liandong_core::{limit, record::Record};
use liandong_server::output::{Exit, Failure};
use liandong_store::Filter;
use serde::{Deserialize, Serialize};

use crate::app::{App, AppError};

/// Format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One record a line, complete.
    #[default]
    Jsonl,
    /// The main fields as a sheet, UTF-8 with byte order mark.
    Csv,
}

const COLUMNS: [&str; 14] = [
    "信息资源名称",
    "信息资源代码",
    "信息资源提供方",
    "信息资源提供方代码",
    "信息资源摘要",
    "关键字",
    "主题",
    "共享类型",
    "开放类型",
    "开放条件",
    "更新周期",
    "数据格式",
    "发布日期",
    "更新日期",
];

fn cells(record: &Record) -> [String; 14] {
    let date = |date: Option<jiff::civil::Date>| date.map(|date| date.to_string());
    let open = &record.open;
    [
        record.title.clone(),
        record.code.clone().unwrap_or_default(),
        record.provider.name.clone(),
        record.provider.uscc.clone().unwrap_or_default(),
        record.summary.clone(),
        record.keywords.join(","),
        record.theme.clone().unwrap_or_default(),
        record.share.as_ref().map(|share| share.kind.label_zh().to_owned()).unwrap_or_default(),
        open.kind.label_zh().to_owned(),
        open.condition.clone().or_else(|| open.reason.clone()).unwrap_or_default(),
        record.update_cycle.map(|cycle| cycle.label_zh().to_owned()).unwrap_or_default(),
        record.formats.join(","),
        date(record.published).unwrap_or_default(),
        date(record.data_updated).unwrap_or_default(),
    ]
}

fn write_row<T: AsRef<[u8]>>(out: impl Write, row: &[T]) -> std::io::Result<()> {
    let mut sheet = csv::Writer::from_writer(out);
    sheet.write_record(row)?;
    sheet.flush()
}

impl App {
    /// Writes all live records of the district. Returns how many.
    ///
    /// # Errors
    /// The file cannot be written; the store fails.
    pub fn export(&self, path: &Path, format: Format) -> Result<usize, AppError> {
        let fault = |error: std::io::Error| {
            Failure::new(
                "cannot_write",
                Exit::Error,
                format!("无法写入 {}：{error}", path.display()),
                format!("cannot write {}: {error}", path.display()),
            )
        };
        let mut file = BufWriter::new(File::create(path).map_err(fault)?);
        if format == Format::Csv {
            file.write_all("\u{feff}".as_bytes()).map_err(fault)?;
            write_row(&mut file, &COLUMNS).map_err(fault)?;
        }
        let filter = Filter { feed: Some(self.own.feed()), live_only: true, public_only: false };
        let (mut after, mut written) = (None, 0);
        loop {
            let page = self.store.entries(filter, after, limit::PAGE_RECORDS_MAX)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for record in page.into_iter().filter_map(|entry| entry.record) {
                written += 1;
                match format {
                    Format::Csv => write_row(&mut file, &cells(&record)),
                    Format::Jsonl => {
                        file.write_all(&record.to_bytes()).and_then(|()| file.write_all(b"\n"))
                    }
                }
                .map_err(fault)?;
            }
        }
        file.flush().map_err(fault)?;
        Ok(written)
    }
}
