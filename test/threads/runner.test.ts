// A runner by itself, in this thread: what it says on its port, in which order, and how much.

import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { releaseProxy, wrap, type Remote } from 'comlink'
import { afterEach, expect, test } from 'vitest'
import { clockOrigin, realClock } from '../../src/clock.ts'
import { serveRunner } from '../../src/runtime-runner.ts'
import { Unpacker } from '../../src/runtime-runner-unpack.ts'
import type { Packed } from '../../src/runtime-runner-wire.ts'
import type { FromRunner, RemoteStart, RunnerBoot, RunnerCalls, ToRunner } from '../../src/runtime-runner-protocol.ts'

/** The control thread's part, played by a test: it grants every request. */
class Control {
  readonly said: FromRunner[] = []
  readonly #hot: MessagePort
  readonly #calls: Remote<RunnerCalls>
  #waiting: { until: () => boolean; resolve: () => void } | undefined

  constructor() {
    const calls = new MessageChannel()
    const hot = new MessageChannel()
    serveRunner({ calls: calls.port2, hot: hot.port2 })
    this.#calls = wrap<RunnerCalls>(calls.port1)
    this.#hot = hot.port1
    const unpacker = new Unpacker()
    this.#hot.on('message', (batch: (FromRunner | Packed)[]) => {
      for (const message of batch.flatMap((each) => unpacker.unpack(each) ?? [])) {
        this.said.push(message)
        if (message.type !== 'post' || message.message.type !== 'backend.request') continue
        const { replyTo, request } = message.message
        this.tell({ type: 'post', to: replyTo, message: { type: 'stage.granted', requestId: request.requestId } })
      }
      if (this.#waiting?.until() === true) this.#waiting.resolve()
    })
  }

  async boot(change: Partial<RunnerBoot> = {}): Promise<void> {
    const serves = true
    await this.#calls.boot({
      index: 0,
      module: new URL('./fixtures/workflows.ts', import.meta.url).href,
      seed: 1,
      clockOriginMs: clockOrigin(realClock()),
      elsewhere: {},
      backends: ['wide', 'narrow'].map((name) => ({ name, model: 'm', serves })),
      forecasts: false,
      failover: {},
      pools: [],
      prompts: {},
      watched: false,
      records: false,
      shadows: {},
      ...change,
    })
  }

  tell(...batch: ToRunner[]): void {
    this.#hot.postMessage(batch)
  }

  async until(until: () => boolean): Promise<void> {
    if (until()) return
    await new Promise<void>((resolve) => (this.#waiting = { until, resolve }))
  }

  of<Type extends FromRunner['type']>(type: Type): Extract<FromRunner, { type: Type }>[] {
    return this.said.filter((message): message is Extract<FromRunner, { type: Type }> => message.type === type)
  }

  cpuUs(): Promise<number> {
    return this.#calls.cpuUs()
  }

  async close(): Promise<void> {
    await this.#calls.close()
    this.#calls[releaseProxy]()
    this.#hot.close()
  }
}

const begin = (runId: string, input: string, change: Partial<RemoteStart> = {}): ToRunner => ({
  type: 'begin',
  input,
  run: {
    runId,
    workflow: 'say',
    definitionId: 'say#1',
    tenant: 'default',
    priority: 0,
    deadlineMs: undefined,
    targetMs: undefined,
    budgetUsd: undefined,
    watched: false,
    ...change,
  },
})

const open: Control[] = []
const made = async (change: Partial<RunnerBoot> = {}): Promise<Control> => {
  const control = new Control()
  open.push(control)
  await control.boot(change)
  return control
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((control) => control.close()))
})

