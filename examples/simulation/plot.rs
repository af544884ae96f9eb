//! [`Plot`]: the pictures of an experiment, and [`draw`], which makes one SVG of them.

mod connections;
mod histogram;
mod lines;
#[cfg(test)]
mod tests;

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;

pub use connections::Connections;
pub use histogram::Histogram;
pub use lines::{Line, Lines};

/// One picture.
#[derive(Clone, Debug)]
pub enum Plot {
    /// Something over time.
    Lines(Lines),
    /// How many nodes have how many of something.
    Histogram(Histogram),
    /// Who is connected with whom.
    Connections(Connections),
}

/// What goes wrong when a picture is drawn.
pub type PlotError = Box<dyn Error + Send + Sync>;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The library knows whole units only; so many of them make a pixel of the SVG, or curves would have steps.
const PIXEL: u32 = 4;

/// All pictures are this wide together.
const WIDTH: u32 = 1_000 * PIXEL;

/// Above all pictures.
const TITLE_HEIGHT: u32 = 64 * PIXEL;

const FONT: &str = "sans-serif";
const TITLE_SIZE: u32 = 20 * PIXEL;
const CAPTION_SIZE: u32 = 16 * PIXEL;
const TEXT_SIZE: u32 = 13 * PIXEL;

/// The palette of Okabe and Ito ("Color Universal Design", 2002), which people of all kinds of color vision can tell
/// apart.
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const VERMILLION: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const PURPLE: RGBColor = RGBColor(204, 121, 167);
const SKY_BLUE: RGBColor = RGBColor(86, 180, 233);

const TEXT_COLOR: RGBColor = RGBColor(40, 40, 40);
const GRID_COLOR: RGBColor = RGBColor(225, 225, 225);

/// One SVG with all pictures below a title and a smaller one: charts in rows of two, networks in rows of three.
///
/// # Errors
///
/// What the library that draws says; nothing is known to cause one.
pub fn draw(title: &str, subtitle: &str, plots: &[Plot]) -> Result<String, PlotError> {
    let rows = rows(plots);
    let height = TITLE_HEIGHT + rows.iter().map(|row| row_height(row)).sum::<u32>();
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        for (line, top, size) in [(title, 14, TITLE_SIZE), (subtitle, 42, TEXT_SIZE)] {
            let at = (i32::try_from(WIDTH / 2)?, i32::try_from(top * PIXEL)?);
            root.draw(&Text::new(line.to_owned(), at, centered(size)))?;
        }
        let (_, mut below) = root.split_vertically(TITLE_HEIGHT);
        for row in rows {
            let (area, rest) = below.split_vertically(row_height(row));
            below = rest;
            for (plot, cell) in row.iter().zip(area.split_evenly((1, row.len().max(columns(row))))) {
                plot.draw(&cell)?;
            }
        }
        root.present()?;
    }
    let units = format!("width=\"{WIDTH}\" height=\"{height}\"");
    let pixels = format!("width=\"{}\" height=\"{}\"", WIDTH / PIXEL, height / PIXEL);
    Ok(svg.replacen(&units, &pixels, 1))
}

/// Pictures of one kind share rows.
fn rows(plots: &[Plot]) -> Vec<&[Plot]> {
    plots
        .chunk_by(|left, right| left.columns() == right.columns())
        .flat_map(|kind| kind.chunks(kind[0].columns()))
        .collect()
}

fn columns(row: &[Plot]) -> usize {
    // A chart that is alone in its row takes all of it, a network does not.
    row.first().map_or(1, |plot| match plot {
        Plot::Connections(_) => plot.columns(),
        Plot::Lines(_) | Plot::Histogram(_) => 1,
    })
}

fn row_height(row: &[Plot]) -> u32 {
    row.first().map_or(0, |plot| match plot {
        Plot::Connections(_) => 380 * PIXEL,
        Plot::Lines(_) | Plot::Histogram(_) => 340 * PIXEL,
    })
}

impl Plot {
    fn columns(&self) -> usize {
        match self {
            Self::Lines(_) | Self::Histogram(_) => 2,
            Self::Connections(_) => 3,
        }
    }

    fn draw(&self, area: &Area<'_>) -> Result<(), PlotError> {
        match self {
            Self::Lines(lines) => lines.draw(area),
            Self::Histogram(histogram) => histogram.draw(area),
            Self::Connections(connections) => connections.draw(area),
        }
    }
}

fn text(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&TEXT_COLOR)
}

fn centered(size: u32) -> TextStyle<'static> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    text(size).pos(Pos::new(HPos::Center, VPos::Top))
}
