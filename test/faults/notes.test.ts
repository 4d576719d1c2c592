// What is wrong with an answer without being an error: it is said, and acted on.

import { expect, onTestFinished, test } from 'vitest'
import { openAi, sglang, vllm } from '../../src/index.ts'
import { namesAnother, echoedId } from '../../src/engines/echoed-id.ts'
import { silentLogger } from '../../src/log.ts'
import { utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import { createRuntime } from '../../src/runtime.ts'
import { user } from '../../src/schema/message.ts'
import type { RunEvent } from '../../src/schema/transition.ts'
import type { FaultPlanInput } from '../../src/simulator/faults/plan.ts'
import type { FlavourName } from '../../src/simulator/flavours/flavour.ts'
import { startFlavour } from '../../src/simulator/flavours/start-flavour.ts'
import { workflow } from '../../src/workflow/builder.ts'

const say = workflow('say')
  .stage('s', { backend: 'b', prompt: () => [user('Say it.')] })
  .output(({ results }) => results.s)

const makers = { openai: openAi, vllm, sglang }

/** A runtime over a front whose answers are broken by a plan, and what it said of its turns. */
async function faulty(flavour: FlavourName & keyof typeof makers, faults: FaultPlanInput) {
  const front = await startFlavour(flavour, { faults, responder: () => ({ content: 'a sound answer' }) })
  onTestFinished(() => front.close())
  const runtime = await createRuntime({
    backends: { b: makers[flavour]({ url: front.url, model: front.model }) },
    log: silentLogger,
    estimator: utf8BytesEstimator,
    seed: 1,
  })
  onTestFinished(() => runtime.close())
  const released: (RunEvent & { type: 'stage.released' })[] = []
  runtime.subscribe((event) => {
    if (event.type === 'stage.released') released.push(event)
  })
  return { runtime, released }
}

test('an answer with damaged bytes is marked', async () => {
  const { runtime, released } = await faulty('openai', [
    { when: { nth: 2 }, fault: 'B14', kind: 'invalid', at: 'middle' },
  ])
  expect(await runtime.start(say, {}).result).toBe('a sound answer')
  expect(await runtime.start(say, {}).result).toContain('\uFFFD')
  expect(released.map(({ notes }) => notes?.map(({ code }) => code))).toEqual([undefined, ['invalid_utf8']])
})

test('another model under the same name is marked, once, and what the engine held counts as gone', async () => {
  const { runtime, released } = await faulty('openai', [{ when: { nth: 2 }, fault: 'B38', at: 'first' }])
  await using silent = await startFlavour('openai', { faults: [{ fault: 'B2' }] })
  await runtime.addBackend('silent', openAi({ url: silent.url, model: silent.model }))
  // It has a context at one backend, and waits for the other for ever.
  const waiting = runtime.start(
    workflow('waits')
      .stage('a', { backend: 'b', prompt: () => [user('x'.repeat(400))] })
      .stage('w', { backend: 'silent', after: ['a'], prompt: () => [user('y')] })
      .output(() => {}),
    {},
  )
  for await (const event of waiting.events) if (event.type === 'stage.granted' && event.stage === 'w') break
  const held = (): number => runtime.residents('b').reduce((sum, { residentTokens }) => sum + residentTokens, 0)
  expect(held()).toBeGreaterThan(0)
  expect(await runtime.start(say, {}).result).toBe('a sound answer')
  expect(released.map(({ notes }) => notes?.map(({ code }) => code))).toEqual([undefined, ['model_changed']])
  expect(held()).toBe(0)
  waiting.cancel()
  await waiting.outcome
})

test.each(['vllm', 'sglang'] as const)('the answer to another request is tried again through %s', async (flavour) => {
  const { runtime, released } = await faulty(flavour, [{ when: { nth: 2 }, fault: 'B35' }])
  expect(await runtime.start(say, {}).result).toBe('a sound answer')
  expect(await runtime.start(say, {}).result).toBe('a sound answer')
  expect(released.map(({ outcome, error }) => [outcome, error?.code])).toEqual([
    ['ok', undefined],
    ['failed', 'ORLA_BACKEND_PROTOCOL'],
    ['ok', undefined],
  ])
})

test('an id that a gateway made is no reason to refuse an answer', () => {
  const sent = echoedId(1_700_000_000_000, 7, 'run-1/s/1')
  const other = echoedId(1_700_000_000_000, 71, 'run-1/s/1')
  expect(namesAnother('chatcmpl-8f3a', sent)).toBe(false)
  expect(namesAnother(`chatcmpl-${sent}`, sent)).toBe(false)
  expect(namesAnother(`chatcmpl-${sent}-9c1d`, sent)).toBe(false)
  expect(namesAnother(other, sent)).toBe(true)
})
