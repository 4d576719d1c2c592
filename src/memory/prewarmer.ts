// Prewarming: computing the known beginning of a stage's prompt at its backend before the stage asks for it
//
// Owns: what is foreseen at each backend and not asked for yet, whose prompts an engine computes, which prefill is under
// way, and how often what was foreseen of a stage class was asked for.
// Does not own: where prompts come from, or how a prefill is carried out (runtime).
// Invariants
//   P1. At most one prefill is under way at a backend, and none begins while a request waits there or its prompt is being
//       computed: prefill that nobody waits for must not make anybody wait.
//   P2. What is foreseen is forgotten when it is asked for, when its run ends, and beyond `foreseenMax`, the oldest first.
//   P3. A prefill is worth it while likelihood x (share not there) x its time exceeds what one more request costs.

/** A prompt's beginning that a stage is about to ask for. */
export interface Foreseen {
  runId: string
  stage: string
  /** `workflow/stage`. */
  stageClass: string
  backend: string
  model: string
  /** Estimated. */
  tokens: number
  /** `run`: the run's own conversation; `class`: what all prompts of the stage class begin with. */
  of: 'run' | 'class'
}

/** What is known of the backend that it is foreseen at. */
export interface PrewarmKnowledge {
  /** Tokens of the run's own context there: computed already, if the engine still has them. */
  residentTokens: number
  /** Ms since the stage class was last served there: its common beginning was used then. Infinity if never. */
  idleMs: number
  /** Chance that a prefix untouched for so long is still there. */
  survival(awayMs: number): number
  /** Ms of the engine to compute so many tokens. */
  reloadMs(tokens: number): number
  /** Tokens that the KV window has room for; Infinity without one. */
  roomTokens: number
}

/** A decision to prefill. */
export interface Prewarm extends Foreseen {
  reason: string
  figures: Readonly<Record<string, number>>
}

/** Foreseen prompts that are kept, over all backends. */
const foreseenMax = 1_024
/** Stage classes whose likelihood is kept. */
const classesMax = 1_024
/** What one more request costs an engine besides its prompt, ms: a step, HTTP, template and tokenizer (the presets). */
const requestMs = 60
/** Likelihood of a stage class of which nothing is known: most stages that are next are taken. */
const likelihoodPrior = 0.9
/** Weight of one more outcome in a class's likelihood. */
const likelihoodWeight = 0.1

/** Decides what is computed ahead, where and when. */
export class Prewarmer {
  /** By run and stage, oldest first. */
  readonly #foreseen = new Map<string, Foreseen>()
  /** What was begun or done and not asked for yet: its class learns from what becomes of it. */
  readonly #done = new Map<string, Foreseen>()
  readonly #underWay = new Map<string, Foreseen>()
  /** Requests by backend that wait, or whose prompts are being computed. */
  readonly #atWork = new Map<string, Set<string>>()
  readonly #likelihood = new Map<string, number>()
  /** When a stage class was last served, by class and backend, ms. */
  readonly #servedAtMs = new Map<string, number>()

  /** Prompts foreseen that wait for an idle engine. */
  get size(): number {
    return this.#foreseen.size
  }

