//! [`Graph`]: the nodes and connections of a network at one moment, and their measures.
//!
//! Pure, and the same for the same nodes and edges in whatever order they come.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The connections of a network at one moment: which nodes are connected, and which of them dialed.
///
/// An edge leads from the node that dialed to the node that listened. Components, paths and clustering look at
/// connections from both ends, so a pair with an edge each way counts as one there.
///
/// ```
/// use network::sim::Graph;
///
/// let [a, b, c] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|ip| ip.parse().unwrap());
/// let graph = Graph::new([a, b, c], [(a, b)]);
/// assert_eq!(graph.components(), [vec![a, b], vec![c]]);
/// assert_eq!(graph.in_degrees().zeros(), 2);
/// assert_eq!(graph.path_lengths().longest, 1);
/// ```
#[derive(Clone, Debug)]
pub struct Graph {
    /// Ascending. What follows names nodes by their indices here.
    nodes: Vec<IpAddr>,
    /// Dialer and listener, ascending.
    edges: Vec<(usize, usize)>,
    /// Per node, ascending and each once.
    neighbors: Vec<Vec<usize>>,
}

/// Above so many nodes, [`Graph::path_lengths`] starts from [`SOURCES`] of them only: all pairs of 10,000 nodes would
/// take seconds.
const MAX_NODES_OF_ALL_PAIRS: usize = 1_000;

/// From how many nodes the paths of a larger network are measured.
const SOURCES: usize = 200;

impl Graph {
    /// The graph of these nodes and edges, each edge a dialer and a listener.
    ///
    /// Edges of unknown nodes and of a node with itself are left out; what is named twice counts once.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = IpAddr>, edges: impl IntoIterator<Item = (IpAddr, IpAddr)>) -> Self {
        let nodes: Vec<IpAddr> = BTreeSet::from_iter(nodes).into_iter().collect();
        let index = |ip| nodes.binary_search(&ip).ok();
        let edges: BTreeSet<(usize, usize)> = edges
            .into_iter()
            .filter(|(dialer, listener)| dialer != listener)
            .filter_map(|(dialer, listener)| Some((index(dialer)?, index(listener)?)))
            .collect();
        Self {
            neighbors: neighbors(nodes.len(), &edges),
            edges: edges.into_iter().collect(),
            nodes,
        }
    }

    /// All nodes, in ascending order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = IpAddr> {
        self.nodes.iter().copied()
    }

    /// All connections as (dialer, listener), in ascending order.
    pub fn edges(&self) -> impl ExactSizeIterator<Item = (IpAddr, IpAddr)> {
        self.edges
            .iter()
            .map(|&(dialer, listener)| (self.nodes[dialer], self.nodes[listener]))
    }

    /// The parts that are not connected with each other: the largest first, and of equals the one with the lowest
    /// address. The nodes of each are in ascending order. A healthy network has one.
    #[must_use]
    pub fn components(&self) -> Vec<Vec<IpAddr>> {
        let mut distances = vec![None; self.nodes.len()];
        let mut components = Vec::new();
        for start in 0..self.nodes.len() {
            if distances[start].is_none() {
                let mut members = self.measure_distances(start, &mut distances);
                members.sort_unstable();
                components.push(members.into_iter().map(|node| self.nodes[node]).collect());
            }
        }
        components.sort_by_key(|members: &Vec<IpAddr>| Reverse(members.len()));
        components
    }

    /// How many incoming connections each node has.
    #[must_use]
    pub fn in_degrees(&self) -> Degrees {
        self.degrees(|&(_, listener)| listener)
    }

    /// How many outgoing connections each node has.
    #[must_use]
    pub fn out_degrees(&self) -> Degrees {
        self.degrees(|&(dialer, _)| dialer)
    }

    fn degrees(&self, end: impl Fn(&(usize, usize)) -> usize) -> Degrees {
        let mut degrees: Vec<_> = self.nodes.iter().map(|&ip| (ip, 0)).collect();
        for edge in &self.edges {
            degrees[end(edge)].1 += 1;
        }
        Degrees(degrees)
    }

    /// The numbers of connections on the shortest paths between two nodes, in whatever direction each was dialed: the
    /// characteristic path length of Watts and Strogatz, "Collective dynamics of 'small-world' networks" (1998), and
    /// the diameter. Pairs without a path are left out.
    ///
    /// Of more than 1,000 nodes, 200 that are evenly spread over the addresses are measured to all others, so the
    /// longest path may be longer by a few connections than what is said.
    #[must_use]
    pub fn path_lengths(&self) -> PathLengths {
        let (mut sum, mut pairs, mut longest) = (0, 0, 0);
        for source in self.sources() {
            let mut distances = vec![None; self.nodes.len()];
            self.measure_distances(source, &mut distances);
            for distance in distances.into_iter().flatten().filter(|&distance| distance > 0) {
                sum += distance;
                pairs += 1;
                longest = longest.max(distance);
            }
        }
        PathLengths {
            mean: ratio(sum, pairs),
            longest,
        }
    }

    fn sources(&self) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.len();
        let sources = if nodes > MAX_NODES_OF_ALL_PAIRS { SOURCES } else { nodes };
        (0..sources).map(move |source| source * nodes / sources)
    }

    /// Sets how far the nodes that can be reached from `start` are from it. Returns them, the nearest first.
    fn measure_distances(&self, start: usize, distances: &mut [Option<usize>]) -> Vec<usize> {
        distances[start] = Some(0);
        let mut reached = vec![start];
        let mut next = 0;
        while let Some(&node) = reached.get(next) {
            let distance = distances[node].map(|distance| distance + 1);
            for &neighbor in &self.neighbors[node] {
                if distances[neighbor].is_none() {
                    distances[neighbor] = distance;
                    reached.push(neighbor);
                }
            }
            next += 1;
        }
        reached
    }

    /// How many of the pairs of a node's neighbors are connected with each other: 1 for a full mesh, about the mean
    /// number of neighbors divided by the number of nodes where neighbors are drawn by lot.
    ///
    /// It is the mean of the local coefficients of Watts and Strogatz (1998), with 0 for a node of fewer than two
    /// neighbors, as NetworkX's `average_clustering` has it.
    #[must_use]
    pub fn clustering(&self) -> f64 {
        let mut is_neighbor = vec![false; self.nodes.len()];
        let mut sum = 0.0;
        for neighbors in &self.neighbors {
            neighbors.iter().for_each(|&node| is_neighbor[node] = true);
            // Each connection between two neighbors is seen from both.
            let seen = neighbors
                .iter()
                .flat_map(|&node| &self.neighbors[node])
                .filter(|&&node| is_neighbor[node])
                .count();
            sum += ratio(seen, neighbors.len() * neighbors.len().saturating_sub(1));
            neighbors.iter().for_each(|&node| is_neighbor[node] = false);
        }
        // Without nodes the sum is 0 too.
        sum / ratio(self.nodes.len().max(1), 1)
    }

    /// How many connections lead from one group of nodes to another, by any rule that gives each node its group.
    #[must_use]
    pub fn cross_edges<G: PartialEq>(&self, group: impl Fn(IpAddr) -> G) -> usize {
        self.edges()
            .filter(|&(dialer, listener)| group(dialer) != group(listener))
            .count()
    }
}

