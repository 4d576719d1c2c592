// The parts of the demonstration: what each is about, and what of a run it shows.
//
// Source: paper, section 3, examples 1 to 3.

import type { Topic } from '../view/describe.ts'
import type { PartNumber } from './options.ts'

/** How one showing looks. */
export interface Showing {
  /** One line above it; undefined for the whole demonstration. */
  note: string | undefined
  /** Topics shown line by line. */
  topics: ReadonlySet<Topic>
  /** Topics of the log on the screen, which has room for less. */
  screenTopics: ReadonlySet<Topic>
  /** Stages whose results are shown as they are, when the run is over. */
  results: readonly string[]
  /** Stages whose prompts are shown, when the run is over. */
  prompts: readonly string[]
  /** Whether cached tokens are shown turn by turn, when the run is over. */
  cachedByTurn: boolean
  /** Ids of the sample tickets that are run, one after the other, where none was asked for. */
  samples: readonly string[]
}

const all: readonly Topic[] = ['progress', 'turn', 'mapping', 'scheduling', 'context', 'tool', 'trouble']

/** The whole workflow, everything shown. */
const whole: Showing = {
  note: undefined,
  topics: new Set(all),
  screenTopics: new Set<Topic>(['mapping', 'scheduling', 'tool', 'trouble']),
  results: [],
  prompts: [],
  cachedByTurn: false,
  samples: [],
}

const parts: Readonly<Record<PartNumber, Showing>> = {
  1: {
    note: 'Part 1 of 3: stage mapping. A light model classifies, a heavy one does what needs tools and judgement.',
    topics: new Set<Topic>(['progress', 'mapping', 'trouble']),
    screenTopics: new Set<Topic>(['progress', 'mapping', 'trouble']),
    results: ['classify'],
    prompts: [],
    cachedByTurn: false,
    samples: [],
  },
  2: {
    note: 'Part 2 of 3: scheduling. Two stages share the heavy backend; priorities come from the classification.',
    topics: new Set<Topic>(['scheduling', 'tool', 'trouble']),
    screenTopics: new Set<Topic>(['scheduling', 'tool', 'trouble']),
    results: [],
    prompts: [],
    cachedByTurn: false,
    samples: [],
  },
  3: {
    note: 'Part 3 of 3: context and cache. Prompts grow out of results; the engine keeps what the next turn extends.',
    topics: new Set<Topic>(['context', 'trouble']),
    screenTopics: new Set<Topic>(['context', 'trouble']),
    results: [],
    prompts: ['reply'],
    cachedByTurn: true,
    samples: [],
  },
}

/**
 * What a part shows.
 *
 * @param paths - ids of sample tickets: one that is answered, one that is escalated; part 3 runs both
 */
export function showingOf(part: PartNumber | undefined, paths: readonly string[]): Showing {
  if (part === undefined) return whole
  return part === 3 ? { ...parts[3], samples: paths } : parts[part]
}
