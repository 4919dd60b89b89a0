//! What the names of CKAN's fields mean here, and what a value means in each.

use super::{Expr, TextField, TimeField};

/// How the values of a field are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    /// As text; everywhere when none.
    Text(Option<TextField>),
    /// As a label, whole.
    Label(String),
    /// As a label, a part of it: CKAN keeps these as text.
    Part(String),
    /// As a moment.
    Time(TimeField),
}

impl Field {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "text" | "*" => Self::Text(None),
            "title" | "title_string" => Self::Text(Some(TextField::Title)),
            "notes" => Self::Text(Some(TextField::Summary)),
            "keywords" => Self::Text(Some(TextField::Keywords)),
            "items" => Self::Text(Some(TextField::Items)),
            "provider" => Self::Text(Some(TextField::Provider)),
            "metadata_created" => Self::Time(TimeField::Created),
            "metadata_modified" => Self::Time(TimeField::Modified),
            "author" | "maintainer" | "res_name" | "res_description" => Self::Part(name.to_owned()),
            "type" => Self::Label("dataset_type".to_owned()),
            _ if name.starts_with("extras_") => Self::Part(name.to_owned()),
            _ => Self::Label(name.to_owned()),
        }
    }

    /// Records that have the field at all. Every record has a title and its moments.
    pub(super) fn present(&self) -> Expr {
        let key = match self {
            Self::Text(None | Some(TextField::Title)) | Self::Time(_) => return Expr::All,
            Self::Text(Some(TextField::Summary)) => "notes",
            Self::Text(Some(TextField::Keywords)) => "tags",
            Self::Text(Some(TextField::Items)) => "extras_items",
            Self::Text(Some(TextField::Provider)) => "author",
            Self::Label(key) | Self::Part(key) => key,
        };
        Expr::Has { key: key.to_owned() }
    }
}

/// A value as it was written, with its wildcards told from signs that were escaped.
#[derive(Debug, Clone, Default)]
pub(super) struct Value {
    pub(super) chars: Vec<Char>,
    pub(super) quoted: bool,
}

/// A character of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Char {
    Plain(char),
    /// `*`
    Any,
    /// `?`
    One,
}

impl Value {
    pub(super) fn is_star(&self) -> bool {
        self.chars == [Char::Any]
    }

    /// The text, wildcards as their signs.
    pub(super) fn text(&self) -> String {
        let sign = |c: &Char| match c {
            Char::Plain(c) => *c,
            Char::Any => '*',
            Char::One => '?',
        };
        self.chars.iter().map(sign).collect()
    }

    fn has_wildcards(&self) -> bool {
        self.chars.iter().any(|c| !matches!(c, Char::Plain(_)))
    }

    fn pattern(&self) -> String {
        let mut pattern = String::new();
        for c in &self.chars {
            match c {
                Char::Any => pattern.push('*'),
                Char::One => pattern.push('?'),
                Char::Plain(c) => {
                    if matches!(c, '*' | '?' | '\\') {
                        pattern.push('\\');
                    }
                    pattern.push(*c);
                }
            }
        }
        pattern
    }

    /// Records whose text field has the value. Text is found by its parts, so a wildcard only divides it.
    pub(super) fn in_text(&self, field: Option<TextField>) -> Expr {
        if !self.has_wildcards() {
            let text = self.text();
            let empty = text.trim().is_empty();
            return if empty { Expr::All } else { Expr::Text { field, text, phrase: self.quoted } };
        }
        let pieces = self.chars.split(|c| !matches!(c, Char::Plain(_)));
        let pieces = pieces.filter(|piece| !piece.is_empty()).map(|piece| {
            let text = Self { chars: piece.to_vec(), quoted: true }.text();
            Expr::Text { field, text, phrase: true }
        });
        Expr::all(pieces.collect())
    }

    /// Records that have the value as a label.
    pub(super) fn as_label(&self, key: &str) -> Expr {
        let key = key.to_owned();
        if self.has_wildcards() {
            Expr::Like { key, pattern: self.pattern() }
        } else {
            Expr::Is { key, value: self.text() }
        }
    }

    /// Records that have the value within a label.
    pub(super) fn in_label(&self, key: &str) -> Expr {
        Expr::Like { key: key.to_owned(), pattern: format!("*{}*", self.pattern()) }
    }
}
