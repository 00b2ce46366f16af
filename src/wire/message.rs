//! The macro that turns a message's declaration into a struct with its codec.
//!
//! A declaration names what Kafka's JSON schemas name:
//!
//! ```text
//! messages! {
//!     ThingRequest (3..=13, flexible 9..) {            versions; first with compact lengths and tags
//!         name: Str => 0..=12;                         the versions that have the field
//!         owner: Option<Str> => 0.., nullable 6..;     null is allowed from 6 (without: always)
//!         epoch: i32 => 5.., default -1;
//!         leader: Leader => 10.., tag 0;               a tagged field; tags are declared in order
//!     }
//!     Leader { id: i32 => 10.., default -1; }          a struct within it
//! }
//! ```
//!
//! Rules of the generated code, in both directions:
//! - A field that the version lacks is dropped when encoding and has its default after decoding.
//! - `None` where the version has no null is encoded as the empty value; null there is refused.
//! - A tagged field is written only when it differs from its default. Unknown tags are skipped.
//! - Defaults are those of the schemas, except that nullable fields without one are `None`.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use super::api::ApiKey;
use super::decoder::{Decoder, Fault, WireError};
use super::encoder::Encoder;
use super::primitive::{Form, Wire};

/// A request's or response's body.
pub trait Message: Wire + Debug + Clone + PartialEq + Default {
    const NAME: &'static str;
    /// What can be encoded and decoded, which may be more than is advertised.
    const VERSIONS: RangeInclusive<i16>;
    const FLEXIBLE_FROM: i16;

    fn form(version: i16) -> Form {
        Form { version, flexible: version >= Self::FLEXIBLE_FROM, nullable: false }
    }

    /// Reads the body; what follows it is the caller's (`Decoder::finish`).
    fn decode(d: &mut Decoder, version: i16) -> Result<Self, WireError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(d.error(Fault::UnknownVersion(version)).in_field(Self::NAME));
        }
        Self::read(d, Self::form(version)).map_err(|error| error.in_field(Self::NAME))
    }

    /// Panics on a version outside `VERSIONS`: a decoded request's version is always inside.
    fn encode(&self, e: &mut Encoder, version: i16) {
        assert!(Self::VERSIONS.contains(&version), "{} has no version {version}", Self::NAME);
        self.write(e, Self::form(version));
    }
}

/// A request's body, tied to its key and to what answers it.
pub trait Request: Message {
    const KEY: ApiKey;
    type Response: Message;
}

macro_rules! messages {
    ($(
        $(#[$meta:meta])*
        $name:ident $(($min:literal..=$max:literal, flexible $flexible:literal..))? {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $type:ty => $range:expr
                    $(, nullable $nullable:expr)? $(, default $default:expr)? $(, tag $tag:literal)?;
            )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: field_default!($($default)?),)* }
            }
        }

        impl Wire for $name {
            fn bytes_min(form: Form) -> usize {
                usize::from(form.flexible)
                    $(+ field_bytes_min!($type, form, $range, [$($nullable)?], [$($tag)?]))*
            }

            fn read(d: &mut Decoder, form: Form) -> Result<Self, WireError> {
                $(
                    #[allow(unused_mut)]
                    let mut $field: $type = if field_is_inline!(form, $range, [$($tag)?]) {
                        <$type as Wire>::read(d, field_form!(form, [$($nullable)?]))
                            .map_err(|error| error.in_field(field_name!($name, $field)))?
                    } else {
                        field_default!($($default)?)
                    };
                )*
                if form.flexible {
                    d.read_tags(|_d, _tag| {
                        $(field_read_tag!(
                            $name, $field, $type, _d, _tag, form, $range,
                            [$($nullable)?], [$($tag)?]
                        );)*
                        Ok(false)
                    })
                    .map_err(|error| error.in_field(field_name!($name, tags)))?;
                }
                Ok(Self { $($field),* })
            }

            fn write(&self, e: &mut Encoder, form: Form) {
                $(if field_is_inline!(form, $range, [$($tag)?]) {
                    self.$field.write(e, field_form!(form, [$($nullable)?]));
                })*
                if form.flexible {
                    let tags: u32 = 0 $(+ u32::from(field_has_tag!(
                        self.$field, $type, form, $range, [$($default)?], [$($tag)?]
                    )))*;
                    e.write_uvarint(tags);
                    $(if field_has_tag!(
                        self.$field, $type, form, $range, [$($default)?], [$($tag)?]
                    ) {
                        e.write_tag(tag_number!($($tag)?), |e| {
                            self.$field.write(e, field_form!(form, [$($nullable)?]));
                        });
                    })*
                }
            }
        }

        impl Nullable for $name {
            fn null_bytes(_: Form) -> usize {
                1
            }

            fn read_nullable(d: &mut Decoder, form: Form) -> Result<Option<Self>, WireError> {
                if d.read_i8()? < 0 { Ok(None) } else { Self::read(d, form).map(Some) }
            }

            fn write_null(e: &mut Encoder, _: Form) {
                e.write_i8(-1);
            }

            fn write_present(&self, e: &mut Encoder, form: Form) {
                e.write_i8(1);
                self.write(e, form);
            }
        }

        $(
            impl Message for $name {
                const NAME: &'static str = stringify!($name);
                const VERSIONS: std::ops::RangeInclusive<i16> = $min..=$max;
                const FLEXIBLE_FROM: i16 = $flexible;
            }

            impl $name {
                /// As `Message::decode`, without the import.
                pub fn decode(d: &mut Decoder, version: i16) -> Result<Self, WireError> {
                    <Self as Message>::decode(d, version)
                }

                /// As `Message::encode`, without the import.
                pub fn encode(&self, e: &mut Encoder, version: i16) {
                    <Self as Message>::encode(self, e, version);
                }
            }
        )?

        #[cfg(test)]
        impl $crate::wire::sample::Sample for $name {
            #[allow(unused_variables)]
            fn sample(dice: &mut $crate::wire::sample::Dice, form: Form) -> Self {
                Self {$(
                    $field: if ($range).contains(&form.version) {
                        let form = field_form!(form, [$($nullable)?]);
                        $crate::wire::sample::Sample::sample(dice, form)
                    } else {
                        field_default!($($default)?)
                    },
                )*}
            }
        }
    )*};
}

