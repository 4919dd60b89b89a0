use std::path::{Path, PathBuf};

use encoding_rs::{GB18030, UTF_16LE};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use rust_xlsxwriter::{ExcelDateTime, Format as Style, Workbook};
use serde_json::{Value, json};

use super::*;

const CSV: &str = "信息资源名称,信息资源代码,发布日期,数据量,备注\r\n\
    公共图书馆信息,307001/000010,2016-05-11,12,\"含“总馆”，\n分馆\"\r\n\
    博物馆藏品,307001/000011,2016-10-09,3.5,\r\n";

fn by(format: Option<Format>) -> ReadOptions {
    ReadOptions { format, ..ReadOptions::default() }
}

fn table(name: &str, bytes: impl AsRef<[u8]>) -> Table {
    read_bytes(name, bytes.as_ref(), &ReadOptions::default()).expect(name)
}

fn fault(name: &str, bytes: impl AsRef<[u8]>) -> ReadError {
    read_bytes(name, bytes.as_ref(), &ReadOptions::default()).expect_err(name)
}

fn cells(table: &Table) -> Vec<Vec<(String, Value)>> {
    table.rows.iter().map(|row| row.cells.clone()).collect()
}

fn numbers(table: &Table) -> Vec<u64> {
    table.rows.iter().map(|row| row.row).collect()
}

fn note(table: &Table, kind: NoteKind) -> &Note {
    table.notes.iter().find(|note| note.kind == kind).unwrap_or_else(|| panic!("no {kind:?} note"))
}

fn gb18030(text: &str) -> Vec<u8> {
    GB18030.encode(text).0.into_owned()
}

fn utf16(text: &str) -> Vec<u8> {
    [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// The rows of `CSV` as a bureau's own sheet: title, blank row, header, typed cells.
fn workbook() -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    sheet.set_name("目录").unwrap();
    sheet.merge_range(0, 0, 0, 4, "黄浦区2016年政务信息资源目录", &Style::new()).unwrap();
    for (column, label) in
        (0..).zip(["信息资源名称", "信息资源\n代码", "发布日期", "数据量", "备注 "])
    {
        sheet.write(2, column, label).unwrap();
    }
    let day = Style::new().set_num_format("yyyy-mm-dd");
    let rows = [
        ("公共图书馆信息", "307001/000010", (2016, 5, 11), 12.0, "含“总馆”，\n分馆"),
        ("博物馆藏品", "307001/000011", (2016, 10, 9), 3.5, ""),
    ];
    for (row, (title, code, (year, month, date), count, remark)) in (3..).zip(rows) {
        let date = ExcelDateTime::from_ymd(year, month, date).unwrap();
        sheet.write(row, 0, title).unwrap().write(row, 1, code).unwrap();
        sheet.write_with_format(row, 2, date, &day).unwrap();
        sheet.write(row, 3, count).unwrap().write(row, 4, remark).unwrap();
    }
    book.add_worksheet().set_name("填写说明").unwrap().write(0, 0, "说明").unwrap();
    book.save_to_buffer().unwrap()
}

/// A zip archive without compression, enough for an `OpenDocument` file.
fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let crc = |bytes: &[u8]| {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |c, _| {
                (c >> 1) ^ (0xEDB8_8320 & (c & 1).wrapping_neg())
            })
        })
    };
    let (mut body, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let (size, offset) =
            (u32::try_from(content.len()).unwrap(), u32::try_from(body.len()).unwrap());
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        common.extend(crc(content.as_bytes()).to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        body.extend(b"PK\x03\x04".iter().chain(&common).chain(name.as_bytes()));
        body.extend(content.as_bytes());
        directory.extend(b"PK\x01\x02\x14\x00".iter().chain(&common).chain(&[0; 10]));
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (count, start) = (u16::try_from(files.len()).unwrap(), u32::try_from(body.len()).unwrap());
    let length = u32::try_from(directory.len()).unwrap();
    body.extend(directory);
    body.extend(b"PK\x05\x06\0\0\0\0");
    body.extend(count.to_le_bytes().repeat(2));
    body.extend(length.to_le_bytes());
    body.extend(start.to_le_bytes());
    body.extend([0, 0]);
    body
}

fn opendocument() -> Vec<u8> {
    let text = |cell: &str| {
        let kind = r#"office:value-type="string""#;
        format!("<table:table-cell {kind}><text:p>{cell}</text:p></table:table-cell>")
    };
    let date = r#"<table:table-cell office:value-type="date" office:date-value="2016-05-11"/>"#;
    let number = r#"<table:table-cell office:value-type="float" office:value="12"/>"#;
    let content = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><office:document-content
        xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
        xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
        xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0">
        <office:body><office:spreadsheet><table:table table:name="目录">
        <table:table-row>{}{}{}</table:table-row>
        <table:table-row>{}{date}{number}</table:table-row></table:table>
        </office:spreadsheet></office:body></office:document-content>"#,
        text("名称"),
        text("发布日期"),
        text("数据量"),
        text("公共图书馆信息"),
    );
    let kind = "application/vnd.oasis.opendocument.spreadsheet";
    let manifest = format!(
        r#"<?xml version="1.0"?><manifest:manifest
        xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">
        <manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/>
        </manifest:manifest>"#
    );
    zip(&[("mimetype", kind), ("content.xml", &content), ("META-INF/manifest.xml", &manifest)])
}

