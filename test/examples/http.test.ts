import { expect, test } from 'vitest'
import {
  checkEffects,
  createSupportDesk,
  sampleTickets,
  supportWorkflow,
} from '../../src/examples/customer-support/index.ts'
import { handle, httpRuntime, sampleText, traceOf } from './support.ts'

test('handles a ticket over HTTP as it does in process', async () => {
  const desk = createSupportDesk()
  await using runtime = await httpRuntime(20)
  const run = runtime.start(supportWorkflow(desk), { text: sampleText('many-departments') })
  const tokens = new Set<string>()
  for await (const event of run.events) if (event.type === 'stage.token') tokens.add(event.stage)
  const outcome = await run.outcome
  expect(outcome.error).toBeUndefined()
  expect(tokens).toEqual(new Set(['classify', 'policy_check', 'route_ticket', 'reply']))

  const inProcess = await handle(sampleText('many-departments'))
  expect(traceOf(desk.effectsOf(run.id))).toEqual(traceOf(inProcess.effects))
  expect(outcome.results['classify']).toEqual(inProcess.outcome.results['classify'])
  expect(outcome.results['policy_check']).toEqual(inProcess.outcome.results['policy_check'])

  const { policy_check: policy, route_ticket: route } = outcome.stages
  expect(route!.startedAtMs!).toBeLessThan(policy!.endedAtMs!)
  expect(policy!.startedAtMs!).toBeLessThan(route!.endedAtMs!)
})

test('50 runs at once over HTTP finish, each with every effect exactly once', async () => {
  const desk = createSupportDesk()
  const support = supportWorkflow(desk)
  await using runtime = await httpRuntime(100)
  const outcomes = await Promise.all(
    Array.from({ length: 50 }, (_, i) => {
      const { name, ticket } = sampleTickets[i % sampleTickets.length]!
      return runtime.start(support, ticket).outcome.then((outcome) => ({ name, outcome }))
    }),
  )
  const mailsPerSample = new Map<string, string>()
  for (const { name, outcome } of outcomes) {
    expect(outcome.error).toBeUndefined()
    const effects = desk.effectsOf(outcome.runId)
    expect(checkEffects(outcome, effects)).toEqual([])
    expect(effects.tickets).toHaveLength(1)
    expect(effects.emails.filter(({ to }) => to === 'customer')).toHaveLength(1)
    expect(effects.emails).toHaveLength(outcome.result!.status === 'escalated' ? 2 : 1)
    // Runs of one ticket do the same, those of another ticket something else.
    const did = JSON.stringify([traceOf(effects), effects.emails.find(({ to }) => to === 'customer')!.body])
    expect(mailsPerSample.get(name) ?? did).toBe(did)
    mailsPerSample.set(name, did)
  }
  expect(new Set(mailsPerSample.values()).size).toBe(sampleTickets.length)
  expect(runtime.liveRuns).toBe(0)
})
