"""A broker process that the lab starts, stops, kills and watches: from a command line with DIR and PORT in it."""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time


def free_port():
    """A port that is free, with the next two hundred above it likely free too (endpoints per core, Kafka's controller)."""
    for port in range(21000 + os.getpid() % 300 * 30, 32000, 250):
        try:
            for p in (*range(port, port + 20), port + 100):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", p))
            return port
        except OSError:
            continue
    raise RuntimeError("no free port")


class Broker:
    def __init__(self, command, directory=None, port=None):
        self.command, self.keep = command, directory
        self.directory = directory or tempfile.mkdtemp(prefix="corelog-lab-")
        self.data = os.path.join(self.directory, "data")
        os.makedirs(self.directory, exist_ok=True)
        self.port = port or free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.log = os.path.join(self.directory, "broker.log")
        self.process = None

    def start(self):
        line = [w.replace("DIR", self.data).replace("PORT", str(self.port)) for w in shlex.split(self.command)]
        with open(self.log, "a") as log:
            print(f"--- {' '.join(line)}", file=log, flush=True)
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 40
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(f"the broker ended with {self.process.returncode}: {self.tail()}") from None
                if time.monotonic() > end:
                    self.kill()
                    raise RuntimeError(f"nothing listens on {self.port} after 40 s: {self.tail()}") from None
                time.sleep(0.02)

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def tail(self, size=1500):
        with open(self.log, "rb") as f:
            f.seek(max(0, os.path.getsize(self.log) - size))
            return f.read().decode(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=60):
        """SIGTERM; its exit code, or None if it had to be killed."""
        if not self.alive():
            return self.process.returncode if self.process else None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def clean(self):
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)