#[test]
fn the_same_rows_in_every_format_give_the_same_cells() {
    let plain = table("a.csv", CSV);
    assert_eq!(numbers(&plain), [2, 4]);
    assert_eq!(plain.source.header_row, Some(1));
    assert_eq!(plain.rows[0].cells[4], ("备注".to_owned(), json!("含“总馆”，\n分馆")));
    let mut with_mark = vec![0xEF, 0xBB, 0xBF];
    with_mark.extend(CSV.as_bytes());
    let list: Vec<Value> =
        plain.rows.iter().map(|row| Value::Object(row.cells.iter().cloned().collect())).collect();
    let lines: Vec<String> = list.iter().map(Value::to_string).collect();
    let others = [
        table("b.csv", with_mark),
        table("c.csv", gb18030(CSV)),
        table("d.csv", utf16(CSV)),
        table("e.tsv", CSV.replace(',', "\t")),
        table("f.csv", CSV.replace(',', ";")),
        table("g.csv", CSV.replace("\r\n", "\n")),
        table("h.xlsx", workbook()),
        table("i.json", Value::Array(list.clone()).to_string()),
        table("j.json", json!({"code": 0, "data": {"total": 2, "rows": list}}).to_string()),
        table("k.jsonl", lines.join("\n")),
    ];
    for other in others {
        assert_eq!(cells(&other), cells(&plain), "{}", other.source.path);
        assert_eq!(other.columns, plain.columns, "{}", other.source.path);
    }
}

