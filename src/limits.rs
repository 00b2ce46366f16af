//! What clients and disks may make the broker do or hold, in one place: what each bound limits and what
//! happens at it. Constants only; those an operator may change are defaults of `config`. Working sizes of one
//! file stand beside their use.

use std::time::Duration;

/// Direct I/O works in blocks of this size; buffers and file positions are multiples of it.
pub const BLOCK_BYTES: usize = 4096;

/// Largest request frame, as Kafka's socket.request.max.bytes. A larger one closes the connection.
pub const FRAME_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Largest body of a request that is neither Produce nor Fetch: it names things, a quarter of a million
/// partitions at least, and its answer takes many times its size in memory. A larger one closes the connection.
pub const CONTROL_REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Memory that the settings in the answer to one DescribeConfigs may take. A resource that is named beyond it
/// is POLICY_VIOLATION: the client asks for it in another request.
pub const DESCRIBED_CONFIGS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Partitions in one answer to DescribeTopicPartitions, as Kafka's max.request.partition.size.limit, and beside
/// them topics that are not there. At it, the page ends; the client asks for the next.
pub const DESCRIBED_PARTITIONS_MAX: i32 = 2000;

/// Smallest request frame: api key, api version, correlation id. A smaller one closes the connection.
pub const FRAME_BYTES_MIN: usize = 8;

/// A client that began a large request and sends no byte of the rest for this long is closed.
pub const FRAME_STILL_MAX: Duration = Duration::from_secs(30);

/// While others wait for the memory that a client's answer holds, it may take nothing of it for this long
/// only. Beyond it, the connection is closed: a client that is well connects again, and the others' wait is
/// a multiple of this.
pub const ANSWER_STILL_MAX_WHEN_SCARCE: Duration = Duration::from_secs(1);

/// While others wait for the memory that a client's request holds, it may stand still for this long only.
/// Beyond it, the connection is closed.
pub const STILL_MAX_WHEN_SCARCE: Duration = Duration::from_secs(5);

/// What adds to that for a request: what has arrived of it, at this pace. A slower client is closed while
/// others wait for memory, and only then.
pub const FRAME_BYTES_PER_SECOND_MIN: usize = 256 * 1024;

/// Largest record batch a topic may be configured to take. A larger one is MESSAGE_TOO_LARGE.
pub const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a produce request carries beside its batches, generously.
pub const REQUEST_OVERHEAD_MAX: usize = 1024 * 1024;

/// A v2 record batch's header: https://kafka.apache.org/documentation/#recordbatch
pub const BATCH_HEADER_BYTES: usize = 61;

/// Kafka's default of max.message.bytes.
pub const MESSAGE_BYTES_MAX_DEFAULT: usize = 1_048_588;

/// Most records one batch may claim: each takes at least 7 bytes uncompressed, so a frame holds fewer,
/// and a compressed batch that claims more is INVALID_RECORD.
pub const BATCH_RECORDS_MAX: usize = 16 * 1024 * 1024;

/// Records that the answer to one produce request says what is wrong with (KIP-467). Those beyond are refused like
/// them, and not named.
pub const RECORDS_NAMED_MAX: usize = 10_000;

/// Bytes that are decompressed for that. Records beyond are refused with their batch, and not named.
pub const RECORDS_NAMED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most bytes that decompressing one batch may yield; beyond it the batch is refused as corrupt.
pub const DECOMPRESSED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Memory that arrays decoded from a frame may take for each of its bytes, and what is always free. Beyond it
/// the connection closes. Honest messages need about 5; the extreme is a Metadata request for topics of
/// four-letter names, 48 bytes for 6 on the wire.
pub const DECODED_BYTES_PER_FRAME_BYTE_MAX: usize = 8;
pub const DECODED_BYTES_FREE: usize = 64 * 1024;

/// Changes of the cluster-wide facts that are written together. More wait for the next time.
pub const CONTROL_GROUP_MAX: usize = 1024;

/// Partitions that one DeleteRecords, and one OffsetForLeaderEpoch, works on at once; others wait their turn.
pub const DELETE_RECORDS_MAX: usize = 1024;
pub const EPOCH_LOOKUPS_MAX: usize = 256;

/// Partitions that one ListOffsets looks up by time at once.
pub const TIME_LOOKUPS_MAX: usize = 32;

