#!/usr/bin/env node
// Drives a running broker with kafkajs, and with @platformatic/kafka where that is installed too.
//
//   BOOTSTRAP=127.0.0.1:9092 node kafkajs.mjs [NAME-REGEX]
//
// Environment: BOOTSTRAP; NODE_DEPS, the folder whose node_modules holds the packages (default: the current one);
// CODECS (default none,gzip,snappy,lz4,zstd; those whose package is missing are skipped); RF, default 1;
// WITHOUT=groups,txn leaves out what a broker does not have yet (without groups, what was produced is read back with
// kafkajs's own Fetch instead of a consumer, which always joins a group); MULT, multiplier for time limits; SASL=mechanism:user:password; TLS_CA, a CA file.
// Packages: kafkajs kafkajs-snappy lz4-napi @toondepauw/node-zstd @platformatic/kafka
import { createRequire } from 'node:module'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
const require = createRequire(resolve(process.env.NODE_DEPS ?? '.', 'x.js'))
const brokers = (process.env.BOOTSTRAP ?? '127.0.0.1:9092').split(',')
const codecs = (process.env.CODECS ?? 'none,gzip,snappy,lz4,zstd').split(',')
const replicationFactor = Number(process.env.RF ?? 1)
const without = new Set((process.env.WITHOUT ?? '').split(',').filter(Boolean))
const mult = Number(process.env.MULT ?? 1)
const pattern = new RegExp(process.argv[2] ?? '')
const run = randomBytes(4).toString('hex')

const optional = name => { try { return require(name) } catch { return null } }
const kafkajs = optional('kafkajs')
if (!kafkajs) {
  console.log('kafkajs is not installed (set NODE_DEPS)\n0 passed, 1 failed')
  process.exit(1)
}
const { Kafka, CompressionTypes, CompressionCodecs, logLevel, ConfigResourceTypes } = kafkajs
const snappy = optional('kafkajs-snappy'), lz4 = optional('lz4-napi'), zstd = optional('@toondepauw/node-zstd')
if (snappy) CompressionCodecs[CompressionTypes.Snappy] = snappy
if (lz4?.compressFrame) {
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: encoder => lz4.compressFrame(encoder.buffer), decompress: buffer => lz4.decompressFrame(buffer)
  })
}
if (zstd) {
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: encoder => new zstd.Encoder(3).encode(encoder.buffer), decompress: buffer => new zstd.Decoder().decode(buffer)
  })
}
const have = { none: true, gzip: true, snappy: !!snappy, lz4: !!lz4?.compressFrame, zstd: !!zstd }
const typeOf = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD }

const security = {}
if (process.env.SASL) {
  const [mechanism, username, password] = process.env.SASL.split(':')
  security.sasl = { mechanism: mechanism.toLowerCase(), username, password }
}
if (process.env.TLS_CA) security.ssl = { ca: [readFileSync(process.env.TLS_CA)] }
const kafka = new Kafka({ clientId: `suite-${run}`, brokers, logLevel: logLevel.NOTHING, retry: { retries: 4 }, ...security })

