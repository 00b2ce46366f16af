//! What precedes every body: request headers 1 and 2, response headers 0 and 1 (1 and 2 of Kafka's
//! flexible versions differ only by tagged fields, which none has yet).

use bytes::Bytes;

use super::api::ApiKey;
use super::decoder::{Decoder, Fault, WireError};
use super::encoder::Encoder;
use super::message::{Message, Request};
use super::string::Str;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    pub api_key: ApiKey,
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<Str>,
}

impl RequestHeader {
    /// Reads the header of any request. A key that Kafka does not have is an error; whether the
    /// version is served is the caller's question.
    pub fn decode(d: &mut Decoder) -> Result<RequestHeader, WireError> {
        let key = d.read_i16().map_err(|error| error.in_field("RequestHeader.api_key"))?;
        let api_key = ApiKey::from_i16(key)
            .ok_or_else(|| d.error(Fault::UnknownApi(key)).in_field("RequestHeader.api_key"))?;
        Self::decode_rest(d, api_key).map_err(|error| error.in_field("RequestHeader"))
    }

    fn decode_rest(d: &mut Decoder, api_key: ApiKey) -> Result<RequestHeader, WireError> {
        let api_version = d.read_i16()?;
        let correlation_id = d.read_i32()?;
        // KIP-482: the client id keeps its two-byte length even in header version 2, so that any
        // broker can read it whatever the version.
        let client_id = d.read_string(false)?;
        if api_key.request_header_version(api_version) >= 2 {
            d.read_tags(|_, _| Ok(false))?;
        }
        Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
    }

    pub fn encode(&self, e: &mut Encoder) {
        e.write_i16(self.api_key.to_i16());
        e.write_i16(self.api_version);
        e.write_i32(self.correlation_id);
        match &self.client_id {
            Some(client_id) => e.write_string(client_id.as_bytes(), false),
            None => e.write_null_string(false),
        }
        if self.api_key.request_header_version(self.api_version) >= 2 {
            e.write_uvarint(0);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// `header_version` as `ApiKey::response_header_version` says.
    pub fn decode(d: &mut Decoder, header_version: i16) -> Result<ResponseHeader, WireError> {
        let correlation_id =
            d.read_i32().map_err(|error| error.in_field("ResponseHeader.correlation_id"))?;
        if header_version >= 1 {
            d.read_tags(|_, _| Ok(false)).map_err(|error| error.in_field("ResponseHeader.tags"))?;
        }
        Ok(ResponseHeader { correlation_id })
    }

    pub fn encode(&self, e: &mut Encoder, header_version: i16) {
        e.write_i32(self.correlation_id);
        if header_version >= 1 {
            e.write_uvarint(0);
        }
    }
}

/// A whole request frame, its length included.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<Str>,
) -> Encoder {
    let mut e = Encoder::new();
    e.begin_frame();
    let header = RequestHeader { api_key: R::KEY, api_version: version, correlation_id, client_id };
    header.encode(&mut e);
    request.encode(&mut e, version);
    e.end_frame();
    e
}

/// Enough for most responses; in a longer one it grows.
const ROOM_BYTES_USUAL: usize = 256;

/// A whole response frame, its length included.
pub fn encode_response<R: Request>(
    response: &R::Response,
    version: i16,
    correlation_id: i32,
) -> Encoder {
    encode_response_in_room::<R>(response, version, correlation_id, ROOM_BYTES_USUAL)
}

/// The same for whoever knows about how many bytes it takes: with that much room from the start, it is not moved as
/// it grows.
pub fn encode_response_in_room<R: Request>(
    response: &R::Response,
    version: i16,
    correlation_id: i32,
    room_bytes: usize,
) -> Encoder {
    let mut e = Encoder::with_capacity(room_bytes);
    e.begin_frame();
    ResponseHeader { correlation_id }.encode(&mut e, R::KEY.response_header_version(version));
    response.encode(&mut e, version);
    e.end_frame();
    e
}

/// A response frame without its length, as the client has it: the correlation id and the body.
pub fn decode_response<R: Request>(
    frame: Bytes,
    version: i16,
) -> Result<(i32, R::Response), WireError> {
    let mut d = Decoder::new(frame);
    let header = ResponseHeader::decode(&mut d, R::KEY.response_header_version(version))?;
    let response = R::Response::decode(&mut d, version)?;
    d.finish()?;
    Ok((header.correlation_id, response))
}
