//! The example as a process: what it prints and draws, and that another process finds the same.

use std::path::PathBuf;
use std::process::{Command, Output};

/// The executable of the example; Cargo builds it for a run of all tests.
fn simulation(arguments: &str) -> Output {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(|folder| folder.parent()).unwrap();
    let executable = profile.join("examples").join("simulation");
    Command::new(&executable)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", executable.display()))
}

fn printed(arguments: &str) -> String {
    let output = simulation(arguments);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn two_processes_find_the_same() {
    let arguments = "churn --nodes 40 --before 2 --minutes 3 --seed 7";
    let first = printed(arguments);
    assert!(first.contains("trace hash"), "{first}");
    assert_eq!(first, printed(arguments));
}

#[test]
fn machines_get_json() {
    let json: serde_json::Value = serde_json::from_str(&printed("form --nodes 20 --minutes 1 --json")).unwrap();
    assert_eq!(json["figures"]["components"], 1);
    assert_eq!(json["arguments"][0], "form");
}

#[test]
fn a_picture_is_an_svg_file() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("form.svg");
    printed(&format!("form --nodes 20 --minutes 1 --plot {}", file.display()));
    let svg = std::fs::read_to_string(&file).unwrap();
    let document = roxmltree::Document::parse(&svg).unwrap();
    assert!(
        document
            .root_element()
            .has_tag_name(("http://www.w3.org/2000/svg", "svg"))
    );
}

#[test]
fn what_cannot_be_done_is_an_error() {
    for (arguments, words) in [
        ("speed --plot speed.svg", "no picture"),
        ("form --minutes soon", "invalid float"),
        (
            "form --nodes 20 --minutes 1 --plot /missing/form.svg",
            "/missing/form.svg",
        ),
    ] {
        let output = simulation(arguments);
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(words), "{error}");
    }
}
