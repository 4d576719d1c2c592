import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { WorkflowInvalidError, type Issue } from '../../src/errors.ts'
import { limits } from '../../src/limits.ts'
import { compileWorkflow, type RawStage } from '../../src/workflow/compile.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { tool } from '../../src/workflow/tool.ts'

const prompt = (): string => 'x'
const good = { backend: 'main', prompt }
const stage = (name: unknown, options: unknown = good): RawStage => ({ name: name as string, options })

function issuesOf(stages: RawStage[], name: unknown = 'w'): Issue[] {
  try {
    compileWorkflow({ name: name as string, input: undefined, stages, result: undefined })
  } catch (error) {
    if (error instanceof WorkflowInvalidError) return [...error.issues]
    throw error
  }
  return []
}

const codesOf = (stages: RawStage[], name?: unknown): [string, string][] =>
  issuesOf(stages, name).map(({ path, code }) => [path, code])

const echo = tool({ description: 'd', input: z.object({}), run: () => 'x' })
/** A Standard Schema of a library that knows no JSON Schema. */
const plainSchema = { '~standard': { version: 1, vendor: 'other', validate: (value: unknown) => ({ value }) } } as const
const tools = (given: Record<string, unknown>): RawStage => stage('a', { ...good, tools: given })

describe('every mistake has a path and a code', () => {
  test.each<[what: string, stages: RawStage[], expected: [string, string][]]>([
    ['no stages', [], [['stages', 'no_stages']]],
    ['a name that is missing', [stage('')], [['stages[0].name', 'name_missing']]],
    ['a name that is no text', [stage(7)], [['stages[0].name', 'name_missing']]],
    ['a name that is too long', [stage('a'.repeat(129))], [['stages[0].name', 'name_too_long']]],
    ['a name that reaches into a prototype', [stage('__proto__')], [['stages[0].name', 'unsafe_key']]],
    ['a name with a slash', [stage('a/b')], [['stages[0].name', 'name_characters']]],
    ['a name twice', [stage('a'), stage('a')], [['stages[1].name', 'duplicate_stage']]],
    ['options that are missing', [stage('a', null)], [['stages.a', 'invalid_type']]],
    ['an unknown dependency', [stage('a', { ...good, after: ['b'] })], [['stages.a.after[0]', 'unknown_stage']]],
    [
      'a dependency twice',
      [stage('a'), stage('b', { ...good, after: ['a', 'a'] })],
      [['stages.b.after[1]', 'duplicate_dependency']],
    ],
    ['no backend', [stage('a', { prompt })], [['stages.a.backend', 'no_backend']]],
    [
      'backend and mapping',
      [stage('a', { ...good, mapping: () => ({}) })],
      [['stages.a.mapping', 'backend_and_mapping']],
    ],
    ['no prompt', [stage('a', { backend: 'main' })], [['stages.a.prompt', 'missing_builder']]],
    ['a prompt that is no function', [stage('a', { backend: 'main', prompt: 3 })], [['stages.a.prompt', 'custom']]],
    ['nothing to append', [stage('a', { ...good, context: 'append' })], [['stages.a.context', 'nothing_to_append']]],
    [
      'an option out of range',
      [stage('a', { ...good, temperature: 3, turnsMax: 0, retry: { attempts: 0.5 } })],
      [
        ['stages.a.temperature', 'too_big'],
        ['stages.a.turnsMax', 'too_small'],
        ['stages.a.retry.attempts', 'invalid_type'],
      ],
    ],
    ['an unknown option', [stage('a', { ...good, temprature: 1 })], [['stages.a', 'unrecognized_keys']]],
    [
      'a timeout that is no number',
      [stage('a', { ...good, timeouts: { stageMs: Number.NaN } })],
      [['stages.a.timeouts.stageMs', 'invalid_type']],
    ],
    [
      'a priority that is no number',
      [stage('a', { ...good, priority: 'high' })],
      [['stages.a.priority', 'invalid_union']],
    ],
    ['a schema that is none', [stage('a', { ...good, output: {} })], [['stages.a.output', 'custom']]],
    [
      'an output schema without JSON Schema',
      [stage('a', { ...good, output: plainSchema })],
      [['stages.a.output', 'no_json_schema']],
    ],
    ['a tool that is none', [tools({ t: { description: 'x' } })], [['stages.a.tools.t', 'not_a_tool']]],
    ['a tool without a schema', [tools({ t: { run: prompt } })], [['stages.a.tools.t.input', 'not_a_schema']]],
    [
      'a tool whose schema has no JSON Schema',
      [tools({ t: { ...echo, input: plainSchema } })],
      [['stages.a.tools.t.input', 'no_json_schema']],
    ],
    ['a tool with an unsafe name', [tools({ constructor: echo })], [['stages.a.tools.constructor', 'unsafe_key']]],
    [
      'too many tools',
      [tools(Object.fromEntries(Array.from({ length: 129 }, (_, i) => [`t${i}`, echo])))],
      [['stages.a.tools', 'too_many_tools']],
    ],
    [
      'a tool that may never run',
      [tools({ t: { ...echo, concurrency: 0 } })],
      [['stages.a.tools.t.concurrency', 'too_small']],
    ],
    ['a tool without time', [tools({ t: { ...echo, timeoutMs: -1 } })], [['stages.a.tools.t.timeoutMs', 'too_small']]],
    [
      'a tool whose description is no text',
      [tools({ t: { ...echo, description: 7 } })],
      [['stages.a.tools.t.description', 'invalid_type']],
    ],
  ])('%s', (_what, stages, expected) => {
    expect(codesOf(stages)).toEqual(expected)
  })

  test('a workflow name is checked like any other', () => {
    expect(codesOf([stage('a')], '')).toEqual([['name', 'name_missing']])
    expect(codesOf([stage('a')], null)).toEqual([['name', 'name_missing']])
    expect(codesOf([stage('a')], 'toString')).toEqual([['name', 'unsafe_key']])
  })

  test('all mistakes come at once', () => {
    const codes = codesOf(
      [
        stage('a', { prompt, after: ['nobody'] }),
        stage('b', { backend: 'x', tools: { t: 1 } }),
        stage('b', {}),
        stage('c', { ...good, after: ['d'] }),
        stage('d', { ...good, after: ['c'] }),
      ],
      'bad name',
    )
    expect(codes).toEqual([
      ['name', 'name_characters'],
      ['stages[2].name', 'duplicate_stage'],
      ['stages.a.after[0]', 'unknown_stage'],
      ['stages.a.backend', 'no_backend'],
      ['stages.b.prompt', 'missing_builder'],
      ['stages.b.tools.t', 'not_a_tool'],
      ['stages[2].backend', 'no_backend'],
      ['stages[2].prompt', 'missing_builder'],
      ['stages.c.after', 'cycle'],
    ])
  })

  test('a mistyped dependency is met with the name that was meant', () => {
    const [issue] = issuesOf([stage('classify'), stage('b', { ...good, after: ['Classify'] })])
    expect(issue?.message).toContain('did you mean "classify"?')
    expect(issuesOf([stage('a'), stage('b', { ...good, after: ['zzz'] })])[0]?.message).toContain('there are: a, b')
  })

  test('lists no more than a thousand mistakes', () => {
    expect(issuesOf(Array.from({ length: 3_000 }, (_, i) => stage(`s${i}`, {})))).toHaveLength(limits.issuesMax)
  })

  test('more stages than allowed are refused without looking at them', () => {
    const stages = Array.from({ length: limits.stagesMax + 1 }, (_, i) => stage(`s${i}`, null))
    expect(codesOf(stages)).toEqual([['stages', 'too_many_stages']])
  })
})

