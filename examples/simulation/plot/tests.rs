use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use network::sim::Graph;

use super::*;

fn lines(lines: usize) -> Plot {
    let points: Vec<_> = (0..600_u64)
        .map(|second| (Duration::from_secs(second), 1.0 - 1.0 / (1.0 + second as f64 / 60.0)))
        .collect();
    let line = |number| {
        (
            format!("bootstraps of kind {number}"),
            points
                .iter()
                .map(|&(at, share)| (at, share / (number + 1) as f64))
                .collect(),
        )
    };
    Plot::Lines(Lines {
        caption: "Nodes at their target".to_owned(),
        measure: "nodes at target".to_owned(),
        lines: (0..lines).map(line).collect(),
        marks: vec![
            (Duration::from_secs(120), "parted".to_owned()),
            (Duration::from_secs(540), "joined".to_owned()),
        ],
    })
}

fn histogram(nodes: Vec<usize>) -> Plot {
    Plot::Histogram(Histogram {
        caption: "In-degrees after 10 minutes".to_owned(),
        measure: "incoming connections".to_owned(),
        nodes,
    })
}

fn network(nodes: u32, step: u32) -> Plot {
    let ip = |number: u32| IpAddr::from(Ipv4Addr::from_bits(0x0b00_0000 + number));
    let edges = (0..nodes).flat_map(|node| (1..9).map(move |edge| (ip(node), ip((node + edge * edge * step) % nodes))));
    let graph = Graph::new((0..nodes).map(ip), edges);
    Plot::Connections(Connections::new("while parted", &graph, |node| node >= ip(nodes / 2)))
}

fn elements(svg: &str, name: &str) -> usize {
    let document = roxmltree::Document::parse(svg).expect("well-formed XML");
    document
        .descendants()
        .filter(|element| element.has_tag_name(("http://www.w3.org/2000/svg", name)))
        .count()
}

#[test]
fn every_picture_is_well_formed_and_has_its_texts() {
    let plots = [
        lines(2),
        histogram(vec![144, 30, 20, 10, 0, 5]),
        network(40, 1),
        network(0, 1),
    ];
    let svg = draw("form", "1,000 nodes & more <s>", &plots).unwrap();
    if let Some(file) = std::env::var_os("SIMULATION_TEST_SVG") {
        std::fs::write(file, &svg).unwrap();
    }
    for text in [
        "Nodes at their target",
        "virtual time (minutes)",
        "nodes at target (%)",
        "incoming connections",
        "while parted",
        "parted",
    ] {
        assert!(svg.contains(text), "no '{text}'");
    }
    assert_eq!(elements(&svg, "circle"), 40);
}

#[test]
fn charts_without_data_can_be_drawn() {
    let svg = draw("nothing", "", &[lines(0), histogram(vec![])]).unwrap();
    assert!(elements(&svg, "text") > 2);
    assert!(draw("not even a chart", "", &[]).is_ok());
}

#[test]
fn of_many_connections_some_are_drawn() {
    let svg = draw("large", "", &[network(1_000, 7)]).unwrap();
    let lines = elements(&svg, "polyline");
    assert!((900..=1_100).contains(&lines), "{lines} lines");
    assert!(svg.contains("one in 8 is drawn"));
}
