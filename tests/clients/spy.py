#!/usr/bin/env python3
"""A proxy in front of a broker that notes which API versions clients send, and can hide APIs.

  spy.py PORT UPSTREAM [--hide groups,txn]

With --hide it drops these APIs from ApiVersions and closes connections that send them all the same: what a client
does with a broker that has none. Ends on SIGTERM or SIGINT and prints client, API, versions sent, and how often. The
upstream must advertise the proxy's port: kafka-reference.sh run with EXTRA=advertised.listeners=PLAINTEXT://127.0.0.1:PORT
"""

import asyncio
import collections
import signal
import struct
import sys

from kafka_wire import APIS, put_struct, response

GROUPS = {8, 9, 10, 11, 12, 13, 14, 15, 16, 42, 47, 68, 69, 76, 77, 78, 79, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92}
TXN = {24, 25, 26, 27, 28, 65, 66}
seen, refused = collections.Counter(), collections.Counter()


async def frame(reader):
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack(">I", head)[0])


async def serve(client_in, client_out, host, port, hidden):
    try:
        broker_in, broker_out = await asyncio.open_connection(host, port, limit=1 << 27)
    except OSError:
        client_out.close()
        return
    versions_asked = {}

    async def requests():
        while True:
            data = await frame(client_in)
            key, version, correlation, n = struct.unpack_from(">hhih", data, 4)
            client = data[14 : 14 + max(n, 0)].decode(errors="replace").split("-")[0]
            seen[client, key, version] += 1
            if key in hidden:
                refused[client, key, version] += 1
                return
            if key == 18:
                versions_asked[correlation] = version
            broker_out.write(data)
            await broker_out.drain()

    async def answers():
        while True:
            data = await frame(broker_in)
            correlation = struct.unpack_from(">i", data, 4)[0]
            if correlation in versions_asked:
                version = versions_asked.pop(correlation)
                try:
                    _, fields = response("ApiVersions", version, data[4:])
                except ValueError:
                    version = 0
                    _, fields = response("ApiVersions", 0, data[4:])
                fields["api_keys"] = [k for k in fields["api_keys"] if k["api_key"] not in hidden]
                body = struct.pack(">i", correlation) + put_struct(APIS[18].response, fields, version, version >= 3)
                data = struct.pack(">I", len(body)) + body
            client_out.write(data)
            await client_out.drain()

    tasks = [asyncio.ensure_future(requests()), asyncio.ensure_future(answers())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for t in tasks:
        t.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for w in (client_out, broker_out):
        w.close()


async def main():
    host, port = sys.argv[2].rsplit(":", 1)
    hide = sys.argv[4].split(",") if sys.argv[3:4] == ["--hide"] else []
    hidden = (GROUPS if "groups" in hide else set()) | (TXN if "txn" in hide else set())
    stop = asyncio.Event()
    for s in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(s, stop.set)
    server = await asyncio.start_server(
        lambda r, w: serve(r, w, host, port, hidden), "127.0.0.1", int(sys.argv[1]), limit=1 << 27
    )
    await stop.wait()
    server.close()
    rows = collections.defaultdict(dict)
    for (client, key, version), n in seen.items():
        rows[client, key][version] = n
    for (client, key), versions in sorted(rows.items()):
        name = APIS[key].name if key in APIS else f"key {key}"
        lost = sum(n for (c, k, _), n in refused.items() if (c, k) == (client, key))
        print(
            f"{client:16} {key:3} {name:28} "
            + " ".join(f"v{v}x{n}" for v, n in sorted(versions.items()))
            + (f"  refused {lost}" if lost else "")
        )


if __name__ == "__main__":
    asyncio.run(main())
