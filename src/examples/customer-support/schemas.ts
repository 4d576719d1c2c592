// What goes into a support run, what its stages answer, and what comes out.

import { z } from 'zod'

/** Characters of a ticket. Longer ones are logs, and belong into an attachment. */
const ticketCharsMax = 20_000

/** A customer's message, as it came in. */
export const Ticket = z.object({
  text: z
    .string()
    .trim()
    .min(1, 'the ticket is empty')
    .max(ticketCharsMax, `a ticket has at most ${ticketCharsMax} characters; cut logs and quoted mails`),
})
/** A customer's message, as it came in. */
export type Ticket = z.infer<typeof Ticket>

/** Departments of the support desk, and of its policies. */
export const categories = ['billing', 'technical', 'account', 'shipping', 'general'] as const
/** A department of the support desk. */
export type Category = (typeof categories)[number]

/** What triage says about a ticket. */
export const Classification = z.object({
  category: z.enum(categories),
  /** Product or plan it is about, in the customer's words. */
  product: z.string(),
  key_issue: z.string(),
  customer_request: z.string(),
  needs_escalation: z.boolean(),
  escalation_reason: z.string().optional(),
})
/** What triage says about a ticket. */
export type Classification = z.infer<typeof Classification>

/** What the policy says about a ticket. */
export const Decision = z.object({
  decision: z.enum(['accept', 'deny']),
  reasoning: z.string(),
  /** The rule that was applied, as the policy words it. */
  applicable_policy: z.string(),
})
/** What the policy says about a ticket. */
export type Decision = z.infer<typeof Decision>

/** What the reply stage claims to have done. The workflow checks it against the outbox. */
export const Reply = z.object({ email_sent: z.boolean(), summary: z.string() })
/** What the reply stage claims to have done. */
export type Reply = z.infer<typeof Reply>

/** Urgency of a ticket within its team. */
export const ticketPriorities = ['low', 'normal', 'high', 'urgent'] as const
/** Urgency of a ticket within its team. */
export type TicketPriority = (typeof ticketPriorities)[number]

/** A mail that was sent. */
export interface Email {
  id: string
  /** Stage that sent it. */
  stage: string
  /** `customer`, or the name of a team: the desk knows the addresses, models do not. */
  to: string
  subject: string
  body: string
}

/** A ticket that was handed to a team. */
export interface SentTicket {
  id: string
  /** Stage that sent it. */
  stage: string
  team: string
  priority: TicketPriority
  summary: string
}

/** Everything a run did to the world. */
export interface Effects {
  emails: Email[]
  tickets: SentTicket[]
}

/** Result of a support run: what was decided, and what was really done about it. */
export interface SupportResult {
  /** `unanswered`: no mail went to the customer, whatever else was done. */
  status: 'accepted' | 'denied' | 'escalated' | 'unanswered'
  classification: Classification
  decision: Decision
  /** The ticket as the team got it. */
  ticket: SentTicket
  /** The mail as the customer got it; null if none was sent. */
  email: Email | null
  summary: string
}
