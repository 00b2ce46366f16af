"""What tools ask a cluster beside topics and configs: elections, reassignments, directories, producers, transactions,
credentials, access control, tokens, features, the quorum."""

import time
import uuid

from kafka_wire import batch

from oracle_cases.asker import PREFIX, case

NONE = PREFIX + "none"
DIRECTORY = uuid.UUID("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")


def brokers(a):
    return [b["node_id"] for b in a.call("Metadata", 12, topics=[])["brokers"]]


def led_by(a, topic):
    partitions = a.call("Metadata", 12, topics=[{"name": topic}])["topics"][0]["partitions"]
    return {p["partition_index"]: p["leader_id"] for p in partitions}


def by(key, entries):
    return {e[key]: {k: v for k, v in e.items() if k != key} for e in entries}


@case
def elect_leaders(a):
    topic = a.topic("el", 2)

    def ask(partitions, kind=0, version=2):
        kind = {} if version == 0 else {"election_type": kind}
        answer = a.attempt("ElectLeaders", version, topic_partitions=partitions, timeout_ms=5000, **kind)
        if isinstance(answer, str):
            return answer
        results = [[r["topic"], by("partition_id", r["partition_result"])] for r in answer["replica_election_results"]]
        return {"error_code": answer.get("error_code"), "results": results}

    one = lambda name, *partitions: [{"topic": name, "partitions": list(partitions)}]
    return {
        "preferred": ask(one(topic, 0, 1)),
        "unclean": ask(one(topic, 0), 1),
        "kind 2": ask(one(topic, 0), 2),
        "kind -1": ask(one(topic, 0), -1),
        "v0": ask(one(topic, 0), 0, 0),
        "v1": ask(one(topic, 1), 0, 1),
        "no such partition": ask(one(topic, 0, 2, -1)),
        "no such topic": ask(one(NONE, 0)),
        "empty name": ask(one("", 0)),
        "one twice": ask(one(topic, 0, 0)),
        "a topic twice": ask(one(topic, 0) + one(topic, 1)),
        "no partitions": ask(one(topic)),
        "none": ask([]),
        "all": [r for r in ask(None)["results"] if r[1]],
        "all, unclean": [r for r in ask(None, 1)["results"] if r[1]],
    }


@case
def alter_partition_reassignments(a):
    topic = a.topic("re", 2)
    leaders = led_by(a, topic)

    def ask(topics, version=1, **more):
        answer = a.attempt("AlterPartitionReassignments", version, timeout_ms=5000, topics=topics, **more)
        if isinstance(answer, str):
            return answer
        topics = [[t["name"], by("partition_index", t["partitions"])] for t in answer["responses"]]
        change = answer.get("allow_replication_factor_change")
        return {"error_code": answer["error_code"], "change": change, "topics": topics}

    one = lambda name, *partitions: [
        {"name": name, "partitions": [{"partition_index": i, "replicas": r} for i, r in partitions]}
    ]
    return {
        "where it is": ask(one(topic, (0, [leaders[0]]))),
        "v0": ask(one(topic, (1, [leaders[1]])), 0),
        "cancel": ask(one(topic, (0, None))),
        "an unknown broker": ask(one(topic, (0, [999999]))),
        "unknown, negative": ask(one(topic, (0, [-1]))),
        "empty": ask(one(topic, (0, []))),
        "a broker twice": ask(one(topic, (0, [leaders[0], leaders[0]]))),
        "too many": ask(one(topic, (0, [leaders[0], 999999]))),
        "other factor not allowed": ask(one(topic, (0, [leaders[0], 999999])), allow_replication_factor_change=False),
        "no such partition": ask(one(topic, (2, [leaders[0]]), (-1, [leaders[0]]), (0, [leaders[0]]))),
        "no such partition, cancel": ask(one(topic, (2, None))),
        "no such topic": ask(one(NONE, (0, [leaders[0]]))),
        "no such topic, cancel": ask(one(NONE, (0, None))),
        "empty name": ask(one("", (0, [leaders[0]]))),
        "no partitions": ask(one(topic)),
        "none": ask([]),
        "one twice": ask(one(topic, (0, [leaders[0]]), (0, None))),
        "the topic twice": ask(one(topic, (0, [leaders[0]])) + one(topic, (1, [leaders[1]]))),
    }


