// The bulk helper of Elasticsearch's client for JavaScript.
'use strict'

const { Client } = require('@elastic/elasticsearch')
const { asked, end, milliseconds, say } = require('./sending.js')

async function* documents(records) {
  for (const record of records) {
    const now = Date.now()
    say(record, { time_ns: milliseconds(now) })
    yield {
      '@timestamp': new Date(now).toISOString(),
      message: record.message,
      log: { level: record.level.toLowerCase() },
      service: { name: record.service },
      trace: { id: record.trace },
      host: { name: 'till-1' },
      ...record.attributes,
    }
  }
}

async function main() {
  const { url, records } = asked()
  let failures = 0
  const client = new Client({ node: url, requestTimeout: 120_000 })
  try {
    await client.helpers.bulk({
      datasource: documents(records),
      // A request for about a hundred records.
      flushBytes: 30_000,
      onDocument: () => ({ create: { _index: 'logs-shop-default' } }),
      onDrop: () => {
        failures += 1
      },
    })
  } catch (error) {
    console.error(error)
    failures += 1
  }
  end(failures)
}

main()
