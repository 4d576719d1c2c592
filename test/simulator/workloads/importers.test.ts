import { describe, expect, test } from 'vitest'
import { loadWorkload } from '../../../src/simulator/workloads/load.ts'
import { commonTokens, fileOf, gz, load, promptsOf } from './support.ts'

const azure = `TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:03.9799600,4808,10
2024-05-10 00:00:00.500000+00:00,0,0
`

describe('Azure traces', () => {
  test('become single requests at their times, which share nothing', async () => {
    const { runs } = await load(azure)
    expect(runs.map(({ arrivalMs }) => Math.round(arrivalMs! * 1e4) / 1e4).slice(0, 2)).toEqual([0, 52])
    const [first, second, third] = runs.map((run) => promptsOf(run)[0]!)
    expect([first!.tokens, second!.tokens]).toEqual([4_808, 3_180])
    expect(commonTokens(first!.prompt, second!.prompt)).toBe(0)
    // An engine computes and generates at least a token.
    expect(third).toMatchObject({ tokens: 1 })
    expect(third!.answer.to - third!.answer.from).toBe(1)
  })

  test('are read compressed, with Windows line ends, and without an end of the last line', async () => {
    const plain = await load(azure)
    const windows = await load(gz(azure.trim().replaceAll('\n', '\r\n')))
    expect(windows.runs).toEqual(plain.runs)
  })
})

describe('Mooncake traces', () => {
  const row = (timestamp: number, input: number, output: number, ids: number[]): string =>
    JSON.stringify({ timestamp, input_length: input, output_length: output, hash_ids: ids })

  test('share blocks of equal ids, and nothing behind them', async () => {
    const { runs } = await load(
      [row(0, 1_100, 7, [1, 2, 3]), row(5, 1_300, 9, [1, 2, 4]), row(9, 600, 1, [5, 2])].join('\n'),
    )
    const [a, b, c] = runs.map((run) => promptsOf(run)[0]!)
    expect([a!.tokens, b!.tokens, c!.tokens]).toEqual([1_100, 1_300, 600])
    expect(commonTokens(a!.prompt, b!.prompt)).toBe(1_024)
    expect(commonTokens(a!.prompt, c!.prompt)).toBe(0)
    expect(runs.map(({ arrivalMs }) => arrivalMs)).toEqual([0, 5, 9])
  })

  test('put an answer where no prompt finds it by the id of a block that was not full', async () => {
    const { runs } = await load([row(0, 520, 20, [1, 2]), row(1, 1_024, 1, [1, 2])].join('\n'))
    const [a, b] = runs.map((run) => promptsOf(run)[0]!)
    expect(a!.answer.stream).toContain('answer')
    expect(commonTokens([...a!.prompt, a!.answer], b!.prompt)).toBe(520)
  })

  test('give what has no block a stream of its own', async () => {
    const { runs } = await load([row(0, 700, 1, [1]), row(0, 700, 1, [1])].join('\n'))
    const [a, b] = runs.map((run) => promptsOf(run)[0]!)
    expect([a!.tokens, b!.tokens]).toEqual([700, 700])
    expect(commonTokens(a!.prompt, b!.prompt)).toBe(512)
  })

  test('may have blocks of another size', async () => {
    const { runs } = await load(row(0, 40, 1, [1, 2, 3]), { blockTokens: 16 })
    expect(promptsOf(runs[0]!)[0]!.tokens).toBe(40)
  })
})

