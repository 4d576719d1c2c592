import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { RunEvent, RunOutcome, StageReport } from '../../src/index.ts'
import { jsonReporter } from '../../src/cli/demo/json-reporter.ts'
import { describe as sentences, type Topic } from '../../src/cli/view/describe.ts'
import { lineWidth } from '../../src/cli/view/line.ts'
import { renderFrame } from '../../src/cli/view/render.ts'
import { summaryLines } from '../../src/cli/view/summary.ts'
import { paint } from '../../src/cli/view/theme.ts'
import { initialView, reduce, tokensPerSecond, type RunPlan, type ViewState } from '../../src/cli/view/view-model.ts'

const plan: RunPlan = {
  workflow: 'support',
  ticket: 'Charged twice.\u001b[31m Please refund.',
  stages: [
    { name: 'first', after: [], backend: 'light', tools: [] },
    { name: 'second', after: ['first'], backend: null, tools: ['look_up'] },
  ],
  backends: [
    { name: 'light', engine: 'simulated', model: 'small', windowRequests: 2 },
    { name: 'heavy', engine: 'simulated', model: 'big', windowRequests: 1 },
  ],
}

const at = { runId: 'run-1', reason: 'because' }
const turn = { ...at, turn: 1, backend: 'light', model: 'small', requestId: 'r1' }
const error = { name: 'OrlaError', code: 'ORLA_TOOL' as const, message: 'it \u001b[2Jbroke', retryable: false }

/** One event of each type, in an order that a run could have. */
const events: RunEvent[] = [
  {
    ...at,
    type: 'run.started',
    seq: 1,
    atMs: 0,
    from: 'pending',
    to: 'running',
    workflow: 'support',
    tenant: 't',
    stages: 2,
  },
  { ...at, type: 'stage.started', seq: 2, atMs: 1, stage: 'first', from: 'pending', to: 'mapping' },
  {
    ...at,
    type: 'stage.mapped',
    seq: 3,
    atMs: 2,
    stage: 'first',
    from: 'mapping',
    to: 'building',
    backend: 'light',
    model: 'small',
  },
  {
    ...turn,
    type: 'stage.queued',
    seq: 4,
    atMs: 3,
    stage: 'first',
    from: 'building',
    to: 'queued',
    stagePriority: 8,
    requestPriority: 2,
    promptTokens: 1200,
    addedTokens: 300,
    contextHash: 'abcdef0123456789',
  },
  {
    ...turn,
    type: 'stage.granted',
    seq: 5,
    atMs: 13,
    stage: 'first',
    from: 'queued',
    to: 'inferring',
    queueWaitMs: 10,
  },
  {
    ...turn,
    type: 'stage.firstToken',
    seq: 6,
    atMs: 113,
    stage: 'first',
    from: 'inferring',
    to: 'inferring',
    ttftMs: 110,
  },
  { runId: 'run-1', type: 'stage.token', atMs: 113, stage: 'first', turn: 1, channel: 'content', text: 'Hel\u001b' },
  { runId: 'run-1', type: 'stage.token', atMs: 163, stage: 'first', turn: 1, channel: 'content', text: 'lo\u202e' },
  { runId: 'run-1', type: 'stage.token', atMs: 163, stage: 'first', turn: 1, channel: 'tool', text: '{"a":1}' },
  { runId: 'run-1', type: 'events.dropped', atMs: 170, count: 3 },
  {
    ...turn,
    type: 'stage.released',
    seq: 7,
    atMs: 213,
    stage: 'first',
    from: 'inferring',
    to: 'validating',
    outcome: 'ok',
    durationMs: 200,
    finishReason: 'tool_calls',
    usage: { promptTokens: 1190, cachedTokens: 1000, completionTokens: 20 },
  },
  {
    ...turn,
    type: 'tool.started',
    seq: 8,
    atMs: 214,
    stage: 'first',
    from: 'validating',
    to: 'tooling',
    callId: 'c',
    tool: 'look_up',
    arguments: '{"id":7}',
  },
  {
    ...turn,
    type: 'tool.ended',
    seq: 9,
    atMs: 220,
    stage: 'first',
    from: 'tooling',
    to: 'tooling',
    callId: 'c',
    tool: 'look_up',
    ok: true,
    durationMs: 6,
  },
  {
    ...turn,
    type: 'tool.ended',
    seq: 10,
    atMs: 221,
    stage: 'first',
    from: 'tooling',
    to: 'tooling',
    callId: 'd',
    tool: 'look_up',
    ok: false,
    durationMs: 1,
    message: 'gone',
  },
  { ...at, type: 'stage.continued', seq: 11, atMs: 221, stage: 'first', from: 'tooling', to: 'building', turn: 2 },
  { ...turn, type: 'stage.rejected', seq: 12, atMs: 222, stage: 'first', from: 'queued', to: 'validating', error },
  {
    ...turn,
    type: 'stage.retrying',
    seq: 13,
    atMs: 223,
    stage: 'first',
    from: 'validating',
    to: 'waiting',
    attempt: 2,
    delayMs: 50,
    error,
  },
  {
    ...turn,
    type: 'stage.released',
    seq: 14,
    atMs: 300,
    stage: 'first',
    from: 'inferring',
    to: 'validating',
    outcome: 'failed',
    durationMs: 9,
    usage: {},
    error,
  },
  { ...at, type: 'stage.completed', seq: 15, atMs: 301, stage: 'first', from: 'validating', to: 'completed', turns: 2 },
  { ...at, type: 'stage.failed', seq: 16, atMs: 302, stage: 'second', from: 'mapping', to: 'failed', error },
  { ...at, type: 'stage.skipped', seq: 17, atMs: 303, stage: 'second', from: 'pending', to: 'skipped' },
  { ...at, type: 'stage.cancelled', seq: 18, atMs: 304, stage: 'second', from: 'pending', to: 'cancelled' },
  { ...at, type: 'run.stopping', seq: 19, atMs: 305, from: 'running', to: 'failing', error },
  { ...at, type: 'run.failed', seq: 20, atMs: 306, from: 'failing', to: 'failed', error },
  { ...at, type: 'run.completed', seq: 21, atMs: 307, from: 'running', to: 'completed' },
]

