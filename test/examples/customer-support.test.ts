import { expect, test } from 'vitest'
import type { RunEvent, Transition } from '../../src/index.ts'
import { checkEffects, sampleTickets } from '../../src/examples/customer-support/index.ts'
import { handle, sampleText, traceOf, type Handled } from './support.ts'

type Of<T extends Transition['type']> = Extract<Transition, { type: T }>

function all<T extends Transition['type']>(handled: Handled, type: T): Of<T>[] {
  return handled.transitions.filter((event): event is RunEvent & Of<T> => event.type === type)
}

test('handles the sample ticket from end to end', async () => {
  const { outcome, effects } = await handle(sampleTickets[0].ticket.text)
  expect(outcome.error).toBeUndefined()
  expect(outcome.result).toMatchObject({
    status: 'accepted',
    classification: {
      category: 'billing',
      product: 'Pro plan',
      key_issue: expect.stringContaining('$49.99 twice'),
      customer_request: 'Please refund the extra charge.',
      needs_escalation: false,
    },
    decision: { decision: 'accept', applicable_policy: expect.stringMatching(/^billing, duplicate charge: /) },
    ticket: { team: 'billing_ops', priority: 'normal' },
    email: { stage: 'reply', to: 'customer', body: expect.stringContaining('3 business days') },
  })
  expect(traceOf(effects)).toEqual(['reply: mail to customer', 'route_ticket: ticket to billing_ops, normal'])
  expect(checkEffects(outcome, effects)).toEqual([])
})

test('classifies on the light backend and does everything else on the heavy one', async () => {
  const { outcome } = await handle(sampleText('outage'))
  expect(Object.entries(outcome.stages).map(([name, { backend, model }]) => [name, backend, model])).toEqual([
    ['classify', 'light', 'qwen3-4b'],
    ['policy_check', 'heavy', 'qwen3-8b'],
    ['route_ticket', 'heavy', 'qwen3-8b'],
    ['reply', 'heavy', 'qwen3-8b'],
  ])
})

test('decides and routes at the same time, with tool calls of both in between each other', async () => {
  const handled = await handle(sampleText('many-departments'))
  const { policy_check: policy, route_ticket: route, reply } = handled.outcome.stages
  expect(policy!.startedAtMs).toBe(route!.startedAtMs)
  expect(route!.endedAtMs).toBeGreaterThan(policy!.startedAtMs!)
  expect(policy!.endedAtMs).toBeGreaterThan(route!.startedAtMs!)
  expect(reply!.startedAtMs).toBe(policy!.endedAtMs)

  const tools = all(handled, 'tool.ended').map(({ stage, tool }) => `${stage} ${tool}`)
  const policyAt = tools.indexOf('policy_check read_policy')
  const routeCalls = tools.flatMap((line, i) => (line.startsWith('route_ticket') ? [i] : []))
  expect(routeCalls).toHaveLength(3)
  expect(policyAt).toBeLessThan(routeCalls.at(-1)!)
})

test('reads the policy before it decides', async () => {
  const handled = await handle(sampleText('refund-too-late'))
  const read = all(handled, 'tool.ended').find(({ tool }) => tool === 'read_policy')!
  expect(read).toMatchObject({ stage: 'policy_check', ok: true, turn: 1 })
  const answered = handled.transitions.find(
    (event): event is Of<'stage.completed'> => event.type === 'stage.completed' && event.stage === 'policy_check',
  )!
  const lastTurn = all(handled, 'stage.queued').findLast(({ stage }) => stage === 'policy_check')!
  expect(lastTurn.turn).toBe(2)
  expect(read.seq).toBeLessThan(lastTurn.seq)
  expect(lastTurn.seq).toBeLessThan(answered.seq)
})

test.each([
  ['outage', 8],
  ['duplicate-charge', 8],
  ['locked-out', 5],
  ['question', 5],
  ['many-departments', 9],
  ['unreadable', 6],
])('every stage after triage of "%s" waits with priority %i', async (name, priority) => {
  const handled = await handle(sampleText(name))
  const queued = all(handled, 'stage.queued')
  expect(queued.filter(({ backend }) => backend === 'light').map(({ stagePriority }) => stagePriority)).toEqual([0])
  const heavy = queued.filter(({ backend }) => backend === 'heavy')
  expect(new Set(heavy.map(({ stage }) => stage))).toEqual(new Set(['policy_check', 'route_ticket', 'reply']))
  for (const turn of heavy) expect(turn).toMatchObject({ stagePriority: priority, requestPriority: priority })
})

test('the same ticket gives the same transitions', async () => {
  const first = await handle(sampleText('lost-package'))
  const second = await handle(sampleText('lost-package'))
  expect(second.transitions).toEqual(first.transitions)
})

test.each(['', '   \n ', 'x'.repeat(20_001)])('refuses a ticket that is empty or too long', async (text) => {
  await expect(handle(text)).rejects.toMatchObject({ code: 'ORLA_INPUT' })
})
