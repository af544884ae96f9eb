//! Experiments with simulated networks. See `README.md` in the folder above.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::{env, fs};

use clap::Parser;
use network_simulation::cli::Cli;
use network_simulation::plot;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error + Send + Sync>> {
    if cli.plot.is_some() && !cli.experiment.has_pictures() {
        return Err("this experiment has no picture: leave `--plot` out".into());
    }
    let outcome = cli.experiment.run();
    if let Some(file) = &cli.plot {
        let svg = plot::draw(&outcome.title, &outcome.network, &outcome.plots)?;
        fs::write(file, svg).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let text = if cli.json {
        let arguments: Vec<String> = env::args().skip(1).collect();
        format!("{:#}\n", outcome.to_json(&arguments))
    } else {
        outcome.to_string()
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
