// The exam that mappers take: what they may see, how they are judged, and what the report says.

import { readFile, writeFile } from 'node:fs/promises'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bench } from '../../bench/mapping-quality.ts'
import { playCascade, shareForCost, weakCost } from '../../bench/quality/cascade.ts'
import { accuracyAt, area, areaOverRandom, curve, interval, type Graded } from '../../bench/quality/curve.ts'
import { deciders } from '../../bench/quality/mappers.ts'
import { Exam, parsePairs, readPairs, type Pair } from '../../bench/quality/pairs.ts'
import { csvOf, syntheticPairs } from '../../bench/quality/synthetic.ts'

const fixture = new URL('../../bench/quality/synthetic-pairs.csv', import.meta.url)

describe('the file of questions', () => {
  test('of synthetic ones is what its generator makes, and says that it is synthetic', async () => {
    const text = await readFile(fixture, 'utf8')
    expect(text).toBe(csvOf(syntheticPairs(300, 1)))
    expect(
      text
        .split('\n')
        .slice(1, -1)
        .every((line) => line.startsWith('synthetic,')),
    ).toBe(true)
  })

  test('is read with commas, quotes and line ends in its cells, gzipped or not', async () => {
    const text = 'set,prompt,weak_ok,strong_ok\r\nx,"One, ""two""\nand three",1,0\n\ny,four,0,1'
    const pairs = [
      { prompt: 'One, "two"\nand three', weakOk: true, strongOk: false },
      { prompt: 'four', weakOk: false, strongOk: true },
    ]
    expect(parsePairs(text)).toEqual(pairs)
    const path = join(mkdtempSync(join(tmpdir(), 'orla-')), 'pairs.csv.gz')
    await writeFile(path, gzipSync(text))
    expect(await readPairs(path)).toEqual(pairs)
  })

  test('comes back from CSV whatever its questions hold', () => {
    const pair = fc.record({ prompt: fc.string(), weakOk: fc.boolean(), strongOk: fc.boolean() })
    fc.assert(
      fc.property(fc.array(pair), (pairs) => {
        expect(parsePairs(csvOf(pairs))).toEqual(pairs)
      }),
    )
  })

  test.each([
    ['prompt,weak_ok\na,1', 'no column "strong_ok" among: prompt, weak_ok'],
    ['prompt,weak_ok,strong_ok\na,1,yes', 'line 2: expected 0 or 1, got "yes"'],
    ['prompt,weak_ok,strong_ok\n"a,1,1', 'a quote is not closed'],
  ])('that is not one is refused: %j', (text, message) => {
    expect(() => parsePairs(text)).toThrow(message)
  })
})

describe('an exam', () => {
  const pairs = syntheticPairs(60, 2)

  test('splits questions into two halves by its seed', () => {
    const { lessons, questions } = new Exam(pairs, 1)
    expect([lessons.length, questions.length]).toEqual([30, 30])
    expect([...lessons, ...questions].map(({ id }) => id).toSorted((a, b) => a - b)).toEqual(pairs.map((_, id) => id))
    expect(new Exam(pairs, 1).questions).toEqual(questions)
    expect(new Exam(pairs, 2).questions).not.toEqual(questions)
  })

  test('shows those who decide nothing but prompts', () => {
    for (const question of new Exam(pairs, 1).questions) expect(Object.keys(question)).toEqual(['id', 'prompt'])
  })

  test.each(deciders.map((decider) => [decider.name, decider] as const))(
    'is taken by "%s" the same way whatever the labels of its questions are',
    async (_, decider) => {
      const exam = new Exam(pairs, 3)
      const judged = new Set(exam.questions.map(({ id }) => id))
      const flipped = pairs.map((pair, id): Pair =>
        judged.has(id) ? { ...pair, weakOk: !pair.weakOk, strongOk: !pair.strongOk } : pair,
      )
      const other = new Exam(flipped, 3)
      expect(other.grade()).not.toEqual(exam.grade())
      expect(await decider.decide(other.lessons, other.questions, 3)).toEqual(
        await decider.decide(exam.lessons, exam.questions, 3),
      )
    },
  )
})