#[test]
fn the_source_tells_how_a_file_was_read() {
    let gbk = table("c.csv", gb18030(CSV));
    assert_eq!(gbk.source.encoding.as_deref(), Some("gb18030"));
    assert_eq!(note(&gbk, NoteKind::EncodingGuessed).count, 1);
    let utf16 = table("d.csv", utf16(CSV));
    assert_eq!(utf16.source.encoding.as_deref(), Some("UTF-16LE"));
    let book = table("upload.csv", workbook());
    assert_eq!((book.source.format, book.source.header_row), (Format::Xlsx, Some(3)));
    assert_eq!(book.source.sheet.as_deref(), Some("目录"));
    assert_eq!(numbers(&book), [4, 5]);
    assert_eq!(note(&book, NoteKind::AboveHeader).count, 1);
    assert_eq!(note(&book, NoteKind::OtherSheets).detail, "填写说明");
    assert_eq!(note(&book, NoteKind::FormatDiffers).detail, "xlsx");
    let nested = table("j.json", r#"{"result":{"results":[{"标题":"a"}]}}"#);
    assert_eq!(nested.source.sheet.as_deref(), Some("result.results"));
}

#[test]
fn an_opendocument_sheet_is_read_with_iso_dates_and_whole_numbers() {
    let table = table("a.ods", opendocument());
    assert_eq!(table.source.format, Format::Ods);
    let values: Vec<&Value> = table.rows[0].cells.iter().map(|(_, value)| value).collect();
    assert_eq!(values, [&json!("公共图书馆信息"), &json!("2016-05-11"), &json!("12")]);
}

#[test]
fn ragged_and_blank_rows_are_kept_or_noted() {
    let table = table("a.csv", "\n名称,代码,\n甲\n\n乙,2,,多,\n,,\n丙,3,\n");
    assert_eq!(table.columns, ["名称", "代码"]);
    assert_eq!(numbers(&table), [3, 5, 7]);
    assert_eq!(table.rows[0].cells[1].1, json!(""));
    assert_eq!(table.rows[1].cells[2], ("列4".to_owned(), json!("多")));
    assert_eq!(note(&table, NoteKind::MissingCells).rows, [3]);
    assert_eq!(note(&table, NoteKind::ExtraCells).rows, [5]);
    assert_eq!(note(&table, NoteKind::BlankRows).rows, [1, 4, 6]);
}

#[test]
fn lines_are_counted_whatever_ends_them() {
    for end in ["\n", "\r\n", "\r"] {
        let text = format!("名称,代码{end}甲,\"多{end}行\"{end}{end}乙,2{end}");
        let table = table("a.csv", text);
        assert_eq!(numbers(&table), [2, 5], "{end:?}");
        assert_eq!(note(&table, NoteKind::BlankRows).rows, [4], "{end:?}");
    }
}

#[test]
fn headers_that_repeat_or_lack_a_label_are_told_apart() {
    let table = table("a.csv", "sep=;\r\n名称;;名称;联系 电话;Last\nname\n甲;1;乙;2;3\n");
    assert_eq!(table.columns, ["名称", "列2", "名称 (2)", "联系电话", "Last"]);
    assert_eq!(note(&table, NoteKind::DuplicateLabel).detail, "名称");
    assert_eq!(note(&table, NoteKind::EmptyLabel).detail, "列2");
}

#[test]
fn merged_cells_show_their_value_in_the_header_and_down_the_rows() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let plain = Style::new();
    sheet.merge_range(0, 0, 1, 0, "提供方", &plain).unwrap();
    sheet.merge_range(0, 1, 0, 2, "共享属性", &plain).unwrap();
    sheet.merge_range(0, 3, 1, 4, "备注", &plain).unwrap();
    sheet.write(1, 1, "共享类型").unwrap().write(1, 2, "共享条件").unwrap();
    sheet.merge_range(2, 0, 3, 0, "黄浦区教育局", &plain).unwrap();
    sheet
        .write(2, 1, "普遍共享")
        .unwrap()
        .write(3, 1, "不共享")
        .unwrap()
        .write(3, 4, "甲")
        .unwrap();
    let table = table("a.xlsx", book.save_to_buffer().unwrap());
    assert_eq!(table.columns, ["提供方", "共享类型", "共享条件", "备注", "备注 (2)"]);
    assert_eq!(table.source.header_row, Some(2));
    assert_eq!(table.rows[1].cells[0].1, json!("黄浦区教育局"));
    assert_eq!(note(&table, NoteKind::MergedCells).rows, [2, 4]);
}

#[test]
fn typed_cells_become_the_text_a_person_would_type() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let style = |format: &str| Style::new().set_num_format(format);
    let rows: [(&str, f64, &str, &str); 9] = [
        ("whole", 3.0, "0.00", "3"),
        ("sum", 0.1 + 0.2, "General", "0.3"),
        ("negative", -1234.5, "General", "-1234.5"),
        ("long", 310_101_199_001_011_234.0, "0", "310101199001011000"),
        ("day", 42501.0, "yyyy-mm-dd", "2016-05-11"),
        ("chinese", 42501.0, "yyyy\"年\"m\"月\"d\"日\"", "2016-05-11"),
        ("moment", 42501.75, "yyyy-mm-dd hh:mm", "2016-05-11T18:00:00"),
        ("clock", 0.25, "hh:mm", "06:00:00"),
        ("duration", 1.5, "[h]:mm", "36:00"),
    ];
    sheet.write(0, 0, "label").unwrap().write(0, 1, "value").unwrap();
    for (row, (label, number, format, _)) in (1..).zip(rows) {
        sheet.write(row, 0, label).unwrap();
        sheet.write_with_format(row, 1, number, &style(format)).unwrap();
    }
    sheet.write(10, 0, "truth").unwrap().write(10, 1, true).unwrap();
    let table = table("a.xlsx", book.save_to_buffer().unwrap());
    for (row, (label, _, _, text)) in table.rows.iter().zip(rows) {
        assert_eq!(row.cells[1].1, json!(text), "{label}");
    }
    assert_eq!(table.rows[9].cells[1].1, json!("TRUE"));
    assert_eq!(note(&table, NoteKind::LongNumber).rows, [5]);
}

