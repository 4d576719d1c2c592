// Our own policy: one price for KV, paid in time of the engine
//
// A context that waits is worth what it saves: the rate at which it is wanted again (the Gittins index of its wait) times
// R(tokens), the ms of the engine that a reload takes, over its tokens. Room is worth what another run would do with it:
// while the engine is busy, a pool of C tokens yields one ms of the engine a ms, so a token of it is worth 1/C. With
// somebody held
//   room is found    among contexts in a wait that are worth less than a token's price, a multiple of 1/C, the cheapest first: long
//                    waits of small contexts go, large contexts and short waits stay;
//   at no price      while the engine is nearly idle: to compute again costs time that nobody uses;
//   on credit        for a run held for `patienceMs`: any place may go, but the engine's time for such exchanges is a
//                    fixed share of all time. Without that limit, exchanges that make others wait longer make more
//                    exchanges due, and what was saved by not computing twice is spent on computing twice.
// Who is held enters by response ratio, wait over service: (wait + floor) / (floor + R). What is still in the engine's
// cache costs nothing and goes first. Reloads enter a few at a time: an engine computes prompts one after the other, so
// more of them would only make those wait who need no reload.
// Contexts grow, and an engine that is over-full by a little loses everything (LRU under cyclic use). So new places leave
// a reserve, and it is learned: tokens of contexts that lost their place to growth, or that the engine had evicted though
// they had one, are added to it, and it halves every `reserveHalfMs`.
// Every hold ends with the backend's bound, whatever is decided here.

import type { WindowChoice, WindowPolicy, WindowRun, WindowView } from '../window-policy.ts'
import { admitAlone } from './admit.ts'

const tickMs = 1_000
/** Price of a token of room, in shares of what the pool yields for it. Swept from 0.1 to 8 on `claude-code`. */
const placePriceDefault = 3
/** Reserve that is always left: a context of the mean size, and at most this share of the window. */
const reserveShareMin = 0.05
/** Reserve that is left at most, share of the window. */
const reserveShareMax = 0.5
const reserveHalfMs = 200_000
/** Reloads that the engine computes at once at most; shorter ones do not count, ms. */
const reloadsMax = 2
const reloadMsMin = 1_500
/** Added to wait and service in the response ratio, ms: short waits of small contexts are all alike. */
const ratioFloorMs = 1_000
/** Held for longer than this, a run may be let in on credit, ms. */
const patienceMs = 120_000
/** Credit that can be saved up, ms: some exchanges of the largest contexts. */
const creditMsMax = 60_000
/** A place in use is kept at least so long before it is exchanged, ms. */
const tenureMsMin = 90_000
/**
 * Below so many requests at the engine, its time costs nothing. A window of few contexts cannot have more than that at
 * work, so there it is one for each eight of them.
 */
const idleRequests = 4
const placesPerIdleRequest = 8
/** Waits expected to end sooner are not worth an exchange even then, ms. */
const exchangeMsMin = 2_000

/** What the policy remembers between reviews. */
interface Purse {
  creditMs: number
  reserveTokens: number
  lostTokens: number
  lastMs: number
}

/**
 * Makes the policy of one backend.
 *
 * @param options.exchangeShare - share of its time that the engine may spend on exchanges on credit, 0..1; more of it
 * lets in sooner who was held for long, and costs output. Default 0.1
 * @param options.placePrice - price of a token of room, in shares of what the pool yields for it, above 0; at a higher
 * one more contexts give way. Default 3
 */
