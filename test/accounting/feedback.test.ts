import { describe, expect, test } from 'vitest'
import { AccountBook } from '../../src/accounting/accounts.ts'
import { Decision, Decisions, type FeedbackEntry } from '../../src/accounting/decisions.ts'
import { BackendError, createRuntime, workflow, type Mapper } from '../../src/index.ts'
import { limits } from '../../src/limits.ts'
import type { MappingOutcome } from '../../src/mapping/mapper.ts'
import { guessed } from './fixtures/paid.ts'
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
    expect(() => runtime.feedback('run-0-none', { rating: 1 })).toThrow(/has not begun, or ended too long ago/)
  })
})

describe('a mapper that learns', () => {
  test('hears once what came of each of its decisions, with what it attached, and of each rating', async () => {
    const seen: MappingOutcome[] = []
    const mapper: Mapper = Object.assign(
      () => ({ backend: 'sick', reason: 'a guess', by: 'guess', features: [1, 2] }),
      { observe: (outcome: MappingOutcome) => void seen.push(outcome) },
    )
    const prices = { inputUsdPerMTok: 0, outputUsdPerMTok: 10 }
    const runtime = await testRuntime({
      sick: scripted((call) => call.fail(new BackendError('ORLA_BACKEND_UNREACHABLE', 'gone', { retryable: true }))),
      light: scripted((call) => call.answer('x', 10), { prices }),
    })
    const guessed = workflow('guessed').stage('s', { mapping: mapper, fallback: ['light'], prompt: () => 'x' })
    const run = runtime.start(guessed, undefined)
    await runtime.until(run.outcome)
    const decision = { backend: 'sick', model: 'scripted-model', reason: 'a guess', by: 'guess', features: [1, 2] }
    const outcome = { runId: run.id, workflow: 'guessed', stage: 's', stageClass: 'guessed/s', decision }
    const ended = { ...outcome, state: 'completed', durationMs: 10, costUsd: 5e-5 }
    expect(seen).toEqual([ended])
    run.feedback({ labels: ['long'] })
    run.feedback({ rating: 0.25 })
    expect(seen).toEqual([ended, { ...ended, rating: 0.25 }])
    expect(runtime.accounts().map(({ backend, variant, count }) => [backend, variant, count])).toEqual([
      ['light', 'guess', 1],
      ['sick', 'guess', 0],
    ])
    runtime.audit()
  })

  test('that throws when it hears of it harms nobody', async () => {
    const mapper: Mapper = Object.assign(() => ({ backend: 'light', reason: 'x' }), {
      observe() {
        throw new Error('cannot learn')
      },
    })
    const runtime = await testRuntime({ light: answering() })
    const taught = workflow('taught').stage('s', { mapping: mapper, prompt: () => 'x' })
    expect((await runtime.until(runtime.start(taught, undefined).outcome)).state).toBe('completed')
    expect(runtime.errors.map(({ message }) => message)).toEqual([
      'a mapper threw when it heard what came of a decision',
    ])
  })
})

test('on runs of runner threads reaches decisions, accounts and mappers alike', async () => {
  const logged: string[] = []
  const error = (details: object): void => void logged.push((details as { error: Error }).error.message)
  const runtime = await createRuntime({
    threads: 1,
    workflows: new URL('./fixtures/paid.ts', import.meta.url),
    probeTimeoutMs: 0,
    log: { debug() {}, info() {}, warn() {}, error },
  })
  const run = runtime.start(guessed, 'x')
  await run.outcome
  run.feedback({ rating: 0.5 })
  await runtime.close()
  expect(logged).toEqual(['guess 1 completed undefined', 'guess 1 completed 0.5'])
  expect(runtime.accounts()).toMatchObject([{ variant: 'guess', count: 1, quality: { mean: 0.5, count: 1 } }])
  expect(runtime.ratedDecisions()).toMatchObject([{ runId: run.id, by: 'guess', feedback: [{ rating: 0.5 }] }])
})

describe('decisions', () => {
  const made = (decisions: Decisions, runId: string, stages: string[]): Decision[] => {
    decisions.began(runId, 'w', 't')
    const run = decisions.run(runId)!
    return stages.map((stage) => {
      const book = new AccountBook(`w/${stage}`, 'b', 'explicit')
      const decision = new Decision(run, { stage, reason: 'r', startedAtMs: 0, book, model: 'm' }, undefined)
      run.add(decision)
      return decision
    })
  }

  test('of runs that are over are forgotten run by run, the oldest first', () => {
    const decisions = new Decisions({ ended() {}, told() {}, decisionsMax: 4 })
    for (const id of ['1', '2', '3']) {
      for (const decision of made(decisions, id, ['a', 'b'])) decisions.ended(decision, 'completed', 1)
      decisions.over(id)
    }
    expect(() => decisions.give('1', undefined, { labels: ['x'], atMs: 0 })).toThrow(/ended too long ago/)
    decisions.give('2', undefined, { labels: ['x'], atMs: 0 })
    expect(decisions.rated()).toHaveLength(2)
  })

  test('are found in runs of many stages too, before and after there are many', () => {
    const decisions = new Decisions({ ended() {}, told() {} })
    const stages = Array.from({ length: 40 }, (_, i) => `s${i}`)
    made(decisions, '1', [])
    const run = decisions.run('1')!
    const book = new AccountBook('w/x', 'b', 'explicit')
    for (const stage of stages) {
      const decision = new Decision(run, { stage, reason: 'r', startedAtMs: 0, book, model: 'm' }, undefined)
      run.add(decision)
      expect(decisions.of('1', stage)).toBe(decision)
      expect(decisions.of('1', 's0')!.stage).toBe('s0')
    }
    expect(decisions.of('1', 's99')).toBeUndefined()
    expect(run.all().map(({ stage }) => stage)).toEqual(stages)
  })

  test('of as many runs as there may be are remembered, however many there were', () => {
    const decisions = new Decisions({ ended() {}, told() {}, decisionsMax: 100 })
    for (let i = 0; i < 5_000; i++) {
      for (const decision of made(decisions, `${i}`, ['a'])) decisions.ended(decision, 'completed', 1)
      decisions.over(`${i}`)
    }
    const entry = { labels: ['x'], atMs: 0 }
    expect(() => decisions.give('4899', undefined, entry)).toThrow(/ended too long ago/)
    for (let i = 4_900; i < 5_000; i++) decisions.give(`${i}`, 'a', entry)
    expect(decisions.rated()).toHaveLength(100)
  })

  test('keep the last entries of feedback only, and tell of all', () => {
    let told = 0
    const decisions = new Decisions({ ended() {}, told: () => void told++ })
    const [decision] = made(decisions, '1', ['a'])
    decisions.ended(decision!, 'completed', 1)
    const count = limits.feedbackPerDecisionMax + 5
    for (let i = 0; i < count; i++) decisions.give('1', 'a', { rating: 1, labels: [], atMs: i })
    expect(told).toBe(count)
    const kept = Array.from({ length: limits.feedbackPerDecisionMax }, (_, i) => i + 5)
    expect(decision!.feedback!.map(({ atMs }) => atMs)).toEqual(kept)
  })
})