@case
def list_partition_reassignments(a):
    topic = a.topic("re", 2)
    ask = lambda topics: a.attempt("ListPartitionReassignments", 0, timeout_ms=5000, topics=topics)
    return {
        "all": ask(None),
        "one": ask([{"name": topic, "partition_indexes": [0, 1]}]),
        "unknown": ask([{"name": NONE, "partition_indexes": [0]}, {"name": topic, "partition_indexes": [7, -1]}]),
        "none": ask([]),
    }


@case
def alter_replica_log_dirs(a):
    topic = a.topic("dir", 2)
    described = a.call("DescribeLogDirs", 4, topics=[{"topic": topic, "partitions": [0]}])["results"]
    own = described[0]["log_dir"]

    def ask(path, *topics, version=2):
        topics = [{"name": t, "partitions": list(p)} for t, p in topics]
        answer = a.attempt("AlterReplicaLogDirs", version, dirs=[{"path": path, "topics": topics}])
        if isinstance(answer, str):
            return answer
        return [[r["topic_name"], by("partition_index", r["partitions"])] for r in answer["results"]]

    return {
        "its own": ask(own, (topic, [0, 1])),
        "v1": ask(own, (topic, [0]), version=1),
        "another": ask("/tmp/elsewhere", (topic, [0, 1])),
        "relative": ask("elsewhere", (topic, [0])),
        "empty path": ask("", (topic, [0])),
        "its own, no such topic": ask(own, (NONE, [0])),
        "another, no such topic": ask("/tmp/elsewhere", (NONE, [0])),
        "its own, no such partition": ask(own, (topic, [7, -1])),
        "another, no such partition": ask("/tmp/elsewhere", (topic, [7])),
        "no partitions": ask(own, (topic, [])),
        "no topics": ask(own),
        "no directories": a.attempt("AlterReplicaLogDirs", 2, dirs=[]),
    }


@case
def describe_producers(a):
    topic = a.topic("dp", 2)
    a.produce(topic, batch([b"x"]), 1)
    first, second = a.producer(), a.producer()
    a.produce(topic, batch([b"a", b"b"], producer_id=first, epoch=0, sequence=0, timestamp=1_700_000_000_000))
    a.produce(topic, batch([b"c"], producer_id=second, epoch=3, sequence=0, timestamp=1_700_000_001_000))
    a.produce(topic, batch([b"d"], producer_id=first, epoch=0, sequence=2, timestamp=1_700_000_002_000))

    def ask(*topics):
        topics = [{"name": t, "partition_indexes": list(p)} for t, p in topics]
        answer = a.attempt("DescribeProducers", 0, topics=topics)
        if isinstance(answer, str):
            return answer
        for t in answer["topics"]:
            for p in t["partitions"]:
                p["active_producers"].sort(key=lambda state: state["producer_id"])
                for state in p["active_producers"]:
                    state["producer_id"] = {first: "<first>", second: "<second>"}.get(state["producer_id"], "?")
        return [[t["name"], by("partition_index", t["partitions"])] for t in answer["topics"]]

    return {
        "both": ask((topic, [0, 1])),
        "no such partition": ask((topic, [2, -1])),
        "no such topic": ask((NONE, [0])),
        "bad name": ask(("a/b", [0])),
        "empty name": ask(("", [0])),
        "one twice": ask((topic, [1, 1])),
        "a topic twice": ask((topic, [1]), (topic, [1])),
        "no partitions": ask((topic, [])),
        "none": ask(),
    }


