// Support desk: the world that the tools of the example act on
//
// Owns: policies, teams, and what each run mailed and filed.
// Does not own: who may send what (the tools of the workflow), whether a run told the truth (check-effects).
// Invariants
//   D1. What is listed in the effects of a run happened; what failed is not listed.
//   D2. At most `runsMax` runs and `effectsPerRunMax` effects of each kind per run are kept.

import { defaultPolicies, defaultTeams } from './policies.ts'
import type { Category, Effects, Email, SentTicket } from './schemas.ts'

/** Runs whose effects are kept. Beyond it the oldest run is forgotten. */
const runsMaxDefault = 10_000

/** Mails, and tickets, of one run. A run needs two mails and one ticket; a loop must not fill the memory. */
const effectsPerRunMax = 20

/** Mails, tickets, policies and teams, in memory. */
export interface SupportDesk {
  /** Policy text of a category. */
  policyOf(category: Category): string
  /** Teams and what each is for. */
  teams(): Readonly<Record<string, string>>
  /**
   * Sends a mail.
   *
   * @throws {Error} if the run has sent too many
   */
  sendEmail(runId: string, email: Omit<Email, 'id'>): Email
  /**
   * Hands a ticket to a team.
   *
   * @throws {Error} if there is no such team, or the run has sent too many
   */
  sendTicket(runId: string, ticket: Omit<SentTicket, 'id'>): SentTicket
  /**
   * What a run did so far; empty for one that did nothing or was forgotten. The lists are copies. Runtimes of one
   * seed give their runs the same ids: give each a desk of its own.
   */
  effectsOf(runId: string): Effects
  /** Forgets what a run did. */
  forget(runId: string): void
}

/** Options of a support desk. */
export interface SupportDeskOptions {
  /** Policy texts that replace the stock ones, by category. */
  policies?: Partial<Record<Category, string>>
  /** Teams instead of the stock ones. */
  teams?: Readonly<Record<string, string>>
  /** Runs whose effects are kept, the newest; default 10,000. Keep it above the runs that are live at once. */
  runsMax?: number
}

/** Makes a support desk without mails and tickets. */
export function createSupportDesk(options: SupportDeskOptions = {}): SupportDesk {
  const policies = { ...defaultPolicies, ...options.policies }
  const teams = options.teams ?? defaultTeams
  const runsMax = options.runsMax ?? runsMaxDefault
  const runs = new Map<string, Effects>()
  let count = 0

  const effectsFor = (runId: string, kind: keyof Effects): Effects => {
    let effects = runs.get(runId)
    if (effects === undefined) {
      if (runs.size >= runsMax) runs.delete(runs.keys().next().value!)
      runs.set(runId, (effects = { emails: [], tickets: [] }))
    }
    if (effects[kind].length < effectsPerRunMax) return effects
    throw new Error(`run ${runId} has sent ${effectsPerRunMax} ${kind} already`)
  }

  return {
    policyOf: (category) => policies[category],
    teams: () => teams,
    sendEmail(runId, email) {
      const sent = { id: `mail-${++count}`, ...email }
      effectsFor(runId, 'emails').emails.push(sent)
      return sent
    },
    sendTicket(runId, ticket) {
      if (!Object.hasOwn(teams, ticket.team)) {
        throw new Error(`there is no team "${ticket.team}"; there are: ${Object.keys(teams).join(', ')}`)
      }
      const sent = { id: `ticket-${++count}`, ...ticket }
      effectsFor(runId, 'tickets').tickets.push(sent)
      return sent
    },
    effectsOf(runId) {
      const effects = runs.get(runId)
      return { emails: [...(effects?.emails ?? [])], tickets: [...(effects?.tickets ?? [])] }
    },
    forget: (runId) => void runs.delete(runId),
  }
}
