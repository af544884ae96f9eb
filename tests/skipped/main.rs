//! The last of the tests that `cargo test` runs, though doctests follow: says which tests were skipped, and why.

#[path = "../support/skip.rs"]
mod skip;

use std::fs;
use std::io::{self, ErrorKind};

fn main() -> io::Result<()> {
    // Asked for the names of tests; there is none.
    if std::env::args().any(|argument| argument == "--list") {
        return Ok(());
    }
    let file = skip::file()?;
    let skipped = match fs::read_to_string(&file) {
        Ok(lines) => lines,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if skipped.is_empty() {
        println!("\nno test was skipped\n");
        return Ok(());
    }
    let count = skipped.lines().count();
    println!("\nskipped, in whole or in part ({count}):\n\n{skipped}");
    if skip::is_of_one_run() {
        fs::remove_file(file)?;
    }
    Ok(())
}
