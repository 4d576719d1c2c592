import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createSupportDesk, sampleTickets } from '../../src/examples/customer-support/index.ts'
import { readTicket } from '../../src/examples/customer-support/reading.ts'
import { Classification } from '../../src/examples/customer-support/schemas.ts'
import { handle, sampleText, traceOf } from './support.ts'

const confirms = /^Good news/
const denies = /^Our decision/
const acknowledges = /^We received/

describe('sample tickets', () => {
  const paths = [
    ['duplicate-charge', 'billing', false, 'accept', 'billing_ops', confirms],
    ['outage', 'technical', false, 'accept', 'technical_support', confirms],
    ['locked-out', 'account', false, 'accept', 'account_management', confirms],
    ['lost-package', 'shipping', false, 'accept', 'account_management', confirms],
    ['cancellation', 'billing', false, 'accept', 'billing_ops', confirms],
    ['refund-too-late', 'billing', false, 'deny', 'billing_ops', denies],
    ['many-departments', 'billing', true, 'accept', 'escalation_team', acknowledges],
    ['question', 'general', false, 'accept', 'account_management', confirms],
    ['german', 'billing', false, 'accept', 'billing_ops', confirms],
    ['unreadable', 'general', true, 'accept', 'escalation_team', acknowledges],
  ] as const

  test('each has an expected path', () => {
    expect(sampleTickets.map(({ name }) => name)).toEqual(paths.map(([name]) => name))
  })

  test.each(paths)('"%s" takes its path', async (name, category, escalated, decision, team, subject) => {
    const { outcome, effects } = await handle(sampleText(name))
    expect(outcome.error).toBeUndefined()
    expect(outcome.result!.classification).toMatchObject({ category, needs_escalation: escalated })
    expect(outcome.result!.decision.decision).toBe(decision)
    expect(outcome.result!.ticket.team).toBe(team)
    expect(outcome.result!.email!.subject).toMatch(subject)
    const status = escalated ? 'escalated' : decision === 'accept' ? 'accepted' : 'denied'
    expect(outcome.result!.status).toBe(status)
    expect(traceOf(effects).filter((line) => line.includes('mail'))).toEqual(
      escalated ? ['reply: mail to customer', `route_ticket: mail to ${team}`] : ['reply: mail to customer'],
    )
  })
})

describe('tickets never seen before', () => {
  test.each([
    ['Your service was offline for 10 minutes today, I want a credit.', 'technical', 'deny', 'technical_support'],
    [
      'The vase was delivered 6 weeks ago and it is damaged. Please replace it.',
      'shipping',
      'deny',
      'account_management',
    ],
    [
      'The vase was delivered 6 days ago and it is damaged. Please replace it.',
      'shipping',
      'accept',
      'account_management',
    ],
    ["I need the password of my ex-wife's account, please.", 'account', 'deny', 'account_management'],
    ['Please delete my account and everything you know about me.', 'account', 'accept', 'account_management'],
    ['Bought on 2026-01-02, unusable since 2026-03-09: I want my money back ($20).', 'billing', 'deny', 'billing_ops'],
    ['The CSV export of our projects crashes with an exception.', 'technical', 'accept', 'technical_support'],
    ['Me han cobrado dos veces 15 € por el plan Plus, quiero un reembolso.', 'billing', 'accept', 'billing_ops'],
  ])('%s', async (text, category, decision, team) => {
    const { outcome } = await handle(text)
    expect(outcome.error).toBeUndefined()
    expect(outcome.result).toMatchObject({
      classification: { category, needs_escalation: false },
      decision: { decision },
      ticket: { team },
    })
  })

  test('what a ticket turns down does not count', () => {
    const { category } = readTicket('I do not want a refund, but my password is not accepted.').classification
    expect(category).toBe('account')
    expect(readTicket('I have not received the refund yet.').classification.category).toBe('billing')
  })

  test('a side remark is no second department, a second problem is', () => {
    const refund = 'I was charged $12 twice, please refund it.'
    expect(readTicket(`${refund} By the way, the app is slow.`).classification.needs_escalation).toBe(false)
    expect(readTicket(`${refund} Also I am locked out, I cannot log in.`).classification).toMatchObject({
      needs_escalation: true,
      escalation_reason: 'it concerns several departments: billing and account',
    })
  })

  test('any text gives a valid classification that quotes it', () => {
    const words = fc.constantFrom(
      'refund',
      'charged twice',
      'not',
      'package',
      '$5',
      '3 weeks ago',
      '.',
      '?',
      'lawyer',
      '\n',
    )
    const text = fc.oneof(
      fc.string({ unit: 'grapheme', minLength: 1 }),
      fc.array(words, { minLength: 1 }).map((w) => w.join(' ')),
    )
    fc.assert(
      fc.property(text, (ticket) => {
        const { classification } = readTicket(ticket)
        expect(Classification.safeParse(classification).success).toBe(true)
        expect(classification.needs_escalation).toBe(classification.escalation_reason !== undefined)
        const quoted = classification.key_issue.replace(/…$/, '')
        expect(ticket).toContain(quoted)
      }),
    )
  })
})

describe('what the desk has written down decides', () => {
  test('a longer refund window turns a denial into a refund', async () => {
    const text = sampleText('refund-too-late')
    const billing =
      '- refund: Refund the purchase if it was made within 60 days. The refund arrives in 9 business days.'
    const { outcome } = await handle(text, { desk: createSupportDesk({ policies: { billing } }) })
    expect(outcome.result).toMatchObject({
      status: 'accepted',
      email: { body: expect.stringContaining('9 business days') },
    })
  })

  test('a policy without a fitting rule grants nothing', async () => {
    const { outcome } = await handle(sampleText('lost-package'), {
      desk: createSupportDesk({ policies: { shipping: 'Nothing is written down yet.' } }),
    })
    expect(outcome.result).toMatchObject({ status: 'denied', decision: { applicable_policy: 'none' } })
  })

  test('the team whose description fits gets the ticket, whatever its name', async () => {
    const teams = { red: 'Bugs and outages.', blue: 'Packages, deliveries, shipping.', green: 'Escalated cases.' }
    const teamOf = async (name: string) =>
      (await handle(sampleText(name), { desk: createSupportDesk({ teams }) })).outcome.result!.ticket.team
    expect(await teamOf('lost-package')).toBe('blue')
    expect(await teamOf('outage')).toBe('red')
    expect(await teamOf('unreadable')).toBe('green')
  })
})
