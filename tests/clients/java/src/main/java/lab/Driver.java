package lab;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.LongStream;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Drives a broker with the Java client: {@code BOOTSTRAP=host:port java lab.Driver [NAME-REGEX]}. */
public final class Driver {
    private static final String BOOTSTRAP = System.getenv().getOrDefault("BOOTSTRAP", "127.0.0.1:9092");
    private static final String RUN = Long.toString(System.nanoTime(), 36);
    private static int passed, failed, names;

    private interface Check {
        void run() throws Exception;
    }

    private static Pattern chosen;
    private static Admin admin;

    private static void check(String name, Check body) {
        if (!chosen.matcher(name).find()) return;
        long start = System.currentTimeMillis();
        String result = "ok  ", why = "";
        try {
            body.run();
            passed++;
        } catch (Throwable e) {
            failed++;
            result = "FAIL";
            StackTraceElement at = Arrays.stream(e.getStackTrace()).filter(f -> f.getClassName().startsWith("lab.")).findFirst().orElse(null);
            why = e + (at == null ? "" : " (line " + at.getLineNumber() + ")");
        }
        System.out.printf("%s java %-45s %5.1fs  %s%n", result, name, (System.currentTimeMillis() - start) / 1000.0, why);
    }

    private static void eq(Object got, Object want, String what) {
        if (!Objects.equals(got, want)) throw new AssertionError(what + ": got " + brief(got) + ", want " + brief(want));
    }

    private static void that(boolean condition, String what) {
        if (!condition) throw new AssertionError(what);
    }

    private static String brief(Object o) {
        String s = String.valueOf(o);
        return s.length() > 300 ? s.substring(0, 300) + "..." : s;
    }

    private static void fails(Class<? extends Throwable> wanted, Future<?> future) throws Exception {
        try {
            Object got = future.get();
            throw new AssertionError("no " + wanted.getSimpleName() + ", but " + brief(got));
        } catch (ExecutionException e) {
            that(wanted.isInstance(e.getCause()), "not " + wanted.getSimpleName() + " but " + e.getCause());
        }
    }

    private static void until(String what, java.util.concurrent.Callable<Boolean> condition) throws Exception {
        long end = System.currentTimeMillis() + 15_000;
        while (!condition.call()) {
            that(System.currentTimeMillis() < end, "not within 15 s: " + what);
            Thread.sleep(50);
        }
    }

    private static Properties common() {
        Properties p = new Properties();
        p.put("bootstrap.servers", BOOTSTRAP);
        return p;
    }

    /** A producer with the client's defaults (idempotent, acks=all) but for what is given: key, value, key, value. */
    private static KafkaProducer<byte[], byte[]> producer(String... more) {
        Properties p = common();
        for (int i = 0; i < more.length; i += 2) p.put(more[i], more[i + 1]);
        return new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String... more) {
        Properties p = common();
        p.put("enable.auto.commit", "false");
        for (int i = 0; i < more.length; i += 2) p.put(more[i], more[i + 1]);
        return new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static String name(String stem) {
        return "java-" + RUN + "-" + stem + "-" + names++;
    }

    private static String topic(String stem, int partitions, Map<String, String> configs) throws Exception {
        String name = name(stem);
        admin.createTopics(List.of(new NewTopic(name, Optional.of(partitions), Optional.of((short) 1)).configs(configs))).all().get();
        Map<TopicPartition, OffsetSpec> ask = new HashMap<>();
        for (int p = 0; p < partitions; p++) ask.put(new TopicPartition(name, p), OffsetSpec.latest());
        until("leaders of " + name, () -> {
            try {
                admin.listOffsets(ask).all().get();
                return true;
            } catch (ExecutionException e) {
                return false;
            }
        });
        return name;
    }

    private static byte[] bytes(String s) {
        return s == null ? null : s.getBytes(StandardCharsets.UTF_8);
    }

    /** Records with every shape of key, value and headers. */
    private static List<ProducerRecord<byte[], byte[]>> sample(String topic, int partition, int count, long base) {
        List<ProducerRecord<byte[], byte[]>> out = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            byte[] key = i % 4 == 0 ? bytes("key-" + i % 9) : i % 4 == 1 ? null : i % 4 == 2 ? new byte[0] : new byte[] {0, -1, 7};
            byte[] value = i % 11 == 5 ? null : bytes(i + " " + "abcdefgh".repeat(i % 40));
            ProducerRecord<byte[], byte[]> r = new ProducerRecord<>(topic, partition, base + i * 10L, key, value);
            if (i % 3 == 1) r.headers().add("one", bytes("1"));
            if (i % 3 == 2) r.headers().add("twice", bytes("a")).add("twice", null).add("\u00e9\u4e2d", new byte[] {0, 1, -1});
            out.add(r);
        }
        return out;
    }

