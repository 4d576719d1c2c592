// What is learned of one stage class: for each backend what its answers are worth, cost and take
//
// Owns: a regression of rating, cost and time for each backend, and the account of exploration.
// Does not own: features (callers make them), which backends may serve (callers ask).
// Invariants
//   B1. Of the first n decisions at most `explore` * n are not the best guess; of any n in a row at most `explore` * n + 10.
//       What it explored in another process counts there.
//   B2. At most `learnedArmsMax` backends; the one decided for longest ago goes first.
//   B3. What is learned of one model is not used for another of the same backend.

import { limits } from '../limits.ts'
import type { LearnedClassData } from './learned-data.ts'
import { Ridge } from './ridge.ts'

/** How to weigh and to learn; `LearnedOptions` explains each. */
export interface LearnedPlan {
  costWeight: number
  latencyWeight: number
  explore: number
  optimism: number
  priorQuality: number
  ridge: number
  halfLife: number
}

/** What may be chosen, a backend or a model, with what is guessed of it before anything was seen. */
export interface ArmView {
  name: string
  model: string
  /** 0..1; absent: the plan's. */
  quality?: number
  /** Dollars that a request costs there, before any was seen. */
  costUsd: number
}

/** What is expected of a backend. */
export interface Expectation {
  view: ArmView
  /** Expected rating, times the share of stages that complete. */
  quality: number
  costUsd: number
  seconds: number
  /** Quality less weighted cost and time. */
  reward: number
  /** How much more it may be, times `optimism`. */
  bonus: number
}

/** A choice and why. */
export interface Choice {
  chosen: Expectation
  /** The best guess: another than `chosen` where it was explored. */
  best: Expectation
}

/** What became of a decision; absent parts teach nothing. */
export interface Lesson {
  completed?: boolean
  /** 0..1 */
  rating?: number
  costUsd?: number
  seconds?: number
}

interface Arm {
  /** Undefined: not known yet, that of whoever is asked about next. */
  model: string | undefined
  completed: number
  failed: number
  /** What the regressions are relative to. */
  readonly guess: { quality: number; costUsd: number }
  readonly quality: Ridge
  readonly cost: Ridge
  readonly seconds: Ridge
}

/** Explorations that may be saved up. */
const creditMax = 10
/** A tenth ten times is a little less than one. */
const rounding = 1e-9

/** One stage class. */
export class LearnedClass {
  /** Features of a request, the constant that stands before them included. */
  readonly dimension: number
  readonly #plan: LearnedPlan
  /** Outcomes that fade at once: all regressions must be solved again after it. A 64th of the half-life is not noticed. */
  readonly #fadesEvery: number
  /** By name, in order of last use. */
  readonly #arms = new Map<string, Arm>()
  #decisions = 0
  #explored = 0
  /** Outcomes since what was known faded. */
  #unfaded = 0
  /** Explorations that are saved up. */
  #credit = 0
  /** Credit at which it explores next: above one by chance, so as not to follow the rhythm of those who ask. */
  #exploresAt = 1

  constructor(dimension: number, plan: LearnedPlan) {
    this.dimension = dimension
    this.#plan = plan
    this.#fadesEvery = Math.max(1, Math.floor(plan.halfLife / 64))
  }

  /** Decisions so far. */
  get decisions(): number {
    return this.#decisions
  }

  /** Decisions that were not the best guess. */
  get explored(): number {
    return this.#explored
  }

  /** What is expected of each, in their order. */
  expect(features: readonly number[], views: readonly ArmView[]): Expectation[] {
    const { costWeight, latencyWeight, optimism } = this.#plan
    // Where nobody rates anything, trying others says nothing of their quality.
    const isRated = this.#arms.values().some(({ quality }) => quality.weight > 0)
    return views.map((view) => {
      const { guess, quality, cost, seconds, completed, failed } = this.#known(view) ?? this.#newArm(view)
      const expected = {
        // One completed stage stands before those that were seen: nothing is taken for broken unseen.
        quality: (guess.quality + quality.predict(features)) * ((completed + 1) / (completed + failed + 1)),
        costUsd: guess.costUsd + cost.predict(features),
        seconds: seconds.predict(features),
      }
      const reward = expected.quality - costWeight * expected.costUsd - latencyWeight * expected.seconds
      // A guess of cost may be wrong by all of it: a backend that looks too dear must not stay unknown for that.
      const doubt =
        (isRated ? quality.width(features) : 0) + costWeight * guess.costUsd * Math.min(1, cost.width(features))
      return { view, ...expected, reward, bonus: optimism * doubt }
    })
  }

  /**
   * Chooses what is expected to be best; or, where the account of exploration allows it, what is best if one hopes (LinUCB:
   * the highest sum of reward and bonus).
   *
   * @param views - at least one; the first of equal ones is taken
   * @param random - what chance says, 0..1
   */
  choose(features: readonly number[], views: readonly ArmView[], random: () => number): Choice {
    const expected = this.expect(features, views)
    const best = mostBy(expected, ({ reward }) => reward)
    const { explore } = this.#plan
    this.#decisions++
    this.#credit = Math.min(creditMax, this.#credit + explore)
    const mayExplore = this.#credit >= this.#exploresAt - rounding
    const chosen = mayExplore ? mostBy(expected, ({ reward, bonus }) => reward + bonus) : best
    if (chosen !== best) {
      this.#explored++
      this.#credit -= 1
      this.#exploresAt = 1 + random()
    }
    this.#touch(chosen.view)
    return { chosen, best }
  }