  /** A stage is about to ask. Replaces what was foreseen of it before. */
  foresee(foreseen: Foreseen): void {
    const key = keyOf(foreseen)
    this.#foreseen.delete(key)
    this.#foreseen.set(key, foreseen)
    bound(this.#foreseen, foreseenMax)
  }

  /** A request asks at a backend. Returns the prefill under way there, and whether it is for this request. */
  asked(runId: string, stage: string, backend: string): (Foreseen & { isOwn: boolean }) | undefined {
    const key = keyOf({ runId, stage })
    let requests = this.#atWork.get(backend)
    if (requests === undefined) this.#atWork.set(backend, (requests = new Set()))
    requests.add(key)
    this.#foreseen.delete(key)
    this.#settle(key, true)
    const underWay = this.#underWay.get(backend)
    return underWay === undefined ? undefined : { ...underWay, isOwn: keyOf(underWay) === key }
  }

  /** A request has its first token, or is over without one. */
  computed(runId: string, stage: string, backend: string): void {
    this.#atWork.get(backend)?.delete(keyOf({ runId, stage }))
  }

  /** A stage class was served at a backend. */
  served(stageClass: string, backend: string, nowMs: number): void {
    const key = `${stageClass}\n${backend}`
    this.#servedAtMs.delete(key)
    this.#servedAtMs.set(key, nowMs)
    bound(this.#servedAtMs, classesMax)
  }

  /** Ms since a stage class was last served at a backend; Infinity if never. */
  idleMs(stageClass: string, backend: string, nowMs: number): number {
    const atMs = this.#servedAtMs.get(`${stageClass}\n${backend}`)
    return atMs === undefined ? Infinity : nowMs - atMs
  }

  /** What to prefill at a backend now; it is under way from then on. What is not worth it is forgotten. */
  next(backend: string, knowledgeOf: (foreseen: Foreseen) => PrewarmKnowledge): Prewarm | undefined {
    if (this.#underWay.has(backend) || (this.#atWork.get(backend)?.size ?? 0) > 0) return undefined
    for (const [key, foreseen] of this.#foreseen) {
      if (foreseen.backend !== backend) continue
      this.#foreseen.delete(key)
      const prewarm = this.#weigh(foreseen, knowledgeOf(foreseen))
      if (prewarm === undefined) continue
      this.#underWay.set(backend, foreseen)
      this.#done.set(key, foreseen)
      bound(this.#done, foreseenMax)
      return prewarm
    }
    return undefined
  }

  /** The prefill under way at a backend is over. */
  ended(backend: string): void {
    this.#underWay.delete(backend)
  }

  /** A backend's cache was emptied: nothing is there that was served. */
  emptied(backend: string): void {
    for (const key of this.#servedAtMs.keys()) if (key.endsWith(`\n${backend}`)) this.#servedAtMs.delete(key)
  }

  /** A run is over. Returns prefills for it that are under way. */
  forget(runId: string): Foreseen[] {
    for (const [key, foreseen] of this.#foreseen) if (foreseen.runId === runId) this.#foreseen.delete(key)
    for (const [key, foreseen] of this.#done) if (foreseen.runId === runId) this.#settle(key, false)
    for (const requests of this.#atWork.values()) {
      for (const key of requests) if (key.startsWith(`${runId}\n`)) requests.delete(key)
    }
    return [...this.#underWay.values()].filter((foreseen) => foreseen.runId === runId)
  }

  #weigh(foreseen: Foreseen, knowledge: PrewarmKnowledge): Prewarm | undefined {
    const { tokens, stageClass } = foreseen
    const { idleMs, residentTokens, roomTokens } = knowledge
    if (tokens > roomTokens) return undefined
    const there = foreseen.of === 'class' && Number.isFinite(idleMs) ? knowledge.survival(idleMs) : 0
    const missingTokens = Math.max(0, tokens - residentTokens) * (1 - there)
    const likelihood = this.#likelihood.get(stageClass) ?? likelihoodPrior
    const savedMs = likelihood * knowledge.reloadMs(missingTokens)
    if (savedMs <= requestMs) return undefined
    const reason = `"${foreseen.stage}" is next, with ${tokens} tokens known: ${Math.round(savedMs)} ms are expected to be saved`
    return { ...foreseen, reason, figures: { savedMs: Math.round(savedMs), likelihood, missingTokens } }
  }

  #settle(key: string, asked: boolean): void {
    const foreseen = this.#done.get(key)
    if (foreseen === undefined) return
    this.#done.delete(key)
    const before = this.#likelihood.get(foreseen.stageClass) ?? likelihoodPrior
    this.#likelihood.set(foreseen.stageClass, before + (Number(asked) - before) * likelihoodWeight)
    bound(this.#likelihood, classesMax)
  }
}

function keyOf({ runId, stage }: Pick<Foreseen, 'runId' | 'stage'>): string {
  return `${runId}\n${stage}`
}

function bound(map: Map<string, unknown>, max: number): void {
  if (map.size > max) map.delete(map.keys().next().value!)
}
