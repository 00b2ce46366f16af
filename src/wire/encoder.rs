//! Writes Kafka's primitive types. Records are never copied in: an external one leaves a `Cut`.

use bytes::{BufMut, Bytes, BytesMut};

use super::decoder::STRING_BYTES_MAX;

/// Where `length` bytes of records belong: before `out[at]`. Cuts come in ascending order of `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub at: usize,
    pub length: usize,
}

/// A frame in the making: `out` with the cuts' bytes between is what goes to the socket.
#[derive(Debug, Default)]
pub struct Encoder {
    pub out: BytesMut,
    pub cuts: Vec<Cut>,
}

/// Bytes of the length that starts every frame.
const FRAME_LENGTH_BYTES: usize = 4;

impl Encoder {
    pub fn new() -> Encoder {
        Encoder::default()
    }

    pub fn with_capacity(bytes: usize) -> Encoder {
        Encoder { out: BytesMut::with_capacity(bytes), cuts: Vec::new() }
    }

    /// Bytes of the whole, cuts included.
    pub fn length(&self) -> usize {
        self.out.len() + self.cuts.iter().map(|cut| cut.length).sum::<usize>()
    }

    /// Leaves room for the frame's length; `end_frame` fills it in.
    pub fn begin_frame(&mut self) {
        assert!(self.out.is_empty() && self.cuts.is_empty(), "one encoder, one frame");
        self.write_i32(0);
    }

    /// Writes the frame's length, cuts included, into the room that `begin_frame` left.
    pub fn end_frame(&mut self) {
        let length = i32::try_from(self.length() - FRAME_LENGTH_BYTES).expect("frame below 2 GiB");
        self.out[..FRAME_LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    }

    #[inline]
    pub fn write_i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    #[inline]
    pub fn write_i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    #[inline]
    pub fn write_u16(&mut self, value: u16) {
        self.out.put_u16(value);
    }

    #[inline]
    pub fn write_i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    #[inline]
    pub fn write_u32(&mut self, value: u32) {
        self.out.put_u32(value);
    }

    #[inline]
    pub fn write_i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    #[inline]
    pub fn write_f64(&mut self, value: f64) {
        self.out.put_f64(value);
    }

    #[inline]
    pub fn write_bool(&mut self, value: bool) {
        self.out.put_u8(u8::from(value));
    }

    #[inline]
    pub fn write_uuid(&mut self, value: [u8; 16]) {
        self.out.put_slice(&value);
    }

    /// UNSIGNED_VARINT
    #[inline]
    pub fn write_uvarint(&mut self, value: u32) {
        self.write_varint_bits(u64::from(value));
    }

    /// VARINT (zigzag)
    #[inline]
    pub fn write_varint(&mut self, value: i32) {
        self.write_uvarint(((value << 1) ^ (value >> 31)) as u32);
    }

    /// VARLONG (zigzag)
    #[inline]
    pub fn write_varlong(&mut self, value: i64) {
        self.write_varint_bits(((value << 1) ^ (value >> 63)) as u64);
    }

    #[inline]
    fn write_varint_bits(&mut self, mut bits: u64) {
        while bits >= 0x80 {
            self.out.put_u8(bits as u8 | 0x80);
            bits >>= 7;
        }
        self.out.put_u8(bits as u8);
    }

    /// A string. Kafka's strings end at 32,767 bytes in both encodings and its clients refuse longer
    /// ones, so a longer one is cut there, at a character's start.
    #[inline]
    pub fn write_string(&mut self, text: &[u8], flexible: bool) {
        let text = if text.len() > STRING_BYTES_MAX { string_start(text) } else { text };
        if flexible {
            self.write_uvarint(text.len() as u32 + 1);
        } else {
            self.write_i16(text.len() as i16);
        }
        self.out.put_slice(text);
    }

    #[inline]
    pub fn write_null_string(&mut self, flexible: bool) {
        if flexible {
            self.write_uvarint(0);
        } else {
            self.write_i16(-1);
        }
    }

    #[inline]
    pub fn write_bytes(&mut self, bytes: &Bytes, flexible: bool) {
        self.write_length(bytes.len(), flexible);
        self.out.put_slice(bytes);
    }

    /// Writes only the length of `length` bytes that the sender adds by reference.
    #[inline]
    pub fn write_external_bytes(&mut self, length: usize, flexible: bool) {
        self.write_length(length, flexible);
        if length > 0 {
            self.cuts.push(Cut { at: self.out.len(), length });
        }
    }

    /// The length of bytes or of an array.
    #[inline]
    pub(crate) fn write_length(&mut self, length: usize, flexible: bool) {
        let length = i32::try_from(length).expect("field below 2 GiB");
        if flexible {
            self.write_uvarint(length as u32 + 1);
        } else {
            self.write_i32(length);
        }
    }

    /// Null instead of bytes or an array.
    #[inline]
    pub(crate) fn write_null_length(&mut self, flexible: bool) {
        if flexible {
            self.write_uvarint(0);
        } else {
            self.write_i32(-1);
        }
    }

    /// One tagged field. They are rare and short, so its size is put before it afterwards.
    pub(crate) fn write_tag(&mut self, tag: u32, value: impl FnOnce(&mut Encoder)) {
        self.write_uvarint(tag);
        let start = self.out.len();
        let cuts = self.cuts.len();
        value(self);
        assert_eq!(self.cuts.len(), cuts, "no records in tagged fields");
        let size = self.out.len() - start;
        self.write_uvarint(u32::try_from(size).expect("tagged field below 4 GiB"));
        self.out[start..].rotate_left(size);
    }
}

/// As much of a text as a Kafka string holds.
#[cold]
fn string_start(text: &[u8]) -> &[u8] {
    let is_continuation = |place: &usize| text[*place] & 0xc0 == 0x80;
    let end = (0..=STRING_BYTES_MAX).rev().find(|place| !is_continuation(place)).unwrap_or(0);
    &text[..end]
}
