// What the bench of threads runs: backends that answer at once, so that what is left is the runtime, and an engine in
// another process, whose HTTP is on the runners.

import { openAi, user, workflow, type Workflow } from '../../src/index.ts'
import { instant } from '../lib/instant.ts'

const queueCapacity = 100_000

export const backends = {
  main: instant({ windowRequests: 10_000, queueCapacity }),
  engine: openAi({
    // The bench says so before any thread begins.
    url: process.env['ORLA_BENCH_ENGINE_URL'] ?? 'http://127.0.0.1:1/v1',
    model: 'none',
    windowRequests: 64,
    queueCapacity,
  }),
}

/** The builder without its types, which a loop cannot give. */
interface LooseBuilder extends Workflow {
  stage(name: string, options: object): LooseBuilder
}

/** Ten stages, one after the other, with prompts of a line. */
function tenStages(name: string, backend: keyof typeof backends): Workflow {
  let built = workflow(name) as unknown as LooseBuilder
  for (let i = 0; i < 10; i++) {
    built = built.stage(`s${i}`, { backend, after: i === 0 ? [] : [`s${i - 1}`], prompt: () => [user('go')] })
  }
  return built
}

export const chain = tenStages('chain', 'main')

/** The same over HTTP. */
export const http = tenStages('http', 'engine')

let made = 0
const words = 'the of a queue turn slot window prefix stage model engine token prompt cache run order'.split(' ')

/** A text of 100 kB that no thread has met before. */
function text(): string {
  let seed = ++made
  let all = ''
  while (all.length < 100_000) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    all += `${words[(seed >>> 16) % words.length]!}${seed % 97} `
  }
  return all
}

/** One stage with a prompt of 100 kB to be counted. */
export const large = workflow('large').stage('s', { backend: 'main', prompt: () => [user(text())] })
