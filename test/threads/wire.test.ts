import fc from 'fast-check'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { BackendState } from '../../actors/backend.ts'
import { workflow } from '../../src/index.ts'
import { Packer } from '../../src/runtime-runner-pack.ts'
import type { FromRunner } from '../../src/runtime-runner-protocol.ts'
import { Unpacker } from '../../src/runtime-runner-unpack.ts'
import type { RequestView } from '../../src/scheduling/request-view.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'
import { granted, packGrant } from '../../src/runtime-runner-wire.ts'
import {
  addTurns,
  emptyReport,
  type RunOutcome,
  type StageReport,
  type ToolCallReport,
} from '../../src/workflow/report.ts'

const name = fc.constantFrom('a', 'draft', 'waits for nothing', 'its dependencies are done', 'x'.repeat(80))
const text = fc.oneof(name, fc.string({ maxLength: 12 }))
const amount = fc.oneof(fc.nat(), fc.double({ min: 0, noNaN: true }), fc.constant(Infinity))
const maybe = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined })

/** Leaves out fields that are undefined, as whoever makes these messages does. */
function plain<T>(value: T): T {
  if (Array.isArray(value)) return value.map((each) => plain(each)) as T
  if (typeof value !== 'object' || value === null) return value
  const kept = Object.entries(value).filter(([, field]) => field !== undefined)
  return Object.fromEntries(kept.map(([key, field]) => [key, plain(field)])) as T
}

const stamp = { seq: fc.nat(), atMs: amount, runId: fc.constantFrom('run-1-abcd', 'run-2-abcd') }
const turn = { ...stamp, stage: name, turn: fc.nat(), backend: text, model: text, reason: text, requestId: text }
const state = fc.constantFrom('pending', 'mapping', 'building', 'queued', 'inferring', 'validating', 'waiting')
const usage = fc.record({
  promptTokens: maybe(fc.nat()),
  cachedTokens: maybe(fc.nat()),
  completionTokens: maybe(fc.nat()),
  reasoningTokens: maybe(fc.nat()),
  tokensOfTomorrow: maybe(fc.nat()),
})
const facts = maybe(fc.record({ by: name, decisionMs: amount }))
const error = maybe(fc.record({ code: name, message: text }))
const transition = fc.oneof(
  fc.record({
    ...stamp,
    type: fc.constant('stage.started'),
    stage: name,
    from: state,
    to: fc.constant('mapping'),
    reason: text,
  }),
  fc.record({
    ...stamp,
    type: fc.constant('stage.mapped'),
    stage: name,
    from: fc.constant('mapping'),
    to: fc.constant('building'),
    backend: text,
    model: text,
    reason: text,
    mapping: facts,
  }),
  fc.record({
    ...turn,
    type: fc.constant('stage.queued'),
    from: state,
    to: fc.constant('queued'),
    stagePriority: amount,
    requestPriority: amount,
    promptTokens: fc.nat(),
    addedTokens: fc.nat(),
    contextHash: text,
    prefix: maybe(fc.array(fc.record({ hash: text, tokens: fc.nat() }), { maxLength: 3 })),
    cacheHint: maybe(fc.constantFrom('preserve', 'flush')),
  }),
  fc.record({
    ...turn,
    type: fc.constant('stage.granted'),
    from: fc.constant('queued'),
    to: fc.constant('inferring'),
    queueWaitMs: amount,
  }),
  fc.record({
    ...turn,
    type: fc.constant('stage.released'),
    from: fc.constant('inferring'),
    to: fc.constant('validating'),
    outcome: fc.constantFrom('ok', 'failed', 'cancelled'),
    durationMs: amount,
    usage,
    finishReason: maybe(fc.constantFrom('stop', 'length')),
    costUsd: maybe(amount),
    error,
  }),
  fc.record({
    ...stamp,
    type: fc.constant('stage.completed'),
    stage: name,
    from: fc.constant('validating'),
    to: fc.constant('completed'),
    reason: text,
    turns: fc.nat(),
  }),
  fc.record({
    ...stamp,
    type: fc.constant('stage.skipped'),
    stage: name,
    from: state,
    to: fc.constant('skipped'),
    reason: text,
  }),
)
const request = fc.record({
  requestId: text,
  runId: fc.constant('run-1-abcd'),
  stageClass: text,
  tenant: text,
  stagePriority: amount,
  requestPriority: amount,
  promptTokens: fc.nat(),
  uncachedTokens: fc.nat(),
  outputTokens: fc.nat(),
  askedTokens: fc.nat(),
  serviceMs: amount,
  remainingMs: amount,
  runStartedAtMs: amount,
  attainedTokens: fc.nat(),
  deadlineMs: amount,
})
const post = fc.oneof(
  fc.record({
    type: fc.constant('backend.request'),
    request,
    replyTo: fc.record({
      actor: fc.constant('stage'),
      runId: fc.constantFrom('run-1-abcd', 'run-9-abcd'),
      stage: name,
    }),
    retry: maybe(fc.boolean()),
    outputTokensMax: maybe(fc.nat()),
    among: maybe(fc.array(text, { maxLength: 2 })),
  }),
  fc.record({
    type: fc.constant('backend.release'),
    requestId: text,
    verdict: fc.constantFrom('ok', 'faulty', 'inconclusive'),
    costUsd: maybe(amount),
    served: maybe(
      fc.record({
        promptTokens: fc.nat(),
        uncachedTokens: fc.nat(),
        outputTokens: fc.nat(),
        durationMs: amount,
        ttftMs: maybe(amount),
      }),
    ),
  }),
  fc.record({ type: fc.constant('backend.withdraw'), requestId: text }),
)
const message = fc.oneof(
  fc.record({ type: fc.constant('transition'), transition }),
  fc.record({ type: fc.constant('post'), to: fc.record({ actor: fc.constant('backend'), name: text }), message: post }),
  fc.record({ type: fc.constant('answered'), told: fc.tuple(text, maybe(fc.nat()), amount, maybe(fc.nat())) }),
  fc.record({ type: fc.constant('completed'), told: fc.tuple(text, amount) }),
  fc.record({ type: fc.constant('log'), level: fc.constant('info'), details: fc.constant({}), message: text }),
) as unknown as fc.Arbitrary<FromRunner>

