use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;

fn ip(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0b00_0000 + number).into()
}

fn graph(nodes: u32, edges: &[(u32, u32)]) -> Graph {
    let edges = edges.iter().map(|&(dialer, listener)| (ip(dialer), ip(listener)));
    Graph::new((0..nodes).map(ip), edges)
}

/// Each dials the next one, and the last the first.
fn ring(nodes: u32) -> Graph {
    let edges: Vec<_> = (0..nodes).map(|node| (node, (node + 1) % nodes)).collect();
    graph(nodes, &edges)
}

fn full_mesh(nodes: u32) -> Graph {
    let edges: Vec<_> = (0..nodes)
        .flat_map(|dialer| (0..dialer).map(move |listener| (dialer, listener)))
        .collect();
    graph(nodes, &edges)
}

fn assert_near(measured: f64, expected: f64) {
    assert!((measured - expected).abs() < 1e-9, "{measured} is not {expected}");
}

#[test]
fn an_empty_graph_has_measures_too() {
    let empty = graph(0, &[]);
    assert_eq!((empty.nodes().len(), empty.edges().len()), (0, 0));
    assert!(empty.components().is_empty());
    assert_eq!(empty.path_lengths(), PathLengths { mean: 0.0, longest: 0 });
    assert_near(empty.clustering(), 0.0);
    let degrees = empty.in_degrees();
    assert_near(degrees.mean() + degrees.standard_deviation(), 0.0);
    assert_eq!((degrees.zeros(), degrees.max(), degrees.histogram()), (0, 0, vec![]));
}

#[test]
fn nodes_and_edges_are_in_order_and_each_is_there_once() {
    let graph = Graph::new(
        [2, 0, 1, 2].map(ip),
        [(2, 0), (0, 1), (2, 0)].map(|(a, b)| (ip(a), ip(b))),
    );
    assert!(graph.nodes().eq([0, 1, 2].map(ip)));
    assert!(graph.edges().eq([(ip(0), ip(1)), (ip(2), ip(0))]));
}

#[test]
fn edges_of_unknown_nodes_and_of_a_node_with_itself_are_left_out() {
    let graph = graph(2, &[(0, 2), (2, 1), (1, 1)]);
    assert_eq!(graph.edges().len(), 0);
    assert_eq!(graph.in_degrees().zeros(), 2);
}

#[test]
fn the_largest_component_comes_first_and_of_equals_the_lowest() {
    let parts = graph(7, &[(6, 4), (4, 5), (3, 2), (1, 0)]).components();
    assert_eq!(
        parts,
        [vec![ip(4), ip(5), ip(6)], vec![ip(0), ip(1)], vec![ip(2), ip(3)]]
    );
}

#[test]
fn the_nodes_of_a_component_are_in_order() {
    // From 0, 2 is nearer than 1.
    assert_eq!(graph(3, &[(0, 2), (2, 1)]).components(), [[0, 1, 2].map(ip)]);
}

#[test]
fn degrees_count_each_direction_for_itself() {
    let star = graph(5, &[(1, 0), (2, 0), (3, 0)]);
    let incoming = star.in_degrees();
    assert!(
        incoming.iter().eq([3, 0, 0, 0, 0]
            .into_iter()
            .enumerate()
            .map(|(node, degree)| { (ip(u32::try_from(node).unwrap()), degree) }))
    );
    assert_eq!((incoming.zeros(), incoming.max()), (4, 3));
    assert_eq!(incoming.histogram(), [4, 0, 0, 1]);
    assert_near(incoming.mean(), 0.6);
    assert_near(incoming.standard_deviation(), 1.2);
    assert_eq!(star.out_degrees().histogram(), [2, 3]);
}

#[test]
fn paths_are_measured_in_both_directions() {
    let line = graph(4, &[(0, 1), (2, 1), (2, 3)]);
    // 3 pairs at 1, 2 at 2, 1 at 3.
    assert_eq!(
        line.path_lengths(),
        PathLengths {
            mean: 10.0 / 6.0,
            longest: 3
        }
    );
}

