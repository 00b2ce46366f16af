//! What a value carries so that a consumer knows whose it is, how old, and whether it is whole. Pure.
//!
//! ```text
//! planned time u64 | run u32 | producer u32 | sequence u64 | checksum u32 | the rest of the value
//! ```
//!
//! The sequence counts the records of one producer in one partition. The checksum covers the rest and is
//! mixed with the fields before it; without `--verify` it is zero.

use std::ops::Range;

pub const STAMP_BYTES: usize = 28;
const FIELDS: Range<usize> = 0..24;
const CHECKSUM: Range<usize> = 24..28;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// In nanoseconds of the runtime's clock.
    pub planned: u64,
    /// A number that this run alone has.
    pub run: u32,
    pub producer: u32,
    pub sequence: u64,
}

/// Checksum of the part of a value that no stamp changes.
pub fn rest_checksum(rest: &[u8]) -> u32 {
    crc32fast::hash(rest)
}

impl Stamp {
    /// Writes the stamp to the start of a value. `rest`: the checksum of what follows, when it is to be
    /// verified.
    pub fn write(&self, value: &mut [u8], rest: Option<u32>) {
        value[..8].copy_from_slice(&self.planned.to_be_bytes());
        value[8..12].copy_from_slice(&self.run.to_be_bytes());
        value[12..16].copy_from_slice(&self.producer.to_be_bytes());
        value[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        let checksum = rest.map_or(0, |rest| rest ^ self.mixed());
        value[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    }

    /// `None` when the value is too short for one.
    pub fn read(value: &[u8]) -> Option<Stamp> {
        let fields = value.get(FIELDS)?;
        let long = |at: usize| u64::from_be_bytes(fields[at..at + 8].try_into().expect("8 bytes"));
        let short = |at: usize| u32::from_be_bytes(fields[at..at + 4].try_into().expect("4 bytes"));
        Some(Stamp { planned: long(0), run: short(8), producer: short(12), sequence: long(16) })
    }

    /// Whether all of a value that was stamped with a checksum is as it was written.
    pub fn is_whole(&self, value: &[u8]) -> bool {
        let stored: [u8; 4] = value[CHECKSUM].try_into().expect("4 bytes");
        u32::from_be_bytes(stored) == rest_checksum(&value[STAMP_BYTES..]) ^ self.mixed()
    }

    /// The fields folded into 32 bits, such that any change of one bit changes it.
    fn mixed(&self) -> u32 {
        let fold = |long: u64| (long ^ (long >> 32)) as u32;
        fold(self.planned).rotate_left(7)
            ^ self.run.rotate_left(13)
            ^ self.producer.rotate_left(19)
            ^ fold(self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_and_every_damaged_bit_is_seen() {
        let stamp = Stamp { planned: 12_345_678_901, run: 7, producer: 3, sequence: 1 << 40 };
        let mut value = [0x5a; 64];
        stamp.write(&mut value, Some(rest_checksum(&[0x5a; 64 - STAMP_BYTES])));
        assert_eq!(Stamp::read(&value), Some(stamp));
        assert!(stamp.is_whole(&value));
        for bit in 0..value.len() * 8 {
            let mut damaged = value;
            damaged[bit / 8] ^= 1 << (bit % 8);
            let read = Stamp::read(&damaged).unwrap();
            assert!(!read.is_whole(&damaged), "bit {bit}");
        }
        assert_eq!(Stamp::read(&value[..20]), None);
    }
}
