"""DescribeCluster, DescribeTopicPartitions, DescribeLogDirs."""

import json

from oracle_cases.asker import PREFIX, case, three_batches


@case
def describe_cluster(a):
    ask = lambda version, **more: (lambda r: r if isinstance(r, str) else {**r, "brokers": bool(r["brokers"])})(
        a.attempt("DescribeCluster", version, **more)
    )
    return {
        "v0": ask(0),
        "v1": ask(1),
        "v2": ask(2),
        "operations": ask(0, include_cluster_authorized_operations=True),
        "controllers": ask(1, endpoint_type=2),
        "endpoint 9": ask(1, endpoint_type=9),
        "fenced too": ask(2, include_fenced_brokers=True),
    }


@case
def describe_topic_partitions(a):
    names = sorted([a.topic("q1", 3), a.topic("q2", 2)])

    def ask(topics, limit=2000, cursor=None):
        answer = a.attempt(
            "DescribeTopicPartitions",
            0,
            topics=[{"name": n} for n in topics],
            response_partition_limit=limit,
            cursor=cursor,
        )
        if isinstance(answer, str):
            return answer
        for t in answer["topics"]:
            t["partitions"] = [p["partition_index"] for p in t["partitions"]]
        return answer

    return {
        "shape": a.call("DescribeTopicPartitions", 0, topics=[{"name": names[1]}]),
        "both": ask(names),
        "other order": ask(names[::-1]),
        "limit 2": ask(names, 2),
        "limit 3": ask(names, 3),
        "limit 4": ask(names, 4),
        "limit 0": ask(names, 0),
        "limit -1": ask(names, -1),
        "cursor": ask(names, 2, {"topic_name": names[0], "partition_index": 2}),
        "cursor at the second": ask(names, 2000, {"topic_name": names[1], "partition_index": 0}),
        "cursor beyond": ask(names, 2000, {"topic_name": names[0], "partition_index": 9}),
        "negative cursor": ask(names, 2000, {"topic_name": names[0], "partition_index": -1}),
        "cursor before all": ask(names, 2000, {"topic_name": PREFIX[:-1], "partition_index": 0}),
        "unknown": ask([PREFIX + "none", names[0]]),
        "bad name": ask(["a/b"]),
        "twice": ask([names[0], names[0]]),
    }


@case
def describe_log_dirs(a):
    topic = three_batches(a, 2)

    def ask(version, topics):
        answer = a.call("DescribeLogDirs", version, topics=topics)
        for r in answer["results"]:
            r["log_dir"] = "<dir>"
            r["topics"] = [t for t in r["topics"] if t["name"] == topic]
            for t in r["topics"]:
                t["partitions"].sort(key=lambda p: p["partition_index"])
            for k in ("total_bytes", "usable_bytes"):
                if k in r:
                    r[k] = r[k] > 0
        merged = {
            json.dumps({k: v for k, v in r.items() if k != "topics"}, sort_keys=True): None for r in answer["results"]
        }
        return {
            **answer,
            "results": [json.loads(m) for m in merged],
            "topics": [t for r in answer["results"] for t in r["topics"]],
        }

    return {
        "one": ask(4, [{"topic": topic, "partitions": [0]}]),
        "both, v1": ask(1, [{"topic": topic, "partitions": [0, 1]}]),
        "all": ask(4, None),
        "unknown partition": ask(4, [{"topic": topic, "partitions": [9]}]),
        "unknown topic": ask(4, [{"topic": PREFIX + "none", "partitions": [0]}]),
        "none": ask(4, []),
        "v5": ask(5, [{"topic": topic, "partitions": [0]}]),
    }
