// Reading a ticket from a file or from standard input, within bounds.

import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { limits } from '../../index.ts'
import { CommandError } from '../exit-code.ts'

const megabyte = 1024 * 1024

/**
 * The text of a ticket.
 *
 * @param name - path of a file, or `-` for `stdin`
 * @throws {CommandError} with exit code 2 for what is missing, no file, too large, empty or no text
 */
export async function readTicket(name: string, stdin: Readable): Promise<string> {
  if (name === '') throw new CommandError('--ticket: give the path of a file, or - for standard input')
  const what = name === '-' ? 'standard input' : `ticket file ${JSON.stringify(name)}`
  const bytes = name === '-' ? await readStream(stdin, what) : await readFileBounded(name, what)
  const text = decode(bytes, what).trim()
  if (text === '') throw new CommandError(`${what} is empty: write what the customer says`)
  return text
}

async function readFileBounded(path: string, what: string): Promise<Buffer> {
  try {
    await using file = await open(path, 'r')
    const stats = await file.stat()
    if (stats.isDirectory()) throw new CommandError(`${what} is a directory: name a text file`)
    // A pipe or device has no size beforehand; it is bounded while it is read.
    if (stats.size > limits.inputFileBytesMax) throw tooLarge(what, stats.size)
    return await readStream(file.createReadStream({ autoClose: false }), what)
  } catch (error) {
    if (error instanceof CommandError) throw error
    throw new CommandError(`${what} cannot be read: ${reasonOf(error)}`)
  }
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOENT') return 'there is no such file'
  if (code === 'EACCES' || code === 'EPERM') return 'you may not read it'
  if (code === 'EISDIR') return 'it is a directory'
  return message
}

async function readStream(stream: Readable, what: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of stream) {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : (chunk as Buffer)
    size += bytes.length
    if (size > limits.inputFileBytesMax) throw tooLarge(what, undefined)
    chunks.push(bytes)
  }
  return Buffer.concat(chunks)
}

function tooLarge(what: string, size: number | undefined): CommandError {
  const has = size === undefined ? 'has more than' : `has ${(size / megabyte).toFixed(1)} MB, which is more than`
  return new CommandError(`${what} ${has} the ${limits.inputFileBytesMax / megabyte} MB that a ticket may have`)
}

function decode(bytes: Buffer, what: string): string {
  if (bytes.includes(0)) throw new CommandError(`${what} is not text: it holds NUL bytes`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new CommandError(`${what} is not text: it is not valid UTF-8`)
  }
}