#[test]
fn pairs_without_a_path_are_left_out() {
    let lengths = graph(5, &[(0, 1), (2, 3), (3, 4)]).path_lengths();
    assert_eq!(
        lengths,
        PathLengths {
            mean: 5.0 / 4.0,
            longest: 2
        }
    );
}

#[test]
fn two_connections_of_a_pair_are_one_step() {
    let lengths = graph(3, &[(0, 1), (1, 0), (1, 2)]).path_lengths();
    assert_eq!(
        lengths,
        PathLengths {
            mean: 4.0 / 3.0,
            longest: 2
        }
    );
    assert_eq!(graph(2, &[(0, 1), (1, 0)]).edges().len(), 2);
}

/// On a ring all sources see the same, so a spread of them measures what all do.
#[test]
fn a_large_network_is_measured_from_some_nodes() {
    for nodes in [1_000, 1_001] {
        let ring = ring(nodes);
        assert_eq!(ring.sources().count(), if nodes == 1_000 { 1_000 } else { 200 });
        assert!(ring.sources().is_sorted() && ring.sources().max() < Some(ring.nodes.len()));
        let longest = ring.nodes.len() / 2;
        let lengths = ring.path_lengths();
        assert_eq!(lengths.longest, longest);
        let mean = (1..ring.nodes.len())
            .map(|step| step.min(ring.nodes.len() - step))
            .sum::<usize>();
        assert_near(lengths.mean, ratio(mean, ring.nodes.len() - 1));
    }
}

#[test]
fn clustering_is_the_share_of_neighbors_that_know_each_other() {
    assert_near(full_mesh(6).clustering(), 1.0);
    assert_near(ring(6).clustering(), 0.0);
    // A triangle with one node attached to node 0: 1/3, 1, 1, 0.
    for edges in [
        vec![(0, 1), (1, 2), (2, 0), (3, 0)],
        vec![(0, 1), (1, 0), (1, 2), (2, 0), (3, 0)],
    ] {
        assert_near(graph(4, &edges).clustering(), (1.0 / 3.0 + 2.0) / 4.0);
    }
}

#[test]
fn cross_edges_lead_from_one_group_to_another() {
    let ring = ring(6);
    assert_eq!(ring.cross_edges(|node| node < ip(3)), 2);
    assert_eq!(ring.cross_edges(|_| ()), 0);
    assert_eq!(ring.cross_edges(|node| node), 6);
}

prop_compose! {
    fn networks()(nodes in 1..40_u32)(
        nodes in Just(nodes),
        edges in prop::collection::vec((0..nodes, 0..nodes), 0..80),
    ) -> (u32, Vec<(u32, u32)>) {
        (nodes, edges)
    }
}

proptest! {
    #[test]
    fn every_end_of_an_edge_is_counted_once((nodes, edges) in networks()) {
        let graph = graph(nodes, &edges);
        for degrees in [graph.in_degrees(), graph.out_degrees()] {
            prop_assert_eq!(degrees.values().sum::<usize>(), graph.edges().len());
            prop_assert_eq!(degrees.histogram().iter().sum::<usize>(), graph.nodes().len());
        }
    }

    #[test]
    fn every_node_is_in_one_component_and_no_edge_leads_out_of_it((nodes, edges) in networks()) {
        let graph = graph(nodes, &edges);
        let components = graph.components();
        let mut members: Vec<IpAddr> = components.concat();
        members.sort_unstable();
        prop_assert!(graph.nodes().eq(members));
        let component = |node| components.iter().position(|members| members.contains(&node));
        prop_assert_eq!(graph.cross_edges(component), 0);
    }

    #[test]
    fn the_order_of_nodes_and_edges_changes_nothing((nodes, edges) in networks()) {
        let reversed = Graph::new(
            (0..nodes).rev().map(ip),
            edges.iter().rev().map(|&(dialer, listener)| (ip(dialer), ip(listener))),
        );
        prop_assert_eq!(format!("{reversed:?}"), format!("{:?}", graph(nodes, &edges)));
    }

    #[test]
    fn clustering_is_a_share((nodes, edges) in networks()) {
        prop_assert!((0.0..=1.0).contains(&graph(nodes, &edges).clustering()));
    }
}
