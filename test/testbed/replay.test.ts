import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { OptionsError } from '../../src/errors.ts'
import { sessionRun, singleTurn, type Workload, type WorkloadTurn } from '../../src/simulator/workloads/workload.ts'
import { replay, workloadPreset, type ReplayOptions, type ReplaySummary } from '../../src/testing.ts'

const small: ReplayOptions = { gpu: 'h100', model: 'qwen3-8b' }

/** What does not depend on how fast this machine is. */
function timeless({ wallSeconds: _wall, turnsPerWallSecond: _turns, ...rest }: ReplaySummary): object {
  return rest
}

function workloadOf(...sessions: WorkloadTurn[][]): Workload {
  return { name: 'test', source: 'a test', runs: sessions.map((turns, i) => sessionRun(`s${i}`, turns)) }
}

const request = (tokens: number, output: number, stream: string, waitMs = 0): WorkloadTurn => ({
  ...singleTurn([{ stream, from: 0, to: tokens }], output),
  waitMs,
})

describe('a replay', () => {
  test('runs every turn of every session through the runtime', async () => {
    const workload = workloadPreset('swe-agent', { sessions: 12 })
    const turns = workload.runs.reduce((sum, { steps }) => sum + steps[0]!.turns.length, 0)
    const summary = await replay(workload, { concurrency: 4 })
    expect(summary).toMatchObject({ type: 'replay.summary', runs: 12, completed: 12, failed: 0, truncated: 0, turns })
    expect(summary.prefixHitRatio).toBeGreaterThan(0.8)
    expect(summary.ttftMs.p50).toBeGreaterThan(49)
    expect(summary.ttftMs.p90).toBeGreaterThanOrEqual(summary.ttftMs.p50)
    expect(summary.busySeconds).toBeLessThanOrEqual(summary.virtualSeconds)
  })

  test('has the fields of its contract, in their order', async () => {
    const summary = await replay(workloadOf([request(10, 2, 'a')]), small)
    expect(Object.keys(summary)).toEqual([
      'type',
      'runs',
      'completed',
      'failed',
      'truncated',
      'turns',
      'virtualSeconds',
      'busySeconds',
      'wallSeconds',
      'turnsPerWallSecond',
      'ttftMs',
      'queueWaitMs',
      'e2eMs',
      'prefixHitRatio',
      'outputTokensPerSecond',
      'contextScale',
      'seed',
    ])
  })

  test('is the same for the same seed, also in another process', async () => {
    const code = `
      const { replay, workloadPreset } = await import(${JSON.stringify(fileURLToPath(new URL('../../src/testing.ts', import.meta.url)))})
      const workload = workloadPreset('claude-code', { sessions: 10, seed: 7 })
      const { wallSeconds, turnsPerWallSecond, ...rest } = await replay(workload, { ratePerSecond: 0.2, burstiness: 0.5, turnsMax: 30, seed: 7 })
      console.log(JSON.stringify(rest))`
    const other = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code])
    const options = { ratePerSecond: 0.2, burstiness: 0.5, turnsMax: 30 }
    const here = await replay(workloadPreset('claude-code', { sessions: 10, seed: 7 }), { ...options, seed: 7 })
    expect(JSON.stringify(timeless(here))).toBe(other.stdout.trim())
    const another = await replay(workloadPreset('claude-code', { sessions: 10, seed: 7 }), { ...options, seed: 8 })
    expect(timeless(another)).not.toEqual(timeless(here))
  }, 20_000)

  test('adds up what the engine found in its cache', async () => {
    const turns = [request(1_600, 10, 'a'), { ...request(390, 10, 'b'), shared: 1_610 }]
    const summary = await replay(workloadOf(turns), small)
    // Whole blocks of 16, of the first prompt and its answer.
    expect(summary.prefixHitRatio).toBeCloseTo(1_600 / (1_600 + 2_000), 6)
  })

  test('keeps waits between turns out of the time to first token', async () => {
    const turns = [request(100, 5, 'a'), { ...request(50, 5, 'b', 60_000), shared: 105 }]
    const summary = await replay(workloadOf(turns), small)
    expect(summary.virtualSeconds).toBeGreaterThan(60)
    expect(summary.e2eMs.p50).toBeGreaterThan(60_000)
    expect(summary.ttftMs.p99).toBeLessThan(200)
    const bounded = await replay(workloadOf(turns), { ...small, waitMsMax: 1_000 })
    expect(bounded.virtualSeconds).toBeLessThan(2)
  })

  test('counts the wait for a place in the queue, and in the time to first token', async () => {
    const sessions = Array.from({ length: 3 }, (_, i) => [request(500, 50, `r${i}`)])
    const summary = await replay(workloadOf(...sessions), { ...small, concurrency: 3, windowRequests: 1 })
    expect(summary.queueWaitMs.p50).toBeGreaterThan(300)
    expect(summary.ttftMs.p99).toBeGreaterThan(summary.queueWaitMs.p99)
  })

  test('truncates a session that outgrows the context, at that turn', async () => {
    const grows = Array.from({ length: 5 }, (_, i) => ({
      ...request(15_000, 100, `t${i}`),
      shared: i * 15_100,
    }))
    const summary = await replay(workloadOf(grows, [request(10, 1, 'x')], [request(50_000, 1, 'y')]), small)
    expect(summary).toMatchObject({ runs: 3, completed: 1, truncated: 2, failed: 0, turns: 3 })
    const scaled = await replay(workloadOf(grows), { ...small, contextScale: 0.5 })
    expect(scaled).toMatchObject({ completed: 1, truncated: 0, turns: 5, contextScale: 0.5 })
  })

  test('scales every token count', async () => {
    const workload = workloadOf([request(2_000, 300, 'a'), { ...request(1_000, 300, 'b'), shared: 2_000 }])
    const rates = await Promise.all(
      [1, 2].map(async (contextScale) => await replay(workload, { ...small, contextScale })),
    )
    const [tokens, doubled] = rates.map((rate) => rate.outputTokensPerSecond * rate.virtualSeconds)
    expect(doubled! / tokens!).toBeCloseTo(2, 2)
  })

  test('never has more sessions live than a closed loop allows', async () => {
    // One at a time, the sessions take as long as they do one by one.
    const workload = workloadPreset('support-ticket', { sessions: 4 })
    const alone = await replay(workload, { ...small, concurrency: 1 })
    const together = await replay(workload, { ...small, concurrency: 4 })
    expect(together.virtualSeconds).toBeLessThan(alone.virtualSeconds / 2)
    expect(alone.turns).toBe(together.turns)
  })

  test('begins at the times of the workload where it has some', async () => {
    const workload = { ...workloadOf([request(10, 1, 'a')], [request(10, 1, 'b')]) }
    const timed = { ...workload, runs: workload.runs.map((run, i) => ({ ...run, arrivalMs: i * 30_000 })) }
    expect((await replay(timed, small)).virtualSeconds).toBeGreaterThan(30)
    expect((await replay(timed, { ...small, concurrency: 2 })).virtualSeconds).toBeLessThan(1)
  })

  test('begins as many runs a second as asked', async () => {
    const workload = workloadPreset('chat', { sessions: 400 })
    const { virtualSeconds } = await replay(workload, { ratePerSecond: 20 })
    expect(virtualSeconds).toBeGreaterThan(17)
    expect(virtualSeconds).toBeLessThan(45)
  })

  test('survives long decodes and long waits in the engine', async () => {
    // 40 answers of 8,000 tokens: minutes each, of which nobody watches a token; the last wait for hours.
    const sessions = Array.from({ length: 40 }, (_, i) => [request(20_000, 8_000, `r${i}`)])
    const summary = await replay(workloadOf(...sessions), { ...small, concurrency: 40, kvScale: 0.1 })
    expect(summary).toMatchObject({ completed: 40, failed: 0 })
    expect(summary.ttftMs.p99).toBeGreaterThan(120_000)
  })

  test('runs a DAG in its order, side by side where it may', async () => {
    const step = (name: string, after: string[]): Workload['runs'][number]['steps'][number] => ({
      name,
      after,
      turns: [request(100, 100, name)],
    })
    const chain = { id: 'c', steps: [step('a', []), step('b', ['a']), step('c', ['b'])] }
    const fan = { id: 'f', steps: [step('a', []), step('b', []), step('c', [])] }
    const time = async (run: Workload['runs'][number]): Promise<number> =>
      (await replay({ name: 'dag', source: 'a test', runs: [run] }, small)).virtualSeconds
    expect(await time(chain)).toBeGreaterThan(2.5 * (await time(fan)))
  })

  test('tells of failures, and of runs that end', async () => {
    const failures: string[] = []
    const ended: number[] = []
    const broken: Workload = {
      name: 'broken',
      source: 'a test',
      runs: [
        { id: 'bad', steps: [{ name: 'turns', after: [], turns: [undefined as never] }] },
        sessionRun('bad too', [{ ...request(1, 1, 'a'), fresh: [] }]),
        sessionRun('good', [request(1, 1, 'b')]),
      ],
    }
    const summary = await replay(broken, {
      ...small,
      onFailure: (run, { code }) => void failures.push(`${run} ${code}`),
      onRun: (done) => void ended.push(done),
    })
    expect(summary.completed + summary.failed + summary.truncated).toBe(3)
    expect(failures).toEqual(['bad too ORLA_STAGE_BUILDER'])
    expect(ended).toEqual([1, 2, 3])
  })

  test('refuses a DAG that cannot run', async () => {
    const turns = [request(1, 1, 'a')]
    const steps = [
      { name: 'a', after: ['b'], turns },
      { name: 'b', after: ['a'], turns },
    ]
    await expect(replay({ name: 'x', source: 'a test', runs: [{ id: 'r', steps }] }, small)).rejects.toMatchObject({
      code: 'ORLA_WORKFLOW_INVALID',
    })
  })

  test('of nothing is over at once', async () => {
    expect(await replay({ name: 'x', source: 'a test', runs: [] }, small)).toMatchObject({ runs: 0, turns: 0 })
  })

  test('refuses options that are wrong, with what there is', async () => {
    const workload = workloadOf([request(1, 1, 'a')])
    const wrong = (options: ReplayOptions): Promise<unknown> => replay(workload, options)
    await expect(wrong({ model: 'gpt' })).rejects.toThrow(/there are qwen3-4b/)
    await expect(wrong({ concurrency: 1, ratePerSecond: 1 })).rejects.toThrow(/not both/)
    await expect(wrong({ contextScale: 0, kvScale: -1 })).rejects.toThrow(/2 problem/)
    await expect(wrong({ stagePolicy: 'lottery' as 'fcfs' })).rejects.toThrow(OptionsError)
  })

  test('takes the short name of the coder model', async () => {
    const workload = workloadOf([request(1_000, 10, 'a')])
    const short = await replay(workload, { model: 'qwen3-coder-30b' })
    expect(timeless(short)).toEqual(timeless(await replay(workload, { model: 'qwen3-coder-30b-a3b' })))
  })
})
