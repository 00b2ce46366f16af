//! The four codecs of record batches, as Java clients write and read them. Pure.
//!
//! For the client, for tools, and for the broker's cold paths; producing and fetching never come here.
//! What decompression yields is bounded by the caller, and memory grows with what was really yielded,
//! never by a length that the input claims.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use bytes::Bytes;

/// How the records of a batch are compressed: the low three bits of its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    /// In the order of their numbers.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// From a batch's attributes; `None` for a number that no codec has.
    pub fn from_attributes(attributes: i16) -> Option<Codec> {
        Codec::ALL.get(usize::from(attributes.cast_unsigned() & 0b111)).copied()
    }

    pub fn to_attributes(self) -> i16 {
        self as i16
    }

    /// As in compression.type.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Codec {
    type Err = String;
    fn from_str(text: &str) -> Result<Codec, String> {
        let found = Codec::ALL.into_iter().find(|codec| codec.name() == text);
        found.ok_or_else(|| format!("'{text}' is not one of none, gzip, snappy, lz4, zstd"))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    #[error("{codec} data is corrupt: {reason}")]
    Corrupt { codec: Codec, reason: String },
    #[error("{codec} data yields more than {limit} bytes")]
    TooLarge { codec: Codec, limit: usize },
}

/// Appends `input`, compressed.
pub fn compress(codec: Codec, input: &[u8], out: &mut Vec<u8>) {
    let done = match codec {
        Codec::None => out.write_all(input),
        Codec::Gzip => compress_gzip(input, out),
        Codec::Snappy => compress_snappy(input, out),
        Codec::Lz4 => compress_lz4(input, out),
        Codec::Zstd => compress_zstd(input, out),
    };
    done.expect("writing to memory does not fail");
}

/// What `input` decompresses to, if that is at most `limit` bytes.
///
/// # Errors
/// `Corrupt`, or `TooLarge` as soon as the limit is passed.
pub fn decompress(codec: Codec, input: &Bytes, limit: usize) -> Result<Bytes, CompressionError> {
    match decompress_start(codec, input, limit)? {
        (out, true) => Ok(out),
        (_, false) => Err(CompressionError::TooLarge { codec, limit }),
    }
}

/// What `input` decompresses to, up to `limit` bytes, and whether that is all. Less may be had of a block of
/// snappy that passes the limit.
///
/// # Errors
/// `Corrupt`.
pub fn decompress_start(
    codec: Codec,
    input: &Bytes,
    limit: usize,
) -> Result<(Bytes, bool), CompressionError> {
    let corrupt = |error: io::Error| CompressionError::Corrupt { codec, reason: error.to_string() };
    let mut out = Vec::new();
    let read = match codec {
        Codec::None => return Ok((input.slice(..input.len().min(limit)), input.len() <= limit)),
        // Java writes one member but reads several.
        Codec::Gzip => read_up_to(flate2::read::MultiGzDecoder::new(&input[..]), limit, &mut out),
        Codec::Snappy => decompress_snappy(input, limit, &mut out),
        Codec::Lz4 => read_up_to(lz4_flex::frame::FrameDecoder::new(&input[..]), limit, &mut out),
        Codec::Zstd => decompress_zstd(input, limit, &mut out),
    };
    let is_all = read.map_err(corrupt)?;
    out.truncate(limit);
    Ok((Bytes::from(out), is_all))
}

/// Reads to the end; false when there was more than `limit`. Grows with what arrives.
fn read_up_to(reader: impl Read, limit: usize, out: &mut Vec<u8>) -> io::Result<bool> {
    let read = reader.take(limit as u64 + 1).read_to_end(out)?;
    Ok(read <= limit)
}

fn compress_gzip(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    encoder.write_all(input)?;
    encoder.finish().map(|_| ())
}

/// Java refuses frames with dependent blocks, and writes blocks of 64 KiB.
fn compress_lz4(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input)?;
    encoder.finish().map(|_| ()).map_err(io::Error::other)
}

fn compress_zstd(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?;
    encoder.write_all(input)?;
    encoder.finish().map(|_| ())
}

/// Largest window that any level of zstd writes (128 MiB), as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

fn decompress_zstd(input: &[u8], limit: usize, out: &mut Vec<u8>) -> io::Result<bool> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    read_up_to(decoder, limit, out)
}

/// What snappy-java's stream begins with: a magic, the version and the least compatible version. Blocks
/// follow, each a length (i32) and a raw snappy block. Java writes this; librdkafka writes raw blocks.
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";
const XERIAL_MAGIC_BYTES: usize = 8;
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

/// A snappy copy of three bytes yields 64 at most, so no block yields more than this many times its size.
const SNAPPY_RATIO_MAX: usize = 22;

fn compress_snappy(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(XERIAL_HEADER);
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(XERIAL_BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block).map_err(io::Error::other)?;
        out.extend_from_slice(&(compressed.len() as u32).to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(())
}

fn decompress_snappy(input: &[u8], limit: usize, out: &mut Vec<u8>) -> io::Result<bool> {
    if !input.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC_BYTES]) {
        return decompress_snappy_block(input, limit, out);
    }
    let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "a block is cut");
    let mut rest = input.get(XERIAL_HEADER.len()..).ok_or_else(cut)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(cut)?;
        if !decompress_snappy_block(block, limit, out)? {
            return Ok(false);
        }
        rest = after;
    }
    Ok(true)
}

