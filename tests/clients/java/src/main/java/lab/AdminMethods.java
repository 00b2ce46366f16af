package lab;

import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.admin.AlterConfigOp.OpType;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.metrics.KafkaMetric;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Calls every method of Java's Admin once against the broker at BOOTSTRAP and prints a line for each: its name, a tab,
 * and what came of it in words that do not depend on the broker, so that two brokers' lines can be compared. A method
 * that this program does not know is a line too. compatibility.py makes a table of it.
 */
@SuppressWarnings("removal")
public final class AdminMethods {
    private static final String BOOTSTRAP = System.getenv().getOrDefault("BOOTSTRAP", "127.0.0.1:9092");
    private static final String RUN = Long.toString(System.nanoTime(), 36);
    private static final Set<String> called = new LinkedHashSet<>();
    private static Admin admin;

    private interface Call {
        Object run() throws Exception;
    }

    /** What came of it: the answer as the call sums it up, or the name of the error. */
    private static void call(String method, Call call) {
        String outcome;
        try {
            Object answer = call.run();
            outcome = answer == null ? "done" : String.valueOf(answer);
        } catch (Throwable e) {
            Throwable cause = e;
            while (cause instanceof ExecutionException && cause.getCause() != null) cause = cause.getCause();
            outcome = cause.getClass().getSimpleName();
        }
        called.add(method);
        System.out.println(method + "\t" + outcome.replace(RUN, "<run>").replace('\n', ' ').replace('\t', ' '));
    }

