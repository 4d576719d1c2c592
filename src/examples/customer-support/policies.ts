// Policies and teams of the support desk, as its people wrote them down.

import type { Category } from './schemas.ts'

/** Policy text by category: one rule a line, `- heading: rule`. */
export const defaultPolicies: Readonly<Record<Category, string>> = {
  billing: `Billing policy
- duplicate charge: Refund the extra charge in full if it is verified and was made within 30 days. The refund arrives in 3 business days. Older charges are denied.
- refund: Refund the purchase if it was made within 30 days. The refund arrives in 3 business days. Older purchases are denied; offer help with using the product instead.
- cancellation: Cancel the subscription at once and prorate the unused days. The prorated amount arrives in 5 business days.
- invoice: Send a corrected invoice. It arrives in 2 business days.
- anything else: Check the account's payments and answer in 2 business days.`,
  technical: `Technical policy
- outage: Investigate at once and credit the lost time if the outage lasted longer than 15 minutes. The credit arrives in 2 business days. Shorter interruptions are denied a credit.
- bug or error: Hand it to engineering with the steps to reproduce it. A first answer follows in 24 hours.
- slow performance: Collect timings and check the region's load. A first answer follows in 2 business days.
- data export: Prepare the export of the data. It is ready in 48 hours.
- anything else: Ask for the steps and a screenshot, and answer in 2 business days.`,
  account: `Account policy
- access or login: Reset the access after the registered mail address is confirmed. The reset link arrives in 60 minutes.
- another person's account: Deny. Access to an account is given to its registered owner only.
- profile change: Change the profile data after the registered mail address is confirmed. It is done in 24 hours.
- account deletion: Delete the account and its data. It is done in 30 business days.
- anything else: Confirm the registered mail address and answer in 2 business days.`,
  shipping: `Shipping policy
- lost package: Reship the order if it was made within 90 days. The new package leaves in 2 business days. Older orders are denied.
- late delivery: Ask the carrier for the whereabouts of the package. An answer follows in 2 business days.
- damaged or wrong item: Replace the item if it was delivered within 30 days. The replacement leaves in 2 business days. Later reports are denied.
- anything else: Check the order and answer in 2 business days.`,
  general: `General policy
- question: Answer from the public documentation. A first answer follows in 2 business days.
- feedback: Thank the customer and pass the feedback on. No further answer is promised.
- anything else: Ask what the customer needs. A first answer follows in 2 business days.`,
}

/** Teams and what each is for. */
export const defaultTeams: Readonly<Record<string, string>> = {
  billing_ops: 'Charges, refunds, invoices, payments, subscriptions and cancellations.',
  technical_support: 'Outages, errors, bugs, slow performance, integrations and data exports.',
  account_management: 'Access and login, profile changes, orders, shipping and deliveries, general questions.',
  escalation_team:
    'Escalated cases that a person has to decide: several departments at once, unclear requests, manual verification, fraud, legal threats.',
}