/// The block says its length first, so that is checked before it is believed.
fn decompress_snappy_block(block: &[u8], limit: usize, out: &mut Vec<u8>) -> io::Result<bool> {
    let claimed = snap::raw::decompress_len(block)?;
    if claimed > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(io::Error::other(format!("{} bytes claim to hold {claimed}", block.len())));
    }
    if claimed > limit - out.len() {
        return Ok(false);
    }
    let start = out.len();
    out.resize(start + claimed, 0);
    let yielded = snap::raw::Decoder::new().decompress(block, &mut out[start..])?;
    out.truncate(start + yielded);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compressed(codec: Codec, input: &[u8]) -> Bytes {
        let mut out = Vec::new();
        compress(codec, input, &mut out);
        Bytes::from(out)
    }

    #[test]
    fn codecs_have_kafkas_numbers_and_names() {
        for (number, name) in ["none", "gzip", "snappy", "lz4", "zstd"].iter().enumerate() {
            let codec: Codec = name.parse().unwrap();
            assert_eq!(codec.to_attributes(), number as i16);
            assert_eq!(Codec::from_attributes(number as i16 | 0b11000), Some(codec));
        }
        assert_eq!(Codec::from_attributes(5), None);
        assert_eq!(Codec::from_attributes(-1), None);
        assert!("brotli".parse::<Codec>().is_err());
    }

    #[test]
    fn what_is_compressed_comes_back_and_shrinks() {
        for codec in Codec::ALL {
            for length in [0, 1, 100, 32 * 1024, 32 * 1024 + 1, 1 << 20] {
                let input: Vec<u8> = (0..length).map(|i| (i / 7 % 50) as u8).collect();
                let small = compressed(codec, &input);
                assert_eq!(decompress(codec, &small, length).unwrap(), input, "{codec} {length}");
                if length >= 32 * 1024 && codec != Codec::None {
                    assert!(small.len() < length / 2, "{codec}: {length} -> {}", small.len());
                }
                let (start, is_all) = decompress_start(codec, &small, length / 2).unwrap();
                assert_eq!(start, input[..start.len()], "{codec} {length}");
                assert_eq!(is_all, length == 0, "{codec} {length}");
                // Snappy gives whole blocks of 32 KiB, the others all that may be.
                let least =
                    (length / 2).saturating_sub(if codec == Codec::Snappy { 32 << 10 } else { 0 });
                assert!((least..=length / 2).contains(&start.len()), "{codec} {length}");
                if length > 0 {
                    let error = decompress(codec, &small, length - 1).unwrap_err();
                    assert!(matches!(error, CompressionError::TooLarge { .. }), "{codec}: {error}");
                }
            }
        }
    }

    #[test]
    fn raw_snappy_as_librdkafka_writes_it_is_read() {
        let input = vec![7u8; 100_000];
        let raw = Bytes::from(snap::raw::Encoder::new().compress_vec(&input).unwrap());
        assert_eq!(decompress(Codec::Snappy, &raw, 100_000).unwrap(), input);
        let error = decompress(Codec::Snappy, &raw, 99_999).unwrap_err();
        assert!(matches!(error, CompressionError::TooLarge { .. }));
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let zeros = vec![0u8; 64 << 20];
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let bomb = compressed(codec, &zeros);
            let error = decompress(codec, &bomb, 1 << 20).unwrap_err();
            assert!(
                matches!(error, CompressionError::TooLarge { limit: 1_048_576, .. }),
                "{codec}"
            );
        }
    }

    #[test]
    fn a_snappy_length_that_lies_is_not_believed() {
        // A raw block of six bytes that claims 4 GiB - 1.
        let liar = Bytes::from_static(b"\xff\xff\xff\xff\x0f\x00");
        let error = decompress(Codec::Snappy, &liar, 256 << 20).unwrap_err();
        assert!(matches!(error, CompressionError::Corrupt { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(input in prop::collection::vec(any::<u8>(), 0..5000)) {
            for codec in Codec::ALL {
                let small = compressed(codec, &input);
                prop_assert_eq!(&decompress(codec, &small, input.len()).unwrap(), &input);
            }
        }

        #[test]
        fn hostile_bytes_are_refused_or_bounded(
            noise in prop::collection::vec(any::<u8>(), 0..300),
            at in 0usize..200,
            cut in 0usize..200,
        ) {
            for codec in Codec::ALL {
                let _ = decompress(codec, &Bytes::from(noise.clone()), 1 << 16);
                let mut damaged = compressed(codec, &[b'x'; 1000]).to_vec();
                let place = at % damaged.len();
                damaged[place] ^= 1 << (cut % 8);
                damaged.truncate(damaged.len().saturating_sub(cut / 4));
                if let Ok(out) = decompress(codec, &Bytes::from(damaged), 1 << 16) {
                    prop_assert!(out.len() <= 1 << 16);
                }
            }
        }
    }
}
