// Applying a policy and choosing a team, from the texts that tools returned: what the desk's people write there decides.

import type { Classification, Decision, TicketPriority } from './schemas.ts'
import { readTicket, type Reading } from './reading.ts'

/** One rule of a policy. */
interface Rule {
  heading: string
  text: string
}

/**
 * Decides a ticket by a policy text.
 *
 * @param policy - one rule a line, `- heading: rule`; conditions such as "within 30 days", "longer than 15 minutes"
 */
export function decide(ticket: string, classification: Classification, policy: string): Decision {
  const reading = readTicket(ticket)
  const rule = ruleFor(reading, `${classification.key_issue} ${classification.customer_request}`, rulesOf(policy))
  if (rule === undefined) {
    return { decision: 'deny', reasoning: 'The policy has no rule that fits.', applicable_policy: 'none' }
  }
  const { decision, reasoning } = apply(rule, reading)
  return { decision, reasoning, applicable_policy: `${classification.category}, ${rule.heading}: ${rule.text}` }
}

function rulesOf(policy: string): Rule[] {
  return [...policy.matchAll(/^- ([^:\n]+): (.+)$/gm)].map(([, heading, text]) => ({ heading: heading!, text: text! }))
}

/** The rule whose heading names the ticket's topic best; words of the issue decide between equals. */
function ruleFor({ topics }: Reading, issue: string, rules: readonly Rule[]): Rule | undefined {
  let best: { rule: Rule; score: number } | undefined
  for (const rule of rules) {
    const heading = stems(rule.heading)
    const named = topics.reduce((sum, { topic, weight }) => sum + weight * 10 * share(stems(topic), heading), 0)
    const score = named + share(stems(issue), stems(rule.text))
    if (score > (best?.score ?? 0.2)) best = { rule, score }
  }
  return best?.rule ?? rules.find(({ heading }) => heading === 'anything else')
}

function apply({ heading, text }: Rule, reading: Reading): Pick<Decision, 'decision' | 'reasoning'> {
  const about = `The ticket is a case of "${heading}"${reading.amounts.length === 0 ? '' : ` over ${reading.amounts.join(', ')}`}.`
  if (/^(deny|never|do not)\b/i.test(text)) {
    return { decision: 'deny', reasoning: `${about} The rule grants nothing in such cases.` }
  }
  const window = /\bwithin (\d+) days\b/i.exec(text)
  if (window !== null && reading.ageDays !== undefined) {
    const span = `${reading.ageDays} days against a window of ${window[1]} days`
    const late = reading.ageDays > Number(window[1])
    return { decision: late ? 'deny' : 'accept', reasoning: `${about} ${late ? 'Too late' : 'In time'}: ${span}.` }
  }
  const least = /\blonger than (\d+) minutes\b/i.exec(text)
  if (least !== null && reading.lastedMinutes !== undefined) {
    const span = `${reading.lastedMinutes} minutes against ${least[1]} minutes`
    const short = reading.lastedMinutes <= Number(least[1])
    return {
      decision: short ? 'deny' : 'accept',
      reasoning: `${about} ${short ? 'Too short' : 'Long enough'}: ${span}.`,
    }
  }
  const unchecked = window ?? least
  const rest = unchecked === null ? '' : ` Nothing in the ticket contradicts the condition "${unchecked[0]}".`
  return { decision: 'accept', reasoning: `${about}${rest}` }
}

/**
 * Chooses the team whose description fits best.
 *
 * @param teams - description by team name
 */
export function chooseTeam(
  ticket: string,
  classification: Classification,
  teams: Readonly<Record<string, string>>,
): string | undefined {
  const { topics } = readTicket(ticket)
  const sought = stems(
    [classification.category, ...topics.slice(0, 3).map(({ topic }) => topic), classification.key_issue].join(' '),
  )
  let best: { name: string; score: number } | undefined
  for (const [name, description] of Object.entries(teams)) {
    const words = stems(`${name.replaceAll('_', ' ')} ${description}`)
    const takesEscalated = /\bescalat/i.test(`${name.replaceAll('_', ' ')} ${description}`)
    const fit = takesEscalated === classification.needs_escalation ? 10 : 0
    const score = fit + [...sought].filter((word) => words.has(word)).length
    if (best === undefined || score > best.score) best = { name, score }
  }
  return best?.name
}

/** How urgent a ticket is for its team. */
export function urgencyOf(ticket: string, classification: Classification): TicketPriority {
  const { category, needs_escalation: escalated, escalation_reason: reason } = classification
  const isOutage = readTicket(ticket).topics[0]?.topic === 'outage'
  if (isOutage || (escalated && /\bfraud\b/.test(reason ?? ''))) return 'urgent'
  if (escalated) return 'high'
  return category === 'shipping' || category === 'general' ? 'low' : 'normal'
}

const fillers = new Set(
  'the and for was were with from that this has have had not are you your our its into only'.split(' '),
)

/** Words without their endings, so that "refunds" finds "refund". */
function stems(text: string): Set<string> {
  const words = text.toLowerCase().match(/\p{L}{3,}/gu) ?? []
  return new Set(
    words.filter((word) => !fillers.has(word)).map((word) => word.replace(/(ies|es|s|ed|ing|ly)$/, '').slice(0, 7)),
  )
}

/** Share of `sought` that is in `words`, 0..1. */
function share(sought: ReadonlySet<string>, words: ReadonlySet<string>): number {
  return sought.size === 0 ? 0 : [...sought].filter((word) => words.has(word)).length / sought.size
}
