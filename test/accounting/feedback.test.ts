import { describe, expect, test } from 'vitest'
import { Decisions, type DecisionRecord, type FeedbackEntry } from '../../src/accounting/decisions.ts'
import { workflow } from '../../src/index.ts'
import { limits } from '../../src/limits.ts'
import { testRuntime } from '../support/runtime.ts'
import { scripted } from '../support/scripted-backend.ts'

const two = workflow('two')
  .stage('a', { backend: 'light', prompt: () => 'a' })
  .stage('b', { backend: 'light', after: ['a'], prompt: () => 'b' })

const answering = () => scripted((call) => call.answer('x', 10))

describe('feedback', () => {
  test('on a run goes to each of its stages, stays with the decision and counts in the accounts', async () => {
    const runtime = await testRuntime({ light: answering() })
    const run = runtime.start(two, undefined)
    await runtime.until(run.outcome)
    run.feedback({ rating: 1, labels: ['resolved'] })
    runtime.feedback(run.id, { rating: 0.5, stage: 'b' })
    expect(runtime.accounts().map(({ quality }) => quality)).toEqual([
      { mean: 1, count: 1 },
      { mean: 0.75, count: 2 },
    ])
    const rated = runtime.ratedDecisions()
    expect(rated.map(({ stage, state }) => [stage, state])).toEqual([
      ['a', 'completed'],
      ['b', 'completed'],
    ])
    expect(rated[1]).toMatchObject({
      runId: run.id,
      stageClass: 'two/b',
      backend: 'light',
      by: 'explicit',
      durationMs: 10,
      feedback: [
        { rating: 1, labels: ['resolved'], atMs: 20 },
        { rating: 0.5, labels: [] },
      ],
    })
    expect(structuredClone(rated)).toEqual(rated)
    runtime.audit()
  })

  test('that comes early counts when the stage ends, once', async () => {
    const backend = scripted()
    const runtime = await testRuntime({ light: backend })
    const run = runtime.start(two, undefined)
    await runtime.settle()
    run.feedback({ rating: 0.2, stage: 'a' })
    run.feedback({ rating: 1 })
    backend.calls[0]!.answer('x')
    await runtime.settle()
    expect(runtime.accounts()[0]!.quality).toEqual({ mean: 0.6, count: 2 })
    backend.calls[1]!.answer('x')
    await runtime.until(run.outcome)
    expect(runtime.accounts().map(({ quality }) => quality?.count)).toEqual([2, 1])
  })

  test('on a run counts for no stage that failed, unless it is named', async () => {
    const runtime = await testRuntime({ light: answering() })
    const half = workflow('half')
      .stage('a', { backend: 'light', prompt: () => 'a' })
      .stage('b', { mapping: () => ({ backend: 'light', reason: 'x' }), after: ['a'], prompt: () => JSON.parse('{') })
    const run = runtime.start(half, undefined)
    await runtime.until(run.outcome)
    run.feedback({ rating: 0 })
    expect(runtime.accounts().map(({ failures, quality }) => [failures, quality?.count])).toEqual([
      [0, 1],
      [1, undefined],
    ])
    run.feedback({ rating: 0, stage: 'b' })
    expect(runtime.accounts()[1]!.quality).toEqual({ mean: 0, count: 1 })
  })

  test('reaches a recorder', async () => {
    const told: [string, FeedbackEntry][] = []
    const runtime = await testRuntime(
      { light: answering() },
      { recorder: { turn() {}, ended() {}, feedback: ({ stage }, entry) => void told.push([stage, entry]) } },
    )
    const run = runtime.start(two, undefined)
    await runtime.until(run.outcome)
    run.feedback({ labels: ['rude'], stage: 'a' })
    expect(told).toEqual([['a', { labels: ['rude'], atMs: 20 }]])
    expect(runtime.accounts()[0]).not.toHaveProperty('quality')
  })

  test('that cannot be taken says why', async () => {
    const runtime = await testRuntime({ light: answering() })
    const run = runtime.start(two, undefined)
    await runtime.until(run.outcome)
    const code = 'ORLA_OPTIONS'
    expect(() => run.feedback({})).toThrow(expect.objectContaining({ code }))
    expect(() => run.feedback({ rating: 1.5 })).toThrow(/rating/)
    expect(() => run.feedback({ rating: 1, stage: 'z' })).toThrow(/did not get a backend; those that did: a, b/)
    expect(() => runtime.feedback('run-0-none', { rating: 1 })).toThrow(/is not known, or ended too long ago/)
  })
})

describe('decisions', () => {
  const made = (runId: string, stage: string): DecisionRecord => ({
    runId,
    workflow: 'w',
    tenant: 't',
    stage,
    stageClass: `w/${stage}`,
    backend: 'b',
    model: 'm',
    by: 'explicit',
    reason: 'r',
    state: undefined,
    durationMs: 0,
    feedback: [],
  })

  test('of runs that are over are forgotten run by run, the oldest first', () => {
    const decisions = new Decisions({ told() {}, decisionsMax: 4 })
    for (const id of ['1', '2', '3']) {
      decisions.began(id)
      for (const stage of ['a', 'b']) decisions.made(made(id, stage))
      for (const open of decisions.open(id)) decisions.ended(open, 'completed', 1)
      decisions.over(id)
    }
    expect(() => decisions.give('1', undefined, { labels: ['x'], atMs: 0 })).toThrow(/not known/)
    decisions.give('2', undefined, { labels: ['x'], atMs: 0 })
    expect(decisions.rated()).toHaveLength(2)
  })

  test('keep the last entries of feedback only, and tell of all', () => {
    let told = 0
    const decisions = new Decisions({ told: () => void told++ })
    decisions.began('1')
    const decision = made('1', 'a')
    decisions.made(decision)
    decisions.ended(decision, 'completed', 1)
    const count = limits.feedbackPerDecisionMax + 5
    for (let i = 0; i < count; i++) decisions.give('1', 'a', { rating: 1, labels: [], atMs: i })
    expect(told).toBe(count)
    expect(decision.feedback.map(({ atMs }) => atMs)).toEqual(
      Array.from({ length: limits.feedbackPerDecisionMax }, (_, i) => i + 5),
    )
  })
})
