// The simulation of whole runtimes: a slice of its seeds, that it is the same everywhere, and that it finds what is broken.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { generatedSubject } from '../../src/testbed/sim-test/generated.ts'
import { playScenario } from '../../src/testbed/sim-test/play.ts'
import { drawScenario, simFaultNames } from '../../src/testbed/sim-test/scenario.ts'
import { simTest } from '../../src/testbed/sim-test/sim-test.ts'
import type { SimSetup, SimSubject } from '../../src/testbed/sim-test/subject.ts'
import { MoneyOracle } from '../../src/testbed/sim-test/money-oracle.ts'
import type { Runtime } from '../../src/runtime-api.ts'

const zeroAccount = {
  variant: 'explicit',
  answers: 0,
  errors: 0,
  count: 0,
  failures: 0,
  cancelled: 0,
  escalations: 0,
  costUsd: 0,
}

/** The campaign (npm run test:sim) plays 10,000. */
const seeds = Number(process.env['ORLA_SIM_SEEDS'] ?? 300)
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

// XState's development build warns when a machine is made in the middle of another's action, as a restart does.
beforeAll(() => void vi.spyOn(console, 'warn').mockImplementation(() => {}))
afterAll(() => void vi.restoreAllMocks())

test(`${seeds} seeds with all faults break nothing, and every kind of fault strikes`, async () => {
  const report = await simTest({ seeds })
  expect(report.failures).toEqual([])
  expect(report.seeds).toBe(seeds)
  expect(Object.keys(report.struck).sort()).toEqual([...simFaultNames].sort())
  expect(report.runs.completed).toBeGreaterThan(seeds)
  // oxlint-disable-next-line no-console -- how much was simulated belongs to the result
  console.log(`${report.seeds} seeds, ${report.failures.length} failures, ${report.events} events`)
}, 900_000)

test('without faults every run completes that nobody gave a deadline', async () => {
  const report = await simTest({ seed: 50_000, seeds: 30, faults: [] })
  expect(report).toMatchObject({ failures: [], struck: {} })
  expect(Object.keys(report.codes).filter((code) => !['ORLA_DEADLINE', 'ORLA_QUEUE_FULL'].includes(code))).toEqual([])
})

test('one seed makes one trace, in this process and in others', async () => {
  const here = await playScenario(drawScenario(7, simFaultNames), generatedSubject)
  const other = async (): Promise<string> => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      main,
      'sim-test',
      '--seed',
      '7',
      '--seeds',
      '1',
      '--json',
    ])
    return (JSON.parse(stdout) as { lastHash: string }).lastHash
  }
  const hashes = await Promise.all([other(), other()])
  expect(hashes).toEqual([here.hash, here.hash])
  expect((await playScenario(drawScenario(8, simFaultNames), generatedSubject)).hash).not.toBe(here.hash)
})

/** The generated subject with something broken in it. */
function broken(name: string, change: (setup: SimSetup) => Partial<SimSetup>): SimSubject {
  return {
    name,
    setUp(kit) {
      const setup = generatedSubject.setUp(kit)
      return { ...setup, ...change(setup) }
    },
  }
}

/** The first failure of a broken subject within some seeds. */
async function firstFailure(subject: SimSubject) {
  const report = await simTest({ seeds: 60, subject, failuresMax: 1, shrinkTriesMax: 120 })
  const failure = report.failures[0]
  if (failure === undefined) throw new Error(`nothing was found in ${report.seeds} seeds`)
  return failure
}

