// A simulated model for the support workflow. It reads what it is given, as a model would: the ticket and the earlier
// results from the prompt, policies and teams from tool results. It knows no ticket and no policy by heart.

import type { ChatRequest, Reply, ReplyCall } from '../../index.ts'
import { chooseTeam, decide, urgencyOf } from './reasoning.ts'
import { readTicket } from './reading.ts'
import { customerLetter, teamLetter, ticketSummary } from './letters.ts'
import { Classification, Decision } from './schemas.ts'

/** Answers the requests of all four stages. A stage is known by the tools it offers. */
export function responder(request: ChatRequest): Reply {
  const offered = new Set(request.toolChoice === 'none' ? [] : request.tools?.map(({ name }) => name))
  const known = new Set(request.tools?.map(({ name }) => name))
  const prompt = request.messages.find(({ role }) => role === 'user')?.content ?? ''
  const ticket = ticketIn(prompt)
  const call = (name: string, args: Record<string, unknown>): Reply | undefined =>
    offered.has(name) ? { toolCalls: [{ name, arguments: args } satisfies ReplyCall] } : undefined
  const calls = finishedCalls(request)

  if (known.size === 0) return answer(readTicket(ticket).classification)
  const classification =
    Classification.safeParse(jsonIn(prompt, 'classification')).data ?? readTicket(ticket).classification
  if (known.has('read_policy')) return checkPolicy(ticket, classification, calls, call)
  if (known.has('send_ticket')) return route(ticket, classification, calls, call)
  return reply(ticket, classification, Decision.safeParse(jsonIn(prompt, 'decision')).data, calls, call)
}

type Call = (name: string, args: Record<string, unknown>) => Reply | undefined

function checkPolicy(ticket: string, classification: Classification, calls: FinishedCall[], call: Call): Reply {
  const read = calls.find(({ name, ok }) => name === 'read_policy' && ok)
  if (read !== undefined) return answer(decide(ticket, classification, read.result))
  // A second try: reading is harmless to repeat.
  const again = calls.length < 2 ? call('read_policy', { category: classification.category }) : undefined
  return (
    again ??
    answer({
      decision: 'deny',
      reasoning: 'The policy could not be read.',
      applicable_policy: 'none',
    } satisfies Decision)
  )
}

function route(ticket: string, classification: Classification, calls: FinishedCall[], call: Call): Reply {
  const teams = calls.find(({ name }) => name === 'read_teams')
  if (teams === undefined) return call('read_teams', {}) ?? { content: 'I cannot see the teams.' }
  const team = teams.ok ? chooseTeam(ticket, classification, teamsIn(teams.result)) : undefined
  if (team === undefined) return { content: `No team could be chosen: ${teams.result}` }

  const sent = calls.find(({ name }) => name === 'send_ticket')
  if (sent === undefined) {
    const priority = urgencyOf(ticket, classification)
    const summary = ticketSummary(classification)
    return call('send_ticket', { team, priority, summary }) ?? { content: 'No ticket could be sent.' }
  }
  if (!sent.ok) return { content: `The ticket could not be sent to ${team}: ${sent.result}` }
  const id = /"ticket":"([^"]+)"/.exec(sent.result)?.[1] ?? 'the ticket'
  if (!classification.needs_escalation) return { content: `${team} has the case as ${id}.` }

  const mailed = calls.find(({ name }) => name === 'send_email')
  const asked = mailed === undefined ? call('send_email', { to: team, ...teamLetter(classification, id) }) : undefined
  if (asked !== undefined) return asked
  const told = mailed?.ok === true ? 'and was told by mail' : 'but could not be told by mail'
  return { content: `The case is escalated: ${team} has it as ${id} ${told}.` }
}

function reply(
  ticket: string,
  classification: Classification,
  decision: Decision | undefined,
  calls: FinishedCall[],
  call: Call,
): Reply {
  const mailed = calls.find(({ name }) => name === 'send_email')
  if (mailed === undefined && decision !== undefined) {
    const asked = call('send_email', { to: 'customer', ...customerLetter(ticket, classification, decision) })
    if (asked !== undefined) return asked
  }
  if (mailed?.ok !== true) {
    return answer({
      email_sent: false,
      summary: `No mail was sent: ${mailed?.result ?? 'there was nothing to answer'}`,
    })
  }
  return answer({ email_sent: true, summary: summaryOf(classification, decision) })
}

function summaryOf({ product, needs_escalation: escalated }: Classification, decision: Decision | undefined): string {
  const about = product === 'not stated' ? '' : ` about ${product}`
  if (escalated) return `The customer was told that a person takes over the case${about}.`
  const verdict = decision?.decision === 'accept' ? 'accepted, and what happens next' : 'denied, and why'
  return `The customer was told that the request${about} is ${verdict}.`
}

function answer(value: unknown): Reply {
  return { content: JSON.stringify(value) }
}

// --- what a prompt holds

interface FinishedCall {
  name: string
  ok: boolean
  result: string
}

/** Tool calls of this conversation that have a result, in order. */
function finishedCalls({ messages }: ChatRequest): FinishedCall[] {
  const names = new Map<string, string>()
  const calls: FinishedCall[] = []
  for (const message of messages) {
    if (message.role === 'assistant') for (const { id, name } of message.toolCalls ?? []) names.set(id, name)
    if (message.role !== 'tool') continue
    const { content: result, toolCallId } = message
    calls.push({ name: names.get(toolCallId) ?? '', ok: !result.startsWith('error:'), result })
  }
  return calls
}

/** The ticket as the customer wrote it; the whole prompt where there are no delimiters. */
function ticketIn(prompt: string): string {
  const escaped = between(prompt, 'ticket') ?? prompt
  return escaped.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')
}

function jsonIn(prompt: string, tag: string): unknown {
  return parse(between(prompt, tag) ?? 'null')
}

function between(prompt: string, tag: string): string | undefined {
  return new RegExp(`<${tag}>\\n([\\s\\S]*?)\\n</${tag}>`).exec(prompt)?.[1]
}

function teamsIn(text: string): Record<string, string> {
  const value = parse(text)
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).map(([name, description]) => [name, String(description)]))
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}