    private static List<Long> send(KafkaProducer<byte[], byte[]> producer, List<ProducerRecord<byte[], byte[]>> records) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (var r : records) sent.add(producer.send(r));
        producer.flush();
        List<Long> offsets = new ArrayList<>();
        for (var f : sent) offsets.add(f.get().offset());
        return offsets;
    }

    private static List<Long> send(List<ProducerRecord<byte[], byte[]>> records, String... more) throws Exception {
        try (var producer = producer(more)) {
            return send(producer, records);
        }
    }

    private static List<ConsumerRecord<byte[], byte[]>> take(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> out = new ArrayList<>();
        long end = System.currentTimeMillis() + 20_000;
        while (out.size() < count) {
            that(System.currentTimeMillis() < end, out.size() + " of " + count + " records in 20 s");
            consumer.poll(Duration.ofMillis(200)).forEach(out::add);
        }
        return out;
    }

    private static List<ConsumerRecord<byte[], byte[]>> read(String topic, int partition, int count, String... more) {
        try (var consumer = consumer(more)) {
            TopicPartition tp = new TopicPartition(topic, partition);
            consumer.assign(List.of(tp));
            consumer.seekToBeginning(List.of(tp));
            return take(consumer, count);
        }
    }

    private static void same(List<ConsumerRecord<byte[], byte[]>> got, List<ProducerRecord<byte[], byte[]>> want) {
        eq(got.size(), want.size(), "records");
        for (int i = 0; i < want.size(); i++) {
            eq(got.get(i).offset(), (long) i, "offset of record " + i);
            that(Arrays.equals(got.get(i).key(), want.get(i).key()), "key of record " + i);
            that(Arrays.equals(got.get(i).value(), want.get(i).value()), "value of record " + i);
            eq(got.get(i).timestamp(), want.get(i).timestamp(), "timestamp of record " + i);
            eq(Arrays.asList(got.get(i).headers().toArray()), Arrays.asList(want.get(i).headers().toArray()), "headers of record " + i);
        }
    }

    private static List<Long> longs(int from, int to) {
        return LongStream.range(from, to).boxed().collect(Collectors.toList());
    }

    // ------------------------------------------------------------------ producing and consuming

    private static void producing() {
        check("default producer, round trip", () -> {
            String t = topic("rt", 1, Map.of());
            var want = sample(t, 0, 500, 1_600_000_000_000L);
            eq(send(want), longs(0, 500), "offsets");
            same(read(t, 0, 500), want);
        });
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            check("round trip, " + codec, () -> {
                String t = topic("codec", 1, Map.of());
                var want = sample(t, 0, 500, 1_600_000_000_000L);
                eq(send(want, "compression.type", codec, "linger.ms", "50"), longs(0, 500), "offsets");
                same(read(t, 0, 500), want);
            });
        }
        for (String acks : List.of("0", "1", "all")) {
            check("acks " + acks + ", not idempotent", () -> {
                String t = topic("acks", 1, Map.of());
                var want = sample(t, 0, 200, 1_600_000_000_000L);
                send(want, "acks", acks, "enable.idempotence", "false");
                same(read(t, 0, 200), want);
            });
        }
        check("idempotent, small batches, many in flight", () -> {
            String t = topic("idem", 3, Map.of());
            List<ProducerRecord<byte[], byte[]>> all = new ArrayList<>();
            for (int i = 0; i < 6000; i++) all.add(new ProducerRecord<>(t, i % 3, null, bytes("" + i)));
            send(all, "batch.size", "200", "linger.ms", "0");
            for (int p = 0; p < 3; p++) {
                int from = p;
                eq(read(t, p, 2000).stream().map(r -> Integer.parseInt(new String(r.value()))).toList(),
                    IntStream.range(0, 2000).map(i -> i * 3 + from).boxed().toList(), "order in partition " + p);
            }
        });
        check("one megabyte less a little", () -> {
            String t = topic("big", 1, Map.of());
            byte[] value = new byte[1_000_000];
            Arrays.fill(value, (byte) 'x');
            send(List.of(new ProducerRecord<>(t, 0, null, value)));
            that(Arrays.equals(read(t, 0, 1, "fetch.max.bytes", "1000", "max.partition.fetch.bytes", "1000").get(0).value(), value), "value");
        });
        check("too large for the topic", () -> {
            String t = topic("small", 1, Map.of("max.message.bytes", "2000"));
            try (var p = producer()) {
                fails(RecordTooLargeException.class, p.send(new ProducerRecord<>(t, 0, null, new byte[5000])));
                eq(p.send(new ProducerRecord<>(t, 0, null, new byte[10])).get().offset(), 0L, "the next one's offset");
            }
        });
        check("LogAppendTime", () -> {
            String t = topic("lat", 1, Map.of("message.timestamp.type", "LogAppendTime"));
            long before = System.currentTimeMillis() - 1000;
            try (var p = producer()) {
                that(p.send(new ProducerRecord<>(t, 0, 1000L, null, bytes("x"))).get().timestamp() >= before, "timestamp acknowledged");
            }
            var r = read(t, 0, 1).get(0);
            that(r.timestamp() >= before && r.timestampType().name.equals("LogAppendTime"), r.timestampType() + " " + r.timestamp());
        });
        check("auto-created topic", () -> {
            String t = name("auto");
            eq(send(List.of(new ProducerRecord<>(t, bytes("x")))).size(), 1, "acknowledged");
        });
        check("invalid topic name", () -> {
            try (var p = producer("max.block.ms", "5000")) {
                fails(InvalidTopicException.class, p.send(new ProducerRecord<>("no/good name", bytes("x"))));
            } catch (InvalidTopicException expected) {
                // send itself may throw
            }
        });
        check("the same key always in the same partition", () -> {
            String t = topic("keys", 6, Map.of());
            Map<String, Set<Integer>> where = new HashMap<>();
            try (var p = producer()) {
                for (int i = 0; i < 120; i++) {
                    String key = "user-" + i % 20;
                    where.computeIfAbsent(key, k -> new HashSet<>()).add(p.send(new ProducerRecord<>(t, bytes(key), bytes("v"))).get().partition());
                }
            }
            that(where.values().stream().allMatch(s -> s.size() == 1), "" + where);
            that(where.values().stream().flatMap(Collection::stream).distinct().count() > 1, "all in one partition");
        });
    }

    private static void consuming() {
        check("seek, position, pause", () -> {
            String t = topic("seek", 2, Map.of());
            TopicPartition a = new TopicPartition(t, 0), b = new TopicPartition(t, 1);
            send(sample(t, 0, 300, 1));
            send(sample(t, 1, 300, 1));
            try (var c = consumer()) {
                c.assign(List.of(a, b));
                c.pause(List.of(b));
                c.seek(a, 250);
                eq(take(c, 50).stream().map(ConsumerRecord::offset).toList(), longs(250, 300), "offsets");
                eq(c.position(a), 300L, "position");
                c.seek(a, 10);
                eq(take(c, 1).get(0).offset(), 10L, "after a seek back");
                c.pause(List.of(a));
                c.resume(List.of(b));
                c.seekToBeginning(List.of(b));
                eq(take(c, 300).stream().map(ConsumerRecord::offset).toList(), longs(0, 300), "the resumed partition");
                c.seekToEnd(List.of(b));
                eq(c.position(b), 300L, "the end");
            }
        });
        check("beginningOffsets, endOffsets, offsetsForTimes", () -> {
            String t = topic("times", 2, Map.of());
            TopicPartition a = new TopicPartition(t, 0), b = new TopicPartition(t, 1);
            long base = 1_600_000_000_000L;
            List<ProducerRecord<byte[], byte[]>> all = new ArrayList<>();
            for (int i = 0; i < 100; i++) all.add(new ProducerRecord<>(t, 0, base + i * 1000, null, bytes("" + i)));
            send(all, "batch.size", "300");
            try (var c = consumer()) {
                eq(c.beginningOffsets(List.of(a, b)), Map.of(a, 0L, b, 0L), "beginnings");
                eq(c.endOffsets(List.of(a, b)), Map.of(a, 100L, b, 0L), "ends");
                Map<TopicPartition, OffsetAndTimestamp> got = c.offsetsForTimes(Map.of(a, base + 41_500, b, base));
                eq(List.of(got.get(a).offset(), got.get(a).timestamp()), List.of(42L, base + 42_000), "for a time");
                eq(got.get(b), null, "in an empty partition");
                eq(c.offsetsForTimes(Map.of(a, base + 99_001)).get(a), null, "past the end");
                eq(c.offsetsForTimes(Map.of(a, 0L)).get(a).offset(), 0L, "before the beginning");
                eq(c.partitionsFor(t).size(), 2, "partitionsFor");
                that(c.listTopics().containsKey(t), "listTopics");
            }
        });
        check("out of range, with and without a reset", () -> {
            String t = topic("range", 1, Map.of());
            TopicPartition tp = new TopicPartition(t, 0);
            send(sample(t, 0, 10, 1));
            try (var c = consumer("auto.offset.reset", "none")) {
                c.assign(List.of(tp));
                c.seek(tp, 500);
                try {
                    take(c, 1);
                    throw new AssertionError("no error");
                } catch (OffsetOutOfRangeException e) {
                    eq(e.offsetOutOfRangePartitions(), Map.of(tp, 500L), "what the error says");
                }
            }
            try (var c = consumer("auto.offset.reset", "earliest")) {
                c.assign(List.of(tp));
                c.seek(tp, 500);
                eq(take(c, 10).get(0).offset(), 0L, "after the reset");
            }
        });
        check("a waiting fetch wakes", () -> {
            String t = topic("wake", 1, Map.of());
            TopicPartition tp = new TopicPartition(t, 0);
            try (var c = consumer("fetch.max.wait.ms", "8000"); var p = producer()) {
                c.assign(List.of(tp));
                c.seek(tp, 0);
                c.poll(Duration.ofMillis(300));
                for (int i = 0; i < 5; i++) {
                    Thread.sleep(200);
                    p.send(new ProducerRecord<>(t, 0, null, bytes("x"))).get();
                    long start = System.currentTimeMillis();
                    take(c, 1);
                    that(System.currentTimeMillis() - start < 2000, "it took " + (System.currentTimeMillis() - start) + " ms");
                }
            }
        });
        check("eight partitions at once, small fetches", () -> {
            String t = topic("eight", 8, Map.of());
            List<ProducerRecord<byte[], byte[]>> all = new ArrayList<>();
            for (int i = 0; i < 8000; i++) all.add(new ProducerRecord<>(t, i % 8, null, bytes("" + i)));
            send(all);
            try (var c = consumer("max.partition.fetch.bytes", "2000", "max.poll.records", "100")) {
                var tps = IntStream.range(0, 8).mapToObj(p -> new TopicPartition(t, p)).toList();
                c.assign(tps);
                c.seekToBeginning(tps);
                Map<Integer, Long> next = new HashMap<>();
                for (var r : take(c, 8000)) {
                    eq(r.offset(), next.getOrDefault(r.partition(), 0L), "offset in partition " + r.partition());
                    next.put(r.partition(), r.offset() + 1);
                }
            }
        });
        check("read_committed without transactions", () -> {
            String t = topic("rc", 1, Map.of());
            send(sample(t, 0, 50, 1));
            eq(read(t, 0, 50, "isolation.level", "read_committed").size(), 50, "records");
        });
    }

    // ------------------------------------------------------------------ administration

    private static Config configOf(String topic) throws Exception {
        ConfigResource r = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return admin.describeConfigs(List.of(r)).all().get().get(r);
    }

    private static Future<Void> alter(String topic, String key, String value, AlterConfigOp.OpType op) {
        return admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic),
            List.of(new AlterConfigOp(new ConfigEntry(key, value), op)))).all();
    }

    private static void administration() {
        check("createTopics", () -> {
            String t = name("create");
            var made = admin.createTopics(List.of(new NewTopic(t, 3, (short) 1).configs(Map.of("retention.ms", "123456"))));
            made.all().get();
            eq(made.numPartitions(t).get(), 3, "partitions");
            eq(made.replicationFactor(t).get(), 1, "replicas");
            eq(made.config(t).get().get("retention.ms").value(), "123456", "config");
            that(!made.topicId(t).get().equals(Uuid.ZERO_UUID), "topic id");
            fails(TopicExistsException.class, admin.createTopics(List.of(new NewTopic(t, 3, (short) 1))).all());
            fails(InvalidPartitionsException.class, admin.createTopics(List.of(new NewTopic(name("x"), 0, (short) 1))).all());
            fails(InvalidReplicationFactorException.class, admin.createTopics(List.of(new NewTopic(name("x"), 1, (short) 77))).all());
            fails(InvalidTopicException.class, admin.createTopics(List.of(new NewTopic("a/b", 1, (short) 1))).all());
            fails(InvalidConfigurationException.class, admin.createTopics(List.of(new NewTopic(name("x"), 1, (short) 1).configs(Map.of("retention.ms", "soon")))).all());
            String dry = name("dry");
            admin.createTopics(List.of(new NewTopic(dry, 2, (short) 1)), new CreateTopicsOptions().validateOnly(true)).all().get();
            that(!admin.listTopics().names().get().contains(dry), "validateOnly made the topic");
            String plain = name("plain");
            admin.createTopics(List.of(new NewTopic(plain, Optional.empty(), Optional.empty()))).all().get();
        });
        check("describeTopics, by name and id", () -> {
            String t = topic("desc", 3, Map.of());
            TopicDescription d = admin.describeTopics(List.of(t)).allTopicNames().get().get(t);
            eq(d.partitions().size(), 3, "partitions");
            for (var p : d.partitions()) that(p.leader() != null && p.isr().equals(p.replicas()), "partition " + p);
            eq(admin.describeTopics(TopicCollection.ofTopicIds(List.of(d.topicId()))).allTopicIds().get().get(d.topicId()).name(), t, "name by id");
            fails(UnknownTopicOrPartitionException.class, admin.describeTopics(List.of(name("none"))).allTopicNames());
            fails(UnknownTopicIdException.class, admin.describeTopics(TopicCollection.ofTopicIds(List.of(Uuid.randomUuid()))).allTopicIds());
            that(admin.listTopics().names().get().contains(t), "listed");
        });
        check("createPartitions", () -> {
            String t = topic("grow", 1, Map.of());
            admin.createPartitions(Map.of(t, NewPartitions.increaseTo(4))).all().get();
            until("4 partitions", () -> admin.describeTopics(List.of(t)).allTopicNames().get().get(t).partitions().size() == 4);
            fails(InvalidPartitionsException.class, admin.createPartitions(Map.of(t, NewPartitions.increaseTo(2))).all());
            fails(InvalidPartitionsException.class, admin.createPartitions(Map.of(t, NewPartitions.increaseTo(4))).all());
            eq(send(List.of(new ProducerRecord<>(t, 3, null, bytes("x")))), List.of(0L), "produce to a new partition");
        });
        check("describeConfigs, incrementalAlterConfigs", () -> {
            String t = topic("conf", 1, Map.of("retention.ms", "111111"));
            Config c = configOf(t);
            eq(c.get("retention.ms").value(), "111111", "retention.ms");
            eq(c.get("retention.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "source");
            that(c.get("cleanup.policy").isDefault(), "cleanup.policy is not a default");
            for (String key : List.of("cleanup.policy", "segment.bytes", "max.message.bytes", "message.timestamp.type", "compression.type", "min.insync.replicas", "retention.bytes", "segment.ms"))
                that(c.get(key) != null, key + " not described");
            alter(t, "retention.ms", "222222", AlterConfigOp.OpType.SET).get();
            until("the new value", () -> configOf(t).get("retention.ms").value().equals("222222"));
            alter(t, "cleanup.policy", "compact", AlterConfigOp.OpType.APPEND).get();
            until("the appended value", () -> Set.of(configOf(t).get("cleanup.policy").value().split(",")).equals(Set.of("delete", "compact")));
            alter(t, "cleanup.policy", "delete", AlterConfigOp.OpType.SUBTRACT).get();
            until("the value left", () -> configOf(t).get("cleanup.policy").value().equals("compact"));
            alter(t, "retention.ms", null, AlterConfigOp.OpType.DELETE).get();
            until("the default", () -> configOf(t).get("retention.ms").isDefault());
            fails(InvalidConfigurationException.class, alter(t, "retention.ms", "never", AlterConfigOp.OpType.SET));
            fails(InvalidConfigurationException.class, alter(t, "no.such.key", "1", AlterConfigOp.OpType.SET));
            fails(UnknownTopicOrPartitionException.class, alter(name("none"), "retention.ms", "1", AlterConfigOp.OpType.SET));
            Node node = admin.describeCluster().nodes().get().iterator().next();
            ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, node.idString());
            that(!admin.describeConfigs(List.of(broker)).all().get().get(broker).entries().isEmpty(), "no broker settings");
        });
        check("deleteRecords", () -> {
            String t = topic("delrec", 1, Map.of());
            TopicPartition tp = new TopicPartition(t, 0);
            send(sample(t, 0, 100, 1));
            eq(admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(40))).lowWatermarks().get(tp).get().lowWatermark(), 40L, "low watermark");
            try (var c = consumer()) {
                eq(c.beginningOffsets(List.of(tp)).get(tp), 40L, "beginning");
            }
            eq(read(t, 0, 60).get(0).offset(), 40L, "first record");
            fails(org.apache.kafka.common.errors.OffsetOutOfRangeException.class, admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(101))).all());
            eq(admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(-1))).lowWatermarks().get(tp).get().lowWatermark(), 100L, "all");
        });
        check("listOffsets", () -> {
            String t = topic("lo", 1, Map.of());
            TopicPartition tp = new TopicPartition(t, 0);
            long base = 1_600_000_000_000L;
            List<ProducerRecord<byte[], byte[]>> all = new ArrayList<>();
            for (long s : List.of(base, base + 5000, base + 9000, base + 1000)) all.add(new ProducerRecord<>(t, 0, s, null, bytes("x")));
            send(all);
            Map<String, OffsetSpec> specs = Map.of("earliest", OffsetSpec.earliest(), "latest", OffsetSpec.latest(), "max", OffsetSpec.maxTimestamp(), "time", OffsetSpec.forTimestamp(base + 4000), "late", OffsetSpec.forTimestamp(base + 9001), "local", OffsetSpec.earliestLocal());
            Map<String, String> got = new HashMap<>();
            for (var e : specs.entrySet()) {
                ListOffsetsResultInfo i = admin.listOffsets(Map.of(tp, e.getValue())).all().get().get(tp);
                got.put(e.getKey(), i.offset() + "@" + (i.timestamp() < 0 ? -1 : i.timestamp() - base));
            }
            eq(got, Map.of("earliest", "0@-1", "latest", "4@-1", "max", "2@9000", "time", "1@5000", "late", "-1@-1", "local", "0@-1"), "offsets");
        });
        check("describeCluster", () -> {
            DescribeClusterResult c = admin.describeCluster();
            that(!c.nodes().get().isEmpty() && !c.clusterId().get().isEmpty(), "nodes " + c.nodes().get());
            that(c.nodes().get().contains(c.controller().get()), "controller " + c.controller().get());
        });
        check("describeLogDirs", () -> {
            String t = topic("dirs", 2, Map.of());
            send(sample(t, 0, 100, 1));
            long size = 0;
            Set<TopicPartition> seen = new HashSet<>();
            var ids = admin.describeCluster().nodes().get().stream().map(Node::id).toList();
            for (Map<String, LogDirDescription> dirs : admin.describeLogDirs(ids).allDescriptions().get().values())
                for (LogDirDescription d : dirs.values()) {
                    eq(d.error(), null, "error");
                    for (var e : d.replicaInfos().entrySet())
                        if (e.getKey().topic().equals(t)) {
                            that(seen.add(e.getKey()), e.getKey() + " twice");
                            size += e.getValue().size();
                        }
                }
            eq(seen.size(), 2, "partitions");
            that(size > 1000, "size " + size);
        });
        check("describeProducers is answered or refused", () -> {
            try {
                String t = topic("dp", 1, Map.of());
                send(sample(t, 0, 5, 1));
                admin.describeProducers(List.of(new TopicPartition(t, 0))).all().get();
            } catch (ExecutionException e) {
                that(e.getCause() instanceof org.apache.kafka.common.errors.UnsupportedVersionException, "" + e.getCause());
            }
        });
        check("deleteTopics, by name and id", () -> {
            String t = topic("del", 2, Map.of()), u = topic("del", 1, Map.of());
            admin.deleteTopics(List.of(t)).all().get();
            until("gone", () -> !admin.listTopics().names().get().contains(t));
            fails(UnknownTopicOrPartitionException.class, admin.deleteTopics(List.of(t)).all());
            Uuid id = admin.describeTopics(List.of(u)).allTopicNames().get().get(u).topicId();
            admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
            fails(UnknownTopicIdException.class, admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all());
            until("gone", () -> !admin.listTopics().names().get().contains(u));
        });
        check("a topic made again is empty", () -> {
            String t = topic("again", 1, Map.of());
            send(sample(t, 0, 50, 1));
            admin.deleteTopics(List.of(t)).all().get();
            until("gone", () -> !admin.listTopics().names().get().contains(t));
            admin.createTopics(List.of(new NewTopic(t, 1, (short) 1))).all().get();
            eq(send(sample(t, 0, 3, 1)), longs(0, 3), "offsets");
        });
    }

    public static void main(String[] args) {
        chosen = Pattern.compile(args.length > 0 ? args[0] : "");
        Properties p = common();
        p.put("default.api.timeout.ms", "20000");
        p.put("request.timeout.ms", "10000");
        admin = Admin.create(p);
        producing();
        consuming();
        administration();
        admin.close(Duration.ofSeconds(2));
        System.out.println(passed + " passed, " + failed + " failed");
        System.exit(failed > 0 || passed == 0 ? 1 : 0);
    }
}
