// Our own policy: one price for KV, paid in time of the engine
//
// A context that waits is worth what it would cost to compute it again: R(tokens) ms of the engine. Its room is worth
// what another run would do with it meanwhile. So, with somebody held, a place is given up
//   at no price      while the engine is nearly idle: to compute again costs time that nobody uses. The longest
//                    expected wait goes first, so that the room is useful for longest;
//   at R             when the expected rest of a wait exceeds `waitPerReload` times R: the room is worth more then;
//   on credit        for a run that was held for `patienceMs`: the engine's time for such exchanges is a fixed share
//                    of all time. Without that limit, exchanges that make others wait longer make more exchanges due, and
//                    what was saved by not computing twice is spent on computing twice (measured on `claude-code` at
//                    twice the pool: output falls to between a third and a half).
// R grows with the square of long contexts, so what is large is kept and what is small moves. Held runs enter the
// smallest need first once nobody is due: that serves most with the room there is. New places leave a margin, in which
// the contexts that are there grow; where it is used up, the smallest contexts in a wait go first.
// Every hold ends with the backend's bound, whatever is decided here.

import type { WindowChoice, WindowPolicy, WindowRun, WindowView } from '../window-policy.ts'
import { admitAlone } from './admit.ts'

const tickMs = 1_000
/**
 * Margin for growth that new places leave: so many contexts of the mean size, and at most this share of the window. The
 * share was swept from 0.03 to 0.25 on `claude-code`; small contexts in a large window need less of it.
 */
const marginContexts = 3
const marginShareMax = 0.12
/** Waits whose rest is longer than so many reloads give their room. Swept from 0.5 to 4. */
const waitPerReload = 4
/**
 * Below so many requests at the engine, its time costs nothing. Swept from 2 to 8. A window of few contexts cannot have
 * more than that at work, so there it is one for each eight of them.
 */
const idleRequests = 4
const placesPerIdleRequest = 8
/** Waits that end sooner are not worth an exchange even then, ms. */
const exchangeMsMin = 2_000
/** Held for longer than this, a run may be let in on credit, ms. */
const patienceMs = 100_000
/** Share of time that the engine may spend on exchanges on credit. Swept from 0.1 to 0.5. */
const exchangeShare = 0.1
/** Credit that can be saved up, ms: one exchange of the largest contexts. */
const creditMsMax = 60_000
/** A place is kept at least so long before it is exchanged, ms. */
const tenureMsMin = 30_000

/** Makes the policy of one backend. */
export function price(): WindowPolicy {
  let creditMs = creditMsMax / 2
  let lastMs = 0
  return {
    name: 'price',
    tickMs,
    enter(run, view) {
      const room = roomFor(view, view.usedTokens)
      if (view.placed.size > 0 && (view.held.size > 0 || run.needTokens > room)) return undefined
      return `fits: ${run.needTokens} tokens beside ${view.usedTokens} of ${view.capacityTokens}`
    },
    review(view) {
      creditMs = Math.min(creditMsMax, creditMs + exchangeShare * (view.nowMs - lastMs))
      lastMs = view.nowMs
      const market = new Market(view)
      if (view.held.size > 0) market.endLongWaits()
      market.shed()
      creditMs -= market.admit(creditMs)
      return market.review()
    },
  }
}

/** Tokens that new places may take, beside those in use. */
function roomFor({ capacityTokens, placed }: WindowView, usedTokens: number): number {
  const meanTokens = usedTokens / Math.max(1, placed.size)
  return capacityTokens - Math.min(marginContexts * meanTokens, marginShareMax * capacityTokens) - usedTokens
}

/** One review: what is given up and who enters. */
class Market {
  readonly #view: WindowView
  readonly #release: WindowChoice[] = []
  readonly #admit: WindowChoice[] = []
  readonly #gone = new Set<string>()
  /** Runs in a wait, the longest expected rest first. */
  readonly #away: { run: WindowRun; remainingMs: number }[] = []
  #used: number

  constructor(view: WindowView) {
    this.#view = view
    this.#used = view.usedTokens
    for (const run of view.placed.values()) {
      if (run.active === 0) this.#away.push({ run, remainingMs: view.forecast(run, 0).remainingMs })
    }
    this.#away.sort((a, b) => b.remainingMs - a.remainingMs)
  }

