// What a stage's functions see, and the conversation it starts from.

import type { Message } from '../schema/message.ts'
import type { StageContext, StageDefinition } from './definition.ts'

/**
 * Context of a stage: the run's input, and results of its declared dependencies only. Undeclared reads give undefined
 * for every run alike, instead of depending on which stage happened to finish first.
 *
 * @param resultOf - results of completed stages by index; undefined for a skipped one
 */
export function stageContext(
  stages: readonly StageDefinition[],
  stage: StageDefinition,
  input: unknown,
  resultOf: readonly unknown[],
): StageContext {
  return { input, results: resultsByName(stages, stage.after, resultOf) }
}

/**
 * An object with nothing to inherit. `Object.create(null)` makes a dictionary, which takes 0.19 us to make and freeze; what
 * a constructor makes takes 0.04 (Node 24).
 */
const Results = function () {} as unknown as { new (): Record<string, unknown>; prototype: unknown }
Results.prototype = Object.freeze(Object.create(null))

const noResults: Readonly<Record<string, unknown>> = Object.freeze(new Results())

/** Results of the given stages by name, on an object that inherits nothing. */
export function resultsByName(
  stages: readonly StageDefinition[],
  indexes: readonly number[],
  resultOf: readonly unknown[],
): Readonly<Record<string, unknown>> {
  if (indexes.length === 0) return noResults
  const results = new Results()
  for (const index of indexes) results[stages[index]!.name] = resultOf[index]
  return Object.freeze(results)
}

/**
 * Conversations of several parents as one: the first whole, of each further one what goes beyond the part it shares
 * with what is there. Messages are the same objects, so the shared prefix stays a prefix for engines and counters.
 */
export function joinConversations(conversations: readonly (readonly Message[])[]): readonly Message[] {
  const [first, ...rest] = conversations
  if (first === undefined) return []
  if (rest.length === 0) return first
  const joined = [...first]
  for (const conversation of rest) {
    let shared = 0
    while (shared < conversation.length && conversation[shared] === joined[shared]) shared++
    joined.push(...conversation.slice(shared))
  }
  return joined
}
