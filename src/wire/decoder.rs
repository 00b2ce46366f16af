//! Reads Kafka's primitive types from one frame. Strings and records stay slices of it.
//!
//! It faces the network, so: every length is checked against the bytes that remain before anything
//! is allocated, what arrays may take in memory is bounded by the frame's size, and no input panics.

use bytes::Bytes;

use super::string::Str;
use crate::limits::{DECODED_BYTES_FREE, DECODED_BYTES_PER_FRAME_BYTE_MAX, STRING_BYTES_MAX};

/// Memory set aside for an array before its first element is read; further growth follows from
/// elements that were really there.
const RESERVE_BYTES_MAX: usize = 64 * 1024;

/// What is wrong with a frame, in which field, and at which byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault} in {field} at byte {at}")]
pub struct WireError {
    pub fault: Fault,
    /// Struct and field as declared, or the primitive's name outside any message.
    pub field: &'static str,
    pub at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{needed} bytes needed, {left} left")]
    Truncated { needed: usize, left: usize },
    #[error("a length of {0}")]
    BadLength(i64),
    #[error("null where null is not allowed")]
    Null,
    #[error("a varint of too many bits")]
    BadVarint,
    #[error("text that is not UTF-8")]
    NotUtf8,
    #[error("an array of {0} elements, too many for so short a frame")]
    TooManyElements(usize),
    #[error("{0} bytes too many")]
    TrailingBytes(usize),
    #[error("a tagged field that misses its size by {0} bytes")]
    TagSize(usize),
    #[error("version {0}, which is not known")]
    UnknownVersion(i16),
    #[error("api key {0}, which is not known")]
    UnknownApi(i16),
}

impl WireError {
    /// Names the field; the innermost name stays.
    #[cold]
    pub(crate) fn in_field(mut self, field: &'static str) -> WireError {
        if self.field.is_empty() {
            self.field = field;
        }
        self
    }
}

type Result<T> = std::result::Result<T, WireError>;

/// A cursor over one frame.
#[derive(Debug)]
pub struct Decoder {
    frame: Bytes,
    at: usize,
    /// Where reading stops: the frame's end, or that of the tagged field being read.
    end: usize,
    /// What arrays may still take.
    memory_left: usize,
}

