// Checks of the code base itself: floors, circles between rooms, headers, doc comments, names of time and chance.

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Floor of each room: a file imports its own room or a lower floor. The longest matching prefix counts. */
const floors: [prefix: string, floor: number][] = [
  ['src/schema/', 0.2],
  ['src/feed.ts', 0.4],
  ['src/prompts/', 1],
  ['src/scheduling/', 1],
  ['src/prediction/', 0.9],
  ['src/mapping/', 1],
  ['src/memory/', 1],
  ['src/accounting/', 1.2],
  ['src/workflow/', 1.5],
  ['src/engines/', 2],
  ['src/simulator/', 2.5],
  ['src/workers/', 2],
  ['src/mcp/', 2],
  ['src/services/', 2],
  ['machines/', 3],
  ['actors/', 4],
  ['src/runtime', 5],
  ['src/testbed/', 5.5],
  ['src/index.ts', 6],
  ['src/testing.ts', 6],
  ['src/examples/', 7],
  ['src/cli/', 8],
  ['src/', 0],
]

/** Rooms that may use a package; every other package may be used anywhere. */
const onlyIn: Record<string, string[]> = {
  undici: ['src/engines/'],
  piscina: ['src/workers/'],
  xstate: ['machines/', 'actors/', 'src/runtime-core.ts'],
}

/** Rooms without I/O and threads. */
const pure = [
  'src/schema/',
  'src/prompts/',
  'src/prediction/',
  'src/scheduling/',
  'src/mapping/',
  'src/memory/',
  'src/accounting/',
  'src/workflow/',
]

interface Source {
  path: string
  text: string
  imports: string[]
}

const sources: Source[] = ['src', 'actors', 'machines'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => {
      const path = join(folder, name).split(sep).join('/')
      const text = readFileSync(join(root, path), 'utf8')
      const imports = [...text.matchAll(/^(?:import|export)\b[^'"\n]*?(?:from\s+)?['"]([^'"]+)['"]/gm)].map(
        (match) => match[1]!,
      )
      const multiline = [...text.matchAll(/^\} from ['"]([^'"]+)['"]/gm)].map((match) => match[1]!)
      const dynamic = [...text.matchAll(/\bimport\(['"]([^'"]+)['"]\)/g)].map((match) => match[1]!)
      return { path, text, imports: [...new Set([...imports, ...multiline, ...dynamic])] }
    }),
)

function roomOf(path: string): [prefix: string, floor: number] {
  return floors.find(([prefix]) => path.startsWith(prefix)) ?? ['', Number.POSITIVE_INFINITY]
}

function resolve(from: string, specifier: string): string {
  return relative(root, join(root, dirname(from), specifier))
    .split(sep)
    .join('/')
}

describe('the house', () => {
  test('a file imports its own room or a lower floor', () => {
    const wrong = sources.flatMap((source) => {
      const [room, floor] = roomOf(source.path)
      return source.imports
        .filter((specifier) => specifier.startsWith('.'))
        .map((specifier) => resolve(source.path, specifier))
        .filter((target) => {
          const [targetRoom, targetFloor] = roomOf(target)
          return targetRoom !== room && targetFloor >= floor
        })
        .map((target) => `${source.path} (${floor}) imports ${target} (${roomOf(target)[1]})`)
    })
    expect(wrong).toEqual([])
  })

  test('the command line and the examples use the public entries only', () => {
    // `nearest` is about words and loads nothing: help must not wait for a runtime that it does not need.
    const allowed = /^src\/(index|testing|nearest)\.ts$|^src\/(cli|examples)\//
    const wrong = sources
      .filter(({ path }) => /^src\/(cli|examples)\//.test(path))
      .flatMap(({ path, imports }) =>
        imports
          .filter((specifier) => specifier.startsWith('.'))
          .map((specifier) => resolve(path, specifier))
          .filter((target) => !allowed.test(target))
          .map((target) => `${path} imports ${target}`),
      )
    expect(wrong).toEqual([])
  })

  test('packages that belong to one room stay there', () => {
    const wrong = sources.flatMap(({ path, imports }) =>
      imports
        .filter((specifier) => !(onlyIn[specifier]?.some((room) => path.startsWith(room)) ?? true))
        .map((specifier) => `${path} imports ${specifier}`),
    )
    expect(wrong).toEqual([])
  })

  test('pure rooms use no node modules', () => {
    const wrong = sources
      .filter(({ path }) => pure.some((room) => path.startsWith(room)))
      .flatMap(({ path, imports }) =>
        imports.filter((name) => name.startsWith('node:')).map((name) => `${path}: ${name}`),
      )
    expect(wrong).toEqual([])
  })

  test('relative imports end in .ts, so that node runs the source as it is', () => {
    const wrong = sources.flatMap(({ path, imports }) =>
      imports.filter((name) => name.startsWith('.') && !name.endsWith('.ts')).map((name) => `${path}: ${name}`),
    )
    expect(wrong).toEqual([])
  })
})

describe('every file', () => {
  test('opens with what it is for', () => {
    const wrong = sources.filter(({ text }) => !/^(#!.*\n)?\/\/ /.test(text)).map(({ path }) => path)
    expect(wrong).toEqual([])
  })

  test('says of every exported name what it is', () => {
    const exported = /^export (?:declare )?(?:async )?(?:const|function|class|interface|type|let) (\w+)/
    const wrong = sources.flatMap(({ path, text }) => {
      const lines = text.split('\n')
      return lines.flatMap((line, i) => {
        const name = exported.exec(line)?.[1]
        if (name === undefined || path === 'src/index.ts') return []
        let above = i - 1
        // Overloads and the merged type of a schema share the comment of the first.
        while (above >= 0 && lines[above]!.startsWith('export ') && lines[above]!.includes(name)) above--
        return /\*\/\s*$/.test(lines[above] ?? '') ? [] : [`${path}: ${name}`]
      })
    })
    expect(wrong).toEqual([])
  })

  test('takes time and chance from the clock', () => {
    const forbidden =
      /\bDate\.now\(|\bMath\.random\(|\bnew Date\(\)|\bperformance\.now\(|(?<![.\w])set(?:Timeout|Interval)\(/
    const wrong = sources
      .filter(({ path }) => path !== 'src/clock.ts')
      .flatMap(({ path, text }) =>
        text
          .split('\n')
          .map((line, i) => [line, i + 1] as const)
          .filter(([line]) => forbidden.test(line) && !/^\s*(\/\/|\*)/.test(line))
          .map(([, at]) => `${path}:${at}`),
      )
    expect(wrong).toEqual([])
  })

  test('has nothing left undone', () => {
    const undone = /\b(TODO|FIXME|XXX|HACK)\b|not implemented/
    const wrong = sources.filter(({ text }) => undone.test(text)).map(({ path }) => path)
    expect(wrong).toEqual([])
  })
})
