package lab;

import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collection;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.stream.Collectors;

import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * One member of a consumer group, for groups/workload.py; its log is that of groups/member.py:
 * {@code java lab.Member BOOTSTRAP TOPIC GROUP PROTOCOL SESSION_MS LOG}.
 */
public final class Member implements ConsumerRebalanceListener {
    private static final long COMMIT_EVERY_MS = 200;
    private static volatile boolean stopping;
    private final FileOutputStream log;
    private final Map<Integer, Long> next = new TreeMap<>(), done = new TreeMap<>();
    private final String topic;
    private final KafkaConsumer<String, String> consumer;

    private Member(String[] args) throws IOException {
        topic = args[1];
        log = new FileOutputStream(args[5], true);
        Properties p = new Properties();
        p.put("bootstrap.servers", args[0]);
        p.put("group.id", args[2]);
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "earliest");
        p.put("key.deserializer", StringDeserializer.class);
        p.put("value.deserializer", StringDeserializer.class);
        if (args[3].equals("consumer")) {
            p.put("group.protocol", "consumer");
        } else {
            int session = Integer.parseInt(args[4]);
            p.put("session.timeout.ms", session);
            p.put("heartbeat.interval.ms", session / 4);
            if (args[3].equals("cooperative"))
                p.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
        }
        String instance = System.getenv("GROUP_INSTANCE_ID");
        if (instance != null && !instance.isEmpty())
            p.put("group.instance.id", instance);
        consumer = new KafkaConsumer<>(p);
    }

    private void line(String kind, String text) {
        try {
            log.write((System.currentTimeMillis() + " " + kind + " " + text + "\n").getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    private void change(String kind, Collection<TopicPartition> partitions) {
        partitions.forEach(p -> { next.remove(p.partition()); done.remove(p.partition()); });
        line(kind, partitions.stream().map(p -> "" + p.partition()).sorted().collect(Collectors.joining(",")));
    }

    private void commit() {
        Map<Integer, Long> due = new TreeMap<>(next);
        due.entrySet().removeIf(e -> e.getValue().equals(done.get(e.getKey())));
        if (due.isEmpty()) return;
        String text = due.entrySet().stream().map(e -> e.getKey() + ":" + e.getValue()).collect(Collectors.joining(","));
        line("t", text);
        try {
            consumer.commitSync(due.entrySet().stream().collect(Collectors.toMap(
                e -> new TopicPartition(topic, e.getKey()), e -> new OffsetAndMetadata(e.getValue()))));
            line("c", text);
            done.putAll(due);
        } catch (WakeupException e) {
            throw e;
        } catch (KafkaException e) {
            line("x", "commit: " + e.toString().replace('\n', ' '));
        }
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        if (!partitions.isEmpty()) commit();
        change("-", partitions);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        change("!", partitions);
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        change("+", partitions);
    }

    private void run() {
        consumer.subscribe(java.util.List.of(topic), this);
        long last = System.nanoTime();
        while (!stopping) {
            for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofMillis(100))) {
                line("r", r.partition() + " " + r.offset() + " " + r.value());
                next.put(r.partition(), r.offset() + 1);
            }
            if (System.nanoTime() - last > COMMIT_EVERY_MS * 1_000_000) {
                commit();
                last = System.nanoTime();
            }
        }
        commit();
        consumer.close();
        line(".", "end");
    }

    public static void main(String[] args) throws Exception {
        Thread main = Thread.currentThread();
        // SIGTERM runs this; the process ends when it has returned.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopping = true;
            try {
                main.join(15_000);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));
        Member member = new Member(args);
        try {
            member.run();
        } catch (RuntimeException e) {
            member.line("x", "ended by " + e.toString().replace('\n', ' '));
            throw e;
        }
    }
}