describe('session tables', () => {
  test('make a session of each session and sub-agent, with the waits before turns', async () => {
    const { runs, name } = await loadWorkload(
      fileOf(
        `session,turn,sub,t_s,in_tokens,out_tokens,reused_prefix_tokens,think_s,api_s
x,0,,0.0,100,10,0,0.0,5
x,1,,20.0,150,0,96,2.5,
x,2,,40.0,180,5,128,,1
x,0,s0,0.0,30,3,0,0.0,1
`,
        'claude sessions.csv.gz',
      ),
    )
    expect(name).toBe('claude_sessions')
    expect(runs.map(({ id, arrivalMs }) => [id, arrivalMs])).toEqual([
      ['x', undefined],
      ['x/s0', undefined],
    ])
    const turns = runs[0]!.steps[0]!.turns
    // The third was not timed: what lies between the second's beginning and its own.
    expect(turns.map(({ waitMs }) => waitMs)).toEqual([0, 2_500, 20_000])
    expect(turns.map(({ outputTokens }) => outputTokens)).toEqual([10, 1, 5])
  })

  test('compute at least a token of a prompt that was there before as a whole', async () => {
    const { runs } = await load('session,turn,in_tokens,out_tokens,reused_prefix_tokens\na,0,100,1,0\na,1,100,1,100')
    const [first, second] = promptsOf(runs[0]!)
    expect(second!.tokens).toBe(100)
    expect(commonTokens(first!.prompt, second!.prompt)).toBe(99)
  })

  test('let sessions that begin with a cached prefix begin alike', async () => {
    const { runs } = await load('session,turn,in_tokens,out_tokens,reused_prefix_tokens\na,0,100,1,64\nb,0,90,1,80')
    const [a, b] = runs.map((run) => promptsOf(run)[0]!)
    expect(commonTokens(a!.prompt, b!.prompt)).toBe(64)
  })
})

describe('agentic rows', () => {
  const rows = (list: object[]): string => list.map((row) => JSON.stringify(row)).join('\n')
  const row = (request_id: string, fields: object = {}): object => ({
    request_id,
    session_id: 'root',
    input_length: 600,
    output_length: 10,
    hash_ids: [1, 2],
    ...fields,
  })

  test('that only follow each other are turns of one step', async () => {
    const { runs } = await load(
      rows([
        row('r1', { timestamp: 100 }),
        row('r2', {
          wait_for: ['r1'],
          delay: 50,
          tool_wait_ms: 200,
          tool_events: [{ tool_name: 'grep' }],
          input_length: 1_100,
          hash_ids: [1, 2, 3],
        }),
      ]),
    )
    expect(runs).toHaveLength(1)
    const [run] = runs
    expect(run).toMatchObject({ id: 'root', arrivalMs: 100, steps: [{ name: 'turns', after: [] }] })
    expect(run!.steps[0]!.turns[1]).toMatchObject({ shared: 512, waitMs: 250, waitFor: 'grep' })
    expect(promptsOf(run!).map(({ tokens }) => tokens)).toEqual([600, 1_100])
  })

  test('that branch and join become a DAG', async () => {
    const { runs } = await load(
      rows([
        row('p1', { timestamp: 0, branches: ['c1'] }),
        row('c1', { session_id: 'child' }),
        row('c2', { session_id: 'child', wait_for: ['c1'] }),
        row('p2', { wait_for: ['p1', 'c2'] }),
        row('alone', { session_id: null, timestamp: 40 }),
      ]),
    )
    expect(runs.map(({ id, steps }) => [id, steps.map(({ after, turns }) => [after, turns.length])])).toEqual([
      [
        'root',
        [
          [[], 1],
          [['step1'], 2],
          [['step1', 'step2'], 1],
        ],
      ],
      ['alone', [[[], 1]]],
    ])
  })

  test('that wait for nothing begin at their times', async () => {
    const { runs } = await load(rows([row('a', { timestamp: 1_000 }), row('b', { timestamp: 1_750 })]))
    expect(runs[0]!.arrivalMs).toBe(1_000)
    expect(runs[0]!.steps.map(({ turns }) => turns[0]!.waitMs)).toEqual([0, 750])
  })

  test('without times follow each other', async () => {
    const { runs } = await load(rows([row('a'), row('b', { session_id: 'other', timestamp: 3 })]))
    expect(runs.map(({ arrivalMs }) => arrivalMs)).toEqual([undefined, undefined])
  })
})