const until = (seq: number): ViewState => {
  const index = events.findIndex((event) => 'seq' in event && event.seq === seq)
  return events.slice(0, index + 1).reduce(reduce, initialView(plan))
}
const everything = new Set<Topic>(['progress', 'turn', 'mapping', 'scheduling', 'context', 'tool', 'trouble'])
const screen = (state: ViewState, width: number, height: number): string[] =>
  renderFrame(state, { width, height, nowMs: state.atMs, topics: everything }).map((line) =>
    paint(line, { color: false, unicode: true }),
  )

describe('view model', () => {
  test('follows a turn from the queue to its usage', () => {
    const queued = until(4)
    expect(queued.backends.map(({ waiting, inFlight }) => [waiting, inFlight])).toEqual([
      [['first'], []],
      [[], []],
    ])
    expect(queued.stages[0]).toMatchObject({ state: 'queued', backend: 'light', model: 'small', turn: 1 })
    const speaking = events.slice(0, 10).reduce(reduce, initialView(plan))
    expect(speaking.backends[0]).toMatchObject({ waiting: [], inFlight: ['first'] })
    expect(speaking.stages[0]).toMatchObject({
      text: 'Hello',
      ttftMs: 110,
      queueWaitMs: 10,
      pieces: 3,
      promptTokens: null,
    })
    expect(tokensPerSecond(speaking.stages[0]!, 163)).toBeCloseTo(60)
    const released = until(7)
    expect(released.backends[0]).toMatchObject({ waiting: [], inFlight: [] })
    expect(released.stages[0]).toMatchObject({ promptTokens: 1190, cachedTokens: 1000, completionTokens: 20, text: '' })
    expect(tokensPerSecond(released.stages[0]!, 999)).toBe(200)
    expect(tokensPerSecond(released.stages[1]!, 999)).toBeNull()
    expect(until(20)).toMatchObject({ state: 'failed', runId: 'run-1' })
  })

  test('does not change the state it is given, and takes events it does not know', () => {
    const frozen = <T>(value: T): T => {
      if (typeof value === 'object' && value !== null) Object.values(Object.freeze(value)).forEach(frozen)
      return value
    }
    const last = events.reduce((state, event) => frozen(reduce(state, event)), frozen(initialView(plan)))
    const unknown = { ...events[1], type: 'stage.pondered' } as unknown as RunEvent
    expect(reduce(last, unknown).log).toEqual(last.log)
  })

  test('a flood of events leaves a bounded state', () => {
    const token: RunEvent = { ...(events[6] as Extract<RunEvent, { type: 'stage.token' }>), text: 'x'.repeat(500) }
    let state = until(6)
    for (let i = 0; i < 300; i++) state = reduce(reduce(state, token), events[1]!)
    expect(state.log.length).toBeLessThanOrEqual(200)
    expect(state.stages[0]!.text.length).toBeLessThanOrEqual(2_000)
    expect(initialView({ ...plan, ticket: 'y'.repeat(1e6) }).ticket).toHaveLength(4_000)
  })
})

