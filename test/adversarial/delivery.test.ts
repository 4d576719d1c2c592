// Messages that take their time: every order in which two mailboxes, engines, tools and people can meet.
//
// fast-check's scheduler decides what happens next: a message to the runs arrives, one to the shared actors arrives, an
// engine or a tool answers, somebody cancels or changes a backend, or the clock moves. Messages of one direction keep
// their order, as they do between threads.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { BackendError } from '../../src/errors.ts'
import type { RuntimeOptions } from '../../src/runtime-api.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { tool } from '../../src/workflow/tool.ts'
import { testRuntime } from '../support/runtime.ts'
import { scripted, type ScriptedCall } from '../support/scripted-backend.ts'

type Deed =
  | { do: 'cancel'; run: number }
  | { do: 'window'; windowRequests: number }
  | { do: 'policy'; name: 'fcfs' | 'priority' | 'sjf' }
  | { do: 'drain' | 'resume' | 'replace' | 'remove' | 'close' }

const deed: fc.Arbitrary<Deed> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('cancel' as const), run: fc.nat(5) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('window' as const), windowRequests: fc.integer({ min: 1, max: 3 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('policy' as const), name: fc.constantFrom('fcfs', 'priority', 'sjf') }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constantFrom('drain', 'resume', 'replace', 'remove', 'close') }),
  },
)

const answers = fc.array(fc.constantFrom('ok', 'tool', 'again', 'never'), { minLength: 1, maxLength: 12 })

/** Effects of the tool, by run and call: none may happen twice. */
function counted(): { effects: string[]; note: ReturnType<typeof tool> } {
  const effects: string[] = []
  const note = tool({
    description: 'Notes.',
    input: z.object({}),
    run: (_input, { runId, callId }) => {
      effects.push(`${runId} ${callId}`)
      return 'noted'
    },
  })
  return { effects, note }
}

async function play(
  scheduler: fc.Scheduler,
  said: readonly string[],
  deeds: readonly Deed[],
  memory: RuntimeOptions['memory'],
): Promise<void> {
  const { effects, note } = counted()
  /** One mailbox for each direction: whatever arrives next is its first message. */
  const mail = { 'to-runs': [] as (() => void)[], 'from-runs': [] as (() => void)[] }
  const later = (label: string, then: () => void): void => {
    void scheduler.schedule(Promise.resolve(), label).then(then)
  }
  let calls = 0
  const engine = (call: ScriptedCall): void => {
    const answer = said[calls++ % said.length]!
    if (answer === 'never') return
    later(`the engine says ${answer}`, () => {
      if (answer === 'again') call.fail(new BackendError('ORLA_BACKEND_HTTP', 'busy', { retryable: true }))
      else if (answer === 'tool' && call.request.tools !== undefined && call.request.toolChoice !== 'none') {
        call.answer({ toolCalls: [{ name: 'note' }] })
      } else call.delta('a').answer('done')
    })
  }
  const backends = { a: scripted(engine, { windowRequests: 2 }), b: scripted(engine, { windowRequests: 1 }) }
  const runtime = await testRuntime(backends, {
    ...(memory !== undefined && { memory }),
    failover: { a: ['b'] },
    delivery: (deliver, direction) => {
      mail[direction].push(deliver)
      later(`a message ${direction}`, () => mail[direction].shift()!())
    },
  })
  const definition = workflow('w')
    .stage('first', { backend: 'a', tools: { note }, prompt: () => 'first', timeouts: { totalMs: 50 } })
    .stage('mapped', {
      mapping: () => ({ backend: 'b', reason: 'other' }),
      prompt: () => 'mapped',
      timeouts: { totalMs: 50 },
    })
    .stage('last', {
      backend: 'a',
      fallback: ['b'],
      after: ['first', 'mapped'],
      prompt: () => 'last',
      timeouts: { totalMs: 50 },
    })
    .output(({ results }) => results.last)
  const runs = Array.from({ length: 4 }, () => runtime.start(definition, undefined))
  const acts: Promise<unknown>[] = []
  deeds.forEach((each, i) => {
    later(`deed ${i}: ${each.do}`, () => {
      try {
        if (each.do === 'cancel') runs[each.run % runs.length]!.cancel()
        else if (each.do === 'window') runtime.reconfigure('a', { windowRequests: each.windowRequests })
        else if (each.do === 'policy') runtime.setScheduling('a', { stage: each.name, request: each.name })
        else if (each.do === 'drain') runtime.drain('a')
        else if (each.do === 'resume') runtime.resume('a')
        else if (each.do === 'replace') acts.push(runtime.replaceBackend('a', scripted(engine)).catch(() => {}))
        else if (each.do === 'remove') acts.push(runtime.removeBackend('a').catch(() => {}))
        else acts.push(runtime.close())
      } catch {
        // What cannot be done any more, because the backend or the runtime is gone, is refused: that is an answer too.
      }
    })
  })

  let ended = false
  const outcomes = Promise.all(runs.map((run) => run.outcome)).finally(() => (ended = true))
  for (let steps = 0; !ended || scheduler.count() > 0; steps++) {
    expect(steps, 'something waits for ever').toBeLessThan(5_000)
    if (scheduler.count() > 0) await scheduler.waitNext(1)
    // Answers that never come end in their deadlines; retries wait for theirs.
    else await runtime.clock.advance(10)
    await runtime.clock.advance(0)
  }
  for (const outcome of await outcomes) {
    expect(['completed', 'failed', 'cancelled']).toContain(outcome.state)
    if (outcome.state === 'completed') expect(outcome.result).toBe('done')
    else expect(outcome.error?.code).toMatch(/^ORLA_/)
    expect(outcome.error?.code).not.toBe('ORLA_INVARIANT')
  }
  await Promise.all(acts)
  await runtime.clock.runAll()
  expect(new Set(effects).size).toBe(effects.length)
  for (const backend of [backends.a, backends.b]) expect(backend.open).toEqual([])
  // A runtime that was closed read no more mail: only its runs, its effects and its engines can be looked at.
  if (!deeds.some((each) => each.do === 'close')) runtime.audit({ deadLetters: runtime.deadLetters })
}

test('no order of messages, answers, cancellations and changes loses a run, a slot or an effect', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), answers, fc.array(deed, { maxLength: 6 }), (scheduler, said, deeds) =>
      play(scheduler, said, deeds, undefined),
    ),
    { numRuns: 150 },
  )
})

test('nor does a KV window that holds runs', async () => {
  const memory = { policy: 'price' as const, kvTokens: { a: 30, b: 30 }, holdMsMax: 100 }
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), answers, fc.array(deed, { maxLength: 6 }), (scheduler, said, deeds) =>
      play(scheduler, said, deeds, memory),
    ),
    { numRuns: 150 },
  )
})
