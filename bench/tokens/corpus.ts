// Text to count: the prose and code of this repository, in slices that differ.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

function read(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .toSorted()
    .map((name) => readFileSync(join(root, folder, name), 'utf8'))
}

/** One byte a character: a single other one would make every slice take two. */
const text = [...read('docs', '.md'), ...read('src', '.ts'), ...read('actors', '.ts')]
  .join('\n')
  .replaceAll(/[^\n\x20-\x7e]/g, ' ')

let taken = 0

/** `chars` characters that begin where no slice before did, with a number in front. */
export function slice(chars: number): string {
  taken++
  const from = Math.imul(taken, 7_919) % (text.length - chars)
  return `${taken} ${text.slice(from, from + chars)}`.slice(0, chars)
}