macro_rules! field_name {
    ($name:ident, $field:ident) => {
        concat!(stringify!($name), ".", stringify!($field))
    };
}

macro_rules! field_default {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

macro_rules! field_form {
    ($form:ident, []) => {
        $form.nullable(true)
    };
    ($form:ident, [$nullable:expr]) => {
        $form.nullable(($nullable).contains(&$form.version))
    };
}

/// Whether the field stands in the struct's body in this version.
macro_rules! field_is_inline {
    ($form:ident, $range:expr, []) => {
        ($range).contains(&$form.version)
    };
    ($form:ident, $range:expr, [$tag:literal]) => {
        false
    };
}

macro_rules! field_bytes_min {
    ($type:ty, $form:ident, $range:expr, $nullable:tt, []) => {
        if ($range).contains(&$form.version) {
            <$type as Wire>::bytes_min(field_form!($form, $nullable))
        } else {
            0
        }
    };
    ($type:ty, $form:ident, $range:expr, $nullable:tt, [$tag:literal]) => {
        0
    };
}

/// Reads the field and returns from the closure if the tag is its own.
macro_rules! field_read_tag {
    ($name:ident, $field:ident, $type:ty, $d:ident, $seen:ident, $form:ident, $range:expr,
        $nullable:tt, []) => {};
    ($name:ident, $field:ident, $type:ty, $d:ident, $seen:ident, $form:ident, $range:expr,
        $nullable:tt, [$tag:literal]) => {
        if $seen == $tag && ($range).contains(&$form.version) {
            $field = <$type as Wire>::read($d, field_form!($form, $nullable))
                .map_err(|error| error.in_field(field_name!($name, $field)))?;
            return Ok(true);
        }
    };
}

/// Whether the field is to be written as a tagged one.
macro_rules! field_has_tag {
    ($value:expr, $type:ty, $form:ident, $range:expr, $default:tt, []) => {
        false
    };
    ($value:expr, $type:ty, $form:ident, $range:expr, [$($default:expr)?], [$tag:literal]) => {{
        let unset: $type = field_default!($($default)?);
        ($range).contains(&$form.version) && $value != unset
    }};
}

/// A field without a tag never gets to ask.
macro_rules! tag_number {
    () => {
        0
    };
    ($tag:literal) => {
        $tag
    };
}

/// What a file of declarations needs.
pub(crate) mod prelude {
    pub(crate) use super::Message;
    pub(crate) use crate::types::TopicId;
    pub(crate) use crate::wire::decoder::{Decoder, WireError};
    pub(crate) use crate::wire::encoder::Encoder;
    pub(crate) use crate::wire::error_code::ErrorCode;
    pub(crate) use crate::wire::primitive::{Form, Nullable, Records, Wire};
    pub(crate) use crate::wire::string::Str;
    pub(crate) use bytes::Bytes;
}
