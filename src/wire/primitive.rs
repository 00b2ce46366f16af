//! How each Rust type that a message's field may have looks on the wire.

use std::fmt;

use bytes::Bytes;

use super::decoder::{Decoder, Fault, WireError};
use super::encoder::Encoder;
use super::error_code::ErrorCode;
use super::string::Str;
use crate::types::TopicId;

/// What the encoding of a field depends on besides its type.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    pub version: i16,
    /// Compact lengths and tagged fields (KIP-482).
    pub flexible: bool,
    /// Whether null is allowed for this field in this version.
    pub nullable: bool,
}

impl Form {
    pub(crate) fn nullable(self, nullable: bool) -> Form {
        Form { nullable, ..self }
    }
}

/// A type that a field may have.
pub trait Wire: Sized {
    /// The least bytes that any value takes.
    fn bytes_min(form: Form) -> usize;
    fn read(d: &mut Decoder, form: Form) -> Result<Self, WireError>;
    fn write(&self, e: &mut Encoder, form: Form);
}

/// A type that has a null. `Option` of it is a field too.
pub trait Nullable: Wire + Default {
    fn null_bytes(form: Form) -> usize;
    fn read_nullable(d: &mut Decoder, form: Form) -> Result<Option<Self>, WireError>;
    fn write_null(e: &mut Encoder, form: Form);
    /// Differs from `write` only for structs, which say by a byte that they are there.
    fn write_present(&self, e: &mut Encoder, form: Form) {
        self.write(e, form);
    }
}

impl<T: Nullable> Wire for Option<T> {
    #[inline]
    fn bytes_min(form: Form) -> usize {
        if form.nullable { T::null_bytes(form) } else { T::bytes_min(form) }
    }

    #[inline]
    fn read(d: &mut Decoder, form: Form) -> Result<Self, WireError> {
        if form.nullable { T::read_nullable(d, form) } else { T::read(d, form).map(Some) }
    }

    /// None in a version without null is written as the empty value.
    #[inline]
    fn write(&self, e: &mut Encoder, form: Form) {
        match self {
            Some(value) if form.nullable => value.write_present(e, form),
            Some(value) => value.write(e, form),
            None if form.nullable => T::write_null(e, form),
            None => T::default().write(e, form),
        }
    }
}

/// Reads what `read_nullable` reads, but refuses null.
#[inline]
fn read_present<T: Nullable>(d: &mut Decoder, form: Form) -> Result<T, WireError> {
    match T::read_nullable(d, form)? {
        Some(value) => Ok(value),
        None => Err(d.error(Fault::Null)),
    }
}

macro_rules! fixed_size {
    ($($type:ty, $bytes:literal, $read:ident, $write:ident;)*) => {$(
        impl Wire for $type {
            #[inline]
            fn bytes_min(_: Form) -> usize {
                $bytes
            }
            #[inline]
            fn read(d: &mut Decoder, _: Form) -> Result<Self, WireError> {
                d.$read()
            }
            #[inline]
            fn write(&self, e: &mut Encoder, _: Form) {
                e.$write(*self);
            }
        }
    )*};
}

fixed_size! {
    i8, 1, read_i8, write_i8;
    i16, 2, read_i16, write_i16;
    u16, 2, read_u16, write_u16;
    i32, 4, read_i32, write_i32;
    u32, 4, read_u32, write_u32;
    i64, 8, read_i64, write_i64;
    f64, 8, read_f64, write_f64;
    bool, 1, read_bool, write_bool;
}

impl Wire for ErrorCode {
    #[inline]
    fn bytes_min(_: Form) -> usize {
        2
    }

    /// A code that is not known here reads as UNKNOWN_SERVER_ERROR, as in Kafka's clients.
    #[inline]
    fn read(d: &mut Decoder, _: Form) -> Result<Self, WireError> {
        Ok(ErrorCode::from_i16(d.read_i16()?).unwrap_or(ErrorCode::UnknownServerError))
    }

    #[inline]
    fn write(&self, e: &mut Encoder, _: Form) {
        e.write_i16(self.to_i16());
    }
}

impl Wire for TopicId {
    #[inline]
    fn bytes_min(_: Form) -> usize {
        16
    }

    #[inline]
    fn read(d: &mut Decoder, _: Form) -> Result<Self, WireError> {
        d.read_uuid().map(TopicId)
    }

    #[inline]
    fn write(&self, e: &mut Encoder, _: Form) {
        e.write_uuid(self.0);
    }
}

impl Wire for Str {
    #[inline]
    fn bytes_min(form: Form) -> usize {
        Self::null_bytes(form)
    }

    #[inline]
    fn read(d: &mut Decoder, form: Form) -> Result<Self, WireError> {
        read_present(d, form)
    }

