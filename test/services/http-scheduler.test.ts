// A scheduling service over real sockets: its order at the engine, in batches, and what becomes of one that is late,
// broken or mistaken.

import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { virtualClock } from '../../src/clock.ts'
import { createRuntime } from '../../src/runtime.ts'
import type { KeyedPolicy } from '../../src/scheduling/policy.ts'
import { priority } from '../../src/scheduling/priority.ts'
import { SubQueues } from '../../src/scheduling/sub-queues.ts'
import { httpScheduler, type HttpSchedulerOptions } from '../../src/services/http-scheduler.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { requestView } from '../scheduling/support.ts'
import { scripted } from '../support/scripted-backend.ts'

interface Pending {
  id: string
  stage: string
  promptTokens: number
  waitMs: number
}

const servers: Server[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

async function service(answer: (pending: Pending[], response: ServerResponse) => void): Promise<string> {
  const server = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk: Buffer) => (text += chunk.toString()))
    request.on('end', () => answer((JSON.parse(text) as { pending: Pending[] }).pending, response))
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/rank`
}

const numberOf = ({ id }: Pending): number => Number(id.split('-')[1])
/** Later runs first. */
const backwards = (pending: Pending[]): object => ({
  ranks: Object.fromEntries(pending.map((each) => [each.id, 1 - numberOf(each) / 2_000])),
})

/** Runs wait behind the first; `until` lets them go. Returns the order in which the engine got them. */
async function orderOf(
  policy: KeyedPolicy,
  count: number,
  until: () => Promise<void>,
  priorities: (i: number) => number = () => 0,
): Promise<number[]> {
  const main = scripted(() => {}, { windowRequests: 1, queueCapacity: 100_000 })
  await using runtime = await createRuntime({
    backends: { main },
    scheduling: { main: { stage: policy, request: policy } },
    probeTimeoutMs: 0,
  })
  const ask = workflow('ask').stage('s', { backend: 'main', prompt: () => 'hello' })
  const runs = Array.from(
    { length: count },
    (_, i) => runtime.start(ask, undefined, { priority: priorities(i) }).outcome,
  )
  await until()
  main.script = (call) => call.answer()
  main.open[0]!.answer()
  await Promise.all(runs)
  return main.calls.slice(1).map(({ context }) => Number(context.requestId.split('-')[1]))
}

/** A policy, and a promise of when the service has answered for so many requests. */
function watched(options: HttpSchedulerOptions, requests: number): { policy: KeyedPolicy; answered: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>()
  const policy = httpScheduler(options)
  const known = new Set<string>()
  policy.watch!((ids) => {
    for (const id of ids ?? []) known.add(id)
    if (known.size >= requests) resolve()
  })
  return { policy, answered: promise }
}

describe('a scheduling service', () => {
  test('decides the order at the engine, by ranks', async () => {
    const questions: Pending[][] = []
    const url = await service((pending, response) => {
      questions.push(pending)
      response.end(JSON.stringify(backwards(pending)))
    })
    const { policy, answered } = watched({ url, timeoutMs: 5_000, headers: { authorization: 'x' } }, 5)
    expect(await orderOf(policy, 6, () => answered)).toEqual([6, 5, 4, 3, 2])
    expect(questions.flat()[0]).toMatchObject({
      stage: 'ask/s',
      waitMs: expect.any(Number),
      promptTokens: expect.any(Number),
    })
  })

  test('decides it by an order, as the reference system’s does', async () => {
    const url = await service((pending, response) => {
      response.end(JSON.stringify({ order: pending.map(({ id }) => id).reverse() }))
    })
    const { policy, answered } = watched({ url, timeoutMs: 5_000 }, 5)
    expect(await orderOf(policy, 6, () => answered)).toEqual([6, 5, 4, 3, 2])
  })

  test('is asked in batches, several at a time, so that a slow one does not hold admission up', async () => {
    let [questions, open, openMost] = [0, 0, 0]
    const url = await service((pending, response) => {
      questions++
      openMost = Math.max(openMost, ++open)
      setImmediate(() => {
        open--
        response.end(JSON.stringify(backwards(pending)))
      })
    })
    const { policy, answered } = watched({ url, timeoutMs: 10_000, batchMax: 100 }, 999)
    const order = await orderOf(policy, 1_000, () => answered)
    // 1,000 requests: one question each would be a thousand, one after the other.
    expect(questions).toBeLessThanOrEqual(14)
    expect(openMost).toBeLessThanOrEqual(4)
    expect(order).toEqual(order.toSorted((a, b) => b - a))
  })

  test('nothing waits for it: an engine that is free gets a request before the service has heard of it', async () => {
    const url = await service(() => {})
    const policy = httpScheduler({ url, timeoutMs: 60_000 })
    const main = scripted((call) => call.answer('at once'))
    await using runtime = await createRuntime({
      backends: { main },
      scheduling: { main: { stage: policy, request: policy } },
      probeTimeoutMs: 0,
    })
    const ask = workflow('ask').stage('s', { backend: 'main', prompt: () => 'hello' })
    expect(await runtime.start(ask, undefined).result).toEqual({ s: 'at once' })
    for (const server of servers) server.closeAllConnections()
  })

  test.each<[string, (pending: Pending[], response: ServerResponse) => void]>([
    ['late', () => {}],
    ['broken', (_, response) => response.writeHead(500).end('no')],
    ['mistaken', (_, response) => response.end('{"ranks":{"x":7}}')],
    ['gone', (_, response) => response.destroy()],
  ])('one that is %s leaves the order to the local policy', async (_, answer) => {
    const url = await service(answer)
    const down = Promise.withResolvers<void>()
    const policy = httpScheduler({
      url,
      timeoutMs: 100,
      fallback: 'priority',
      onChange(state) {
        if (state === 'down') down.resolve()
        throw new Error('a listener that throws breaks nothing')
      },
    })
    expect(
      await orderOf(
        policy,
        5,
        () => down.promise,
        (i) => i * 10,
      ),
    ).toEqual([5, 4, 3, 2])
  })

  test('is asked again after a pause, about what waits too, and has the word again', async () => {
    const clock = virtualClock()
    let works = false
    const states: string[] = []
    const url = await service((pending, response) => {
      if (works) response.end(JSON.stringify(backwards(pending)))
      else response.writeHead(503).end()
    })
    const change = { resolve: () => {}, promise: Promise.resolve() }
    const next = (): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<void>()
      Object.assign(change, { promise, resolve })
      return promise
    }
    const policy = httpScheduler({
      url,
      timeoutMs: 1_000,
      patienceMs: 86_400_000,
      clock,
      onChange: (state) => (states.push(state), change.resolve()),
    })
    const queue = new SubQueues({ stage: policy, request: policy })
    const add = (i: number): void =>
      queue.enqueue(requestView({ arrivalOrder: i, requestId: `run-${i}`, arrivalMs: clock.nowMs() }))
    const wentDown = next()
    add(1)
    add(2)
    await clock.advance(5)
    await wentDown
    expect(queue.peek(0)!.requestId).toBe('run-1')
    works = true
    await clock.advance(500)
    add(3)
    expect(states).toEqual(['down'])
    await clock.advance(600)
    const cameBack = next()
    add(4)
    await clock.advance(5)
    await cameBack
    expect(states).toEqual(['down', 'up'])
    expect(Array.from({ length: 4 }, () => queue.next(0)!.requestId)).toEqual(['run-4', 'run-3', 'run-2', 'run-1'])
    queue.close()
  })

  test('says what is wrong with its options', () => {
    expect(() => httpScheduler({ url: 'ftp://x' })).toThrow(/http/)
    expect(() => httpScheduler({ url: 'http://x', timeoutMs: 0, batchMax: 0 })).toThrow(/2 problem/)
    expect(() => httpScheduler({ url: 'http://x', fallback: 'fair' })).toThrow(/fixed keys/)
    expect(httpScheduler({ url: 'http://x', fallback: 'critical-path' }).forecast).toBe(true)
    expect(httpScheduler({ url: 'http://x', fallback: priority() }).name).toBe('http')
  })
})

test('a queue whose keys change serves what an order of the keys of now says', () => {
  const draws = fc.array(
    fc.oneof(
      fc.record({ add: fc.nat(1_000), stage: fc.constantFrom('w/a', 'w/b', 'w/c') }),
      fc.record({ change: fc.nat(30), key: fc.integer({ min: -5, max: 1_000 }), all: fc.boolean() }),
      fc.constant('serve' as const),
    ),
    { maxLength: 80 },
  )
  fc.assert(
    fc.property(draws, (steps) => {
      const keys = new Map<string, number>()
      let changed: (ids: readonly string[] | undefined) => void = () => {}
      const policy: KeyedPolicy = {
        name: 'changing',
        key: ({ requestId }) => keys.get(requestId) ?? Number.NaN,
        watch: (listener) => ((changed = listener), () => (changed = () => {})),
      }
      const queue = new SubQueues({ stage: policy, request: policy })
      const waiting: string[] = []
      let order = 0
      const serve = (): void => {
        const next = queue.next(0)
        if (next === undefined) {
          expect(waiting).toEqual([])
          return
        }
        // One without a usable key: first come, first served, level by level. Else the least key, the earlier of two.
        if (waiting.every((id) => Number.isFinite(keys.get(id)))) {
          const least = Math.min(...waiting.map((id) => keys.get(id)!))
          expect(next.requestId).toBe(waiting.find((id) => keys.get(id) === least))
        }
        waiting.splice(waiting.indexOf(next.requestId), 1)
      }
      for (const step of steps) {
        if (step === 'serve') serve()
        else if ('add' in step) {
          const requestId = `r${order}`
          keys.set(requestId, step.add)
          waiting.push(requestId)
          queue.enqueue(requestView({ arrivalOrder: order++, requestId, stageClass: step.stage }))
        } else {
          const id = waiting[step.change % Math.max(1, waiting.length)]
          if (id === undefined) continue
          keys.set(id, step.key < 0 ? Number.NaN : step.key)
          changed(step.all ? undefined : [id, 'unknown'])
        }
      }
      while (queue.size > 0) serve()
      queue.close()
      changed(undefined)
    }),
  )
})
