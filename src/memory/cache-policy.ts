// Cache policies: what becomes of a run's context at the boundaries of its stages
//
// A policy is a small object. It is asked at each boundary and under pressure, and answers with what it wants and why;
// what a backend can do about it is the memory manager's business (actions.ts). Without an answer the engine's own
// eviction goes on as it does.

/** Where in a run a policy is asked. */
export type Boundary =
  /** A turn is ready and goes to a backend where the run was before, or to another. */
  | 'request'
  /** A turn's answer is complete. */
  | 'answer'
  /** The run is over. */
  | 'end'

/** What a policy sees at a boundary. */
export interface BoundaryView {
  readonly boundary: Boundary
  readonly runId: string
  /** Stage that asks or has asked; undefined at the end. */
  readonly stage: string | undefined
  /** Backend and model of the context in question: at `request` where the turn goes, at `end` each place in turn. */
  readonly backend: string
  readonly model: string
  /** Tokens of the run believed resident there. */
  readonly residentTokens: number
  /** Tokens that the turn adds to what the run had there; 0 but at `request`. */
  readonly addedTokens: number
  /** Where the run's last request went, when that was another backend or model. */
  readonly previous: { backend: string; model: string; residentTokens: number } | undefined
}

/** What a policy wants. */
export interface CacheVerdict {
  /**
   * `keep`: it is wanted again; `release`: let go of the run's context; `flush`: the same, by emptying the whole cache
   * where there is no finer way and no other run needs it; `flushAll`: empty it whoever needs it.
   */
  want: 'keep' | 'release' | 'flush' | 'flushAll'
  backend: string
  /** In words for a person. */
  reason: string
  figures: Readonly<Record<string, number>>
}

/** A run that could give room, as policies see it under pressure. */
export interface PressedRun {
  readonly runId: string
  readonly tokens: number
  readonly residency: 'running' | 'queued' | 'tool' | 'idle'
  /** Ms since it was last touched. */
  readonly idleMs: number
}

/** How full a backend is. */
export interface Pressure {
  readonly backend: string
  /** 0..1 and above. */
  readonly utilisation: number
  /** Where the figure comes from: the engine's own metrics, or the ledger over the window's tokens. */
  readonly source: 'engine' | 'ledger'
  readonly capacityTokens: number
  /** Runs with context there, the one touched longest ago first. */
  readonly runs: readonly PressedRun[]
}

/** Decides what becomes of contexts. */
export interface CachePolicy {
  readonly name: string
  /** Asked at each boundary; undefined leaves it to the next policy, and at last to the engine. */
  atBoundary?(view: BoundaryView): CacheVerdict | undefined
  /** Runs to let go of, in this order, until the pressure is relieved. */
  underPressure?(pressure: Pressure): { runId: string; reason: string }[]
}

/** Policies in order: the first that answers decides. */
export function chain(name: string, policies: readonly CachePolicy[]): CachePolicy {
  return {
    name,
    atBoundary(view) {
      for (const policy of policies) {
        const verdict = policy.atBoundary?.(view)
        if (verdict !== undefined) return verdict
      }
      return undefined
    },
    underPressure(pressure) {
      for (const policy of policies) {
        const victims = policy.underPressure?.(pressure)
        if (victims !== undefined && victims.length > 0) return victims
      }
      return []
    },
  }
}
