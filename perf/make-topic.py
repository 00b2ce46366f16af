#!/usr/bin/env python3
"""Makes a topic by asking for its metadata: make-topic.py HOST:PORT NAME. Standard library only."""
import socket
import struct
import sys
import time

host, port = sys.argv[1].rsplit(":", 1)
name = sys.argv[2].encode()
for _ in range(50):
    with socket.create_connection((host, int(port)), timeout=5) as peer:
        # Metadata v4: one topic, to be made if it is missing.
        body = struct.pack(">hhih", 3, 4, 1, -1) + struct.pack(">ih", 1, len(name)) + name + b"\1"
        peer.sendall(struct.pack(">i", len(body)) + body)
        answer = b""
        while len(answer) < 4 or len(answer) < 4 + struct.unpack(">i", answer[:4])[0]:
            piece = peer.recv(65536)
            if not piece:
                sys.exit("the broker closed the connection")
            answer += piece
        at = answer.rfind(struct.pack(">h", len(name)) + name)
        if struct.unpack(">h", answer[at - 2 : at])[0] == 0:
            sys.exit(0)
    time.sleep(0.1)
sys.exit("the topic was not made")
