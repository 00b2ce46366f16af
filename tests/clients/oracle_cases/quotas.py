"""Client quotas (KIP-546): what may be set, and what is found."""

import math

from oracle_cases.asker import PREFIX, case

USER, CLIENT = PREFIX + "user", PREFIX + "client"


def entity(**names):
    kinds = {"user": "user", "client": "client-id", "ip": "ip"}
    return [{"entity_type": kinds.get(k, k), "entity_name": v} for k, v in names.items()]


def ordered(entries):
    for entry in entries:
        entry["entity"].sort(key=lambda part: part["entity_type"])
    return sorted(entries, key=lambda entry: [(p["entity_type"], p["entity_name"] or "") for p in entry["entity"]])


def alter(a, target, *ops, version=1, validate_only=False):
    ops = [
        {"key": k, "value": 0.0 if v is None else float(v), "remove": v is None} for k, v in (op for op in ops)
    ]
    answer = a.attempt(
        "AlterClientQuotas", version, entries=[{"entity": target, "ops": ops}], validate_only=validate_only
    )
    return answer if isinstance(answer, str) else ordered(answer["entries"])


def describe(a, *components, strict=False, version=1):
    components = [
        {"entity_type": kind, "match_type": {"exact": 0, "default": 1, "any": 2}.get(how, how), "match": match}
        for kind, how, match in components
    ]
    answer = a.attempt("DescribeClientQuotas", version, components=components, strict=strict)
    if isinstance(answer, str) or answer["entries"] is None:
        return answer
    found = []
    for entry in answer["entries"]:
        names = sorted((e["entity_type"], e["entity_name"] or "<default>") for e in entry["entity"])
        if all(name == "<default>" or name.startswith(PREFIX) or name == "127.0.0.9" for _, name in names):
            found.append([names, sorted([v["key"], v["value"]] for v in entry["values"])])
    return {"error_code": answer["error_code"], "found": sorted(found)}


SETS = [
    (dict(user=USER), ("producer_byte_rate", 1000)),
    (dict(client=CLIENT), ("consumer_byte_rate", 2000)),
    (dict(user=USER, client=CLIENT), ("request_percentage", 50.5)),
    (dict(user=None), ("producer_byte_rate", 3e9)),
    (dict(client=None), ("controller_mutation_rate", 10)),
    (dict(user=USER, client=None), ("producer_byte_rate", 5)),
    (dict(user=None, client=CLIENT), ("producer_byte_rate", 6)),
    (dict(user=None, client=None), ("producer_byte_rate", 7)),
]


def undo(a):
    for target, (key, _) in SETS:
        alter(a, entity(**target), (key, None))
    for key in ("producer_byte_rate", "consumer_byte_rate"):
        alter(a, entity(client=CLIENT), (key, None))


@case
def client_quotas_are_set_and_found(a):
    out = {}
    try:
        out["set"] = [alter(a, entity(**target), op) for target, op in SETS]
        out["found"] = {
            "all": describe(a),
            "all v0": describe(a, version=0),
            "none but these, strictly": describe(a, strict=True),
            "user": describe(a, ("user", "exact", USER)),
            "user, strictly": describe(a, ("user", "exact", USER), strict=True),
            "client": describe(a, ("client-id", "exact", CLIENT)),
            "client, strictly": describe(a, ("client-id", "exact", CLIENT), strict=True),
            "both": describe(a, ("user", "exact", USER), ("client-id", "exact", CLIENT)),
            "both, strictly": describe(a, ("client-id", "exact", CLIENT), ("user", "exact", USER), strict=True),
            "default user": describe(a, ("user", "default", None)),
            "default user, strictly": describe(a, ("user", "default", None), strict=True),
            "any user": describe(a, ("user", "any", None)),
            "any user, strictly": describe(a, ("user", "any", None), strict=True),
            "any of both": describe(a, ("user", "any", None), ("client-id", "any", None)),
            "default of both": describe(a, ("user", "default", None), ("client-id", "default", None)),
            "default and any": describe(a, ("user", "default", None), ("client-id", "any", None)),
            "unknown user": describe(a, ("user", "exact", PREFIX + "none")),
            "any address": describe(a, ("ip", "any", None)),
        }
        out["change"] = [
            alter(a, entity(client=CLIENT), ("producer_byte_rate", 9), ("consumer_byte_rate", None)),
            describe(a, ("client-id", "exact", CLIENT), strict=True),
        ]
        out["validate only"] = [
            alter(a, entity(client=CLIENT), ("producer_byte_rate", 77), validate_only=True),
            describe(a, ("client-id", "exact", CLIENT), strict=True),
        ]
        out["remove what is not set"] = alter(a, entity(client=CLIENT), ("request_percentage", None))
        out["no changes"] = alter(a, entity(client=CLIENT))
    finally:
        undo(a)
    out["all gone"] = describe(a)
    return out


