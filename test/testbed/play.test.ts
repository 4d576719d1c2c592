import { expect, test } from 'vitest'
import { simulated, type RequestView } from '../../src/index.ts'
import { limits } from '../../src/limits.ts'
import { sessionRun, singleTurn, type Workload } from '../../src/simulator/workloads/workload.ts'
import { playWorkload } from '../../src/testbed/play.ts'
import { testRuntime } from '../support/runtime.ts'

test('who decides does not know how long a played answer will be, only how long those before it were', async () => {
  const lengths = [500, 40, 300, 10, 700, 90]
  const workload: Workload = {
    name: 'w',
    source: 'a test',
    runs: lengths.map((tokens, i) =>
      sessionRun(`s${i}`, [singleTurn([{ stream: `s${i}`, from: 0, to: 100 }], tokens)]),
    ),
  }
  const seen = new Map<string, RequestView>()
  const request = {
    name: 'watches',
    forecast: true as const,
    key: (view: RequestView) => (seen.set(view.runId, view), view.arrivalMs),
  }
  const runtime = await testRuntime(
    { main: simulated({ model: 'm', transport: 'in-process', windowRequests: 1 }) },
    { scheduling: { main: { stage: 'fcfs', request } }, watch: false },
  )
  const options = { backend: 'main', timeoutMs: 1e9, contextScale: 1, contextTokens: 32_768, turnsMax: 9, waitMsMax: 9 }
  const play = (): Promise<unknown> =>
    runtime.until(playWorkload(runtime, workload, { ...options, arrivals: { kind: 'closed', concurrency: 6 } }))
  await play()
  // What is asked for is told to the engine, and to the KV window, which sets it aside.
  expect([...seen.values()].map(({ askedTokens }) => askedTokens)).toEqual(lengths.slice(1))
  expect(new Set([...seen.values()].map(({ outputTokens }) => outputTokens))).toEqual(
    new Set([limits.outputTokensGuess]),
  )
  expect(new Set([...seen.values()].map(({ serviceMs }) => serviceMs)).size).toBe(1)
  seen.clear()
  await play()
  const mean = lengths.reduce((sum, tokens) => sum + tokens, 0) / lengths.length
  for (const { outputTokens } of seen.values()) expect(outputTokens).toBeCloseTo(mean, -1)
})
