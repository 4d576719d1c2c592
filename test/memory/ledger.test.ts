import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { KvLedger, type Residency } from '../../src/memory/ledger.ts'
import type { Transition } from '../../src/schema/transition.ts'
import type { Usage } from '../../src/schema/chat.ts'

interface Step {
  what: 'queued' | 'granted' | 'rejected' | 'released' | 'tool' | 'end' | 'other'
  run: number
  backend: number
  model: number
  usage: Usage
}

function transitionOf({ what, run, backend, model, usage }: Step, seq: number): Transition {
  const turn = {
    seq,
    atMs: seq,
    runId: `run-${run}`,
    stage: 's',
    from: 'queued',
    to: 'queued',
    reason: 'r',
    turn: 1,
    backend: `b${backend}`,
    model: `m${model}`,
    requestId: `q${seq}`,
  } as const
  const error = { name: 'E', code: 'ORLA_TOOL', message: 'x', retryable: false } as const
  switch (what) {
    case 'queued':
      return {
        ...turn,
        type: 'stage.queued',
        stagePriority: 0,
        requestPriority: 0,
        promptTokens: 1,
        addedTokens: 1,
        contextHash: `h${seq}`,
      }
    case 'granted':
      return { ...turn, type: 'stage.granted', queueWaitMs: 0 }
    case 'rejected':
      return { ...turn, type: 'stage.rejected', error }
    case 'released':
      return { ...turn, type: 'stage.released', outcome: 'ok', durationMs: 1, usage }
    case 'tool':
      return { ...turn, type: 'tool.started', callId: '1.1', tool: 't', arguments: '{}' }
    case 'end':
      return {
        type: 'run.completed',
        seq,
        atMs: seq,
        runId: `run-${run}`,
        from: 'running',
        to: 'completed',
        reason: 'r',
      }
    case 'other':
      return { ...turn, type: 'stage.firstToken', ttftMs: 1 }
  }
}

interface NaiveEntry {
  key: string
  run: string
  backend: string
  tokens: number
  cached: number | undefined
  hash: string
  residency: Residency
  touched: number
}

/** The ledger as one would write it for one stage a run at a time, without caring for speed. */
class NaiveLedger {
  entries: NaiveEntry[] = []
  totals = new Map<string, { promptTokens: number; cachedTokens: number }>()
  readonly max: number

  constructor(max: number) {
    this.max = max
  }

  apply(step: Step, seq: number): void {
    if (step.what === 'other') return
    if (step.what === 'end') {
      this.entries = this.entries.filter((entry) => entry.run !== `run-${step.run}`)
      return
    }
    const key = `run-${step.run}|b${step.backend}|m${step.model}`
    const old = this.entries.find((entry) => entry.key === key)
    this.entries = this.entries.filter((entry) => entry !== old)
    const entry: NaiveEntry = {
      ...(old ?? {
        key,
        run: `run-${step.run}`,
        backend: `b${step.backend}`,
        tokens: 0,
        cached: undefined,
        hash: '',
        residency: 'idle',
      }),
      touched: seq,
    }
    this.entries.push(entry)
    if (this.entries.length > this.max) this.entries.shift()
    if (step.what === 'queued') {
      entry.hash = `h${seq}`
      if (entry.residency !== 'running') entry.residency = 'queued'
    }
    if (step.what === 'granted') entry.residency = 'running'
    if (step.what === 'rejected' || step.what === 'released') entry.residency = 'idle'
    if (step.what === 'tool') entry.residency = 'tool'
    const { promptTokens, cachedTokens, completionTokens = 0 } = step.usage
    if (step.what !== 'released' || promptTokens === undefined) return
    entry.tokens = promptTokens + completionTokens
    entry.cached = cachedTokens
    if (cachedTokens === undefined) return
    const totals = this.totals.get(entry.backend) ?? { promptTokens: 0, cachedTokens: 0 }
    this.totals.set(entry.backend, {
      promptTokens: totals.promptTokens + promptTokens,
      cachedTokens: totals.cachedTokens + cachedTokens,
    })
  }
}