describe('the short form of what a runner says', () => {
  test('is what all messages and transitions of a run with explicit mapping have, but for its start and end', async () => {
    const packer = new Packer()
    const long: string[] = []
    const heard = (said: FromRunner, type: string): void => {
      if (!Array.isArray(packer.pack(said))) long.push(type)
    }
    const handle = vi.spyOn(BackendState.prototype, 'handle')
    onTestFinished(() => handle.mockRestore())
    const runtime = await testRuntime({ main: scripted((call) => call.answer({ content: 'x' })) })
    const usual = workflow('usual')
      .stage('a', { backend: 'main', prompt: () => 'a' })
      .stage('b', { backend: 'main', after: ['a'], prompt: () => 'b' })
    await runtime.until(runtime.start(usual, undefined).outcome)
    for (const each of runtime.transitions()) heard({ type: 'transition', transition: each }, each.type)
    for (const [said] of handle.mock.calls) {
      // What the backend wrote on it is not sent.
      if (said.type === 'backend.request') {
        const { arrivalMs: _at, arrivalOrder: _order, ...request } = said.request as RequestView
        heard({ type: 'post', to: { actor: 'backend', name: 'main' }, message: { ...said, request } }, said.type)
      } else heard({ type: 'post', to: { actor: 'backend', name: 'main' }, message: said }, said.type)
    }
    expect(handle.mock.calls.map(([{ type }]) => type)).toContain('backend.request')
    expect(long).toEqual(['run.started', 'run.completed'])
  })

  test('gives back every message as it was, whatever is sent in which order', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 30 }), (sent) => {
        const packer = new Packer()
        const unpacker = new Unpacker()
        for (const each of sent) {
          const whole = each.type === 'answered' ? each : plain(each)
          expect(unpacker.unpack(structuredClone(packer.pack(whole)))).toEqual(whole)
        }
      }),
      { numRuns: 300 },
    )
  })

  test('names at most so many strings by number, and goes on without', () => {
    const packer = new Packer()
    const unpacker = new Unpacker()
    for (let i = 0; i < 9_000; i++) {
      const sent: FromRunner = { type: 'completed', told: [`stage ${i % 5_000}`, i] }
      expect(unpacker.unpack(packer.pack(sent))).toEqual(sent)
    }
  })

  test('takes the reports of a run apart from its end, and puts them together again', () => {
    const turn = fc.record({
      queueWaitMs: amount,
      ttftMs: fc.option(amount),
      promptTokens: fc.option(fc.nat()),
      cachedTokens: fc.option(fc.nat()),
      completionTokens: fc.option(fc.nat()),
      finishReason: fc.option(fc.constantFrom('stop' as const, 'length' as const)),
      attempts: fc.nat(),
    })
    const made = fc.record({
      turns: fc.oneof({ weight: 5, arbitrary: fc.tuple(turn) }, { weight: 1, arbitrary: fc.tuple(turn, turn) }),
      backend: fc.option(name),
      startedAtMs: fc.option(amount),
      truncated: fc.boolean(),
      reason: maybe(text),
      toolCalls: fc.constantFrom<ToolCallReport[]>([], [], [], [{ name: 't', arguments: {}, ok: true }]),
    })
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom('a', 'b', 'c'), made), (facts) => {
        const stages = Object.fromEntries(
          Object.entries(facts).map(([stage, { reason, ...rest }]) => {
            const report: StageReport = { ...emptyReport(), ...rest, state: 'completed' }
            if (reason !== undefined) report.reason = reason
            addTurns(report)
            return [stage, report]
          }),
        )
        const packed = new Packer().reports(stages)
        if (packed === undefined) return
        const unpacker = new Unpacker()
        const outcome: RunOutcome = {
          runId: 'r',
          workflow: 'w',
          state: 'completed',
          results: {},
          stages,
          durationMs: 1,
        }
        expect(unpacker.unpack(packed)).toBeUndefined()
        expect(unpacker.unpack({ type: 'ended', outcome: { ...outcome, stages: {} } })).toEqual({
          type: 'ended',
          outcome,
        })
        expect(unpacker.unpack({ type: 'ended', outcome })).toEqual({ type: 'ended', outcome })
      }),
    )
  })

  test('has a form for reports of stages that took one turn, and none for others', () => {
    const turn = {
      queueWaitMs: 1,
      ttftMs: 2,
      promptTokens: 3,
      cachedTokens: 0,
      completionTokens: 4,
      finishReason: 'stop' as const,
      attempts: 1,
    }
    const report = (turns: StageReport['turns']): StageReport => {
      const made: StageReport = { ...emptyReport(), turns, state: 'completed', reason: 'answered' }
      addTurns(made)
      return made
    }
    expect(new Packer().reports({ a: report([turn]), b: report([turn]) })).toHaveLength(31)
    expect(new Packer().reports({ a: report([turn]), b: report([turn, turn]) })).toBeUndefined()
    expect(new Packer().reports({ a: { ...report([turn]), costUsd: 1 } })).toBeUndefined()
  })

  test('names a request only where that says whose slot it is', () => {
    const slot = (stage: string, requestId: string): string | undefined =>
      packGrant({ actor: 'stage', runId: 'run-1-abcd', stage }, { type: 'stage.granted', requestId })
    for (const stage of ['draft', 'a/b', '']) {
      const requestId = `run-1-abcd/${stage}/1.1`
      expect(slot(stage, requestId)).toBe(requestId)
      expect(granted(requestId)).toEqual({ runId: 'run-1-abcd', stage })
    }
    expect(slot('draft', 'run-2-abcd/draft/1.1')).toBeUndefined()
    expect(slot('draft', 'aside 7')).toBeUndefined()
  })
})