test('what came before it was ready is not lost, and a turn is told before it asks for its slot', async () => {
  const control = new Control()
  open.push(control)
  control.tell(begin('r1', 'hello', { watched: true }))
  await control.boot({ records: true })
  await control.until(() => control.of('ended').length === 1)
  expect(control.of('ended')[0]!.outcome).toMatchObject({ runId: 'r1', state: 'completed', result: 'hello' })
  const order = control.said.map((message) => {
    if (message.type === 'transition') return message.transition.type
    return message.type === 'post' ? message.message.type : message.type
  })
  expect(order.indexOf('stage.queued')).toBeLessThan(order.indexOf('backend.request'))
  expect(order.indexOf('backend.request')).toBeLessThan(order.indexOf('stage.granted'))
  expect(order.at(-1)).toBe('ended')
  expect(order.filter((type) => type === 'token')).toHaveLength(3)
  expect(order.filter((type) => type === 'turn')).toHaveLength(1)
  expect(await control.cpuUs()).toBeGreaterThan(0)
})

test('a run that is started again counts on from where it was', async () => {
  const control = await made()
  control.tell(begin('r1', 'hello', { again: { seq: 41, startedAtMs: 0, reason: 'started again: why' } }))
  await control.until(() => control.of('ended').length === 1)
  const [first] = control.of('transition')
  expect(first!.transition).toMatchObject({ type: 'run.started', seq: 42, reason: 'started again: why' })
})

test('token events that nobody says were heard are bounded, dropped and counted', async () => {
  const control = await made({ watched: true })
  const runs = 3_400
  control.tell(...Array.from({ length: runs }, (_, i) => begin(`r${i}`, 'x')))
  await control.until(() => control.of('ended').length === runs)
  expect(control.of('token')).toHaveLength(10_000)
  control.tell({ type: 'heard', tokens: 10_000 }, begin('last', 'x'))
  await control.until(() => control.of('ended').length === runs + 1)
  expect(control.of('dropped').map(({ count }) => count)).toEqual([runs * 3 - 10_000])
  expect(control.of('token')).toHaveLength(10_003)
})

test('watching starts and stops in the middle; cancelled and refused runs end', async () => {
  const control = await made()
  control.tell(begin('r1', 'for ever'), begin('r2', 'for ever'))
  await control.until(
    () => control.of('transition').filter(({ transition }) => transition.type === 'stage.granted').length === 2,
  )
  const { run } = begin('r3', '') as Extract<ToRunner, { type: 'begin' }>
  control.tell(
    { type: 'watch', runId: 'r1', watched: true },
    { type: 'watch', runId: 'r1', watched: false },
    { type: 'watch', runId: undefined, watched: true },
    { type: 'watch', runId: undefined, watched: false },
    { type: 'cancel', runId: 'r1', by: 'caller', reason: 'enough' },
    { type: 'cancel', runId: 'r2', by: 'deadline', reason: 'late' },
    { type: 'refuse', run, error: { name: 'InputError', code: 'ORLA_INPUT', message: 'wrong', retryable: false } },
  )
  await control.until(() => control.of('ended').length === 3)
  const codes = control.of('ended').map(({ outcome }) => `${outcome.runId} ${outcome.state} ${outcome.error?.code}`)
  expect(codes.toSorted()).toEqual([
    'r1 cancelled ORLA_CANCELLED',
    'r2 cancelled ORLA_DEADLINE',
    'r3 failed ORLA_INPUT',
  ])
  control.tell({
    type: 'post',
    to: { actor: 'stage', runId: 'r1', stage: 's' },
    message: { type: 'stage.granted', requestId: 'r1/s/1.1' },
  })
  await control.until(() => control.of('dead').length === 1)
})

test('a tool is called by its name, and what it throws comes back as a message', async () => {
  const control = await made()
  const context = { runId: 'r1', stage: 's', callId: 'c', idempotencyKey: 'k' }
  const call = { type: 'tool' as const, workflow: 'tools', stage: 's', context }
  control.tell(
    { ...call, call: 1, tool: 'note', args: { text: 'x' } },
    { ...call, call: 2, tool: 'note', args: undefined },
  )
  await control.until(() => control.of('toolDone').length === 2)
  expect(control.of('toolDone').toSorted((a, b) => a.call - b.call)).toEqual([
    { type: 'toolDone', call: 1, ok: true, value: 'noted x' },
    { type: 'toolDone', call: 2, ok: false, message: expect.any(String) as unknown },
  ])
})