describe('cycles', () => {
  const waits = (edges: Record<string, string[]>): RawStage[] =>
    Object.entries(edges).map(([name, after]) => stage(name, { ...good, after }))

  test('names the stages of the cycle, in waiting order', () => {
    const [issue] = issuesOf(waits({ a: ['c'], b: ['a'], c: ['b'], d: ['a'], free: [] }))
    expect(issue).toMatchObject({ path: 'stages.a.after', code: 'cycle' })
    expect(issue?.message).toBe('stages wait for each other: a -> c -> b -> a')
  })

  test('a stage that waits for itself is a cycle of one', () => {
    expect(issuesOf(waits({ a: ['a'] }))[0]?.message).toContain('a -> a')
  })

  test('reports each of two cycles once', () => {
    const messages = issuesOf(waits({ a: ['b'], b: ['a'], c: ['d'], d: ['c'], e: ['a', 'c'] })).map(
      ({ message }) => message,
    )
    expect(messages).toHaveLength(2)
    expect(messages.join()).toMatch(/a -> b -> a.*c -> d -> c/)
  })

  test('finds a cycle behind 100,000 stages without recursion', () => {
    const count = 100_000
    const [issue] = issuesOf(
      Array.from({ length: count }, (_, i) => stage(`s${i}`, { ...good, after: [`s${i === 0 ? count - 1 : i - 1}`] })),
    )
    expect(issue?.code).toBe('cycle')
    expect(issue?.message.startsWith('stages wait for each other: s0 -> s99999 -> s99998')).toBe(true)
    expect(issue!.message.length).toBeLessThan(2_000)
  })
})