describe('sentences', () => {
  test('every transition is told in words, safe for a terminal', () => {
    const told = events.flatMap((event) =>
      event.type === 'stage.token' || event.type === 'events.dropped' ? [] : sentences(event, initialView(plan)),
    )
    const texts = told.map(({ stage, topic, text }) => `${stage ?? 'run'} | ${topic} | ${text}`)
    expect(texts).toMatchInlineSnapshot(`
      [
        "run | progress | started: 2 stages, tenant t",
        "first | progress | starts: because",
        "first | mapping | mapped to light, small: because",
        "first | context | turn 1 prompt: about 1,200 tokens, 300 beyond what this run last sent to light; chain abcdef01",
        "first | scheduling | turn 1 queued on light, place 1, priority stage 8, request 2",
        "first | scheduling | turn 1 granted after 10 ms: because",
        "first | turn | turn 1 first token after 110 ms",
        "first | context | turn 1 took 200 ms: 1,190 prompt tokens, 1,000 cached (84 %), 20 answered; tool_calls",
        "first | tool | calls look_up({"id":7})",
        "first | tool | look_up ok in 6 ms",
        "first | tool | look_up failed in 1 ms: gone",
        "first | turn | goes on with turn 2: because",
        "first | trouble | light does not take it: it broke",
        "first | trouble | turn 1 again in 50 ms, attempt 2: because",
        "first | trouble | turn 1 failed after 9 ms: it broke",
        "first | progress | completed: because",
        "second | trouble | failed: it broke [ORLA_TOOL]",
        "second | progress | skipped: because",
        "second | trouble | cancelled: because",
        "run | trouble | stops: it broke",
        "run | trouble | failed: it broke [ORLA_TOOL]",
        "run | progress | completed",
      ]
    `)
    expect(texts.join('')).not.toMatch(/\p{Cc}/u)
  })
})

