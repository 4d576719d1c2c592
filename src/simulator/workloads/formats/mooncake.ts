// Mooncake's traces (kvcache-ai/Mooncake): timestamp in ms, input_length, output_length, hash_ids of 512-token blocks.
//
// Requests by themselves, at their times. Equal ids are equal prefixes, whoever sent them.

import { sessionRun, singleTurn, type WorkloadRun } from '../workload.ts'
import { blockIdsFrom, blocksProblem, blockSpans } from './blocks.ts'
import { numberFrom, timeMsMax, tokensFrom } from './cells.ts'
import { TurnBudget, type WorkloadFormat } from './format.ts'
import { parseObject, readObjects } from './json-lines.ts'

const keys = ['timestamp', 'input_length', 'output_length', 'hash_ids']

/** Mooncake's traces. */
export const mooncakeFormat: WorkloadFormat = {
  name: 'Mooncake JSONL (timestamp,input_length,output_length,hash_ids)',
  begins(line) {
    const parsed = parseObject(line)
    return 'object' in parsed && keys.some((key) => key in parsed.object)
  },
  async read(lines, { problems, blockTokens }) {
    const budget = new TurnBudget(problems)
    const runs: WorkloadRun[] = []
    for await (const { line, object } of readObjects(lines, keys, problems)) {
      if (!budget.take(line)) break
      const at = (column: string): { line: number; column: string } => ({ line, column })
      const atMs = numberFrom(object['timestamp'], { problems, place: at('timestamp'), max: timeMsMax })
      const tokens = tokensFrom(object['input_length'], problems, at('input_length'))
      const output = tokensFrom(object['output_length'], problems, at('output_length'))
      const blocks = blockIdsFrom(object['hash_ids'], problems, at('hash_ids'))
      if (atMs === undefined || tokens === undefined || output === undefined || blocks === undefined) continue
      const prompt = { id: `request-${line}`, tokens: Math.max(1, tokens), blocks }
      const problem = blocksProblem(prompt, blockTokens)
      if (problem !== undefined) {
        problems.add(at('hash_ids'), 'blocks', problem)
        continue
      }
      runs.push(sessionRun(prompt.id, [singleTurn(blockSpans(prompt, blockTokens), Math.max(1, output))], atMs))
    }
    runs.sort((a, b) => a.arrivalMs! - b.arrivalMs!)
    return { source: 'kvcache-ai/Mooncake, request trace', runs }
  },
}
