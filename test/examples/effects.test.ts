import { describe, expect, test } from 'vitest'
import type { ChatRequest, Reply, Responder, RunOutcome } from '../../src/index.ts'
import { checkEffects, createSupportDesk, type Effects } from '../../src/examples/customer-support/index.ts'
import { responder } from '../../src/examples/customer-support/responder.ts'
import { handle, sampleText, traceOf } from './support.ts'

/** The honest model, but requests that offer `tool` are answered by `lie`, unless that returns nothing. */
const lying =
  (tool: string, lie: (request: ChatRequest) => Reply | undefined): Responder =>
  (request) =>
    (request.tools?.some(({ name }) => name === tool) === true ? lie(request) : undefined) ?? responder(request)

const isReply = (request: ChatRequest): boolean => request.tools?.length === 1
const json = (value: unknown): Reply => ({ content: JSON.stringify(value) })

describe('a stage that claims what no tool did fails the run', () => {
  test('reply says that a mail was sent, without sending one', async () => {
    const lie = lying('send_email', (request) =>
      isReply(request) ? json({ email_sent: true, summary: 'Done!' }) : undefined,
    )
    const { outcome, effects } = await handle(sampleText('duplicate-charge'), { responder: lie })
    expect(outcome.state).toBe('failed')
    expect(outcome.result).toBeUndefined()
    expect(outcome.error!.message).toContain('stages.reply.email_sent: it says that a mail was sent')
    expect(outcome.error).toMatchObject({
      code: 'ORLA_STAGE_OUTPUT',
      details: { issues: [{ code: 'claim_without_effect' }] },
    })
    expect(checkEffects(outcome, effects)).toMatchObject([{ code: 'claim_without_effect' }])
  })

  test('reply says that no mail was sent, after sending one', async () => {
    const lie = lying('send_email', (request) =>
      isReply(request) && request.messages.some(({ role }) => role === 'tool')
        ? json({ email_sent: false, summary: 'Sorry.' })
        : undefined,
    )
    const { outcome, effects } = await handle(sampleText('duplicate-charge'), { responder: lie })
    expect(outcome.state).toBe('failed')
    expect(checkEffects(outcome, effects)).toMatchObject([{ code: 'effect_without_claim' }])
  })

  test('policy_check decides without having read the policy', async () => {
    const decision = { decision: 'accept', reasoning: 'I know it by heart.', applicable_policy: '5 business days' }
    const { outcome, effects } = await handle(sampleText('duplicate-charge'), {
      responder: lying('read_policy', () => json(decision)),
    })
    expect(outcome.state).toBe('failed')
    expect(checkEffects(outcome, effects)).toMatchObject([{ path: 'stages.policy_check', code: 'policy_not_read' }])
  })

  test('policy_check reads the policy of another category', async () => {
    const { outcome, effects } = await handle(sampleText('duplicate-charge'), {
      responder: lying('read_policy', ({ messages }) =>
        messages.some(({ role }) => role === 'tool')
          ? undefined
          : { toolCalls: [{ name: 'read_policy', arguments: { category: 'shipping' } }] },
      ),
    })
    expect(outcome.state).toBe('failed')
    expect(checkEffects(outcome, effects)).toMatchObject([{ code: 'policy_of_other_category' }])
  })

  test('route_ticket says that a team has the case, without sending a ticket', async () => {
    const { outcome, effects } = await handle(sampleText('outage'), {
      responder: lying('send_ticket', () => ({ content: 'technical_support has the case.' })),
    })
    expect(outcome.state).toBe('failed')
    expect(checkEffects(outcome, effects)).toMatchObject([{ path: 'stages.route_ticket', code: 'ticket_missing' }])
  })

  test('route_ticket hands over an escalated case without telling the team', async () => {
    const { outcome, effects } = await handle(sampleText('many-departments'), {
      responder: lying('send_ticket', ({ messages }) =>
        messages.some(({ content }) => content.startsWith('{"ticket"')) ? { content: 'They know.' } : undefined,
      ),
    })
    expect(outcome.state).toBe('failed')
    expect(checkEffects(outcome, effects)).toMatchObject([{ code: 'team_not_told' }])
  })
})

describe('a tool that fails', () => {
  test('a mail that cannot be sent is not claimed, and the result says that the customer has no answer', async () => {
    const desk = createSupportDesk()
    const broken = {
      ...desk,
      sendEmail: () => {
        throw new Error('the mail server is down')
      },
    }
    const { outcome, effects } = await handle(sampleText('duplicate-charge'), { desk: broken })
    expect(outcome.state).toBe('completed')
    expect(outcome.results['reply']).toMatchObject({
      email_sent: false,
      summary: expect.stringContaining('the mail server is down'),
    })
    expect(outcome.result).toMatchObject({ status: 'unanswered', email: null })
    expect(outcome.stages['reply']!.toolCalls).toMatchObject([{ name: 'send_email', ok: false }])
    expect(effects.emails).toEqual([])
  })

  test.each([
    ['policyOf', 'policy_not_read'],
    ['teams', 'ticket_missing'],
    ['sendTicket', 'ticket_missing'],
  ] as const)('a run whose desk fails at %s fails as well', async (method, code) => {
    const desk = createSupportDesk()
    const broken = {
      ...desk,
      [method]: () => {
        throw new Error('out of order')
      },
    }
    const { outcome, effects } = await handle(sampleText('duplicate-charge'), { desk: broken })
    expect(outcome.state).toBe('failed')
    expect(checkEffects(outcome, effects)).toMatchObject([{ code }])
  })

  test('an escalated case whose team cannot be told fails', async () => {
    const desk = createSupportDesk()
    const broken: typeof desk = {
      ...desk,
      sendEmail(runId, email) {
        if (email.to !== 'customer') throw new Error('unknown address')
        return desk.sendEmail(runId, email)
      },
    }
    const { outcome, effects } = await handle(sampleText('unreadable'), { desk: broken })
    expect(outcome.state).toBe('failed')
    expect(outcome.results['route_ticket']).toContain('could not be told')
    expect(checkEffects(outcome, effects)).toMatchObject([{ code: 'team_not_told' }])
  })
})

