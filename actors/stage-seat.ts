// Where a stage runs
//
// Owns: the backend and model that a stage uses now, its home, its replicas, and what an engine has computed for it last.
// Does not own: why it moves (its turns), or whether backends take anything.
// Invariants
//   P1. What is known of an engine's cache is forgotten when the stage goes to another engine.

import { limits } from '../src/limits.ts'
import { betterPlace, choosePlace, type Place } from '../src/mapping/place.ts'
import { commonPrefix, prefixMarks, type ContextChain } from '../src/prompts/chain.ts'
import type { StageDefinition } from '../src/workflow/definition.ts'
import type { StageReport } from '../src/workflow/report.ts'
import type { StageHost } from './stage-host.ts'

/** The place of one stage. */
export class StageSeat {
  readonly #definition: StageDefinition
  readonly #host: StageHost
  readonly #report: StageReport
  backend = ''
  model = ''
  /** Where it was mapped to. */
  #home = ''
  /** Replicas that may serve it, its home among them; empty without. */
  #places: readonly Place[] = noPlaces
  /** Whether it asks for the model that its backend serves, whichever that is when a turn begins. */
  #followsBackend = false
  /** Its own last prompt that an engine computed. Meanwhile the run may have sent others there. */
  #chain: ContextChain | undefined

  constructor(definition: StageDefinition, host: StageHost, report: StageReport) {
    this.#definition = definition
    this.#host = host
    this.#report = report
  }

  /** Whether replicas may serve it. */
  get isReplicated(): boolean {
    return this.#places.length > 1
  }

  /** It was mapped. */
  take(backend: string, model: string, places: readonly Place[] | undefined): void {
    this.#places = places ?? noPlaces
    this.#home = backend
    this.#sit(backend, model, model === this.#host.services.modelOf(backend))
  }

  /** It goes on at another backend, with nothing that it had. */
  moveTo(backend: string): void {
    this.#settleAt(backend)
    this.#chain = undefined
  }

  /** It begins again at another backend, which is its home from now on. */
  moveHome(backend: string): void {
    this.moveTo(backend)
    this.#home = backend
    this.#places = noPlaces
  }

  /** Chooses among replicas for a stage's first prompt. Returns why, if a cache speaks for it. */
  choose(chain: ContextChain): string | undefined {
    if (!this.isReplicated) return undefined
    const { place, savedTokens } = choosePlace(this.#places, this.#knownIn(chain))!
    if (place.backend !== this.backend) this.#settleAt(place.backend)
    this.#home = place.backend
    if (savedTokens === 0) return undefined
    return `"${place.backend}" has ${savedTokens} tokens of it that not all replicas have`
  }

  /**
   * Chooses again for a later prompt: it leaves what the stage has in the cache only where that pays well. Returns why,
   * if it does.
   */
  reconsider(chain: ContextChain, promptTokens: number, outputTokens: number): string | undefined {
    if (!this.isReplicated) return undefined
    const from = this.backend
    const places = this.#host.services.placesNow(this.#places.map(({ backend }) => backend))
    const turn = { promptTokens, outputTokens, knownTokens: this.#knownIn(chain) }
    const better = places && betterPlace(places, from, turn)
    if (better === undefined) return undefined
    this.moveTo(better.place.backend)
    this.#home = this.backend
    const ms = (value: number): string => `about ${Math.round(value)} ms`
    return `goes on at "${this.backend}", done there in ${ms(better.doneMs)} against ${ms(better.hereMs)} at "${from}"`
  }

  /** Whether a replica other than its backend takes requests now. */
  get hasOther(): boolean {
    const { services } = this.#host
    return this.#places.some(({ backend }) => backend !== this.backend && services.canServe(backend))
  }

  /** Estimated tokens of a prompt that replicas are believed to have, from this run or others. */
  #knownIn(chain: ContextChain): (backend: string) => number {
    const { services, tenant } = this.#host
    const marks = prefixMarks(chain)
    const nowMs = services.clock.nowMs()
    return (backend) =>
      Math.max(
        this.#host.sharedTokens(backend, this.model, chain),
        services.warmHeads.tokens(backend, tenant, marks, nowMs),
      )
  }

  /** Estimated tokens of a prompt that its backend is believed to have. */
  knownTokens(chain: ContextChain): number {
    const own = this.#chain === undefined ? 0 : commonPrefix(this.#chain, chain).tokens
    return Math.max(this.#host.sharedTokens(this.backend, this.model, chain), own)
  }

  /** The engine that serves now may be another than when the stage was mapped. */
  refresh(): void {
    if (this.#followsBackend) this.#report.model = this.model = this.#host.services.modelOf(this.backend)
  }

  /** Its backend computes a prompt. */
  computes(chain: ContextChain): void {
    this.#chain = chain
    this.#host.remember(this.backend, this.model, chain)
    if (!this.isReplicated) return
    const { services, tenant } = this.#host
    services.warmHeads.computed(this.backend, tenant, prefixMarks(chain), services.clock.nowMs())
  }

  /** The best backend that is not among these, and that takes requests now. */
  alternative(failedAt: ReadonlySet<string> | undefined): string | undefined {
    const { services } = this.#host
    const replicas = this.#places.map(({ backend }) => backend)
    const places = [this.#home, ...replicas, ...services.peersOf(this.#home), ...this.#definition.fallback]
    return places.find((place) => failedAt?.has(place) !== true && services.canServe(place))
  }

  /** Replicas that what waits may be moved to; undefined without any, and once it was moved often. */
  elsewhere(failedAt: ReadonlySet<string> | undefined, reroutes: number): string[] | undefined {
    if (!this.isReplicated || reroutes >= limits.reroutesMax) return undefined
    const replicas = this.#places.map(({ backend }) => backend)
    return replicas.filter((backend) => backend !== this.backend && failedAt?.has(backend) !== true)
  }

  #settleAt(backend: string): void {
    const { model } = this.#definition.requirements
    this.#sit(backend, model ?? this.#host.services.modelOf(backend), model === undefined)
  }

  #sit(backend: string, model: string, followsBackend: boolean): void {
    this.backend = this.#report.backend = backend
    this.model = this.#report.model = model
    this.#followsBackend = followsBackend
  }
}

const noPlaces: readonly Place[] = []
