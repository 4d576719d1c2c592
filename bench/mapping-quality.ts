// Quality for money: mappers on questions that a weak and a strong model have answered, the area under cost against accuracy.

import { readFile, writeFile } from 'node:fs/promises'
import type { Bench } from './lib/bench.ts'
import { judge } from './quality/judge.ts'
import { page } from './quality/page.ts'
import { parsePairs, readPairs } from './quality/pairs.ts'
import { findings, jsonRows, tableRows, type About } from './quality/report.ts'

const seedsAll = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
const fixture = new URL('quality/synthetic-pairs.csv', import.meta.url)

/** The exam on RouteLLM's GSM8K pairs where their file is given, else on synthetic ones; `quick` has three splits. */
export const bench: Bench = {
  async run({ quick, gsm8k, html }) {
    const dataset: About['dataset'] = gsm8k === undefined ? 'synthetic' : 'gsm8k'
    const pairs = gsm8k === undefined ? parsePairs(await readFile(fixture, 'utf8')) : await readPairs(gsm8k)
    const seeds = quick ? seedsAll.slice(0, 3) : seedsAll
    const draws = quick ? 200 : 1_000
    const outcome = await judge(pairs, { seeds, draws })
    const about = { dataset, questions: pairs.length, splits: seeds.length, draws }
    const notes = findings(outcome, about)
    if (html !== undefined) await writeFile(html, page(outcome, notes))
    return { rows: tableRows(outcome), jsonRows: jsonRows(outcome, about), notes, settings: about }
  },
}
