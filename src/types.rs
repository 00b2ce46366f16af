//! The plain values that every layer speaks of. No behaviour beyond arithmetic; imports nothing.
//!
//! An offset, a byte position and a count are different types, so that they cannot be swapped.

use std::fmt;
use std::ops::{Add, Sub};

/// A record's number in its partition: dense, starting at 0, final once acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

impl Offset {
    pub const ZERO: Offset = Offset(0);

    /// The offset `count` records later.
    pub fn advanced_by(self, count: i64) -> Offset {
        Offset(self.0 + count)
    }
}

impl Sub for Offset {
    /// Records between two offsets.
    type Output = i64;
    fn sub(self, earlier: Offset) -> i64 {
        self.0 - earlier.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// A place in a file, in bytes from its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    pub const ZERO: Position = Position(0);
}

impl Add<u64> for Position {
    type Output = Position;
    fn add(self, bytes: u64) -> Position {
        Position(self.0 + bytes)
    }
}

impl Sub for Position {
    /// Bytes between two positions.
    type Output = u64;
    fn sub(self, earlier: Position) -> u64 {
        self.0 - earlier.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

/// Milliseconds since the Unix epoch; -1 means none, as in Kafka.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const NONE: Timestamp = Timestamp(-1);
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A core of this broker: an index into its shards, never a Kafka partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The one writer of cluster-wide facts.
    pub const CONTROLLER: ShardId = ShardId(0);

    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A topic's identity for life (KIP-516): 16 random bytes, never reused, never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// "No id" on the wire.
    pub const ZERO: TopicId = TopicId([0; 16]);

    /// The base64url form without padding that Kafka's tools and `partition.metadata` show.
    pub fn to_base64(self) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut out = String::with_capacity(22);
        for three in self.0.chunks(3) {
            let word = three.iter().fold(0u32, |word, byte| (word << 8) | u32::from(*byte))
                << (8 * (3 - three.len()));
            for place in 0..=three.len() {
                out.push(ALPHABET[(word >> (18 - 6 * place)) as usize & 63] as char);
            }
        }
        out
    }

    /// Reads the base64url form back; `None` when it is not 22 letters of that alphabet.
    pub fn from_base64(text: &str) -> Option<TopicId> {
        if text.len() != 22 {
            return None;
        }
        let mut id = [0u8; 16];
        let (mut word, mut bits, mut filled) = (0u32, 0, 0);
        for letter in text.bytes() {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return None,
            };
            word = (word << 6) | u32::from(value);
            bits += 6;
            if bits >= 8 && filled < 16 {
                bits -= 8;
                id[filled] = (word >> bits) as u8;
                filled += 1;
            }
        }
        Some(TopicId(id))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

/// What an acknowledgement promises (design: the contract, point 1).
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// On stable storage: survives power loss.
    #[default]
    Fsync,
    /// Handed to the device or kernel: survives the process.
    Write,
    /// Nothing: for benchmarks.
    Memory,
}

impl Durability {
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Fsync => "fsync",
            Durability::Write => "write",
            Durability::Memory => "memory",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Durability {
    type Err = String;
    fn from_str(text: &str) -> Result<Durability, String> {
        match text {
            "fsync" => Ok(Durability::Fsync),
            "write" => Ok(Durability::Write),
            "memory" => Ok(Durability::Memory),
            other => Err(format!("'{other}' is not one of fsync, write, memory")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_id_survives_its_base64_form() {
        for seed in 0..200u8 {
            let id = TopicId(std::array::from_fn(|i| seed.wrapping_mul(31).wrapping_add(i as u8)));
            assert_eq!(TopicId::from_base64(&id.to_base64()), Some(id));
        }
        assert_eq!(TopicId::ZERO.to_base64(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(TopicId::from_base64("short"), None);
        assert_eq!(TopicId::from_base64("AAAAAAAAAAAAAAAAAAAAA*"), None);
    }
}