fn neighbors(nodes: usize, edges: &BTreeSet<(usize, usize)>) -> Vec<Vec<usize>> {
    let mut neighbors = vec![Vec::new(); nodes];
    for &(dialer, listener) in edges {
        neighbors[dialer].push(listener);
        neighbors[listener].push(dialer);
    }
    for of_one in &mut neighbors {
        of_one.sort_unstable();
        of_one.dedup();
    }
    neighbors
}

/// The lengths of the shortest paths of a [`Graph`], in connections. Both are 0 if no two nodes are connected.
///
/// [`Graph`] has an example.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathLengths {
    /// The mean over all measured pairs.
    pub mean: f64,
    /// The longest of them: the diameter.
    pub longest: usize,
}

/// How many connections of one direction each node of a [`Graph`] has. [`Graph`] has an example.
#[derive(Clone, Debug)]
pub struct Degrees(Vec<(IpAddr, usize)>);

impl Degrees {
    /// Each node with its number of connections, by ascending address.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (IpAddr, usize)> {
        self.0.iter().copied()
    }

    fn values(&self) -> impl ExactSizeIterator<Item = usize> {
        self.0.iter().map(|&(_, degree)| degree)
    }

    /// The mean; 0 without nodes.
    #[must_use]
    pub fn mean(&self) -> f64 {
        ratio(self.values().sum(), self.0.len())
    }

    /// The standard deviation of all nodes (not of a sample, so divided by their number); 0 without nodes. Where
    /// each node dials by lot it is about the square root of the mean.
    #[must_use]
    pub fn standard_deviation(&self) -> f64 {
        let squares = self.values().map(|degree| degree * degree).sum();
        let variance = ratio(squares, self.0.len()) - self.mean().powi(2);
        variance.max(0.0).sqrt()
    }

    /// How many nodes have none.
    #[must_use]
    pub fn zeros(&self) -> usize {
        self.values().filter(|&degree| degree == 0).count()
    }

    /// The most that a node has; 0 without nodes.
    #[must_use]
    pub fn max(&self) -> usize {
        self.values().max().unwrap_or(0)
    }

    /// How many nodes have 0, 1, 2, .. up to [`max`](Self::max) connections. Empty without nodes.
    #[must_use]
    pub fn histogram(&self) -> Vec<usize> {
        let mut histogram = Vec::new();
        for degree in self.values() {
            if histogram.len() <= degree {
                histogram.resize(degree + 1, 0);
            }
            histogram[degree] += 1;
        }
        histogram
    }
}

/// 0 if there is nothing to divide by.
fn ratio(sum: usize, count: usize) -> f64 {
    if count == 0 {
        return 0.0;
    }
    // Exact up to 2^53, far beyond what these sums reach.
    sum as f64 / count as f64
}
