//! What records are made of: sizes and keys drawn by chance from a seed. Pure.

use crate::settings::{Keys, Sizes, Work};
use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use rand_distr::{Distribution, Zipf};
use std::rc::Rc;

/// Bytes of chance that values are cut from.
const POOL_BYTES: usize = 1 << 20;
/// Most that is read of a file of records.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A record that is planned: what it will be made of when its batch is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Planned time, in nanoseconds of the runtime's clock.
    pub planned: u64,
    /// Bytes of the value.
    pub value_bytes: u32,
    /// Where in the pool, or which line of the file.
    pub from: u32,
    pub key: Option<u64>,
}

impl Drawn {
    pub fn payload_bytes(&self) -> usize {
        self.value_bytes as usize + if self.key.is_some() { KEY_BYTES } else { 0 }
    }
}

pub const KEY_BYTES: usize = 8;

/// A key as its record has it: spread, so that close ranks are far apart.
pub fn key_bytes(key: u64) -> [u8; KEY_BYTES] {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

/// Where values come from; shared by all producers of a thread.
#[derive(Clone, Debug)]
pub struct Source {
    pool: Bytes,
    lines: Option<Rc<Vec<Bytes>>>,
}

impl Source {
    /// # Errors
    /// A file of records that cannot be read, or has no lines.
    pub fn new(work: &Work) -> Result<Source, String> {
        let longest = match work.sizes {
            Sizes::Fixed(bytes) | Sizes::Uniform(_, bytes) => bytes,
        };
        let mut pool = vec![0; POOL_BYTES + longest];
        SmallRng::seed_from_u64(work.seed).fill_bytes(&mut pool);
        let lines = work.records_file.as_ref().map(|file| {
            let wrong = |why: String| format!("records_file = {}: {why}", file.display());
            let length = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?.len();
            if length > FILE_BYTES_MAX {
                return Err(wrong(format!("{length} bytes; at most {FILE_BYTES_MAX} are read")));
            }
            let text = Bytes::from(std::fs::read(file).map_err(|error| wrong(error.to_string()))?);
            let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let lines: Vec<Bytes> = lines.map(|line| text.slice_ref(line)).collect();
            if lines.is_empty() {
                Err(wrong("it has no lines".to_string()))
            } else {
                Ok(Rc::new(lines))
            }
        });
        Ok(Source { pool: pool.into(), lines: lines.transpose()? })
    }

    /// The value of a record, without its stamp.
    pub fn value(&self, drawn: &Drawn) -> &[u8] {
        match &self.lines {
            Some(lines) => &lines[drawn.from as usize],
            None => &self.pool[drawn.from as usize..][..drawn.value_bytes as usize],
        }
    }
}

/// Draws one producer's records.
#[derive(Debug)]
pub struct Draw {
    source: Source,
    sizes: Sizes,
    keys: Option<KeySpace>,
    chance: SmallRng,
    /// Bytes before the line of a file, for the stamp.
    prefix: usize,
    line: usize,
}

#[derive(Debug)]
enum KeySpace {
    Uniform(u64),
    Zipf(Zipf<f64>),
}

impl Draw {
    pub fn new(work: &Work, source: Source, seed: u64) -> Draw {
        let keys = match work.keys {
            Keys::None => None,
            Keys::Uniform(count) => Some(KeySpace::Uniform(count)),
            Keys::Zipf(count, exponent) => {
                let zipf = Zipf::new(count as f64, exponent);
                Some(KeySpace::Zipf(zipf.expect("the settings were checked")))
            }
        };
        let prefix = if work.stamps() { super::STAMP_BYTES } else { 0 };
        let chance = SmallRng::seed_from_u64(seed);
        Draw { source, sizes: work.sizes, keys, chance, prefix, line: seed as usize }
    }

    pub fn draw(&mut self, planned: u64) -> Drawn {
        let chance = &mut self.chance;
        let key = self.keys.as_ref().map(|keys| match keys {
            KeySpace::Uniform(count) => chance.random_range(0..*count),
            KeySpace::Zipf(zipf) => zipf.sample(chance) as u64 - 1,
        });
        if let Some(lines) = &self.source.lines {
            let from = self.line % lines.len();
            self.line = from + 1;
            let value_bytes = (self.prefix + lines[from].len()) as u32;
            return Drawn { planned, value_bytes, from: from as u32, key };
        }
        let value_bytes = match self.sizes {
            Sizes::Fixed(bytes) => bytes,
            Sizes::Uniform(from, to) => chance.random_range(from..=to),
        };
        let from = chance.random_range(0..POOL_BYTES as u32);
        Drawn { planned, value_bytes: value_bytes as u32, from, key }
    }

    /// Whether all records are alike, so that batches can be prepared.
    pub fn uniform_bytes(&self) -> Option<usize> {
        match self.sizes {
            Sizes::Fixed(bytes) if self.keys.is_none() && self.source.lines.is_none() => {
                Some(bytes)
            }
            _ => None,
        }
    }

    pub fn source(&self) -> &Source {
        &self.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn draw(change: impl FnOnce(&mut Settings)) -> Draw {
        let mut settings = Settings::default();
        change(&mut settings);
        let work = settings.check().unwrap();
        let source = Source::new(&work).unwrap();
        Draw::new(&work, source, 3)
    }

    #[test]
    fn sizes_stay_in_their_range_and_use_all_of_it() {
        let mut draw = draw(|settings| settings.record_bytes = Some(Sizes::Uniform(10, 19)));
        let mut seen = [0; 10];
        for planned in 0..10_000 {
            let drawn = draw.draw(planned);
            assert_eq!(draw.source().value(&drawn).len(), drawn.value_bytes as usize);
            seen[drawn.value_bytes as usize - 10] += 1;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }

    #[test]
    fn low_ranks_of_a_zipf_distribution_come_most_often() {
        let mut draw = draw(|settings| settings.keys = Some(Keys::Zipf(1000, 1.0)));
        let mut counts = vec![0u32; 1000];
        for planned in 0..100_000 {
            counts[draw.draw(planned).key.unwrap() as usize] += 1;
        }
        // Rank r comes with 1/r of the first's weight; the sum to 1000 is 7.485.
        let expect = 100_000.0 / 7.485;
        for rank in [1, 2, 10] {
            let got = f64::from(counts[rank - 1]) * rank as f64 / expect;
            assert!((0.85..1.15).contains(&got), "rank {rank}: {got}");
        }
    }

    #[test]
    fn a_files_lines_are_values_in_turn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        std::fs::write(&path, "one\n\nthree\n").unwrap();
        let mut draw = draw(|settings| settings.records_file = Some(path));
        let drawn = [draw.draw(0), draw.draw(1), draw.draw(2)];
        let values: Vec<_> = drawn.iter().map(|drawn| draw.source().value(drawn)).collect();
        assert_eq!(values[0], values[2]);
        assert_ne!(values[0], values[1]);
    }
}
