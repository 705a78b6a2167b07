// winston's transport for Loki: protobuf in snappy, without structured metadata; what failed is sent again with what came since.
'use strict'

const winston = require('winston')
const LokiTransport = require('winston-loki')
const { asked, end, say } = require('./sending.js')

// Records between two requests.
const AT_ONCE = 100

async function main() {
  const { url, records } = asked()
  const transport = new LokiTransport({
    host: url,
    labels: { service_name: records[0].service },
    format: winston.format.printf(({ message }) => message),
    interval: 0.2,
    gracefulShutdown: false,
    level: 'debug',
    onConnectionError: (error) => console.error(String(error)),
  })
  // After an error it rests for a minute.
  transport.batcher.circuitBreakerInterval = 500
  const logger = winston.createLogger({ level: 'debug', transports: [transport] })
  for (const record of records) {
    logger.log({ level: record.level.toLowerCase(), message: record.message, labels: { trace_id: record.trace } })
    say(record, { attributes: {} })
    if (record.number % AT_ONCE === AT_ONCE - 1) await transport.flush()
  }
  while (transport.batcher.batchesSending > 0 || transport.batcher.batch.streams.length > 0) await transport.flush()
  // It keeps what failed, and reports nothing that is lost.
  end(0)
}

main()