impl Decoder {
    pub fn new(frame: Bytes) -> Decoder {
        let end = frame.len();
        let memory_left = DECODED_BYTES_FREE + end.saturating_mul(DECODED_BYTES_PER_FRAME_BYTE_MAX);
        Decoder { frame, at: 0, end, memory_left }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// Refuses what is left over behind a message. Not for a broker's requests: Kafka ignores what
    /// trails them, and librdkafka's flexible Metadata requests have three bytes too many.
    pub fn finish(&self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.error(Fault::TrailingBytes(left)).in_field("message end")),
        }
    }

    #[cold]
    pub(crate) fn error(&self, fault: Fault) -> WireError {
        WireError { fault, field: "", at: self.at }
    }

    #[inline]
    fn require(&self, needed: usize) -> Result<()> {
        if needed > self.remaining() {
            return Err(self.error(Fault::Truncated { needed, left: self.remaining() }));
        }
        Ok(())
    }

    #[inline]
    fn read_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.require(N)?;
        let mut value = [0; N];
        value.copy_from_slice(&self.frame[self.at..self.at + N]);
        self.at += N;
        Ok(value)
    }

    #[inline]
    pub fn read_i8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.read_array()?))
    }

    #[inline]
    pub fn read_i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.read_array()?))
    }

    #[inline]
    pub fn read_u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.read_array()?))
    }

    #[inline]
    pub fn read_i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.read_array()?))
    }

    #[inline]
    pub fn read_u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.read_array()?))
    }

    #[inline]
    pub fn read_i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.read_array()?))
    }

    #[inline]
    pub fn read_f64(&mut self) -> Result<f64> {
        Ok(f64::from_be_bytes(self.read_array()?))
    }

    /// Any byte but 0 is true, as in Kafka.
    #[inline]
    pub fn read_bool(&mut self) -> Result<bool> {
        Ok(self.read_i8()? != 0)
    }

    #[inline]
    pub fn read_uuid(&mut self) -> Result<[u8; 16]> {
        self.read_array()
    }

    /// UNSIGNED_VARINT: seven bits a byte, least first, at most 32 bits.
    #[inline]
    pub fn read_uvarint(&mut self) -> Result<u32> {
        let wide = self.read_varint_bits(5)?;
        u32::try_from(wide).map_err(|_| self.error(Fault::BadVarint))
    }

    /// VARINT: as above, zigzag, signed.
    #[inline]
    pub fn read_varint(&mut self) -> Result<i32> {
        let bits = self.read_uvarint()?;
        Ok((bits >> 1) as i32 ^ -((bits & 1) as i32))
    }

    /// VARLONG: zigzag, signed, at most 64 bits.
    #[inline]
    pub fn read_varlong(&mut self) -> Result<i64> {
        let bits = self.read_varint_bits(10)?;
        Ok((bits >> 1) as i64 ^ -((bits & 1) as i64))
    }

    #[inline]
    fn read_varint_bits(&mut self, bytes_max: u32) -> Result<u64> {
        let mut bits = 0u64;
        for place in 0..bytes_max {
            let [byte] = self.read_array()?;
            let seven = u64::from(byte & 0x7f);
            if place == 9 && seven > 1 {
                break; // beyond 64 bits
            }
            bits |= seven << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(bits);
            }
        }
        Err(self.error(Fault::BadVarint))
    }

    /// The next `length` bytes as a slice of the frame.
    #[inline]
    pub fn read_slice(&mut self, length: usize) -> Result<Bytes> {
        self.require(length)?;
        let slice = self.frame.slice(self.at..self.at + length);
        self.at += length;
        Ok(slice)
    }

    pub fn skip(&mut self, length: usize) -> Result<()> {
        self.require(length)?;
        self.at += length;
        Ok(())
    }

    /// A string; `None` is null.
    #[inline]
    pub fn read_string(&mut self, flexible: bool) -> Result<Option<Str>> {
        let length = if flexible {
            i64::from(self.read_uvarint()?) - 1
        } else {
            i64::from(self.read_i16()?)
        };
        let Some(length) = self.check_length(length)? else { return Ok(None) };
        if length > STRING_BYTES_MAX {
            return Err(self.error(Fault::BadLength(length as i64)));
        }
        let start = self.at;
        let slice = self.read_slice(length)?;
        Str::from_utf8(slice).map(Some).ok_or(WireError {
            fault: Fault::NotUtf8,
            field: "",
            at: start,
        })
    }

    /// Bytes or records; `None` is null.
    #[inline]
    pub fn read_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>> {
        match self.read_length(flexible)? {
            Some(length) => self.read_slice(length).map(Some),
            None => Ok(None),
        }
    }

    /// The length of bytes or of an array; `None` is null.
    #[inline]
    pub(crate) fn read_length(&mut self, flexible: bool) -> Result<Option<usize>> {
        let length = if flexible {
            i64::from(self.read_uvarint()?) - 1
        } else {
            i64::from(self.read_i32()?)
        };
        self.check_length(length)
    }

    #[inline]
    fn check_length(&self, length: i64) -> Result<Option<usize>> {
        match usize::try_from(length) {
            Ok(length) if length <= i32::MAX as usize => Ok(Some(length)),
            _ if length == -1 => Ok(None),
            _ => Err(self.error(Fault::BadLength(length))),
        }
    }

    /// Room for an array of `count` elements, after checking that the frame can hold them (each
    /// takes `wire_bytes_min` at least) and that they do not outgrow it in memory.
    #[inline]
    pub(crate) fn array_of<T>(&mut self, count: usize, wire_bytes_min: usize) -> Result<Vec<T>> {
        self.require(count.saturating_mul(wire_bytes_min.max(1)))?;
        let element_bytes = size_of::<T>().max(1);
        let memory = count.saturating_mul(element_bytes);
        self.memory_left = self
            .memory_left
            .checked_sub(memory)
            .ok_or_else(|| self.error(Fault::TooManyElements(count)))?;
        Ok(Vec::with_capacity(count.min(RESERVE_BYTES_MAX / element_bytes)))
    }

    /// Hands each tagged field of a flexible struct to `known`, which reads it and says true, or
    /// says false to have it skipped.
    #[inline]
    pub(crate) fn read_tags(
        &mut self,
        mut known: impl FnMut(&mut Decoder, u32) -> Result<bool>,
    ) -> Result<()> {
        for _ in 0..self.read_uvarint()? {
            let tag = self.read_uvarint()?;
            let size = self.read_uvarint()? as usize;
            self.require(size)?;
            let outer_end = std::mem::replace(&mut self.end, self.at + size);
            let is_known = known(self, tag)?;
            let missed = self.remaining();
            if is_known && missed != 0 {
                return Err(self.error(Fault::TagSize(missed)));
            }
            self.at = std::mem::replace(&mut self.end, outer_end);
        }
        Ok(())
    }
}