@case
def transactions_when_there_are_none(a):
    # Kafka makes the topic of its coordinators when one is looked for, and is one only then.
    for _ in range(100):
        found = a.attempt("FindCoordinator", 4, key_type=1, coordinator_keys=[NONE])
        known = a.attempt("DescribeTransactions", 0, transactional_ids=[NONE])["transaction_states"][0]
        if isinstance(found, str) or known["error_code"] not in (14, 15, 16):
            break
        time.sleep(0.1)
    describe = lambda *ids: a.attempt("DescribeTransactions", 0, transactional_ids=list(ids))

    def listed(version=2, **fields):
        answer = a.attempt("ListTransactions", version, **fields)
        own = [t for t in answer["transaction_states"] if t["transactional_id"].startswith(PREFIX)]
        return {**answer, "transaction_states": own}

    unknown = describe(NONE)
    return {
        "describe": unknown,
        "describe, two": describe(NONE + "1", NONE + "2"),
        "describe, one twice": describe(NONE, NONE),
        "describe, empty": describe(""),
        "describe, none": describe(),
        "list": listed(),
        "list v0": listed(0),
        "list v1": listed(1, duration_filter=5),
        "list, states": listed(state_filters=["Ongoing", "Empty"]),
        "list, unknown states": listed(state_filters=["Ongoing", "no such", "ongoing", ""]),
        "list, producers": listed(producer_id_filters=[5, -1]),
        "list, duration -2": listed(duration_filter=-2),
        "list, pattern": listed(transactional_id_pattern="a.*"),
        "list, bad pattern": listed(transactional_id_pattern="(["),
        "list, empty pattern": listed(transactional_id_pattern=""),
    }


@case
def scram_credentials(a):
    def describe(users):
        answer = a.attempt("DescribeUserScramCredentials", 0, users=users)
        results = [r for r in answer["results"] if r["user"].startswith(PREFIX) or not r["user"]]
        return {**answer, "results": sorted(results, key=lambda r: r["user"])}

    def alter(up=(), down=()):
        answer = a.attempt("AlterUserScramCredentials", 0, upsertions=list(up), deletions=list(down))
        return answer if isinstance(answer, str) else sorted(answer["results"], key=lambda r: r["user"])

    def upsertion(name, mechanism=1, iterations=4096, salt=b"salt", password=b"p" * 32):
        return {
            "name": name,
            "mechanism": mechanism,
            "iterations": iterations,
            "salt": salt,
            "salted_password": password,
        }

    deletion = lambda name, mechanism=1: {"name": name, "mechanism": mechanism}
    user = NONE + "-user"
    return {
        "describe all": describe(None),
        "describe none": describe([]),
        "describe one": describe([{"name": user}]),
        "describe two": describe([{"name": user}, {"name": user + "2"}]),
        "describe twice": describe([{"name": user}, {"name": user}]),
        "describe empty": describe([{"name": ""}]),
        "alter none": alter(),
        "delete": alter(down=[deletion(user)]),
        "delete, mechanism 0": alter(down=[deletion(user, 0)]),
        "delete, mechanism 9": alter(down=[deletion(user, 9)]),
        "delete, empty": alter(down=[deletion("")]),
        "few iterations": alter(up=[upsertion(user, iterations=4095)]),
        "many iterations": alter(up=[upsertion(user, iterations=16385)]),
        "mechanism 0": alter(up=[upsertion(user, 0)]),
        "mechanism 9": alter(up=[upsertion(user, 9)]),
        "empty name": alter(up=[upsertion("")]),
        "one twice": alter(up=[upsertion(user), upsertion(user)]),
        "both": alter(up=[upsertion(user)], down=[deletion(user)]),
    }


@case
def scram_credentials_that_could_be_kept(a):
    user = NONE + "-kept"
    up = {"name": user, "mechanism": 1, "iterations": 4096, "salt": b"salt", "salted_password": b"p" * 32}
    made = a.attempt("AlterUserScramCredentials", 0, upsertions=[up], deletions=[])
    a.attempt("AlterUserScramCredentials", 0, upsertions=[], deletions=[{"name": user, "mechanism": 1}])
    return made


