// The customer support example: the workflow of the paper's running example (section 2), with tools that do something.

export { supportWorkflow } from './workflow.ts'
export { createSupportDesk } from './desk.ts'
export type { SupportDesk } from './desk.ts'
export { checkEffects } from './check-effects.ts'
export { sampleTickets } from './sample-tickets.ts'
export type { SampleTicket } from './sample-tickets.ts'
export { Ticket } from './schemas.ts'
export type { Effects, Email, SentTicket, SupportResult } from './schemas.ts'

const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js'

/** Module of a responder that reads tickets, for `simulated({ responder })`: no model, no network, no canned answers. */
export const supportResponder = new URL(`./responder${extension}`, import.meta.url)
