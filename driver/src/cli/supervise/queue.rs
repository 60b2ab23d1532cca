//! Whose turn it is: each once, in the order in which they came. One is taken a turn of the loop, because what is then done may run
//! a runtime.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

/// Who waits for a turn.
#[derive(Debug)]
pub struct Queue<T> {
    order: VecDeque<T>,
    there: HashSet<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            order: VecDeque::new(),
            there: HashSet::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Queue<T> {
    /// Adds one at the end, unless it waits already.
    pub fn push(&mut self, item: T) {
        if self.there.insert(item.clone()) {
            self.order.push_back(item);
        }
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<T> {
        let item = self.order.pop_front()?;
        self.there.remove(&item);
        Some(item)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_turn_in_the_order_of_coming() {
        let mut queue = Queue::default();
        for item in [1, 2, 1, 3, 2] {
            queue.push(item);
        }
        assert_eq!(queue.pop(), Some(1));
        queue.push(1);
        let rest: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, [2, 3, 1]);
        assert!(queue.is_empty());
    }
}
