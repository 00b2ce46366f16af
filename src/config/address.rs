//! Addresses as operators write them. Names are not resolved here.

use std::fmt;
use std::str::FromStr;

/// HOST:PORT, where the host is a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Without the brackets.
    pub host: String,
    pub port: u16,
}

/// HOST or HOST:PORT: where clients reach this broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    pub host: String,
    /// None: the port that is listened on.
    pub port: Option<u16>,
}

/// Where the admin port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// At its usual place, if that is free.
    Auto,
    None,
    At(HostPort),
}

impl AdminListen {
    /// Where `Auto` is.
    pub fn usual() -> HostPort {
        HostPort::new("127.0.0.1", 9644)
    }
}

impl FromStr for AdminListen {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<AdminListen, AddressError> {
        match text {
            "auto" => Ok(AdminListen::Auto),
            "none" | "" => Ok(AdminListen::None),
            text => text.parse().map(AdminListen::At),
        }
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminListen::Auto => f.write_str("auto"),
            AdminListen::None => f.write_str("none"),
            AdminListen::At(address) => address.fmt(f),
        }
    }
}

impl HostPort {
    pub fn new(host: &str, port: u16) -> HostPort {
        HostPort { host: host.to_string(), port }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<HostPort, AddressError> {
        match split(text) {
            Some((host, Some(port))) => Ok(HostPort { host, port }),
            _ => Err(AddressError),
        }
    }
}

impl FromStr for Advertise {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Advertise, AddressError> {
        let (host, port) = split(text).ok_or(AddressError)?;
        // A client cannot connect to port 0.
        if port == Some(0) { Err(AddressError) } else { Ok(Advertise { host, port }) }
    }
}

/// Not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST:PORT, with an IPv6 address in brackets")]
pub struct AddressError;

fn split(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return None,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let letters = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if host.is_empty() || !host.chars().all(letters) {
        return None;
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match port {
        Some(port) if digits(port) => Some((host.to_string(), Some(port.parse().ok()?))),
        Some(_) => None,
        None => Some((host.to_string(), None)),
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(&self.host), self.port)
    }
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Bracketed(&self.host).fmt(f)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_their_text() {
        for text in ["127.0.0.1:9092", "localhost:0", "[::1]:9092", "a-b.example:65535"] {
            assert_eq!(text.parse::<HostPort>().map(|a| a.to_string()), Ok(text.to_string()));
        }
        for text in ["example.org", "example.org:9092", "[fe80::1]", "[::1]:1"] {
            assert_eq!(text.parse::<Advertise>().map(|a| a.to_string()), Ok(text.to_string()));
        }
    }

    #[test]
    fn the_admin_port_is_a_word_or_an_address() {
        for text in ["auto", "none", "0.0.0.0:9644", "[::1]:0"] {
            assert_eq!(text.parse::<AdminListen>().map(|at| at.to_string()), Ok(text.to_string()));
        }
        assert_eq!("".parse(), Ok(AdminListen::None));
        assert_eq!("nowhere".parse::<AdminListen>(), Err(AddressError));
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in [
            "",
            ":9092",
            "host",
            "host:",
            "host:x",
            "host:65536",
            "::1:9092",
            "[::1]",
            "[::1",
            "[x]:1",
            "a b:1",
            "h:+1",
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(AddressError), "{text}");
        }
        assert_eq!("host:0".parse::<Advertise>(), Err(AddressError));
    }
}
