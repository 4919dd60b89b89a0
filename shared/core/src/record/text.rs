//! Canonical forms of text, and the folded form used for comparing.
//!
//! Every function here is idempotent: control characters go before composition, because taking
//! one out can bring a letter and its accent together.

use unicode_normalization::UnicodeNormalization;

/// Characters that show nothing and only make equal texts differ: zero-width blanks, marks of
/// direction, soft hyphen.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2060}' | '\u{FEFF}'
        | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Whether the character ends a line or is a tab.
pub fn is_break(c: char) -> bool {
    matches!(c, '\t'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether the character is a control character that no text needs.
pub fn is_stray_control(c: char) -> bool {
    c.is_control() && !is_break(c)
}

/// One line: composed (NFC), trimmed, every run of blanks that holds a line break or tab becomes
/// one space.
pub fn line(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut blanks = String::new();
    let mut broken = false;
    for c in raw.chars().filter(|c| !is_invisible(*c) && !is_stray_control(*c)) {
        if is_break(c) {
            broken = true;
        } else if c.is_whitespace() {
            blanks.push(c);
        } else {
            if !out.is_empty() {
                out.push_str(if broken { " " } else { &blanks });
            }
            blanks.clear();
            broken = false;
            out.push(c);
        }
    }
    out.nfc().collect()
}

/// Several lines: composed (NFC), trimmed, line ends as `\n`, tabs as spaces, no blanks before a
/// line end.
pub fn block(raw: &str) -> String {
    let unified = raw.replace("\r\n", "\n");
    let mut out = String::with_capacity(unified.len());
    for c in unified.chars().filter(|c| !is_invisible(*c) && !is_stray_control(*c)) {
        match c {
            '\t' => out.push(' '),
            c if is_break(c) => out.push('\n'),
            c => out.push(c),
        }
    }
    let lines: Vec<&str> = out.split('\n').map(str::trim_end).collect();
    lines.join("\n").trim().nfc().collect()
}

/// Letters, digits and ideographs only, width and case folded: two texts that differ in
/// punctuation are equal.
pub fn fold(raw: &str) -> String {
    raw.nfkc().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Width and case folded, without blanks, quotation marks and trailing separators: for looking a
/// cell up in a table.
pub fn fold_value(raw: &str) -> String {
    let kept: String = raw
        .nfkc()
        .filter(|c| !c.is_whitespace() && !is_invisible(*c) && !c.is_control())
        .filter(|c| !matches!(c, '\'' | '"' | '`' | '‘' | '’' | '“' | '”'))
        .flat_map(char::to_lowercase)
        .collect();
    kept.trim_end_matches([',', ';', ':', '。', '、']).to_owned()
}

/// The first characters of a value, for showing it in a message.
pub fn preview(raw: &str, chars: usize) -> String {
    match raw.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", raw.get(..end).unwrap_or_default()),
        None => raw.to_owned(),
    }
}