describe('screen', () => {
  test('shows DAG, figures, backends and what happened at 80 by 24', () => {
    expect(screen(until(12), 80, 24).join('\n')).toMatchInlineSnapshot(`
      "orla  support  run-1                                             running  222 ms
      Ticket  Charged twice. Please refund.

      ◑ first validating ─── ○ second pending

      stage     backend  model  turn  queue    ttft  tok/s  prompt  cached  out
      ◑ first   light    small     1  10 ms  110 ms    200   1,190   1,000   20
      ○ second  -        -         -      -       -      -       -       -    -

      light  small  ░░  0 of 2 slots, 0 queued, 1,210 tokens in its cache
      heavy  big    ░  0 of 1 slots, 0 queued

        0.001  first  starts: because
        0.002  first  mapped to light, small: because
        0.003  first  turn 1 prompt: about 1,200 tokens, 300 beyond what this run las…
        0.003  first  turn 1 queued on light, place 1, priority stage 8, request 2
        0.013  first  turn 1 granted after 10 ms: because
        0.113  first  turn 1 first token after 110 ms
        0.213  first  turn 1 took 200 ms: 1,190 prompt tokens, 1,000 cached (84 %), 2…
        0.214  first  calls look_up({"id":7})
        0.220  first  look_up ok in 6 ms
        0.221  first  look_up failed in 1 ms: gone
        0.221  first  goes on with turn 2: because
        0.222  first  light does not take it: it broke"
    `)
  })

  test('shows what the memory manager decided about the cache of a backend, and why', () => {
    const decision = {
      type: 'cache.released',
      seq: 99,
      atMs: 230,
      runId: 'run-1',
      from: 'running',
      to: 'running',
      reason: 'the run is over; the cache is emptied',
      backend: 'light',
      policy: 'paper',
      tokens: 1_210,
      figures: {},
    } as const
    const lines = screen(reduce(until(12), decision), 100, 24)
    expect(lines).toContain('light  small  ░░  0 of 2 slots, 0 queued  released: the run is over; the cache is emptied')
  })

  test('shows what a stage says while it says it', () => {
    const speaking = events.slice(0, 8).reduce(reduce, initialView({ ...plan, note: 'Part 1' }))
    const lines = screen(speaking, 80, 24)
    expect(lines[1]).toBe('Part 1')
    expect(lines.at(-1)).toBe('▸ first  Hello')
  })

  test('never leaves its size, whatever it is, and whatever the texts are', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 40, max: 200 }),
        fc.integer({ min: 8, max: 60 }),
        fc.nat(events.length),
        fc.string({ unit: 'binary', maxLength: 200 }),
        (width, height, happened, ticket) => {
          const state = events.slice(0, happened).reduce(reduce, initialView({ ...plan, ticket }))
          const lines = renderFrame(state, { width, height, nowMs: 123_456, topics: everything })
          expect(lines.length).toBeLessThanOrEqual(height)
          for (const line of lines) {
            expect(lineWidth(line)).toBeLessThanOrEqual(width)
            expect(line.map(({ text }) => text).join('')).not.toMatch(/\p{Cc}/u)
          }
        },
      ),
    )
  })

  test('keeps to eight rows where a terminal has no more', () => {
    const speaking = events.slice(0, 8).reduce(reduce, initialView({ ...plan, ticket: 'word '.repeat(99) }))
    expect(screen(speaking, 40, 8)).toHaveLength(8)
  })

  test('counts the stages that it has no room for', () => {
    const stages = Array.from({ length: 100 }, (_, index) => ({
      name: `s${index}`,
      after: [],
      backend: null,
      tools: [],
    }))
    expect(screen(initialView({ ...plan, stages }), 80, 40).join('\n')).toContain('and 88 more stages')
  })
})

