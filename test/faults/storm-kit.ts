// A storm of cancellations: waves of runs that are cancelled while their answers stream, over real sockets.

import { Worker } from 'node:worker_threads'
import { realClock } from '../../src/clock.ts'
import { openAi } from '../../src/index.ts'
import { silentLogger } from '../../src/log.ts'
import { utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import { createRuntime } from '../../src/runtime.ts'
import { user } from '../../src/schema/message.ts'
import { workflow } from '../../src/workflow/builder.ts'
import type { StormNotice } from './storm-engine.ts'

/** What a storm found. Times in ms. */
export interface StormReport {
  cancelled: number
  /** Runs that ended otherwise than cancelled. */
  otherwise: number
  /** From the first cancellation of a wave to the last end of its runs; the slowest wave. */
  waveMsMax: number
  /** From the cancellation of a run to the end of its socket, as the engine sees it. */
  closedMsP50: number
  closedMsP99: number
  /** The same of the wave before all others, which runs code that was never run and is not among them. */
  coldClosedMsP99: number
  /** After the storm, beside before it. */
  left: { engineSockets: number; handles: number; liveRuns: number; inFlight: number; warnings: string[] }
}

const storm = workflow('storm')
  .stage('s', { backend: 'b', prompt: ({ input }) => [user(String(input))] })
  .output(({ results }) => results.s)

/** Sockets and timers of this process. */
function handles(): number {
  return process.getActiveResourcesInfo().filter((kind) => /TCPSocket|Timeout/.test(kind)).length
}

/** Turns of the event loop until `done`, or until some time has gone. */
async function settled(done: () => boolean): Promise<void> {
  const clock = realClock()
  while (!done() && clock.nowMs() < 5_000) {
    await new Promise<void>((resolve) => void clock.setTimer(10, resolve))
  }
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
}

/** Runs a storm: a cold wave, then `waves` of `size` runs, each cancelled once all of its wave stream. */
export async function cancellationStorm(waves: number, size: number): Promise<StormReport> {
  const clock = realClock({ seed: 1 })
  const warnings: string[] = []
  const onWarning = (warning: Error): void => void warnings.push(warning.message)
  process.on('warning', onWarning)
  const closedAtMs = new Map<string, number>()
  // In a thread of its own, as engines are elsewhere: what it does with a closed socket is not the caller's time.
  const engine = new Worker(new URL('./storm-engine.ts', import.meta.url))
  let openSockets = 0
  const url = await new Promise<string>((resolve) => {
    engine.on('message', (notice: StormNotice) => {
      if (notice.type === 'listening') resolve(notice.url)
      else if (notice.type === 'closed') closedAtMs.set(notice.id, notice.atMs)
      else openSockets = notice.open
    })
  })
  const handlesBefore = handles()
  const runtime = await createRuntime({
    backends: { b: openAi({ url, model: 'm', windowRequests: size }) },
    log: silentLogger,
    estimator: utf8BytesEstimator,
    probeTimeoutMs: 0,
    clock,
  })

  let otherwise = 0
  let waveMsMax = 0
  let closedMs: number[] = []
  let coldClosedMsP99 = 0
  for (let wave = 0; wave <= waves; wave++) {
    const streaming = new Set<string>()
    const { promise: allStream, resolve: onAllStream } = Promise.withResolvers<void>()
    const stop = runtime.subscribe((event) => {
      if (event.type === 'stage.token') streaming.add(event.runId)
      if (streaming.size === size) onAllStream()
    })
    const runs = Array.from({ length: size }, (_, i) => ({
      id: `${wave}-${i}`,
      run: runtime.start(storm, `${wave}-${i}`),
    }))
    await allStream
    const fromMs = clock.nowMs()
    const cancelledAtMs = new Map<string, number>()
    for (const { id, run } of runs) {
      cancelledAtMs.set(id, performance.timeOrigin + performance.now())
      run.cancel('enough')
    }
    for (const { run } of runs) {
      const outcome = await run.outcome
      if (outcome.error?.code !== 'ORLA_CANCELLED') otherwise++
    }
    waveMsMax = Math.max(waveMsMax, clock.nowMs() - fromMs)
    stop()
    await settled(() => runs.every(({ id }) => closedAtMs.has(id)))
    for (const { id } of runs) closedMs.push((closedAtMs.get(id) ?? Infinity) - cancelledAtMs.get(id)!)
    closedAtMs.clear()
    if (wave > 0) continue
    coldClosedMsP99 = percentile(closedMs, 0.99)
    closedMs = []
  }
  const { liveRuns } = runtime
  const inFlight = runtime.backends().reduce((sum, backend) => sum + backend.inFlight, 0)
  await runtime.close()
  openSockets = Infinity
  await settled(() => {
    engine.postMessage('open?')
    return openSockets === 0 && handles() <= handlesBefore
  })
  const left = {
    engineSockets: openSockets,
    handles: Math.max(0, handles() - handlesBefore),
    liveRuns,
    inFlight,
    warnings,
  }
  await engine.terminate()
  process.off('warning', onWarning)
  return {
    cancelled: (waves + 1) * size - otherwise,
    otherwise,
    waveMsMax,
    closedMsP50: percentile(closedMs, 0.5),
    closedMsP99: percentile(closedMs, 0.99),
    coldClosedMsP99,
    left,
  }
}