    private static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(30, TimeUnit.SECONDS);
    }

    private static String count(Collection<?> things, String what) {
        return things.size() + " " + what;
    }

    private static String sorted(Collection<?> things) {
        return things.stream().map(String::valueOf).sorted().collect(Collectors.joining(", "));
    }

    private static void until(Call condition) throws Exception {
        long end = System.currentTimeMillis() + 20_000;
        while (System.currentTimeMillis() < end) {
            try {
                if (Boolean.TRUE.equals(condition.run())) return;
            } catch (ExecutionException e) {
                // Asked again.
            }
            Thread.sleep(100);
        }
    }

    private static Properties properties() {
        Properties p = new Properties();
        p.put("bootstrap.servers", BOOTSTRAP);
        p.put("default.api.timeout.ms", "20000");
        p.put("request.timeout.ms", "8000");
        p.put("client.id", "methods-" + RUN);
        return p;
    }

    private static final String topic = "methods-" + RUN, group = "group-" + RUN, user = "user-" + RUN;
    private static final TopicPartition one = new TopicPartition(topic, 0);
    private static Node node;

    // ------------------------------------------------------------------ topics, records, settings

    private static void topics() throws Exception {
        call("createTopics", () -> get(admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1))).numPartitions(topic)) + " partitions");
        until(() -> get(admin.listOffsets(Map.of(one, OffsetSpec.latest(), new TopicPartition(topic, 1), OffsetSpec.latest())).all()) != null);
        Properties p = properties();
        p.keySet().removeAll(Set.of("default.api.timeout.ms"));
        try (var producer = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int i = 0; i < 5; i++) producer.send(new ProducerRecord<>(topic, 0, 1000L + i, null, new byte[] {1})).get();
        }
        call("listTopics", () -> get(admin.listTopics().names()).contains(topic) ? "the topic is there" : "the topic is missing");
        call("describeTopics", () -> {
            TopicDescription d = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
            boolean whole = d.partitions().stream().allMatch(i -> i.leader() != null && i.isr().equals(i.replicas()) && i.replicas().size() == 1);
            return count(d.partitions(), "partitions") + (whole ? ", each with its leader" : ", not whole") + (d.isInternal() ? ", internal" : "");
        });
        call("createPartitions", () -> get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all()));
        call("listOffsets", () -> get(admin.listOffsets(Map.of(one, OffsetSpec.latest())).all()).get(one).offset());
        call("deleteRecords", () -> get(admin.deleteRecords(Map.of(one, RecordsToDelete.beforeOffset(2))).lowWatermarks().get(one)).lowWatermark());
        call("describeCluster", () -> get(admin.describeCluster().nodes()).contains(get(admin.describeCluster().controller())) ? "the controller is a node" : "the controller is none of the nodes");
        node = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().get(0).leader();
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        call("incrementalAlterConfigs", () -> get(admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "77000"), OpType.SET)))).all()));
        until(() -> get(admin.describeConfigs(List.of(resource)).all()).get(resource).get("retention.ms").value().equals("77000"));
        call("describeConfigs", () -> {
            ConfigEntry entry = get(admin.describeConfigs(List.of(resource)).all()).get(resource).get("retention.ms");
            return entry.value() + ", " + entry.source();
        });
        call("listConfigResources", () -> {
            var found = get(admin.listConfigResources(Set.of(ConfigResource.Type.TOPIC, ConfigResource.Type.BROKER), new ListConfigResourcesOptions()).all());
            return found.contains(resource) && found.contains(new ConfigResource(ConfigResource.Type.BROKER, node.idString())) ? "topic and broker are there" : "missing: " + found;
        });
        call("listClientMetricsResources", () -> count(get(admin.listClientMetricsResources().all()), "resources"));
        call("describeLogDirs", () -> {
            var dirs = get(admin.describeLogDirs(List.of(node.id())).allDescriptions()).get(node.id());
            boolean there = dirs.values().stream().anyMatch(d -> d.replicaInfos().containsKey(one));
            return count(dirs.keySet(), "directory") + (there ? ", the partition is there" : ", the partition is missing");
        });
        TopicPartitionReplica replica = new TopicPartitionReplica(topic, 0, node.id());
        call("describeReplicaLogDirs", () -> {
            var info = get(admin.describeReplicaLogDirs(List.of(replica)).all()).get(replica);
            return (info.getCurrentReplicaLogDir() != null ? "it is there" : "it is nowhere") + (info.getFutureReplicaLogDir() != null ? " and moves" : "");
        });
        call("alterReplicaLogDirs", () -> get(admin.alterReplicaLogDirs(Map.of(replica, "/no/such/directory")).all()));
    }

    // ------------------------------------------------------------------ the cluster

    private static void cluster() {
        call("electLeaders", () -> get(admin.electLeaders(ElectionType.PREFERRED, Set.of(one)).partitions()).get(one).map(e -> e.getClass().getSimpleName()).orElse("elected"));
        call("alterPartitionReassignments", () -> get(admin.alterPartitionReassignments(Map.of(one, Optional.of(new NewPartitionReassignment(List.of(node.id()))))).all()));
        call("listPartitionReassignments", () -> count(get(admin.listPartitionReassignments(Set.of(one)).reassignments()).keySet(), "under way"));
        call("describeFeatures", () -> {
            String names = sorted(get(admin.describeFeatures().featureMetadata()).finalizedFeatures().keySet());
            return names.isEmpty() ? "none" : names;
        });
        call("updateFeatures", () -> get(admin.updateFeatures(Map.of("no.such", new FeatureUpdate((short) 1, FeatureUpdate.UpgradeType.UPGRADE)), new UpdateFeaturesOptions()).all()));
        call("describeMetadataQuorum", () -> count(get(admin.describeMetadataQuorum().quorumInfo()).voters(), "voter"));
        call("unregisterBroker", () -> get(admin.unregisterBroker(999_999).all()));
        RaftVoterEndpoint endpoint = new RaftVoterEndpoint("CONTROLLER", "127.0.0.1", 1);
        call("addRaftVoter", () -> get(admin.addRaftVoter(77, Uuid.randomUuid(), Set.of(endpoint)).all()));
        call("removeRaftVoter", () -> get(admin.removeRaftVoter(77, Uuid.randomUuid()).all()));
        call("describeProducers", () -> {
            var producers = get(admin.describeProducers(List.of(one)).all()).get(one).activeProducers();
            return producers.stream().map(p -> "epoch " + p.producerEpoch() + ", sequence " + p.lastSequence()).collect(Collectors.joining("; "));
        });
    }

    // ------------------------------------------------------------------ quotas and security

    private static void security() {
        ClientQuotaEntity entity = new ClientQuotaEntity(Map.of(ClientQuotaEntity.CLIENT_ID, "quoted-" + RUN));
        call("alterClientQuotas", () -> get(admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity, List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 12345.0))))).all()));
        call("describeClientQuotas", () -> {
            until(() -> !get(admin.describeClientQuotas(ClientQuotaFilter.all()).entities()).isEmpty());
            Object found = get(admin.describeClientQuotas(ClientQuotaFilter.all()).entities()).get(entity);
            get(admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity, List.of(new ClientQuotaAlteration.Op("producer_byte_rate", null))))).all());
            return found;
        });
        call("describeUserScramCredentials", () -> get(admin.describeUserScramCredentials(List.of(user)).description(user)));
        var deletion = new UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_256);
        call("alterUserScramCredentials", () -> get(admin.alterUserScramCredentials(List.of(deletion)).all()));
        AclBinding acl = new AclBinding(new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL),
            new AccessControlEntry("User:a", "*", AclOperation.READ, AclPermissionType.ALLOW));
        call("createAcls", () -> get(admin.createAcls(List.of(acl)).all()));
        call("describeAcls", () -> get(admin.describeAcls(AclBindingFilter.ANY).values()));
        call("deleteAcls", () -> get(admin.deleteAcls(List.of(AclBindingFilter.ANY)).all()));
        call("createDelegationToken", () -> get(admin.createDelegationToken().delegationToken()));
        call("renewDelegationToken", () -> get(admin.renewDelegationToken(new byte[] {1}).expiryTimestamp()));
        call("expireDelegationToken", () -> get(admin.expireDelegationToken(new byte[] {1}).expiryTimestamp()));
        call("describeDelegationToken", () -> get(admin.describeDelegationToken().delegationTokens()));
    }

    // ------------------------------------------------------------------ groups

    private static void groups() {
        Map<TopicPartition, OffsetAndMetadata> offsets = Map.of(one, new OffsetAndMetadata(4, "note"));
        call("alterConsumerGroupOffsets", () -> get(admin.alterConsumerGroupOffsets(group, offsets).all()));
        call("listConsumerGroupOffsets", () -> get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).values().stream().map(o -> o.offset() + " " + o.metadata()).toList());
        call("listGroups", () -> get(admin.listGroups().all()).stream().anyMatch(g -> g.groupId().equals(group)) ? "the group is there" : "the group is missing");
        call("listConsumerGroups", () -> get(admin.listConsumerGroups().all()).stream().anyMatch(g -> g.groupId().equals(group)) ? "the group is there" : "the group is missing");
        call("describeConsumerGroups", () -> {
            var d = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
            return d.groupState() + ", " + d.type() + ", " + count(d.members(), "members");
        });
        call("describeClassicGroups", () -> {
            var d = get(admin.describeClassicGroups(List.of(group)).all()).get(group);
            return d.state() + ", " + count(d.members(), "members");
        });
        call("removeMembersFromConsumerGroup", () -> get(admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("nobody")))).all()));
        call("deleteConsumerGroupOffsets", () -> get(admin.deleteConsumerGroupOffsets(group, Set.of(one)).all()));
        call("deleteConsumerGroups", () -> get(admin.deleteConsumerGroups(List.of(group)).all()));
        call("describeShareGroups", () -> get(admin.describeShareGroups(List.of(group)).all()).keySet());
        call("listShareGroupOffsets", () -> get(admin.listShareGroupOffsets(Map.of(group, new ListShareGroupOffsetsSpec())).all()));
        call("alterShareGroupOffsets", () -> get(admin.alterShareGroupOffsets(group + "-share", Map.of(one, 1L)).all()));
        call("deleteShareGroupOffsets", () -> get(admin.deleteShareGroupOffsets(group, Set.of(topic)).all()));
        call("deleteShareGroups", () -> get(admin.deleteShareGroups(List.of(group)).all()));
        call("describeStreamsGroups", () -> get(admin.describeStreamsGroups(List.of(group)).all()).keySet());
        call("listStreamsGroupOffsets", () -> get(admin.listStreamsGroupOffsets(Map.of(group, new ListStreamsGroupOffsetsSpec())).all()));
        call("alterStreamsGroupOffsets", () -> get(admin.alterStreamsGroupOffsets(group + "-streams", offsets).all()));
        call("deleteStreamsGroupOffsets", () -> get(admin.deleteStreamsGroupOffsets(group, Set.of(one)).all()));
        call("deleteStreamsGroups", () -> get(admin.deleteStreamsGroups(List.of(group)).all()));
    }

    private static void transactions() {
        String id = "transactional-" + RUN;
        call("listTransactions", () -> get(admin.listTransactions().all()).stream().filter(t -> t.transactionalId().equals(id)).count() + " of this run");
        call("describeTransactions", () -> get(admin.describeTransactions(List.of(id)).all()).keySet());
        call("abortTransaction", () -> get(admin.abortTransaction(new AbortTransactionSpec(one, 12_345, (short) 0, 0)).all()));
        call("fenceProducers", () -> get(admin.fenceProducers(List.of(id)).all()));
        call("forceTerminateTransaction", () -> get(admin.forceTerminateTransaction(id + "-2").result()));
    }

    // ------------------------------------------------------------------ the client itself

    private static void client() {
        call("metrics", () -> admin.metrics().isEmpty() ? "none" : "some");
        KafkaMetric metric = admin.metrics().values().stream().filter(KafkaMetric.class::isInstance).map(KafkaMetric.class::cast).findFirst().orElseThrow();
        call("registerMetricForSubscription", () -> {
            admin.registerMetricForSubscription(metric);
            return null;
        });
        call("unregisterMetricFromSubscription", () -> {
            admin.unregisterMetricFromSubscription(metric);
            return null;
        });
        call("clientInstanceId", () -> admin.clientInstanceId(Duration.ofSeconds(3)) != null ? "an id" : "none");
    }

    public static void main(String[] args) throws Exception {
        admin = Admin.create(properties());
        topics();
        cluster();
        security();
        groups();
        transactions();
        client();
        call("deleteTopics", () -> get(admin.deleteTopics(List.of(topic)).all()));
        call("close", () -> {
            admin.close(Duration.ofSeconds(2));
            return null;
        });
        Set<String> unknown = Arrays.stream(Admin.class.getMethods()).filter(m -> !Modifier.isStatic(m.getModifiers())).map(Method::getName).collect(Collectors.toCollection(TreeSet::new));
        unknown.removeAll(called);
        for (String method : unknown) System.out.println(method + "\tnot called by AdminMethods");
        System.out.flush();
        System.exit(0);
    }
}
