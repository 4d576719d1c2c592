// Memory policies against the engine's own LRU: the paper's cache experiment, and closed loops under pressure.

import { writeFile } from 'node:fs/promises'
import type { Bench } from './lib/bench.ts'
import { paperCells, pressureCells } from './memory/cells.ts'
import { overheadUs } from './memory/overhead.ts'
import { prewarmCells } from './memory/prewarm.ts'
import { page } from './memory/page.ts'
import { curveOf, findings, jsonRow, settings, tableRow } from './memory/report.ts'
import { workloadSets } from './memory/sets.ts'

const seedsAll = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]

/** All parts; `quick` has three seeds, three arms, and two ratios of one workload. */
export const bench: Bench = {
  async run({ quick, sessions, html }) {
    const startedAtMs = performance.now()
    const seeds = quick ? seedsAll.slice(0, 3) : seedsAll
    const cells = [...(await paperCells(seeds)), ...(await prewarmCells(seeds))]
    for (const set of await workloadSets(quick, sessions)) cells.push(...(await pressureCells(set, quick, seeds)))
    const us = await overheadUs(10_000, quick ? 1 : 3)
    const said = [
      ...findings(cells),
      `The memory manager took ${us.toFixed(1)} us a transition at 10,000 live runs with a full window, reviews included.`,
      ...settings((performance.now() - startedAtMs) / 1_000),
    ]
    if (html !== undefined) await writeFile(html, page(cells.map(curveOf), said))
    return { rows: cells.map(tableRow), jsonRows: cells.map(jsonRow), notes: said }
  },
}
