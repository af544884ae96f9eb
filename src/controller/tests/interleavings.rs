//! Every interleaving of what can happen to a controller, not some of them: a search over states, by replays.
//!
//! A controller cannot be cloned, but it is a function of its seed and of what happens to it. So a state is kept as a
//! sequence of actions that leads to it, to be replayed for the actions that are untried there. Polling is one of the
//! actions: what happens between two polls comes in every order too. Two states are taken for the same if the
//! [`World::View`] of them is: all that decides what can follow, with the order of what is due in place of the times.
//! So there are finitely many, and the search ends when every action was tried in each.

mod one_node;
mod trial;
mod two_nodes;

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

use super::*;

/// So many actions follow one replay at most.
const STEPS_ON: usize = 8;

/// What can be searched.
trait World: Sized {
    type Setup;
    type Action: Copy + Debug;
    type View: Eq + Hash;

    async fn new(setup: &Self::Setup) -> Self;

    /// What can happen next.
    fn actions(&self) -> Vec<Self::Action>;

    /// Lets it happen; with all that must hold if `checked`.
    async fn act(&mut self, action: Self::Action, checked: bool);

    fn view(&self) -> Self::View;

    /// Nothing more happens but that time passes: what must come of this state by itself.
    async fn run_out(self);
}

/// How far a search went.
#[derive(Debug, Default)]
struct Explored {
    states: usize,
    steps: usize,
    /// The length of the longest way to a state.
    depth: usize,
}

impl Explored {
    /// Shows how far it went. A search that went nowhere has shown nothing.
    #[track_caller]
    fn shows(&self, least_states: usize) {
        println!("{self:?}");
        assert!(self.states >= least_states, "{self:?}");
    }
}

/// Tells by what way a check failed.
struct Trail<'a, A: Debug>(&'a [A]);

impl<A: Debug> Drop for Trail<'_, A> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("after {:?}", self.0);
        }
    }
}

/// A state that was found.
struct Found<A> {
    /// The shortest way there so far.
    path: Vec<A>,
    untried: Vec<A>,
    has_run_out: bool,
}

/// What is known of all states, in the order in which they were found.
struct Map<W: World> {
    numbers: HashMap<W::View, usize>,
    found: Vec<Found<W::Action>>,
}

impl<W: World> Map<W> {
    /// The number of the state that the world is in, to which this way leads.
    fn place(&mut self, world: &W, path: &[W::Action]) -> usize {
        let next = self.found.len();
        let number = *self.numbers.entry(world.view()).or_insert(next);
        if number == next {
            self.found.push(Found {
                path: path.to_vec(),
                untried: world.actions(),
                has_run_out: false,
            });
        } else if path.len() < self.found[number].path.len() {
            self.found[number].path = path.to_vec();
        }
        number
    }
}

/// Tries every action in every state.
async fn explore<W: World>(setup: &W::Setup) -> Explored {
    explore_up_to::<W>(usize::MAX, setup).await
}

/// Tries every sequence of so many actions, but for what comes after a state that was met before.
async fn explore_up_to<W: World>(longest: usize, setup: &W::Setup) -> Explored {
    // Only if none goes on are the ways to all states the shortest.
    let steps_on = if longest == usize::MAX { STEPS_ON } else { 1 };
    let mut map = Map::<W> {
        numbers: HashMap::new(),
        found: Vec::new(),
    };
    let mut explored = Explored::default();
    let mut number = map.place(&W::new(setup).await, &[]);
    while number < map.found.len() {
        while map.found[number].path.len() < longest && !map.found[number].untried.is_empty() {
            explored.steps += walk(setup, &mut map, number, steps_on).await;
        }
        let Found { path, has_run_out, .. } = &map.found[number];
        if !has_run_out {
            let _trail = Trail(path);
            replay::<W>(setup, path).await.run_out().await;
        }
        explored.states += 1;
        explored.depth = explored.depth.max(path.len());
        number += 1;
    }
    explored
}

/// Tries actions from a state on, each in the state to which the one before has led, as long as some are untried there;
/// but not far, for the ways to new states to stay short.
async fn walk<W: World>(setup: &W::Setup, map: &mut Map<W>, mut number: usize, at_most: usize) -> usize {
    let mut path = map.found[number].path.clone();
    let (mut world, mut steps) = (replay::<W>(setup, &path).await, 0);
    while steps < at_most
        && let Some(action) = map.found[number].untried.pop()
    {
        path.push(action);
        let _trail = Trail(&path);
        world.act(action, true).await;
        number = map.place(&world, &path);
        steps += 1;
    }
    if !std::mem::replace(&mut map.found[number].has_run_out, true) {
        let _trail = Trail(&path);
        world.run_out().await;
    }
    steps
}

async fn replay<W: World>(setup: &W::Setup, path: &[W::Action]) -> W {
    let mut world = W::new(setup).await;
    for &action in path {
        world.act(action, false).await;
    }
    world
}
