// Workload files for tests, and what two prompts have in common.

import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { OptionsError } from '../../../src/errors.ts'
import type { Message, TokenSpan } from '../../../src/schema/message.ts'
import { loadWorkload, type LoadOptions } from '../../../src/simulator/workloads/load.ts'
import { RunPlayer, type PlayLimits } from '../../../src/simulator/workloads/run-player.ts'
import type { Workload, WorkloadRun } from '../../../src/simulator/workloads/workload.ts'

const folder = mkdtempSync(join(tmpdir(), 'orla-workloads-'))
let files = 0

/** Writes a file and returns its path. */
export function fileOf(content: string | Uint8Array, name = 'trace.csv'): string {
  const path = join(mkdtempSync(join(folder, `${++files}-`)), name)
  writeFileSync(path, content)
  return path
}

/** Reads a workload from text. */
export function load(text: string | Uint8Array, options?: LoadOptions): Promise<Workload> {
  return loadWorkload(fileOf(text), options)
}

/** Compressed text. */
export function gz(text: string): Uint8Array {
  return gzipSync(text)
}

/** Problems of a file, as `place code`. */
export async function problemsOf(text: string | Uint8Array, options?: LoadOptions): Promise<string[]> {
  const path = fileOf(text)
  try {
    await loadWorkload(path, options)
  } catch (error) {
    if (error instanceof OptionsError) {
      return error.issues.map((issue) => `${issue.path.slice(path.length + 1)} ${issue.code}`)
    }
    throw error
  }
  return []
}

/** No limit but those that are given. */
export function limitsWith(limits: Partial<PlayLimits> = {}): PlayLimits {
  return { contextScale: 1, contextTokens: Infinity, turnsMax: Infinity, waitMsMax: Infinity, ...limits }
}

/** Every prompt of a step, each followed by the answer that the engine would generate. */
export function promptsOf(
  run: WorkloadRun,
  limits: Partial<PlayLimits> = {},
  step = 0,
): { prompt: TokenSpan[]; answer: TokenSpan; tokens: number }[] {
  const player = new RunPlayer(run, limitsWith(limits))
  const prompts: ReturnType<typeof promptsOf> = []
  for (let number = 1; ; number++) {
    const turn = player.turn(step, number)
    if (turn === undefined) return prompts
    const prompt = spansOf(turn.messages)
    const last = prompt.at(-1)!
    const answer = { stream: last.stream, from: last.to, to: last.to + turn.outputTokens }
    prompts.push({ prompt, answer, tokens: tokensOf(prompt) })
  }
}

function spansOf(messages: readonly Message[]): TokenSpan[] {
  return messages.map(({ span }) => span!)
}

/** Tokens of spans. */
export function tokensOf(spans: readonly TokenSpan[]): number {
  return spans.reduce((sum, { from, to }) => sum + to - from, 0)
}

/** Every token of spans by its identity: what an engine's cache compares, in its plainest form. */
export function identities(spans: readonly TokenSpan[]): string[] {
  return spans.flatMap(({ stream, from, to }) => Array.from({ length: to - from }, (_, i) => `${stream}\n${from + i}`))
}

/** Tokens that two lists have in common from the beginning. */
export function commonTokens(a: readonly TokenSpan[], b: readonly TokenSpan[]): number {
  const [first, second] = [identities(a), identities(b)]
  let common = 0
  while (common < first.length && common < second.length && first[common] === second[common]) common++
  return common
}
