// The one door to all benches: npm run bench -- NAME [--quick] [--json]
//
// Results go to stdout; with --json as one line of JSON. Exit codes: 0 measured, 1 the bench failed, 2 wrong usage.

import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Bench, BenchOptions } from './lib/bench.ts'
import { describeEnv } from './lib/env.ts'
import { exposeGc } from './lib/gc.ts'
import { sectionOf, withSection } from './lib/section.ts'
import { formatTable } from './lib/table.ts'

interface Entry {
  about: string
  load(): Promise<{ bench: Bench }>
}

/** Every bench. One is loaded only when it is asked for, so that none disturbs another. */
const benches: Record<string, Entry> = {
  scheduler: {
    about: 'enqueue and next of the two-level queue, beside a plain array and a plain heap',
    load: () => import('./scheduler.ts'),
  },
  overhead: {
    about: 'a stage whose model answers at once: Orla beside agent frameworks, XState, a queue and bare promises',
    load: () => import('./overhead.ts'),
  },
  http: {
    about: 'a call over loopback HTTP: Orla beside undici by hand, the openai client and the AI SDK',
    load: () => import('./http.ts'),
  },
  scale: {
    about: 'many live runs: memory, start, CPU a stage, cancelling all; what finished runs leave',
    load: () => import('./scale.ts'),
  },
  tokens: {
    about: 'measuring prompts: growing conversations, this thread or another, what is remembered',
    load: () => import('./tokens.ts'),
  },
  soak: {
    about: 'minutes of mixed load over HTTP: heap and handles (takes --minutes, default 15)',
    load: () => import('./soak.ts'),
  },
  threads: {
    about: 'the same work on 0, 1 and 2 runner threads: CPU a stage, loop delay, messages',
    load: () => import('./threads.ts'),
  },
  memory: {
    about: "memory policies against the engine's own LRU, in virtual time (takes --sessions and --html)",
    load: () => import('./memory.ts'),
  },
  mapping: {
    about:
      "the paper's mapping experiment through the whole runtime, with the arms that make it credible (takes --html)",
    load: () => import('./mapping.ts'),
  },
  scheduling: {
    about: 'scheduling policies on a fixed mix of runs, by load, in virtual time (takes --html)',
    load: () => import('./scheduling.ts'),
  },
  'mapping-quality': {
    about:
      'mappers on questions that a weak and a strong model answered: cost against accuracy (takes --gsm8k and --html)',
    load: () => import('./mapping-quality.ts'),
  },
  pools: {
    about: 'three replicas, one of which slows or drains: placements and rerouting, in virtual time',
    load: () => import('./pools.ts'),
  },
  sse: {
    about: 'reading the event stream of an answer, beside eventsource-parser alone',
    load: () => import('./sse.ts'),
  },
  'simulator-accuracy': {
    about: 'the engine model against published measurements',
    load: () => import('./simulator-accuracy.ts'),
  },
  'simulator-speed': {
    about: 'virtual seconds and turns a second: the engine model alone, and the whole runtime on it',
    load: () => import('./simulator-speed.ts'),
  },
  'simulator-fronts': {
    about: 'the same requests in process and over HTTP: cached tokens and times',
    load: () => import('./simulator-fronts.ts'),
  },
  'simulator-recipes': {
    about: "the paper's two experiments on the engine model, with their ablations",
    load: () => import('./simulator-recipes.ts'),
  },
}

function usage(problem: string): string {
  const names = Object.keys(benches)
  const width = Math.max(...names.map((name) => name.length))
  const list = names.map((name) => `  ${name.padEnd(width)}  ${benches[name]!.about}`)
  return [
    problem,
    '',
    'usage: npm run bench -- NAME [--quick] [--json]',
    '',
    ...list,
    '',
    '  --quick  fewer sizes and shorter runs: shows that the bench works, its figures are rough',
    '  --json   one line of JSON instead of a table: {"bench","env","rows","notes"}',
    '  --page FILE      puts the figures into their section of a page too: BENCHMARKS.md',
    '  --http           live runs over HTTP, for scale',
    '  --minutes N      how long to run, for the soak',
    '  --sessions FILE  recorded sessions to play too',
    "  --gsm8k FILE     RouteLLM's GSM8K pairs as CSV",
    '  --html FILE      a page with the figures',
  ].join('\n')
}

/** What the command line asks for, or why it cannot be done. */
function parse(
  argv: string[],
): (BenchOptions & { name: string; json: boolean; page: string | undefined }) | { problem: string } {
  try {
    const { values, positionals } = parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        minutes: { type: 'string' },
        page: { type: 'string' },
        http: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        sessions: { type: 'string' },
        gsm8k: { type: 'string' },
        html: { type: 'string' },
      },
    })
    const [name, ...rest] = positionals
    if (name === undefined) return { problem: 'which bench?' }
    if (rest.length > 0) return { problem: `one bench at a time, got ${positionals.join(', ')}` }
    if (!Object.hasOwn(benches, name)) return { problem: `there is no bench "${name}"` }
    const { quick, json, http, page, sessions, gsm8k, html } = values
    const minutes = values.minutes === undefined ? undefined : Number(values.minutes)
    if (minutes !== undefined && !(minutes > 0)) return { problem: `--minutes ${values.minutes} is not above 0` }
    return {
      name,
      quick,
      json,
      http,
      page,
      ...(minutes !== undefined && { minutes }),
      ...(sessions !== undefined && { sessions }),
      ...(gsm8k !== undefined && { gsm8k }),
      ...(html !== undefined && { html }),
    }
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) }
  }
}

async function main(argv: string[]): Promise<number> {
  const request = parse(argv)
  if ('problem' in request) {
    console.error(usage(request.problem))
    return 2
  }
  const { name, json, page, ...options } = request
  const { quick } = options
  exposeGc()
  const env = describeEnv()
  const { bench } = await benches[name]!.load()
  const report = await bench.run(options)
  const { rows, jsonRows, notes, settings, versions } = report
  if (page !== undefined) {
    const section = sectionOf(env, quick, report)
    writeFileSync(page, withSection(readFileSync(page, 'utf8'), options.http === true ? `${name}-http` : name, section))
  }
  if (json) {
    console.log(
      JSON.stringify({ bench: name, env: { ...env, quick, settings, versions }, rows: jsonRows ?? rows, notes }),
    )
    return 0
  }
  console.log(`${name}${quick ? ' (quick: rough figures)' : ''}`)
  console.log(
    `node ${env.node}, ${env.cpu} x ${env.cores}, load ${env.loadAverage}, commit ${env.commit.slice(0, 12)}, ${env.date}`,
  )
  console.log(`\n${formatTable(rows)}`)
  for (const note of notes) console.log(`\n${note}`)
  return 0
}

process.exitCode = await main(process.argv.slice(2))
