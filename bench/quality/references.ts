// What no mapper could do: decisions made from the labels themselves, to compare with. They are no mappers, and their rows
// say that they look.

import { randomStream } from '../../src/clock.ts'
import type { Grade } from './pairs.ts'
import type { Decisions } from './mappers.ts'

/** Decisions from labels, at every setting of a knob. */
export interface Reference {
  name: string
  decide(grades: readonly Grade[], seed: number): Decisions[]
}

/** Whoever gains by the strong model goes there first, whoever loses last. */
const oracle: Reference = {
  name: 'oracle',
  decide(grades) {
    const gain = ({ weakOk, strongOk }: Grade): number => Number(strongOk) - Number(weakOk)
    const order = grades.map((grade, i) => ({ i, gain: gain(grade) })).toSorted((a, b) => b.gain - a.gain)
    return Array.from({ length: 41 }, (_, k) => {
      const decisions = new Uint8Array(grades.length)
      for (const { i } of order.slice(0, Math.round((grades.length * k) / 40))) decisions[i] = 1
      return decisions
    })
  },
}

/**
 * A simulated one-bit router: it says "complex" or "simple" rightly with a stated chance, where complex is what the weak model
 * answers wrong.
 */
function simulatedOneBit(rightShare: number): Reference {
  return {
    name: `one-bit, simulated, right ${Math.round(rightShare * 100)} %`,
    decide(grades, seed) {
      const random = randomStream(seed, `one-bit ${rightShare}`)
      return [Uint8Array.from(grades, ({ weakOk }) => (random() < rightShare === !weakOk ? 1 : 0))]
    },
  }
}

/** All of them. */
export const references: readonly Reference[] = [...[0.6, 0.7, 0.8, 0.9].map(simulatedOneBit), oracle]