describe('what is broken on purpose is found, and made small', () => {
  test('an engine that gives a false answer', async () => {
    const subject = broken('liar', (setup) => ({
      backends: Object.fromEntries(
        Object.entries(setup.backends).map(([name, definition]) => [
          name,
          {
            ...definition,
            async connect(environment) {
              const driver = await definition.connect(environment)
              return {
                ...driver,
                chat(request, context, sink) {
                  const call = driver.chat(request, context, sink)
                  const result = call.result.then((given) => ({
                    ...given,
                    content: given.content.replace('word', 'wrod'),
                  }))
                  return { result, cancel: (reason) => call.cancel(reason) }
                },
              }
            },
          },
        ]),
      ),
    }))
    const { violations, smallest } = await firstFailure(subject)
    expect(violations[0]!.oracle).toBe('truth')
    expect(smallest.scenario.runs).toHaveLength(1)
    expect(smallest.scenario.runs[0]!.stages).toHaveLength(1)
    expect(smallest.scenario.faults).toEqual({})
    expect(smallest.scenario.deeds).toEqual([])
  })

  test('a cancellation that the engine never hears of', async () => {
    const subject = broken('deaf', (setup) => ({
      backends: Object.fromEntries(
        Object.entries(setup.backends).map(([name, definition]) => [
          name,
          {
            ...definition,
            async connect(environment) {
              const driver = await definition.connect(environment)
              return {
                ...driver,
                chat: (request, context, sink) => ({ ...driver.chat(request, context, sink), cancel() {} }),
              }
            },
          },
        ]),
      ),
    }))
    const { violations } = await firstFailure(subject)
    expect(violations[0]!.oracle).toBe('slots')
  })

  test('a tool that has its effect twice', async () => {
    const subject: SimSubject = {
      name: 'twice',
      setUp: (kit) =>
        generatedSubject.setUp({
          ...kit,
          effect(context) {
            kit.effect(context)
            kit.effect(context)
          },
        }),
    }
    const { violations, smallest } = await firstFailure(subject)
    expect(violations[0]!.oracle).toBe('effects')
    expect(smallest.scenario.runs).toHaveLength(1)
  })

  test('a policy that breaks', async () => {
    const policy = {
      name: 'broken',
      compare(): number {
        throw new Error('no order')
      },
    }
    const subject = broken('unordered', (setup) => ({
      options: {
        ...setup.options,
        scheduling: Object.fromEntries(Object.keys(setup.backends).map((name) => [name, { request: policy as never }])),
      },
    }))
    const { violations } = await firstFailure(subject)
    // Arrival order takes its place, and it is said as loudly as an actor that breaks.
    expect(violations[0]).toMatchObject({
      oracle: 'crash',
      message: expect.stringContaining('scheduling policy') as string,
    })
  })

  test('a message between runs and backends that is lost', async () => {
    const subject = broken('lossy', (setup) => {
      let grants = 0
      const delivery = (deliver: () => void, direction: string): void => {
        if (direction !== 'to-runs' || ++grants % 10 !== 0) deliver()
      }
      return { options: { ...setup.options, delivery } as NonNullable<SimSetup['options']> }
    })
    const report = await simTest({ seeds: 20, subject, faults: ['refuse'], failuresMax: 1, shrinkTriesMax: 0 })
    expect(report.failures[0]!.violations.map(({ oracle }) => oracle)).toContain('liveness')
  })
})

test('books that say other than transitions did are found', () => {
  const oracle = new MoneyOracle()
  const base = { seq: 1, atMs: 0, runId: 'r', stage: 's', reason: 'x' }
  oracle.event({ ...base, type: 'stage.mapped', from: 'mapping', to: 'building', backend: 'b', model: 'm' })
  oracle.event({ ...base, type: 'stage.completed', from: 'validating', to: 'completed', turns: 1 })
  const account = { ...zeroAccount, count: 1 }
  const budget = { kind: 'tenant' as const, name: 'red', limitUsd: 1, spentUsd: 0, reservedUsd: 0 }
  const runtime = (given: object, left: object): Runtime =>
    ({ accounts: () => [{ ...account, ...given }], budgets: () => [{ ...budget, ...left }] }) as unknown as Runtime
  expect(oracle.problems(runtime({}, {}))).toEqual([])
  expect(oracle.problems(runtime({ count: 0, costUsd: 1 }, { reservedUsd: 0.5, spentUsd: 2 }))).toEqual([
    'accounts have count 0, and transitions said 1',
    'accounts have costUsd 1, and transitions said 0',
    '$0.5 are still set aside of the budget of red',
    '$2 of $1 of red are spent',
  ])
})
