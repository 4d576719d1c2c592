// Pools, tenants and windows that find their size, all at once, while replicas fail, hang, slow, drain and come back, runs
// are cancelled, and messages between runs and backends are late.

import { expect, test } from 'vitest'
import { z } from 'zod'
import { BackendError } from '../../src/errors.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { tool } from '../../src/workflow/tool.ts'
import { testRuntime, type TestRuntime } from '../support/runtime.ts'
import { scripted, type ScriptedCall } from '../support/scripted-backend.ts'

const names = ['a', 'b', 'c'] as const
const broken = new BackendError('ORLA_BACKEND_UNREACHABLE', 'no connection', { retryable: true })

test.each(Array.from({ length: 12 }, (_, i) => i + 1))(
  'seed %i leaves nothing behind, and repeats no effect',
  async (seed) => {
    let state = seed * 7_919
    const random = (): number => (state = (state * 1_103_515_245 + 12_345) % 2_147_483_648) / 2_147_483_648
    const chance = (share: number): boolean => random() < share

    const ill = new Map<string, 'failing' | 'hanging' | 'slow'>()
    const answer = (name: string) => (call: ScriptedCall) => {
      const isFirst = call.request.messages.length === 1
      const said = isFirst && chance(0.5) ? { toolCalls: [{ name: 'send' }] } : 'done'
      const what = ill.get(name)
      if (what === 'failing' || chance(0.02)) call.fail(broken, 10 * random())
      else if (what !== 'hanging') call.answer(said, (what === 'slow' ? 2_000 : 100) * (0.5 + random()))
    }
    const backends = Object.fromEntries(
      names.map((name) => [
        name,
        scripted(answer(name), {
          windowRequests: 1 + Math.floor(6 * random()),
          timeouts: { firstTokenMs: 5_000 },
          ...(chance(0.5) && { adaptiveWindow: { min: 1, max: 16 } }),
        }),
      ]),
    )
    const late: (() => void)[] = []
    const policies = (['fcfs', 'fair', 'drr', 'critical-path', 'hrrn'] as const)[seed % 5]!
    const runtime: TestRuntime = await testRuntime(backends, {
      seed,
      pools: { fast: [...names] },
      tenants: {
        small: { inFlightMax: 2, weight: 3 },
        slow: { tokensPerMinute: 5_000 },
        '*': { inFlightPerBackendMax: 3 },
      },
      scheduling: Object.fromEntries(names.map((name) => [name, { stage: policies, request: policies }])),
      ...(seed % 3 === 0 && {
        memory: { kvTokens: Object.fromEntries(names.map((name) => [name, 400])), policy: 'thunderagent' },
      }),
      ...(seed % 2 === 0 && {
        delivery: (deliver: () => void) => {
          late.push(deliver)
          runtime.clock.setTimer(random() < 0.5 ? 0 : 3, () => late.shift()?.())
        },
      }),
    })
    const effects = new Map<string, number>()
    const send = tool({
      description: 'sends',
      input: z.object({}),
      run: (_, { runId }) => (effects.set(runId, (effects.get(runId) ?? 0) + 1), 'sent'),
    })
    const flow = workflow('w')
      .stage('s', { backend: 'fast', maxTokens: 20, tools: { send }, prompt: () => 'send it', retry: { attempts: 6 } })
      .stage('t', { backend: 'fast', maxTokens: 20, after: ['s'], prompt: () => 'and now?', retry: { attempts: 6 } })
    const ended: ReturnType<typeof runtime.start>['outcome'][] = []
    let out: string | undefined
    for (let i = 0; i < 150; i++) {
      const run = runtime.start(flow, undefined, { tenant: ['small', 'slow', 'x', 'y'][Math.floor(4 * random())]! })
      ended.push(run.outcome)
      if (chance(0.1)) runtime.clock.setTimer(2_000 * random(), () => run.cancel())
      const name = names[Math.floor(3 * random())]!
      // One at a time is ill, or drained: the others can take its place.
      if (out === undefined && chance(0.2)) {
        out = name
        if (chance(0.3)) runtime.drain(name)
        else ill.set(name, (['failing', 'hanging', 'slow'] as const)[Math.floor(3 * random())]!)
      } else if (out !== undefined && chance(0.05)) {
        ill.delete(out)
        runtime.resume(out)
        out = undefined
      }
      if (chance(0.03)) runtime.reconfigure(name, { windowRequests: 1 + Math.floor(8 * random()) })
      await runtime.clock.advance(40 * random())
    }
    ill.clear()
    for (const name of names) runtime.resume(name)
    const outcomes = await runtime.until(Promise.all(ended))
    expect(outcomes.filter((outcome) => outcome.state === 'failed').map(({ error }) => error!.message)).toEqual([])
    expect(outcomes.filter((outcome) => outcome.state === 'completed').length).toBeGreaterThan(100)
    expect([...effects.values()].every((count) => count <= 2)).toBe(true)
    // Breakers close again, buckets fill, the rerouter sleeps.
    await runtime.clock.advance(300_000)
    // Where messages are late, some come after the end of their run.
    runtime.audit({ deadLetters: seed % 2 === 0 ? runtime.deadLetters : 0 })
  },
)
