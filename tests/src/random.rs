//! Random choices that can be made again: a test that fails says its seed.

/// xorshift64 (Marsaglia): enough to choose by, and repeatable.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The choices of a seed, which is not 0.
    ///
    /// # Panics
    /// When it is 0: it would choose the same for ever.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        assert_ne!(seed, 0);
        // Small seeds begin alike.
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.below(2);
        random
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// An index of so many things.
    ///
    /// # Panics
    /// Never: counts are small.
    pub fn index(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("counts are small");
        usize::try_from(self.below(end)).expect("it is below a count")
    }

    /// What a program may write: lines of nothing, of a few bytes, of as much as a FIFO holds and a little more or less, of a
    /// mebibyte; of any bytes; the last without an end, perhaps. About `size` bytes.
    pub fn output(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size + (1 << 20));
        while bytes.len() < size {
            let length = match self.below(24) {
                0..3 => 0,
                3..16 => self.index(100),
                16..20 => self.index(5000),
                20..23 => (64 << 10) - 4 + self.index(8),
                _ => 1 << 20,
            };
            self.line(length, &mut bytes);
            bytes.push(b'\n');
        }
        if self.below(2) == 0 {
            let length = self.index(300);
            self.line(length, &mut bytes);
        }
        bytes
    }

    /// A line without its end: text, or any bytes.
    fn line(&mut self, length: usize, bytes: &mut Vec<u8>) {
        const TEXT: &[u8] = b"abcdefghijklmnopqrstuvwxyz 0123456789\r\"\\\t";
        let any = self.below(2) == 0;
        for _ in 0..length {
            let byte = match any {
                true => u8::try_from(self.below(256)).expect("it is below 256"),
                false => TEXT[self.index(TEXT.len())],
            };
            bytes.push(if byte == b'\n' { b'\r' } else { byte });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_says_the_same() {
        assert_eq!(Random::new(7).output(1000), Random::new(7).output(1000));
        assert_ne!(Random::new(7).output(1000), Random::new(8).output(1000));
    }
}
