// The driver of docs/engines/new-driver.md is a driver: it passes the contract.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BackendDefinition } from '../../../src/index.ts'
import { driverContract } from '../../../src/testing.ts'
import { subjectsOn } from '../flavours.ts'

const page = readFileSync(new URL('../../../docs/engines/new-driver.md', import.meta.url), 'utf8')
const code = /^```ts\n([\s\S]*?)^```$/m.exec(page)![1]!
const entry = new URL('../../../src/index.ts', import.meta.url).href
const folder = mkdtempSync(join(tmpdir(), 'orla-docs-'))

let lagoon: (options: { url: string; model: string }) => BackendDefinition

beforeAll(async () => {
  const file = join(folder, 'lagoon.ts')
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  writeFileSync(file, code.replace("from 'orla'", `from '${entry}'`))
  const module = (await import(/* @vite-ignore */ pathToFileURL(file).href)) as { lagoon: typeof lagoon }
  lagoon = module.lagoon
})

afterAll(() => rmSync(folder, { recursive: true }))

test('is one file of at most 150 lines', () => {
  expect(code.split('\n').length).toBeLessThanOrEqual(150)
})

describe('the driver of the page', () => {
  const exceptions = {
    'counts the tokens of a prompt as its usage does': 'it has no way to count',
    'tells the load of the engine': 'it does not tell',
    'keeps the caches of salts apart where the engine can': 'it has no salts',
  }
  const start = subjectsOn('openai', (options) => lagoon(options))
  for (const { name, run } of driverContract({ start, exceptions })) test.concurrent(name, run)
})
