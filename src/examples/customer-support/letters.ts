// Wording of the mails that the simulated model writes.

import { amountsOf } from './reading.ts'
import type { Classification, Decision } from './schemas.ts'

/** Subject and body of a mail. */
export interface Letter {
  subject: string
  body: string
}

/** The mail to the customer: an acknowledgement, a confirmation, or a denial with its reason. */
export function customerLetter(ticket: string, classification: Classification, decision: Decision): Letter {
  const { product, key_issue: issue, needs_escalation: escalated } = classification
  const about = product === 'not stated' ? 'your request' : `your ${product}`
  const opening = `Hello,\n\nthank you for writing to us. You told us: "${issue}"\n\n`
  const closing = '\n\nYour support desk'
  if (escalated) {
    const body = 'A member of our team takes over your case personally and will write to you.'
    return { subject: `We received your message about ${about}`, body: `${opening}${body}${closing}` }
  }
  const { grant, eta, otherwise } = clausesOf(decision.applicable_policy)
  if (decision.decision === 'deny') {
    const body = `We are sorry, but we cannot grant this. ${decision.reasoning} ${otherwise}`.trim()
    return { subject: `Our decision about ${about}`, body: `${opening}${body}${closing}` }
  }
  const amount = amountsOf(ticket)[0]
  const sum = amount === undefined ? '' : ` This concerns ${amount}.`
  const body =
    `We say yes, and this is what we do: ${grant.charAt(0).toLowerCase()}${grant.slice(1)}.${sum} ${eta}`.trim()
  return { subject: `Good news about ${about}`, body: `${opening}${body}${closing}` }
}

/** The mail to the team that takes over an escalated case. */
export function teamLetter(classification: Classification, ticketId: string): Letter {
  const { category, key_issue: issue, customer_request: request, escalation_reason: reason } = classification
  return {
    subject: `Escalated ${category} case ${ticketId}`,
    body: `Please take over ${ticketId}.\n\nProblem: ${issue}\nRequest: ${request}\nEscalated because: ${reason ?? 'not said'}`,
  }
}

/** What the team needs to know, for the ticket. */
export function ticketSummary(classification: Classification): string {
  const { category, product, key_issue: issue, customer_request: request, escalation_reason: reason } = classification
  const escalation = reason === undefined ? '' : ` Escalated: ${reason}.`
  return `${category} case, product: ${product}. Problem: ${issue} Request: ${request}${escalation}`
}

/** The parts of a rule: what it grants, by when, and what happens otherwise. */
function clausesOf(policy: string): { grant: string; eta: string; otherwise: string } {
  const [first = '', ...rest] = policy
    .slice(policy.indexOf(':') + 1)
    .trim()
    .split(/(?<=\.)\s+/)
  return {
    // What it depends on was checked already.
    grant: first.replace(/( if .*)?\.$/, ''),
    eta: rest.find((sentence) => /\bin \d+ \w+/.test(sentence)) ?? '',
    otherwise: rest.find((sentence) => /\bdenied\b/.test(sentence)) ?? '',
  }
}
