// What `doctor` found, as plain data and in plain words.

import process from 'node:process'
import type { Capabilities, DetectedEngine } from '../../index.ts'
import { sanitize } from '../view/sanitize.ts'

/** Open files below which many streams at once fail: each takes a socket here and perhaps one in the engine. */
const filesMin = 4_096

/** One engine, or an address that was asked for and has none. */
export type EngineFinding =
  | {
      url: string
      state: 'found'
      engine: string
      name: string
      version: string | null
      models: string[]
      contextLength: number | null
      can: string[]
      cannot: string[]
      /** What to know about it, or to start it with. */
      notes: string[]
      capabilities: Capabilities
    }
  | { url: string; state: 'other' | 'silent'; problem: string }

/** All of it: what `--json` prints. */
export interface Finding {
  schema: 1
  node: { version: string; problem: string | null }
  /** Open files that this process may have; null where the system does not tell. */
  openFilesMax: number | null
  engines: EngineFinding[]
  looked: string[]
}

/** The soft limit on open files, or null where it is unlimited or not told. */
export function fileLimit(): number | null {
  const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean }
  // Without this a report resolves the names of all sockets.
  report.excludeNetwork = true
  const { userLimits } = report.getReport() as { userLimits?: { open_files?: { soft?: unknown } } }
  const soft = Number(userLimits?.open_files?.soft)
  return Number.isSafeInteger(soft) ? soft : null
}

/** Puts together what was seen. */
export function findings(seen: {
  engines: readonly DetectedEngine[]
  node: { version: string; problem: string | undefined }
  fileLimit: number | null
  looked: readonly string[]
}): Finding {
  return {
    schema: 1,
    node: { version: seen.node.version, problem: seen.node.problem ?? null },
    openFilesMax: seen.fileLimit,
    engines: seen.engines.map(findingOf),
    looked: [...seen.looked],
  }
}

function findingOf(detected: DetectedEngine): EngineFinding {
  const { url, state } = detected
  if (state !== 'found') return { url, state, problem: detected.error.message }
  const { engine, name, models, capabilities } = detected
  const { can, cannot } = inWords(capabilities)
  const { notes = [] } = capabilities
  const version = capabilities.version ?? null
  const contextLength = capabilities.contextLength ?? null
  return { url, state, engine, name, version, models, contextLength, can, cannot, notes, capabilities }
}

/** Capabilities in plain words. */
function inWords(capabilities: Capabilities): { can: string[]; cannot: string[] } {
  const { kv, cachedTokens, priority, sharedPrefix, concurrencyMax } = capabilities
  const can: string[] = []
  const cannot: string[] = []
  if (cachedTokens === 'always' || cachedTokens === 'when-nonzero') can.push('report cached tokens')
  if (sharedPrefix) can.push('share a prefix between concurrent requests')
  if (priority === 'low-first' || priority === 'high-first') can.push('order requests by priority')
  if (kv.flushAll === 'exact') can.push('empty its cache')
  else if (kv.flushAll !== 'none') can.push('empty its cache in part')
  if (kv.releaseSession !== 'none') can.push("give up one run's cache")
  if (kv.isolate !== 'none') can.push('keep the caches of tenants apart')
  if (concurrencyMax !== undefined) can.push(`run ${concurrencyMax} requests at once`)
  if (kv.isolate === 'none') cannot.push('keep the caches of tenants apart')
  if (kv.flushAll === 'none') cannot.push('empty its cache')
  if (cachedTokens === 'never') cannot.push('report cached tokens')
  if (priority === 'none') cannot.push('order requests by priority')
  return { can, cannot }
}

/** The findings as text, with a line for each engine and what to do next. */
export function renderFindings({ node, openFilesMax, engines, looked }: Finding): string {
  const lines = [`Node ${node.version}: ${node.problem ?? 'fine'}`]
  if (openFilesMax !== null) {
    const enough = openFilesMax >= filesMin ? 'fine' : `few for many streams at once: raise it (ulimit -n ${filesMin})`
    lines.push(`Open files: ${openFilesMax}, ${enough}`)
  }
  lines.push('')
  for (const engine of engines) lines.push(...engineLines(engine), '')
  if (!engines.some(({ state }) => state === 'found')) {
    lines.push(`No engine answers at ${looked.length} addresses (${looked.join(', ')}).`)
    lines.push('Start one, name it with --url, or use simulated engines: orla demo')
  }
  return `${lines.map(printable).join('\n').trimEnd()}\n`
}

/** Names of models that a line holds. */
const modelsShownMax = 5

function engineLines(engine: EngineFinding): string[] {
  if (engine.state !== 'found') return [`${engine.url}  ${engine.problem}`]
  const { url, name, version, models, contextLength, can, cannot, notes } = engine
  const more = models.length > modelsShownMax ? ` and ${models.length - modelsShownMax} more` : ''
  return [
    `${url}  ${name}${version === null ? '' : ` ${version}`}`,
    `  serves   ${models.slice(0, modelsShownMax).join(', ') || 'no model'}${more}` +
      (contextLength === null ? '' : ` (context of ${contextLength} tokens)`),
    ...listed('can', can),
    ...listed('cannot', cannot),
    ...listed('note', notes),
  ]
}

function listed(label: string, items: readonly string[]): string[] {
  return items.map((item, i) => `  ${(i === 0 ? label : '').padEnd(8)} ${item}`)
}

/** One line, without what a terminal obeys. */
function printable(line: string): string {
  return sanitize(line).replaceAll('\n', ' ')
}