@case
def access_control_without_an_authorizer(a):
    any_filter = {
        "resource_type_filter": 1,
        "resource_name_filter": None,
        "pattern_type_filter": 1,
        "principal_filter": None,
        "host_filter": None,
        "operation": 1,
        "permission_type": 1,
    }
    creation = {
        "resource_type": 2,
        "resource_name": "t",
        "resource_pattern_type": 3,
        "principal": "User:a",
        "host": "*",
        "operation": 3,
        "permission_type": 3,
    }
    describe = lambda version=3, **more: a.attempt("DescribeAcls", version, **{**any_filter, **more})
    create = lambda *creations, version=3: a.attempt("CreateAcls", version, creations=list(creations))
    delete = lambda *filters, version=3: a.attempt("DeleteAcls", version, filters=list(filters))
    return {
        "describe": describe(),
        "describe v1": describe(1),
        "describe, resource 0": describe(resource_type_filter=0),
        "describe, resource 99": describe(resource_type_filter=99),
        "describe, operation 99": describe(operation=99),
        "describe, pattern 99": describe(pattern_type_filter=99),
        "create": create(creation),
        "create v1": create(creation, version=1),
        "create two": create(creation, {**creation, "host": "x"}),
        "create none": create(),
        "create, resource 0": create({**creation, "resource_type": 0}),
        "create, resource 1": create({**creation, "resource_type": 1}),
        "create, principal without a type": create({**creation, "principal": "a"}),
        "create, operation 0": create({**creation, "operation": 0}),
        "delete": delete(any_filter),
        "delete v1": delete(any_filter, version=1),
        "delete two": delete(any_filter, any_filter),
        "delete none": delete(),
        "delete, operation 0": delete({**any_filter, "operation": 0}),
    }


@case
def delegation_tokens_that_are_disabled(a):
    def create(version=3, **more):
        return a.attempt("CreateDelegationToken", version, renewers=[], max_lifetime_ms=-1, **more)

    return {
        "create": create(),
        "create v1": create(1),
        "create for another": create(owner_principal_type="User", owner_principal_name="a"),
        "create, renewer": a.attempt(
            "CreateDelegationToken",
            3,
            renewers=[{"principal_type": "Group", "principal_name": "b"}],
            max_lifetime_ms=5,
        ),
        "renew": a.attempt("RenewDelegationToken", 2, hmac=b"abc", renew_period_ms=5),
        "renew v1": a.attempt("RenewDelegationToken", 1, hmac=b"", renew_period_ms=-5),
        "expire": a.attempt("ExpireDelegationToken", 2, hmac=b"abc", expiry_time_period_ms=-1),
        "expire v1": a.attempt("ExpireDelegationToken", 1, hmac=b"abc", expiry_time_period_ms=5),
        "describe": a.attempt("DescribeDelegationToken", 3, owners=None),
        "describe v1": a.attempt("DescribeDelegationToken", 1, owners=[]),
        "describe, owners": a.attempt(
            "DescribeDelegationToken", 3, owners=[{"principal_type": "User", "principal_name": "a"}]
        ),
    }


@case
def update_features(a):
    def ask(*updates, version=2, **more):
        return a.attempt("UpdateFeatures", version, timeout_ms=5000, feature_updates=list(updates), **more)

    def update(feature, level, kind=1):
        return {"feature": feature, "max_version_level": level, "upgrade_type": kind}

    old = {"feature": "no.such", "max_version_level": 1, "allow_downgrade": False}
    return {
        "none": ask(),
        "none v1": ask(version=1),
        "unknown": ask(update("no.such", 1)),
        "unknown v1": ask(update("no.such", 1), version=1),
        "unknown v0": ask(old, version=0),
        "unknown, validate only": ask(update("no.such", 1), validate_only=True),
        "unknown, kind 0": ask(update("no.such", 1, 0)),
        "unknown, kind 9": ask(update("no.such", 1, 9)),
        "unknown, level 0": ask(update("no.such", 0)),
        "unknown, remove": ask(update("no.such", 0, 2)),
        "unknown, level -1": ask(update("no.such", -1)),
        "empty name": ask(update("", 1)),
        "one twice": ask(update("no.such", 1), update("no.such", 2)),
        "groups, as they are": ask(update("group.version", 1)),
        "groups, as they are, v1": ask(update("group.version", 1), version=1),
        "groups, level 2": ask(update("group.version", 2)),
        "groups, level -1": ask(update("group.version", -1)),
        "groups, kind 0": ask(update("group.version", 1, 0)),
        "groups and unknown, v1": ask(update("group.version", 1), update("no.such", 1), version=1),
    }