  /** The best guess, and nothing else: no account, no memory of having been asked. */
  best(features: readonly number[], views: readonly ArmView[]): Choice {
    const best = mostBy(this.expect(features, views), ({ reward }) => reward)
    return { chosen: best, best }
  }

  #touch(view: ArmView): void {
    const arm = this.#known(view) ?? this.#newArm(view)
    arm.model ??= view.model
    this.#arms.delete(view.name)
    this.#arms.set(view.name, arm)
    this.#bound()
  }

  /** Learns from what became of a decision. One for a backend that was forgotten, or has another model now, is left out. */
  learn(features: readonly number[], name: string, model: string, lesson: Lesson): void {
    const arm = this.#arms.get(name)
    if (arm === undefined || (arm.model ?? model) !== model) return
    // Ratings that come later are of the same time as what they rate.
    if (lesson.completed !== undefined && ++this.#unfaded >= this.#fadesEvery) this.#fade()
    this.#take(arm, features, lesson)
  }

  /** Learns from the past: nothing of it counts less than the rest. */
  learnExample(features: readonly number[], name: string, model: string | undefined, lesson: Lesson): void {
    let arm = this.#arms.get(name)
    if (arm === undefined) {
      arm = this.#emptyArm(model, { quality: this.#plan.priorQuality, costUsd: 0 })
      this.#arms.set(name, arm)
      this.#bound()
    }
    if (arm.model === model) this.#take(arm, features, lesson)
  }

  /** What was known of all backends counts a little less: those that nothing is heard of become worth exploring again. */
  #fade(): void {
    const keep = 0.5 ** (this.#unfaded / this.#plan.halfLife)
    this.#unfaded = 0
    for (const arm of this.#arms.values()) {
      arm.completed *= keep
      arm.failed *= keep
      for (const regression of [arm.quality, arm.cost, arm.seconds]) regression.fade(keep)
    }
  }

  #take(arm: Arm, features: readonly number[], { completed, rating, costUsd, seconds }: Lesson): void {
    if (completed === true) arm.completed++
    if (completed === false) arm.failed++
    if (rating !== undefined) arm.quality.observe(features, rating - arm.guess.quality)
    if (costUsd !== undefined) arm.cost.observe(features, costUsd - arm.guess.costUsd)
    if (seconds !== undefined) arm.seconds.observe(features, seconds)
  }

  /** What it knows, as plain data. */
  export(stageClass: string): LearnedClassData {
    return {
      stageClass,
      dimension: this.dimension,
      decisions: this.#decisions,
      explored: this.#explored,
      unfaded: this.#unfaded,
      arms: [...this.#arms].map(([name, { model, completed, failed, guess, quality, cost, seconds }]) => ({
        name,
        ...(model !== undefined && { model }),
        completed,
        failed,
        guess: { ...guess },
        quality: quality.export(),
        cost: cost.export(),
        seconds: seconds.export(),
      })),
    }
  }

  /** Takes over what another knew. Returns the path of sums that cannot be, if any. */
  import({ decisions, explored, unfaded, arms }: LearnedClassData): string | undefined {
    this.#decisions = decisions
    this.#explored = explored
    this.#unfaded = unfaded
    for (const [i, { name, model, completed, failed, guess, ...sums }] of arms.entries()) {
      const arm = { ...this.#emptyArm(model, guess), completed, failed }
      for (const part of ['quality', 'cost', 'seconds'] as const) {
        if (!arm[part].import(sums[part])) return `arms[${i}].${part}`
      }
      this.#arms.set(name, arm)
    }
    return undefined
  }

  #bound(): void {
    if (this.#arms.size > limits.learnedArmsMax) this.#arms.delete(this.#arms.keys().next().value!)
  }

  /** What is known of a backend with the model that it has now. */
  #known({ name, model }: ArmView): Arm | undefined {
    const arm = this.#arms.get(name)
    return arm !== undefined && (arm.model ?? model) === model ? arm : undefined
  }

  #newArm({ model, quality, costUsd }: ArmView): Arm {
    return this.#emptyArm(model, { quality: quality ?? this.#plan.priorQuality, costUsd })
  }

  #emptyArm(model: string | undefined, guess: Arm['guess']): Arm {
    const regression = (): Ridge => new Ridge(this.dimension, this.#plan.ridge)
    return {
      model,
      completed: 0,
      failed: 0,
      guess,
      quality: regression(),
      cost: regression(),
      seconds: regression(),
    }
  }
}

function mostBy(expected: readonly Expectation[], figure: (each: Expectation) => number): Expectation {
  return expected.reduce((most, each) => (figure(each) > figure(most) ? each : most))
}
