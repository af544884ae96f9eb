//! [`Connections`]: the nodes of a network on a circle, and who is connected with whom.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::net::IpAddr;

use network::sim::Graph;
use plotters::prelude::*;

use super::{Area, BLUE, CAPTION_SIZE, GREEN, PIXEL, PlotError, TEXT_SIZE, VERMILLION, centered};
use crate::random::Random;

/// A network whose nodes belong to two groups. Each group has half of the circle and a color, and connections between the
/// groups have a third one.
#[derive(Clone, Debug)]
pub struct Connections {
    /// Above the picture.
    pub caption: String,
    /// All nodes with their positions: parts of a turn, clockwise from the top.
    nodes: BTreeMap<IpAddr, Node>,
    edges: Vec<(IpAddr, IpAddr)>,
    cross_edges: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    turn: f64,
    is_second: bool,
}

/// More connections cannot be told apart, and make a file of megabytes.
const MAX_EDGES: usize = 1_000;

const CAPTION_TOP: i32 = 32;
const ABOVE_CIRCLE: i32 = 136;
const BELOW_CIRCLE: i32 = 200;
const LINE_HEIGHT: i32 = 72;
const MARGIN: i32 = 32;

/// Between the two groups, in parts of a turn.
const GAP: f64 = 0.02;

impl Connections {
    /// A picture of this graph; `is_second` says which nodes are of the second group.
    #[must_use]
    pub fn new(caption: impl Into<String>, graph: &Graph, is_second: impl Fn(IpAddr) -> bool) -> Self {
        let (second, first): (Vec<IpAddr>, Vec<IpAddr>) = graph.nodes().partition(|&ip| is_second(ip));
        let first = on_half_circle(&first, false);
        Self {
            caption: caption.into(),
            nodes: first.chain(on_half_circle(&second, true)).collect(),
            edges: graph.edges().collect(),
            cross_edges: graph.cross_edges(is_second),
        }
    }

    pub(super) fn draw(&self, area: &Area<'_>) -> Result<(), PlotError> {
        let (width, height) = area.dim_in_pixel();
        let middle = i32::try_from(width / 2)?;
        area.draw(&Text::new(
            self.caption.clone(),
            (middle, CAPTION_TOP),
            centered(CAPTION_SIZE),
        ))?;
        let circle = Circle::within(width, height);
        // What is between the groups is drawn above the rest.
        for (is_cross, opacity) in [(false, 0.2), (true, 0.4)] {
            for (dialer, listener) in self.drawn_edges() {
                if (dialer.is_second != listener.is_second) == is_cross {
                    let ends = [circle.point(dialer), circle.point(listener)];
                    let color = edge_color(dialer, listener).mix(opacity);
                    area.draw(&PathElement::new(ends, color.stroke_width(PIXEL)))?;
                }
            }
        }
        let radius = if self.nodes.len() > 200 { 1 } else { 3 } * PIXEL;
        for &node in self.nodes.values() {
            let color = group_color(node.is_second);
            area.draw(&plotters::element::Circle::new(
                circle.point(node),
                radius,
                color.filled(),
            ))?;
        }
        let below = i32::try_from(height)? - BELOW_CIRCLE + LINE_HEIGHT / 4;
        for (line, text) in self.counts().into_iter().enumerate() {
            let at = (middle, below + LINE_HEIGHT * i32::try_from(line)?);
            area.draw(&Text::new(text, at, centered(TEXT_SIZE)))?;
        }
        Ok(())
    }

    /// Chosen at random, so that the share of cross edges stays about as it is. Each so many of them would be of the same
    /// few listeners: a node dials 8, and edges are in order.
    fn drawn_edges(&self) -> impl Iterator<Item = (Node, Node)> {
        let step = self.edges.len().div_ceil(MAX_EDGES).max(1);
        let mut random = Random::new(0, "drawn edges");
        let edges = self.edges.iter().filter(move |_| random.index(0..step) == 0);
        edges.filter_map(|(dialer, listener)| Some((*self.nodes.get(dialer)?, *self.nodes.get(listener)?)))
    }

    fn counts(&self) -> [String; 2] {
        let edges = self.edges.len();
        let share = if edges == 0 {
            0.0
        } else {
            self.cross_edges as f64 / edges as f64
        };
        let step = edges.div_ceil(MAX_EDGES);
        let drawn = if step > 1 {
            format!("; about one in {step} is drawn")
        } else {
            String::new()
        };
        [
            format!("{edges} connections{drawn}"),
            format!(
                "{} of them ({:.1} %) between the groups",
                self.cross_edges,
                share * 100.0
            ),
        ]
    }
}

/// The first half is on the right.
fn on_half_circle(ips: &[IpAddr], is_second: bool) -> impl Iterator<Item = (IpAddr, Node)> {
    let start = if is_second { 0.5 } else { 0.0 } + GAP / 2.0;
    let step = (0.5 - GAP) / ips.len().max(1) as f64;
    ips.iter().enumerate().map(move |(position, &ip)| {
        let turn = start + step * (position as f64 + 0.5);
        (ip, Node { turn, is_second })
    })
}

fn group_color(is_second: bool) -> RGBColor {
    if is_second { GREEN } else { BLUE }
}

fn edge_color(dialer: Node, listener: Node) -> RGBColor {
    if dialer.is_second == listener.is_second {
        group_color(dialer.is_second)
    } else {
        VERMILLION
    }
}

struct Circle {
    middle: (f64, f64),
    radius: f64,
}

impl Circle {
    /// Leaves room for the caption above and the counts below.
    fn within(width: u32, height: u32) -> Self {
        let (width, height) = (
            f64::from(width),
            f64::from(height) - f64::from(ABOVE_CIRCLE + BELOW_CIRCLE),
        );
        Self {
            middle: (width / 2.0, f64::from(ABOVE_CIRCLE) + height / 2.0),
            radius: width.min(height) / 2.0 - f64::from(MARGIN),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a point of the picture")]
    fn point(&self, node: Node) -> (i32, i32) {
        let (sin, cos) = (node.turn * TAU).sin_cos();
        let x = self.middle.0 + self.radius * sin;
        let y = self.middle.1 - self.radius * cos;
        (x.round() as i32, y.round() as i32)
    }
}
