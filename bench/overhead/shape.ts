// The workflows of the bench, and what a system that runs them looks like.

/**
 * A workflow as levels: every stage of a level waits for all stages of the level before it.
 *
 * Any system can be told this, also those that know no graphs.
 */
export interface Shape {
  name: string
  levels: readonly (readonly string[])[]
}

const many = (name: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${name}${i}`)

/** The three shapes, by name. */
export const shapes: readonly Shape[] = [
  { name: 'diamond', levels: [['a'], ['b', 'c'], ['d']] },
  { name: 'chain-10', levels: many('s', 10).map((stage) => [stage]) },
  { name: 'fan-out-1-8-1', levels: [['split'], many('part', 8), ['join']] },
]

/** Stages of a shape. */
export function stagesOf({ levels }: Shape): number {
  return levels.flat().length
}

/**
 * What every stage does: it calls the model, which answers at once, or when it is let.
 *
 * @param level - of the stage, from 0
 */
export type CallModel = (level: number) => 'ok' | Promise<'ok'>

/** A system with one workflow, ready to run it. */
export interface Opened {
  /** Runs the workflow once; resolves when all its stages are done. */
  run(): Promise<unknown>
  close?(): Promise<void>
}

/** A system that runs workflows. Each is one file. */
export interface System {
  /**
   * Opens it.
   *
   * @param limit - calls that may wait for one model at once, in systems that have such a limit
   */
  open(shape: Shape, call: CallModel, limit: number): Promise<Opened>
}
