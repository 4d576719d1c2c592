// Tools of the support workflow. Each can do only what its stage needs: the stage that writes to the customer cannot
// write to anybody else, whatever a ticket says, and nothing can be sent twice.

import { z } from 'zod'
import { tool, type ToolDefinition } from '../../index.ts'
import type { SupportDesk } from './desk.ts'
import { categories, ticketPriorities } from './schemas.ts'

const mail = {
  subject: z.string().min(1).max(200),
  body: z.string().min(1).max(10_000),
}

/** Makes the tools over a desk. */
export function supportTools(desk: SupportDesk): Record<
  'read_policy' | 'read_teams' | 'send_ticket' | 'email_customer' | 'email_team',
  // Tools with different arguments go into one record.
  ToolDefinition
> {
  return {
    read_policy: tool({
      description: 'Returns the company policy of a category, one rule a line.',
      input: z.object({ category: z.enum(categories) }),
      run: ({ category }) => desk.policyOf(category),
    }),
    read_teams: tool({
      description: 'Returns every team with a description of what it is for.',
      input: z.object({}),
      run: () => desk.teams(),
    }),
    send_ticket: tool({
      description: 'Hands the case to a team. Call it exactly once.',
      input: z.object({
        team: z.string().describe('name of a team as read_teams returned it'),
        priority: z.enum(ticketPriorities),
        summary: z.string().min(1).max(2_000).describe('what the team needs to know, in a few sentences'),
      }),
      run({ team, priority, summary }, { runId, stage }) {
        const before = desk.effectsOf(runId).tickets[0]
        if (before !== undefined) throw new Error(`this case is with ${before.team} already, as ${before.id}`)
        return { ticket: desk.sendTicket(runId, { stage, team, priority, summary }).id, team }
      },
    }),
    email_customer: tool({
      description: 'Sends one mail to the customer who wrote the ticket. Call it exactly once.',
      input: z.object({ to: z.enum(['customer']), ...mail }),
      run: ({ to, subject, body }, { runId, stage }) => sendOnce(desk, runId, { stage, to, subject, body }),
    }),
    email_team: tool({
      description: 'Sends one mail to a team. It cannot write to customers.',
      input: z.object({ to: z.string().describe('name of a team as read_teams returned it'), ...mail }),
      run({ to, subject, body }, { runId, stage }) {
        const teams = Object.keys(desk.teams())
        if (!teams.includes(to)) throw new Error(`"${to}" is no team; there are: ${teams.join(', ')}`)
        return sendOnce(desk, runId, { stage, to, subject, body })
      },
    }),
  }
}

function sendOnce(
  desk: SupportDesk,
  runId: string,
  email: { stage: string; to: string; subject: string; body: string },
): { sent: true; id: string } {
  const before = desk.effectsOf(runId).emails.find(({ to, stage }) => to === email.to && stage === email.stage)
  if (before !== undefined) throw new Error(`${email.to} got a mail about this case already: ${before.id}`)
  return { sent: true, id: desk.sendEmail(runId, email).id }
}
