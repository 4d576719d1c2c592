// Lines of a file that may be compressed, one at a time
//
// Owns: the stream from the file, and the line that is not complete yet.
// Invariants
//   L1. What is held is bounded: one line, and one chunk of the stream.
//   L2. A file that does not end as it should (gzip cut short, bytes behind it that are none) is an error, not an end.

import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { createGunzip } from 'node:zlib'
import { messageOf } from '../../errors.ts'
import { limits } from '../../limits.ts'
import type { FileProblems } from './problems.ts'

/** One line, without its end. */
export interface Line {
  /** From 1. */
  number: number
  text: string
}

/** True if a file begins as gzip does, whatever its name is. */
async function isGzip(path: string): Promise<boolean> {
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, 0)
    return bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b
  } finally {
    await file.close()
  }
}

/**
 * Lines that are not blank. Ends at the first problem of the file itself, which it notes in `problems`.
 *
 * @throws the system's error if the file cannot be opened
 */
export async function* readLines(path: string, problems: FileProblems): AsyncGenerator<Line> {
  const gzip = await isGzip(path)
  const raw = createReadStream(path)
  const source = gzip ? raw.pipe(createGunzip()) : raw
  if (source !== raw) raw.on('error', (error) => source.destroy(error))
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let number = 1
  let held = ''
  let bytes = 0
  const tooLong = (): void =>
    problems.add({ line: number }, 'line_too_long', `longer than ${limits.workloadLineCharsMax} characters`)
  try {
    for await (const chunk of source as AsyncIterable<Uint8Array>) {
      bytes += chunk.length
      if (bytes > limits.workloadBytesMax) {
        const message = `the file holds more than ${limits.workloadBytesMax} bytes: cut it`
        problems.add({ line: number }, 'file_too_large', message)
        return
      }
      const lines = (held + decoder.decode(chunk, { stream: true })).split('\n')
      held = lines.pop()!
      for (const text of lines) {
        if (text.length > limits.workloadLineCharsMax) return tooLong()
        if (text.trim() !== '') yield { number, text: text.endsWith('\r') ? text.slice(0, -1) : text }
        number++
      }
      if (held.length > limits.workloadLineCharsMax) return tooLong()
    }
    held += decoder.decode()
  } catch (error) {
    problems.add({ line: number }, 'unreadable', readProblem(error, gzip))
    return
  } finally {
    raw.destroy()
  }
  if (held.trim() !== '') yield { number, text: held }
}

function readProblem(error: unknown, gzip: boolean): string {
  if (error instanceof TypeError) return 'not UTF-8 text'
  return gzip ? `the gzip data is damaged or ends early: ${messageOf(error)}` : `cannot be read: ${messageOf(error)}`
}