describe('summary', () => {
  const report: StageReport = {
    state: 'completed',
    backend: 'light',
    model: 'small',
    toolCalls: [],
    truncated: false,
    finishReason: 'stop',
    turns: [
      {
        queueWaitMs: 5,
        ttftMs: 20,
        promptTokens: 100,
        cachedTokens: 40,
        completionTokens: 9,
        finishReason: 'stop',
        attempts: 1,
      },
    ],
    startedAtMs: 0,
    endedAtMs: 500,
    queueWaitMs: 5,
    ttftMs: 20,
    promptTokens: 100,
    cachedTokens: 40,
    completionTokens: 9,
  }
  const email = { to: 'customer', body: 'Dear \u001b[5mDana,\nwe refund.' }
  const outcome: RunOutcome = {
    runId: 'run-1',
    workflow: 'support',
    state: 'completed',
    result: { status: 'accepted', email, nested: { reason: 'in time', deep: { a: [1] } } },
    results: {},
    stages: {
      first: report,
      second: {
        ...report,
        startedAtMs: 500,
        endedAtMs: 1000,
        toolCalls: [{ name: 'look_up', arguments: {}, ok: false }],
      },
    },
    durationMs: 1000,
  }
  const told = (ended: Parameters<typeof summaryLines>[1], width = 100): string =>
    summaryLines(plan, ended, width)
      .map((line) => paint(line, { color: false, unicode: true }))
      .join('\n')

  test('tells result, effects, time line, critical path and totals', () => {
    expect(told({ outcome, effects: { emails: [email], tickets: [] }, issues: [] })).toMatchInlineSnapshot(`
      "
      Result
        status  accepted
        email   email 1 below
        nested
          reason  in time
          deep    {"a":[1]}

      Effects
        email 1
          to    customer
          body  Dear Dana,
                we refund.

      Stages
        stage     time                      backend  turns        tools  queue   ttft  prompt  cached  out
        ✓ first   ████████████············  light        1            -   5 ms  20 ms     100      40    9
        ✓ second  ············████████████  light        1  1, 1 failed   5 ms  20 ms     100      40    9

        critical path  first → second
        time           1.00 s, 2 requests, 1 tool calls
        tokens         200 prompt, 80 of them cached (40 %), 18 answered"
    `)
  })

  test('tells why a run failed, and which claims nothing bears out', () => {
    const failed: RunOutcome = { ...outcome, state: 'failed', error }
    const issues = [{ path: 'stages.second', code: 'x', message: 'says it sent a mail' }]
    const text = told({ outcome: failed, effects: { emails: [], tickets: [] }, issues })
    expect(text).toContain('The run failed\n  it broke [ORLA_TOOL]')
    expect(text).toContain('Claims that no tool call bears out\n  stages.second: says it sent a mail')
    const cancelled: RunOutcome = { ...failed, state: 'cancelled', durationMs: 0 }
    expect(told({ outcome: cancelled, effects: { emails: [], tickets: [] }, issues: [] }, 60)).toContain(
      'was cancelled',
    )
  })

  test('bounds what it lists', () => {
    const emails = Array.from({ length: 30 }, () => email)
    const stages = Object.fromEntries(Array.from({ length: 90 }, (_, index) => [`s${index}`, report]))
    const text = told({
      outcome: { ...outcome, result: 'line\n'.repeat(99), stages },
      effects: { emails, tickets: [] },
      issues: [],
    })
    expect(text).toContain('and 20 more')
    expect(text).toContain('and 50 more stages')
    expect(text.split('\n').length).toBeLessThan(120)
  })
})

describe('JSON lines', () => {
  test('the final transition is written once, with the outcome in it', () => {
    const written: string[] = []
    const reporter = jsonReporter((text) => written.push(text))
    reporter.begin({} as never)
    for (const event of events.filter(({ type }) => type !== 'run.completed')) reporter.event(event)
    const outcome = {
      runId: 'run-1',
      workflow: 'w',
      state: 'failed',
      error,
      results: {},
      stages: {},
      durationMs: 1,
    } as const
    reporter.end({ outcome, effects: { emails: [], tickets: [] }, issues: [] })
    expect(written).toHaveLength(20)
    expect(written.every((text) => text.endsWith('\n') && !text.slice(0, -1).includes('\n'))).toBe(true)
    expect(JSON.parse(written.at(-1)!)).toEqual({
      type: 'run.failed',
      seq: 20,
      atMs: 306,
      from: 'failing',
      to: 'failed',
      runId: 'run-1',
      reason: 'because',
      error,
      result: null,
      stages: {},
      effects: { emails: [], tickets: [] },
    })
  })
})