class Skip extends Error {}
const open = new Set()
const opened = client => { open.add(client); return client }
const sleep = ms => new Promise(done => setTimeout(done, ms))
const eq = (got, want, what) => {
  const [a, b] = [got, want].map(x => JSON.stringify(x, (k, v) => typeof v === 'bigint' ? `${v}` : v))
  if (a !== b) throw new Error(`${what}: got ${a?.slice(0, 250)}, want ${b?.slice(0, 250)}`)
}
const check = (ok, what) => { if (!ok) throw new Error(what) }
const until = async (condition, seconds, what) => {
  const end = Date.now() + seconds * 1000 * mult
  while (!await condition()) {
    if (Date.now() > end) throw new Error(`not within ${seconds * mult}s: ${what}`)
    await sleep(100)
  }
}
const name = stem => `kjs-${run}-${stem}-${randomBytes(3).toString('hex')}`
const newAdmin = async () => { const admin = opened(kafka.admin()); await admin.connect(); return admin }
const newProducer = async options => { const p = opened(kafka.producer(options)); await p.connect(); return p }
const newTopic = async (stem, numPartitions = 1, configEntries = []) => {
  const admin = await newAdmin(), topic = name(stem)
  await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor, configEntries }], waitForLeaders: true })
  return topic
}
// The same without a group: kafkajs's own cluster, Fetch and decoder, which a consumer uses below its group.
const fetchAll = async (topic, count) => {
  const createCluster = Object.getOwnPropertySymbols(kafka).find(s => s.description.endsWith('createCluster'))
  const cluster = opened(kafka[createCluster]({ metadataMaxAge: 300000 })), got = []
  await cluster.connect()
  await cluster.addMultipleTargetTopics([topic])
  const partitions = cluster.findTopicPartitionMetadata(topic)
  const next = Object.fromEntries(partitions.map(p => [p.partitionId, 0n]))
  await until(async () => {
    for (const { partitionId, leader } of partitions) {
      const broker = await cluster.findBroker({ nodeId: leader })
      const { responses } = await broker.fetch({ isolationLevel: 1, maxWaitTime: 100, minBytes: 1, maxBytes: 10485760,
        topics: [{ topic, partitions: [{ partition: partitionId, fetchOffset: `${next[partitionId]}`, maxBytes: 1048576 }] }] })
      for (const { partition, messages } of responses.flatMap(r => r.partitions)) {
        for (const message of messages.filter(m => BigInt(m.offset) >= next[partition])) {
          got.push({ partition, ...message })
          next[partition] = BigInt(message.offset) + 1n
        }
      }
    }
    return got.length >= count
  }, 30, `${count} messages (${got.length} came)`)
  return got
}
// Reads from the start until `count` messages have come; resolves to them.
const read = async (topic, count, options = {}) => {
  if (without.has('groups')) return fetchAll(topic, count)
  const consumer = opened(kafka.consumer({ groupId: name('g'), sessionTimeout: 10000, ...options })), got = []
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({ eachMessage: async ({ partition, message }) => { got.push({ partition, ...message }) } })
  await until(() => got.length >= count, 30, `${count} messages, have ${got.length}`).catch(e => {
    throw new Error(`${e.message} (${got.length} came)`)
  })
  await consumer.disconnect()
  return got
}
const plain = m => ({
  offset: m.offset, key: m.key?.toString() ?? null, value: m.value?.toString() ?? null, timestamp: m.timestamp,
  headers: Object.fromEntries(Object.entries(m.headers ?? {}).map(([k, v]) => [k, [v].flat().map(String)]))
})

const tests = []
const test = (title, fn, seconds = 60) => tests.push({ title, fn, seconds })
const need = (...what) => {
  const missing = what.filter(w => without.has(w))
  if (missing.length) throw new Skip(`WITHOUT=${missing}`)
}

for (const codec of codecs) {
  test(`kafkajs round trip, ${codec}`, async () => {
    if (!have[codec]) throw new Skip('no package for it')
    const topic = await newTopic(`rt-${codec}`), producer = await newProducer(), base = Date.now() - 100000
    const sent = Array.from({ length: 200 }, (_, i) => ({
      key: i % 3 ? `k${i % 7}` : null, value: i % 11 === 4 ? null : `value ${i} ${'abc'.repeat(i % 50)}`,
      timestamp: `${base + i * 10}`, partition: 0, headers: i % 2 ? { one: '1', many: ['a', 'b'] } : {}
    }))
    for (let i = 0; i < sent.length; i += 50) {
      const [meta] = await producer.send({ topic, compression: typeOf[codec], acks: -1, messages: sent.slice(i, i + 50) })
      eq(meta.baseOffset, `${i}`, 'base offset')
    }
    const got = await read(topic, 200)
    eq(got.map(plain), sent.map((m, i) => ({
      offset: `${i}`, key: m.key, value: m.value, timestamp: m.timestamp,
      headers: Object.fromEntries(Object.entries(m.headers).map(([k, v]) => [k, [v].flat()]))
    })), 'messages')
  })
}

