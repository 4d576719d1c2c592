// Claims against effects: what a stage says it did, its tools did.
//
// A model that has to answer in a schema is quick to write `email_sent: true`. Nothing a stage says is believed here:
// it is compared with the tool calls that the runtime reports, and with the outbox.

import type { Issue, RunOutcome } from '../../index.ts'
import { Classification, Reply, type Effects, type Email } from './schemas.ts'

/**
 * Compares what the stages of a run claim with what was done.
 *
 * Stages that did not complete claim nothing, so the outcome of a failed run can be checked too.
 *
 * @returns one issue for each claim without effect, effect without claim, missing or doubled effect; empty if all is true
 */
export function checkEffects(outcome: Pick<RunOutcome, 'results' | 'stages'>, effects: Effects): Issue[] {
  const { results } = outcome
  return [
    ...(results['policy_check'] === undefined ? [] : policyIssues(outcome)),
    ...(results['route_ticket'] === undefined ? [] : routeIssues(outcome, effects)),
    ...(results['reply'] === undefined ? [] : replyIssues(results['reply'], effects)),
    ...repeatIssues(effects),
  ]
}

/** The mail that the customer got from the reply stage. */
export function customerEmail({ emails }: Effects): Email | undefined {
  return emails.find(({ stage, to }) => stage === 'reply' && to === 'customer')
}

function policyIssues({ results, stages }: Pick<RunOutcome, 'results' | 'stages'>): Issue[] {
  const path = 'stages.policy_check'
  // A stage's answer is its last turn: every tool call it made came before.
  const read = stages['policy_check']?.toolCalls.filter(({ name, ok }) => ok && name === 'read_policy') ?? []
  if (read.length === 0) {
    return [{ path, code: 'policy_not_read', message: 'it decided without having read a policy' }]
  }
  const category = Classification.safeParse(results['classify']).data?.category
  const found = read.map(({ arguments: given }) => String((given as { category?: unknown }).category))
  if (category !== undefined && found.includes(category)) return []
  const message = `the ticket is "${category ?? 'unclassified'}", but it read the policy of: ${found.join(', ')}`
  return [{ path, code: 'policy_of_other_category', message }]
}

function routeIssues({ results }: Pick<RunOutcome, 'results'>, { emails, tickets }: Effects): Issue[] {
  const path = 'stages.route_ticket'
  const issues: Issue[] = []
  const sent = tickets.filter(({ stage }) => stage === 'route_ticket')
  if (sent.length === 0) issues.push({ path, code: 'ticket_missing', message: 'it sent no ticket' })
  const mails = emails.filter(({ stage }) => stage === 'route_ticket')
  if (mails.some(({ to }) => to === 'customer')) {
    issues.push({ path, code: 'wrote_to_customer', message: 'it wrote to the customer instead of a team' })
  }
  const escalated = Classification.safeParse(results['classify']).data?.needs_escalation === true
  if (escalated && sent.length > 0 && !mails.some(({ to }) => sent.some(({ team }) => team === to))) {
    const message = `the case is escalated, but no mail went to the team that has the ticket (${sent[0]!.team})`
    issues.push({ path, code: 'team_not_told', message })
  }
  return issues
}

function replyIssues(result: unknown, effects: Effects): Issue[] {
  const path = 'stages.reply.email_sent'
  const claimed = Reply.safeParse(result).data?.email_sent
  const sent = customerEmail(effects) !== undefined
  if (claimed === sent) return []
  return sent
    ? [{ path, code: 'effect_without_claim', message: 'it says that no mail was sent, but one is in the outbox' }]
    : [{ path, code: 'claim_without_effect', message: 'it says that a mail was sent, but none is in the outbox' }]
}

function repeatIssues({ emails, tickets }: Effects): Issue[] {
  const issues: Issue[] = []
  if (tickets.length > 1) {
    const message = `${tickets.length} tickets were sent for one case: ${tickets.map(({ id }) => id).join(', ')}`
    issues.push({ path: 'effects.tickets', code: 'sent_twice', message })
  }
  const counts = Map.groupBy(emails, ({ to }) => to)
  for (const [to, group] of counts) {
    if (group.length === 1) continue
    const message = `${to} got ${group.length} mails about one case: ${group.map(({ id }) => id).join(', ')}`
    issues.push({ path: 'effects.emails', code: 'sent_twice', message })
  }
  return issues
}
