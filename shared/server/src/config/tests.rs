//! Layers, errors and the private file.

use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Sample {
    #[serde(default)]
    http: Http,
    #[serde(default)]
    view: View,
    #[serde(default)]
    retry: Retry,
    node: Node,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Node {
    district: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    ratio: f64,
}

const FILE: &str = "[http]\nlisten = \"127.0.0.1:1\"\n[node]\ndistrict = \"310115\"\n";

fn read(text: &str, env: &[(&str, &str)], flags: &[(&str, Value)]) -> Result<Sample, ConfigError> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags: Vec<_> =
        flags.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    load_text(Path::new("node.toml"), text, env, &flags)
}

#[test]
fn a_file_alone_is_enough_and_the_rest_is_default() {
    let config = read(FILE, &[], &[]).unwrap();
    assert_eq!(config.http.listen.port(), 1);
    assert_eq!(config.view, View::default());
}

#[test]
fn the_environment_wins_over_the_file_and_a_flag_over_both() {
    let env = [("LIANDONG_HTTP__LISTEN", "127.0.0.1:2"), ("LIANDONG_VIEW__CACHE_MIB", "64")];
    let config = read(FILE, &env, &[]).unwrap();
    assert_eq!((config.http.listen.port(), config.view.cache_mib), (2, 64));
    let config = read(FILE, &env, &[("http.listen", "127.0.0.1:3".into())]).unwrap();
    assert_eq!(config.http.listen.port(), 3);
}

#[test]
fn a_variable_is_typed_by_what_the_key_wants() {
    let env = [
        ("LIANDONG_NODE__DISTRICT", "310106"),
        ("LIANDONG_NODE__NAMES", r#"["a", "b"]"#),
        ("LIANDONG_NODE__RATIO", "0.5"),
        ("LIANDONG_VIEW__ENGINE", "redb"),
        ("LIANDONG_RETRY__FIRST_MS", "50"),
    ];
    let config = read(FILE, &env, &[]).unwrap();
    assert_eq!(config.node.district, "310106");
    assert_eq!(config.node.names, ["a", "b"]);
    assert_eq!((config.view.engine, config.retry.first_ms), (Engine::Redb, 50));
}

#[test]
fn a_variable_can_supply_what_the_file_lacks() {
    let config = read("", &[("LIANDONG_NODE__DISTRICT", "true")], &[]).unwrap();
    assert_eq!(config.node.district, "true");
}

#[test]
fn variables_of_others_are_left_alone() {
    let env = [("LIANDONG_CONFIG", "x"), ("PATH", "/bin"), ("OTHER__KEY", "1")];
    assert!(read(FILE, &env, &[]).is_ok());
}

#[test]
fn a_misspelt_key_is_refused_by_name_with_the_nearest_one() {
    let error = read("[http]\nlisen = 1\n[node]\ndistrict = \"x\"\n", &[], &[]).unwrap_err();
    let expected = "unknown key http.lisen (node.toml); did you mean http.listen?";
    assert_eq!(error.to_string(), expected);
    let failure = error.explain();
    assert!(failure.message_zh.contains("是否应为 http.listen"), "{failure:?}");
    assert_eq!(failure.exit(), Exit::Usage);
}

#[test]
fn a_misspelt_variable_is_refused_by_its_own_name() {
    let error = read(FILE, &[("LIANDONG_VIEW__CACHE_MB", "64")], &[]).unwrap_err();
    let expected =
        "unknown key view.cache_mb ($LIANDONG_VIEW__CACHE_MB); did you mean view.cache_mib?";
    assert_eq!(error.to_string(), expected);
    let error = read(FILE, &[("LIANDONG_WINDOW__WIDTH", "64")], &[]).unwrap_err();
    assert!(error.to_string().contains("unknown key window ($LIANDONG_WINDOW__WIDTH)"), "{error}");
    assert!(read(FILE, &[("LIANDONG_HTTP__LISTEN__PORT", "64")], &[]).is_err());
}

#[test]
fn a_value_of_the_wrong_kind_is_told_with_its_key_and_origin() {
    let error = read(FILE, &[("LIANDONG_VIEW__CACHE_MIB", "much")], &[]).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("view.cache_mib ($LIANDONG_VIEW__CACHE_MIB): invalid type"), "{text}");
    let error = read(FILE, &[], &[("http.listen", "nowhere".into())]).unwrap_err();
    assert!(error.to_string().starts_with("http.listen (command line):"), "{error}");
}

#[test]
fn a_missing_key_is_named() {
    let error = read("", &[], &[]).unwrap_err();
    assert!(error.to_string().contains("missing field `node`"), "{error}");
    let error = read("[node]\n", &[], &[]).unwrap_err();
    assert!(error.to_string().contains("missing field `district`"), "{error}");
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_the_line() {
    let error = read("[http]\nlisten = \n", &[], &[]).unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn a_missing_file_is_told_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub.toml");
    let error = load::<Sample>(&path, std::iter::empty(), &[]).unwrap_err();
    assert!(error.to_string().contains("hub.toml"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_private_file_is_replaced_whole_and_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    std::fs::write(&path, b"old and longer than the new one").unwrap();
    write_private(&path, b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
}
