//! What to try where the design leaves a choice: every answer in turn, until one agrees with the table.

use std::net::IpAddr;

#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    /// The peers that the table knows after the step; victims are looked for among the others.
    present: Vec<IpAddr>,
    answers: Vec<usize>,
    asked: Vec<usize>,
}

impl Script {
    pub(super) fn new(present: Vec<IpAddr>) -> Self {
        Self {
            present,
            ..Self::default()
        }
    }

    /// One of `alternatives` ways to go on.
    pub(super) fn ask(&mut self, alternatives: usize) -> usize {
        if alternatives < 2 {
            return 0;
        }
        let answer = self.answers.get(self.asked.len()).copied().unwrap_or(0);
        self.asked.push(alternatives);
        answer
    }

    pub(super) fn victim(&mut self, allowed: &[IpAddr]) -> IpAddr {
        let gone: Vec<_> = allowed.iter().filter(|&&ip| self.is_gone(ip)).collect();
        // If none of them is gone, the comparison with the table will tell.
        gone.get(self.ask(gone.len())).map_or(allowed[0], |&&ip| ip)
    }

    pub(super) fn is_gone(&self, ip: IpAddr) -> bool {
        !self.present.contains(&ip)
    }

    /// The same question with the next answers; `None` when all were given.
    pub(super) fn next(&self) -> Option<Self> {
        let mut answers = self.answers.clone();
        answers.resize(self.asked.len(), 0);
        while let Some(last) = answers.pop() {
            if last + 1 < self.asked[answers.len()] {
                answers.push(last + 1);
                return Some(Self {
                    present: self.present.clone(),
                    answers,
                    asked: Vec::new(),
                });
            }
        }
        None
    }
}