export function price(options: { exchangeShare?: number; placePrice?: number } = {}): WindowPolicy {
  const { exchangeShare = 0.1, placePrice = placePriceDefault } = options
  const purse: Purse = { creditMs: creditMsMax / 2, reserveTokens: 0, lostTokens: 0, lastMs: 0 }
  return {
    name: 'price',
    tickMs,
    enter(run, view) {
      const room = roomFor(view, purse, view.usedTokens, view.placed.size)
      if (view.placed.size > 0 && (view.held.size > 0 || run.needTokens > room)) return undefined
      return `fits: ${run.needTokens} tokens beside ${view.usedTokens} of ${view.capacityTokens}`
    },
    review(view) {
      const { nowMs, lostTokens, capacityTokens } = view
      const elapsedMs = nowMs - purse.lastMs
      purse.lastMs = nowMs
      purse.creditMs = Math.min(creditMsMax, purse.creditMs + exchangeShare * elapsedMs)
      purse.reserveTokens *= 2 ** (-elapsedMs / reserveHalfMs)
      purse.reserveTokens += lostTokens - purse.lostTokens
      purse.lostTokens = lostTokens
      const market = new Market(view, purse, placePrice / capacityTokens)
      market.shed()
      market.admit()
      purse.reserveTokens = Math.min(purse.reserveTokens, reserveShareMax * capacityTokens)
      return market.review()
    },
  }
}

/** Tokens that new places may take, beside those in use. */
function roomFor({ capacityTokens }: WindowView, purse: Purse, usedTokens: number, places: number): number {
  const least = Math.min(usedTokens / Math.max(1, places), reserveShareMin * capacityTokens)
  return capacityTokens - Math.max(purse.reserveTokens, least) - usedTokens
}

/** One review: what is given up and who enters. */
class Market {
  readonly #view: WindowView
  readonly #purse: Purse
  readonly #release: WindowChoice[] = []
  readonly #admit: WindowChoice[] = []
  readonly #gone = new Set<string>()
  /** Runs in a wait with what keeping them saves, ms of the engine for each token and ms; the least first. */
  readonly #away: { run: WindowRun; worth: number }[] = []
  readonly #price: number
  /** Reloads that the engine is at. */
  #reloads = 0
  #used: number

  constructor(view: WindowView, purse: Purse, price: number) {
    this.#view = view
    this.#purse = purse
    this.#used = view.usedTokens
    this.#price = price
    for (const run of view.placed.values()) {
      const { ownTokens, active, prefilling, placedAtMs, lastTouchMs } = run
      if (active === 0) {
        const worth = (view.returnRate(run) * view.reloadMs(ownTokens)) / Math.max(1, ownTokens)
        this.#away.push({ run, worth })
      } else if (prefilling && (lastTouchMs === undefined || placedAtMs > lastTouchMs)) this.#reloads++
    }
    this.#away.sort((a, b) => a.worth - b.worth)
  }

