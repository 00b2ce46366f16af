//! Places in a partition as people write them.

use super::moment;
use crate::types::{Offset, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Beginning,
    End,
    Offset(Offset),
    /// The first record of that time or later.
    Time(Timestamp),
}

/// Reads `beginning`, `end`, `@5`, or a moment.
pub fn parse_place(text: &str) -> Result<Place, String> {
    match (text, text.strip_prefix('@')) {
        ("beginning", _) => Ok(Place::Beginning),
        ("end", _) => Ok(Place::End),
        (_, Some(offset)) => {
            let offset = offset.parse().ok().filter(|offset| *offset >= 0);
            offset
                .map(|offset| Place::Offset(Offset(offset)))
                .ok_or("an offset is @0 or more".into())
        }
        (text, None) => moment::parse(text).map(Place::Time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_written() {
        assert_eq!(parse_place("beginning"), Ok(Place::Beginning));
        assert_eq!(parse_place("end"), Ok(Place::End));
        assert_eq!(parse_place("@0"), Ok(Place::Offset(Offset(0))));
        assert_eq!(parse_place("2013-07-01"), Ok(Place::Time(Timestamp(1_372_636_800_000))));
        assert!(matches!(parse_place("-1h"), Ok(Place::Time(_))));
        assert!(parse_place("@-1").is_err());
        assert!(parse_place("start").is_err());
    }
}
