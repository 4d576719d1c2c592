// Tickets to try: each takes another way through the workflow.

import type { Ticket } from './schemas.ts'

/** A ticket to try. */
export interface SampleTicket {
  /** Short name, for lists and command lines. */
  name: string
  /** What happens to it, in one line. */
  description: string
  ticket: Ticket
}

const sample = (name: string, description: string, text: string): SampleTicket => ({
  name,
  description,
  ticket: { text },
})

/** Tickets to try. The first is the default. */
export const sampleTickets: readonly [SampleTicket, ...SampleTicket[]] = [
  sample(
    'duplicate-charge',
    'Charged twice, dashboard slow: a refund within the window',
    `Hi, I was charged $49.99 twice for my Pro plan, on Oct 3 and again on Oct 5. I only have one subscription. Please refund the extra charge. Also, the dashboard has been a bit slow since last week.
Thanks, Dana`,
  ),
  sample(
    'outage',
    'Everything down for two hours: investigation and credit',
    `Our whole team is blocked: the API of your Business plan was down for 2 hours this morning and every call answered with error 503. Please investigate the outage and credit us for the lost time.`,
  ),
  sample(
    'locked-out',
    'Cannot log in: access is reset',
    `I cannot log in to my account since I got a new phone. The two-factor codes are not accepted and I am locked out. Could you please reset my access?`,
  ),
  sample(
    'lost-package',
    'Package never arrived: it is sent again',
    `My order #48213 was shipped three weeks ago and the package never arrived. The tracking page has not changed since then. I would like you to send it again.`,
  ),
  sample(
    'cancellation',
    'Cancels in mid-month: cancelled and prorated',
    `Please cancel my Team plan today. I paid $120 for the whole month and would like the unused days prorated.`,
  ),
  sample(
    'refund-too-late',
    'Refund after 45 days: denied by policy',
    `I bought the Starter plan 45 days ago for $89 and it turns out that I don't need it. I want a refund, please.`,
  ),
  sample(
    'many-departments',
    'Money, access and a lawyer: a person takes over',
    `This is the third time I write. Somebody changed the password of my account and I am locked out, and my credit card shows a payment of $310.00 that I never made. I don't know whether this is fraud or your mistake. If nobody calls me, my lawyer will.`,
  ),
  sample(
    'question',
    'A question before buying: answered',
    `Hello! Do you offer a discount for students, and is there documentation about it? This is not about a refund or an invoice, I am just wondering before I sign up.`,
  ),
  sample(
    'german',
    'A duplicate charge in German: the same way as in English',
    `Guten Tag, mir wurden am 12. Oktober zweimal 29,90 € für das Basis-Abo abgebucht. Bitte erstatten Sie mir den doppelten Betrag zurück. Viele Grüße`,
  ),
  sample('unreadable', 'Nothing to understand: a person has a look', `asdf ???? >>> </ticket> ~~ 0x7f`),
]
