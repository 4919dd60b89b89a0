//! The query expression: a table of what clients write, and what no text may cause.

#![expect(clippy::panic, reason = "helpers of tests fail as tests do")]

use std::ops::Bound;

use liandong_core::{
    expr::{Expr, ExprError, Pattern, TextField, TimeField},
    limit,
};
use proptest::prelude::*;

/// 2026-11-23T05:14:07.669112Z
const NOW_US: i64 = 1_795_410_847_669_112;
const DAY_US: i64 = 86_400_000_000;

fn parse(text: &str) -> Expr {
    Expr::parse(text, NOW_US).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn word(text: &str) -> Expr {
    Expr::Text { field: None, text: text.to_owned(), phrase: false }
}

fn phrase(text: &str) -> Expr {
    Expr::Text { field: None, text: text.to_owned(), phrase: true }
}

fn title(text: &str, phrase: bool) -> Expr {
    Expr::Text { field: Some(TextField::Title), text: text.to_owned(), phrase }
}

fn is(key: &str, value: &str) -> Expr {
    Expr::Is { key: key.to_owned(), value: value.to_owned() }
}

fn has(key: &str) -> Expr {
    Expr::Has { key: key.to_owned() }
}

fn like(key: &str, pattern: &str) -> Expr {
    Expr::Like { key: key.to_owned(), pattern: pattern.to_owned() }
}

fn not(expr: Expr) -> Expr {
    Expr::Not(Box::new(expr))
}

fn modified(from: Bound<i64>, to: Bound<i64>) -> Expr {
    Expr::Between { field: TimeField::Modified, from, to }
}

#[test]
fn words_and_operators_mean_what_their_writers_meant() {
    let and = Expr::And;
    let or = Expr::Or;
    let table: &[(&str, Expr)] = &[
        ("", Expr::All),
        ("  \u{3000} ", Expr::All),
        ("*:*", Expr::All),
        ("*", Expr::All),
        ("\"\"", Expr::All),
        ("公交", word("公交")),
        ("公交 线路", and(vec![word("公交"), word("线路")])),
        ("公交　线路", and(vec![word("公交"), word("线路")])),
        ("公交 AND 线路", and(vec![word("公交"), word("线路")])),
        ("公交 && 线路", and(vec![word("公交"), word("线路")])),
        ("公交 OR 线路", or(vec![word("公交"), word("线路")])),
        ("公交 || 线路", or(vec![word("公交"), word("线路")])),
        ("a OR b c", and(vec![or(vec![word("a"), word("b")]), word("c")])),
        ("a OR b AND c", or(vec![word("a"), and(vec![word("b"), word("c")])])),
        ("(a OR b) AND c", and(vec![or(vec![word("a"), word("b")]), word("c")])),
        ("((a))", word("a")),
        ("NOT a", not(word("a"))),
        ("!a", not(word("a"))),
        ("-a", not(word("a"))),
        ("+a", word("a")),
        ("+a -b", and(vec![word("a"), not(word("b"))])),
        ("NOT NOT a", word("a")),
        ("a NOT b", and(vec![word("a"), not(word("b"))])),
        ("-(a b)", not(and(vec![word("a"), word("b")]))),
        ("交通 - 出行", and(vec![word("交通"), word("出行")])),
        ("Yahoo!Japan", word("Yahoo!Japan")),
        ("A-B", word("A-B")),
        ("ORDER", word("ORDER")),
        ("and or not", and(vec![word("and"), word("or"), word("not")])),
        ("\"公交 线路\"", phrase("公交 线路")),
        ("\"say \\\"hi\\\"\"", phrase("say \"hi\"")),
        ("公交^4 线路~0.8", and(vec![word("公交"), word("线路")])),
        ("\"公交 线路\"~3", phrase("公交 线路")),
        ("1\\+1\\:2", word("1+1:2")),
        ("公交*", phrase("公交")),
        ("公*通", and(vec![phrase("公"), phrase("通")])),
        ("a\\*b", word("a*b")),
    ];
    for (text, wanted) in table {
        assert_eq!(parse(text), *wanted, "{text}");
    }
}

#[test]
fn fields_of_ckan_are_texts_labels_or_moments() {
    let (org, fmt) = ("organization", "res_format");
    let table: &[(&str, Expr)] = &[
        ("title:公交", title("公交", false)),
        ("title:\"公交 线路\"", title("公交 线路", true)),
        ("title: 公交", title("公交", false)),
        ("title:(公交 OR 线路)", Expr::Or(vec![title("公交", false), title("线路", false)])),
        ("title:(公交 tags:水务)", Expr::And(vec![title("公交", false), is("tags", "水务")])),
        ("title:*", Expr::All),
        ("notes:*", has("notes")),
        ("text:公交", word("公交")),
        ("*:公交", word("公交")),
        ("tags:交通", is("tags", "交通")),
        ("tags:\"城市 交通\"", is("tags", "城市 交通")),
        ("tags:*", has("tags")),
        ("tags:[* TO *]", has("tags")),
        ("tags:\"*\"", is("tags", "*")),
        ("tags:交*", like("tags", "交*")),
        ("tags:a\\*b*", like("tags", "a\\*b*")),
        ("-organization:x", not(is(org, "x"))),
        ("type:dataset", is("dataset_type", "dataset")),
        (
            "+state:active +site_id:\"default\"",
            Expr::And(vec![is("state", "active"), is("site_id", "default")]),
        ),
        ("res_format:(CSV OR JSON)", Expr::Or(vec![is(fmt, "CSV"), is(fmt, "JSON")])),
        ("author:规划", like("author", "*规划*")),
        ("author:\"a*b\"", like("author", "*a\\*b*")),
        ("extras_theme:交通", like("extras_theme", "*交通*")),
        ("vocab_geo:x", is("vocab_geo", "x")),
        ("nosuchfield:x", is("nosuchfield", "x")),
        ("metadata_modified:[* TO *]", modified(Bound::Unbounded, Bound::Unbounded)),
    ];
    for (text, wanted) in table {
        assert_eq!(parse(text), *wanted, "{text}");
    }
}

#[test]
fn the_incremental_harvest_of_ckan_keeps_its_organisations_apart() {
    let text =
        "organization:a OR organization:b metadata_modified:[2026-11-23T05:14:07.669112Z TO *]";
    let organisations = Expr::Or(vec![is("organization", "a"), is("organization", "b")]);
    let since = modified(Bound::Included(NOW_US), Bound::Unbounded);
    assert_eq!(parse(text), Expr::And(vec![organisations, since]));
}

#[test]
fn moments_are_read_in_every_form_that_clients_write() {
    let second = NOW_US - 669_112;
    let day = second - 18_847_000_000;
    let (incl, excl, open) = (Bound::Included, Bound::Excluded, Bound::Unbounded);
    let table = [
        ("[2026-11-23T05:14:07.669112Z TO *]", incl(NOW_US), open),
        ("[2026-11-23T05:14:07.669112Z%20TO%20*]", incl(NOW_US), open),
        ("[2026-11-23T05:14:07.669112 TO NOW]", incl(NOW_US), incl(NOW_US)),
        ("[2026-11-23T05:14:07.669112999Z TO *]", incl(NOW_US), open),
        ("{2026-11-23T05:14:07Z TO NOW}", excl(second), excl(NOW_US)),
        ("[2026-11-23T05\\:14\\:07Z TO *}", incl(second), open),
        ("[\"2026-11-23T05:14:07Z\" TO *]", incl(second), open),
        ("[2026-11-23T13:14:07+08:00 TO *]", incl(second), open),
        ("[* TO 2026-11-23T05:14Z]", open, incl(second - 7_000_000)),
        ("[2026-11-23 TO 2026-11-23]", incl(day), excl(day + DAY_US)),
        ("{2026-11-23 TO *}", incl(day + DAY_US), open),
        ("[* TO 2026-11-23}", open, excl(day)),
        ("[2026 TO 2026]", incl(day - 326 * DAY_US), excl(day + 39 * DAY_US)),
        ("[2026-11 TO *]", incl(day - 22 * DAY_US), open),
        ("[NOW-7DAYS TO NOW]", incl(NOW_US - 7 * DAY_US), incl(NOW_US)),
        ("[NOW/DAY-1DAY TO NOW/DAY+1DAY]", incl(day - DAY_US), incl(day + DAY_US)),
        ("[2026-11-23T05:14:07Z/DAY TO *]", incl(day), open),
        ("2026-11-23", incl(day), excl(day + DAY_US)),
        ("2026-11-23T05:14:07Z", incl(second), incl(second)),
        ("\"2026-11-23T05:14:07.669112Z\"", incl(NOW_US), incl(NOW_US)),
    ];
    for (text, from, to) in table {
        assert_eq!(parse(&format!("metadata_modified:{text}")), modified(from, to), "{text}");
    }
}

#[test]
fn what_is_no_expression_says_where_and_what_to_do() {
    use ExprError::{
        Backwards, Clauses, Deep, LocalParams, Long, Missing, NoRange, Patterns, RangeForm, Time,
        Unexpected, Unpaired,
    };
    let table = [
        ("(a", Unpaired { at: 1, sign: '(' }),
        ("a)", Unpaired { at: 2, sign: ')' }),
        ("a \"b", Unpaired { at: 3, sign: '"' }),
        ("title:[a TO", Unpaired { at: 7, sign: '[' }),
        ("a ]", Unexpected { at: 3, sign: ']' }),
        ("a:b:c", Unexpected { at: 4, sign: ':' }),
        (":a", Unexpected { at: 1, sign: ':' }),
        ("()", Missing(2)),
        ("title:", Missing(7)),
        ("a AND", Missing(6)),
        ("AND a", Missing(1)),
        ("a OR OR b", Missing(6)),
        ("NOT", Missing(4)),
        ("a\\", Missing(3)),
        ("{!lucene q.op=OR}a", LocalParams(1)),
        ("x AND {!func}title", LocalParams(7)),
        ("title:{!xmlparser v=1}", LocalParams(7)),
        ("metadata_modified:[2026 2027]", RangeForm(19)),
        ("metadata_modified:[* TO]", RangeForm(19)),
        ("metadata_modified:[NOW TO NOW-1DAY]", Backwards(19)),
        ("metadata_created:[2027 TO 2026]", Backwards(18)),
        ("name:[a TO b]", NoRange { at: 6, field: "name".to_owned() }),
        ("metadata_modified:[x TO *]", Time { at: 19, given: "x".to_owned() }),
        ("metadata_modified:2026-13-01", Time { at: 19, given: "2026-13-01".to_owned() }),
        (
            "metadata_modified:[NOW-7PARSECS TO *]",
            Time { at: 19, given: "NOW-7PARSECS".to_owned() },
        ),
    ];
    for (text, wanted) in table {
        let error = Expr::parse(text, NOW_US).expect_err(text);
        assert_eq!(error, wanted, "{text}");
        assert!(error.to_string().contains(" / "), "{error}");
    }
    let large = [
        ("x".repeat(limit::EXPR_CHARS_MAX + 1), Long),
        ("(".repeat(limit::EXPR_CHARS_MAX), Deep(limit::EXPR_DEPTH_MAX + 1)),
        ("a ".repeat(limit::EXPR_CLAUSES_MAX + 1), Clauses),
        ("a*".repeat(limit::EXPR_CLAUSES_MAX + 1), Clauses),
        ("id:a* ".repeat(limit::EXPR_PATTERNS_MAX + 1), Patterns),
    ];
    for (text, wanted) in large {
        assert_eq!(Expr::parse(&text, NOW_US), Err(wanted));
    }
    let nested = "(".repeat(limit::EXPR_DEPTH_MAX) + "a" + &")".repeat(limit::EXPR_DEPTH_MAX);
    assert_eq!(parse(&nested), word("a"));
}

#[test]
fn a_text_of_a_mebibyte_is_refused_and_one_of_the_greatest_length_is_read() {
    for unit in ["(", "\"", "-", "!", "a*", "{!", "\\", "a OR ", "[", "NOT "] {
        let text = unit.repeat((1 << 20) / unit.len());
        assert_eq!(Expr::parse(&text, NOW_US), Err(ExprError::Long), "{unit}");
        let longest: String = text.chars().take(limit::EXPR_CHARS_MAX).collect();
        assert_ne!(Expr::parse(&longest, NOW_US), Err(ExprError::Long), "{unit}");
    }
}

#[test]
fn a_pattern_fits_whole_texts() {
    let table = [
        ("*", "", true),
        ("a*", "abc", true),
        ("*c", "abc", true),
        ("a*c", "abbc", true),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("交?", "交通", true),
        ("*b*", "ac", false),
        ("a\\*", "a*", true),
        ("a\\*", "ab", false),
        ("*ab*ab", "ababab", true),
        ("", "", true),
        ("", "a", false),
    ];
    for (pattern, text, fits) in table {
        assert_eq!(Pattern::new(pattern).fits(text), fits, "{pattern} {text}");
    }
}

/// What a pattern means, written as slowly and plainly as possible.
fn fits_plainly(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|at| fits_plainly(rest, &text[at..])),
        ['?', rest @ ..] => !text.is_empty() && fits_plainly(rest, &text[1..]),
        [c, rest @ ..] => text.first() == Some(c) && fits_plainly(rest, &text[1..]),
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,64}") {
        let _any = Expr::parse(&text, NOW_US);
    }

    #[test]
    fn no_text_of_operators_makes_the_parser_panic(
        parts in prop::collection::vec(prop::sample::select(vec![
            "a", "交通", "AND", "OR", "NOT", "&&", "||", "!", "+", "-", "(", ")", "[", "]", "{", "}", " ", " TO ",
            "\"", "\\", "^", "~", "*", "?", ":", "title:", "tags:", "metadata_modified:", "NOW", "-7DAYS", "/", "2026",
            "%20", "T05:14:07", "Z", "é", "\u{10FFFF}",
        ]), 0..40),
    ) {
        let _any = Expr::parse(&parts.concat(), NOW_US);
    }

    #[test]
    fn an_escaped_text_is_a_word(text in "\\PC{1,40}") {
        let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
        prop_assume!(!text.trim().is_empty());
        prop_assert_eq!(parse(&escaped), word(&text));
    }

    #[test]
    fn a_pattern_fits_what_it_means(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
        let chars: Vec<char> = pattern.chars().collect();
        let plain: Vec<char> = text.chars().collect();
        prop_assert_eq!(Pattern::new(&pattern).fits(&text), fits_plainly(&chars, &plain));
    }
}
