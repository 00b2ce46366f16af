"""What every case asks with: a fresh connection, a topic of its own, and short ways to the usual requests."""

import os
import random
import struct
import time
import uuid

from kafka_wire import Closed, Connection, Timeout, batch, batches

BOOTSTRAP = os.environ.get("BOOTSTRAP", "127.0.0.1:9092").split(",")[0]
RUN = f"{random.randrange(1 << 32):08x}"
PREFIX = f"orc-{RUN}-"
ZERO = uuid.UUID(int=0)
UNKNOWN_ID = uuid.UUID("11111111-2222-3333-4444-555555555555")
# What corelog has; the others are compared once it has them too.
CORE = {0, 1, 2, 3, 18, 19, 20, 21, 22, 23, 29, 30, 31, 32, 33, 34, 35, 37, 38, 39, 40, 41, 43, 44, 45, 46, 48, 49, 50, 51}
CORE |= {55, 57, 60, 61, 64, 65, 66, 74, 75, 80, 81}
ERRORS = dict(
    enumerate(
        """NONE OFFSET_OUT_OF_RANGE CORRUPT_MESSAGE UNKNOWN_TOPIC_OR_PARTITION INVALID_FETCH_SIZE LEADER_NOT_AVAILABLE
    NOT_LEADER_OR_FOLLOWER REQUEST_TIMED_OUT BROKER_NOT_AVAILABLE REPLICA_NOT_AVAILABLE MESSAGE_TOO_LARGE STALE_CONTROLLER_EPOCH
    OFFSET_METADATA_TOO_LARGE NETWORK_EXCEPTION COORDINATOR_LOAD_IN_PROGRESS COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR
    INVALID_TOPIC_EXCEPTION RECORD_LIST_TOO_LARGE NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND INVALID_REQUIRED_ACKS
    ILLEGAL_GENERATION INCONSISTENT_GROUP_PROTOCOL INVALID_GROUP_ID UNKNOWN_MEMBER_ID INVALID_SESSION_TIMEOUT
    REBALANCE_IN_PROGRESS INVALID_COMMIT_OFFSET_SIZE TOPIC_AUTHORIZATION_FAILED GROUP_AUTHORIZATION_FAILED
    CLUSTER_AUTHORIZATION_FAILED INVALID_TIMESTAMP UNSUPPORTED_SASL_MECHANISM ILLEGAL_SASL_STATE UNSUPPORTED_VERSION
    TOPIC_ALREADY_EXISTS INVALID_PARTITIONS INVALID_REPLICATION_FACTOR INVALID_REPLICA_ASSIGNMENT INVALID_CONFIG NOT_CONTROLLER
    INVALID_REQUEST UNSUPPORTED_FOR_MESSAGE_FORMAT POLICY_VIOLATION OUT_OF_ORDER_SEQUENCE_NUMBER DUPLICATE_SEQUENCE_NUMBER
    INVALID_PRODUCER_EPOCH INVALID_TXN_STATE INVALID_PRODUCER_ID_MAPPING INVALID_TRANSACTION_TIMEOUT CONCURRENT_TRANSACTIONS
    TRANSACTION_COORDINATOR_FENCED TRANSACTIONAL_ID_AUTHORIZATION_FAILED SECURITY_DISABLED OPERATION_NOT_ATTEMPTED
    KAFKA_STORAGE_ERROR LOG_DIR_NOT_FOUND SASL_AUTHENTICATION_FAILED UNKNOWN_PRODUCER_ID REASSIGNMENT_IN_PROGRESS
    DELEGATION_TOKEN_AUTH_DISABLED DELEGATION_TOKEN_NOT_FOUND DELEGATION_TOKEN_OWNER_MISMATCH
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED DELEGATION_TOKEN_AUTHORIZATION_FAILED DELEGATION_TOKEN_EXPIRED
    INVALID_PRINCIPAL_TYPE NON_EMPTY_GROUP GROUP_ID_NOT_FOUND FETCH_SESSION_ID_NOT_FOUND INVALID_FETCH_SESSION_EPOCH
    LISTENER_NOT_FOUND TOPIC_DELETION_DISABLED FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH UNSUPPORTED_COMPRESSION_TYPE
    STALE_BROKER_EPOCH OFFSET_NOT_AVAILABLE MEMBER_ID_REQUIRED PREFERRED_LEADER_NOT_AVAILABLE GROUP_MAX_SIZE_REACHED
    FENCED_INSTANCE_ID ELIGIBLE_LEADERS_NOT_AVAILABLE ELECTION_NOT_NEEDED NO_REASSIGNMENT_IN_PROGRESS
    GROUP_SUBSCRIBED_TO_TOPIC INVALID_RECORD UNSTABLE_OFFSET_COMMIT THROTTLING_QUOTA_EXCEEDED PRODUCER_FENCED
    RESOURCE_NOT_FOUND DUPLICATE_RESOURCE UNACCEPTABLE_CREDENTIAL INCONSISTENT_VOTER_SET INVALID_UPDATE_VERSION
    FEATURE_UPDATE_FAILED PRINCIPAL_DESERIALIZATION_FAILURE SNAPSHOT_NOT_FOUND POSITION_OUT_OF_RANGE UNKNOWN_TOPIC_ID
    DUPLICATE_BROKER_REGISTRATION BROKER_ID_NOT_REGISTERED INCONSISTENT_TOPIC_ID INCONSISTENT_CLUSTER_ID
    TRANSACTIONAL_ID_NOT_FOUND FETCH_SESSION_TOPIC_ID_ERROR INELIGIBLE_REPLICA NEW_LEADER_ELECTED OFFSET_MOVED_TO_TIERED_STORAGE
    FENCED_MEMBER_EPOCH UNRELEASED_INSTANCE_ID UNSUPPORTED_ASSIGNOR STALE_MEMBER_EPOCH MISMATCHED_ENDPOINT_TYPE
    UNSUPPORTED_ENDPOINT_TYPE UNKNOWN_CONTROLLER_ID UNKNOWN_SUBSCRIPTION_ID TELEMETRY_TOO_LARGE INVALID_REGISTRATION
    TRANSACTION_ABORTABLE INVALID_RECORD_STATE SHARE_SESSION_NOT_FOUND INVALID_SHARE_SESSION_EPOCH
    FENCED_STATE_EPOCH INVALID_VOTER_KEY DUPLICATE_VOTER VOTER_NOT_FOUND INVALID_REGULAR_EXPRESSION
    REBOOTSTRAP_REQUIRED""".split()
    )
)
ERRORS[-1] = "UNKNOWN_SERVER_ERROR"
CASES = {}