test('kafkajs acks 0 and 1', async () => {
  const topic = await newTopic('acks'), producer = await newProducer()
  for (const acks of [0, 1]) await producer.send({ topic, acks, messages: [{ value: `a${acks}` }] })
  eq((await read(topic, 2)).map(m => m.value.toString()), ['a0', 'a1'], 'values')
})

test('kafkajs idempotent producer', async () => {
  const topic = await newTopic('idem', 3), producer = await newProducer({ idempotent: true, maxInFlightRequests: 1 })
  await Promise.all(Array.from({ length: 60 }, (_, i) => producer.send({ topic, messages: [{ key: `k${i}`, value: `${i}` }] })))
  const got = await read(topic, 60)
  eq(got.map(m => Number(m.value)).sort((a, b) => a - b), Array.from({ length: 60 }, (_, i) => i), 'values')
})

test('kafkajs group of two, leave, commit', async () => {
  need('groups')
  const topic = await newTopic('group', 4), groupId = name('g'), producer = await newProducer()
  const fill = text => producer.send({ topic, messages: [0, 1, 2, 3].flatMap(partition =>
    Array.from({ length: 20 }, (_, i) => ({ partition, value: `${text}${i}` }))) })
  await fill('a')
  const seen = new Set(), owned = {}
  const member = async id => {
    const consumer = opened(kafka.consumer({ groupId, sessionTimeout: 10000, heartbeatInterval: 500, rebalanceTimeout: 10000 }))
    consumer.on(consumer.events.GROUP_JOIN, e => { owned[id] = e.payload.memberAssignment[topic] ?? [] })
    consumer.on(consumer.events.DISCONNECT, () => { owned[id] = [] })
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await consumer.run({ autoCommitInterval: 300,
      eachMessage: async ({ partition, message }) => { seen.add(`${partition}:${message.value}`) } })
    return consumer
  }
  const first = await member('a')
  await until(() => owned.a?.length === 4, 30, 'the first member owns everything')
  const second = await member('b')
  await until(() => owned.a?.length === 2 && owned.b?.length === 2, 40, 'two members share the partitions')
  check(!owned.a.some(p => owned.b.includes(p)), `both own: ${JSON.stringify(owned)}`)
  await fill('b')
  await until(() => seen.size === 160, 30, 'every message arrived')
  await first.disconnect()
  await until(() => owned.b?.length === 4, 40, 'all goes to the one that stays')
  await fill('c')
  await until(() => seen.size === 240, 30, 'the last messages arrived')
  await second.disconnect()
  const admin = await newAdmin()
  const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] })
  eq(partitions.map(p => p.offset), ['60', '60', '60', '60'], 'offsets committed')
}, 120)

test('kafkajs seek, pause and commit by hand', async () => {
  need('groups')
  const topic = await newTopic('seek'), producer = await newProducer(), groupId = name('g')
  await producer.send({ topic, messages: Array.from({ length: 100 }, (_, i) => ({ value: `${i}` })) })
  const consumer = opened(kafka.consumer({ groupId, sessionTimeout: 10000 })), got = []
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => { got.push(Number(message.offset)) } })
  consumer.seek({ topic, partition: 0, offset: '90' })
  await until(() => got.includes(99), 30, 'the end')
  check(got.filter(o => o >= 90).length >= 10, `offsets ${got}`)
  await consumer.commitOffsets([{ topic, partition: 0, offset: '42', metadata: 'note' }])
  await consumer.disconnect()
  const admin = await newAdmin()
  const [{ partitions: [{ offset, metadata }] }] = await admin.fetchOffsets({ groupId, topics: [topic] })
  eq([offset, metadata], ['42', 'note'], 'committed')
})

