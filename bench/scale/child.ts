// One runtime with a number of live runs, in a process of its own.
//
// Every run is always waiting for its model. The engine answers a random one, which moves on to its next stage and waits
// again; one that has done all its stages is replaced by a new one. So the number of live runs stays what it is, at all
// stages of their workflows, and what is touched next is seldom in a cache.

import type { Run } from '../../src/index.ts'
import { createRuntime } from '../../src/index.ts'
import { silentLogger } from '../../src/log.ts'
import { realClock } from '../../src/clock.ts'
import { answer } from '../lib/child.ts'
import { costOf, inLanes, settledHeapBytes } from '../lib/cost.ts'
import { instant } from '../lib/instant.ts'
import { slopeOf } from '../lib/measure.ts'
import { fullyOn, workflowOf } from '../overhead/orla.ts'
import { shapes } from '../overhead/shape.ts'

/** What a child can be asked, in this order: fill, advance as often as wanted, cancel. `finish` needs no other. */
export type Question =
  | { type: 'fill'; liveRuns: number }
  | { type: 'advance'; answers: number }
  | { type: 'cancel' }
  | { type: 'finish'; runs: number }

/** What each question is answered with. */
export interface Answers {
  /** CPU of a start up to the request of the first stage; heap of a live run without what its engine holds for it. */
  fill: { startUsPerRun: number; bytesPerLiveRun: number }
  advance: { cpuUsPerStage: number }
  /** CPU of a cancellation up to the run's outcome; heap that is left afterwards. */
  cancel: { cancelUsPerRun: number; leftBytesPerRun: number }
  finish: { bytesPerFinishedRun: number }
}

/** Answers that the engine gives in one turn of the loop. */
const answersPerTurn = 64
/** Advances of every run after the start: then runs stand at all stages of their workflows. */
const mixingRounds = 5
const heapPoints = 11
/** Enough stages to fill what is bounded: decisions that feedback may still be given on, histories. */
const warmUpRuns = 6_000

const chain = shapes.find(({ name }) => name === 'chain-10')!
const workflow = workflowOf(chain, { mapped: true })
const diamond = workflowOf(
  shapes.find(({ name }) => name === 'diamond')!,
  { mapped: true },
)

let gated = false
const waiting: PromiseWithResolvers<unknown>[] = []
const wait = (): Promise<unknown> | undefined => {
  if (!gated) return undefined
  const call = Promise.withResolvers()
  waiting.push(call)
  return call.promise
}
const runtime = await createRuntime(fullyOn({ mapped: true, windowRequests: 100_000 }, wait))
const live = new Set<Run>()
/** The heap before the live runs. */
let emptyBytes = 0

function start(): void {
  const run = runtime.start(workflow, undefined)
  live.add(run)
  void run.outcome.then(({ state, error }) => {
    live.delete(run)
    if (state === 'failed') throw new Error(`a run of the bench failed: ${error?.message}`)
    if (state === 'completed' && gated) start()
  })
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** A generator of its own: the runtime's chances are not the bench's. */
let seed = 1
function below(count: number): number {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
  return Math.floor((seed / 2 ** 32) * count)
}

async function advance(answers: number): Promise<void> {
  for (let left = answers; left > 0;) {
    for (let i = Math.min(answersPerTurn, left); i > 0; i--, left--) {
      const at = below(waiting.length)
      const call = waiting[at]!
      const last = waiting.pop()!
      if (at < waiting.length) waiting[at] = last
      call.resolve(undefined)
    }
    await nextTurn()
  }
}

/** What the driver holds for one request that waits, measured without a runtime: it is not the runtime's. */
async function engineBytesPerRequest(requests: number): Promise<number> {
  const driver = await instant({ wait }).connect({ backend: 'b', clock: realClock(), log: silentLogger })
  const request = { model: 'none', params: {}, messages: [{ role: 'user' as const, content: '0' }] }
  const before = await settledHeapBytes()
  const calls = Array.from({ length: requests }, () =>
    driver.chat(request, { requestId: 'r', runId: 'r' }, { delta() {} }),
  )
  const bytes = ((await settledHeapBytes()) - before) / requests
  for (const { result } of calls) result.catch(() => {})
  waiting.length = 0
  return bytes
}

async function fill(liveRuns: number): Promise<Answers['fill']> {
  await inLanes(warmUpRuns, 64, () => runtime.start(workflow, undefined).outcome)
  gated = true
  const engineBytes = await engineBytesPerRequest(liveRuns)
  emptyBytes = await settledHeapBytes()
  const { cpuUs } = await costOf(async () => {
    for (let i = 0; i < liveRuns; i++) {
      start()
      if (i % answersPerTurn === 0) await nextTurn()
    }
    while (waiting.length < liveRuns) await nextTurn()
    return liveRuns
  })
  await advance(liveRuns * mixingRounds)
  const bytesPerLiveRun = ((await settledHeapBytes()) - emptyBytes) / liveRuns - engineBytes
  return { startUsPerRun: cpuUs, bytesPerLiveRun }
}

async function cancel(): Promise<Answers['cancel']> {
  gated = false
  const runs = [...live]
  const { cpuUs } = await costOf(async () => {
    for (const run of runs) run.cancel()
    await Promise.all(runs.map(({ outcome }) => outcome))
    return runs.length
  })
  const cancelled = runs.length
  runs.length = 0
  waiting.length = 0
  if (live.size > 0 || runtime.liveRuns > 0) throw new Error(`${runtime.liveRuns} runs are left after cancelling all`)
  const empty = await settledHeapBytes()
  return { cancelUsPerRun: cpuUs, leftBytesPerRun: (empty - emptyBytes) / cancelled }
}

async function finish(runs: number): Promise<Answers['finish']> {
  await inLanes(warmUpRuns, 64, () => runtime.start(diamond, undefined).outcome)
  const points = [{ x: 0, y: await settledHeapBytes() }]
  for (let i = 1; i < heapPoints; i++) {
    const part = Math.round(runs / (heapPoints - 1))
    await inLanes(part, 64, () => runtime.start(diamond, undefined).outcome)
    points.push({ x: i * part, y: await settledHeapBytes() })
  }
  return { bytesPerFinishedRun: slopeOf(points) }
}

answer<Question, Answers[Question['type']]>(async (question) => {
  switch (question.type) {
    case 'fill':
      return fill(question.liveRuns)
    case 'advance': {
      const work = async (): Promise<number> => {
        await advance(question.answers)
        return question.answers
      }
      const { cpuUs } = await costOf(work, { collect: false })
      return { cpuUsPerStage: cpuUs }
    }
    case 'cancel':
      return cancel()
    case 'finish':
      return finish(question.runs)
  }
})
