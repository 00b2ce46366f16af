//! Writes Kafka's primitive types. Records are never copied in: an external one leaves a `Cut`.

use bytes::{BufMut, Bytes, BytesMut};

use super::error_code::{ErrorCode, ErrorTally};
use crate::limits::STRING_BYTES_MAX;

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
    /// The error codes that were written.
    pub errors: ErrorTally,
}

/// Bytes of the length that starts every frame.
const FRAME_LENGTH_BYTES: usize = 4;

impl Encoder {
    pub fn new() -> Encoder {
        Encoder::default()
    }

    pub fn with_capacity(bytes: usize) -> Encoder {
        Encoder { out: BytesMut::with_capacity(bytes), ..Encoder::default() }
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

    /// The frame's pieces in the order of the wire, with the external bytes in their places: one for each cut.
    pub fn into_pieces(self, external: Vec<Bytes>) -> Vec<Bytes> {
        assert_eq!(self.cuts.len(), external.len(), "external bytes for each cut");
        let mut rest = self.out.freeze();
        let mut pieces = Vec::with_capacity(2 * external.len() + 1);
        let mut at = 0;
        for (cut, bytes) in self.cuts.iter().zip(external) {
            assert_eq!(cut.length, bytes.len(), "external bytes as long as the frame says");
            pieces.push(rest.split_to(cut.at - at));
            pieces.push(bytes);
            at = cut.at;
        }
        pieces.push(rest);
        pieces.retain(|piece| !piece.is_empty());
        pieces
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
    pub fn write_error_code(&mut self, code: ErrorCode) {
        self.errors.note(code);
        self.write_i16(code.to_i16());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Decoder;

    #[test]
    fn varints_of_all_sizes_come_back() {
        for shift in 0..32 {
            for value in [1u32 << shift, (1 << shift) - 1, !(1 << shift)] {
                let mut e = Encoder::new();
                e.write_uvarint(value);
                e.write_varint(value as i32);
                e.write_varlong(i64::from(value as i32) << shift);
                e.write_varlong(i64::MIN + i64::from(value));
                let mut d = Decoder::new(e.out.freeze());
                assert_eq!(d.read_uvarint(), Ok(value));
                assert_eq!(d.read_varint(), Ok(value as i32));
                assert_eq!(d.read_varlong(), Ok(i64::from(value as i32) << shift));
                assert_eq!(d.read_varlong(), Ok(i64::MIN + i64::from(value)));
                assert_eq!(d.finish(), Ok(()));
            }
        }
    }

    #[test]
    fn varints_are_zigzag_with_the_least_bits_first() {
        let mut e = Encoder::new();
        [0, -1, 1, -64, 64, i32::MIN].into_iter().for_each(|value| e.write_varint(value));
        assert_eq!(e.out[..], [0, 1, 2, 0x7f, 0x80, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    }

    #[test]
    fn varints_of_too_many_bits_are_refused() {
        for bytes in [&[0xff, 0xff, 0xff, 0xff, 0x1f][..], &[0x80, 0x80, 0x80, 0x80, 0x80, 0]] {
            assert!(Decoder::new(Bytes::copy_from_slice(bytes)).read_uvarint().is_err());
        }
        let mut eleven = vec![0xff; 9];
        eleven.push(0x02);
        assert!(Decoder::new(eleven.into()).read_varlong().is_err());
    }

    #[test]
    fn a_text_too_long_for_a_string_is_cut_before_a_character() {
        let text = "é".repeat(20_000); // 40,000 bytes, and a boundary at every even one
        for flexible in [false, true] {
            let mut e = Encoder::new();
            e.write_string(text.as_bytes(), flexible);
            let mut d = Decoder::new(e.out.freeze());
            let read = d.read_string(flexible).unwrap().unwrap();
            assert_eq!(read.as_str(), &text[..32_766]);
            assert_eq!(d.finish(), Ok(()));
        }
    }

    #[test]
    fn a_string_longer_than_kafka_allows_is_refused() {
        let mut e = Encoder::new();
        e.write_bytes(&vec![b'a'; 32_768].into(), true);
        assert!(Decoder::new(e.out.freeze()).read_string(true).is_err());
    }

    #[test]
    fn a_frame_counts_the_bytes_that_its_cuts_stand_for() {
        let mut e = Encoder::new();
        e.begin_frame();
        e.write_i16(1);
        e.write_external_bytes(1000, false);
        e.write_external_bytes(0, false);
        e.write_external_bytes(5, true);
        e.end_frame();
        let expected = [Cut { at: 10, length: 1000 }, Cut { at: 15, length: 5 }];
        assert_eq!(e.cuts, expected, "no cut for nothing");
        assert_eq!(e.length(), 15 + 1005);
        assert_eq!(e.out[..4], (e.length() as i32 - 4).to_be_bytes());
    }

    #[test]
    fn external_bytes_stand_where_they_were_cut() {
        let mut e = Encoder::new();
        e.write_i8(1);
        e.write_external_bytes(2, true);
        e.write_external_bytes(1, true);
        e.write_i8(4);
        let external = vec![Bytes::from_static(&[2, 2]), Bytes::from_static(&[3])];
        let pieces = e.into_pieces(external);
        let expected: [&[u8]; 5] = [&[1, 3], &[2, 2], &[2], &[3], &[4]];
        assert_eq!(pieces, expected);

        let mut e = Encoder::new();
        e.write_external_bytes(3, false);
        let pieces = e.into_pieces(vec![Bytes::from_static(&[7, 8, 9])]);
        let expected: [&[u8]; 2] = [&[0, 0, 0, 3], &[7, 8, 9]];
        assert_eq!(pieces, expected, "no piece for nothing");
    }

    #[test]
    fn a_tagged_field_longer_than_a_byte_can_say_keeps_its_order() {
        let mut e = Encoder::new();
        e.write_tag(3, |e| (0..200).for_each(|value| e.write_i8(value as i8)));
        let mut d = Decoder::new(e.out.freeze());
        assert_eq!((d.read_uvarint(), d.read_uvarint()), (Ok(3), Ok(200)));
        assert!((0..200).all(|value| d.read_i8() == Ok(value as i8)));
        assert_eq!(d.finish(), Ok(()));
    }
}
