// One caller in a process of its own. Its name is the first argument.

import { answer } from '../lib/child.ts'
import { costOf, inLanesFor, type Cost } from '../lib/cost.ts'
import type { Caller } from './caller.ts'
import { callers } from './callers.ts'

/** What a child can be asked. */
export interface Question {
  origin: string
  concurrency: number
  forMs: number
  /** Characters that every answer must have. */
  characters: number
}

const entry = callers[process.argv[2] ?? '']!
const kind = await entry.load()

const opened = new Map<string, Promise<Caller>>()

answer<Question, Cost>(async ({ origin, concurrency, forMs, characters }) => {
  const key = `${origin} ${concurrency}`
  const opening = opened.get(key) ?? kind.open({ origin, watches: entry.watches, concurrency })
  opened.set(key, opening)
  const caller = await opening
  const work = async (): Promise<number> => {
    const turns = await inLanesFor(forMs, concurrency, async () => {
      const found = await caller.once()
      if (found !== characters) throw new Error(`an answer has ${found} characters instead of ${characters}`)
    })
    return turns * caller.callsPerTurn
  }
  // As in `overhead`: each pays for the garbage it makes, and none begins with compiled code dropped.
  return costOf(work, { collect: false })
})