def case(fn):
    CASES[fn.__name__.replace("_", " ")] = fn
    return fn


class Asker:
    """A fresh connection for one case, and short ways to the usual requests."""

    def __init__(self):
        self.connections, self.made = [], {}
        self.c = self.connect()

    def connect(self, timeout=15.0):
        connection = Connection(BOOTSTRAP, timeout)
        self.connections.append(connection)
        return connection

    def close(self):
        for c in self.connections:
            c.close()

    def call(self, api, version, **fields):
        return self.c.call(api, version, **fields)

    def attempt(self, api, version, **fields):
        """The answer, or 'closed', on a connection of its own."""
        connection = self.connect()
        try:
            return connection.call(api, version, **fields)
        except Closed:
            return "closed"
        except Timeout:
            return "no answer"
        finally:
            connection.close()

    def name(self, stem):
        return PREFIX + stem + f"-{len(self.made)}-{random.randrange(1 << 20):05x}"

    def topic(self, stem="t", partitions=1, **configs):
        """Makes a topic and waits until all its partitions answer; its name."""
        name = self.name(stem)
        made = self.call(
            "CreateTopics",
            7,
            timeout_ms=10000,
            topics=[
                {
                    "name": name,
                    "num_partitions": partitions,
                    "replication_factor": 1,
                    "configs": [{"name": k.replace("_", "."), "value": str(v)} for k, v in configs.items()],
                }
            ],
        )["topics"][0]
        assert made["error_code"] == 0, made
        self.made[name] = made["topic_id"]
        end = time.monotonic() + 10
        while time.monotonic() < end:
            answer = self.call(
                "ListOffsets",
                7,
                replica_id=-1,
                topics=[
                    {"name": name, "partitions": [{"partition_index": p, "timestamp": -1} for p in range(partitions)]}
                ],
            )
            if all(p["error_code"] == 0 for t in answer["topics"] for p in t["partitions"]):
                return name
            time.sleep(0.05)
        raise AssertionError(f"{name}: {answer}")

    def produce(self, topic, records, partition=0, version=11, acks=-1, timeout_ms=10000, **more):
        answer = self.call(
            "Produce",
            version,
            acks=acks,
            timeout_ms=timeout_ms,
            topic_data=[{"name": topic, "partition_data": [{"index": partition, "records": records}]}],
            **more,
        )
        return answer["responses"][0]["partition_responses"][0]

    def produce_raw(self, topic, records, version=11, acks=-1):
        """The same on a connection of its own, which may be closed."""
        answer = self.attempt(
            "Produce",
            version,
            acks=acks,
            timeout_ms=10000,
            topic_data=[{"name": topic, "partition_data": [{"index": 0, "records": records}]}],
        )
        return answer if isinstance(answer, str) else answer["responses"][0]["partition_responses"][0]

    def fetch(self, topic, offset, partition=0, version=12, **more):
        one = {
            k: more.pop(k)
            for k in ("partition_max_bytes", "current_leader_epoch", "last_fetched_epoch", "log_start_offset")
            if k in more
        }
        fields = {"max_wait_ms": 100, "min_bytes": 1, "max_bytes": 1 << 20, **more}
        where = {"topic_id": self.made.get(topic, UNKNOWN_ID)} if version >= 13 else {"topic": topic}
        answer = self.call(
            "Fetch",
            version,
            topics=[
                {
                    **where,
                    "partitions": [
                        {"partition": partition, "fetch_offset": offset, "partition_max_bytes": 1 << 20, **one}
                    ],
                }
            ],
            **fields,
        )
        return self.fetched(answer)

    @staticmethod
    def fetched(answer):
        """A fetch response with its records as a short account of the batches."""
        for t in answer["responses"]:
            for p in t["partitions"]:
                if p["records"] is not None:
                    p["records"] = [
                        f"{b['base_offset']}+{b['count']}" for b in batches(p["records"]) if "torn" not in b
                    ]
        if answer.get("session_id"):
            answer["session_id"] = "<session>"
        return answer

    def raw_batches(self, topic, offset=0, version=12):
        answer = self.call(
            "Fetch",
            version,
            max_wait_ms=500,
            min_bytes=1,
            max_bytes=1 << 20,
            topics=[
                {
                    "topic": topic,
                    "partitions": [{"partition": 0, "fetch_offset": offset, "partition_max_bytes": 1 << 20}],
                }
            ],
        )
        return batches(answer["responses"][0]["partitions"][0]["records"] or b"")

    def offsets(self, topic, timestamp, partition=0, version=7, **more):
        one = {k: more.pop(k) for k in ("current_leader_epoch",) if k in more}
        answer = self.call(
            "ListOffsets",
            version,
            **{"replica_id": -1, **more},
            topics=[{"name": topic, "partitions": [{"partition_index": partition, "timestamp": timestamp, **one}]}],
        )
        return answer["topics"][0]["partitions"][0]

    def bounds(self, topic):
        return [self.offsets(topic, t)["offset"] for t in (-2, -1)]

    def producer(self):
        for _ in range(100):
            answer = self.call("InitProducerId", 4, transactional_id=None, transaction_timeout_ms=60000)
            if answer["error_code"] != 14:  # Kafka fetches its first block of ids after it has started
                break
            time.sleep(0.1)
        assert answer["error_code"] == 0, answer
        return answer["producer_id"]


def raw(data, wait=5.0, shut=False):
    """What comes back for raw bytes: the answer's correlation id, 'closed', or 'open' if nothing comes."""
    connection = Connection(BOOTSTRAP, wait)
    try:
        connection.send(data)
        if shut:
            connection.socket.shutdown(1)
        frame = connection.frame()
        return {"answer to": struct.unpack_from(">i", frame)[0]}
    except Closed:
        return "closed"
    except Timeout:
        return "open"
    finally:
        connection.close()


def framed(body):
    return struct.pack(">i", len(body)) + body


def timed(fn, *args, **more):
    start = time.monotonic()
    return fn(*args, **more), time.monotonic() - start


def three_batches(a, partitions=1, **configs):
    """Batches at 0, 10 and 20, ten records each, about a kilobyte each."""
    topic = a.topic("f", partitions, **configs)
    for partition in range(partitions):
        for n in range(3):
            a.produce(topic, batch([b"%03d" % n + b"x" * 90] * 10, timestamp=1_000_000 + n * 1000), partition)
    return topic
