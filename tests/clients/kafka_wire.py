#!/usr/bin/env python3
"""Raw Kafka protocol for the lab: any request of any version, right or deliberately wrong, over a plain socket.

The message schemas are Apache Kafka's own, which its client jar carries; kafka-messages.json is their extract:

  kafka_wire.py extract KAFKA-CLIENTS.jar >kafka-messages.json

Nothing but Python's standard library, so that it runs wherever the broker does.
"""

import gzip
import json
import os
import re
import socket
import struct
import sys
import uuid
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
KEEP = ("name", "type", "versions", "nullableVersions", "taggedVersions", "tag", "default")


# ------------------------------------------------------------------ schemas


def extract(jar):
    """Every request and response of a client's listener: {api key: {name, versions, flexible, request, response}}."""

    def short(field):
        out = {k: field[k] for k in KEEP if k in field}
        if "fields" in field:
            out["fields"] = [short(f) for f in field["fields"]]
        return out

    apis = {}
    with zipfile.ZipFile(jar) as z:
        for path in z.namelist():
            if not re.fullmatch(r"common/message/\w+(Request|Response)\.json", path):
                continue
            m = json.loads(re.sub(r"^\s*//.*$", "", z.read(path).decode(), flags=re.M))
            if m["validVersions"] == "none":
                continue
            structs = {s["name"]: s["fields"] for s in m.get("commonStructs", [])}

            def inline(fields):
                for f in fields:
                    base = f["type"].removeprefix("[]")
                    if "fields" not in f and base in structs:
                        f["fields"] = structs[base]
                    inline(f.get("fields", []))
                return fields

            api = apis.setdefault(m["apiKey"], {})
            api[m["type"]] = [short(f) for f in inline(m["fields"])]
            if m["type"] == "request":
                api.update(
                    name=m["name"].removesuffix("Request"),
                    versions=m["validVersions"],
                    flexible=m.get("flexibleVersions", "none"),
                    listeners=m.get("listeners", []),
                )
    return {k: apis[k] for k in sorted(apis) if "broker" in apis[k].get("listeners", [])}


def bounds(text):
    """'3+' -> (3, 32767); '0-4'; '7'; 'none' -> an empty range."""
    if not text or text == "none":
        return 1, 0
    first, plus, last = re.fullmatch(r"(\d+)(\+)?(?:-(\d+))?", text).groups()
    return int(first), 32767 if plus else int(last or first)


class Field:
    def __init__(self, f):
        self.name = re.sub(r"(?<!^)(?=[A-Z][a-z])|(?<=[a-z0-9])(?=[A-Z])", "_", f["name"]).lower()
        self.array = f["type"].startswith("[]")
        self.type = f["type"].removeprefix("[]")
        self.versions, self.nullable = bounds(f.get("versions")), bounds(f.get("nullableVersions"))
        self.tagged, self.tag = bounds(f.get("taggedVersions")), f.get("tag")
        self.fields = [Field(x) for x in f["fields"]] if "fields" in f else None
        default = f.get("default")
        if default == "null":
            self.default = None
        elif self.array:
            self.default = []
        elif self.fields is not None:
            self.default = {}
        elif self.type in ("string",):
            self.default = default or ""
        elif self.type == "uuid":
            self.default = uuid.UUID(int=0)
        elif self.type in ("bytes", "records"):
            self.default = b"" if self.type == "bytes" else None
        elif self.type == "bool":
            self.default = default in (True, "true")
        elif self.type == "float64":
            self.default = float(default or 0)
        else:
            self.default = int(str(default or "0"), 0)

    def among(self, version, span):
        return span[0] <= version <= span[1]


class Api:
    def __init__(self, key, a):
        self.key, self.name = int(key), a["name"]
        self.first, self.last = bounds(a["versions"])
        self.flexible_from = bounds(a["flexible"])[0] if a["flexible"] != "none" else 32767
        self.request = [Field(f) for f in a["request"]]
        self.response = [Field(f) for f in a["response"]]

    def flexible(self, version):
        return version >= self.flexible_from


