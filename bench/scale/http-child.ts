// Many live runs over HTTP, in a process of its own: do all finish, in how much memory, and how long is the loop held up?

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { createRuntime, openAi, system, user, workflow } from '../../src/index.ts'
import { answer } from '../lib/child.ts'
import { instruction, question } from '../http/caller.ts'

/** What the child is asked: so many runs of three stages at once, all in flight at the engine. */
export interface Question {
  origin: string
  liveRuns: number
}

/** What came of it. */
export interface Answer {
  /** Live at the same time. */
  liveMax: number
  completed: number
  /** Ends other than completed, by code. */
  otherwise: Record<string, number>
  rssMbMax: number
  loopP50Ms: number
  loopP99Ms: number
  loopMaxMs: number
  seconds: number
  cpuSeconds: number
}

const instructed = system(instruction)
const prompt = () => [instructed, user(question())]
const calls = workflow('calls')
  .stage('first', { backend: 'engine', prompt })
  .stage('second', { after: ['first'], backend: 'engine', prompt })
  .stage('third', { after: ['second'], backend: 'engine', prompt })

/** Runs that are started in a millisecond, until all are. */
const startsPerMs = 3

async function play({ origin, liveRuns }: Question): Promise<Answer> {
  const engine = openAi({ url: `${origin}/v1`, model: 'none', windowRequests: liveRuns, queueCapacity: liveRuns })
  await using runtime = await createRuntime({ backends: { engine }, probeTimeoutMs: 0 })
  let rssMax = 0
  const look = setInterval(() => (rssMax = Math.max(rssMax, process.memoryUsage.rss())), 50)
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const cpu = process.cpuUsage()
  const startedAtMs = performance.now()
  delay.enable()
  const outcomes = []
  let liveMax = 0
  while (outcomes.length < liveRuns) {
    const due = Math.min(liveRuns, (performance.now() - startedAtMs) * startsPerMs)
    while (outcomes.length < due) {
      outcomes.push(runtime.start(calls, undefined).outcome.then(({ state, error }) => error?.code ?? state))
    }
    liveMax = Math.max(liveMax, runtime.liveRuns)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  const ended = await Promise.all(outcomes)
  delay.disable()
  clearInterval(look)
  const { user: own, system: kernel } = process.cpuUsage(cpu)
  const otherwise: Record<string, number> = {}
  for (const end of ended) if (end !== 'completed') otherwise[end] = (otherwise[end] ?? 0) + 1
  return {
    liveMax,
    completed: ended.filter((end) => end === 'completed').length,
    otherwise,
    rssMbMax: Math.round(rssMax / 1_024 / 1_024),
    loopP50Ms: delay.percentile(50) / 1e6,
    loopP99Ms: delay.percentile(99) / 1e6,
    loopMaxMs: delay.max / 1e6,
    seconds: (performance.now() - startedAtMs) / 1_000,
    cpuSeconds: (own + kernel) / 1e6,
  }
}

answer<Question, Answer>(play)