/// Batches that such a lookup opens at most. More than one is opened only when headers claim times that no
/// record has; a producer that wrote thousands of such finds nothing.
pub const TIME_LOOKUP_BATCHES_MAX: usize = 1000;

/// Bytes of records that such a lookup decompresses of one batch, while nothing else runs on the core, and
/// that all lookups of one request do. Beyond either, the answer is the batch's first offset: never too late.
pub const TIME_LOOKUP_BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
pub const TIME_LOOKUP_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Largest response of a fetch, as Kafka's fetch.max.bytes on the broker (57,671,680).
pub const FETCH_BYTES_MAX: usize = 55 * 1024 * 1024;

/// Requests one connection may have in flight. At it, its socket is not read.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 256;

/// Of these, requests that start only when their turn to answer comes: all but Produce. At it, the same.
pub const REQUESTS_LATER_MAX: usize = 8;

/// Bytes of responses that wait for a slow reader, per connection. At it, its socket is not read.
pub const RESPONSE_BACKLOG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Buffers in one vectored send, as IOV_MAX of Linux.
pub const SEND_SLICES_MAX: usize = 1024;

/// Batches of messages that one queue between two shards holds, and messages that gather for one target
/// while it is full. Full mailbox: the connection stops reading. Nothing is dropped.
pub const MAILBOX_BATCHES_MAX: usize = 256;
pub const MAILBOX_MESSAGES_MAX: usize = 4096;

/// Shards of one host: broker ids leave ten bits for them.
pub const SHARDS_MAX: usize = 1024;

/// Kafka's longest legal topic name.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Longest string of the protocol, as Kafka's clients read it. A longer one that a client sends closes the
/// connection, a longer text of ours is cut there.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Entities that client quotas may be set for. Beyond it none is added: POLICY_VIOLATION.
pub const QUOTA_ENTITIES_MAX: usize = 10_000;

/// Quotas in use that one shard keeps account of. At it, those that are paid are forgotten; where all are in
/// debt, what is not among them is let pass.
pub const QUOTA_BUCKETS_MAX: usize = 100_000;

/// Consumer groups that settings may be kept for. Beyond it: POLICY_VIOLATION.
pub const CONFIGURED_GROUPS_MAX: usize = 10_000;

/// Settings that may be kept for all brokers, and for those of this host, though nothing here knows them (as Kafka
/// keeps them for its plugins). Beyond it: POLICY_VIOLATION.
pub const UNKNOWN_BROKER_SETTINGS_MAX: usize = 100;

/// Partitions that one ElectLeaders or AlterPartitionReassignments names. Beyond it, all of the request is
/// POLICY_VIOLATION: the client asks in several.
pub const ADMINISTERED_PARTITIONS_MAX: usize = 100_000;

/// Partitions that one AlterPartitionReassignments moves to other cores, one after the other. One that is named beyond
/// it is POLICY_VIOLATION: the client asks for it in another request.
pub const MOVES_PER_REQUEST_MAX: usize = 1_000;

/// Producers in the answer to one DescribeProducers. A partition that is named beyond it is POLICY_VIOLATION: the
/// client asks for it in another request.
pub const DESCRIBED_PRODUCERS_MAX: usize = 1_000_000;

/// Longest value of a setting: what can be told to a client, and kept in the metadata log, whole.
/// A longer one is INVALID_CONFIG, of a broker INVALID_REQUEST.
pub const CONFIG_VALUE_BYTES_MAX: usize = STRING_BYTES_MAX;

/// Partitions one topic may have, and one host may hold. Beyond it: INVALID_PARTITIONS.
pub const TOPIC_PARTITIONS_MAX: usize = 100_000;
pub const PARTITIONS_MAX: usize = 1_000_000;

/// Largest index file of a segment that is read; a larger one is made anew from its segment. Segments are
/// sealed before theirs is (segment.index.bytes).
pub const INDEX_FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Partitions that one request makes, as Kafka's controller. Beyond it nothing is made: POLICY_VIOLATION; but
/// of the topics that Metadata makes unasked, the first are, and the client asks again for the others.
pub const PARTITIONS_PER_REQUEST_MAX: u64 = 10_000;

/// Batches remembered per idempotent producer (KIP-98).
pub const PRODUCER_BATCHES_RETAINED: usize = 5;

/// Idempotent producers remembered per partition. At it, the longest idle one is forgotten.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 100_000;

