//! [`Histogram`]: how many nodes have how many connections.

use plotters::prelude::*;

use super::{Area, BLUE, CAPTION_SIZE, GRID_COLOR, PIXEL, PlotError, TEXT_COLOR, TEXT_SIZE, VERMILLION, text};

/// A bar for each number of connections.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Above the chart.
    pub caption: String,
    /// What is counted, below the horizontal axis.
    pub measure: String,
    /// How many nodes have 0, 1, 2, ..
    pub nodes: Vec<usize>,
}

impl Histogram {
    /// Nodes that have none stand out: they are what the histogram is looked at for.
    pub(super) fn draw(&self, area: &Area<'_>) -> Result<(), PlotError> {
        let end = self.nodes.len().max(1) as f64;
        let top = self.nodes.iter().copied().max().unwrap_or(0).max(1) as f64;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.caption, text(CAPTION_SIZE))
            .margin(14 * PIXEL)
            .margin_right(24 * PIXEL)
            .x_label_area_size(42 * PIXEL)
            .y_label_area_size(56 * PIXEL)
            .build_cartesian_2d(-0.6..end - 0.4, 0.0..top * 1.05)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID_COLOR.stroke_width(PIXEL))
            .x_desc(&self.measure)
            .y_desc("nodes")
            .axis_style(TEXT_COLOR.stroke_width(PIXEL))
            .set_all_tick_mark_size(5 * PIXEL)
            .label_style(text(TEXT_SIZE))
            .axis_desc_style(text(TEXT_SIZE))
            .x_label_formatter(&|number| whole(*number))
            .y_label_formatter(&|number| whole(*number))
            .draw()?;
        chart.draw_series(self.nodes.iter().enumerate().map(|(degree, &nodes)| {
            let (middle, color) = (degree as f64, if degree == 0 { VERMILLION } else { BLUE });
            Rectangle::new([(middle - 0.4, 0.0), (middle + 0.4, nodes as f64)], color.filled())
        }))?;
        Ok(())
    }
}

/// Nothing for a number that is not whole: there are no half nodes.
fn whole(number: f64) -> String {
    if (number - number.round()).abs() > 1e-9 {
        return String::new();
    }
    format!("{:.0}", number.abs())
}
