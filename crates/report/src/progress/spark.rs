//! A line of little bars.

use std::collections::VecDeque;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last few of a series of numbers.
#[derive(Debug)]
pub(super) struct Sparkline {
    numbers: VecDeque<u64>,
    most: usize,
}

impl Sparkline {
    /// Keeps at most this many.
    pub(super) fn new(most: usize) -> Self {
        Self { numbers: VecDeque::with_capacity(most), most }
    }

    pub(super) fn push(&mut self, number: u64) {
        if self.numbers.len() == self.most {
            self.numbers.pop_front();
        }
        self.numbers.push_back(number);
    }

    /// A bar for each number, as high as it is beside the highest. Only 0 has the lowest bar: a
    /// clean log is not to look like one with few pages.
    pub(super) fn bars(&self) -> String {
        let highest = self.numbers.iter().copied().max().unwrap_or(0).max(1);
        let height = |&number: &u64| match number {
            0 => 0,
            _ => 1 + (u128::from(number) * 6 / u128::from(highest)) as usize,
        };
        self.numbers.iter().map(|number| BARS[height(number)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_numbers() {
        let mut spark = Sparkline::new(4);
        assert_eq!(spark.bars(), "");
        spark.push(0);
        assert_eq!(spark.bars(), "▁");
        [u64::MAX, u64::MAX / 2 + 1, 1, 0].into_iter().for_each(|number| spark.push(number));
        assert_eq!(spark.bars(), "█▅▂▁");
    }
}
