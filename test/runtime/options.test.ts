// The options of a runtime: no key is ignored, and what was meant is named.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createRuntime, OptionsError, openAi } from '../../src/index.ts'
import { issuesOf } from '../../src/schema/options.ts'
import { scripted } from '../support/scripted-backend.ts'

async function issues(options: object): Promise<string[]> {
  const made = createRuntime({ backends: { light: scripted() }, ...options })
  const error = await made.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof OptionsError)) throw new Error('no OptionsError')
  return error.issues.map(({ path, message }) => `${path}: ${message}`)
}

describe('the options of a runtime', () => {
  test('that are unknown are refused wherever they stand, each with its path and what was meant', async () => {
    expect(
      await issues({
        schedulling: {},
        memory: { polic: 'paper', kvTokens: {} },
        prompts: { thread: 1 },
        scheduling: { light: { stages: 'fcfs' } },
      }),
    ).toEqual([
      'scheduling.light.stages: Unrecognized key: "stages"; did you mean "stage"?',
      'memory.polic: Unrecognized key: "polic"; did you mean "policy"?',
      'prompts.thread: Unrecognized key: "thread"; did you mean "threads"?',
      'schedulling: Unrecognized key: "schedulling"; did you mean "scheduling"?',
    ])
    expect(await issues({ budgets: { tenants: { ada: { usd: 1, pet: 'day' } }, stageClass: {} } })).toEqual([
      'budgets.tenants.ada.pet: Unrecognized key: "pet"; did you mean "per"?',
      'budgets.stageClass: Unrecognized key: "stageClass"; did you mean "stageClasses"?',
    ])
    expect(await issues({ prices: { url: 'https://x', ttl: 5 } })).toEqual([
      'ttl: Unrecognized key: "ttl"; did you mean "ttlMs"?',
    ])
    expect(await issues({ shadows: { 'w/s': { backend: 'light', share: 1, compaer: 1 } } })).toEqual([
      'shadows.w/s.compaer: Unrecognized key: "compaer"; did you mean "compare"?',
    ])
  })

  test('of another kind than they should be are named, all at once', async () => {
    const wrong = await issues({ clock: {}, log: () => {}, seed: '7', probeTimeoutMs: -1, prompts: 3, actors: {} })
    expect(wrong.map((line) => line.split(':')[0])).toEqual(
      expect.arrayContaining(['clock', 'log', 'seed', 'probeTimeoutMs', 'prompts', 'actors']),
    )
  })

  test('of a backend name the nearest key too', () => {
    expect(() => openAi({ url: 'http://localhost:1', model: 'm', windowRequest: 4 } as never)).toThrow(
      /windowRequest: Unrecognized key: "windowRequest"; did you mean "windowRequests"\?/,
    )
    expect(() => openAi({ url: 'http://localhost:1', model: 'm', timeouts: { firstToken: 4 } } as never)).toThrow(
      /timeouts\.firstToken: .* did you mean "firstTokenMs"\?/,
    )
  })
})

test('an unknown key is found in whatever a schema is made of, and without a near one all are listed', () => {
  const inside = z.strictObject({ alpha: z.number().optional(), beta: z.number().optional() })
  const schema = z.strictObject({
    list: z.array(z.union([z.string(), inside])),
    record: z.record(z.string(), inside.prefault({})).optional(),
    nullable: inside.nullable().default(null),
  })
  const given = { list: ['x', { alpa: 1 }], record: { a: { bet: 1 } }, nullable: { zzz: 1 } }
  const found = issuesOf(schema.safeParse(given).error!, 'base', schema)
  expect(found.map(({ path, message }) => `${path}: ${message}`)).toEqual([
    'base.list[1].alpa: Unrecognized key: "alpa"; did you mean "alpha"?',
    'base.record.a.bet: Unrecognized key: "bet"; did you mean "beta"?',
    'base.nullable.zzz: Unrecognized key: "zzz"; there are: alpha, beta',
  ])
})
