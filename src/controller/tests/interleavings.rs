//! Every interleaving of what can happen to a controller, not some of them: a search over states, by replays.
//!
//! A controller cannot be cloned, but it is a function of its seed and of what happens to it. So a state is kept as the
//! shortest sequence of actions that leads to it, and each action is tried from it in a replay of its own. Polling is
//! one of the actions: what happens between two polls comes in every order and number too. Two states are taken for
//! the same if a [`World::View`] of them is: all that decides what can follow, with the order of what is due in place
//! of the times.

mod alone;
mod trial;

use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;

use super::*;

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
    /// The length of the longest of the shortest ways to a state.
    depth: usize,
    /// Whether no state was left unexplored for being too far away.
    is_complete: bool,
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

/// Visits each state that at most `longest` actions lead to.
async fn explore<W: World>(setup: &W::Setup, longest: usize) -> Explored {
    let mut explored = Explored {
        is_complete: true,
        ..Explored::default()
    };
    let mut seen = HashSet::from([W::new(setup).await.view()]);
    let mut open = VecDeque::from([Vec::new()]);
    while let Some(path) = open.pop_front() {
        let trail = Trail(&path);
        let world: W = replay(setup, &path).await;
        let actions = world.actions();
        world.run_out().await;
        drop(trail);
        explored.states += 1;
        explored.depth = path.len();
        if path.len() == longest {
            explored.is_complete &= actions.is_empty();
            continue;
        }
        for action in actions {
            let longer = [path.as_slice(), &[action]].concat();
            let _trail = Trail(&longer);
            let mut world: W = replay(setup, &path).await;
            world.act(action, true).await;
            explored.steps += 1;
            if seen.insert(world.view()) {
                open.push_back(longer.clone());
            }
        }
    }
    explored
}

async fn replay<W: World>(setup: &W::Setup, path: &[W::Action]) -> W {
    let mut world = W::new(setup).await;
    for &action in path {
        world.act(action, false).await;
    }
    world
}
