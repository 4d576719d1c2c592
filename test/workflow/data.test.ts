import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { WorkflowInvalidError } from '../../src/errors.ts'
import { workflowFromData } from '../../src/workflow/data.ts'
import { tool } from '../../src/workflow/tool.ts'
import { scripted, type ScriptedBackend } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'

const search = tool({ description: 'd', input: z.object({}), run: () => 'found' })
const stage = (name: string, more: object = {}): object => ({ name, backend: 'main', prompt: 'x', ...more })

function problems(data: unknown): [string, string][] {
  try {
    void workflowFromData(data, { tools: { search } }).definition
  } catch (error) {
    if (error instanceof WorkflowInvalidError) return error.issues.map(({ path, code }) => [path, code])
    throw error
  }
  return []
}

const nested = (depth: number): object => {
  let condition: object = { path: 'input.a', exists: true }
  for (let i = 0; i < depth; i++) condition = { not: condition }
  return condition
}

describe('mistakes in plain data have a path and a code', () => {
  test.each<[what: string, data: unknown, expected: [string, string][]]>([
    ['no object', 'text', [['(root)', 'invalid_type']]],
    ['null', null, [['(root)', 'invalid_type']]],
    ['no stages', { name: 'w', stages: [] }, [['stages', 'no_stages']]],
    ['an unknown key', { name: 'w', stages: [stage('a')], extra: 1 }, [['(root)', 'unrecognized_keys']]],
    [
      'a stage that is none',
      { name: 'w', stages: [null] },
      [
        ['stages[0]', 'invalid_type'],
        ['stages[0].name', 'name_characters'],
      ],
    ],
    [
      'an unknown tool',
      { name: 'w', stages: [stage('a', { tools: ['search', 'toString'] })] },
      [['stages.a.tools[1]', 'unknown_tool']],
    ],
    [
      'a placeholder of an undeclared stage',
      { name: 'w', stages: [stage('a'), stage('b', { prompt: '{{ results.a }}' })] },
      [['stages.b.prompt', 'unknown_stage']],
    ],
    [
      'a condition of two forms',
      { name: 'w', stages: [stage('a', { when: { path: 'input', equals: 1, exists: true } })] },
      [['stages.a.when', 'invalid_union']],
    ],
    [
      'a JSON Schema that is none',
      { name: 'w', input: { type: 'banana' }, stages: [stage('a')] },
      [['input', 'json_schema']],
    ],
    ['data that nests too deep', { name: 'w', stages: [stage('a', { when: nested(100) })] }, [['(root)', 'too_deep']]],
  ])('%s', (_what, data, expected) => {
    expect(problems(data)).toEqual(expected)
  })

  test('all at once, those of the graph among them', () => {
    const codes = problems({
      name: 'w',
      stages: [
        stage('a', { after: ['b'], temperature: 9 }),
        stage('b', { after: ['a'], tools: ['nope'] }),
        stage('c', { after: ['zzz'] }),
      ],
      output: 'results.nobody',
    }).map(([, code]) => code)
    expect(codes).toEqual(expect.arrayContaining(['too_big', 'unknown_tool', 'cycle', 'unknown_stage']))
    expect(codes.length).toBeGreaterThanOrEqual(5)
  })
})

describe('conditions, priorities and results from plain data', () => {
  async function run(
    definition: object,
    input: unknown,
  ): Promise<{ result: unknown; backend: ScriptedBackend; priorities: number[] }> {
    const backend = scripted((call) => call.answer(call.stage === 'read' ? JSON.stringify(input) : call.lastText))
    const runtime = await testRuntime({ main: backend })
    const result = await runtime.until(runtime.start(workflowFromData(definition), input).result)
    runtime.audit()
    const priorities = runtime
      .transitions()
      .flatMap((each) => (each.type === 'stage.queued' && each.stage === 's' ? [each.stagePriority] : []))
    return { result, backend, priorities }
  }
  const read = stage('read', { output: { type: 'object' } })

  test.each<[condition: object, value: unknown, taken: boolean]>([
    [{ path: 'results.read.v', equals: 1 }, 1, true],
    [{ path: 'results.read.v', equals: 1 }, '1', false],
    [{ path: 'results.read.v', notEquals: 1 }, 2, true],
    [{ path: 'results.read.v', in: ['a', 'b'] }, 'b', true],
    [{ path: 'results.read.v', in: ['a', 'b'] }, null, false],
    [{ path: 'results.read.v', exists: false }, undefined, true],
    [{ path: 'results.read.v', exists: true }, null, true],
    [{ path: 'results.read.w', exists: true }, 1, false],
    [{ path: 'results.read.v', atLeast: 5 }, 5, true],
    [{ path: 'results.read.v', atMost: 5 }, 6, false],
    [{ path: 'results.read.v', atLeast: 5 }, '9', false],
    [{ all: [{ path: 'results.read.v', atLeast: 1 }, { not: { path: 'results.read.v', equals: 3 } }] }, 3, false],
    [
      {
        any: [
          { path: 'results.read.v', equals: 1 },
          { path: 'results.read.v', equals: 3 },
        ],
      },
      3,
      true,
    ],
  ])('%j of %j: %s', async (when, value, taken) => {
    const { backend } = await run({ name: 'w', stages: [read, stage('s', { after: ['read'], when })] }, { v: value })
    expect(backend.calls.some((call) => call.stage === 's')).toBe(taken)
  })

  test.each([
    ['high', 9],
    ['unknown', 1],
    ['toString', 1],
  ])('a priority by the value %j is %s', async (value, expected) => {
    const priority = { path: 'results.read.v', values: { high: 9 }, otherwise: 1 }
    const { priorities } = await run(
      { name: 'w', stages: [read, stage('s', { after: ['read'], priority })] },
      { v: value },
    )
    expect(priorities).toEqual([expected])
  })

  test('templates and the result read what is there', async () => {
    const definition = {
      name: 'w',
      stages: [
        read,
        stage('s', {
          after: ['read'],
          prompt: [
            { role: 'system', content: 'Be kind.' },
            { role: 'user', content: 'Hello {{ results.read.v }}, {{input.v}}' },
          ],
        }),
      ],
      output: { said: 'results.s', v: 'results.read.v' },
    }
    expect((await run(definition, { v: 'Ann' })).result).toEqual({ said: 'Hello Ann, Ann', v: 'Ann' })
  })
})
