// Makes the pictures and generated pages of the documentation and the diagrams inside ARCHITECTURE.md.
//
//   node docs/make.ts                     writes them
//   node docs/make.ts --check             exits 1 and names every file that is not current
//   node docs/make.ts [--check] FOLDER    in a checkout elsewhere

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { accuracyPage } from './accuracy-page.ts'
import { faultMatrix } from './fault-matrix.ts'
import { pictures, withDiagrams } from './pictures.ts'

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    return undefined
  }
}

const parameters = process.argv.slice(2)
const check = parameters.includes('--check')
const root = parameters.find((parameter) => parameter !== '--check') ?? fileURLToPath(new URL('..', import.meta.url))

const wanted = new Map<string, string>()
for (const [name, text] of await pictures()) wanted.set(join('docs', name), text)
wanted.set(join('docs', 'simulator-accuracy.md'), await accuracyPage())
wanted.set(join('docs', 'fault-matrix.md'), faultMatrix())
const architecture = await readIfThere(join(root, 'ARCHITECTURE.md'))
if (architecture !== undefined) wanted.set('ARCHITECTURE.md', withDiagrams(architecture))

let stale = 0
for (const [path, text] of wanted) {
  const file = join(root, path)
  if ((await readIfThere(file)) === text) continue
  stale++
  if (check) console.error(`${path} is not current`)
  else {
    await mkdir(join(file, '..'), { recursive: true })
    await writeFile(file, text)
    console.log(`wrote ${path}`)
  }
}
if (check && stale > 0) {
  console.error('run: npm run docs')
  process.exitCode = 1
}