/// Largest value of a classic group's record: what fits a batch of Kafka's default size, with room for the key.
/// Beyond it the group has no assignment: its members' SyncGroup is UNKNOWN_SERVER_ERROR, as Kafka answers.
pub const GROUP_VALUE_BYTES_MAX: usize = MESSAGE_BYTES_MAX_DEFAULT - 2 * STRING_BYTES_MAX;

/// Member ids that one classic group has given and nobody has joined with yet (KIP-394). At it, a join without
/// a member id is GROUP_MAX_SIZE_REACHED.
pub const PENDING_MEMBERS_MAX: usize = 10_000;

/// How long a new member's JoinGroup may wait, as Kafka has it. At it, the member is removed and joins again.
pub const NEW_MEMBER_JOIN_MAX: Duration = Duration::from_mins(5);

/// Fetch sessions per shard (KIP-227), as Kafka's max.incremental.fetch.session.cache.slots. At it, and
/// at their share of the shard's memory, those are evicted that are not used any more; where there are
/// none, a fetch is answered without a session.
pub const FETCH_SESSIONS_MAX: usize = 1000;

/// A fetch session unused for this long may make room for another, as Kafka's
/// min.incremental.fetch.session.eviction.ms.
pub const FETCH_SESSION_IDLE_MIN: Duration = Duration::from_mins(2);

/// What a partition that a consumer group's member has or should have counts for in memory, about.
pub const GROUP_PARTITION_MEMORY_BYTES: usize = 48;

/// What the assignment of all topics that a consumer group's members subscribe to may take when it is stored:
/// all of it may go to one member, and its record has to fit a batch of `__consumer_offsets`. A member that
/// would bring more is refused (GROUP_MAX_SIZE_REACHED); when topics grow beyond it, partitions stay where they
/// are and new ones wait (corelog_group_assignments_withheld_total). A topic stands twice in a record, when some of it is being given up.
pub const GROUP_ASSIGNMENT_BYTES_MAX: usize = 960 * 1024;
pub const GROUP_ASSIGNED_TOPIC_BYTES: usize = 64;
pub const GROUP_ASSIGNED_PARTITION_BYTES: usize = 8;

/// What a member of a consumer group says of itself, for the same reason. Beyond it: INVALID_REQUEST.
pub const GROUP_MEMBER_BYTES_MAX: usize = 512 * 1024;

/// Names of topics that one regular expression matches, for the same reason. Topics beyond it, in order of
/// their names, are as if they did not match, which is logged and counted (corelog_group_topics_left_out_total).
pub const GROUP_REGEX_TOPICS_BYTES_MAX: usize = 512 * 1024;

/// Memory that a regular expression takes when compiled. Beyond it: INVALID_REGULAR_EXPRESSION.
pub const GROUP_REGEX_PROGRAM_BYTES_MAX: usize = 1024 * 1024;

/// How what the tail cache leaves of a shard's memory is shared out, in sixteenths: requests while they
/// arrive (at it, sockets are not read), batches on their way to the disk (the same), answers until they
/// are sent (at it, fetches wait), fetch sessions (at it, there are no more).
pub const ARRIVING_SIXTEENTHS: usize = 8;
pub const PENDING_SIXTEENTHS: usize = 4;
pub const ANSWERS_SIXTEENTHS: usize = 3;
pub const SESSIONS_SIXTEENTHS: usize = 1;

/// Bytes that the groups of one core hold in memory, with their offsets. At it, members that would join are
/// told GROUP_MAX_SIZE_REACHED and offsets are INVALID_COMMIT_OFFSET_SIZE; what is there goes on.
pub const GROUPS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What the metadata of a member may take that joins again while groups hold `GROUPS_BYTES_MAX`. A larger one is
/// told the same as a new member.
pub const MEMBER_BYTES_MAX_WHEN_FULL: usize = 64 * 1024;

/// Timers of groups that one turn of a coordinator takes; more are due in the next.
pub const GROUP_TIMERS_PER_TURN_MAX: usize = 256;

/// Groups that one request works on at once, of those that it names; others wait their turn.
pub const GROUPS_PER_REQUEST_AT_ONCE: usize = 64;

