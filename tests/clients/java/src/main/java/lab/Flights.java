package lab;

import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicInteger;

import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * The Java client's part of flights.py.
 *
 * <pre>
 * produce TOPIC ROWS LEDGER [setting=value ...]   rows are time TAB key TAB value; the ledger: row TAB partition TAB offset
 * read TOPIC OUT                                  partition TAB offset TAB time TAB key TAB value
 * times TOPIC TIME                                partition TAB offset for a time
 * </pre>
 */
public final class Flights {
    private static Properties settings(String... more) {
        Properties p = new Properties();
        p.put("bootstrap.servers", System.getenv().getOrDefault("BOOTSTRAP", "127.0.0.1:9092"));
        for (String m : more) p.put(m.substring(0, m.indexOf('=')), m.substring(m.indexOf('=') + 1));
        return p;
    }

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "produce" -> produce(args);
            case "read" -> read(args[1], Path.of(args[2]));
            case "times" -> times(args[1], Long.parseLong(args[2]));
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    private static void produce(String[] args) throws Exception {
        String[] more = java.util.Arrays.copyOfRange(args, 4, args.length);
        AtomicInteger acknowledged = new AtomicInteger(), failed = new AtomicInteger();
        try (BufferedReader rows = Files.newBufferedReader(Path.of(args[2]));
             PrintStream ledger = new PrintStream(args[3]);
             KafkaProducer<String, String> producer = new KafkaProducer<>(settings(more), new StringSerializer(), new StringSerializer())) {
            int n = 0;
            for (String line; (line = rows.readLine()) != null; n++) {
                int row = n, a = line.indexOf('\t'), b = line.indexOf('\t', a + 1);
                var record = new ProducerRecord<>(args[1], null, Long.parseLong(line.substring(0, a)), line.substring(a + 1, b), line.substring(b + 1));
                producer.send(record, (meta, e) -> {
                    if (e == null) {
                        acknowledged.incrementAndGet();
                        ledger.println(row + "\t" + meta.partition() + "\t" + meta.offset());
                    } else if (failed.getAndIncrement() == 0) {
                        System.err.println("row " + row + ": " + e);
                    }
                });
            }
            producer.flush();
        }
        System.out.println(acknowledged + " acknowledged, " + failed + " failed");
        System.exit(failed.get() > 0 ? 1 : 0);
    }

    private static void read(String topic, Path out) throws Exception {
        try (var consumer = new KafkaConsumer<>(settings("enable.auto.commit=false"), new StringDeserializer(), new StringDeserializer());
             BufferedWriter to = Files.newBufferedWriter(out, StandardCharsets.UTF_8)) {
            List<TopicPartition> all = consumer.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, Long> ends = new HashMap<>(consumer.endOffsets(all));
            ends.values().removeIf(end -> end == 0);
            long deadline = System.currentTimeMillis() + 120_000;
            while (!ends.isEmpty()) {
                if (System.currentTimeMillis() > deadline) throw new IllegalStateException("not read to the end: " + ends);
                for (var r : consumer.poll(Duration.ofMillis(500))) {
                    to.write(r.partition() + "\t" + r.offset() + "\t" + r.timestamp() + "\t" + r.key() + "\t" + r.value() + "\n");
                    TopicPartition tp = new TopicPartition(topic, r.partition());
                    if (ends.containsKey(tp) && r.offset() + 1 >= ends.get(tp)) ends.remove(tp);
                }
            }
        }
    }

    private static void times(String topic, long time) {
        try (var consumer = new KafkaConsumer<>(settings(), new StringDeserializer(), new StringDeserializer())) {
            Map<TopicPartition, Long> ask = new HashMap<>();
            consumer.partitionsFor(topic).forEach(p -> ask.put(new TopicPartition(topic, p.partition()), time));
            consumer.offsetsForTimes(ask).forEach((tp, found) -> System.out.println(tp.partition() + "\t" + (found == null ? -1 : found.offset())));
        }
    }
}
