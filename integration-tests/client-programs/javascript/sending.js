// What all programs in JavaScript have in common; client-programs/python/sending.py says what a program is.
'use strict'

const { createHash } = require('node:crypto')
const { writeSync } = require('node:fs')

const LEVELS = ['DEBUG', 'INFO', 'WARN', 'ERROR']
const TOGETHER = 10
const CLIENT_FAILED = 3

function asked() {
  const [url, count, seed] = process.argv.slice(2)
  return { url, records: Array.from({ length: Number(count) }, (_, number) => record(number, seed)) }
}

function record(number, seed) {
  return {
    number,
    service: `shop-${seed}`,
    level: LEVELS[number % LEVELS.length],
    message: `record ${number} of ${seed}: Grüße ☃`,
    trace: createHash('sha256').update(`${seed}/${Math.floor(number / TOGETHER)}`).digest('hex').slice(0, 32),
    attributes: { number, ratio: number + 0.5, flag: number % 2 === 0, place: 'Zürich' },
  }
}

// The attributes for a protocol that has only texts.
function texts({ attributes }) {
  const text = (value) => (typeof value === 'string' ? value : JSON.stringify(value))
  return Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, text(value)]))
}

const told = []

function say(sent, differently = {}) {
  told.push(JSON.stringify({ ...sent, ...differently }))
}

// End at once: some clients keep a timer or a connection open.
function end(failures) {
  let rest = Buffer.from(told.map((line) => `${line}\n`).join(''))
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest))
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error
    }
  }
  process.exit(failures > 0 ? CLIENT_FAILED : 0)
}

const milliseconds = (time) => `${time}000000`

module.exports = { asked, end, milliseconds, say, texts }