const tokens = fc.option(fc.nat(500), { nil: undefined })
const step: fc.Arbitrary<Step> = fc.record({
  what: fc.constantFrom('queued', 'granted', 'rejected', 'released', 'released', 'tool', 'end', 'other'),
  run: fc.nat(4),
  backend: fc.nat(1),
  model: fc.nat(1),
  usage: fc
    .record({ promptTokens: tokens, cachedTokens: tokens, completionTokens: tokens })
    .map((usage) => Object.fromEntries(Object.entries(usage).filter(([, value]) => value !== undefined)) as Usage),
})

describe('the KV ledger', () => {
  test('agrees with a naive one after every transition, and never holds more than it may', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 1, max: 6 }), (steps, entriesMax) => {
        const ledger = new KvLedger({ entriesMax })
        const naive = new NaiveLedger(entriesMax)
        steps.forEach((each, i) => {
          ledger.apply(transitionOf(each, i + 1), i + 1)
          naive.apply(each, i + 1)
          expect(ledger.size).toBe(naive.entries.length)
          for (const backend of ['b0', 'b1']) {
            const mine = naive.entries.filter((entry) => entry.backend === backend)
            expect(
              ledger
                .entries(backend)
                .map((entry) => [
                  `${entry.runId}|${entry.backend}|${entry.model}`,
                  entry.residentTokens,
                  entry.cachedTokens,
                  entry.contextHash,
                  entry.residency,
                  entry.lastTouchMs,
                ]),
            ).toEqual(
              mine.map((entry) => [entry.key, entry.tokens, entry.cached, entry.hash, entry.residency, entry.touched]),
            )
            expect(ledger.totals(backend)).toMatchObject({
              runs: mine.length,
              residentTokens: mine.reduce((sum, entry) => sum + entry.tokens, 0),
              distinctTokens: mine.reduce((sum, entry) => sum + entry.tokens, 0),
              promptTokens: naive.totals.get(backend)?.promptTokens ?? 0,
              cachedTokens: naive.totals.get(backend)?.cachedTokens ?? 0,
            })
          }
        })
      }),
      { numRuns: 300 },
    )
  })

  test('forgets a run with its end, however it ends', () => {
    const ledger = new KvLedger()
    const usage: Usage = { promptTokens: 5, completionTokens: 2 }
    for (const backend of [0, 1])
      ledger.apply(transitionOf({ what: 'released', run: 1, backend, model: 0, usage }, 1), 1)
    expect(ledger.size).toBe(2)
    ledger.apply(
      {
        type: 'run.failed',
        seq: 9,
        atMs: 1,
        runId: 'run-1',
        from: 'failing',
        to: 'failed',
        reason: 'r',
        error: { name: 'E', code: 'ORLA_TOOL', message: 'x', retryable: false },
      },
      2,
    )
    expect(ledger.size).toBe(0)
    expect(ledger.totals('b0')).toMatchObject({ runs: 0, residentTokens: 0 })
  })
})

test('what a prompt costs the engine does not count the time in which the engine computed others', () => {
  const ledger = new KvLedger()
  const tell = (run: number, type: string, nowMs: number, more: object = {}): void =>
    ledger.apply({ runId: `run-${run}`, backend: 'b', model: 'm', type, ...more } as unknown as Transition, nowMs)
  // All are granted at once; the engine takes a second for each.
  const count = 200
  for (let run = 0; run < count; run++) {
    tell(run, 'stage.queued', 0, { promptTokens: 10_000, addedTokens: 10_000, contextHash: `h${run}` })
    tell(run, 'stage.granted', 0)
  }
  for (let run = 0; run < count; run++) {
    const nowMs = (run + 1) * 1_000
    tell(run, 'stage.firstToken', nowMs)
    tell(run, 'stage.released', nowMs, { usage: { promptTokens: 10_000, cachedTokens: 0, completionTokens: 1 } })
  }
  expect(ledger.reloadMs('b', 10_000)).toBeGreaterThan(800)
  expect(ledger.reloadMs('b', 10_000)).toBeLessThan(1_100)
  expect(ledger.responseMs('b', 10_000)).toBeGreaterThan(50_000)
})
