import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OptionsError } from '../../../src/errors.ts'
import { loadWorkload } from '../../../src/simulator/workloads/load.ts'
import { fileOf, gz, load, problemsOf } from './support.ts'

const table = 'session,turn,in_tokens,out_tokens,reused_prefix_tokens'

describe('a file that cannot be understood', () => {
  test('is told from a file that is not there', async () => {
    await expect(loadWorkload('/nowhere/trace.csv')).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('is named with line, column and what to do', async () => {
    const error: unknown = await loadWorkload(fileOf(`${table}\ns,0,-5,1,0`)).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OptionsError)
    const { message, code } = error as OptionsError
    expect(code).toBe('ORLA_OPTIONS')
    expect(message).toMatch(/trace\.csv:2:in_tokens: is "-5"; it must be at least 0 \[negative\]/)
  })

  test.each([
    ['empty', '', ['1 empty']],
    ['blank', '\n \n\n', ['1 empty']],
    ['of another kind', 'hello\nworld', ['1 unknown_format']],
    ['only a header', table, ['1 empty']],
    ['without a column', 'session,turn,in_tokens,reused_prefix_tokens\ns,0,1,0', ['1:out_tokens missing_column']],
    ['with a column nobody knows', `${table},mood\ns,0,1,1,0,good`, ['1:mood unknown_column']],
    ['with a column twice', `${table},turn\ns,0,1,1,0,0`, ['1:turn duplicate_column']],
    ['with a short row', `${table}\ns,0,1`, ['2 row_width']],
    ['with no number', `${table}\ns,0,NaN,1,0`, ['2:in_tokens not_a_number']],
    ['with half a token', `${table}\ns,0,1.5,1,0`, ['2:in_tokens not_a_number']],
    ['with a huge number', `${table}\ns,0,1e300,1,0`, ['2:in_tokens too_large']],
    ['with an empty cell', `${table}\ns,0,,1,0`, ['2:in_tokens missing']],
    ['with turns out of order', `${table}\ns,1,5,1,0\ns,1,6,1,0`, ['3:turn order']],
    ['that reuses more than the prompt', `${table}\ns,0,5,1,6`, ['2:reused_prefix_tokens reuse']],
    ['that reuses what was not there', `${table}\ns,0,5,1,0\ns,1,50,1,7`, ['3:reused_prefix_tokens reuse']],
    ['with no time', 'TIMESTAMP,ContextTokens,GeneratedTokens\nsoon,1,1', ['2:TIMESTAMP not_a_time']],
    ['of broken JSON', '{"timestamp":0,"input_length":1,"output_length":1,"hash_ids":[]}\n{"ti', ['2 not_an_object']],
    ['of JSON lists', '{"timestamp":0,"input_length":1,"output_length":1,"hash_ids":[]}\n[1]', ['2 not_an_object']],
    [
      'with a key nobody knows',
      '{"timestamp":0,"input_length":1,"output_length":1,"hash_ids":[],"x":1}',
      ['1:x unknown_column'],
    ],
    ['without a key', '{"timestamp":0,"input_length":1,"hash_ids":[]}', ['1:output_length missing']],
    [
      'with ids that are none',
      '{"timestamp":0,"input_length":1,"output_length":1,"hash_ids":[{}]}',
      ['1:hash_ids not_an_id'],
    ],
    [
      'with no list of ids',
      '{"timestamp":0,"input_length":1,"output_length":1,"hash_ids":7}',
      ['1:hash_ids not_a_list'],
    ],
    [
      'with too many blocks',
      '{"timestamp":0,"input_length":5,"output_length":1,"hash_ids":[1,2]}',
      ['1:hash_ids blocks'],
    ],
  ])('is refused: %s', async (_, text, expected) => {
    expect(await problemsOf(text)).toEqual(expected)
    if (text !== '') expect(await problemsOf(gz(text))).toEqual(expected)
  })

  test.each([
    ['an unknown request', [{ wait_for: ['zz'] }], ['1:wait_for unknown_request']],
    ['an unknown branch', [{ branches: ['zz'] }], ['1:branches unknown_request']],
    ['itself', [{ wait_for: ['r0'] }], ['1:wait_for cycle']],
    ['each other', [{ wait_for: ['r1'] }, { wait_for: ['r0'] }], ['1:wait_for cycle', '2:wait_for cycle']],
    ['something that is no list', [{ wait_for: 'r0' }], ['1:wait_for not_a_list']],
    ['a negative time', [{ delay: -1 }], ['1:delay negative']],
    ['too many blocks', [{ hash_ids: [1, 2, 3] }], ['1:hash_ids blocks']],
    ['nobody by name', [{ request_id: null }], ['1:request_id not_a_name']],
    ['one id', [{}, { request_id: 'r0' }], ['2:request_id duplicate']],
  ])('is refused: agentic rows that wait for %s', async (_, fields, expected) => {
    const rows = fields.map((field, i) => ({ request_id: `r${i}`, input_length: 5, output_length: 1, ...field }))
    expect(await problemsOf(rows.map((row) => JSON.stringify(row)).join('\n'))).toEqual(expected)
  })

  test.each([
    ['another version', '{"format":"orla-workload","version":2}', ['1:version invalid_value']],
    ['another format', '{"format":"other","version":1}', ['1:format invalid_value']],
    ['a run without steps', run({ steps: [] }), ['2:steps too_small']],
    [
      'a step of a name no stage may have',
      run({ steps: [{ name: 'a b', turns: [] }] }),
      ['2:steps[0].name invalid_format'],
    ],
    ['an unknown step', run({ steps: [{ name: 'a', after: ['b'], turns: [] }] }), ['2:steps[0].after unknown_step']],
    [
      'two steps of one name',
      run({
        steps: [
          { name: 'a', turns: [] },
          { name: 'a', turns: [] },
        ],
      }),
      ['2:steps duplicate'],
    ],
    ['a span that runs backwards', turnWith({ fresh: [['s', 5, 1]] }), ['2:steps[0].turns[0] span']],
    ['a prefix that was not there', turnWith({ shared: 5 }), ['2:steps[0].turns[0] reuse']],
    ['an empty prompt', turnWith({ fresh: [['s', 1, 1]] }), ['2:steps[0].turns[0] empty']],
    ['no answer', turnWith({ out: 0 }), ['2:steps[0].turns[0].out too_small']],
  ])('is refused: a recording with %s', async (_, text, expected) => {
    expect(await problemsOf(text)).toEqual(expected)
  })

  test('is refused when its gzip data ends early or is damaged', async () => {
    const whole = gz(`${table}\n${Array.from({ length: 5_000 }, (_, i) => `s${i * 7_919},0,${i + 1},1,0`).join('\n')}`)
    const [cut] = await problemsOf(whole.slice(0, whole.length / 2))
    expect(cut).toMatch(/^\d+ unreadable$/)
    const damaged = Uint8Array.from(whole)
    damaged[damaged.length - 8]! ^= 1
    expect((await problemsOf(damaged)).at(-1)).toMatch(/unreadable/)
  })

  test('is refused when it is not text', async () => {
    expect(await problemsOf(Uint8Array.from([0xff, 0xfe, 0x00, 0xc3, 0x28]))).toEqual(['1 unreadable'])
  })

  test('is read no further than to its twentieth problem', async () => {
    const problems = await problemsOf([table, ...Array.from({ length: 500 }, () => 's,0,x,1,0')].join('\n'))
    expect(problems).toHaveLength(20)
  })

  test('is refused when a line has no end', async () => {
    const endless = gz(`${table}\n${'1'.repeat(17 * 1024 * 1024)}`)
    expect(await problemsOf(endless)).toEqual(['2 line_too_long'])
  })

  test('is refused with typed errors only, whatever is in it', async () => {
    const good = [
      `${table}\ns,0,100,5,0\ns,1,120,5,90`,
      'TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.97,4808,10',
      '{"timestamp":0,"input_length":700,"output_length":5,"hash_ids":[0,1]}',
      '{"request_id":"a","wait_for":[],"input_length":700,"output_length":5,"hash_ids":[0,1]}',
      turnWith({}),
    ]
    const junk = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary' }),
      fc.json(),
      fc.constantFrom('NaN', '-1', '1e400', 'null', '""', '{', '[', ',', '\n', '\0', '9007199254740993'),
    )
    const broken = fc.record({ text: fc.constantFrom(...good), at: fc.nat(), cut: fc.nat(12), junk, zip: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(broken, async ({ text, at, cut, junk: piece, zip }) => {
        const start = at % (text.length + 1)
        const changed = text.slice(0, start) + piece + text.slice(start + cut)
        await load(zip ? gz(changed) : changed).catch((error: unknown) => expect(error).toBeInstanceOf(OptionsError))
      }),
      { numRuns: 250 },
    )
  })
})

function run(fields: object): string {
  return `{"format":"orla-workload","version":1}\n${JSON.stringify({ id: 'r', ...fields })}`
}

function turnWith(fields: object): string {
  return run({ steps: [{ name: 'a', turns: [{ fresh: [['s', 0, 9]], out: 3, ...fields }] }] })
}
