// Questions, and whether a weak and a strong model answered each of them right.
//
// Labels are behind a wall: those who decide are given `Question`s, which have none. Only an `Exam` knows them, and it says
// them of the half to learn from, and grades decisions about the other.

import { readFile } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'
import { randomStream } from '../../src/clock.ts'
import { shuffled } from '../recipes/draw.ts'

/** One line of a file. */
export interface Pair {
  prompt: string
  weakOk: boolean
  strongOk: boolean
}

/** What a mapper may know of a question. */
export interface Question {
  /** Position in the file. */
  id: number
  prompt: string
}

/** A question of the half to learn from. */
export interface Lesson extends Question {
  weakOk: boolean
  strongOk: boolean
}

/** What became of a question. */
export interface Grade {
  id: number
  weakOk: boolean
  strongOk: boolean
}

/** Lines of CSV with quotes as RFC 4180 has them: a doubled quote is one, and lines may end within quotes. */
function* csvRows(text: string): Generator<string[]> {
  let row: string[] = []
  const cell = /("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|$)/gy
  for (let match = cell.exec(text); match !== null; match = cell.exec(text)) {
    const [, raw, end] = match
    row.push(raw!.startsWith('"') ? raw!.slice(1, -1).replaceAll('""', '"') : raw!)
    if (end !== ',') {
      if (row.length > 1 || row[0] !== '') yield row
      row = []
    }
    if (cell.lastIndex >= text.length) return
  }
  throw new Error(`not CSV after character ${cell.lastIndex}: a quote is not closed`)
}

/**
 * Reads pairs from a CSV file, gzipped or not, with the columns `prompt`, `weak_ok` and `strong_ok` (0 or 1) among others:
 * the form of RouteLLM's GSM8K results (lm-sys/RouteLLM, Apache-2.0).
 *
 * @throws {Error} if a column is missing, or a line says something else than 0 or 1
 */
export async function readPairs(path: string): Promise<Pair[]> {
  const bytes = await readFile(path)
  return parsePairs((path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8'))
}

/** Reads pairs from the text of such a file. */
export function parsePairs(text: string): Pair[] {
  const [header = [], ...lines] = csvRows(text)
  const [prompt, weak, strong] = ['prompt', 'weak_ok', 'strong_ok'].map((name) => {
    const at = header.indexOf(name)
    if (at < 0) throw new Error(`no column "${name}" among: ${header.join(', ')}`)
    return at
  })
  const ok = (cell: string | undefined, line: number): boolean => {
    if (cell !== '0' && cell !== '1') throw new Error(`line ${line + 2}: expected 0 or 1, got ${JSON.stringify(cell)}`)
    return cell === '1'
  }
  return lines.map((line, i) => ({
    prompt: line[prompt!] ?? '',
    weakOk: ok(line[weak!], i),
    strongOk: ok(line[strong!], i),
  }))
}

/** One split into a half to learn from and a half to be judged on. */
export class Exam {
  /** The half to learn from, labels and all. */
  readonly lessons: readonly Lesson[]
  /** The half to be judged on: nothing but prompts. */
  readonly questions: readonly Question[]
  readonly #pairs: readonly Pair[]

  constructor(pairs: readonly Pair[], seed: number) {
    this.#pairs = pairs
    const order = shuffled(
      randomStream(seed, 'split'),
      pairs.map((_, id) => id),
    )
    const half = pairs.length >> 1
    this.lessons = order.slice(0, half).map((id) => ({ id, ...pairs[id]! }))
    this.questions = order.slice(half).map((id) => ({ id, prompt: pairs[id]!.prompt }))
  }

  /** What became of the questions, once everything is decided. */
  grade(): Grade[] {
    return this.questions.map(({ id }) => ({
      id,
      weakOk: this.#pairs[id]!.weakOk,
      strongOk: this.#pairs[id]!.strongOk,
    }))
  }
}