  /** Ends places whose wait is not worth their room. */
  endLongWaits(): void {
    for (const { run, remainingMs } of this.#away) {
      const reloadMs = this.#view.reloadMs(run.ownTokens)
      if (remainingMs <= waitPerReload * reloadMs) continue
      const reason = `expected back in ${Math.round(remainingMs)} ms, more than ${waitPerReload} times the ${Math.round(reloadMs)} ms that ${run.ownTokens} tokens cost to compute again`
      this.#drop(run, reason)
    }
  }

  /** Takes places away until the rest fits: contexts have grown. */
  shed(): void {
    const { capacityTokens, placed } = this.#view
    if (this.#used <= capacityTokens) return
    for (const run of this.#bySize()) {
      if (this.#used <= capacityTokens || placed.size - this.#gone.size <= 1) return
      const how = run.active > 0 ? 'smallest at work, from its next boundary' : 'smallest in a wait'
      this.#drop(run, `${this.#used} of ${capacityTokens} tokens in use: ${how}`)
    }
  }

  /** Lets held runs in. Returns the credit that exchanges took, ms. */
  admit(creditMs: number): number {
    const { held, placed, nowMs, activeRequests } = this.#view
    const isDue = (run: WindowRun): boolean => nowMs - run.sinceMs >= patienceMs
    const due = [...held.values()].filter(isDue).toSorted((a, b) => a.sinceMs - b.sinceMs)
    const others = [...held.values()].filter((run) => !isDue(run)).toSorted((a, b) => a.needTokens - b.needTokens)
    let idle = activeRequests < Math.min(idleRequests, Math.ceil(placed.size / placesPerIdleRequest))
    let spentMs = 0
    for (const run of [...due, ...others]) {
      const room = (): number => roomFor(this.#view, this.#used)
      let reason = `${run.needTokens} tokens fit now`
      if (run.needTokens > room()) {
        const onCredit = !idle && isDue(run) && creditMs > spentMs
        if (!idle && !onCredit) continue
        const victims = this.#victims(run.needTokens - room(), onCredit)
        if (victims === undefined) continue
        reason = onCredit ? `held for ${Math.round(nowMs - run.sinceMs)} ms, on credit` : 'the engine is nearly idle'
        for (const victim of victims) this.#drop(victim, `its room goes to ${run.runId}: ${reason}`)
        if (onCredit) {
          for (const { ownTokens } of [...victims, { ownTokens: run.needTokens }]) {
            spentMs += this.#view.reloadMs(ownTokens)
          }
        }
        idle = false
      }
      this.#used += run.needTokens
      this.#admit.push({ runId: run.runId, reason: `${reason}; it was held for ${Math.round(nowMs - run.sinceMs)} ms` })
    }
    return spentMs
  }

  review(): { release: WindowChoice[]; admit: WindowChoice[] } {
    const alone = this.#admit.length === 0 && this.#gone.size === 0 ? admitAlone(this.#view) : []
    return { release: this.#release, admit: [...this.#admit, ...alone] }
  }

  /** Places that make `tokens` of room, or undefined if there are not enough. */
  #victims(tokens: number, activeToo: boolean): WindowRun[] | undefined {
    const victims: WindowRun[] = []
    let missing = tokens
    const take = (run: WindowRun): void => {
      if (missing <= 0 || this.#gone.has(run.runId)) return
      victims.push(run)
      missing -= run.ownTokens
    }
    for (const { run, remainingMs } of this.#away) if (activeToo || remainingMs >= exchangeMsMin) take(run)
    if (activeToo) {
      for (const run of this.#bySize()) {
        if (run.active > 0 && this.#view.nowMs - run.placedAtMs >= tenureMsMin) take(run)
      }
    }
    return missing > 0 ? undefined : victims
  }

  /** Places that are left, those in a wait first, the smallest first. */
  #bySize(): WindowRun[] {
    return [...this.#view.placed.values()]
      .filter((run) => !this.#gone.has(run.runId))
      .toSorted((a, b) => Number(a.active > 0) - Number(b.active > 0) || a.ownTokens - b.ownTokens)
  }

  #drop(run: WindowRun, reason: string): void {
    this.#used -= run.ownTokens
    this.#gone.add(run.runId)
    this.#release.push({ runId: run.runId, reason })
  }
}
