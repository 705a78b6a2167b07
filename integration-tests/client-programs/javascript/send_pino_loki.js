// pino's transport for Loki: JSON, each record a stream of its own, tried once.
'use strict'

const pino = require('pino')
const { pinoLoki } = require('pino-loki')
const { asked, end, say, texts } = require('./sending.js')

async function main() {
  const { url, records } = asked()
  let failures = 0
  // It has no other way to report a failure.
  console.error = (...words) => {
    failures += 1
    process.stderr.write(`${words.join(' ')}\n`)
  }
  const stream = pinoLoki({
    host: url,
    labels: { service_name: records[0].service },
    structuredMetaKey: 'metadata',
    logFormat: '{msg}',
    interval: 0.2,
  })
  const logger = pino({ level: 'debug' }, stream)
  for (const record of records) {
    logger[record.level.toLowerCase()]({ metadata: { ...texts(record), trace_id: record.trace } }, record.message)
    say(record, { attributes: texts(record) })
  }
  // What is left is sent when the stream ends, and it is closed when that has been answered.
  const closed = new Promise((resolve) => stream.on('close', resolve))
  stream.end()
  await closed
  end(failures)
}

main()
