"""What a broker says of itself on its admin port, for scripts; docs/METRICS.md has the names."""

import urllib.request


def metrics(port):
    """The series of /metrics by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line and line[0] != "#")}


def total(series, name):
    """The sum of all series of a name; of `name{label="value"}`, of those with that label."""
    name, _, label = name.removesuffix("}").partition("{")
    return sum(value for key, value in series.items() if key.split("{")[0] == name and label in key)
