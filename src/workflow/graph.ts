// Graph algorithms over stages by index. Iterative throughout: a chain of 100,000 stages must not overflow the stack.

/**
 * Cycles among stages, each as the stages on it in waiting order. One for each knot is found, not every combination.
 *
 * Linear: stages that can be ordered are peeled off first (Kahn); every stage left waits, directly or not, on a cycle.
 *
 * @param after - for each stage, the stages it waits for
 */
export function findCycles(after: readonly (readonly number[])[]): number[][] {
  const waiting = after.map((dependencies) => dependencies.length)
  const dependents: number[][] = after.map(() => [])
  after.forEach((dependencies, index) => dependencies.forEach((dependency) => dependents[dependency]!.push(index)))
  const ready: number[] = []
  waiting.forEach((count, index) => count === 0 && ready.push(index))
  for (let stage = ready.pop(); stage !== undefined; stage = ready.pop()) {
    for (const dependent of dependents[stage]!) if (--waiting[dependent]! === 0) ready.push(dependent)
  }

  const cycles: number[][] = []
  const visitedIn = new Map<number, number>()
  for (let start = 0; start < after.length; start++) {
    if (waiting[start] === 0 || visitedIn.has(start)) continue
    const path: number[] = []
    let at = start
    while (!visitedIn.has(at)) {
      visitedIn.set(at, start)
      path.push(at)
      // A stage that is left has a dependency that is left.
      at = after[at]!.find((dependency) => waiting[dependency]! > 0)!
    }
    if (visitedIn.get(at) === start) cycles.push(path.slice(path.indexOf(at)))
  }
  return cycles
}

/** One stage's part in a critical path. */
export interface TimedStage {
  name: string
  after: readonly string[]
  startedAtMs: number
  endedAtMs: number
}

/**
 * The chain of stages that decided how long a run took: from the stage that ended last, back along the dependency
 * that ended last.
 *
 * @returns stage names in the order they ran; empty for no stages
 */
export function criticalPath(stages: readonly TimedStage[]): string[] {
  const byName = new Map(stages.map((stage) => [stage.name, stage]))
  const last = (candidates: readonly TimedStage[]): TimedStage | undefined =>
    candidates.reduce<TimedStage | undefined>(
      (best, stage) => (best === undefined || stage.endedAtMs > best.endedAtMs ? stage : best),
      undefined,
    )
  const path: string[] = []
  for (let at = last(stages); at !== undefined && path.length <= stages.length;) {
    path.push(at.name)
    at = last(at.after.flatMap((name) => byName.get(name) ?? []))
  }
  return path.reverse()
}
