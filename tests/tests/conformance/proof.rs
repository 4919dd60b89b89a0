//! Which test shows what of the federation's design: `golden/proof.toml` names for every invariant, fault and kind of
//! conflict the tests that show it. They must be there; whether they show it is for the reader to judge.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;

/// Numbers of the design: invariants, faults, conflicts.
const IDS: [(char, usize); 3] = [('I', 25), ('F', 24), ('C', 10)];

/// A statement of the design and what shows it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    /// The statement in short.
    means: String,
    /// Tests, as `file name`.
    shown_by: Vec<String>,
    /// Functions that a test named above holds against every step, as `file name`.
    #[serde(default)]
    checked_in: Vec<String>,
    /// What no test shows, and what does.
    #[serde(default)]
    but: Option<String>,
}

/// Why `file name` is no function of the tree, or no test of it.
fn fault(place: &str, test: bool) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let Some((file, name)) = place.split_once(' ') else {
        return Some(format!("{place}: is not `file name`"));
    };
    let Ok(source) = fs::read_to_string(root.join(file)) else {
        return Some(format!("{place}: there is no such file"));
    };
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let begins = |line: &&str| line.contains(&format!("fn {name}(")) && !line.starts_with("//");
    let Some(at) = lines.iter().position(begins) else {
        return Some(format!("{place}: there is no such function"));
    };
    let mut attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
    let is_test = attributes.any(|line| line.contains("test]") || line.contains("test("));
    (test && !is_test).then(|| format!("{place}: is no test"))
}

#[test]
fn every_invariant_fault_and_conflict_is_shown_by_tests_that_exist() {
    let table: BTreeMap<String, Proof> = toml::from_str(include_str!("../../golden/proof.toml"))
        .unwrap_or_else(|error| panic!("golden/proof.toml: {error}"));
    let ids =
        IDS.into_iter().flat_map(|(kind, last)| (1..=last).map(move |n| format!("{kind}{n}")));
    let ids: Vec<String> = ids.collect();
    let mut faults: Vec<String> = table
        .keys()
        .filter(|id| !ids.contains(id))
        .map(|id| format!("{id}: the design has no such number"))
        .collect();
    for id in &ids {
        let Some(proof) = table.get(id) else {
            faults.push(format!("{id}: nothing shows it"));
            continue;
        };
        if proof.shown_by.is_empty() {
            faults.push(format!("{id}: nothing shows it"));
        }
        let tests = proof.shown_by.iter().filter_map(|place| fault(place, true));
        let checks = proof.checked_in.iter().filter_map(|place| fault(place, false));
        faults.extend(tests.chain(checks).map(|why| format!("{id}: {why}")));
        println!("{id:<4}{}", proof.means);
        for place in proof.shown_by.iter().chain(&proof.checked_in) {
            println!("      {place}");
        }
        if let Some(but) = &proof.but {
            println!("      but: {but}");
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_place_that_is_no_test_is_noticed() {
    let here = "tests/tests/conformance/proof.rs";
    let is = |name: &str| fault(&format!("{here} {name}"), true);
    assert_eq!(is("a_place_that_is_no_test_is_noticed"), None);
    assert!(is("fault").is_some_and(|why| why.ends_with("is no test")));
    assert!(is("nowhere").is_some_and(|why| why.ends_with("no such function")));
    assert!(fault("tests/nowhere.rs x", true).is_some_and(|why| why.ends_with("no such file")));
}
