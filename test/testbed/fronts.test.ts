import { describe, expect, test } from 'vitest'
import { realClock, virtualClock, type Clock } from '../../src/clock.ts'
import { simulated } from '../../src/index.ts'
import { utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import { createRuntime } from '../../src/runtime.ts'
import { enginePreset } from '../../src/simulator/presets/engines.ts'
import { sessionRun, type Workload } from '../../src/simulator/workloads/workload.ts'
import { playWorkload, type Played } from '../../src/testbed/play.ts'

const preset = { gpu: 'h100', model: 'qwen3-8b', engine: 'vllm' } as const

/** Two sessions that begin alike, one after the other. */
const workload: Workload = {
  name: 'fronts',
  source: 'a test',
  runs: ['a', 'b'].map((id) =>
    sessionRun(
      id,
      [0, 1, 2].map((turn) => ({
        shared: turn === 0 ? 0 : 1_500 + (turn - 1) * 300,
        fresh: [
          ...(turn === 0 ? [{ stream: 'system', from: 0, to: 1_200 }] : []),
          { stream: `${id}#${turn}`, from: 0, to: 300 },
        ],
        outputTokens: 6 + turn,
        waitMs: 0,
        waitFor: 'user',
      })),
    ),
  ),
}

async function playOn(clock: Clock, transport: 'http' | 'in-process'): Promise<Played & { turnsCached: number[] }> {
  const turnsCached: number[] = []
  await using runtime = await createRuntime({
    backends: { engine: simulated({ model: preset.model, engine: { preset }, transport }) },
    clock,
    estimator: utf8BytesEstimator,
    recorder: {
      turn: ({ result }) => {
        expect(result.content).toBe('')
        expect(result.span).toBeDefined()
        turnsCached.push(result.usage.cachedTokens ?? -1)
      },
      ended: () => {},
    },
  })
  const playing = playWorkload(runtime, workload, {
    backend: 'engine',
    arrivals: { kind: 'closed', concurrency: 1 },
    timeoutMs: 60_000,
    contextScale: 1,
    contextTokens: enginePreset(preset).contextTokens,
    turnsMax: Infinity,
    waitMsMax: Infinity,
  })
  const played = 'run' in clock ? await (clock as ReturnType<typeof virtualClock>).run(playing) : await playing
  return { ...played, turnsCached }
}

describe('the fronts of a simulated engine', () => {
  test('find the same tokens cached and take the same time, in process and over HTTP', async () => {
    const [inProcess, http] = [await playOn(virtualClock(), 'in-process'), await playOn(realClock(), 'http')]
    expect(http.turnsCached).toEqual(inProcess.turnsCached)
    expect(inProcess.turnsCached).toEqual([0, 1_488, 1_792, 1_200, 1_488, 1_792])
    expect([http.promptTokens, http.outputTokens]).toEqual([inProcess.promptTokens, inProcess.outputTokens])
    // The exact comparison is a bench; here a busy machine must not fail a test.
    const [expected, measured] = [inProcess, http].map(({ runsMs }) => runsMs.reduce((sum, ms) => sum + ms, 0))
    expect(measured).toBeGreaterThan(expected! * 0.97)
    expect(measured).toBeLessThan(expected! * 2)
  })

  test('keep tenants apart over HTTP', async () => {
    const runs = workload.runs.map((run, i) => ({ ...run, tenant: `tenant-${i}` }))
    const cached: number[] = []
    const clock = realClock()
    await using runtime = await createRuntime({
      backends: { engine: simulated({ model: preset.model, engine: { preset }, transport: 'http', speed: 20 }) },
      clock,
      estimator: utf8BytesEstimator,
      recorder: { turn: ({ result }) => void cached.push(result.usage.cachedTokens ?? -1), ended: () => {} },
    })
    await playWorkload(
      runtime,
      { ...workload, runs },
      {
        backend: 'engine',
        arrivals: { kind: 'closed', concurrency: 1 },
        timeoutMs: 60_000,
        contextScale: 1,
        contextTokens: 32_768,
        turnsMax: 1,
        waitMsMax: Infinity,
      },
    )
    expect(cached).toEqual([0, 0])
  })
})
