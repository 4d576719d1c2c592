// What words of a ticket point to: patterns with weights. The knowledge of the simulated model, as data.

import type { Category } from './schemas.ts'

/** A pattern of a ticket's text, and what it speaks for. */
export interface Signal {
  pattern: RegExp
  category: Category
  /** How strongly it speaks for the category: 1 a hint, 4 as good as certain. */
  weight: number
  /** What it is about, in words that policies use for it. */
  topic?: string
}

/** Signals in English, and the commonest ones in German, Spanish and French. */
export const signals: readonly Signal[] = [
  // Billing
  {
    category: 'billing',
    weight: 4,
    topic: 'duplicate charge',
    pattern: /\bcharged?\b.{0,40}\b(twice|two times|again)\b/,
  },
  {
    category: 'billing',
    weight: 4,
    topic: 'duplicate charge',
    pattern: /\b(double|duplicate)[- ](charge|payment|billing)/,
  },
  {
    category: 'billing',
    weight: 4,
    topic: 'duplicate charge',
    pattern: /\bzweimal\b.{0,60}\babgebucht|doppelt abgebucht/,
  },
  { category: 'billing', weight: 4, topic: 'duplicate charge', pattern: /\bcobr\w+ dos veces|\bdébité\w* deux fois/ },
  { category: 'billing', weight: 3, topic: 'refund', pattern: /\brefund(ed|s)?\b|\bmoney back\b/ },
  {
    category: 'billing',
    weight: 3,
    topic: 'refund',
    pattern: /\breembolso|\bremboursement|\brembourser|rückerstattung|\berstatten\b/,
  },
  {
    category: 'billing',
    weight: 4,
    topic: 'refund',
    pattern: /\b(payment|charge|purchase)\b.{0,40}\b(never made|did not make|didn't make|don't recogni[sz]e)\b/,
  },
  { category: 'billing', weight: 4, topic: 'cancellation', pattern: /\bcancel(l?ed|lation)?\b|\bkündig\w+/ },
  { category: 'billing', weight: 2, topic: 'cancellation', pattern: /\bpro-?rat(e|ed|a)\b/ },
  {
    category: 'billing',
    weight: 3,
    topic: 'invoice',
    pattern: /\binvoices?\b|\breceipt\b|\brechnung\b|\bfactura\b|\bfacture\b/,
  },
  { category: 'billing', weight: 2, pattern: /\bcharged?\b|\bbilled\b|\bbilling\b|\bpayments?\b|\bcredit card\b/ },
  { category: 'billing', weight: 1, pattern: /\bsubscription\b|\bpaid\b|[$€£]\s?\d/ },
  // Technical
  {
    category: 'technical',
    weight: 4,
    topic: 'outage',
    pattern: /\boutage\b|\b(was|is|are|were|been|went) (completely )?(down|offline|unreachable)\b/,
  },
  { category: 'technical', weight: 3, topic: 'bug or error', pattern: /\bbugs?\b|\bcrash(es|ed|ing)?\b|\bexception\b/ },
  {
    category: 'technical',
    weight: 2,
    topic: 'bug or error',
    pattern: /\berrors?\b|\bdoes(n't| not) work\b|\bnot working\b|\bbroken\b|\bfunktioniert nicht\b|\bno funciona\b/,
  },
  {
    category: 'technical',
    weight: 2,
    topic: 'slow performance',
    pattern: /\bslow(ly|er)?\b|\blag(s|gy|ging)?\b|\btime ?outs?\b|\blangsam\b|\blent[oe]?\b/,
  },
  { category: 'technical', weight: 3, topic: 'data export', pattern: /\bexport(s|ed|ing)?\b/ },
  { category: 'technical', weight: 1, pattern: /\bapi\b|\bintegration\b|\bserver\b|\bdashboard\b/ },
  // Account
  {
    category: 'account',
    weight: 4,
    topic: 'access or login',
    pattern: /\b(cannot|can't|can not|unable to|couldn't) (log|sign) ?in\b|\blocked out\b|\bausgesperrt\b/,
  },
  {
    category: 'account',
    weight: 2,
    topic: 'access or login',
    pattern: /\bpasswords?\b|\btwo-factor\b|\b2fa\b|\bmfa\b|\bpasswort\b|\bcontraseña\b|\bmot de passe\b/,
  },
  {
    category: 'account',
    weight: 1,
    topic: 'access or login',
    pattern: /\blog ?in\b|\bsign ?in\b|\breset\b|\baccess\b/,
  },
  {
    category: 'account',
    weight: 5,
    topic: "another person's account",
    pattern:
      /\b(ex-?)?(colleague|wife|husband|girlfriend|boyfriend|boss|partner|employee)('s)? (account|password|messages)\b|\baccount of my \w+/,
  },
  {
    category: 'account',
    weight: 3,
    topic: 'profile change',
    pattern: /\bchange (my|the) (e-?mail|mail|name|phone|profile|address)\b/,
  },
  {
    category: 'account',
    weight: 5,
    topic: 'account deletion',
    pattern: /\b(delete|close|erase) (my|the|our) (account|data)\b/,
  },
  { category: 'account', weight: 1, pattern: /\baccount\b|\bprofile\b|\bkonto\b|\bcuenta\b/ },
  // Shipping
  {
    category: 'shipping',
    weight: 3,
    topic: 'lost package',
    pattern:
      /\b(never|not|hasn't|didn't) (arrived?|came|come|reached?)\b|\b(got|was|is|been) lost\b|\blost (my |the )?(package|parcel|order)\b|\bnicht angekommen\b/,
  },
  {
    category: 'shipping',
    weight: 2,
    topic: 'late delivery',
    pattern: /\b(late|delayed|still waiting)\b|\bwhere is my (order|package|parcel)\b/,
  },
  {
    category: 'shipping',
    weight: 3,
    topic: 'damaged or wrong item',
    pattern: /\bdamaged\b|\bwrong (item|size|colou?r|product)\b|\bscratched\b/,
  },
  {
    category: 'shipping',
    weight: 2,
    pattern:
      /\bpackages?\b|\bparcels?\b|\bdeliver(y|ed|ies)?\b|\bshipp(ed|ing)\b|\bshipment\b|\bpaket\b|\bpaquete\b|\bcolis\b/,
  },
  { category: 'shipping', weight: 1, pattern: /\btracking\b|\bcourier\b|\bcarrier\b|\border(ed)?\b/ },
  // General
  {
    category: 'general',
    weight: 2,
    topic: 'question',
    pattern: /\b(do|does|can|is|are|could) (you|it|there|i|we)\b[^.!]{0,120}\?/,
  },
  {
    category: 'general',
    weight: 2,
    topic: 'question',
    pattern: /\b(i am|i'm|just) (just )?(wondering|curious)\b|\ba question\b|\bhow (do|can) (i|we)\b/,
  },
  {
    category: 'general',
    weight: 1,
    topic: 'question',
    pattern: /\bdiscounts?\b|\bdocumentation\b|\bopening hours\b|\bpricing\b/,
  },
  {
    category: 'general',
    weight: 3,
    topic: 'feedback',
    pattern:
      /\b(love|great|awesome|well done|thank you for)\b[^.!?]{0,40}\b(product|app|service|team|work)\b|\bfeedback\b|\bsuggestion\b/,
  },
]

/** A reason to let a person decide. */
export interface EscalationSignal {
  pattern: RegExp
  reason: string
}

/** Words that call for a person. */
export const escalationSignals: readonly EscalationSignal[] = [
  {
    reason: 'the customer speaks of legal steps',
    pattern: /\blawyers?\b|\battorney\b|\blegal action\b|\bsue\b|\bcourt\b|\banwalt\b|\babogado\b|\bavocat\b/,
  },
  { reason: 'the customer speaks of a chargeback', pattern: /\bchargeback\b|\bdispute (the|this) (charge|payment)\b/ },
  {
    reason: 'possible fraud must be verified by hand',
    pattern: /\bfraud\w*\b|\bhacked\b|\bstolen\b|\bunauthori[sz]ed\b|\bbetrug\b|\bfraude\b/,
  },
  {
    reason: 'the customer has written before without an answer',
    pattern: /\b(second|third|fourth|fifth) time (i|we) (write|wrote|contact|ask)|\bstill no (answer|reply|response)\b/,
  },
  {
    reason: 'the customer asks for a person',
    pattern: /\b(speak|talk) (to|with) (a|your) (manager|human|person|supervisor)\b/,
  },
]