test('kafkajs admin', async () => {
  const admin = await newAdmin(), topic = await newTopic('admin', 2, [{ name: 'retention.ms', value: '777777' }])
  check((await admin.listTopics()).includes(topic), 'not listed')
  const cluster = await admin.describeCluster()
  check(cluster.brokers.length && cluster.clusterId && cluster.controller !== null, JSON.stringify(cluster))
  const { resources: [{ configEntries }] } = await admin.describeConfigs({
    includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] })
  eq(configEntries.find(c => c.configName === 'retention.ms')?.configValue, '777777', 'retention.ms')
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  await until(async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 3, 15,
    'three partitions')
  const producer = await newProducer(), base = Date.now() - 100000
  await producer.send({ topic, messages: Array.from({ length: 20 }, (_, i) =>
    ({ partition: 0, value: `${i}`, timestamp: `${base + i * 1000}` })) })
  const ends = await admin.fetchTopicOffsets(topic)
  eq(ends.map(p => [p.partition, p.low, p.high]).sort(), [[0, '0', '20'], [1, '0', '0'], [2, '0', '0']], 'offsets')
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '5' }] })
  eq((await admin.fetchTopicOffsets(topic)).find(p => p.partition === 0).low, '5', 'low after deleting records')
  await admin.deleteTopics({ topics: [topic] })
  await until(async () => !(await admin.listTopics()).includes(topic), 15, 'deleted')
})

test('kafkajs groups admin', async () => {
  need('groups')
  const admin = await newAdmin(), topic = await newTopic('gadm'), groupId = name('g')
  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '3' }] })
  const { groups } = await admin.listGroups()
  check(groups.some(g => g.groupId === groupId), 'not listed')
  eq(groups.length, new Set(groups.map(g => g.groupId)).size, 'no group is listed twice')
  const described = await admin.describeGroups([groupId])
  eq(described.groups[0].state, 'Empty', 'state')
  await admin.deleteGroups([groupId])
  check(!(await admin.listGroups()).groups.some(g => g.groupId === groupId), 'still listed')
})

test('kafkajs transactions', async () => {
  need('txn', 'groups')
  const topic = await newTopic('txn'), source = await newTopic('src'), groupId = name('g')
  const producer = await newProducer({ transactionalId: name('tid'), maxInFlightRequests: 1, idempotent: true })
  for (const [word, commit] of [['one', true], ['two', false], ['three', true]]) {
    const txn = await producer.transaction()
    await txn.send({ topic, messages: [{ value: `${word}-a` }, { value: `${word}-b` }] })
    await txn.sendOffsets({ consumerGroupId: groupId, topics: [{ topic: source, partitions: [{ partition: 0, offset: commit ? '7' : '9' }] }] })
    await (commit ? txn.commit() : txn.abort())
  }
  eq((await read(topic, 4)).map(m => m.value.toString()), ['one-a', 'one-b', 'three-a', 'three-b'], 'read committed')
  eq((await read(topic, 6, { readUncommitted: true })).length, 6, 'read uncommitted')
  const admin = await newAdmin()
  const [{ partitions: [{ offset }] }] = await admin.fetchOffsets({ groupId, topics: [source] })
  eq(offset, '7', 'offset of the committed transactions')
})

test('kafkajs errors', async () => {
  const admin = await newAdmin(), topic = await newTopic('err', 1, [{ name: 'max.message.bytes', value: '2000' }])
  eq(await admin.createTopics({ topics: [{ topic, numPartitions: 1, replicationFactor }] }), false, 'creating it twice')
  const producer = await newProducer()
  const error = await producer.send({ topic, messages: [{ value: randomBytes(5000).toString('hex') }] }).catch(e => e)
  check(/too large|MESSAGE_TOO_LARGE/i.test(`${error.type} ${error.message}`), `error ${error}`)
})