#[test]
fn options_name_the_sheet_the_header_and_the_encoding() {
    let asked = |options| read_bytes("a.xlsx", &workbook(), &options);
    let sheet = |name: &str| ReadOptions { sheet: Some(name.to_owned()), ..ReadOptions::default() };
    assert!(matches!(asked(sheet("填写说明")), Err(ReadError::Empty)));
    assert_eq!(asked(sheet("1")).unwrap().rows.len(), 2);
    let Err(ReadError::NoSuchSheet { available, .. }) = asked(sheet("没有")) else { panic!() };
    assert_eq!(available, ["目录", "填写说明"]);
    let row = |row| ReadOptions { header_row: Some(row), ..ReadOptions::default() };
    assert_eq!(asked(row(4)).unwrap().rows.len(), 1);
    assert!(matches!(asked(row(2)), Err(ReadError::NoHeader { row: 2 })));
    let encoded = |label: &str, bytes: &[u8]| {
        let options = ReadOptions { encoding: Some(label.to_owned()), ..ReadOptions::default() };
        read_bytes("a.csv", bytes, &options)
    };
    let bare = &utf16(CSV)[2..];
    assert_eq!(
        encoded("utf-16le", bare).unwrap().source.encoding.as_deref(),
        Some(UTF_16LE.name())
    );
    assert!(matches!(encoded("klingon", b"a"), Err(ReadError::UnknownEncoding(_))));
    let gbk = gb18030("名称\n图书馆\n");
    assert!(matches!(encoded("utf-8", &gbk), Err(ReadError::NotText { offset: 0, .. })));
}

#[test]
fn a_file_in_no_known_encoding_is_refused_with_the_byte() {
    let bytes = [b"a,b\n1,".as_slice(), &[0xFF, 0xFF, 0x0A]].concat();
    let Err(ReadError::NoEncodingFits { utf8: 6, gb18030: 6 }) =
        read_bytes("a.csv", &bytes, &ReadOptions::default())
    else {
        panic!()
    };
    assert!(matches!(fault("a.csv", b"a,b\n\0,1\n"), ReadError::Binary { offset: 4 }));
}

#[test]
fn what_is_no_table_is_refused_with_a_remedy() {
    let mut encrypted = vec![0xD0, 0xCF, 0x11, 0xE0];
    encrypted.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a.csv", Vec::new(), "没有数据行"),
        ("a.csv", b"\n\n".to_vec(), "没有数据行"),
        ("a.csv", "名称,代码\n".into(), "没有数据行"),
        ("a.json", b"[]".to_vec(), "没有数据行"),
        ("a.json", b"[{\"a\":1},".to_vec(), "不是合法的 JSON"),
        ("a.json", b"7".to_vec(), "哪个键是数据行"),
        ("a.json", br#"{"a":[{"x":1}],"b":[{"y":1}]}"#.to_vec(), "（a、b）"),
        ("a.jsonl", b"{oops\nalas".to_vec(), "不是合法的 JSON"),
        ("a.xls", b"<html><table><tr><td>1</td></tr></table></html>".to_vec(), "网页"),
        ("a.xls", encrypted, "密码"),
        ("a.xlsx", b"PK\x03\x04garbage".to_vec(), "无法读取工作簿"),
        ("a.xls", b"\xD0\xCF\x11\xE0garbage".to_vec(), "无法读取工作簿"),
        ("a.csv", vec![b','; COLUMNS_MAX], "2001 列"),
        (
            "a.csv",
            [b"a,b\n1,".as_slice(), &vec![b'x'; CELL_BYTES_MAX + 1]].concat(),
            "引号是否成对",
        ),
    ];
    for (name, bytes, words) in cases {
        let error = fault(name, &bytes);
        let (zh, en) = error.text();
        assert!(zh.contains(words), "{zh}");
        assert!(!en.is_empty() && en.is_ascii() || en.contains("damaged"), "{en}");
        assert!(!error.to_string().is_empty());
    }
    let missing = read(Path::new("/nowhere/at/all.csv"), &ReadOptions::default()).unwrap_err();
    assert!(missing.text().0.contains("无法读取文件"));
}

#[test]
fn one_bad_line_of_json_does_not_stop_the_next() {
    let table = table("a.jsonl", "{\"a\":1}\n{oops\n\n[1]\n{\"b\":null}\n");
    assert_eq!(numbers(&table), [1, 5]);
    assert_eq!(table.columns, ["a", "b"]);
    assert_eq!(table.rows[1].cells[0].1, Value::Null);
    assert_eq!(note(&table, NoteKind::NotAnObject).rows, [2, 4]);
}

