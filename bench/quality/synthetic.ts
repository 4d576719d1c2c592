// Synthetic questions with synthetic labels, so that the bench can be run and tested without the file of real ones.
//
// Made by a seeded generator: nobody asked a model. Longer questions, and those with decimals and fractions, are drawn
// harder. What a mapper does on them shows that it works, and says nothing about real questions.

import { randomStream, type Random } from '../../src/clock.ts'
import type { Pair } from './pairs.ts'

const facts: ((n: number) => string)[] = [
  (n) => `A mill grinds ${n} sacks of grain a day.`,
  (n) => `Each of its ${n} workers, all told, eats 2 loaves.`,
  (n) => `A sack costs $${n}.75.`,
  (n) => `After ${n} days 1/3 of the sacks is gone.`,
  (n) => `The miller, who is "honest", gives ${n}% away.`,
  (n) => `If the river is low, it takes ${n} hours more.`,
]

/** Draws pairs: about 64 % of the weak model's answers are right, and 86 % of the strong one's, as in RouteLLM's GSM8K. */
export function syntheticPairs(count: number, seed: number): Pair[] {
  const random = randomStream(seed, 'synthetic')
  return Array.from({ length: count }, () => pair(random))
}

function pair(random: Random): Pair {
  const sentences = 1 + Math.floor(random() * 6)
  const told = Array.from({ length: sentences }, () => Math.floor(random() * facts.length))
  const prompt = [...told.map((which) => facts[which]!(2 + Math.floor(random() * 40))), 'How many sacks are left?']
  const hard = sentences / 12 + told.filter((which) => which === 2 || which === 3).length * 0.08
  return {
    prompt: prompt.join(' '),
    weakOk: random() > hard,
    strongOk: random() > hard * 0.35,
  }
}

/** Pairs in the form of the file, labelled as synthetic. */
export function csvOf(pairs: readonly Pair[]): string {
  const lines = pairs.map(({ prompt, weakOk, strongOk }) => {
    const text = `"${prompt.replaceAll('"', '""')}"`
    return `synthetic,,${text},${Number(weakOk)},${Number(strongOk)}`
  })
  return `${['set,subject,prompt,weak_ok,strong_ok', ...lines].join('\n')}\n`
}