    #[inline]
    fn write(&self, e: &mut Encoder, form: Form) {
        e.write_string(self.as_bytes(), form.flexible);
    }
}

impl Nullable for Str {
    #[inline]
    fn null_bytes(form: Form) -> usize {
        if form.flexible { 1 } else { 2 }
    }

    #[inline]
    fn read_nullable(d: &mut Decoder, form: Form) -> Result<Option<Self>, WireError> {
        d.read_string(form.flexible)
    }

    #[inline]
    fn write_null(e: &mut Encoder, form: Form) {
        e.write_null_string(form.flexible);
    }
}

/// Record batches in a message.
#[derive(Clone, PartialEq, Eq)]
pub enum Records {
    /// Here; all that decoding yields. A slice of the frame.
    Inline(Bytes),
    /// So many bytes that the sender adds by reference: the encoder writes the length and a `Cut`.
    External(usize),
}

impl Records {
    pub fn length(&self) -> usize {
        match self {
            Records::Inline(bytes) => bytes.len(),
            Records::External(length) => *length,
        }
    }
}

impl Default for Records {
    fn default() -> Records {
        Records::Inline(Bytes::new())
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        Records::Inline(bytes)
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Records::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Records::External(length) => write!(f, "External({length} bytes)"),
        }
    }
}

impl Wire for Records {
    #[inline]
    fn bytes_min(form: Form) -> usize {
        Self::null_bytes(form)
    }

    #[inline]
    fn read(d: &mut Decoder, form: Form) -> Result<Self, WireError> {
        read_present(d, form)
    }

    #[inline]
    fn write(&self, e: &mut Encoder, form: Form) {
        match self {
            Records::Inline(bytes) => e.write_bytes(bytes, form.flexible),
            Records::External(length) => e.write_external_bytes(*length, form.flexible),
        }
    }
}

impl Nullable for Records {
    #[inline]
    fn null_bytes(form: Form) -> usize {
        length_bytes_min(form)
    }

    #[inline]
    fn read_nullable(d: &mut Decoder, form: Form) -> Result<Option<Self>, WireError> {
        Ok(d.read_bytes(form.flexible)?.map(Records::Inline))
    }

    #[inline]
    fn write_null(e: &mut Encoder, form: Form) {
        e.write_null_length(form.flexible);
    }
}

/// What only its reader understands: a member's metadata or assignment. A slice of the frame; whoever keeps it
/// beyond the request copies it.
impl Wire for Bytes {
    #[inline]
    fn bytes_min(form: Form) -> usize {
        Self::null_bytes(form)
    }

    #[inline]
    fn read(d: &mut Decoder, form: Form) -> Result<Self, WireError> {
        read_present(d, form)
    }

    #[inline]
    fn write(&self, e: &mut Encoder, form: Form) {
        e.write_bytes(self, form.flexible);
    }
}

impl Nullable for Bytes {
    #[inline]
    fn null_bytes(form: Form) -> usize {
        length_bytes_min(form)
    }

    #[inline]
    fn read_nullable(d: &mut Decoder, form: Form) -> Result<Option<Self>, WireError> {
        d.read_bytes(form.flexible)
    }

    #[inline]
    fn write_null(e: &mut Encoder, form: Form) {
        e.write_null_length(form.flexible);
    }
}

impl<T: Wire> Wire for Vec<T> {
    #[inline]
    fn bytes_min(form: Form) -> usize {
        Self::null_bytes(form)
    }

    #[inline]
    fn read(d: &mut Decoder, form: Form) -> Result<Self, WireError> {
        read_present(d, form)
    }

    #[inline]
    fn write(&self, e: &mut Encoder, form: Form) {
        e.write_length(self.len(), form.flexible);
        for element in self {
            element.write(e, form.nullable(false));
        }
    }
}

impl<T: Wire> Nullable for Vec<T> {
    #[inline]
    fn null_bytes(form: Form) -> usize {
        length_bytes_min(form)
    }

    #[inline]
    fn read_nullable(d: &mut Decoder, form: Form) -> Result<Option<Self>, WireError> {
        let Some(count) = d.read_length(form.flexible)? else { return Ok(None) };
        let form = form.nullable(false);
        let mut elements = d.array_of(count, T::bytes_min(form))?;
        for _ in 0..count {
            elements.push(T::read(d, form)?);
        }
        Ok(Some(elements))
    }

    #[inline]
    fn write_null(e: &mut Encoder, form: Form) {
        e.write_null_length(form.flexible);
    }
}

#[inline]
fn length_bytes_min(form: Form) -> usize {
    if form.flexible { 1 } else { 4 }
}
