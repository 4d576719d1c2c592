// The page of the fault matrix, from the table that the tests hold the drivers to.

import { faultCatalogue, faultEntry, faultNames, type FaultName } from '../src/simulator/faults/catalogue.ts'
import {
  expectedThrough,
  matrixCallers,
  matrixCells,
  matrixDrivers,
  matrixRows,
  type Expected,
  type MatrixRow,
} from '../test/faults/cells.ts'

/** The page as Markdown. */
export function faultMatrix(): string {
  const expected = matrixDrivers.flatMap((driver) => matrixRows.map((row) => expectedThrough(driver, row)))
  const cellsOf = (outcome: Expected['outcome']): number =>
    expected.filter((cell) => cell.outcome === outcome).length * matrixCallers.length
  return `# What becomes of faults

<!-- Written by docs/make.ts from test/faults/cells.ts. Change the table there, and run: npm run docs -->

A simulated front breaks its answers in every way below, and every driver (${matrixDrivers.join(', ')}) meets
each of them, once under a caller that looks at every token and once under one that waits for the result:
${group(matrixCells)} cells, each a run through the whole runtime. test/faults/matrix.test.ts holds every cell to this page.

| outcome | cells |
| --- | ---: |
| fails with the code that is said below | ${group(cellsOf('error'))} |
| gives the true answer in spite of the fault | ${group(cellsOf('ok'))} |
| cannot be told from a true answer (B35) | ${group(cellsOf('unseen'))} |
| **false success**: a result that is not the true answer | **0** |

A fault strikes before the first piece of the answer (*first*), in the middle of its text (*middle*), or after its last
piece and before its finish reason (*last*). Faults that come instead of an answer have no place. *Again* marks errors
that are retryable: the same request may succeed elsewhere or later. Whether the caller streams or waits changes no cell.

Ask for any of them by a rule (\`simulated({ faults: [{ when: { nth: 3 }, fault: 'B6', at: 'middle' }] })\`) or, of a front
that has a plan, by the header of a request (\`x-orla-fault: B6;kind=done;at=middle\`).

| fault | kind | first | middle | last |
| --- | --- | --- | --- | --- |
${faultNames.flatMap(linesOf).join('\n')}

Remarks

- B14: bytes that are no UTF-8 are replaced by U+FFFD, as the platform's decoder does it; the rest of the answer is true,
  and \`stage.released\` carries the note \`invalid_utf8\`.
- B29: a call whose arguments are no JSON, or do not match the tool, is answered with an error that the model can repair;
  these engines repeat it until the turns are used up. Calls are never completed by guessing.
- B31: the text arrives as the model wrote it. Screens and logs make it harmless when they show it.
- B35: a whole and sound answer to another request. The connection is never used for two requests at once, and never
  again after a surplus byte (B10), so an engine cannot cause it; a proxy that mixes up its clients can. vLLM and SGLang
  repeat the id of the request, and there it fails with \`ORLA_BACKEND_PROTOCOL\`, retryable; the plain OpenAI wire has no
  field that would tell.
- B36 and B37 strike metrics and cache commands, not answers: test/faults/beside.test.ts.
- B38: an answer that names another model than the one before carries the note \`model_changed\` in \`stage.released\`, and
  the memory manager forgets what the engine before it held.
`
}

function linesOf(fault: FaultName): string[] {
  const { kinds, place } = faultEntry(fault)
  const { title } = faultCatalogue[fault]
  if (place === 'beside') return [`| **${fault}** ${title} | ${kinds.join(', ')} | no answer is touched | | |`]
  return kinds.map((kind, i) => {
    const rows = matrixRows.filter((row) => row.fault === fault && row.kind === kind)
    const cell = (at: string): string => {
      const row = rows.find((candidate) => candidate.at === at)
      return row === undefined ? '' : wordsOf(row)
    }
    return `| ${i === 0 ? `**${fault}** ${title}` : ''} | ${kind} | ${cell('first')} | ${cell('middle')} | ${cell('last')} |`
  })
}

function wordsOf({ expected, fault, kind }: MatrixRow): string {
  switch (expected.outcome) {
    case 'ok':
      if (expected.inserted === undefined) return 'true answer'
      if (kind === 'invalid') return 'true answer, damaged bytes as U+FFFD'
      return fault === 'B14' ? 'true answer, text between decoded' : 'true answer, text between as it came'
    case 'unseen':
      return 'not to be seen; `ORLA_BACKEND_PROTOCOL`, again, through vllm and sglang'
    case 'error': {
      const { code, timeout, retryable } = expected
      return `\`${code}\`${timeout === undefined ? '' : ` (${timeout})`}${retryable ? ', again' : ''}`
    }
  }
}

function group(count: number): string {
  return String(count).replaceAll(/(?<=\d)(?=(\d{3})+$)/g, ',')
}
