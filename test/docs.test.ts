// Every TypeScript block of the README and of the pages in docs/ is a program that runs.

import { readdirSync, readFileSync } from 'node:fs'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const readme = readFileSync(join(root, 'README.md'), 'utf8')
const blocks = blocksOf(readme)
const pages = readdirSync(join(root, 'docs'))
  .filter((name) => name.endsWith('.md'))
  .flatMap((name) =>
    blocksOf(readFileSync(join(root, 'docs', name), 'utf8')).map((code, i) => [name, i + 1, code] as const),
  )
const entry = pathToFileURL(join(root, 'src/index.ts')).href
const testing = pathToFileURL(join(root, 'src/testing.ts')).href

function blocksOf(page: string): string[] {
  return [...page.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((match) => match[1]!)
}

function run(code: string): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve) => {
    // From standard input, with the checkout as the place where packages are looked for.
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-'], { cwd: root })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.on('close', (status) => resolve({ status, output }))
    child.stdin.end(
      code.replaceAll("from 'orla'", `from '${entry}'`).replaceAll("from 'orla/testing'", `from '${testing}'`),
    )
  })
}

describe.concurrent('the README', () => {
  test('has examples', () => {
    expect(blocks.length).toBeGreaterThanOrEqual(5)
  })

  test.each(blocks.map((code, i) => [i + 1, code] as const))('example %i runs', async (_number, code) => {
    const { status, output } = await run(code)
    expect(output).not.toMatch(/Error/)
    expect(status).toBe(0)
  })

  test('shows a custom scheduling policy in fewer than 20 lines', () => {
    const policy = /function tenantsInTurn[\s\S]*?^}/m.exec(readme)?.[0] ?? ''
    expect(policy.split('\n').length).toBeGreaterThan(3)
    expect(policy.split('\n').length).toBeLessThan(20)
  })

  test('names only npm scripts that exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>
    }
    const named = [...readme.matchAll(/npm run (?:-s )?([a-z:-]+)/g)].map((match) => match[1]!)
    expect(named.filter((name) => !(name in scripts))).toEqual([])
  })
})

describe.concurrent('the pages in docs/', () => {
  test.each(pages)('%s, example %i runs', async (_page, _number, code) => {
    const { status, output } = await run(code)
    expect(output).not.toMatch(/Error/)
    expect(status).toBe(0)
  })
})