@case
def client_quotas_that_are_wrong(a):
    try:
        return {
            "no entity": alter(a, [], ("producer_byte_rate", 1)),
            "unknown kind": alter(a, entity(group="x"), ("producer_byte_rate", 1)),
            "empty kind": alter(a, [{"entity_type": "", "entity_name": "x"}], ("producer_byte_rate", 1)),
            "empty name": alter(a, entity(client=""), ("producer_byte_rate", 1)),
            "empty user": alter(a, entity(user=""), ("producer_byte_rate", 1)),
            "kind twice": alter(a, entity(user="a") + entity(user="b"), ("producer_byte_rate", 1)),
            "unknown key": alter(a, entity(client=CLIENT), ("no_such", 1)),
            "unknown key, removed": alter(a, entity(client=CLIENT), ("no_such", None)),
            "key of addresses": alter(a, entity(client=CLIENT), ("connection_creation_rate", 1)),
            "zero": alter(a, entity(client=CLIENT), ("producer_byte_rate", 0)),
            "negative": alter(a, entity(client=CLIENT), ("producer_byte_rate", -1)),
            "not a number": alter(a, entity(client=CLIENT), ("request_percentage", math.nan)),
            "infinite": alter(a, entity(client=CLIENT), ("request_percentage", math.inf)),
            "infinite bytes": alter(a, entity(client=CLIENT), ("producer_byte_rate", math.inf)),
            "a fraction of a byte": alter(a, entity(client=CLIENT), ("producer_byte_rate", 1.5)),
            "nearly a whole number": alter(a, entity(client=CLIENT), ("producer_byte_rate", 1.0000001)),
            "more than 2^63 bytes": alter(a, entity(client=CLIENT), ("producer_byte_rate", 1e19)),
            "mutations, a fraction": alter(a, entity(client=CLIENT), ("controller_mutation_rate", 0.1)),
            "address and user": alter(a, entity(ip="127.0.0.9", user="x"), ("connection_creation_rate", 1)),
            "address, not one": alter(a, entity(ip="not an address"), ("connection_creation_rate", 1)),
            "address, another key": alter(a, entity(ip="127.0.0.9"), ("producer_byte_rate", 1)),
            "a key twice": alter(a, entity(client=CLIENT), ("producer_byte_rate", 1), ("producer_byte_rate", 2)),
            "kept of a key twice": describe(a, ("client-id", "exact", CLIENT), strict=True),
            "an entity twice": a.attempt(
                "AlterClientQuotas",
                1,
                entries=[
                    {
                        "entity": entity(client=CLIENT),
                        "ops": [{"key": "producer_byte_rate", "value": v, "remove": False}],
                    }
                    for v in (3.0, 4.0)
                ],
                validate_only=False,
            ),
            "none": a.attempt("AlterClientQuotas", 1, entries=[], validate_only=False),
            "one good, one bad": ordered(
                a.call(
                    "AlterClientQuotas",
                    0,
                    entries=[
                        {"entity": entity(client=name), "ops": [{"key": key, "value": 8.0, "remove": False}]}
                        for name, key in ((CLIENT, "producer_byte_rate"), (CLIENT + "2", "no_such"))
                    ],
                    validate_only=False,
                )["entries"]
            ),
            "kept of them": describe(a, ("client-id", "exact", CLIENT), strict=True),
        }
    finally:
        for key in ("producer_byte_rate", "request_percentage", "controller_mutation_rate", "consumer_byte_rate"):
            alter(a, entity(client=CLIENT), (key, None))


@case
def client_quotas_asked_for_wrongly(a):
    return {
        "unknown kind": describe(a, ("group", "exact", "x")),
        "empty kind": describe(a, ("", "exact", "x")),
        "kind twice": describe(a, ("user", "exact", "a"), ("user", "exact", "b")),
        "how 3": describe(a, ("user", 3, "a")),
        "how -1": describe(a, ("user", -1, "a")),
        "exactly nothing": describe(a, ("user", "exact", None)),
        "default with a name": describe(a, ("user", "default", "a")),
        "any with a name": describe(a, ("user", "any", "a")),
        "address and user": describe(a, ("ip", "any", None), ("user", "any", None)),
        "empty name": describe(a, ("user", "exact", "")),
    }
