// Prompts given as ids of hash blocks: equal ids are equal tokens, and equal beginnings before them.

import type { TokenSpan } from '../../../schema/message.ts'
import type { FileProblems, Place } from '../problems.ts'

/** Id of a block, as text: ids of 64 bits do not fit a number. */
export type BlockId = string

/** Ids of blocks, or a problem and undefined. */
export function blockIdsFrom(value: unknown, problems: FileProblems, place: Place): BlockId[] | undefined {
  if (!Array.isArray(value)) {
    problems.add(place, value === undefined ? 'missing' : 'not_a_list', 'a list of block ids is needed')
    return undefined
  }
  const ids: BlockId[] = []
  for (const id of value as unknown[]) {
    if (!(typeof id === 'number' && Number.isFinite(id)) && !(typeof id === 'string' && id.length <= 64)) {
      problems.add(place, 'not_an_id', `holds ${String(JSON.stringify(id)).slice(0, 60)}, which is no block id`)
      return undefined
    }
    ids.push(String(id))
  }
  return ids
}

/** One prompt as blocks. */
export interface BlockPrompt {
  /** Unique: names what only this prompt has. */
  id: string
  tokens: number
  blocks: readonly BlockId[]
}

/** What is wrong with the number of blocks, or undefined. A prompt's end need not have a block. */
export function blocksProblem({ tokens, blocks }: BlockPrompt, blockTokens: number): string | undefined {
  if (blocks.length === 0 || (blocks.length - 1) * blockTokens < tokens) return undefined
  return `holds ${blocks.length} blocks for ${tokens} tokens; with blocks of ${blockTokens} tokens that is too many (is the block size right?)`
}

/**
 * The prompt from block `first` on as spans, and where its answer lies: in a stream of its own, because the block that
 * the answer would complete has another id.
 */
export function blockSpans(prompt: BlockPrompt, blockTokens: number, first = 0): TokenSpan[] {
  const { id, tokens, blocks } = prompt
  const spans: TokenSpan[] = []
  for (let i = first; i < blocks.length; i++) {
    spans.push({ stream: `block ${blocks[i]!}`, from: 0, to: Math.min(blockTokens, tokens - i * blockTokens) })
  }
  const rest = tokens - Math.max(first, blocks.length) * blockTokens
  if (rest > 0) spans.push({ stream: `rest ${id}`, from: 0, to: rest })
  spans.push({ stream: `answer ${id}`, from: 0, to: 0 })
  return spans
}

/** Whole blocks that two prompts have in common from their beginning, and that both go beyond. */
export function commonBlocks(a: BlockPrompt, b: BlockPrompt, blockTokens: number): number {
  const most = Math.min(Math.floor((a.tokens - 1) / blockTokens), Math.floor((b.tokens - 1) / blockTokens))
  let common = 0
  while (common < most && a.blocks[common] !== undefined && a.blocks[common] === b.blocks[common]) common++
  return common
}
