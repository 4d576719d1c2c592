// Bare XState: one machine actor a run, a state a level, an invoked promise a stage; parallel regions where a level has
// several.

import { createActor, fromPromise, setup, toPromise } from 'xstate'
import type { System } from './shape.ts'

/** The system. */
export const system: System = {
  open({ levels }, call) {
    const made = setup({
      actors: { call: fromPromise<'ok', number>(({ input }) => Promise.resolve(call(input))) },
    })
    const states = levels.map((stages, level) => {
      const target = level + 1 < levels.length ? `level${level + 1}` : 'done'
      if (stages.length === 1) return { invoke: { src: 'call' as const, input: level, onDone: { target } } }
      const region = {
        initial: 'calling',
        states: {
          calling: { invoke: { src: 'call' as const, input: level, onDone: { target: 'called' } } },
          called: { type: 'final' as const },
        },
      }
      return {
        type: 'parallel' as const,
        states: Object.fromEntries(stages.map((stage) => [stage, region])),
        onDone: { target },
      }
    })
    const machine = made.createMachine({
      initial: 'level0',
      states: {
        ...Object.fromEntries(states.map((state, level) => [`level${level}`, state])),
        done: { type: 'final' as const },
      },
    })
    return Promise.resolve({ run: () => toPromise(createActor(machine).start()) })
  },
}
