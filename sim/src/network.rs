//! What lies between hosts and a card: delay, loss, duplication and reordering, drawn from a seed.

use std::collections::BTreeMap;

use gantry_pipeline::tables::mix;

/// How one direction behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Time on the way in nanoseconds.
    pub delay_ns: u64,
    /// Frames lost, of 10,000.
    pub loss: u32,
    /// Frames that arrive twice, of 10,000.
    pub duplication: u32,
    /// Frames held back for up to twenty times the delay, of 10,000.
    pub reordering: u32,
    /// Frames with a bit turned over, of 10,000.
    pub corruption: u32,
}

impl Weather {
    /// One microsecond and no trouble.
    pub const FAIR: Weather = Weather { delay_ns: 1_000, loss: 0, duplication: 0, reordering: 0, corruption: 0 };
}

/// One direction of a link.
pub struct Direction {
    /// How it behaves from now on.
    pub weather: Weather,
    /// Frames lost so far.
    pub lost: u64,
    seed: u64,
    sent: u64,
    /// By time of arrival, then by order of sending.
    on_the_way: BTreeMap<(u64, u64), Vec<u8>>,
}

impl Direction {
    /// A direction whose trouble `seed` draws.
    #[must_use]
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self { weather, lost: 0, seed, sent: 0, on_the_way: BTreeMap::new() }
    }

    /// Sends a frame.
    pub fn send(&mut self, now_ns: u64, frame: &[u8]) {
        if self.chance(self.weather.loss) {
            self.lost += 1;
            return;
        }
        let copies = 1 + u32::from(self.chance(self.weather.duplication));
        for _ in 0..copies {
            let mut arrival_ns = now_ns + self.weather.delay_ns;
            if self.chance(self.weather.reordering) {
                arrival_ns += self.draw() % (self.weather.delay_ns * 20).max(1);
            }
            let mut frame = frame.to_vec();
            if self.chance(self.weather.corruption) {
                let bit = self.draw() as usize % (frame.len() * 8);
                frame[bit / 8] ^= 1 << (bit % 8);
            }
            self.sent += 1;
            self.on_the_way.insert((arrival_ns, self.sent), frame);
        }
    }

    /// The next frame that has arrived.
    pub fn receive(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        let entry = self.on_the_way.first_entry()?;
        (entry.key().0 <= now_ns).then(|| entry.remove())
    }

    /// When the next frame arrives; `u64::MAX` when none is on the way.
    #[must_use]
    pub fn next_ns(&self) -> u64 {
        self.on_the_way.first_key_value().map_or(u64::MAX, |((arrival_ns, _), _)| *arrival_ns)
    }

    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.seed)
    }

    fn chance(&mut self, of_ten_thousand: u32) -> bool {
        of_ten_thousand > 0 && self.draw() % 10_000 < u64::from(of_ten_thousand)
    }
}