def load():
    with open(os.path.join(HERE, "kafka-messages.json")) as f:
        return {int(k): Api(k, a) for k, a in json.load(f).items()}


APIS = load() if os.path.exists(os.path.join(HERE, "kafka-messages.json")) else {}
BY_NAME = {a.name: a for a in APIS.values()}
FIXED = {
    "int8": ">b",
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "float64": ">d",
    "bool": ">?",
}


def uvarint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def varint(n):
    return uvarint((n << 1) ^ (n >> 63) if n < 0 else n << 1)


class Raw(bytes):
    """Bytes to put in place of a whole encoded field, length and all: for wrong requests."""


def put(field, value, version, flexible, in_array=False):
    if isinstance(value, Raw):
        return bytes(value)
    if field.array and not in_array:
        if value is None:
            return b"\0" if flexible else struct.pack(">i", -1)
        head = uvarint(len(value) + 1) if flexible else struct.pack(">i", len(value))
        return head + b"".join(put(field, v, version, flexible, True) for v in value)
    if field.fields is not None:
        if field.among(version, field.nullable) and not in_array:  # a nullable struct has a presence byte
            return b"\xff" if value is None else b"\x01" + put_struct(field.fields, value, version, flexible)
        return put_struct(field.fields, value, version, flexible)
    if field.type in FIXED:
        return struct.pack(FIXED[field.type], value)
    if field.type == "uuid":
        return value.bytes if isinstance(value, uuid.UUID) else bytes(value)
    if isinstance(value, str):
        value = value.encode()
    if flexible:
        return b"\0" if value is None else uvarint(len(value) + 1) + value
    size = ">h" if field.type == "string" else ">i"
    return struct.pack(size, -1) if value is None else struct.pack(size, len(value)) + value


def put_struct(fields, values, version, flexible):
    unknown = set(values) - {f.name for f in fields} - {"_tags"}
    assert not unknown, f"no such fields: {unknown}; there are {[f.name for f in fields]}"
    out, tags = [], []
    for f in fields:
        if not f.among(version, f.versions):
            continue
        value = values.get(f.name, f.default)
        if f.among(version, f.tagged):
            if f.name in values:
                tags.append((f.tag, put(f, value, version, flexible)))
            continue
        out.append(put(f, value, version, flexible))
    if flexible:
        tags = sorted(tags + list(values.get("_tags", [])))
        out.append(uvarint(len(tags)) + b"".join(uvarint(t) + uvarint(len(b)) + b for t, b in tags))
    return b"".join(out)


class Reader:
    def __init__(self, data):
        self.data, self.at = memoryview(data), 0

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise ValueError(f"{n} bytes wanted at {self.at} of {len(self.data)}")
        self.at += n
        return bytes(self.data[self.at - n : self.at])

    def uvarint(self):
        out = shift = 0
        while True:
            b = self.take(1)[0]
            out |= (b & 127) << shift
            if b < 128:
                return out
            shift += 7

    def varint(self):
        n = self.uvarint()
        return n >> 1 ^ -(n & 1)

    def number(self, kind):
        return struct.unpack(FIXED[kind], self.take(struct.calcsize(FIXED[kind])))[0]


def get(field, r, version, flexible, in_array=False):
    if field.array and not in_array:
        n = r.uvarint() - 1 if flexible else r.number("int32")
        return None if n < 0 else [get(field, r, version, flexible, True) for _ in range(n)]
    if field.fields is not None:
        if field.among(version, field.nullable) and not in_array and r.number("int8") < 0:
            return None
        return get_struct(field.fields, r, version, flexible)
    if field.type in FIXED:
        return r.number(field.type)
    if field.type == "uuid":
        return uuid.UUID(bytes=r.take(16))
    n = r.uvarint() - 1 if flexible else r.number("int16" if field.type == "string" else "int32")
    if n < 0:
        return None
    data = r.take(n)
    return data.decode() if field.type == "string" else data


