// One system in a process of its own. Its name is the first argument; "memory" as the second sets it up for that.

import { answer } from '../lib/child.ts'
import { costOf, inLanes, settledHeapBytes, type Cost } from '../lib/cost.ts'
import { slopeOf } from '../lib/measure.ts'
import { shapes, stagesOf, type CallModel, type Opened, type Shape } from './shape.ts'
import { systems } from './systems.ts'

/** What a child can be asked. */
export type Question =
  /** Runs that take about `targetMs` together, after a warm-up of `warmMs` at least. */
  | { type: 'calibrate'; shape: string; atOnce: number; targetMs: number; warmMs: number }
  | { type: 'sample'; shape: string; atOnce: number; runs: number }
  | {
      type: 'memory'
      shape: string
      liveRuns: number
      atOnce: number
      warmMs: number
      fillMs: number
      finishedMs: number
    }

/** What each question is answered with. */
export interface Answers {
  calibrate: { runs: number }
  /** For one stage. */
  sample: Cost
  memory: { bytesPerLiveRun: number; bytesPerFinishedRun: number; finishedRuns: number }
}

const [name = '', purpose] = process.argv.slice(2)
const system = await systems[name]!.load()
/** While memory is measured, all runs wait for their models at once. */
const limit = purpose === 'memory' ? 100_000 : 64

interface Subject extends Opened {
  shape: Shape
  /** Stages called so far: nobody is faster by leaving some out. */
  calls: number
  /** Calls of this level are not answered before `gate` opens. */
  heldLevel: number | undefined
  held: number
  gate: PromiseWithResolvers<'ok'>
}

const subjects = new Map<string, Promise<Subject>>()

async function open(shapeName: string): Promise<Subject> {
  const shape = shapes.find((each) => each.name === shapeName)!
  const subject: Partial<Subject> = { shape, calls: 0, held: 0, heldLevel: undefined, gate: Promise.withResolvers() }
  const state = subject as Subject
  const call: CallModel = (level) => {
    state.calls++
    if (level !== state.heldLevel) return 'ok'
    state.held++
    return state.gate.promise
  }
  return Object.assign(state, await system.open(shape, call, limit))
}

function subjectOf(shapeName: string): Promise<Subject> {
  const known = subjects.get(shapeName) ?? open(shapeName)
  subjects.set(shapeName, known)
  return known
}

async function sample(subject: Subject, runs: number, atOnce: number): Promise<Cost> {
  const stages = runs * stagesOf(subject.shape)
  const before = subject.calls
  // Nothing is collected between samples: each pays for the garbage it makes. A full collection while nothing runs makes V8
  // drop the code it compiled for objects of which none is left, and samples that begin with that measure the compiler: a
  // third to a half of what Orla's take. Somebody who serves always has something under way.
  const cost = await costOf(
    async () => {
      await inLanes(runs, atOnce, () => subject.run())
      return stages
    },
    { collect: false },
  )
  if (subject.calls - before !== stages) {
    throw new Error(`${name} ran ${subject.calls - before} stages of ${subject.shape.name} instead of ${stages}`)
  }
  return cost
}

/** How many runs take about `targetMs`, found while code gets warm: for as long as that and at least `warmMs`. */
async function calibrate(
  subject: Subject,
  { atOnce, targetMs, warmMs }: Pick<Extract<Question, { type: 'calibrate' }>, 'atOnce' | 'targetMs' | 'warmMs'>,
): Promise<{ runs: number }> {
  const startedAtMs = performance.now()
  let runs = atOnce
  for (;;) {
    const { wallUs } = await sample(subject, runs, atOnce)
    const tookMs = (wallUs * runs * stagesOf(subject.shape)) / 1_000
    const isWarm = performance.now() - startedAtMs >= warmMs
    if (tookMs >= targetMs / 2 && isWarm) return { runs: Math.max(atOnce, Math.round((runs * targetMs) / tookMs)) }
    if (tookMs < targetMs / 2) runs *= 2
  }
}

/** Within this, ms, all live runs have to wait for their models. */
const heldWithinMs = 30_000

/**
 * Stages before the first point. What a system remembers of the last runs is bounded, but fills first: in Orla the decisions
 * that feedback may still be given on (`limits.decisionsMax`).
 */
const filledStages = 25_000

/** Points of the line through the heap while finished runs pile up, or do not. */
const heapPoints = 6

async function memory(
  subject: Subject,
  { liveRuns, atOnce, warmMs, fillMs, finishedMs }: Extract<Question, { type: 'memory' }>,
): Promise<Answers['memory']> {
  const { runs } = await calibrate(subject, { atOnce, targetMs: finishedMs / heapPoints, warmMs })
  const filledAtMs = performance.now() + fillMs
  for (let stages = 0; stages < filledStages && performance.now() < filledAtMs;) {
    stages += stagesOf(subject.shape) * (await inLanes(runs, atOnce, () => subject.run()))
  }
  const points = [{ x: 0, y: await settledHeapBytes() }]
  for (let i = 1; i < heapPoints; i++) {
    await inLanes(runs, atOnce, () => subject.run())
    points.push({ x: i * runs, y: await settledHeapBytes() })
  }
  const bytesPerFinishedRun = slopeOf(points)

  subject.heldLevel = subject.shape.levels.length >> 1
  const width = subject.shape.levels[subject.heldLevel]!.length
  const before = await settledHeapBytes()
  const live = Array.from({ length: liveRuns }, () => subject.run())
  const giveUpAtMs = performance.now() + heldWithinMs
  while (subject.held < liveRuns * width) {
    if (performance.now() > giveUpAtMs)
      throw new Error(`${name} holds ${subject.held} of ${liveRuns * width} calls at once`)
    await new Promise((resolve) => setImmediate(resolve))
  }
  const bytesPerLiveRun = ((await settledHeapBytes()) - before) / liveRuns
  subject.heldLevel = undefined
  subject.gate.resolve('ok')
  await Promise.all(live)
  return { bytesPerLiveRun, bytesPerFinishedRun, finishedRuns: (heapPoints - 1) * runs }
}

answer<Question, Answers[Question['type']]>(async (question) => {
  const subject = await subjectOf(question.shape)
  switch (question.type) {
    case 'calibrate':
      return calibrate(subject, question)
    case 'sample':
      return sample(subject, question.runs, question.atOnce)
    case 'memory':
      return memory(subject, question)
  }
})