/// Longest single write to a segment. More pending bytes wait for the next commit.
pub const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What that may be set to at least, and what else may be set to suit a disk: commits of one shard, and reads of files
/// of one fetch, in flight at most. More wait for one of them to end.
pub const COMMIT_BYTES_MIN: usize = 64 * 1024;
pub const COMMITS_IN_FLIGHT_MAX: usize = 256;
pub const FILE_READS_IN_FLIGHT_MAX: usize = 32;

/// Bytes of a shard's log that a start after a crash reads again at most, in the default configuration. At it,
/// sockets are not read until recovery points are written.
pub const RECOVERY_SCAN_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Bytes of a deleted file that are given back at once; then others have the device for a while.
pub const FREE_PIECE_BYTES: u64 = 4 * 1024 * 1024;

/// Connections of the admin port at once. A further one is closed.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;

/// How long a connection of the admin port may last, its one request and answer included. Beyond it, it is
/// closed.
pub const ADMIN_CONNECTION_MAX: Duration = Duration::from_secs(15);

/// Pages of metrics that are held until their clients have taken them. Beyond it: 503.
pub const ADMIN_PAGES_MAX: usize = 4;

/// Bytes and number of the header lines of a request to the admin port. Beyond either: 431.
pub const ADMIN_HEADER_BYTES_MAX: usize = 16 * 1024;
pub const ADMIN_HEADERS_MAX: usize = 64;

/// How long the admin port waits for a shard. One that has not answered by then counts as unresponsive, and its
/// metrics are left out.
pub const ADMIN_SHARD_WAIT_MAX: Duration = Duration::from_secs(2);

/// Partitions of one shard that have metrics of their own, where that is asked for. The others have none.
pub const ADMIN_PARTITIONS_MAX: usize = 10_000;

/// Partitions on the admin port's page of faults. The others are counted.
pub const ADMIN_FAULTS_MAX: usize = 1_000;

/// Partitions on the admin port's page of cores: those that have the most to do. The others are not shown.
pub const ADMIN_HOT_PARTITIONS_MAX: usize = 100;

/// Groups of one shard that have metrics of their own, and committed offsets that their lag is counted from.
/// Beyond either, groups without members are left out first; those left out are counted.
pub const ADMIN_GROUPS_MAX: usize = 1_000;
pub const ADMIN_OFFSETS_MAX: usize = 100_000;

/// Longest name of a group that has metrics of its own. One with a longer name is left out.
pub const ADMIN_GROUP_NAME_BYTES_MAX: usize = 256;

/// How long a shard waits for another to tell where partitions end. Those of one that has not told by then are
/// left out of groups' lag.
pub const ADMIN_ENDS_WAIT_MAX: Duration = Duration::from_secs(1);

const _: () = assert!(FRAME_BYTES_MAX >= BATCH_BYTES_MAX + REQUEST_OVERHEAD_MAX);
const _: () = assert!(CONTROL_REQUEST_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX_DEFAULT <= BATCH_BYTES_MAX);
const _: () = assert!(TIME_LOOKUP_BATCH_BYTES_MAX <= DECOMPRESSED_BYTES_MAX);
const _: () = assert!(RECORDS_NAMED_BYTES_MAX <= DECOMPRESSED_BYTES_MAX);
const _: () = assert!(ADMIN_ENDS_WAIT_MAX.as_millis() < ADMIN_SHARD_WAIT_MAX.as_millis());
const _: () = assert!(CONFIG_VALUE_BYTES_MAX <= STRING_BYTES_MAX);
const _: () = assert!(TOPIC_NAME_BYTES_MAX <= STRING_BYTES_MAX);
const _: () = assert!(GROUP_ASSIGNMENT_BYTES_MAX + 4096 <= MESSAGE_BYTES_MAX_DEFAULT, "one record");
const _: () = assert!(GROUP_MEMBER_BYTES_MAX + 4096 <= MESSAGE_BYTES_MAX_DEFAULT, "one record");
const _: () = assert!(BLOCK_BYTES.is_power_of_two());
const _: () = assert!(COMMIT_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(BLOCK_BYTES <= COMMIT_BYTES_MIN && COMMIT_BYTES_MIN <= COMMIT_BYTES_MAX);
const _: () = assert!(SHARDS_MAX <= 1024, "broker id = host id * 1024 + shard");
const _: () = assert!(
    ARRIVING_SIXTEENTHS + PENDING_SIXTEENTHS + ANSWERS_SIXTEENTHS + SESSIONS_SIXTEENTHS == 16
);