def get_struct(fields, r, version, flexible):
    out, tagged = {}, {}
    for f in fields:
        if not f.among(version, f.versions):
            continue
        if f.among(version, f.tagged):
            tagged[f.tag] = f
            out[f.name] = f.default
        else:
            out[f.name] = get(f, r, version, flexible)
    if flexible:
        for _ in range(r.uvarint()):
            tag, size = r.uvarint(), r.uvarint()
            inner = Reader(r.take(size))
            if tag in tagged:
                out[tagged[tag].name] = get(tagged[tag], inner, version, flexible)
                if inner.at != size:
                    raise ValueError(f"tag {tag}: {size - inner.at} bytes left")
    return out


def request(api, version, correlation, fields, client_id="oracle"):
    """A whole request without its length: header and body."""
    api = BY_NAME[api] if isinstance(api, str) else api
    head = struct.pack(">hhi", api.key, version, correlation)
    head += struct.pack(">h", -1) if client_id is None else struct.pack(">h", len(client_id)) + client_id.encode()
    flexible = api.flexible(version)
    return head + (b"\0" if flexible else b"") + put_struct(api.request, fields, version, flexible)


def response(api, version, data):
    """(correlation id, fields) of a whole response without its length; it must be used up."""
    api = BY_NAME[api] if isinstance(api, str) else api
    r = Reader(data)
    correlation, flexible = r.number("int32"), api.flexible(version)
    if flexible and api.key != 18:  # an ApiVersions response has a header without tags, whatever its version
        for _ in range(r.uvarint()):
            r.uvarint(), r.take(r.uvarint())
    fields = get_struct(api.response, r, version, flexible)
    if r.at != len(data):
        raise ValueError(f"{api.name} v{version}: {len(data) - r.at} bytes after the response")
    return correlation, fields


# ------------------------------------------------------------------ connections


class Closed(Exception):
    """The broker closed the connection."""


class Timeout(Exception):
    """No answer in time, and the connection still open."""


class Connection:
    def __init__(self, address, timeout=15.0):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout, self.correlation = timeout, 0

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Closed(str(e)) from None
        except TimeoutError as e:
            raise Timeout(str(e)) from None

    def exactly(self, n):
        out = bytearray()
        while len(out) < n:
            try:
                part = self.socket.recv(min(n - len(out), 1 << 20))
            except ConnectionResetError as e:
                raise Closed(str(e)) from None
            except TimeoutError as e:
                raise Timeout(str(e)) from None
            if not part:
                raise Closed(f"end of stream after {len(out)} of {n} bytes")
            out += part
        return bytes(out)

    def frame(self):
        return self.exactly(struct.unpack(">I", self.exactly(4))[0])

    def start(self, api, version, **fields):
        """Sends a request without reading its answer; its correlation id."""
        self.correlation += 1
        body = request(api, version, self.correlation, fields)
        self.send(struct.pack(">I", len(body)) + body)
        return self.correlation

    def finish(self, api, version):
        return response(api, version, self.frame())

    def call(self, api, version, **fields):
        sent = self.start(api, version, **fields)
        got, answer = self.finish(api, version)
        assert got == sent, f"correlation id {got}, not {sent}"
        return answer


# ------------------------------------------------------------------ record batches


def crc32c_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ 0x82F63B78 if n & 1 else n >> 1
        table.append(n)
    return table


CRC_TABLE = crc32c_table()


