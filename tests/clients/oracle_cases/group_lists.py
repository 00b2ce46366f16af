"""DescribeGroups, ListGroups, DeleteGroups."""

from oracle_cases.asker import PREFIX, case
from oracle_cases.group_offsets import commit
from oracle_cases.grouping import Classic, Consumer, Names, group_of, settled, versions


def kinds(a, names):
    """A group of each kind; their names by kind, and the members of those that have some."""
    topic = a.topic("t", 2)
    groups = {k: group_of(a, k) for k in ("stable", "joining", "empty", "offsets", "connect", "consumer", "left")}
    stable = Classic(a, names, groups["stable"], "s").lead()
    joining = Classic(a, names, groups["joining"], "j")
    joining.enter()
    empty = Classic(a, names, groups["empty"], "e").lead()
    a.call("LeaveGroup", 5, group_id=groups["empty"], members=[{"member_id": empty.id}])
    commit(a, groups["offsets"], {topic: {0: 1}})
    connect = Classic(a, names, groups["connect"], "c")
    connect.enter(protocol_type="connect")
    consumer = Consumer(a, names, groups["consumer"], "k")
    consumer.join([topic])
    settled([consumer], 2)
    left = Consumer(a, names, groups["left"], "l")
    left.join([topic])
    settled([left], 2)
    left.beat(member_epoch=-1)
    return groups, {"stable": stable, "consumer": consumer}


@case
def describe_groups(a):
    names = Names(a)
    groups, _ = kinds(a, names)
    out = {}
    for v in versions("DescribeGroups"):
        ask = lambda *of, **f: names.tidy(a.attempt("DescribeGroups", v, groups=list(of), **f))
        out[f"v{v}"] = {k: ask(g) for k, g in groups.items()}
        out[f"v{v}"] |= {"unknown": ask(PREFIX + "none"), "no name": ask(""), "none": ask(), "two": ask(groups["stable"], PREFIX + "none")}
        out[f"v{v}"]["one twice"] = ask(groups["empty"], groups["empty"])
        if v >= 3:
            out[f"v{v}"]["operations"] = ask(groups["stable"], PREFIX + "none", include_authorized_operations=True)
    return out


@case
def list_groups(a):
    names = Names(a)
    groups, _ = kinds(a, names)

    def ask(version, **filters):
        answer = a.attempt("ListGroups", version, **filters)
        if not isinstance(answer, str):
            answer["groups"] = [g for g in answer["groups"] if g["group_id"] in groups.values()]
        return names.tidy(answer)

    out = {f"v{v}": ask(v) for v in versions("ListGroups")}
    for states in (["Stable"], ["stable", "EMPTY"], ["Nonsense"], ["CompletingRebalance"], ["Empty", "Nonsense"], [""]):
        out[f"states {states}"] = ask(5, states_filter=states)
        out[f"v4 states {states}"] = ask(4, states_filter=states)
    for types in (["consumer"], ["Classic"], ["share"], ["streams"], ["classic", "consumer"], ["nonsense"], [""]):
        out[f"types {types}"] = ask(5, types_filter=types)
    out["stable consumers"] = ask(5, states_filter=["Stable"], types_filter=["consumer"])
    return out


@case
def delete_groups(a):
    names = Names(a)
    groups, members = kinds(a, names)
    ask = lambda *of, version=2: names.tidy(a.attempt("DeleteGroups", version, groups_names=list(of)))
    out = {f"v{v}": ask(PREFIX + "none", version=v) for v in versions("DeleteGroups")}
    out |= {k: [ask(g), ask(g)] for k, g in groups.items()}
    commit(a, "", {a.topic("n"): {0: 1}})
    out |= {"none": ask(), "no name": ask(""), "twice": ask(PREFIX + "a", PREFIX + "a")}
    out["members"] = [members["stable"].beat(), members["consumer"].own()["error_code"]]
    one, two = group_of(a, "d1"), group_of(a, "d2")
    topic = a.topic("t")
    for g in (one, two):
        commit(a, g, {topic: {0: 1}})
    out["several"] = ask(one, PREFIX + "none", two, groups["stable"])
    out["offsets then"] = a.call("OffsetFetch", 7, group_id=one, topics=None)
    return out
