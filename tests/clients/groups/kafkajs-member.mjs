// One member of a consumer group by kafkajs, for workload.py; its log is member.py's.
//
//   NODE_DEPS=... node kafkajs-member.mjs BOOTSTRAP TOPIC GROUP PROTOCOL SESSION_MS LOG
//
// kafkajs has no callback in which one could commit before partitions are handed over: it says that a rebalance goes
// on when it has joined again or is about to. So what it read since its last commit may be read again by others.
import fs from 'node:fs'
import { createRequire } from 'node:module'
const require = createRequire(`${process.env.NODE_DEPS}/`)
const { Kafka, logLevel } = require('kafkajs')

const [bootstrap, topic, groupId, , session, path] = process.argv.slice(2)
const fd = fs.openSync(path, 'a')
const line = (kind, text) => fs.writeSync(fd, `${Date.now()} ${kind} ${text}\n`)
const kafka = new Kafka({
  brokers: bootstrap.split(','), clientId: 'kafkajs-member', logLevel: logLevel.WARN, retry: { retries: 30, maxRetryTime: 2000 },
  logCreator: () => ({ log }) => line('x', `${log.message} ${log.error ?? ''}`.replaceAll('\n', ' ').slice(0, 300))
})
const consumer = kafka.consumer({ groupId, sessionTimeout: +session, heartbeatInterval: session / 4, rebalanceTimeout: 10000, maxWaitTimeInMs: 200 })
let owned = []
const gone = kind => { if (owned.length) line(kind, owned.join(',')); owned = [] }
consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
  gone('-')
  owned = [...payload.memberAssignment[topic] ?? []].sort((a, b) => a - b)
  line('+', owned.join(','))
})
consumer.on(consumer.events.REBALANCING, () => gone('-'))
consumer.on(consumer.events.CRASH, ({ payload }) => { line('x', `crash: ${payload.error}`.replaceAll('\n', ' ')); gone('!') })

let stopping = false
process.on('SIGTERM', async () => {
  stopping = true
  await consumer.disconnect()
  gone('-')
  line('.', 'end')
  process.exit(0)
})
await consumer.connect()
await consumer.subscribe({ topics: [topic], fromBeginning: true })
await consumer.run({
  autoCommit: false,
  eachBatchAutoResolve: false,
  eachBatch: async ({ batch: { partition, messages }, resolveOffset, heartbeat, isRunning, isStale }) => {
    let next
    for (const { offset, value } of messages) {
      if (!isRunning() || isStale()) break
      line('r', `${partition} ${offset} ${value}`)
      resolveOffset(offset)
      next = `${BigInt(offset) + 1n}`
    }
    if (next === undefined) return
    line('t', `${partition}:${next}`)
    await consumer.commitOffsets([{ topic, partition, offset: next }])
    // While it stops, kafkajs says nothing of a commit that was refused.
    if (!stopping) line('c', `${partition}:${next}`)
    await heartbeat()
  }
})