const platformatic = optional('@platformatic/kafka')
if (platformatic && !process.env.SASL && !process.env.TLS_CA) {
  const { Producer, Consumer, Admin, stringSerializers, stringDeserializers } = platformatic
  const base = id => ({ clientId: `plat-${id}-${run}`, bootstrapBrokers: brokers })
  test('platformatic round trip, no group', async () => {
    const topic = name('plat'), admin = new Admin(base('a'))
    await admin.createTopics({ topics: [topic], partitions: 1, replicas: replicationFactor })
    const meta = await admin.metadata({ topics: [topic] }), { id: topicId, partitions } = meta.topics.get(topic)
    await admin.close()
    const producer = new Producer({ ...base('p'), serializers: stringSerializers })
    const messages = Array.from({ length: 50 }, (_, i) => ({ topic, key: `k${i}`, value: `v${i}`, headers: { n: `${i}` } }))
    await until(() => producer.send({ messages }).then(() => true, () => false), 15, 'the topic is ready')
    await producer.close()
    const consumer = new Consumer({ ...base('c'), groupId: name('g') }), got = []
    try {
      await until(async () => {
        const { responses } = await consumer.fetch({ node: partitions[0].leader, maxWaitTime: 200, minBytes: 1, maxBytes: 1e7,
          topics: [{ topicId, partitions: [{ partition: 0, currentLeaderEpoch: -1, fetchOffset: BigInt(got.length),
            lastFetchedEpoch: -1, partitionMaxBytes: 1e6 }] }] })
        for (const { records } of responses.flatMap(r => r.partitions)) {
          for (const batch of records ?? []) for (const r of batch.records) got.push(`${r.key}=${r.value}`)
        }
        return got.length >= 50
      }, 20, '50 messages')
    } finally {
      await consumer.close(true).catch(() => {})
    }
    eq(got, messages.map(m => `${m.key}=${m.value}`), 'messages')
  })
  for (const [label, extra] of [['classic group', {}], ['KIP-848 group', { groupProtocol: 'consumer' }]]) {
    test(`platformatic round trip, ${label}`, async () => {
      need('groups')
      const topic = name('plat')
      const admin = new Admin(base('a'))
      await admin.createTopics({ topics: [topic], partitions: 2, replicas: replicationFactor })
      await admin.close()
      const producer = new Producer({ ...base('p'), serializers: stringSerializers })
      const messages = Array.from({ length: 50 }, (_, i) => ({ topic, key: `k${i}`, value: `v${i}`, headers: { n: `${i}` } }))
      await until(() => producer.send({ messages }).then(() => true, () => false), 15, 'the topic is ready')
      await producer.close()
      const consumer = new Consumer({ ...base('c'), groupId: name('g'), deserializers: stringDeserializers,
        ...(extra.groupProtocol ? extra : { sessionTimeout: 10000, heartbeatInterval: 1000 }) })
      const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: true, maxWaitTime: 500 })
      const got = new Set()
      stream.on('data', m => got.add(`${m.key}=${m.value}:${m.headers.get('n')}`))
      try {
        await until(() => got.size === 50, 30, `50 messages, have ${got.size}`)
      } finally {
        await consumer.close(true)
      }
      eq([...got].sort(), messages.map((m, i) => `${m.key}=${m.value}:${i}`).sort(), 'messages')
    })
  }
}

const counts = { ok: 0, FAIL: 0, skip: 0 }
process.on('unhandledRejection', () => {})
for (const { title, fn, seconds } of tests.filter(t => pattern.test(t.title))) {
  const start = Date.now()
  let result = 'ok', why = '', timer
  try {
    await Promise.race([fn(), new Promise((_, no) => { timer = setTimeout(() => no(new Error(`no end in ${seconds * mult}s`)), seconds * 1000 * mult) })])
  } catch (e) {
    [result, why] = e instanceof Skip ? ['skip', e.message] : ['FAIL', `${e.name === 'Error' ? '' : `${e.name}: `}${e.message}`.slice(0, 600)]
  }
  clearTimeout(timer)
  await Promise.race([Promise.allSettled([...open].map(c => c.disconnect())), sleep(3000)])
  open.clear()
  counts[result]++
  console.log(`${result.padEnd(4)} ${title.padEnd(45)} ${((Date.now() - start) / 1000).toFixed(1).padStart(6)}s  ${why}`.trimEnd())
}
console.log(`${counts.ok} passed, ${counts.FAIL} failed, ${counts.skip} skipped`)
process.exit(counts.FAIL || !counts.ok ? 1 : 0)