def crc32c(data):
    crc, table = 0xFFFFFFFF, CRC_TABLE
    for b in data:
        crc = table[(crc ^ b) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def record(value, key=None, headers=(), offset_delta=0, timestamp_delta=0):
    def data(b):
        return varint(-1) if b is None else varint(len(b)) + b

    body = b"\0" + varint(timestamp_delta) + varint(offset_delta) + data(key) + data(value) + varint(len(headers))
    body += b"".join(data(k.encode()) + data(v) for k, v in headers)
    return varint(len(body)) + body


BATCH_HEAD = ">qiibIhiqqqhii"


def batch(
    values,
    base_offset=0,
    leader_epoch=-1,
    magic=2,
    attributes=0,
    timestamp=1_700_000_000_000,
    producer_id=-1,
    epoch=-1,
    sequence=-1,
    count=None,
    last_delta=None,
    records=None,
    crc=None,
    length=None,
    timestamps=None,
):
    """A v2 record batch of values (bytes); every header field can be set to something wrong."""
    n = len(values)
    stamps = timestamps or [timestamp] * n
    if records is None:
        records = b"".join(
            (
                record(v, offset_delta=i, timestamp_delta=stamps[i] - stamps[0])
                if isinstance(v, bytes)
                else record(offset_delta=i, timestamp_delta=stamps[i] - stamps[0], **v)
            )
            for i, v in enumerate(values)
        )
        if attributes & 7 == 1:
            records = gzip.compress(records)
    after_crc = (
        struct.pack(
            ">hiqqqhii",
            attributes,
            n - 1 if last_delta is None else last_delta,
            stamps[0] if stamps else timestamp,
            max(stamps) if stamps else timestamp,
            producer_id,
            epoch,
            sequence,
            n if count is None else count,
        )
        + records
    )
    crc = crc32c(after_crc) if crc is None else crc
    size = 9 + len(after_crc) if length is None else length
    return struct.pack(">qiibI", base_offset, size, leader_epoch, magic, crc) + after_crc


def batches(data):
    """The whole batches in a fetch's records, as dictionaries; a torn one at the end is reported as 'torn'."""
    out, at = [], 0
    while at < len(data):
        if at + 12 > len(data):
            out.append({"torn": True})
            break
        base, size = struct.unpack_from(">qi", data, at)
        if at + 12 + size > len(data):
            out.append({"torn": True})
            break
        head = struct.unpack_from(BATCH_HEAD, data, at)
        body = data[at + 61 : at + 12 + size]
        attributes = head[5]
        names = (
            "base_offset",
            "length",
            "leader_epoch",
            "magic",
            "crc",
            "attributes",
            "last_offset_delta",
            "base_timestamp",
            "max_timestamp",
            "producer_id",
            "producer_epoch",
            "base_sequence",
            "count",
        )
        b = dict(zip(names, head))
        b["crc_ok"] = crc32c(data[at + 21 : at + 12 + size]) == b["crc"]
        if attributes & 7 in (0, 1):
            r = Reader(gzip.decompress(body) if attributes & 7 == 1 else body)
            b["records"] = []
            for _ in range(b["count"]):
                inner = Reader(r.take(r.varint()))
                inner.take(1)
                stamp, offset = inner.varint(), inner.varint()
                key = None if (n := inner.varint()) < 0 else inner.take(n)
                value = None if (n := inner.varint()) < 0 else inner.take(n)
                headers = [
                    (inner.take(inner.varint()).decode(), None if (n := inner.varint()) < 0 else inner.take(n))
                    for _ in range(inner.varint())
                ]
                b["records"].append(
                    {
                        "offset": base + offset,
                        "timestamp": b["base_timestamp"] + stamp,
                        "key": key,
                        "value": value,
                        "headers": headers,
                    }
                )
        out.append(b)
        at += 12 + size
    return out


if __name__ == "__main__":
    if sys.argv[1:2] != ["extract"] or len(sys.argv) != 3:
        sys.exit(__doc__)
    print(
        "{\n"
        + ",\n".join(f'"{k}": ' + json.dumps(a, separators=(",", ":")) for k, a in extract(sys.argv[2]).items())
        + "\n}"
    )
