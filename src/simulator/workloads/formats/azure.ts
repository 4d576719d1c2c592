// Azure's inference traces (Azure/AzurePublicDataset, 2023 and 2024): TIMESTAMP, ContextTokens, GeneratedTokens.
//
// Requests by themselves, at their times. Nothing says what prompts have in common, so nothing is shared.

import type { FileProblems, Place } from '../problems.ts'
import { sessionRun, singleTurn, type WorkloadRun } from '../workload.ts'
import { tokensFrom } from './cells.ts'
import { TurnBudget, type WorkloadFormat } from './format.ts'
import { hasColumns, readTable } from './table.ts'

const columns = { TIMESTAMP: true, ContextTokens: true, GeneratedTokens: true } as const

/** Azure's inference traces. */
export const azureFormat: WorkloadFormat = {
  name: 'Azure CSV (TIMESTAMP,ContextTokens,GeneratedTokens)',
  begins: (line) => hasColumns(line, ['ContextTokens']) || hasColumns(line, ['GeneratedTokens']),
  async read(lines, { problems }) {
    const budget = new TurnBudget(problems)
    const rows: { atMs: number; prompt: number; output: number }[] = []
    for await (const { line, cells } of readTable(lines, columns, problems)) {
      if (!budget.take(line)) break
      const atMs = timeFrom(cells.TIMESTAMP, problems, { line, column: 'TIMESTAMP' })
      const prompt = tokensFrom(cells.ContextTokens, problems, { line, column: 'ContextTokens' })
      const output = tokensFrom(cells.GeneratedTokens, problems, { line, column: 'GeneratedTokens' })
      if (atMs === undefined || prompt === undefined || output === undefined) continue
      // An engine computes and generates at least a token.
      rows.push({ atMs, prompt: Math.max(1, prompt), output: Math.max(1, output) })
    }
    rows.sort((a, b) => a.atMs - b.atMs)
    const startMs = rows[0]?.atMs ?? 0
    const runs = rows.map(({ atMs, prompt, output }, i): WorkloadRun => {
      const id = `request-${i + 1}`
      return sessionRun(id, [singleTurn([{ stream: id, from: 0, to: prompt }], output)], atMs - startMs)
    })
    return { source: 'Azure/AzurePublicDataset, LLM inference trace', runs }
  },
}

const timestamp = /^(\d{4})-(\d{2})-(\d{2})[ T](\d{2}):(\d{2}):(\d{2})(\.\d+)?(?:Z|\+00:00)?$/

/** Milliseconds of a time in UTC, with its fraction, or a problem and undefined. */
function timeFrom(text: string | undefined, problems: FileProblems, place: Place): number | undefined {
  const match = timestamp.exec(text ?? '')
  const [year, month, day, hour, minute, second] = (match ?? []).slice(1, 7).map(Number)
  const ms = Date.UTC(year!, month! - 1, day, hour, minute, second)
  if (match !== null && Number.isFinite(ms)) return ms + Number(match[7] ?? 0) * 1_000
  problems.add(place, 'not_a_time', `is ${JSON.stringify(text)}; a time such as 2023-11-16 18:17:03.97 is needed`)
  return undefined
}
