//! `Str`: a UTF-8 string that is a slice of the frame it came in.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;

/// Text on the wire, without a copy: a `Bytes` that was checked to be UTF-8 when it was made.
///
/// It keeps its whole frame alive. Whoever stores one beyond the request (a topic's name in the
/// metadata, say) takes `detached()`, else one name may pin a 100 MiB produce request.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Str(Bytes);

impl Str {
    pub const fn from_static(text: &'static str) -> Str {
        Str(Bytes::from_static(text.as_bytes()))
    }

    /// `None` when the bytes are not UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Option<Str> {
        std::str::from_utf8(&bytes).is_ok().then_some(Str(bytes))
    }

    /// Checks the text again (some nanoseconds for a name); `as_bytes` does not.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a Str is made from UTF-8 only")
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A copy that does not keep the frame alive.
    pub fn detached(&self) -> Str {
        Str(Bytes::copy_from_slice(&self.0))
    }
}

impl Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Maps keyed by `Str` are searched with `&str`, so the two must hash and order alike.
impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl Hash for Str {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Str {
        Str(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Str {
        Str(Bytes::from(text))
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashMap};

    #[test]
    fn str_is_found_by_its_text_in_both_kinds_of_map() {
        let hashed: HashMap<Str, i32> = [(Str::from("größe"), 1)].into();
        let ordered: BTreeMap<Str, i32> = [(Str::from("größe"), 2)].into();
        assert_eq!((hashed.get("größe"), ordered.get("größe")), (Some(&1), Some(&2)));
    }

    #[test]
    fn bytes_that_are_not_utf8_make_no_str() {
        assert_eq!(Str::from_utf8(Bytes::from_static(b"\xff\xfe")), None);
        assert_eq!(Str::from_utf8(Bytes::from_static(b"ok")).unwrap(), "ok");
    }

    #[test]
    fn detached_text_leaves_the_frame() {
        let frame = Bytes::from(vec![b'a'; 64]);
        let text = Str::from_utf8(frame.slice(3..8)).unwrap();
        let detached = text.detached();
        assert_eq!(detached, text);
        assert!(!frame.as_ptr_range().contains(&detached.as_bytes().as_ptr()));
    }
}