@case
def describe_quorum(a):
    def ask(*topics, version=2):
        topics = [{"topic_name": t, "partitions": [{"partition_index": p} for p in ps]} for t, ps in topics]
        answer = a.attempt("DescribeQuorum", version, topics=topics)
        if isinstance(answer, str):
            return answer
        for t in answer["topics"]:
            for p in t["partitions"]:
                for key in ("leader_epoch", "high_watermark"):
                    p[key] = "some" if p[key] > 0 else p[key]
                for replica in p["current_voters"] + p["observers"]:
                    replica["replica_id"] = "<broker>" if replica["replica_id"] == p["leader_id"] else "?"
                    for key in ("log_end_offset", "last_fetch_timestamp", "last_caught_up_timestamp"):
                        if key in replica:
                            replica[key] = "some" if replica[key] > 0 else replica[key]
        for node in answer.get("nodes", []):
            node["listeners"] = len(node["listeners"])
        return answer

    return {
        "the metadata": ask(("__cluster_metadata", [0])),
        "v1": ask(("__cluster_metadata", [0]), version=1),
        "v0": ask(("__cluster_metadata", [0]), version=0),
        "partition 1": ask(("__cluster_metadata", [1])),
        "two partitions": ask(("__cluster_metadata", [0, 1])),
        "another topic": ask((NONE, [0])),
        "another topic v0": ask((NONE, [0]), version=0),
        "no partitions": ask(("__cluster_metadata", [])),
        "none": ask(),
    }


@case
def raft_voters(a):
    cluster = a.call("DescribeCluster", 0)["cluster_id"]
    listeners = [{"name": "CONTROLLER", "host": "127.0.0.1", "port": 1}]

    def add(version=0, **more):
        fields = {"cluster_id": cluster, "timeout_ms": 5000, "voter_id": 77, "listeners": listeners, **more}
        return a.attempt("AddRaftVoter", version, **fields)

    remove = lambda **more: a.attempt("RemoveRaftVoter", 0, **{"cluster_id": cluster, "voter_id": 77, **more})
    return {
        "add": add(),
        "add v1": add(1),
        "add, another cluster": add(cluster_id="other"),
        "add, no cluster": add(cluster_id=None),
        "add, no listeners": add(listeners=[]),
        "add, a whole voter": add(voter_directory_id=DIRECTORY),
        "add, negative": add(voter_id=-1, voter_directory_id=DIRECTORY),
        "remove, a whole voter": remove(voter_directory_id=DIRECTORY),
        "remove": remove(),
        "remove, another cluster": remove(cluster_id="other"),
        "remove, no cluster": remove(cluster_id=None),
    }


@case
def unregister_broker(a):
    ask = lambda number: a.attempt("UnregisterBroker", 0, broker_id=number)
    return {"unknown": ask(999999), "negative": ask(-1), "zero": ask(0)}


@case
def list_config_resources(a):
    topic = a.topic("res")

    def ask(version=1, *kinds):
        answer = a.attempt("ListConfigResources", version, **({"resource_types": list(kinds)} if version else {}))
        if isinstance(answer, str):
            return answer
        found = sorted(
            (r.get("resource_type", 16), "<broker>" if r["resource_name"] in ids else r["resource_name"])
            for r in answer["config_resources"]
            if r.get("resource_type") != 2 or r["resource_name"] == topic
        )
        return {"error_code": answer["error_code"], "found": sorted(set(found))}

    ids = {str(b) for b in brokers(a)}
    return {
        "all": ask(),
        "v0": ask(0),
        "topics": ask(1, 2),
        "brokers": ask(1, 4),
        "loggers": ask(1, 8),
        "metrics": ask(1, 16),
        "groups": ask(1, 32),
        "some": ask(1, 2, 4),
        "one twice": ask(1, 2, 2),
        "kind 0": ask(1, 0),
        "kind 99": ask(1, 99, 2),
    }
