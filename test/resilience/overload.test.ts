// Overload is not sickness: what a 429 does to the breaker, and what does not change.

import { describe, expect, test } from 'vitest'
import { BackendError } from '../../src/errors.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { testRuntime } from '../support/runtime.ts'
import { scripted } from '../support/scripted-backend.ts'

const failing = (status: number): BackendError =>
  new BackendError('ORLA_BACKEND_HTTP', `answered ${status}`, { retryable: true, details: { status } })

const once = workflow('once').stage('s', { backend: 'a', retry: { attempts: 1 }, prompt: () => 'x' })

describe('a backend that is overloaded', () => {
  test('and says so is not left alone like one that is sick', async () => {
    for (const [status, health] of [
      [429, 'healthy'],
      [500, 'open'],
    ] as const) {
      const runtime = await testRuntime({ a: scripted((call) => call.fail(failing(status))) })
      for (let i = 0; i < 12; i++) await runtime.until(runtime.start(once, undefined).outcome)
      expect(runtime.backends()[0]!.health).toBe(health)
    }
  })

  test('is not taken for well either: what failed before still counts, and a trial goes on', async () => {
    const statuses = [500, 500, 429, 500, 500, 429, 500]
    const backend = scripted((call, i) => call.fail(failing(statuses[i]!)))
    const runtime = await testRuntime({ a: backend })
    for (const _ of statuses) await runtime.until(runtime.start(once, undefined).outcome)
    expect(runtime.backends()[0]!.health).toBe('open')
    await runtime.clock.advance(2_000)
    expect(runtime.backends()[0]!.health).toBe('halfOpen')
    backend.script = (call) => call.fail(failing(429))
    await runtime.until(runtime.start(once, undefined).outcome)
    expect(runtime.backends()[0]!.health).toBe('halfOpen')
    backend.script = (call) => call.answer('x')
    await runtime.until(runtime.start(once, undefined).outcome)
    expect(runtime.backends()[0]!.health).toBe('healthy')
  })

  test('gets its requests again when it asks for them', async () => {
    const limited = (call: { fail(error: BackendError): void }): void =>
      call.fail(
        new BackendError('ORLA_BACKEND_HTTP', 'slow down', {
          retryable: true,
          details: { status: 429, retryAfterMs: 5_000 },
        }),
      )
    const backend = scripted((call, i) => (i < 2 ? limited(call) : call.answer('x')))
    const runtime = await testRuntime({ a: backend })
    const patient = workflow('patient').stage('s', { backend: 'a', prompt: () => 'x' })
    const outcome = await runtime.until(runtime.start(patient, undefined).outcome)
    expect(outcome.state).toBe('completed')
    expect(backend.calls.map(({ atMs }) => atMs)).toEqual([0, 5_000, 10_000])
    runtime.audit()
  })
})
