//! [`Lines`]: shares over time.

use std::time::Duration;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{
    Area, BLUE, CAPTION_SIZE, GREEN, GRID_COLOR, ORANGE, PIXEL, PURPLE, PlotError, SKY_BLUE, TEXT_COLOR, TEXT_SIZE,
    VERMILLION, text,
};

/// Shares from 0 to 1, drawn in percent, over virtual time.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Above the chart.
    pub caption: String,
    /// What is measured, beside the vertical axis, without its unit.
    pub measure: String,
    /// The name of each line and its points. More than six share colors.
    pub lines: Vec<Line>,
    /// Moments to be marked, and what happened then.
    pub marks: Vec<(Duration, String)>,
}

/// A name and the points.
pub type Line = (String, Vec<(Duration, f64)>);

const MARK_COLOR: RGBColor = RGBColor(120, 120, 120);

/// Of a line in the legend.
const LEGEND_LINE: i32 = 72;

const LEGEND_WIDTH: u32 = 150 * PIXEL;
const LEGEND_TOP: i32 = 240;
const LEGEND_ROW: i32 = 80;

const COLORS: [RGBColor; 6] = [BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY_BLUE];

impl Lines {
    pub(super) fn draw(&self, area: &Area<'_>) -> Result<(), PlotError> {
        // One line is named by the vertical axis.
        if self.lines.len() < 2 {
            return self.draw_chart(area);
        }
        let (width, _) = area.dim_in_pixel();
        let (chart, legend) = area.split_horizontally(width - LEGEND_WIDTH);
        self.draw_legend(&legend)?;
        self.draw_chart(&chart)
    }

    /// Beside the chart, where it covers nothing.
    fn draw_legend(&self, area: &Area<'_>) -> Result<(), PlotError> {
        for (row, (line, color)) in self.colored_lines().enumerate() {
            let y = LEGEND_TOP + LEGEND_ROW * i32::try_from(row)?;
            let ends = [(0, y), (LEGEND_LINE, y)];
            area.draw(&PathElement::new(ends, color.stroke_width(2 * PIXEL)))?;
            let style = text(TEXT_SIZE).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(line.0.clone(), (LEGEND_LINE * 3 / 2, y), style))?;
        }
        Ok(())
    }

    fn colored_lines(&self) -> impl Iterator<Item = (&Line, RGBColor)> {
        self.lines.iter().zip(COLORS.into_iter().cycle())
    }

    fn draw_chart(&self, area: &Area<'_>) -> Result<(), PlotError> {
        let end = self.end_minutes();
        let mut chart = ChartBuilder::on(area)
            .caption(&self.caption, text(CAPTION_SIZE))
            .margin(14 * PIXEL)
            .margin_right(24 * PIXEL)
            .x_label_area_size(42 * PIXEL)
            .y_label_area_size(56 * PIXEL)
            .build_cartesian_2d(0.0..end, 0.0..105.0)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID_COLOR.stroke_width(PIXEL))
            .x_desc("virtual time (minutes)")
            .y_desc(format!("{} (%)", self.measure))
            .y_labels(6)
            .axis_style(TEXT_COLOR.stroke_width(PIXEL))
            .set_all_tick_mark_size(5 * PIXEL)
            .label_style(text(TEXT_SIZE))
            .axis_desc_style(text(TEXT_SIZE))
            .x_label_formatter(&|minutes| trimmed(*minutes))
            .y_label_formatter(&|percent| trimmed(*percent))
            .draw()?;
        for (at, what) in &self.marks {
            let minutes = at.as_secs_f64() / 60.0;
            let dashes = (0..21).map(|dash| f64::from(dash) * 5.0);
            chart.draw_series(dashes.map(|from| {
                PathElement::new([(minutes, from), (minutes, from + 2.5)], MARK_COLOR.stroke_width(PIXEL))
            }))?;
            // Right of the line, or left of it where the chart ends.
            let (at, side) = if minutes < end * 0.8 {
                (minutes + end * 0.01, HPos::Left)
            } else {
                (minutes - end * 0.01, HPos::Right)
            };
            let style = text(TEXT_SIZE).pos(Pos::new(side, VPos::Top));
            chart.draw_series([Text::new(what.clone(), (at, 8.0), style)])?;
        }
        for (line, color) in self.colored_lines() {
            let points = line
                .1
                .iter()
                .map(|&(at, share)| (at.as_secs_f64() / 60.0, share * 100.0));
            chart.draw_series(LineSeries::new(points, color.stroke_width(2 * PIXEL)))?;
        }
        Ok(())
    }

    fn end_minutes(&self) -> f64 {
        let points = self.lines.iter().flat_map(|line| &line.1);
        let end = points.map(|&(at, _)| at).max().unwrap_or_default();
        // An axis needs a length.
        end.as_secs_f64().max(1.0) / 60.0
    }
}

/// At most one decimal, none for a whole number.
fn trimmed(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}
