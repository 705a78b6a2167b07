// OpenTelemetry's SDK for JavaScript: `send_otlp.js` after `json` or `protobuf`, which are two exporters.
'use strict'

const encoding = process.argv.splice(2, 1)[0]
const { ROOT_CONTEXT, diag, DiagLogLevel, trace } = require('@opentelemetry/api')
const { SeverityNumber } = require('@opentelemetry/api-logs')
const { resourceFromAttributes } = require('@opentelemetry/resources')
const { BatchLogRecordProcessor, LoggerProvider } = require('@opentelemetry/sdk-logs')
const { OTLPLogExporter } = require(`@opentelemetry/exporter-logs-otlp-${encoding === 'json' ? 'http' : 'proto'}`)
const { asked, end, milliseconds, say } = require('./sending.js')

async function main() {
  const { url, records } = asked()
  let failures = 0
  const complain = (...words) => {
    failures += 1
    console.error(...words)
  }
  diag.setLogger({ error: complain, warn: console.error, info() {}, debug() {}, verbose() {} }, DiagLogLevel.WARN)
  const provider = new LoggerProvider({
    resource: resourceFromAttributes({ 'service.name': records[0].service, 'host.name': 'till-1' }),
    processors: [
      new BatchLogRecordProcessor({
        // By default an export is given up after ten seconds, retries included.
        exporter: new OTLPLogExporter({ url: `${url}/v1/logs`, timeoutMillis: 120_000 }),
        maxExportBatchSize: 100,
        exportTimeoutMillis: 150_000,
      }),
    ],
  })
  const logger = provider.getLogger('checkout', '1.2')
  for (const record of records) {
    const spanId = (record.number + 1).toString(16).padStart(16, '0')
    const timestamp = Date.now()
    logger.emit({
      timestamp,
      severityNumber: SeverityNumber[record.level],
      severityText: record.level,
      body: record.message,
      attributes: record.attributes,
      context: trace.setSpanContext(ROOT_CONTEXT, { traceId: record.trace, spanId, traceFlags: 1 }),
    })
    say(record, { time_ns: milliseconds(timestamp) })
  }
  await provider.forceFlush()
  await provider.shutdown()
  end(failures)
}

main()
