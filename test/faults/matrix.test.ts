// Faults x caller x place x drivers: none becomes a false success, and each ends in its documented code.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { BackendDefinition } from '../../src/engines/backend-definition.ts'
import { dynamo, llamaServer, ollama, openAi, sglang, vllm } from '../../src/index.ts'
import { OrlaError } from '../../src/errors.ts'
import { silentLogger } from '../../src/log.ts'
import { createRuntime } from '../../src/runtime.ts'
import { utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import { user } from '../../src/schema/message.ts'
import type { FlavourName, FlavourOptions } from '../../src/simulator/flavours/flavour.ts'
import { startFlavour } from '../../src/simulator/flavours/start-flavour.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { tool } from '../../src/workflow/tool.ts'
import {
  expectedThrough,
  matrixCallers,
  matrixCells,
  matrixDrivers,
  matrixRows,
  type Expected,
  type MatrixRow,
} from './cells.ts'

type DriverName = (typeof matrixDrivers)[number]
type Options = { url: string; model: string; headers: Record<string, string>; timeouts?: object }

const drivers: Readonly<
  Record<DriverName, { flavour: FlavourName | FlavourOptions; make: (options: Options) => BackendDefinition }>
> = {
  openAi: { flavour: 'openai', make: openAi },
  vllm: { flavour: 'vllm', make: vllm },
  sglang: { flavour: 'sglang', make: sglang },
  llamaServer: { flavour: { engine: 'llamacpp', slots: 64 }, make: llamaServer },
  ollama: { flavour: 'ollama', make: ollama },
  dynamo: { flavour: 'openai', make: dynamo },
}

/** What a sound engine answers here: enough pieces for a middle. */
const truth = 'Ten words make an answer, and this is one of eleven.'

const lookup = tool({ description: 'Looks up.', input: z.object({ key: z.string() }), run: ({ key }) => key })

/** Faults that never end by themselves meet short deadlines; the others have time, however busy the machine is. */
const hangs = new Set(['B2', 'B16'])
const shortMs = { firstTokenMs: 1_500, idleMs: 1_500 }

/** Runs that are under way at once. */
const atOnce = 24

interface Cell {
  row: MatrixRow
  caller: string
  seen: Expected
  /** Text of the result, or of the tokens where the caller saw them. */
  text: string
}

const tally = { cells: 0, falseSuccesses: 0 }

/** Runs every cell of one driver. */
async function runCells(name: DriverName): Promise<Cell[]> {
  const { flavour, make } = drivers[name]
  const responder = () => ({ content: truth })
  const options = { faults: [], responder, engine: { decodeMsPerToken: 4 } }
  await using front = await startFlavour(flavour, options)
  await using refusing = await startFlavour(flavour, options)
  const nameOf = ({ fault, kind, at }: MatrixRow): string => `${fault}-${kind}-${at}`
  const backends = Object.fromEntries(
    matrixRows.map((row) => [
      nameOf(row),
      make({
        url: row.fault === 'B1' ? refusing.url : front.url,
        model: front.model,
        headers: { 'x-orla-fault': `${row.fault};kind=${row.kind};at=${row.at}` },
        ...(hangs.has(row.fault) && { timeouts: shortMs }),
      }),
    ]),
  )
  const log = silentLogger
  await using runtime = await createRuntime({
    backends,
    log,
    estimator: utf8BytesEstimator,
    probeTimeoutMs: 0,
    seed: 1,
  })

  const runCell = async (row: MatrixRow, caller: string): Promise<Cell> => {
    const definition = workflow('cell')
      .stage('s', {
        backend: nameOf(row),
        prompt: () => [user('Say it.')],
        retry: { attempts: 1 },
        turnsMax: 3,
        ...(row.fault === 'B29' && { tools: { lookup } }),
      })
      .output(({ results }) => results.s)
    const run = runtime.start(definition, {})
    let text = ''
    if (caller === 'streams') {
      for await (const event of run.events) if (event.type === 'stage.token') text += event.text
    }
    try {
      const result = String(await run.result)
      if (caller === 'streams') expect(text).toBe(result)
      return { row, caller, seen: { outcome: 'ok' }, text: result }
    } catch (error) {
      if (!(error instanceof OrlaError)) throw error
      const { code, retryable, details } = error
      const timeout = code === 'ORLA_BACKEND_TIMEOUT' ? { timeout: details?.['timeout'] as 'idle' } : {}
      return { row, caller, seen: { outcome: 'error', code, retryable, ...timeout }, text }
    }
  }

  const todo = matrixRows.flatMap((row) => matrixCallers.map((caller) => ({ row, caller })))
  const cells: Cell[] = []
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let next = todo.shift(); next !== undefined; next = todo.shift()) {
        cells.push(await runCell(next.row, next.caller))
      }
    }),
  )
  expect(runtime.liveRuns).toBe(0)
  return cells
}

/** What callers were given of an answer before it broke off. Faults that add text of their own are left out. */
function isDelivered(text: string, { fault, at }: MatrixRow): boolean {
  if (!['B4', 'B5', 'B6', 'B7', 'B8', 'B9', 'B10', 'B11', 'B16', 'B18'].includes(fault)) return true
  if (at === 'first') return text === ''
  return truth.startsWith(text) && (at === 'middle' ? text !== '' && text !== truth : text === truth)
}

/** What a result must be for the fault that it met: the truth, with what the fault inserted somewhere in it. */
function isTrue(text: string, expected: Expected): boolean {
  if (expected.outcome === 'unseen') return text === "another's secret"
  if (expected.outcome !== 'ok') return false
  const { inserted } = expected
  if (inserted === undefined) return text === truth
  const at = text.indexOf(inserted)
  return at !== -1 && text.slice(0, at) + text.slice(at + inserted.length) === truth
}

describe.concurrent('no fault becomes a false success', () => {
  test.each(matrixDrivers)(
    'through %s',
    async (name) => {
      const cells = await runCells(name)
      const wrong: unknown[] = []
      for (const { row, caller, seen, text } of cells) {
        const { fault, kind, at } = row
        const expected = expectedThrough(name, row)
        tally.cells++
        let fits = isTrue(text, expected)
        if (seen.outcome === 'ok') {
          if (!fits) tally.falseSuccesses++
        } else {
          const delivered = caller === 'awaits' || isDelivered(text, row)
          fits = delivered && JSON.stringify(seen) === JSON.stringify(expected)
        }
        if (!fits)
          wrong.push({ cell: `${fault};kind=${kind};at=${at} ${caller}`, seen, expected, text: text.slice(0, 80) })
      }
      expect(wrong).toEqual([])
      expect(cells).toHaveLength(matrixRows.length * matrixCallers.length)
    },
    60_000,
  )
})

test('the matrix has as many cells as it says, and no false success in any', ({ skip }) => {
  if (tally.cells === 0) skip()
  expect(tally).toEqual({ cells: matrixCells, falseSuccesses: 0 })
})