  /** Takes places away until the rest fits: contexts have grown. */
  shed(): void {
    const { capacityTokens, placed } = this.#view
    if (this.#used <= capacityTokens) return
    for (const { run, worth } of this.#away) {
      if (this.#used <= capacityTokens) return
      if (worth >= this.#price) this.#purse.reserveTokens += run.ownTokens
      this.#drop(run, `${this.#used} of ${capacityTokens} tokens in use: of those in a wait it is worth least`)
    }
    for (const run of this.#atWork(0)) {
      if (this.#used <= capacityTokens || placed.size - this.#gone.size <= 1) return
      this.#purse.reserveTokens += run.ownTokens
      this.#drop(run, `${this.#used} of ${capacityTokens} tokens in use: smallest at work, from its next boundary`)
    }
  }

  /** Lets held runs in. */
  admit(): void {
    const { nowMs } = this.#view
    let idle = this.#isIdle()
    for (const { run, reloadMs } of this.#inOrder()) {
      const isReload = reloadMs >= reloadMsMin
      if (isReload && this.#reloads >= reloadsMax) continue
      const missing = run.needTokens - this.#room()
      let reason = `${run.needTokens} tokens fit now`
      if (missing > 0) {
        const isDue = nowMs - run.sinceMs >= patienceMs
        const found = this.#victims(missing, idle, isDue)
        if (found === undefined) {
          // Small ones would fill the room for ever that a large one waits for.
          if (isDue) return
          continue
        }
        reason = found.reason
        this.#purse.creditMs -= found.creditMs
        for (const victim of found.victims) this.#drop(victim, `its room goes to ${run.runId}: ${reason}`)
        idle = false
      }
      if (isReload) this.#reloads++
      this.#used += run.needTokens
      this.#admit.push({ runId: run.runId, reason: `${reason}; it was held for ${Math.round(nowMs - run.sinceMs)} ms` })
    }
  }

  review(): { release: WindowChoice[]; admit: WindowChoice[] } {
    const alone = this.#admit.length === 0 && this.#gone.size === 0 ? admitAlone(this.#view) : []
    return { release: this.#release, admit: [...this.#admit, ...alone] }
  }

  #isIdle(): boolean {
    const { activeRequests, placed } = this.#view
    return activeRequests < Math.min(idleRequests, Math.ceil(placed.size / placesPerIdleRequest))
  }

  #room(): number {
    return roomFor(this.#view, this.#purse, this.#used, this.#view.placed.size - this.#gone.size)
  }

  /** Held runs, those that the engine still has first, then by response ratio. */
  #inOrder(): { run: WindowRun; reloadMs: number; ratio: number }[] {
    const { held, nowMs, capacityTokens } = this.#view
    const runs = Array.from(held.values(), (run) => {
      const isThere = run.turns > 0 && this.#view.lruDepthTokens(run) < capacityTokens
      const reloadMs = isThere ? 0 : this.#view.reloadMs(run.needTokens)
      const ratio = isThere ? Infinity : (nowMs - run.sinceMs + ratioFloorMs) / (ratioFloorMs + reloadMs)
      return { run, reloadMs, ratio }
    })
    return runs.toSorted((a, b) => (a.ratio === b.ratio ? a.run.sinceMs - b.run.sinceMs : b.ratio - a.ratio))
  }

  /** Places that make `tokens` of room, what they cost of the credit, and why; undefined if there are not enough. */
  #victims(
    tokens: number,
    idle: boolean,
    isDue: boolean,
  ): { victims: WindowRun[]; creditMs: number; reason: string } | undefined {
    const onCredit = isDue && this.#purse.creditMs > 0
    const victims: WindowRun[] = []
    let missing = tokens
    let creditMs = 0
    let reason = 'those in a wait are worth less than their room'
    for (const { run, worth } of this.#away) {
      if (missing <= 0) break
      if (this.#gone.has(run.runId)) continue
      if (worth >= this.#price) {
        const isFree = idle && this.#view.forecast(run, 0).remainingMs >= exchangeMsMin
        if (isFree) reason = 'the engine is nearly idle'
        else if (!onCredit) break
        else creditMs += this.#view.reloadMs(run.ownTokens)
      }
      victims.push(run)
      missing -= run.ownTokens
    }
    if (onCredit) {
      for (const run of this.#atWork(tenureMsMin)) {
        if (missing <= 0) break
        victims.push(run)
        missing -= run.ownTokens
        creditMs += this.#view.reloadMs(run.ownTokens)
      }
    }
    if (missing > 0) return undefined
    return { victims, creditMs, reason: creditMs > 0 ? 'held for long, on credit' : reason }
  }

  /** Places in use for at least `tenureMs`, the smallest first. */
  #atWork(tenureMs: number): WindowRun[] {
    const { placed, nowMs } = this.#view
    return [...placed.values()]
      .filter((run) => run.active > 0 && !this.#gone.has(run.runId) && nowMs - run.placedAtMs >= tenureMs)
      .toSorted((a, b) => a.ownTokens - b.ownTokens)
  }

  #drop(run: WindowRun, reason: string): void {
    this.#used -= run.ownTokens
    this.#gone.add(run.runId)
    this.#release.push({ runId: run.runId, reason })
  }
}
