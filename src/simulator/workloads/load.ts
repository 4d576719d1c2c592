// Reads a workload file of any known format.

import { basename } from 'node:path'
import { azureFormat } from './formats/azure.ts'
import { agenticFormat } from './formats/agentic.ts'
import type { WorkloadFormat } from './formats/format.ts'
import { mooncakeFormat } from './formats/mooncake.ts'
import { recordedFormat } from './formats/recorded.ts'
import { sessionsFormat } from './formats/sessions.ts'
import { readLines, type Line } from './lines.ts'
import { FileProblems } from './problems.ts'
import type { Workload } from './workload.ts'

/** Every format. The first that a file's beginning fits is taken. */
const formats: readonly WorkloadFormat[] = [recordedFormat, agenticFormat, mooncakeFormat, azureFormat, sessionsFormat]

/** How to read a workload file. */
export interface LoadOptions {
  /** Tokens of a hash block, for traces that have them. Default 512, as Mooncake's. */
  blockTokens?: number
}

/**
 * Reads a workload file, plain or gzip, whatever its name: the format is told from its content. Line by line.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with up to 20 problems, each with file, line, column and what is wrong
 * @throws the system's error (`ENOENT`, `EISDIR`, ...) if the file cannot be opened
 */
export async function loadWorkload(path: string, options: LoadOptions = {}): Promise<Workload> {
  const problems = new FileProblems(path)
  const lines = readLines(path, problems)
  const { value: first } = await lines.next()
  try {
    if (first === undefined && problems.count === 0) problems.add({ line: 1 }, 'empty', 'the file is empty')
    problems.throwIfAny()
    const { number, text } = first as Line
    const format = formats.find((candidate) => candidate.begins(text))
    if (format === undefined) {
      const known = formats.map(({ name }) => name).join('; ')
      problems.add({ line: number }, 'unknown_format', `begins like none of the known formats: ${known}`)
      problems.throwIfAny()
    }
    const read = await format!.read(chain(first as Line, lines), { problems, blockTokens: options.blockTokens ?? 512 })
    if (problems.count === 0 && read.runs.length === 0) problems.add({ line: number }, 'empty', 'holds no requests')
    problems.throwIfAny()
    return { name: nameOf(path), ...read }
  } finally {
    await lines.return(undefined)
  }
}

async function* chain(first: Line, rest: AsyncIterable<Line>): AsyncGenerator<Line> {
  yield first
  yield* rest
}

/** The name of a file without its endings, as the name of a workflow. */
function nameOf(path: string): string {
  const stem = basename(path).replace(/(?:\.(?:csv|jsonl?|ndjson|txt|gz))+$/i, '')
  const name = stem.replaceAll(/[^\p{L}\p{N}_.:-]/gu, '_').slice(0, 60)
  return name === '' ? 'workload' : name
}
