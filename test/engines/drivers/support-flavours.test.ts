// The same workflow on every flavour: no code and no result depends on the engine.

import { expect, test } from 'vitest'
import { z } from 'zod'
import {
  createSupportDesk,
  sampleTickets,
  supportResponder,
  supportWorkflow,
} from '../../../src/examples/customer-support/index.ts'
import { createRuntime, simulated, user, vllm, workflow } from '../../../src/index.ts'
import { startFlavour } from '../../../src/simulator/flavours/start-flavour.ts'
import { flavourNames, type FlavourName } from '../../../src/simulator/flavours/flavour.ts'

/** Results and effects without ids: those are counted per desk. */
async function handled(flavour: FlavourName | undefined, text: string) {
  const desk = createSupportDesk()
  const backend = (model: string) =>
    simulated({
      model,
      engine: 'instant',
      responder: supportResponder,
      transport: 'http',
      ...(flavour !== undefined && { flavour }),
    })
  await using runtime = await createRuntime({
    backends: { light: backend('qwen3-4b'), heavy: backend('qwen3-8b') },
    seed: 1,
  })
  const run = runtime.start(supportWorkflow(desk), { text }, { tenant: 'acme', priority: 3 })
  const result = await run.result
  const { emails, tickets } = desk.effectsOf(run.id)
  const sorted = (items: { id: string }[]) => items.map(({ id: _id, ...rest }) => JSON.stringify(rest)).toSorted()
  const plain = JSON.stringify(result, (key, value: unknown) => (key === 'id' ? undefined : value))
  return {
    result: plain,
    emails: sorted(emails),
    tickets: sorted(tickets),
    probes: runtime.backends().map(({ probe }) => probe?.state),
  }
}

test.each(['duplicate-charge', 'many-departments'])(
  'handles %s the same on every flavour',
  async (name) => {
    const { text } = sampleTickets.find((sample) => sample.name === name)!.ticket
    const plain = await handled(undefined, text)
    expect(plain.emails.length).toBeGreaterThan(0)
    for (const flavour of flavourNames) expect(await handled(flavour, text), flavour).toEqual(plain)
  },
  60_000,
)

test('a run is its session, and a named tenant its salt', async () => {
  await using front = await startFlavour('vllm')
  await using runtime = await createRuntime({ backends: { light: vllm({ url: front.url, model: 'm' }) }, seed: 1 })
  const greet = workflow('greet', { input: z.object({}) }).stage('hello', {
    backend: 'light',
    prompt: () => [user('hi')],
  })
  const ids: string[] = []
  for (const tenant of ['acme', 'default']) {
    const run = runtime.start(greet, {}, { tenant, priority: 4 })
    ids.push(run.id)
    await run.outcome
  }
  const bodies = front.requests().flatMap(({ path, body }) => (path.endsWith('/chat/completions') ? [body] : []))
  expect(bodies).toMatchObject([
    { session_id: ids[0], cache_salt: 'acme', priority: -4 },
    { session_id: ids[1], priority: -4 },
  ])
  expect(bodies[1]).not.toHaveProperty('cache_salt')
})