#[test]
fn a_single_object_is_one_row() {
    let table = table("a.json", r#"{"success":true,"result":{"title":"图书馆","tags":["a"]}}"#);
    assert_eq!(table.rows[0].cells[1], ("tags".to_owned(), json!(["a"])));
    assert_eq!(note(&table, NoteKind::SingleObject).count, 1);
}

#[test]
fn one_stray_cell_far_away_costs_no_memory() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    sheet
        .write(0, 0, "名称")
        .unwrap()
        .write(1, 0, "甲")
        .unwrap()
        .write(1_048_575, 1, "远")
        .unwrap();
    let far = table("a.xlsx", book.save_to_buffer().unwrap());
    assert_eq!(numbers(&far), [2, 1_048_576]);
    let mut book = Workbook::new();
    book.add_worksheet().write(0, 16_383, "远").unwrap();
    let error = fault("a.xlsx", book.save_to_buffer().unwrap());
    assert!(matches!(error, ReadError::TooManyColumns { row: 1, columns: 16_384 }));
}

#[test]
fn no_bytes_at_all_make_reading_panic() {
    let seeds: Vec<Vec<u8>> = vec![
        CSV.as_bytes().to_vec(),
        gb18030(CSV),
        utf16(CSV),
        workbook(),
        opendocument(),
        br#"{"data":{"rows":[{"a":1,"b":[1,{"c":null}]}]}}"#.to_vec(),
        b"{\"a\":1}\n{\"b\":2}\n".to_vec(),
        b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1".repeat(80),
        Vec::new(),
    ];
    let formats =
        [None, Some(Format::Csv), Some(Format::Xlsx), Some(Format::Ods), Some(Format::Json)]
            .into_iter()
            .chain([Some(Format::JsonLines), Some(Format::Xls)]);
    for (index, format) in formats.enumerate() {
        let mut random = StdRng::seed_from_u64(index as u64);
        for round in 0..180 {
            let mut bytes = seeds[round % seeds.len()].clone();
            for _ in 0..random.random_range(0..12) {
                match random.random_range(0..4) {
                    0 if !bytes.is_empty() => {
                        let at = random.random_range(0..bytes.len());
                        bytes[at] = random.random();
                    }
                    1 => bytes.truncate(random.random_range(0..=bytes.len())),
                    2 => {
                        let mut noise = vec![0; random.random_range(0..40)];
                        random.fill_bytes(&mut noise);
                        let at = random.random_range(0..=bytes.len());
                        bytes.splice(at..at, noise);
                    }
                    _ => bytes.extend_from_within(..bytes.len() / 2),
                }
            }
            if let Err(error) = read_bytes("任意", &bytes, &by(format)) {
                let (zh, en) = error.text();
                assert!(!zh.is_empty() && !en.is_empty());
            }
        }
    }
}

#[test]
fn the_error_sheet_opens_in_a_spreadsheet_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("errors.csv");
    let line = |value: &str| ErrorLine {
        row: 7,
        field: "信息资源名称".to_owned(),
        rule: "R05".to_owned(),
        severity: "error".to_owned(),
        message_zh: "缺少名称".to_owned(),
        message_en: "no title".to_owned(),
        remedy_zh: "请填写".to_owned(),
        remedy_en: "fill it in".to_owned(),
        value: value.to_owned(),
    };
    let values = ["=1+1", "+86", "-2", "@x", "平常, \"引号\"\n换行"];
    write_error_sheet(&path, &values.map(line)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.starts_with(&[0xEF, 0xBB, 0xBF]));
    let sheet = read(&path, &ReadOptions::default()).unwrap();
    let found: Vec<&Value> = sheet.rows.iter().map(|row| &row.cells[8].1).collect();
    assert_eq!(found, ["'=1+1", "'+86", "'-2", "'@x", "平常, \"引号\"\n换行"]);
    assert_eq!(sheet.rows[0].cells[0], ("行号 row".to_owned(), json!("7")));
}

/// Real files lie beside the checkout on some machines only; they are not part of the project.
fn real() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/real");
    Some(std::env::var_os("LIANDONG_REAL").map_or_else(beside, PathBuf::from))
        .filter(|folder| folder.is_dir())
}

#[test]
fn every_real_file_reads_when_there_are_any() {
    let Some(real) = real() else { return };
    for folder in ["tabular", "zh-catalogs"] {
        for entry in std::fs::read_dir(real.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let table = read(&path, &ReadOptions::default())
                .unwrap_or_else(|error| panic!("{}: {}", path.display(), error.text().0));
            let source = &table.source;
            println!(
                "{}: {} rows, {} columns, {} {} header {:?}",
                path.file_name().unwrap().to_string_lossy(),
                table.rows.len(),
                table.columns.len(),
                source.format.name(),
                source.encoding.as_deref().unwrap_or("-"),
                source.header_row,
            );
            println!("    {}", table.columns.join(" | "));
            for note in &table.notes {
                println!("    {}", note.text().0);
            }
        }
    }
}