describe('tools do not do what a stage must not', () => {
  const twice =
    (tool: string): Responder =>
    (request, context) => {
      const reply: Reply = (responder as Responder)(request, context)
      const calls = reply.toolCalls ?? []
      return calls[0]?.name === tool ? { ...reply, toolCalls: [...calls, ...calls] } : reply
    }

  test.each(['send_email', 'send_ticket'])('%s works once for a run, however often it is called', async (tool) => {
    const { outcome, effects } = await handle(sampleText('many-departments'), { responder: twice(tool) })
    expect(outcome.error).toBeUndefined()
    expect(traceOf(effects)).toEqual([
      'reply: mail to customer',
      'route_ticket: mail to escalation_team',
      'route_ticket: ticket to escalation_team, urgent',
    ])
  })

  test.each([
    ['reply', 'somebody@example.com'],
    ['reply', 'billing_ops'],
    ['route_ticket', 'customer'],
  ])('%s cannot write to %s', async (stage, to) => {
    const { effects } = await handle(sampleText('many-departments'), {
      responder: (request) => {
        const honest = responder(request)
        const meant = isReply(request) === (stage === 'reply')
        const calls = honest.toolCalls?.map((call) =>
          meant && call.name === 'send_email' ? { ...call, arguments: { ...(call.arguments as object), to } } : call,
        )
        return calls === undefined ? honest : { ...honest, toolCalls: calls }
      },
    })
    expect(effects.emails.map((email) => email.to)).not.toContain(to === 'customer' ? 'nobody' : to)
    expect(effects.emails.some((email) => email.stage === stage)).toBe(false)
  })

  test('a ticket for a team that does not exist is not sent', () => {
    const desk = createSupportDesk()
    const ticket = { stage: 'route_ticket', team: 'nobody', priority: 'low' as const, summary: 's' }
    expect(() => desk.sendTicket('run', ticket)).toThrow('there is no team "nobody"')
    expect(desk.effectsOf('run').tickets).toEqual([])
  })
})

describe('checkEffects', () => {
  const outcome: Pick<RunOutcome, 'results' | 'stages'> = { results: {}, stages: {} }
  const email = { id: 'm', stage: 'reply', to: 'customer', subject: 's', body: 'b' }
  const ticket = { id: 't', stage: 'route_ticket', team: 'billing_ops', priority: 'low' as const, summary: 's' }

  test('finds nothing wrong with a run that claims and did nothing', () => {
    expect(checkEffects(outcome, { emails: [], tickets: [] })).toEqual([])
  })

  test('reports whatever was sent twice', () => {
    const effects: Effects = { emails: [email, { ...email, id: 'm2' }], tickets: [ticket, { ...ticket, id: 't2' }] }
    expect(checkEffects(outcome, effects)).toMatchObject([
      { path: 'effects.tickets', code: 'sent_twice', message: expect.stringContaining('t, t2') },
      { path: 'effects.emails', code: 'sent_twice', message: expect.stringContaining('m, m2') },
    ])
  })

  test('reports a router that wrote to the customer', () => {
    const effects: Effects = { emails: [{ ...email, stage: 'route_ticket' }], tickets: [ticket] }
    expect(checkEffects({ results: { route_ticket: 'done' }, stages: {} }, effects)).toMatchObject([
      { code: 'wrote_to_customer' },
    ])
  })
})

describe('support desk', () => {
  const email = { stage: 'reply', to: 'customer', subject: 's', body: 'b' }

  test('D2: keeps the newest runs, and a bounded number of effects for each', () => {
    const desk = createSupportDesk({ runsMax: 2 })
    for (const run of ['a', 'b', 'c']) desk.sendEmail(run, email)
    expect(desk.effectsOf('a').emails).toEqual([])
    expect(desk.effectsOf('c').emails).toHaveLength(1)
    for (let i = 1; i < 20; i++) desk.sendEmail('c', email)
    expect(() => desk.sendEmail('c', email)).toThrow('has sent 20 emails already')
    expect(desk.effectsOf('c').emails).toHaveLength(20)
  })

  test('gives copies of its lists, and forgets when told', () => {
    const desk = createSupportDesk()
    desk.sendEmail('run', email)
    desk.effectsOf('run').emails.pop()
    expect(desk.effectsOf('run').emails).toHaveLength(1)
    desk.forget('run')
    expect(desk.effectsOf('run')).toEqual({ emails: [], tickets: [] })
  })
})