describe('a curve of cost against accuracy', () => {
  const graded = (settings: number[][]): Graded => ({
    ids: [0, 1, 2, 3],
    weakOk: Uint8Array.of(1, 0, 0, 1),
    strongOk: Uint8Array.of(1, 1, 0, 0),
    settings: settings.map((each) => Uint8Array.from(each)),
  })

  test('goes from the weak model to the strong one, by cost', () => {
    const points = curve(
      graded([
        [1, 1, 0, 0],
        [0, 1, 0, 0],
      ]),
    )
    expect(points).toEqual([
      { cost: 0, accuracy: 0.5 },
      { cost: 0.25, accuracy: 0.75 },
      { cost: 0.5, accuracy: 0.75 },
      { cost: 1, accuracy: 0.5 },
    ])
    expect(area(points)).toBeCloseTo(0.15625 + 0.1875 + 0.3125)
    expect(accuracyAt(points, 0.125)).toBeCloseTo(0.625)
    expect(accuracyAt(points, 1)).toBe(0.5)
  })

  test('counts questions as often as they were drawn', () => {
    const points = curve(graded([[0, 1, 0, 0]]), Uint16Array.of(0, 3, 1, 0))
    expect(points.map(({ cost }) => cost)).toEqual([0, 0.75, 1])
    expect(points[1]!.accuracy).toBe(0.75)
    expect(curve(graded([]), Uint16Array.of(0, 0, 0, 0))).toEqual([])
  })

  test('of lots is no better than the straight line, however many questions there are', () => {
    const labels = fc.array(fc.tuple(fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 20 })
    fc.assert(
      fc.property(labels, (pairs) => {
        const ids = pairs.map((_, i) => i)
        const weakOk = Uint8Array.from(pairs, ([weak]) => Number(weak))
        const strongOk = Uint8Array.from(pairs, ([, strong]) => Number(strong))
        const all = [new Uint8Array(ids.length), new Uint8Array(ids.length).fill(1)]
        expect(areaOverRandom(curve({ ids, weakOk, strongOk, settings: all }))).toBeCloseTo(0, 10)
      }),
    )
  })

  test('has an interval that leaves 2.5 % on either side', () => {
    expect(interval(Array.from({ length: 1_000 }, (_, i) => 999 - i))).toEqual([25, 975])
  })
})

describe('a cascade', () => {
  const grades = [
    { id: 0, weakOk: true, strongOk: true },
    { id: 1, weakOk: true, strongOk: false },
    { id: 2, weakOk: false, strongOk: true },
    { id: 3, weakOk: false, strongOk: false },
  ]

  test('with a perfect checker pays for what was wrong, and loses nothing', () => {
    expect(playCascade(grades, { falseAccept: 0, falseReject: 0 })).toMatchObject({
      escalated: 0.5,
      cost: weakCost + 0.5,
      accuracy: 0.75,
      randomAccuracy: 0.5,
    })
  })

  test('with a checker that accepts everything is the weak model, and with one that rejects everything pays for both', () => {
    expect(playCascade(grades, { falseAccept: 1, falseReject: 0 })).toMatchObject({ cost: weakCost, accuracy: 0.5 })
    const both = playCascade(grades, { falseAccept: 0, falseReject: 1 }, Uint16Array.of(0, 0, 3, 1))
    expect(both).toMatchObject({ escalated: 1, cost: 1 + weakCost, accuracy: 0.75, randomAccuracy: 0.75 })
    expect(shareForCost(0)).toBe(0)
  })
})

describe('the bench', () => {
  test('says of the synthetic questions what the arms do, with intervals, as rows and as a page', async () => {
    const html = join(mkdtempSync(join(tmpdir(), 'orla-')), 'quality.html')
    const { rows, jsonRows, notes } = await bench.run({ quick: true, html })
    const of = (arm: string) =>
      jsonRows!.find((row) => (row as { arm: string }).arm === arm) as {
        dataset: string
        area: number
        areaOverRandom: number
        interval: [number, number]
        looksAtLabels: boolean
      }
    const [random, learned, oracle] = [of('random'), of('learned (warm start)'), of('oracle')]
    expect(random.interval[0]).toBeLessThan(0)
    expect(random.interval[1]).toBeGreaterThan(0)
    expect(learned).toMatchObject({ dataset: 'synthetic', looksAtLabels: false })
    expect(learned.interval[0]).toBeGreaterThan(0)
    expect(oracle.looksAtLabels).toBe(true)
    expect(oracle.area).toBeGreaterThan(Math.max(learned.area, of('one-bit, simulated, right 90 %').area))
    expect(of('cascade')).toMatchObject({ falseAccept: 0, falseReject: 0, cost: expect.any(Number) as number })
    expect(new Set(rows.map((row) => Object.keys(row).join())).size).toBe(1)
    expect(notes[0]).toContain('say nothing about real ones')
    const page = await readFile(html, 'utf8')
    expect(page).toContain('<svg')
    expect(page).toContain('learned (warm start)')
    expect(page).not.toContain('NaN')
  })
})
