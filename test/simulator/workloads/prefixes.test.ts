import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RunPlayer } from '../../../src/simulator/workloads/run-player.ts'
import { sessionRun, type WorkloadTurn } from '../../../src/simulator/workloads/workload.ts'
import { commonTokens, identities, limitsWith, load, promptsOf, tokensOf } from './support.ts'

const turn = (shared: number, tokens: number, id: string, outputTokens = 5): WorkloadTurn => ({
  shared,
  fresh: [{ stream: id, from: 0, to: tokens }],
  outputTokens,
  waitMs: 1_000,
  waitFor: 'user',
})

/** Sessions as the table has them: each turn reuses a part of the turn before and its answer. */
const sessionRows = fc
  .array(
    fc.record({
      reuse: fc.double({ min: 0, max: 1, noNaN: true }),
      fresh: fc.integer({ min: 1, max: 40 }),
      out: fc.integer({ min: 0, max: 30 }),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((turns) => {
    let context = 0
    return turns.map(({ reuse, fresh, out }, i) => {
      const reused = Math.floor(reuse * context)
      const row = { turn: i, input: reused + fresh, out, reused }
      context = row.input + Math.max(1, out)
      return row
    })
  })

describe('prompts of consecutive turns', () => {
  test('share exactly the stated prefix, and have the stated length', async () => {
    await fc.assert(
      fc.asyncProperty(sessionRows, async (rows) => {
        const lines = rows.map(({ turn: number, input, out, reused }) => `s,${number},${input},${out},${reused}`)
        const { runs } = await load(['session,turn,in_tokens,out_tokens,reused_prefix_tokens', ...lines].join('\n'))
        const prompts = promptsOf(runs[0]!)
        expect(prompts.map(({ tokens }) => tokens)).toEqual(rows.map(({ input }) => input))
        for (const [i, { prompt }] of prompts.entries()) {
          if (i === 0) continue
          const before = prompts[i - 1]!
          expect(commonTokens([...before.prompt, before.answer], prompt)).toBe(rows[i]!.reused)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('repeat no token within a prompt, so that nothing else can be found', async () => {
    const { runs } = await load(
      'session,turn,in_tokens,out_tokens,reused_prefix_tokens\ns,0,50,9,0\ns,1,70,9,40\ns,2,90,9,70',
    )
    for (const { prompt } of promptsOf(runs[0]!)) {
      const all = identities(prompt)
      expect(new Set(all).size).toBe(all.length)
    }
  })

  test('share, at any context scale, what the scaled prefix has', () => {
    const spans = fc.array(fc.tuple(fc.integer({ min: 1, max: 60 }), fc.double({ min: 0, max: 1, noNaN: true })), {
      minLength: 2,
      maxLength: 8,
    })
    fc.assert(
      fc.property(spans, fc.double({ min: 0.3, max: 3, noNaN: true }), (given, contextScale) => {
        let context = 0
        const turns = given.map(([fresh, reuse], i) => {
          const shared = Math.floor(context * reuse)
          context = shared + fresh + 5
          return turn(shared, fresh, `t${i}`)
        })
        const run = sessionRun('s', turns)
        const scaled = promptsOf(run, { contextScale })
        for (const [i, { prompt, tokens }] of promptsOf(run).entries()) {
          // Every span is rounded by itself.
          expect(Math.abs(scaled[i]!.tokens - tokens * contextScale)).toBeLessThanOrEqual(prompt.length + 1)
          if (i === 0) continue
          const before = scaled[i - 1]!
          const common = commonTokens([...before.prompt, before.answer], scaled[i]!.prompt)
          expect(Math.abs(common - turns[i]!.shared * contextScale)).toBeLessThanOrEqual(prompt.length + 1)
        }
      }),
      { numRuns: 100 },
    )
  })
})

describe('a run that is played', () => {
  test('keeps whole messages as the same objects, so that they are measured once', () => {
    const player = new RunPlayer(sessionRun('s', [turn(0, 10, 'a'), turn(15, 10, 'b'), turn(12, 3, 'c')]), limitsWith())
    const [first, second, third] = [1, 2, 3].map((number) => player.turn(0, number)!.messages)
    expect(second![0]).toBe(first![0])
    expect(third![0]).toBe(first![0])
    // The third goes back into the answer of the first, which is cut.
    expect(third![1]).not.toBe(second![1])
    expect(third![1]!.span).toEqual({ stream: 'a', from: 10, to: 12 })
  })

  test('ends at the turn that outgrows the context, and says so', () => {
    const run = sessionRun('s', [turn(0, 10, 'a'), turn(15, 10, 'b'), turn(30, 10, 'c')])
    const player = new RunPlayer(run, limitsWith({ contextTokens: 30 }))
    expect(player.begins(0)).toBe(true)
    expect(player.turn(0, 1)).toBeDefined()
    expect(player.turn(0, 2)).toBeDefined()
    expect(player.truncated).toBe(false)
    expect(player.turn(0, 3)).toBeUndefined()
    expect(player.truncated).toBe(true)
  })

  test('does not begin where the first turn does not fit, or there is none', () => {
    const large = new RunPlayer(sessionRun('s', [turn(0, 100, 'a')]), limitsWith({ contextTokens: 100 }))
    expect(large.begins(0)).toBe(false)
    expect(large.truncated).toBe(true)
    const empty = new RunPlayer(sessionRun('s', []), limitsWith())
    expect(empty.begins(0)).toBe(false)
    expect(empty.truncated).toBe(false)
  })

  test('stops after the turns that are wanted, which is not truncation', () => {
    const player = new RunPlayer(sessionRun('s', [turn(0, 1, 'a'), turn(0, 1, 'b')]), limitsWith({ turnsMax: 1 }))
    expect(player.turn(0, 1)).toBeDefined()
    expect(player.turn(0, 2)).toBeUndefined()
    expect(player.truncated).toBe(false)
  })

  test('bounds waits', () => {
    const player = new RunPlayer(sessionRun('s', [turn(0, 1, 'a')]), limitsWith({ waitMsMax: 300 }))
    expect(player.turn(0, 1)!.waitMs).toBe(300)
  })

  test('never asks for less than a token, however small the scale', () => {
    const [only] = promptsOf(sessionRun('s', [turn(0, 3, 'a', 1)]), { contextScale: 0.01 })
    expect(only).toMatchObject({ tokens: 1, answer: { stream: 'a' } })
    expect(tokensOf([only!.answer])).toBe(1)
  })
})
