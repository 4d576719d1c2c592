// Memory policies against the engine's own LRU: the paper's cache experiment, and closed loops under pressure.

import { writeFile } from 'node:fs/promises'
import type { Bench } from './lib/bench.ts'
import { paperCells, pressureCells } from './memory/cells.ts'
import { overheadUs } from './memory/overhead.ts'
import { prewarmCells } from './memory/prewarm.ts'
import { page } from './memory/page.ts'
import { curveOf, findings, jsonRow, tableRow } from './memory/report.ts'
import { workloadSets } from './memory/sets.ts'

const seedsAll = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]

/** What belongs to the figures, whatever they are. */
export function settings(wallSeconds: number): string[] {
  return [
    `Wall time ${Math.round(wallSeconds)} s. Ratio: mean tokens of all live contexts, shared beginnings once, over the pool; the pool is scaled. Closed loop: 64 runs live with people at them, three hours after ten minutes of warm-up; 128 without, 20 minutes after 5. Waits and lengths as in the workload; Qwen3-Coder-30B-A3B on H200 with vLLM's habits; dag-math on RTX PRO 6000, Qwen3-8B, SGLang's habits. Seeds 1 to 10; constants of price were swept on seeds 21 to 26 of claude-code, 21 and 22 of swe-agent, and a workload of fast-growing contexts that is not here; of the sets for judging only, seeds 21 and 22 of azure-agent were looked at along with them.`,
    'TTFT counts from ready to first token, holds included; turns without a first token at the end count with their wait so far. Fairness: Jain index over the turns a second of each run. No hold is longer than 30 minutes.',
    'A p99 of a third of the published gate with most output is not reached. The mean wait follows from output; the row that is told all waits in advance has hardly more output, and the rows with other exchange shares show that exchanging places more often costs output and does not shorten the tail: who gives up a place waits in turn.',
    'What it does not show: a real engine, more than one backend, and whether people accept a hold. The published gates are built from their descriptions, at one backend: choosing a place for a resumed run does not arise.',
  ]
}

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