describe('large definitions', () => {
  const chain = (count: number): RawStage[] =>
    Array.from({ length: count }, (_, i) => stage(`s${i}`, i === 0 ? good : { ...good, after: [`s${i - 1}`] }))
  const fan = (count: number): RawStage[] =>
    Array.from({ length: count }, (_, i) => stage(`s${i}`, i === 0 ? good : { ...good, after: ['s0'] }))
  const compileMs = (stages: RawStage[]): number => {
    // CPU time: other tests run at the same time.
    const before = process.threadCpuUsage()
    compileWorkflow({ name: 'w', input: undefined, stages, result: undefined })
    return process.threadCpuUsage(before).user / 1000
  }

  test.each([
    ['chain', chain],
    ['fan-out', fan],
  ] as const)('a %s of 100,000 stages compiles in time that grows with its length', (_what, make) => {
    compileMs(make(2_000))
    const smallMs = Math.min(...[1, 2, 3].map(() => compileMs(make(10_000))))
    const largeMs = compileMs(make(100_000))
    // Ten times the stages, with room for caches and collection: a quadratic step would cost a hundred times.
    expect(largeMs).toBeLessThan(smallMs * 40)
  })
})

describe('definitions', () => {
  test('are complete, with every default filled in', () => {
    const definition = workflow('w').stage('a', {
      ...good,
      priority: { request: 3 },
      tools: { echo },
      maxTokens: 7,
      timeouts: { stageMs: 5, idleMs: 6 },
    }).definition
    expect(definition.stages[0]).toMatchObject({
      index: 0,
      stageClass: 'w/a',
      after: [],
      mapping: { kind: 'explicit', backend: 'main' },
      requirements: { tools: true, jsonSchema: false, maxTokens: 7 },
      params: { maxTokens: 7 },
      stagePriority: 0,
      requestPriority: 3,
      context: 'results',
      cache: 'auto',
      turnsMax: 16,
      repairTurns: 2,
      attempts: 3,
      timeouts: { idleMs: 6 },
      stageTimeoutMs: 5,
    })
  })

  test('are compiled once and cannot be changed', () => {
    const defined = workflow('w')
      .stage('a', good)
      .stage('b', { ...good, after: ['a'] })
    const { definition } = defined
    expect(defined.definition).toBe(definition)
    expect(Object.isFrozen(definition)).toBe(true)
    expect(() => (definition.stages as unknown[]).push(1)).toThrow(TypeError)
    expect(() => Object.assign(definition.stages[0]!, { name: 'z' })).toThrow(TypeError)
  })

  test('a builder is never changed by what is built on it', () => {
    const base = workflow('w').stage('a', good)
    const left = base.stage('b', good)
    const right = base.stage('c', { ...good, after: ['a'] })
    expect([base, left, right].map(({ definition }) => definition.stages.map(({ name }) => name))).toEqual([
      ['a'],
      ['a', 'b'],
      ['a', 'c'],
    ])
  })

  test('list the backends they name, for the runtime to check', () => {
    const defined = workflow('w')
      .stage('a', good)
      .stage('b', { mapping: () => ({ backend: 'x', reason: '' }), prompt })
    expect(defined.backendReferences).toEqual([{ path: 'stages.a.backend', backend: 'main' }])
  })
})
