//! Whose turn it is. What one leaves behind, in caches and in work that the kernel puts off, is for the next one to bear: so nobody always
//! follows the same.

/// Everybody, in the order of a round: in twice as many rounds as there are of them, each has each turn equally often, and follows each of the others
/// equally often (a Latin square of Williams').
pub fn in_round<T>(round: usize, everybody: &[T]) -> impl Iterator<Item = &T> {
    let count = everybody.len();
    // 0, 1, -1, 2, -2 …, one on in each round.
    let at = move |turn: usize| match turn % 2 {
        0 => (round + count - turn / 2) % count,
        _ => (round + turn.div_ceil(2)) % count,
    };
    // Of an odd number, only both ways together are fair.
    let is_backwards = count > 0 && (round / count) % 2 == 1;
    (0..count).map(move |turn| match is_backwards {
        true => &everybody[at(count - 1 - turn)],
        false => &everybody[at(turn)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn each_has_each_turn_and_follows_each_other_equally_often() {
        for count in 1..=6 {
            let everybody: Vec<usize> = (0..count).collect();
            let (mut turns, mut follows) = (BTreeMap::new(), BTreeMap::new());
            for round in 0..2 * count {
                let order: Vec<usize> = in_round(round, &everybody).copied().collect();
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, everybody);
                for (turn, who) in order.iter().enumerate() {
                    *turns.entry((turn, *who)).or_insert(0) += 1;
                }
                for pair in order.windows(2) {
                    *follows.entry((pair[0], pair[1])).or_insert(0) += 1;
                }
            }
            assert_eq!(turns.len(), count * count);
            assert_eq!(follows.len(), count * (count - 1));
            assert!(turns.values().chain(follows.values()).all(|n| *n == 2));
        }
        assert_eq!(in_round(1, &[(); 0]).count(), 0);
    }
}
